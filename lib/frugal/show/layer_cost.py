"""What each layer of a network on codes costs: products and bytes counted, time measured.

    intensity = 2 · macs / bytes moved, inputs, weights and outputs once each

Learn: course/4_quantization/4_8_int8_for_real.ipynb
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from frugal.measure.latency import race
from frugal.quant.integer import Int8Conv2d, Int8Linear, Int8Network
from frugal.quant.integer.network import INPUT

KINDS = ("3 × 3 and wider", "1 × 1", "depthwise", "linear")
TURN_S, WARM_UP_S = 5e-4, 2e-4  # of each layer in each round: they take microseconds


@dataclass(frozen=True)
class LayerCost:
    """One layer.

    name:        in the network.
    kind:        one of ``KINDS``.
    macs:        products, each with its addition.
    moved_bytes: inputs, weights and outputs, each once.
    latency_s:   of one call, alone and again and again: what it reads stays in the nearer memories.
    """

    name: str
    kind: str
    macs: int
    moved_bytes: int
    latency_s: float

    @property
    def intensity(self) -> float:
        """Operations per byte; a product with its addition is two operations."""
        return 2 * self.macs / self.moved_bytes

    @property
    def gops(self) -> float:
        """Thousand million operations per second."""
        return 2e-9 * self.macs / self.latency_s


def layer_costs(network: Int8Network, x: Tensor, *, rounds: int = 6) -> list[LayerCost]:
    """Count and time every convolution and linear layer of a network.

    Args:
        network: what ``to_int8`` returned.
        x: an input of the network.
        rounds: turns that each layer gets; the median counts.
    """
    made = network.values(x)
    counted, calls = {}, {}
    for number, step in enumerate(network.steps):
        layer = step.operator
        if isinstance(layer, (Int8Conv2d, Int8Linear)):
            inputs = [x if source == INPUT else made[source] for source in step.inputs]
            moved = sum(each.nbytes for each in (*inputs, layer.weight, made[number]))
            key = f"{number} {step.name}"  # a layer may be called twice
            counted[key] = (step.name, kind_of(layer), made[number].numel() * layer.weight[0].numel(), moved)
            calls[key] = partial(layer, *inputs)
    timed = race(calls, rounds=rounds, turn_s=TURN_S, warm_up_s=WARM_UP_S)
    return [LayerCost(*cost, timed.latency(key).value) for key, cost in counted.items()]


def kind_of(layer: Int8Conv2d | Int8Linear) -> str:
    """Tell a layer's kind, one of ``KINDS``."""
    if isinstance(layer, Int8Linear):
        return "linear"
    if layer.groups > 1:
        return "depthwise"
    return "1 × 1" if layer.weight.shape[2:] == (1, 1) else "3 × 3 and wider"
