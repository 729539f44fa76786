"""The whitepaper's recipe: what to quantize and how, when nothing special is wanted; and how to train with batch norm.

Paper:   [20] Krishnamoorthi, arXiv 1806.08342, 2018, sections 2, 3 and 5.
Formula: after training   weights symmetric per output channel, activations affine per tensor, batch norm folded
         with training    y = conv(x, Q(w γ / σ)) · σ / σ_B  +  β - γ μ_B / σ_B     until the norm is frozen
                          y = conv(x, Q(w γ / σ))            +  β - γ μ / σ         from then on, and at inference
                          σ, μ: running;  σ_B, μ_B: of this batch
Lesson:  quantize what inference will multiply with: the folded weight. Folding by each batch's own σ_B would shake the
         grid at every step; folding by the running σ and undoing the difference after the product does not.
Learn:   course/4_quantization/4_5_post_training.ipynb and 4_7_straight_through.ipynb

Fine-tuning, as the paper does it: start from a float checkpoint, SGD, small steps, and freeze the norms late.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.check import check_num_bits
from frugal.graph.fold import fold_batchnorm, plan_folds
from frugal.quant.affine import choose_qparams
from frugal.quant.config import LayerConfig, QuantConfig, QuantSpec
from frugal.quant.convert import quantize_model
from frugal.quant.fake import fake_quantize
from frugal.quant.granularity import PerChannel, PerTensor

VARIANTS = ("asymmetric per layer", "symmetric per channel", "asymmetric per channel")


def configuration(
    variant: str = "symmetric per channel", weight_bits: int = 8, activation_bits: int = 8
) -> QuantConfig:
    """The three columns of the paper's table 2: how weights are quantized; activations are affine per tensor in all.

    >>> configuration("asymmetric per layer").default.weight.symmetric
    False
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}; got {variant!r}")
    granularity = PerTensor() if variant.endswith("layer") else PerChannel(0)
    weight = QuantSpec(weight_bits, symmetric=variant.startswith("symmetric"), granularity=granularity)
    return QuantConfig(LayerConfig(weight, QuantSpec(activation_bits, symmetric=False)))


def post_training(
    model: nn.Module, batches: Iterable[Tensor], variant: str = "symmetric per channel", *, num_bits: int = 8
) -> nn.Module:
    """Fold, calibrate, convert: a quantized copy from a few unlabelled batches (the paper: about 100 are enough)."""
    return quantize_model(fold_batchnorm(model), configuration(variant, num_bits, num_bits), batches)


class FoldedConv(nn.Module):
    """A convolution and its batch norm as one layer that can be trained with the weight that inference will use.

    Args:
        conv: without bias, or with one that is dropped into the running mean.
        norm: affine, with running statistics.
        weight_bits: of the folded weight, symmetric per output channel; None leaves it float.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, weight_bits: int | None = 8) -> None:
        super().__init__()
        if norm.weight is None or norm.running_mean is None:
            raise ValueError("the batch norm must have gamma, beta and running statistics")
        if weight_bits is not None:
            check_num_bits(weight_bits)
        self.conv, self.norm = copy.deepcopy(conv), copy.deepcopy(norm)
        self.weight_bits = weight_bits
        self.frozen = False

    def forward(self, x: Tensor) -> Tensor:
        norm: Any = self.norm
        std = torch.sqrt(norm.running_var + norm.eps)
        if not (self.training and not self.frozen):
            shift = norm.bias - norm.weight * norm.running_mean / std
            return self._convolve(x, self._folded(std)) + (shift + self._own_bias(std)).view(1, -1, 1, 1)
        batch_mean, batch_var = self._watch(x)
        batch_std = torch.sqrt(batch_var + norm.eps)
        y = self._convolve(x, self._folded(std)) * (std / batch_std).view(1, -1, 1, 1)
        return y + (norm.bias - norm.weight * batch_mean / batch_std + self._own_bias(batch_std)).view(1, -1, 1, 1)

    def _own_bias(self, std: Tensor) -> Tensor:
        bias = self.conv.bias
        return torch.zeros_like(std) if bias is None else self.norm.weight * bias / std

    def _folded(self, std: Tensor) -> Tensor:
        weight = self.conv.weight * (self.norm.weight / std).view(-1, 1, 1, 1)
        if self.weight_bits is None:
            return weight
        return fake_quantize(
            weight, choose_qparams(weight, self.weight_bits, symmetric=True, granularity=PerChannel(0))
        )

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.conv._conv_forward(x, weight, None)

    def _watch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the unquantized convolution over this batch; the running ones follow."""
        y = self.conv(x)
        mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3), unbiased=False)
        norm: Any = self.norm
        with torch.no_grad():
            count = y.numel() / y.shape[1]
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(var * count / max(count - 1, 1), norm.momentum)  # as torch: unbiased in the memory
        return mean, var

    def freeze(self) -> None:
        """Use the running statistics from now on, in training too."""
        self.frozen = True

    def folded(self) -> nn.Conv2d:
        """The plain convolution that inference runs, its weight not yet rounded."""
        folded = fold_batchnorm(nn.Sequential(self.conv, self.norm)).get_submodule("0")
        assert isinstance(folded, nn.Conv2d)
        return folded


def fold_for_training(model: nn.Module, *, weight_bits: int | None = 8) -> nn.Module:
    """Return a copy in which each convolution with a batch norm is a ``FoldedConv`` and the norm an identity."""
    folding = copy.deepcopy(model)
    for norm_name, layer_name in plan_folds(folding).folds.items():
        layer, norm = folding.get_submodule(layer_name), folding.get_submodule(norm_name)
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            _put(folding, layer_name, FoldedConv(layer, norm, weight_bits))
            _put(folding, norm_name, nn.Identity())
    return folding


def freeze_norms_(model: nn.Module) -> None:
    """Freeze every ``FoldedConv``: late in training, so that the last steps see what inference will see."""
    for module in model.modules():
        if isinstance(module, FoldedConv):
            module.freeze()


def finish(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode with plain folded convolutions, ready for ``quantize_model``."""
    finished = copy.deepcopy(model)
    for name, module in list(finished.named_modules()):
        if isinstance(module, FoldedConv):
            _put(finished, name, module.folded())
    return finished.eval()


def _put(model: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)
