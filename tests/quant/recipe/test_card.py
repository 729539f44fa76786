"""Recipes are values: they compare, read like a card, survive JSON, and refuse what does not exist or fit."""

import json

import pytest

from frugal.quant.recipe import KNOWN, Operand, Recipe, step
from frugal.quant.recipe.known import at


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_recipe_survives_json(name):
    text = json.dumps(KNOWN[name].to_json())
    assert Recipe.from_json(text) == KNOWN[name]


def test_options_that_json_would_change_come_back_equal():
    patterns = {"conv*": (4, 8), "linear": None}
    recipe = Recipe(
        data=step("distilled", shape=(3, 8, 8)), allocation=step("per_layer", patterns=patterns), corrections="bias"
    )
    assert Recipe.from_json(json.dumps(recipe.to_json())) == recipe


def test_names_may_stand_for_steps_without_options():
    assert Recipe(rounding="gptq", corrections="bias") == Recipe(rounding=step("gptq"), corrections=(step("bias"),))


def test_a_card_reads_from_top_to_bottom():
    lines = str(KNOWN["adaround_w4a4"]).splitlines()
    assert lines[0] == "adaround_w4a4"
    assert "weights      4 bits, symmetric, per_channel, omse, uniform" in lines
    assert "allocation   first_last(bits=8)" in lines


def test_another_width_changes_nothing_else():
    wider = at(KNOWN["omse_w4a4"], 6)
    assert (wider.weights.bits, wider.activations.bits) == (6, 6)
    assert at(wider, 4) == KNOWN["omse_w4a4"]


@pytest.mark.parametrize(
    "words, message",
    [
        ({"rounding": "adaroud"}, r"rounding 'adaroud' is unknown; there are nearest, stochastic, adaround"),
        ({"rounding": step("adaround", step=3)}, r"no option step; it has steps, rows"),
        ({"transforms": "fold"}, r"transform 'fold' is unknown; there are fold_batchnorm"),
        ({"transforms": step("fold_batchnorm", twice=True)}, "no option twice; it has none"),
        ({"allocation": "aciq"}, "there are first_last, per_layer, channel_bits, pareto"),
        ({"corrections": "biases"}, "there are weight_moments, bias, bias_from_norms"),
        ({"data": "zeroq"}, "there are batches, distilled, norms"),
        ({"transforms": ("fold_batchnorm", "absorb_biases")}, "put it before 'fold_batchnorm'"),
        ({"transforms": ("split_channels", "fold_batchnorm")}, "put it after 'fold_batchnorm'"),
        ({"weights": None, "activations": None}, "nothing would be quantized"),
        ({"weights": None, "rounding": "gptq"}, "weights is None"),
        ({"data": "norms", "rounding": "gptq"}, "gptq looks at data"),
        ({"data": "norms", "corrections": "bias"}, "'bias_from_norms' corrects without any"),
        ({"rounding": "brecq"}, "say range='mse'"),
        ({"rounding": "qdrop", "weights": Operand(4, "mse"), "activations": Operand(4, "omse")}, "minmax, percentile"),
        ({"rounding": "gptq", "weights": Operand(4, grid="pwlq")}, "takes the nearest"),
        ({"weights": Operand(granularity="per_token")}, "weights have no tokens"),
        ({"activations": Operand(granularity="per_group")}, "not per group"),
        ({"activations": Operand(granularity="per_channel", symmetric=False)}, "must be symmetric"),
        ({"activations": Operand(grid="ternary")}, "activation grid 'ternary' is unknown"),
        ({"allocation": "channel_bits", "rounding": "gptq"}, "channel_bits rounds a uniform weight to the nearest"),
        ({"allocation": "channel_bits", "weights": Operand(4, "kl")}, "its range minmax or aciq; got"),
        ({"rounding": "brecq", "weights": Operand(4, "mse"), "corrections": "weight_moments"}, "would spoil that"),
        ({"rounding": 3}, "a step is a name"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused_with_what_does(words, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**words)


def test_bad_operands_and_cards_are_refused():
    with pytest.raises(ValueError, match="range 'max' is unknown; there are minmax"):
        Operand(range="max")
    with pytest.raises(ValueError, match="from 2 to 8, got 1"):
        Operand(1)
    assert Operand(1, grid="binary").bits == 1
    with pytest.raises(ValueError, match="a recipe has no wieghts; it has weights"):
        Recipe.from_json({"wieghts": None})
