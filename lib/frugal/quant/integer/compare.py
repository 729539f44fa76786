"""How well a network on codes agrees with a fake-quantized one of the same parameters, layer by layer.

Paper:   [19] Jacob et al., CVPR 2018, section 3: training sees what inference will compute.
Learn:   course/4_quantization

Fake quantization computes in float32 what the codes stand for, and rounds to codes. It may land one code beside the
integer network, for two reasons, both at ties, where a value lies half-way between two codes:

    the float sum    rounds after every addition, the integer sum never does
    the last factor  M = x_scale · w_scale / y_scale is one float32 number; fake quantization multiplies each operand
                     by its scale and divides by y_scale, which rounds at other places

So a step that is given the same codes may differ by one code, at values within float rounding of a tie; averages of
few pixels tie often. A difference then travels on: later layers see other inputs, and differ by more.
Against the definition of the kernels, on the other hand, every code must be equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.quant.affine import QParams, dequantize, quantize
from frugal.quant.integer.infloat import InFloat
from frugal.quant.integer.network import INPUT, Int8Network, aligned
from frugal.quant.integer.operator import to_nchw, to_nhwc
from frugal.quant.integer.operators import Dequantize


@dataclass(frozen=True)
class LayerAgreement:
    """One step of the network, compared.

    name:            of the step.
    values:          how many codes (or reals) it made.
    differing:       how many differ from those of the fake-quantized network, which ran on its own.
    largest:         the largest difference, in codes; of an output of reals, in units of its largest magnitude.
    differing_alone: the same where the fake-quantized step was given this network's codes.
    largest_alone:   likewise.
    inexact:         how many differ from the kernels' definition; 0 unless a kernel is wrong.
    """

    name: str
    values: int
    differing: int
    largest: float
    differing_alone: int
    largest_alone: float
    inexact: int


@dataclass(frozen=True)
class Agreement:
    """All steps that make codes, then the network's output.

    steps:  in the order of execution.
    output: of reals; a difference counts from a millionth of the largest magnitude on.
    """

    steps: tuple[LayerAgreement, ...]
    output: LayerAgreement

    @property
    def values(self) -> int:
        """How many codes were compared."""
        return sum(step.values for step in self.steps)

    @property
    def differing(self) -> int:
        """How many codes differ where both networks ran on their own."""
        return sum(step.differing for step in self.steps)

    @property
    def largest(self) -> float:
        """The largest difference of these, in codes."""
        return max((step.largest for step in self.steps), default=0)

    @property
    def differing_alone(self) -> int:
        """How many codes differ where each step was given the same codes."""
        return sum(step.differing_alone for step in self.steps)

    @property
    def largest_alone(self) -> float:
        """The largest difference of these, in codes."""
        return max((step.largest_alone for step in self.steps), default=0)

    @property
    def inexact(self) -> int:
        """How many codes differ from the kernels' definition."""
        return sum(step.inexact for step in (*self.steps, self.output))

    def __str__(self) -> str:
        head = ("step", "codes", "differ", "by", "alone", "by", "from the definition")
        rows = [head]
        for step in (*self.steps, self.output):
            free, alone = f"{step.largest:.3g}", f"{step.largest_alone:.3g}"
            counts = (f"{step.values:,}", f"{step.differing:,}", free, f"{step.differing_alone:,}", alone)
            rows.append((step.name, *counts, f"{step.inexact:,}"))
        total = (
            f"{self.differing:,} of {self.values:,} codes differ from fake quantization, by at most {self.largest:g}; "
            f"{self.differing_alone:,} where each step is given the same codes, by at most {self.largest_alone:g}; "
            f"{self.inexact:,} from the definition"
        )
        return aligned(rows) + "\n" + total


FLOAT_SLACK = 1e-6  # of the largest magnitude: reals this close are the same number


@torch.no_grad()
def agreement(network: Int8Network, x: Tensor) -> Agreement:
    """Compare the codes of every step with those of the fake-quantized network, and with the kernels' definition.

    Both networks have the same weights, biases, scales and zero-points. What runs in float is not compared.

    Args:
        network: what ``to_int8`` or ``load_int8`` returned.
        x: an input of the network; some tens of images take seconds.
    """
    made = network.values(x)
    fake: list[Tensor] = []  # what the fake-quantized network has at each step: reals, of codes those they stand for
    rows: list[LayerAgreement] = []
    output = None
    for number, step in enumerate(network.steps):
        qparams = network.qparams[number]
        operator = step.operator
        free = operator.real(*(x if source == INPUT else fake[source] for source in step.inputs))
        codes = [x if source == INPUT else made[source] for source in step.inputs]
        known = [None if source == INPUT else network.qparams[source] for source in step.inputs]
        alone = operator.real(*(_real(each, q) for each, q in zip(codes, known, strict=True)))
        fake.append(free if qparams is None else dequantize(quantize(free, qparams), qparams))
        if isinstance(operator, (InFloat, Dequantize)) and number != network.output:
            continue
        exact = made[number] if isinstance(operator, InFloat) else operator.exact(*codes)
        row = _compared(step.name, made[number], exact, free, alone, qparams)
        if qparams is not None:
            rows.append(row)
        if number == network.output:
            output = row
    assert output is not None
    return Agreement(tuple(rows), output)


def _real(value: Tensor, qparams: QParams | None) -> Tensor:
    """Give codes the reals that they stand for, in torch's layout; reals are what they are."""
    return value if qparams is None else to_nchw(dequantize(value, qparams))


def _compared(
    name: str, made: Tensor, exact: Tensor, free: Tensor, alone: Tensor, qparams: QParams | None
) -> LayerAgreement:
    inexact = int((made != exact).sum())
    counts = (_difference(made, free, qparams), _difference(made, alone, qparams))
    return LayerAgreement(name, made.numel(), *counts[0], *counts[1], inexact)


def _difference(made: Tensor, real: Tensor, qparams: QParams | None) -> tuple[int, float]:
    """Count the values that differ, and measure the largest difference."""
    if qparams is None:
        error = (made - real).abs() / real.abs().max().clamp(min=torch.finfo(real.dtype).tiny)
        return int((error > FLOAT_SLACK).sum()), error.max().item()
    error = (made.int() - to_nhwc(quantize(real, qparams)).int()).abs()
    return int((error > 0).sum()), float(error.max())
