"""SPIQ: every input channel its own static scale, folded into the weight, so that one integer product still does it.

Paper:   after [41] Yvinec, Dapogny, Cord and Bailly, WACV 2023. Only the abstract was at hand: the equations are a
         reconstruction of the idea, and no figure of the paper is claimed.
Formula: y_o = Σ_i w_oi x_i = Σ_i (w_oi s_i) (x_i / s_i)                     s_i: the scale of input channel i
             ≈ s_o Σ_i q_oi q_i          q_i = round(x_i / s_i),  q_oi = round(w_oi s_i / s_o)
         s_i = (|beta_i| + λ |gamma_i|) / (2^(b-1) - 1)                       from the batch norm before, no data
         s_i = max(0, beta_i + λ |gamma_i|) / (2^b - 1)                       after ReLU
Lesson:  s_i cannot leave the sum over i, but it can be multiplied into the weight before that is quantized. The price:
         the weights take over the spread of the inputs. Paying half of it instead is SmoothQuant; this is its α = 1.
Learn:   course/4_quantization/4_6_no_data.ipynb; lab 4.3
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.core.check import check_finite, check_num_bits, describe
from frugal.graph.fold import fold_batchnorm
from frugal.quant.affine import QParams, choose_qparams, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.layers import map_layers, weight_of
from frugal.quant.statistics import REACH, Moments, input_moments
from frugal.quant.transforms import scale_inputs_


def input_qparams(moments: Moments, num_bits: int = 8, reach: float = REACH) -> QParams:
    """Choose one static scale for each input channel from what batch norms know of it; symmetric, no zero-point.

    Args:
        moments: of the layer's input, [in]; see ``statistics.input_moments``.
        num_bits: 2 to 8; unsigned codes where no channel goes below 0.
        reach: λ, how many standard deviations must have a code, where no activation ends the range before.
    """
    check_num_bits(num_bits)
    low, high = _ends(moments, reach)
    signed = bool((low < 0).any())
    quant_max = (1 << num_bits - 1) - 1 if signed else (1 << num_bits) - 1
    largest = torch.maximum(low.abs(), high.abs()).float()
    scale = torch.where(largest > 0, largest / quant_max, torch.ones_like(largest))
    zero_point = torch.zeros_like(scale, dtype=torch.int32)
    return QParams(scale, zero_point, -quant_max if signed else 0, quant_max, PerChannel(1))


def _ends(moments: Moments, reach: float) -> tuple[Tensor, Tensor]:
    """``moments`` say where REACH standard deviations end; move these ends to ``reach`` of them, in proportion."""
    if reach <= 0:
        raise ValueError(f"reach must be above 0 standard deviations, got {reach}")
    middle = moments.mean
    return middle + (moments.low - middle) * (reach / REACH), middle + (moments.high - middle) * (reach / REACH)


def fold_input_scales(layer: nn.Module, scale: Tensor) -> nn.Module:
    """Return a copy of ``layer`` that expects its input divided by ``scale`` [in]: the same function of x / scale."""
    check_finite(scale, "scale")
    folded = copy.deepcopy(layer)
    scale_inputs_(folded, scale)
    return folded


class SpiqLayer(nn.Module):
    """A layer on codes whose inputs have a scale for each channel and whose sum has one for each output.

    The sum of products of codes is exact: it is done in float64, which holds every whole number it can reach.

    Args:
        layer: float, ``nn.Conv2d`` or ``nn.Linear``.
        inputs: parameters of its input channels, symmetric.
        num_bits: of the weight, per output channel, symmetric.
    """

    codes: Tensor  # int8, the shape of the weight
    weight_scale: Tensor  # [out]
    input_scale: Tensor  # [in]

    def __init__(self, layer: nn.Conv2d | nn.Linear, inputs: QParams, num_bits: int = 8) -> None:
        super().__init__()
        folded = fold_input_scales(layer, inputs.scale)
        weight = weight_of(folded).detach()
        qparams = choose_qparams(weight, num_bits, symmetric=True, granularity=PerChannel(0))
        self.operation = copy.deepcopy(layer).requires_grad_(False)
        self.quant_min, self.quant_max = inputs.quant_min, inputs.quant_max
        self.register_buffer("codes", quantize(weight, qparams))
        self.register_buffer("weight_scale", qparams.scale)
        self.register_buffer("input_scale", inputs.scale)

    def forward(self, x: Tensor) -> Tensor:
        y = self.sums(self.input_codes(x))
        shape = (-1, *[1] * (y.ndim - 2)) if isinstance(self.operation, nn.Conv2d) else (-1,)
        y = y * self.weight_scale.double().view(shape)  # the only rescaling: one number per output channel
        if self.operation.bias is not None:
            y = y + self.operation.bias.double().view(shape)
        return y.to(x.dtype)

    def input_codes(self, x: Tensor) -> Tensor:
        """Quantize an input [n, in, ...], one scale per channel."""
        axis = 1 if isinstance(self.operation, nn.Conv2d) else x.ndim - 1
        zero_point = torch.zeros_like(self.input_scale, dtype=torch.int32)
        return quantize(x, QParams(self.input_scale, zero_point, self.quant_min, self.quant_max, PerChannel(axis)))

    def sums(self, codes: Tensor) -> Tensor:
        """The integer sums of products, exact, in float64."""
        operation, weight, x = self.operation, self.codes.double(), codes.double()
        if isinstance(operation, nn.Linear):
            return F.linear(x, weight)
        assert isinstance(operation, nn.Conv2d)
        return F.conv2d(x, weight, None, operation.stride, operation.padding, operation.dilation, operation.groups)  # type: ignore[arg-type]

    def dequantized_weight(self) -> Tensor:
        """The weight that the codes stand for, seen from unscaled inputs."""
        weight = self.codes * self.weight_scale.view(-1, *[1] * (self.codes.ndim - 1))
        twin = copy.deepcopy(self.operation)
        twin.weight = nn.Parameter(weight, requires_grad=False)
        return weight_of(fold_input_scales(twin, 1 / self.input_scale)).detach()


def quantize_network(
    model: nn.Module,
    shape: tuple[int, ...],
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    reach: float = REACH,
    pixels: Moments | None = None,
) -> nn.Module:
    """Quantize a network without any data: input scales per channel from its batch norms, weights per output channel.

    Args:
        model: with batch norms in place, traceable by torch.fx.
        shape: of one input, such as (3, 32, 32).
        weight_bits, activation_bits: 2 to 8.
        reach: λ.
        pixels: what the pictures look like, see ``statistics.input_moments``.

    Returns:
        A copy in eval mode, batch norm folded, whose layers are ``SpiqLayer``.
    """
    moments = input_moments(model, shape, pixels)
    folded = fold_batchnorm(model)

    def replace(name: str, layer: nn.Module) -> nn.Module:
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            raise TypeError(f"{name} must be nn.Conv2d or nn.Linear, got {type(layer).__name__}")
        if moments[name].mean.shape != (getattr(layer, "in_channels", None) or layer.in_features,):
            raise ValueError(f"{name}: moments {describe(moments[name].mean)} do not fit its inputs")
        return SpiqLayer(layer, input_qparams(moments[name], activation_bits, reach), weight_bits)

    return map_layers(folded, replace).eval()
