"""Recipes with a name: the methods of the lecture and what came after, as cards.

Learn:   course/4_quantization/4_5_post_training.ipynb, 4_6_no_data.ipynb, 4_10_language_models.ipynb

``KNOWN["dfq_w8a8"]`` is one; ``at(KNOWN["omse_w4a4"], 6)`` is the same at another width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from frugal.quant.recipe.card import Operand, Recipe
from frugal.quant.recipe.steps import step
from frugal.quant.recipe.tables import FOLD

ENDS = step("first_last", bits=8)


def weights(bits: int, range: Any = "omse", **more: Any) -> Operand:
    """Symmetric, a scale for each output channel."""
    return Operand(bits, range, **{"granularity": "per_channel", **more})


def activations(bits: int, range: Any = "mse") -> Operand:
    """Affine, one scale."""
    return Operand(bits, range, symmetric=False)


def at(recipe: Recipe, bits: int, name: str = "") -> Recipe:
    """The same recipe with other widths for weights and activations, where it has them."""
    return replace(
        recipe,
        weights=recipe.weights and replace(recipe.weights, bits=bits),
        activations=recipe.activations and replace(recipe.activations, bits=bits),
        name=name or recipe.name,
    )


def _recipes() -> list[Recipe]:
    four: dict[str, Any] = {"weights": weights(4), "activations": activations(4), "allocation": ENDS}
    blocks: dict[str, Any] = {"weights": weights(4, "mse"), "activations": activations(4), "allocation": ENDS}
    return [
        Recipe(name="whitepaper_w8a8"),
        Recipe(
            weights=Operand(8),
            activations=Operand(8, symmetric=False),
            transforms=("equalise", "absorb_biases", FOLD),
            corrections="bias_from_norms",
            data="norms",
            name="dfq_w8a8",
        ),
        Recipe(
            activations=Operand(8, granularity="per_channel"), data="norms", name="spiq_w8a8"
        ),
        Recipe(weights(8, "minmax"), activations(8, "minmax"), data="distilled", name="zeroq_w8a8"),
        Recipe(
            weights(4, "minmax"), activations(8, "minmax"), data="distilled", name="zeroq_mixed",
            allocation=step("pareto", budget=5.0),
        ),
        Recipe(
            weights(4, "minmax"), activations(4, "aciq"), allocation=("channel_bits", ENDS),
            corrections="weight_moments", name="aciq_w4a4",
        ),
        Recipe(**four, name="omse_w4a4"),
        Recipe(**four, corrections="bias", name="omse_bias_w4a4"),
        Recipe(
            weights(4), activations(8, "minmax"), (FOLD, step("split_channels", ratio=0.05)), name="ocs_w4a8"
        ),
        Recipe(weights(4, grid="pwlq"), activations(8, "minmax"), allocation=ENDS, name="pwlq_w4a8"),
        Recipe(weights(8, "ristretto"), activations(8, step("ristretto", kind="activations")), name="ristretto_w8a8"),
        Recipe(**four, rounding="gptq", corrections="bias", name="gptq_w4a4"),
        Recipe(**four, rounding="adaround", corrections="bias", name="adaround_w4a4"),
        Recipe(**blocks, rounding="brecq", name="brecq_w4a4"),
        Recipe(**blocks, rounding="qdrop", name="qdrop_w4a4"),
        Recipe(weights(8, grid="fp8"), Operand(8, grid="fp8"), name="fp8"),
        Recipe(weights(4, grid="mx"), Operand(4, grid="mx"), name="mxfp4"),
        Recipe(weights(8, "minmax"), Operand(8, granularity="per_token"), "smooth", name="smooth_quant_w8a8"),
        Recipe(Operand(4, granularity="per_group", symmetric=False), None, (), "gptq", name="gptq_w4"),
        Recipe(Operand(4, granularity="per_group", symmetric=False), None, "scale_salient", name="awq_w4"),
        Recipe(weights(4, grid=step("hqq", group_size=16)), None, (), name="hqq_w4"),
        Recipe(Operand(4, granularity="per_channel", symmetric=False), None, "rotate", name="rotate_w4"),
    ]  # fmt: skip


KNOWN: dict[str, Recipe] = {recipe.name: recipe for recipe in _recipes()}
