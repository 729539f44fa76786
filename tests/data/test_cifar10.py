"""CIFAR-10's binary files are read byte for byte, and damaged ones are refused."""

import hashlib

import pytest
import torch

from frugal.core.errors import FrugalError, MissingData
from frugal.data import cifar10
from frugal.data.cifar10 import PER_FILE, RECORD, DamagedData, load, missing, normalise, read_batch
from frugal.data.download import fetch_cifar10, write_batches


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (PER_FILE, 3, 32, 32), generator=rng, dtype=torch.uint8)
    return images, torch.randint(0, 10, (PER_FILE,), generator=rng)


@pytest.fixture
def folder(tmp_path, batch):
    write_batches(*batch, [tmp_path / cifar10.FOLDER / "test_batch.bin"])
    return tmp_path


def test_what_was_written_is_read(folder, batch):
    images, labels = load("test", folder)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert torch.equal(images, batch[0])
    assert torch.equal(labels, batch[1])


def test_a_record_is_the_label_then_the_red_green_and_blue_plane(folder, batch):
    content = (folder / cifar10.FOLDER / "test_batch.bin").read_bytes()
    second = content[RECORD : 2 * RECORD]
    assert second[0] == batch[1][1]
    assert second[1 + 1024] == batch[0][1, 1, 0, 0]  # first byte of the green plane
    assert second[1 + 32] == batch[0][1, 0, 1, 0]  # first byte of the second row of red


def test_frugal_data_names_the_folder(folder, monkeypatch):
    monkeypatch.setenv("FRUGAL_DATA", str(folder))
    assert len(load("test")[0]) == PER_FILE
    monkeypatch.delenv("FRUGAL_DATA")
    with pytest.raises(MissingData, match=r"FRUGAL_DATA is not set.*python -m frugal data --download"):
        load("test")


def test_missing_files_are_named_with_the_next_step(folder):
    assert missing("test", folder) == []
    with pytest.raises(MissingData, match=r"data_batch_1\.bin.*--download") as caught:
        load("train", folder)
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("change", [-1, -RECORD, 1, RECORD])
def test_a_file_of_another_size_is_refused(folder, change):
    path = folder / cifar10.FOLDER / "test_batch.bin"
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(DamagedData, match=f"has {PER_FILE * RECORD + change:,} bytes") as caught:
        load("test", folder)
    assert isinstance(caught.value, FrugalError)


def test_a_label_above_nine_is_refused_with_its_place(folder):
    path = folder / cifar10.FOLDER / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[7 * RECORD] = 10
    path.write_bytes(content)
    with pytest.raises(DamagedData, match="picture 7 has label 10"):
        read_batch(path)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="test, train_1, train, got 'valid'"):
        load("valid")


def test_normalise_is_the_formula_of_the_published_networks(batch):
    images = batch[0][:4]
    expected = images.double() / 255
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected[:, channel] = (expected[:, channel] - mean) / std
    found = normalise(images)
    assert found.dtype == torch.float32
    rounding = 4 * torch.finfo(torch.float32).eps * expected.abs().max()  # three operations
    assert (found - expected).abs().max() <= rounding


def test_normalise_refuses_what_is_not_bytes():
    with pytest.raises(ValueError, match="float32"):
        normalise(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="uint8"):
        normalise(torch.zeros(3, 32, 32, dtype=torch.uint8))


class Source:
    """Stands for torchvision.datasets.CIFAR10: pictures with the colour last, labels as a list."""

    def __init__(self, folder, is_train):
        count = 5 * PER_FILE if is_train else PER_FILE
        self.data = (torch.arange(count) % 251).to(torch.uint8)[:, None, None, None].repeat(1, 32, 32, 3).numpy()
        self.data[:, 0, 0, 2] = 255  # blue, first pixel
        self.targets = [position % 10 for position in range(count)]


def test_a_download_becomes_six_binary_files(tmp_path):
    written = fetch_cifar10(tmp_path, Source)
    assert len(written) == 6
    images, labels = load("train", tmp_path)
    assert labels.tolist() == [position % 10 for position in range(5 * PER_FILE)]
    assert images[12_345, 0, 3, 3] == 12_345 % 251
    assert (images[:, 2, 0, 0] == 255).all()
    assert len(load("train_1", tmp_path)[0]) == PER_FILE


def test_a_failed_download_says_so(tmp_path):
    def fails(folder, is_train):
        raise RuntimeError("File not found or corrupted.")

    with pytest.raises(MissingData, match="corrupted"):
        fetch_cifar10(tmp_path, fails)


@pytest.mark.real_data
def test_the_real_test_set_is_the_official_one(real_data):
    path = real_data / cifar10.FOLDER / "test_batch.bin"
    official = "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == official
    _, labels = load("test", real_data)
    assert labels.bincount().tolist() == [1000] * 10
    assert [cifar10.CLASSES[label] for label in labels[:4]] == ["cat", "ship", "ship", "airplane"]
