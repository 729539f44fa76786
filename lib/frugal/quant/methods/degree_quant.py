"""Degree-Quant: while training, nodes with many neighbours are spared the rounding now and then.

Paper:   [30] Tailor, Fernandez-Marques and Lane, ICLR 2021, section 3. Lecture: slide 25.
Formula: p_v = p_min + (p_max - p_min) · #{u: degree(u) ≤ degree(v)} / n       rises with the degree, p_max at the top
         training   keep_v ~ Bernoulli(p_v) anew in every pass; kept rows stay in float, all others are quantized
         inference  everything is quantized
         ranges     percentiles of the quantized rows, followed slowly: low ← low + c · (percentile - low)
Learn:   course/4_quantization/4_7_straight_through.ipynb

A node with 300 neighbours adds up 300 values. Its sum is far outside what others have: it stretches the range of all,
or is clipped and sends a wrong gradient to every weight. Percentiles stop the first, protection the second.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, check_num_bits, describe
from frugal.quant.affine import QParams, qparams_from_range
from frugal.quant.fake import fake_quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.layers import MappedLayer, map_layers
from frugal.quant.trainable import RangeOfWeights, Trainable


def protection(degrees: Tensor, low: float = 0.0, high: float = 0.1) -> Tensor:
    """Return the probability with which each node is protected.  float32 [nodes]

    Args:
        degrees: int64 [nodes], edges that end at each node.
        low, high: p_min and p_max.

    >>> protection(torch.tensor([1, 5, 1, 2]), 0.0, 0.4)  # rank 2, 4, 2, 3 of 4
    tensor([0.2000, 0.4000, 0.2000, 0.3000])
    """
    if not 0 <= low <= high <= 1:
        raise ValueError(f"probabilities must be 0 ≤ low ≤ high ≤ 1, got {low} and {high}")
    if degrees.ndim != 1 or degrees.numel() == 0 or degrees.is_floating_point() or (degrees < 0).any():
        raise ValueError(f"degrees must be whole numbers of at least 0, one for each node, got {describe(degrees)}")
    nodes_up_to = torch.bincount(degrees).cumsum(0)  # [largest degree + 1]
    return (low + (high - low) * nodes_up_to[degrees] / len(degrees)).to(torch.float32)


class DegreeQuantizer(Trainable):
    """Quantize the rows of [nodes, features], sparing protected ones while training.

    Args:
        probability: how likely each node is protected, [nodes]; None protects nobody, which is plain training.
        num_bits: 2 to 8.
        tail: the share of values that may lie outside at each end; 0.001 for 8 bits, 0.01 for 4; 0 is min-max.
        averaging_constant: how fast the ends follow.
        rng: where the chance comes from.
    """

    low: Tensor
    high: Tensor
    seen: Tensor
    probability: Tensor | None

    def __init__(
        self,
        probability: Tensor | None,
        num_bits: int = 8,
        *,
        tail: float = 0.001,
        averaging_constant: float = 0.01,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_num_bits(num_bits)
        if not 0 <= tail < 0.5 or not 0 < averaging_constant <= 1:
            raise ValueError(f"tail is from 0 to below 0.5, averaging_constant to 1, got {tail}, {averaging_constant}")
        self.num_bits, self.tail, self.averaging_constant = num_bits, tail, averaging_constant
        self.rng, self.frozen = rng, False
        self.register_buffer("probability", probability)
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        check_finite(x, "x")
        keep = self._draw(x)
        if self.training and not self.frozen:
            self._follow(x.detach() if keep is None else x.detach()[~keep])
        if not self.seen:
            raise RuntimeError("this quantizer has seen no graph; run the network once in training mode")
        quantized = fake_quantize(x, self.qparams())
        return quantized if keep is None else torch.where(keep[:, None], x, quantized)

    def _draw(self, x: Tensor) -> Tensor | None:
        """Which rows to protect in this pass; none in eval mode."""
        if not self.training or self.probability is None:
            return None
        if x.ndim != 2 or len(x) != len(self.probability):
            raise ValueError(f"this quantizer knows {len(self.probability)} nodes, got {describe(x)}")
        return torch.rand(len(x), generator=self.rng) < self.probability

    def _follow(self, x: Tensor) -> None:
        if x.numel() == 0:  # everybody was protected
            return
        values = x.flatten().float()
        outside = int(self.tail * len(values))
        low = values.kthvalue(outside + 1).values
        high = values.kthvalue(len(values) - outside).values
        step = self.averaging_constant if self.seen else 1.0
        self.low.lerp_(low, step)
        self.high.lerp_(high, step)
        self.seen.fill_(True)

    def freeze(self) -> None:
        self.frozen = True

    def qparams(self) -> QParams:
        return qparams_from_range(self.low, self.high, self.num_bits)


def quantize_graph_net(
    model: nn.Module,
    degrees: Tensor,
    num_bits: int = 8,
    *,
    protect: tuple[float, float] | None = (0.0, 0.1),
    tail: float = 0.001,
    rng: torch.Generator | None = None,
) -> nn.Module:
    """Return a copy of a ``GraphNet`` that is quantized everywhere: weights, layer inputs, messages and sums.

    Args:
        model: the float network.
        degrees: of the graph's nodes.
        num_bits: of weights and of all the rest.
        protect: p_min and p_max; None for plain quantization-aware training.
        tail: the share outside each end of a range.
        rng: where the chance comes from.
    """
    probability = None if protect is None else protection(degrees, *protect)

    def new() -> DegreeQuantizer:
        return DegreeQuantizer(probability, num_bits, tail=tail, rng=rng)

    quantized = map_layers(
        model, lambda name, layer: MappedLayer(layer, RangeOfWeights(num_bits, PerChannel(0)), new())
    )
    for module in quantized.modules():
        for slot in ("message", "aggregate"):
            if isinstance(getattr(module, slot, None), nn.Identity):
                setattr(module, slot, new())
    return quantized
