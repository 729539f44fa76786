"""OCS: cut the channel that holds the outlier in two, and the range of all the others halves.

Paper:   [42] Zhao, Hu, Dotzel, De Sa and Zhang, ICML 2019, sections 3.2 to 3.4.
Formula: w x = (w/2) x + (w/2) x                                         exact, and the largest weight is half as large
         w x = ((w - ½) / 2) x + ((w + ½) / 2) x                         in steps of the grid, and then
         ⌊(w - ½) / 2⌉ + ⌊(w + ½) / 2⌉ = ⌊w⌉                             Hermite's identity: the split costs no error
Lesson:  an outlier can be split instead of clipped: some per cent more work, no loss.
Learn:   course/4_quantization/4_5_post_training.ipynb; lab 4.4

The identity needs halves rounded up. With torch's halves to even it fails at ties: w = 1.5 becomes 0 + 1 = 1.
Splitting into equal halves makes the same error twice: w = 1 becomes 0.5 + 0.5, rounded 1 + 1 or 0 + 0.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, check_num_bits, describe
from frugal.quant.affine import QParams
from frugal.quant.layers import map_layers, quantizable_layers, weight_of
from frugal.quant.rounding import half_up
from frugal.quant.transforms import Batches


@dataclass(frozen=True, eq=False)
class Split:
    """A weight with some input channels doubled.

    weight: [out, in + splits, ...].
    index:  which input channel each of its channels reads, int64 [in + splits]; the first ``in`` are 0, 1, 2, …
    """

    weight: Tensor
    index: Tensor

    def merged(self) -> Tensor:
        """Add the copies of each channel up again, [out, in, ...]: what the layer computes."""
        channels = int(self.index.max()) + 1
        return self.weight.new_zeros(self.weight.shape[0], channels, *self.weight.shape[2:]).index_add(
            1, self.index, self.weight
        )


def split_weight(weight: Tensor, ratio: float = 0.02, scale: float | None = None) -> Split:
    """Split the input channel with the largest weight, ⌈ratio · in⌉ times; a channel may be split again.

    Args:
        weight: [out, in, ...], finite.
        ratio: share of channels that the layer grows by, from 0 to 1.
        scale: the step of the grid that the halves will be rounded to, half up; None splits into equal halves.

    >>> split_weight(torch.tensor([[8.0, 1.0]]), ratio=0.5).weight  # 8 x becomes 4 x + 4 x
    tensor([[4., 1., 4.]])
    """
    check_finite(weight, "weight")
    if weight.ndim < 2:
        raise ValueError(f"weight must be [out, in, ...], got {describe(weight)}")
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must be from 0 to 1, got {ratio}; 0.02 doubles 2 of 100 channels")
    if scale is not None and not 0 < scale < math.inf:
        raise ValueError(f"scale must be above 0, got {scale}")
    split, index = weight.detach().clone(), list(range(weight.shape[1]))
    half_a_step = 0.0 if scale is None else scale / 2
    for _ in range(math.ceil(ratio * weight.shape[1])):
        channel = int(split.abs().amax([dim for dim in range(split.ndim) if dim != 1]).argmax())
        w = split[:, channel].clone()
        split[:, channel] = (w - half_a_step) / 2
        split = torch.cat([split, ((w + half_a_step) / 2).unsqueeze(1)], 1)
        index.append(index[channel])
    return Split(split, torch.tensor(index))


def quantize_weight(weight: Tensor, num_bits: int = 4, ratio: float = 0.02) -> tuple[Split, QParams]:
    """Split, choose one symmetric scale for what is left, split again in steps of it, and round half up.

    Returns:
        The split weight on its grid, and the parameters of the grid.
    """
    check_num_bits(num_bits)
    quant_max = (1 << num_bits - 1) - 1
    largest = split_weight(weight, ratio).weight.abs().max()
    scale = torch.where(largest > 0, largest / quant_max, torch.ones_like(largest))
    split = split_weight(weight, ratio, scale.item())
    codes = half_up(split.weight / scale).clamp(-quant_max, quant_max)
    qparams = QParams(scale, torch.zeros_like(scale, dtype=torch.int32), -quant_max, quant_max)
    return Split(codes * scale, split.index), qparams


class SplitLayer(nn.Module):
    """A convolution or linear layer that reads some input channels twice.

    ``layer`` is an ordinary layer with more inputs: everything that quantizes layers quantizes it.
    """

    index: Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear, split: Split) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer)
        self.layer.weight = nn.Parameter(split.weight.to(layer.weight.dtype))
        if isinstance(self.layer, nn.Linear):
            self.layer.in_features = len(split.index)
        else:
            self.layer.in_channels = len(split.index)
        self.register_buffer("index", split.index)

    def forward(self, x: Tensor) -> Tensor:
        axis = -1 if isinstance(self.layer, nn.Linear) else 1
        return self.layer(x.index_select(axis, self.index))


def split_channels(
    model: nn.Module, batches: Batches = None, *, ratio: float = 0.02, num_bits: int | None = None
) -> nn.Module:
    """Return a copy in which every layer but the first, and but grouped ones, has its outlier channels split.

    Args:
        model: any network; fold batch norm before.
        batches: not used; here because a transform has it.
        ratio: share of channels that each layer grows by.
        num_bits: split in steps of the grid that so many bits will have, and put the weight on it, half up; None
            splits into equal halves, which leaves the float function exactly as it was.
    """
    first = next(iter(quantizable_layers(model)))

    def replace(name: str, layer: nn.Module) -> nn.Module:
        splittable = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        if name == first or not splittable:
            return layer
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        if num_bits is None:
            return SplitLayer(layer, split_weight(weight_of(layer), ratio))
        return SplitLayer(layer, quantize_weight(weight_of(layer), num_bits, ratio)[0])

    return map_layers(model, replace)
