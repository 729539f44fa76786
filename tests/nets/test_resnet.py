"""Residual networks: counted against the papers, equal to torchvision's, and fit for published weights."""

import copy

import pytest
import torch
import torchvision

from frugal.core.errors import CheckpointMismatch
from frugal.data import cifar10
from frugal.measure.accuracy import accuracy
from frugal.nets.resnet import load_published, resnet8_cifar, resnet18, resnet20_cifar, resnet50, resnet56_cifar


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def cifar_parameters(n):
    """Section 4.2 of the paper, added up: convolutions without bias, two numbers per batch norm channel, one linear."""
    convs = 3 * 16 * 9 + 2 * n * 16 * 16 * 9
    convs += 16 * 32 * 9 + (2 * n - 1) * 32 * 32 * 9
    convs += 32 * 64 * 9 + (2 * n - 1) * 64 * 64 * 9
    return convs + 2 * (16 + 2 * n * (16 + 32 + 64)) + 64 * 10 + 10


@pytest.mark.parametrize("build, n, published", [(resnet20_cifar, 3, 269_722), (resnet56_cifar, 9, 853_018)])
def test_cifar_networks_have_the_published_number_of_parameters(build, n, published):
    assert count(build()) == cifar_parameters(n) == published


def test_the_small_one_is_the_same_network_with_one_block_per_stage():
    assert count(resnet8_cifar()) == cifar_parameters(1)
    assert resnet8_cifar()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    "build, theirs, published",
    [(resnet18, torchvision.models.resnet18, 11_689_512), (resnet50, torchvision.models.resnet50, 25_557_032)],
)
def test_imagenet_networks_compute_what_torchvisions_compute(build, theirs, published):
    ours, reference = build(), theirs()
    assert count(ours) == published
    state = reference.state_dict()
    assert {name: value.shape for name, value in ours.state_dict().items()} == {n: v.shape for n, v in state.items()}
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), reference.eval()(x))


def test_a_shortcut_that_changes_shape_skips_rows_and_fills_channels_with_zeros():
    shortcut = resnet8_cifar().layer2[0].shortcut
    x = torch.randn(1, 16, 6, 6)
    y = shortcut(x)
    assert y.shape == (1, 32, 3, 3)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.fixture
def stored(tmp_path):
    """A file as the authors publish it."""
    torch.manual_seed(1)
    state = {f"module.{name}": value for name, value in resnet8_cifar().state_dict().items()}
    path = tmp_path / "published.th"
    torch.save({"state_dict": state, "best_prec1": 90.0}, path)
    return path, state


def test_published_weights_load_without_their_prefix_in_eval_mode(stored):
    path, state = stored
    model = load_published(resnet8_cifar(), path)
    assert not model.training
    assert torch.equal(model.linear.weight, state["module.linear.weight"])


def test_a_file_without_batch_counters_loads(stored, tmp_path):
    state = {name: value for name, value in stored[1].items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.th")
    load_published(resnet8_cifar(), tmp_path / "old.th")


def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded(stored, tmp_path):
    state = dict(stored[1])
    del state["module.conv1.weight"]
    state["module.stem.weight"] = torch.zeros(1)
    state["module.linear.bias"] = torch.zeros(11)
    torch.save(state, tmp_path / "wrong.th")
    model = resnet8_cifar()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointMismatch) as caught:
        load_published(model, tmp_path / "wrong.th")
    message = str(caught.value)
    assert "1 missing: conv1.weight" in message
    assert "1 unexpected: stem.weight" in message
    assert "linear.bias [11], the network has [10]" in message
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_the_weights_of_another_depth_do_not_load(stored):
    with pytest.raises(CheckpointMismatch, match=r"and \d+ more"):
        load_published(resnet20_cifar(), stored[0])


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "noise.th"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointMismatch, match="not a file of tensors"):
        load_published(resnet8_cifar(), path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointMismatch, match="not a dictionary of tensors"):
        load_published(resnet8_cifar(), path)
    with pytest.raises(FileNotFoundError):
        load_published(resnet8_cifar(), tmp_path / "nowhere.th")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Code:
        def __reduce__(self):
            return print, ("this ran",)

    torch.save({"state_dict": Code()}, tmp_path / "code.th")
    with pytest.raises(CheckpointMismatch, match="not a file of tensors"):
        load_published(resnet8_cifar(), tmp_path / "code.th")


PUBLISHED = {"resnet20": 91.73, "resnet56": 93.39}  # per cent of 10,000 test pictures


def top1(build, file, real_data, count):
    model = load_published(build(), real_data / "resnet_cifar10" / file)
    images, labels = cifar10.load("test", real_data)
    return accuracy(model, cifar10.normalise(images[:count]), labels[:count])


@pytest.mark.real_data
@pytest.mark.slow
def test_resnet20_reaches_its_published_accuracy_on_cifar10(real_data):
    found = top1(resnet20_cifar, "resnet20-12fca82f.th", real_data, 10_000)
    one_picture = 0.01  # two logits that tie in one order of summation may not in another
    assert abs(found - PUBLISHED["resnet20"]) <= one_picture + 1e-9


@pytest.mark.real_data
@pytest.mark.slow
def test_resnet56_reaches_its_published_accuracy_on_the_first_two_thousand_pictures(real_data):
    found, count = top1(resnet56_cifar, "resnet56-4bfd9763.th", real_data, 2_000), 2_000
    p = PUBLISHED["resnet56"]
    # A subset of 2,000 from 10,000: the standard error of sampling without replacement, three of them.
    error = (p * (100 - p) / count * (10_000 - count) / (10_000 - 1)) ** 0.5
    assert abs(found - p) <= 3 * error
