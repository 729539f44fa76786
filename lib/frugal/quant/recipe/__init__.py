"""Recipes: one value that says how a network is quantized, and one function that does it.

    from frugal.quant import recipe
    small = recipe.quantize(model, recipe.KNOWN["adaround_w4a4"], batches)
    print(small.report)
    recipe.save(small, "small.safetensors")
    again = recipe.load("small.safetensors", model)

Papers:  all of ``quant/methods`` that need no training. Learn: course/4_quantization/4_5_post_training.ipynb
"""

from frugal.quant.recipe.card import Operand, Recipe
from frugal.quant.recipe.known import KNOWN
from frugal.quant.recipe.report import LayerReport, Quantized, Report
from frugal.quant.recipe.run import quantize
from frugal.quant.recipe.saved import load, save
from frugal.quant.recipe.steps import Step, step

__all__ = [
    "KNOWN",
    "LayerReport",
    "Operand",
    "Quantized",
    "Recipe",
    "Report",
    "Step",
    "load",
    "quantize",
    "save",
    "step",
]
