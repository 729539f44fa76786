"""Checkpoints that ship: what their cards say is true, and damaged ones are refused."""

import shutil

import pytest
import torch

from frugal.core.errors import CheckpointMismatch
from frugal.data.calibration import calibration_batches
from frugal.data.drawn import draw
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.nets import pretrained
from frugal.quant.config import weights_and_activations
from frugal.quant.convert import quantize_model

SMALL_ENOUGH = 400 * 1000  # bytes


ROUNDING = 0.3  # points: pictures on the fence, which another processor's order of summation may tip over


@pytest.mark.parametrize("name", pretrained.classifiers())
def test_a_checkpoint_is_as_accurate_as_its_card_says(name):
    made = pretrained.card(name)
    found = accuracy(pretrained.load(name), *draw(made.quick_inputs, split="test"))
    assert made.quick_inputs >= 2000
    assert abs(found - made.quick_accuracy_percent) <= ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("name", pretrained.classifiers())
def test_a_checkpoint_is_as_accurate_on_all_pictures_of_its_card(name):
    made = pretrained.card(name)
    found = accuracy(pretrained.load(name), *draw(made.test_inputs, split="test"))
    assert abs(found - made.accuracy_percent) <= ROUNDING


@pytest.mark.parametrize("name", pretrained.classifiers())
def test_a_checkpoint_is_small_in_eval_mode_and_counted(name):
    model = pretrained.load(name)
    assert not model.training
    assert pretrained.weights_path(name).stat().st_size < SMALL_ENOUGH
    assert sum(parameter.numel() for parameter in model.parameters()) == pretrained.card(name).parameters
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_the_task_is_neither_solved_nor_hopeless():
    for name in pretrained.classifiers():
        assert 85 < pretrained.card(name).accuracy_percent < 96


@pytest.fixture
def copied(tmp_path):
    for path in pretrained.FOLDER.glob("resnet8_drawn.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_a_checkpoint_loads_from_another_folder(copied):
    there, here = pretrained.load("resnet8_drawn", copied), pretrained.load("resnet8_drawn")
    assert torch.equal(there.conv1.weight, here.conv1.weight)


@pytest.mark.parametrize("damage", [lambda b: b[:-4], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_weights_that_are_not_the_cards_are_refused(copied, damage):
    path = pretrained.weights_path("resnet8_drawn", copied)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointMismatch, match=r"its card says .* make it again: python -m frugal train"):
        pretrained.load("resnet8_drawn", copied)


def test_weights_of_another_network_are_refused_even_with_the_right_hash(copied):
    model = pretrained.build("mobilenet_drawn")
    digest = pretrained.save_weights(model, "resnet8_drawn", copied)
    made = pretrained.card("resnet8_drawn", copied)
    pretrained.save_card(type(made)(**{**vars(made), "sha256": digest}), "resnet8_drawn", copied)
    with pytest.raises(CheckpointMismatch, match="does not fit CifarResNet"):
        pretrained.load("resnet8_drawn", copied)


def test_missing_files_say_how_to_make_them(copied):
    pretrained.weights_path("resnet8_drawn", copied).unlink()
    with pytest.raises(CheckpointMismatch, match="python -m frugal train resnet8_drawn"):
        pretrained.load("resnet8_drawn", copied)
    with pytest.raises(CheckpointMismatch, match="cannot be read"):
        pretrained.load("mobilenet_drawn", copied)


def test_a_card_with_a_line_missing_is_refused(copied):
    path = copied / "resnet8_drawn.toml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("seed")))
    with pytest.raises(CheckpointMismatch, match="a card holds"):
        pretrained.card("resnet8_drawn", copied)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="resnet8_drawn, mobilenet_drawn"):
        pretrained.load("resnet9000")


def test_the_same_weights_make_the_same_file(tmp_path):
    model = pretrained.build("resnet8_drawn")
    first = pretrained.save_weights(model, "resnet8_drawn", tmp_path / "a")
    assert first == pretrained.save_weights(model, "resnet8_drawn", tmp_path / "b")


def kept(name, num_bits, pictures):
    """Per cent of its accuracy that a folded checkpoint keeps when weights and activations have ``num_bits``."""
    model = fold_batchnorm(pretrained.load(name), strict=True)
    # one scale per weight tensor, a zero-point for activations: the plain quantizer of lecture slides 20 and 23
    config = weights_and_activations(num_bits, num_bits, per_channel=False)
    quantized = quantize_model(model, config, calibration_batches(draw(1000).images, 256))
    return 100 * accuracy(quantized, *pictures) / accuracy(model, *pictures)


@pytest.mark.slow
def test_rounding_hurts_as_in_the_lectures_table_little_at_8_bits_and_the_depthwise_network_most_at_4():
    pictures = draw(1000, split="test")
    # Each share is measured on 1,000 pictures: its standard error at 50 % is 1.6 points, and the gap is over 10.
    three_errors = 3 * (2 * 50 * 50 / 1000) ** 0.5
    residual, depthwise = "resnet8_drawn", "mobilenet_drawn"
    assert kept(residual, 8, pictures) > 98
    assert kept(depthwise, 8, pictures) > 98
    assert kept(residual, 4, pictures) > kept(depthwise, 4, pictures) + three_errors
