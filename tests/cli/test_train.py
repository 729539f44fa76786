"""``python -m frugal train``: the commands on the cards are commands it takes, and it makes what loads."""

import shlex

import pytest
from click.testing import CliRunner

from frugal.cli.train import RECIPES, train
from frugal.nets import pretrained


def arguments(command):
    """What follows ``python -m frugal train``."""
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "frugal", "train"]
    return words[4:]


def test_there_is_a_recipe_for_every_checkpoint():
    assert tuple(RECIPES) == pretrained.names()


@pytest.mark.parametrize("name", pretrained.names())
def test_the_command_on_a_card_is_one_that_train_takes(name):
    made = pretrained.card(name)
    given = train.make_context("train", arguments(made.command)).params
    assert given["name"] == name
    assert (given["seed"], given["threads"]) == (made.seed, made.threads)
    assert given["images"] is given["epochs"] is None  # the recipe, not a quick try


def test_a_quick_try_writes_a_checkpoint_that_loads_and_can_be_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr("frugal.cli.train.TEST_INPUTS", 250)
    monkeypatch.setattr("frugal.cli.train.QUICK_INPUTS", 250)
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        command = ["resnet8_drawn", "--out", str(folder), "--images", "250", "--epochs", "1", "--threads", "1"]
        result = CliRunner().invoke(train, command)
        assert result.exit_code == 0, result.output
    made, again = (pretrained.card("resnet8_drawn", folder) for folder in (first, second))
    assert arguments(made.command)[-4:] == ["--images", "250", "--epochs", "1"]
    assert made.sha256 == again.sha256
    assert not pretrained.load("resnet8_drawn", first).training


def test_an_unknown_name_is_refused():
    result = CliRunner().invoke(train, ["resnet9000", "--out", "nowhere"])
    assert result.exit_code == 2
    assert "resnet8_drawn" in result.output
