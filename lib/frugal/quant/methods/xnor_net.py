"""Binary-weight networks and XNOR-Net: signs, with the scale that the signs have lost.

Paper:   Rastegari et al., "XNOR-Net", ECCV 2016, sections 3.1 (weights) and 3.2 (inputs too). Beyond the lecture's
         list; its binary rows.
Formula: w ≈ α · sign(w) per output channel,  α = mean|w|:  no other α is nearer in squares
         x * w ≈ (sign(x) ⊛ sign(w)) · K · α,   K = box filter over the mean of |x| across channels
Learn:   course/4_quantization/4_7_straight_through.ipynb, lab 4.5

``⊛`` multiplies signs only: on the processor it is XNOR and a count of bits (kernels/bits.py). K is a small float
picture, one for all output channels. For normal weights, signs alone lose 1 - 2/π = 36 % of their squares.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.core.check import check_finite
from frugal.quant.affine import QParams
from frugal.quant.granularity import Granularity, PerChannel
from frugal.quant.ste import sign_through
from frugal.quant.trainable import Trainable


def binary_scale(w: Tensor, granularity: Granularity | None = None) -> Tensor:
    """Return α = mean|w| of each block, the scale that loses the least.

    >>> binary_scale(torch.tensor([[1.0, -3.0], [0.5, 0.5]])).tolist()
    [2.0, 0.5]
    """
    check_finite(w, "w")
    return (granularity or PerChannel(0)).blocks(w).abs().mean(dim=-1)


def binary_weights(w: Tensor, granularity: Granularity | None = None) -> Tensor:
    """Return α · sign(w), differentiably.

    The sign passes its gradient where |w| ≤ 1, and α has its own; so with n weights in a block
    dL/dw_i = α g_i 1[|w_i| ≤ 1] + sign(w_i) / n · Σ_j g_j sign(w_j).
    """
    granularity = granularity or PerChannel(0)
    return sign_through(w) * granularity.spread(binary_scale(w, granularity), w)


def input_scales(x: Tensor, kernel_size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
    """Return K [n, 1, out_h, out_w]: the mean of |x| over everything that an output looks at."""
    magnitude = x.abs().mean(dim=1, keepdim=True)
    return F.avg_pool2d(magnitude, kernel_size, stride, padding, count_include_pad=True)


class BinaryWeight(Trainable):
    """The weight quantizer of a binary-weight network.

    Args:
        granularity: which weights share one scale; per output channel by default.
    """

    def __init__(self, granularity: Granularity | None = None) -> None:
        super().__init__()
        self.granularity = granularity or PerChannel(0)
        self.last: Tensor | None = None

    def forward(self, w: Tensor) -> Tensor:
        self.last = binary_scale(w.detach(), self.granularity)
        return binary_weights(w, self.granularity)

    def settle_(self, latent: Tensor | None) -> None:
        """Keep the float weight where its sign still passes a gradient."""
        if latent is not None:
            with torch.no_grad():
                latent.clamp_(-1, 1)

    def qparams(self) -> QParams | None:
        if self.last is None:
            return None
        scale = self.last.clamp(min=torch.finfo(self.last.dtype).tiny)
        return QParams(scale, torch.zeros_like(scale, dtype=torch.int32), -1, 1, self.granularity)


class XnorConv2d(nn.Module):
    """A convolution of signs with signs, scaled back by K and α. Put it after batch norm, as the paper does.

    The border is real 0, which is no sign: it takes part as sign(0) = +1 of x, and as magnitude 0 in K.

    Args:
        layer: the float convolution, without groups or dilation; weights and bias are taken over.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        if layer.groups != 1 or layer.dilation != (1, 1) or isinstance(layer.padding, str):
            raise ValueError(f"XnorConv2d takes no groups, dilation or named padding, got {layer}")
        self.weight = nn.Parameter(layer.weight.detach().clone())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self.stride, self.padding = layer.stride, layer.padding

    def forward(self, x: Tensor) -> Tensor:
        pad_h, pad_w = self.padding
        signs = F.pad(sign_through(x), (pad_w, pad_w, pad_h, pad_h), value=1.0)
        dots = F.conv2d(signs, sign_through(self.weight), stride=self.stride)  # whole numbers: XNOR and count
        k = input_scales(x, self.weight.shape[2:], self.stride, self.padding)
        y = dots * k * binary_scale(self.weight)[:, None, None]
        return y if self.bias is None else y + self.bias[:, None, None]
