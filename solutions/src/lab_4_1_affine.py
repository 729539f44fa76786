# %% [markdown] id="title"
# # Lab 4.1 The affine quantizer
#
# Slides 19 to 25 · about 100 minutes · 8 exercises, 34 points
#
# You write the functions that turn real numbers into integer codes and back. At the end a trained network runs on them,
# and they fill this table with its accuracy:
#
# | weights | inputs | 8 bits | 6 bits | 4 bits |
# |---|---|---|---|---|
# | one step | symmetric | | | |
# | one step | affine | | | |
# | one searched step | affine | | | |
# | a step per channel | symmetric | | | |
# | a step per channel | affine | | | |
#
# Each exercise has a stub, a check right below it, and three hints. Run the check as often as you like. An open
# exercise does not stop you: the lab goes on with a working version.
#
# Your code calls torch, `check_finite`, `QParams` and its `spread`, and nothing else of `frugal.quant`: the library is
# not accepted as the answer.

# %% id="setup"
import functools

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from frugal.core.check import check_finite, describe
from frugal.quant.affine import QParams
from frugal.quant.granularity import PerChannel, PerTensor
from frugal.show import check, plots, predict, style, unblock

style.use()

# %% [markdown] id="predict"
# ## Before you start: predict
# Commit to an answer; the last section shows it beside what you measured.

# %% id="predictions"
predict.predict(
    "codes",
    "Values after a ReLU, symmetric 8-bit codes: how many different codes can occur?",
    options=[64, 128, 255],
)
predict.predict(
    "helps",
    "At 4 bits, what gives back more accuracy?",
    options=["a step per channel for the weights", "a zero-point for the inputs", "both about the same"],
)
predict.predict(
    "w4a4",
    "How many pictures of ten classes are recognised at 4 bits, with one symmetric step per tensor?",
    options=range(0, 101, 5),
    unit="%",
)

# %% [markdown] id="part-a"
# ## Part A. From reals to codes
# $$Q: X \mapsto \left[X \times \frac{2^{b-1}-1}{\alpha}\right] \tag{1}$$
#
# Every real in $]-\alpha, \alpha[$ gets the nearest of the integers $-(2^{b-1}-1)$ to $2^{b-1}-1$. (Slide 20 prints the
# first of them as $-2^{b-1}-1$: for 8 bits that is $-129$, which no int8 holds.) The course works with the inverse of
# the factor, the **scale**: real units per step.

# %% id="example-a"
x = torch.tensor([[0.9, -0.3, 0.0], [0.2, 0.6, -0.7], [-0.2, 0.4, 0.5]])
step = 0.3  # 3 bits: codes -3 to 3, so 0.9 gets the code 3
print(
    describe(x),
    "\ncodes\n",
    torch.round(x / step).int(),
    "\nread back\n",
    torch.round(x / step) * step,
)

# %% [markdown] id="card-symmetric-scale"
# ### Exercise 4.1.1 The step of equation (1)
# ◆◇◇ · warm-up · ~5 min · 2 pts · slide 20
#
# Take $\alpha$ as the largest magnitude of the tensor, so that nothing is clipped.


# %% solution="symmetric_scale"
def symmetric_scale(x: Tensor, num_bits: int = 8) -> Tensor:
    """Return the scale of equation (1): the real units between two neighbouring codes.

    Args:
        x: float32, any shape, at least one value, magnitudes 0 or from 1e-30 to 1e30.
        num_bits: width b of the codes, 2 to 8.

    Returns:
        float32 []: the scale that gives the largest magnitude of ``x`` the code 2^(b-1) - 1.

    Rules:
        A tensor of zeros has scale 1: any step will do, as long as it is none of 0 and nan.
        ``x`` stays as it is.

    >>> symmetric_scale(torch.tensor([-2.54, 1.0]))
    tensor(0.0200)
    """
    ### BEGIN SOLUTION
    alpha = x.abs().max()
    scale = alpha / (2 ** (num_bits - 1) - 1)
    return torch.where(alpha > 0, scale, torch.ones_like(scale))
    ### END SOLUTION


# %% test="symmetric_scale" points=1
check.check(
    symmetric_scale,
    check.case(
        "the largest magnitude is negative",
        torch.tensor([-2.54, 1.0]),
        expect=torch.tensor(0.02),
    ),
    check.case("4 bits, two rows", torch.tensor([[0.5, -14.0], [7.0, 1.0]]), 4, expect=torch.tensor(2.0)),
    check.case("zeros only", torch.zeros(3), expect=torch.tensor(1.0)),
)

# %% [markdown] id="hints-symmetric-scale"
# <details><summary>Hint 1: where to look</summary>Many numbers come in, one number without axes comes out.</details>
#
# <details><summary>Hint 2: the move</summary>An absolute value, a maximum, one division; then the one input for which
# the quotient is 0.</details>
#
# <details><summary>Hint 3: symptoms</summary>About 1 % too small at 8 bits: count the codes on one side of 0. 50
# instead of 0.02: real units per step, not steps per unit.</details>

# %% hidden="symmetric_scale" points=1
from fractions import Fraction


def hold_symmetric_scale(x, *num_bits):
    before = x.tolist()
    got = symmetric_scale(x, *num_bits)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a number or a subclass"
    assert (got.dtype, tuple(got.shape)) == (torch.float32, ()), "the result is float32 without axes: see Returns"
    assert x.tolist() == before, "x was changed: compute on a copy"
    largest = max(abs(Fraction(value)) for value in x.flatten().tolist())
    exact = largest / (2 ** ((*num_bits, 8)[0] - 1) - 1) or 1
    assert abs(got.item() / float(exact) - 1) <= 1e-6, "compare your scale with equation (1), also at other widths"


rng = torch.Generator().manual_seed(41)
for num_bits in range(2, 9):
    for size in (1e-30, 1e-9, 1.0, 1e30):
        hold_symmetric_scale(torch.randn(3, 5, 2, generator=rng).clamp(-1, 1) * size, num_bits)
for few in (
    torch.zeros(2, 3),
    torch.tensor(-0.75),
    torch.tensor([-5.0, -9.0]),
    torch.rand(4, 6, generator=rng).T[::2],
):
    hold_symmetric_scale(few)


# %% id="see-symmetric-scale" tags="raises-exception" alt="Values after a ReLU, symmetric 4-bit levels"
from frugal.quant.affine import choose_qparams


def library_step(x: Tensor, num_bits: int = 8) -> Tensor:
    return choose_qparams(x, num_bits, symmetric=True).scale


symmetric_scale = unblock.go_on(symmetric_scale, fallback=library_step)
after_relu = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).abs()  # its zeros left out
no_shift = torch.zeros((), dtype=torch.int32)
plots.histogram_with_grid(after_relu, QParams(symmetric_scale(after_relu, 4), no_shift, -7, 7), bins=60)
plt.show()

# %% [markdown] id="card-affine-qparams"
# ### Exercise 4.1.2 Scale and zero-point
# ◆◆◇ · matters a lot · ~12 min · 5 pts · slide 21
#
# Half of the levels above lie where no value is. A zero-point moves them:
#
# $$Q: X \mapsto \left[z + X \times \frac{2^{b-1}-1}{\alpha}\right] \tag{4}$$
#
# With the step of equation (1) this wins nothing, the codes are shifted and no finer. So the step is chosen anew: the
# smallest value of the range gets the smallest code, the largest value the largest code. Real 0 must keep a code of its
# own: padding, ReLU and pruned weights are full of exact zeros.
#


# %% solution="affine_qparams"
def affine_qparams(x: Tensor, num_bits: int = 8) -> QParams:
    """Choose the scale and zero-point that spread all signed codes over the range of ``x``.

    Args:
        x: float32, any shape, magnitudes 0 or from 1e-30 to 1e30.
        num_bits: width b of the codes, 2 to 8.

    Returns:
        ``QParams(scale, zero_point, quant_min, quant_max)`` with scale float32 [], zero_point
        int32 [], and codes from -2^(b-1) to 2^(b-1) - 1.

    Raises:
        ValueError: ``x`` is empty or holds nan or infinity; ``check_finite(x, name="x")`` raises it.

    Rules:
        The range runs from the smallest to the largest value of ``x``, widened where needed
        until it holds 0.
        ``zero_point`` is the code of real 0; it is rounded once, halves to even.
        A tensor of zeros has scale 1 and any zero-point.

    >>> qparams = affine_qparams(torch.tensor([1.0, 6.0]))
    >>> round(qparams.scale.item(), 4), qparams.zero_point.item()
    (0.0235, -128)
    """
    ### BEGIN SOLUTION
    check_finite(x, "x")
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = (high - low) / (quant_max - quant_min)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = (quant_min - torch.round(low / scale)).clamp(quant_min, quant_max).to(torch.int32)
    return QParams(scale, zero_point, quant_min, quant_max)
    ### END SOLUTION


# %% test="affine_qparams" points=2
def parameters(scale, zero_point, quant_min, quant_max):
    return QParams(torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int32), quant_min, quant_max)


check.check(
    affine_qparams,
    check.case(
        "3 bits, both signs",
        torch.tensor([-1.375, 0.5, 2.125]),
        3,
        expect=parameters(0.5, -1, -4, 3),
    ),
    check.case(
        "a low end nearer to 0",
        torch.tensor([-1.125, 2.375]),
        3,
        expect=parameters(0.5, -2, -4, 3),
    ),
    check.case(
        "8 bits, positive",
        torch.tensor([[1.0, 2.0], [4.0, 6.0]]),
        expect=parameters(6 / 255, -128, -128, 127),
    ),
    check.case(
        "8 bits, negative",
        torch.tensor([-6.0, -1.0]),
        expect=parameters(6 / 255, 127, -128, 127),
    ),
    check.holds(
        "zeros only: scale 1",
        lambda: affine_qparams(torch.zeros(3)).scale.item() == 1.0,
        "the division",
    ),
    check.case("nan is refused", torch.tensor([1.0, torch.nan]), expect=check.raises(ValueError)),
    check.case("so is an empty tensor", torch.tensor([]), expect=check.raises(ValueError)),
)

# %% [markdown] id="hints-affine-qparams"
# <details><summary>Hint 1: where to look</summary>Draw the real line: two ends and real 0, the smallest and the largest
# code below the ends. How many steps lie between them?</details>
#
# <details><summary>Hint 2: the move</summary>Clamp each end against 0. Divide the width by the number of steps. Count,
# in steps and rounded, how far real 0 is from the low end; start counting at quant_min.</details>
#
# <details><summary>Hint 3: symptoms</summary>QParams refuses the zero-point: the range does not hold 0, or a sign is
# turned. One too high or too low: int() cuts. 0.4 % off: steps, not codes.</details>

# %% hidden="affine_qparams" points=3
from fractions import Fraction


def hold_affine_qparams(x, *num_bits):
    before, bits = x.tolist(), (*num_bits, 8)[0]
    got = affine_qparams(x, *num_bits)
    assert (type(got), type(got.granularity)) == (QParams, PerTensor), "the result is QParams(...) of four arguments"
    assert x.tolist() == before, "x was changed: compute on a copy"
    scale = got.scale
    assert (type(scale), scale.dtype, tuple(scale.shape)) == (Tensor, torch.float32, ()), "scale: see Returns"
    assert (type(got.zero_point), got.zero_point.dtype) == (Tensor, torch.int32), "zero_point: int32 []"
    quant_min, quant_max = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    assert (got.quant_min, got.quant_max) == (quant_min, quant_max), "compare quant_min and quant_max with Returns"
    values = [Fraction(value) for value in (*x.flatten().tolist(), 0.0)]
    steps = quant_max - quant_min
    exact = (max(values) - min(values)) / steps or 1
    assert abs(scale.item() / float(exact) - 1) <= 1e-6, "scale: how many steps lie between the two ends?"
    if any(values):
        code_of_0 = quant_min - min(values) / exact
        slack = Fraction(1, 1000)  # float32 knows 255 steps to within 1e-4
        far = abs(got.zero_point.item() - code_of_0)
        assert far <= Fraction(1, 2) + slack, "zero_point: which code lies nearest to 0?"


rng = torch.Generator().manual_seed(42)
for num_bits in range(2, 9):
    for low, high in ((-1, 2), (-3, 0.2), (0.5, 6), (-6, -0.5), (0, 1), (-1, 0)):
        for size in (1e-30, 1.0, 1e30):
            x = (low + (high - low) * torch.rand(4, 6, generator=rng)) * size
            hold_affine_qparams(x, num_bits)
            hold_affine_qparams(x.T[1:, ::3], num_bits)
for few in (
    torch.zeros(2, 2),
    torch.tensor(3.0),
    torch.full((5,), -0.01),
    torch.tensor([0.0, 7.0]),
):
    hold_affine_qparams(few)
for ends, code in (([-1.25, 2.25], -2), ([-1.75, 1.75], 0)):
    assert affine_qparams(torch.tensor(ends), 3).zero_point.item() == code, "zero_point: look at halves in Rules"
for bad in ([], [torch.nan], [0.0, torch.inf], [-torch.inf, 1.0]):
    try:
        affine_qparams(torch.tensor(bad))
    except ValueError:
        continue
    raise AssertionError("an input that Raises speaks of came through: no ValueError")

# %% id="see-affine-qparams" tags="raises-exception" alt="The same values, affine 4-bit levels"
affine_qparams = unblock.go_on(affine_qparams, "frugal.quant.affine:choose_qparams")
plots.histogram_with_grid(after_relu, affine_qparams(after_relu, 4), bins=60)
plt.show()

# %% [markdown] id="card-quantize"
# ### Exercise 4.1.3 Round and saturate
# ◆◆◇ · matters a lot · ~10 min · 5 pts · slides 20, 21
#
# Now the operator itself, in three moves: divide and **round** (halves to the even neighbour), add the zero-point, and
# **saturate**: a value outside the range gets the nearest end. Only then is it cast to
# `qparams.dtype`. `check_finite(x, name="x")` refuses what Raises speaks of.
#
# `qparams.granularity.spread(qparams.scale, x)` lays the scales over `x`: one number stays one number, a vector of
# channel scales gets the shape that broadcasts. Use it for scale and zero-point, and the function serves Part B as
# well.
#

# %% solution="quantize" lift="frugal.quant.affine:quantize"


# %% test="quantize" points=2
def codes(*values):
    return torch.tensor(values, dtype=torch.int8)


four_bits, eight_bits = parameters(0.5, 3, -8, 7), parameters(0.5, 3, -128, 127)
unsigned, from_0_to_255 = parameters(0.25, 10, 0, 255), torch.tensor([10, 14, 0, 255], dtype=torch.uint8)
rows = QParams(torch.tensor([0.5, 2.0]), torch.tensor([3, 0], dtype=torch.int32), -8, 7, PerChannel(0))
check.check(
    quantize,
    check.case("one value, on the grid", torch.tensor([1.0]), four_bits, expect=codes(5)),
    check.case("to the nearest", torch.tensor([0.9, -0.9]), four_bits, expect=codes(5, 1)),
    check.case("halves go to even", torch.tensor([0.25, 0.75, -0.25]), four_bits, expect=codes(3, 5, 3)),
    check.case("8 bits saturate", torch.tensor([99.0, -99.0]), eight_bits, expect=codes(127, -128)),
    check.case("4 bits saturate", torch.tensor([9.0, -9.0]), four_bits, expect=codes(7, -8)),
    check.case(
        "a scale per row",
        torch.tensor([[1.0, 0.0], [4.0, 2.0]]),
        rows,
        expect=codes(5, 3, 2, 1).reshape(2, 2),
    ),
    check.case("uint8 codes", torch.tensor([0.0, 1.0, -99.0, 99.0]), unsigned, expect=from_0_to_255),
    check.case("nan is refused", torch.tensor([1.0, torch.nan]), four_bits, expect=check.raises(ValueError)),
)

# %% [markdown] id="hints-quantize"
# <details><summary>Hint 1: where to look</summary>Which codes may come out? Those from quant_min to quant_max, which
# may be fewer than int8 holds. And the dtype depends on the parameters.</details>
#
# <details><summary>Hint 2: the move</summary>Refuse what is not finite; divide; torch's rounding; add; clamp at both
# ends; change the dtype last.</details>
#
# <details><summary>Hint 3: symptoms</summary>Large values come out negative: the cast wraps, so it comes too early. Off
# by one at halves only: zero_point came in before the rounding, or halves went up.</details>

# %% hidden="quantize" points=3
from fractions import Fraction


def hold_quantize(x, scales, zeros, ends, granularity, look):
    qparams = QParams(torch.tensor(scales), torch.tensor(zeros, dtype=torch.int32), *ends, granularity)
    before = x.tolist()
    got = quantize(x, qparams)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert got.dtype is (torch.int8 if ends[0] < 0 else torch.uint8), "the dtype of the codes: see Returns"
    assert got.shape == x.shape, "the result has the shape of x"
    assert x.tolist() == before, "x was changed: compute on a copy"
    lay = functools.partial(granularity.spread, x=x)
    scales, zeros = (lay(each).expand(x.shape).flatten().tolist() for each in (qparams.scale, qparams.zero_point))
    for value, scale, zero, code in zip(x.flatten().tolist(), scales, zeros, got.flatten().tolist(), strict=True):
        assert code == min(max(round(Fraction(value) / Fraction(scale)) + zero, ends[0]), ends[1]), look


rng = torch.Generator().manual_seed(43)
halves = torch.arange(-40, 41) / 2  # in steps: every second one is a tie
for ends in ((-128, 127), (-127, 127), (-8, 7), (-7, 7), (-2, 1), (0, 255), (0, 15)):
    for zero in {ends[0], ends[1], (ends[0] + ends[1]) // 2, ends[0] + 1}:
        for scale in (2.0**-8, 0.5, 4.0):
            hold_quantize(
                halves * scale,
                scale,
                zero,
                ends,
                PerTensor(),
                "look at halves and where zero_point comes in",
            )
        inside = (torch.randint(-300, 300, (5, 7), generator=rng) + torch.rand(5, 7, generator=rng) * 0.8 - 0.4) * 0.1
        hold_quantize(
            inside.T[::2],
            0.1,
            zero,
            ends,
            PerTensor(),
            "look at scale, zero_point and both ends",
        )
        hold_quantize(
            torch.tensor([3e9, -3e9, 1e30, -1e30, 300.0, 1e-30]),
            0.5,
            zero,
            ends,
            PerTensor(),
            "far outside",
        )
per_channel = torch.randint(-20, 20, (3, 3, 3), generator=rng).float()
for axis in (0, 1, 2, -1):
    hold_quantize(
        per_channel,
        [0.25, 1.0, 8.0],
        [1, -3, 0],
        (-8, 7),
        PerChannel(axis),
        "several scales: see spread",
    )
hold_quantize(torch.tensor(1.0), 0.5, 0, (-8, 7), PerTensor(), "a tensor without axes")
for bad in ([], [1.0, torch.nan], [torch.inf], [-torch.inf, 0.0]):
    try:
        quantize(
            torch.tensor(bad),
            QParams(torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), -8, 7),
        )
    except ValueError:
        continue
    raise AssertionError("an input that Raises speaks of came through: no ValueError")

# %% [markdown] id="card-dequantize"
# ### Exercise 4.1.4 Back to reals
# ◆◆◇ · matters · ~6 min · 4 pts · slide 20, $Q^{-1}$ in equation (3)
#
# A code stands for scale · (code - zero-point). Mind the width: 127 - (-128) is 255, and int8 ends at 127.

# %% solution="dequantize" lift="frugal.quant.affine:dequantize"

# %% test="dequantize" points=2
check.check(
    dequantize,
    check.case(
        "the code of 0, and others",
        codes(3, 5, -8),
        four_bits,
        expect=torch.tensor([0.0, 1.0, -5.5]),
    ),
    check.case(
        "both ends",
        codes(127, -128),
        parameters(0.5, -100, -128, 127),
        expect=torch.tensor([113.5, -14.0]),
    ),
    check.case(
        "uint8",
        torch.tensor([10, 0, 255], dtype=torch.uint8),
        unsigned,
        expect=torch.tensor([0, -2.5, 61.25]),
    ),
    check.case(
        "a scale per row",
        codes(5, 3, 2, 1).reshape(2, 2),
        rows,
        expect=torch.tensor([[1.0, 0.0], [4.0, 2.0]]),
    ),
)

# %% [markdown] id="hints-dequantize"
# <details><summary>Hint 1: where to look</summary>Which integers can a difference of two int8 codes be? How many bits
# is that?</details>
#
# <details><summary>Hint 2: the move</summary>Widen the codes, subtract, multiply: in this order.</details>
#
# <details><summary>Hint 3: symptoms</summary>Off by exactly 256 steps: the difference wrapped. Everything off by one
# amount: the zero-point was added, or subtracted from reals.</details>

# %% hidden="dequantize" points=2
from fractions import Fraction


def hold_dequantize(q, scales, zeros, ends, granularity, look):
    qparams = QParams(torch.tensor(scales), torch.tensor(zeros, dtype=torch.int32), *ends, granularity)
    before = q.tolist()
    got = dequantize(q, qparams)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert (got.dtype, got.shape) == (qparams.scale.dtype, q.shape), "dtype and shape: see Returns"
    assert q.tolist() == before, "q was changed: compute on a copy"
    lay = functools.partial(granularity.spread, x=q)
    scales, zeros = (lay(each).expand(q.shape).flatten().tolist() for each in (qparams.scale, qparams.zero_point))
    for code, scale, zero, real in zip(q.flatten().tolist(), scales, zeros, got.flatten().tolist(), strict=True):
        rounding = 256 * scale * 2.0**-22  # a float32 product of 256 steps, twice
        assert abs(real - float(Fraction(scale) * (code - zero))) <= rounding, look
        assert code != zero or real == 0, "the code zero_point stands for exactly 0"


for ends, dtype in (
    ((-128, 127), torch.int8),
    ((-8, 7), torch.int8),
    ((0, 255), torch.uint8),
    ((0, 15), torch.uint8),
):
    every = torch.arange(ends[0], ends[1] + 1).to(dtype)
    for zero in {ends[0], ends[1], ends[0] + 5, (ends[0] + ends[1]) // 2}:
        for scale in (0.5, 0.1, 1e-30, 1e30):
            hold_dequantize(
                every,
                scale,
                zero,
                ends,
                PerTensor(),
                "look at the width of the difference and its sign",
            )
    hold_dequantize(
        every.reshape(4, -1).T[1:],
        0.5,
        ends[0],
        ends,
        PerTensor(),
        "any shape, contiguous or not",
    )
block = torch.arange(-13, 14).to(torch.int8).reshape(3, 3, 3)
for axis in (0, 1, 2, -1):
    hold_dequantize(
        block,
        [0.25, 1.0, 8.0],
        [127, -128, 0],
        (-128, 127),
        PerChannel(axis),
        "many scales: see spread",
    )

# %% id="see-codes" tags="raises-exception" alt="Rounding staircase at 2 to 5 bits, drawn with your functions"
from frugal.show.explore import Explore

quantize = unblock.go_on(quantize, "frugal.quant.affine:quantize")
dequantize = unblock.go_on(dequantize, "frugal.quant.affine:dequantize")


def staircase(ax, num_bits):
    """The rounding staircase of your functions over [-1, 2]."""
    x = torch.linspace(-1.6, 2.6, 300)
    qparams = affine_qparams(torch.tensor([-1.0, 2.0]), num_bits)
    y = dequantize(quantize(x, qparams), qparams)
    ax.plot(x, x, color="0.6", lw=1, ls="--")
    ax.plot(x, y)
    inside = (x - y)[(x > qparams.low) & (x < qparams.high)].abs().max() / qparams.scale
    ax.set(
        xlabel="x (real)",
        ylabel="read back",
        title=f"worst error inside the range: {inside:.2f} steps",
    )


Explore(staircase, num_bits=range(2, 6))

# %% [markdown] id="part-b"
# ## Part B. One step for each channel
# Slide 22: one scale per tensor is set by the largest weight of all; a channel of small weights is left with a few
# codes. A vector of scales, one per **output channel**, costs a few numbers and no extra work: the scale stays outside
# the sum.

# %% id="example-b"
weight = torch.tensor([[1.27, -0.4, 0.8], [0.02, 0.05, -0.01], [0.0, 0.0, 0.0]])  # [out, in]
q = torch.round(weight / (weight.abs().max() / 127)).int()
print(q, "\nlargest code in each channel:", q.abs().amax(dim=1).tolist())

# %% [markdown] id="card-channel-scales"
# ### Exercise 4.1.5 A scale per channel
# ◆◆◇ · matters a lot · ~10 min · 4 pts · slide 22
#
# Linear layers and convolutions keep the output channel on axis 0, transposed convolutions on axis 1. The result has to
# broadcast: `w / channel_scales(w, axis)` must divide each channel by its own scale.


# %% solution="channel_scales"
def channel_scales(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """Return the scale of equation (1) for each channel of a weight, ready to broadcast.

    Args:
        w: float32, two axes or more, none of size 0, magnitudes 0 or from 1e-30 to 1e30.
        axis: the axis that counts the channels, from -w.ndim to w.ndim - 1.
        num_bits: width b of the codes, 2 to 8.

    Returns:
        float32, the size of ``w`` along ``axis`` and 1 along every other axis: [1, out, 1, 1]
        for [in, out, kh, kw] and axis 1.

    Rules:
        A channel of zeros has scale 1. ``w`` stays as it is.

    >>> channel_scales(torch.tensor([[1.27, -2.54], [0.0, 0.0]]))
    tensor([[0.0200],
            [1.0000]])
    """
    ### BEGIN SOLUTION
    others = [dim for dim in range(w.ndim) if dim != axis % w.ndim]
    alpha = w.abs().amax(dim=others, keepdim=True)
    scale = alpha / (2 ** (num_bits - 1) - 1)
    return torch.where(alpha > 0, scale, torch.ones_like(scale))
    ### END SOLUTION


# %% test="channel_scales" points=2
transposed = torch.tensor([[7.0, -1.4, 0.7], [2.0, 0.7, -3.5]]).reshape(2, 3, 1, 1)
check.check(
    channel_scales,
    check.case(
        "the rows of a matrix",
        torch.tensor([[1.27, 2.54], [-12.7, 0.5]]),
        expect=torch.tensor([[0.02], [0.1]]),
    ),
    check.case(
        "axis 1, 4 bits",
        transposed,
        1,
        4,
        expect=torch.tensor([1.0, 0.2, 0.5]).reshape(1, 3, 1, 1),
    ),
    check.case(
        "axis -1, the last one",
        torch.tensor([[1.27, 2.54], [-12.7, 0.5]]),
        -1,
        expect=torch.tensor([[0.1, 0.02]]),
    ),
    check.case(
        "a channel of zeros",
        torch.tensor([[0.0, 0.0], [1.27, 0.0]]),
        expect=torch.tensor([[1.0], [0.01]]),
    ),
)

# %% [markdown] id="hints-channel-scales"
# <details><summary>Hint 1: where to look</summary>Write down the shape of the result for a weight [2, 3, 5, 5] and axis
# 1. Then for axis -3.</details>
#
# <details><summary>Hint 2: the move</summary>Reduce over all axes but one and keep the reduced axes; count a negative
# axis from the front first.</details>
#
# <details><summary>Hint 3: symptoms</summary>All channels share one number: the reduction took every axis. Shape [out]:
# the division broadcasts along the wrong axis, or not at all.</details>

# %% hidden="channel_scales" points=2
from fractions import Fraction


def hold_channel_scales(w, axis, num_bits):
    before = w.tolist()
    got = channel_scales(w, axis, num_bits)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert got.dtype is torch.float32, "the result is float32: see Returns"
    places = [size if dim == axis % w.ndim else 1 for dim, size in enumerate(w.shape)]
    assert list(got.shape) == places, "the shape: see Returns, and try every axis, counted from either end"
    assert w.tolist() == before, "w was changed: compute on a copy"
    for channel, scale in zip(w.movedim(axis, 0).unbind(), got.flatten().tolist(), strict=True):
        largest = max(abs(Fraction(value)) for value in channel.flatten().tolist())
        exact = largest / (2 ** (num_bits - 1) - 1) or 1
        assert abs(scale / float(exact) - 1) <= 1e-6, "compare each channel's scale with equation (1)"


rng = torch.Generator().manual_seed(45)
for shape in ((2, 3), (4, 1), (3, 2, 5), (3, 3, 3, 3), (2, 3, 1, 2, 2)):
    for axis in range(-len(shape), len(shape)):
        w = torch.randn(shape, generator=rng).clamp(-1, 1) * 10.0 ** torch.randint(-3, 3, shape, generator=rng)
        hold_channel_scales(w, axis, 8)
        hold_channel_scales((w * 1e-27).transpose(0, 1), axis, 2 + len(shape))
        w.select(axis, 0).zero_()  # a silent channel
        hold_channel_scales(w, axis, 5)
assert channel_scales(torch.ones(2, 2)).shape == (2, 1), "without further arguments: axis 0 and 8 bits"

# %% id="see-channel-scales" tags="raises-exception" alt="Rounding error of each channel"
from frugal.graph.fold import fold_batchnorm
from frugal.nets import pretrained


def library_steps(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    granularity = PerChannel(axis)
    return granularity.spread(choose_qparams(w, num_bits, symmetric=True, granularity=granularity).scale, w)


channel_scales = unblock.go_on(channel_scales, fallback=library_steps)
above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3, "borderaxespad": 0.2}  # a legend beside no line
net = fold_batchnorm(pretrained.load("resnet8_drawn"))
weight = net.get_submodule("layer1.0.conv1").weight.detach()  # [16, 16, 3, 3]
for name, scale in (
    ("one step", symmetric_scale(weight, 4)),
    ("a step per channel", channel_scales(weight, 0, 4)),
):
    error = (torch.round(weight / scale) * scale - weight).flatten(1).norm(dim=1)
    plt.plot(100 * error / weight.flatten(1).norm(dim=1), "o-", label=name)
plt.gca().set(xlabel="output channel", ylabel="rounding error (% of the channel)", ylim=(0, None))
plt.legend(**above)
plt.show()

# %% [markdown] id="part-c"
# ## Part C. What a network asks for: a gradient, and integers
# Rounding has derivative 0 almost everywhere, so nothing before it would ever learn. Slide 25's **straight-through
# estimator** keeps the rounded value on the way forward and, on the way back, lets the gradient pass as if nothing had
# been rounded: with factor 1 where $x$ lies in the range, 0 where it was clipped.

# %% id="example-c"
t = torch.tensor([0.2, 0.7], requires_grad=True)
(torch.round(t) * torch.tensor([1.0, 5.0])).sum().backward()
print("through round alone:", t.grad.tolist())

# %% [markdown] id="card-straight-through"
# ### Exercise 4.1.6 Straight through
# ◆◆◆ · matters · ~12 min · 5 pts · slide 25
#
# The rounding is done already: `quantized` comes in beside `x`. You give it the gradient.


# %% solution="straight_through"
def straight_through(x: Tensor, quantized: Tensor, low: float, high: float) -> Tensor:
    """Return the values of ``quantized`` with a gradient to ``x`` where ``x`` was not clipped.

    Args:
        x: float32, any shape; it may require a gradient.
        quantized: float32, the shape of ``x``: what the codes of ``x`` stand for.
        low, high: the ends of the range, low < high.

    Returns:
        float32, the shape of ``x``, the values of ``quantized`` up to float32 rounding of ``x``.

    Rules:
        The gradient that comes in passes to ``x`` unchanged where low < x < high and is 0 where
        x < low or x > high; exactly at an end, either will do.
        No gradient flows into ``quantized``. ``x`` and ``quantized`` stay as they are.

    >>> x = torch.tensor([0.3, 99.0], requires_grad=True)
    >>> y = straight_through(x, torch.tensor([0.5, 3.5]), low=-4.0, high=3.5)
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.5, 3.5], [1.0, 0.0])
    """
    ### BEGIN SOLUTION
    inside = ((x >= low) & (x <= high)).to(x.dtype)
    return quantized.detach() + (x - x.detach()) * inside  # the difference is 0 and has derivative 1
    ### END SOLUTION


# %% test="straight_through" points=2
@functools.wraps(straight_through)
def both_ways(x, quantized, low, high, incoming):
    x = x.clone().requires_grad_()
    y = straight_through(x, quantized, low, high)
    if y.requires_grad:
        y.backward(incoming)
    return {"value": y, "gradient": x.grad if x.grad is not None else torch.zeros_like(x)}


def forth_and_back(value, gradient):
    return {"value": value, "gradient": torch.as_tensor(gradient)}


some, ones = torch.tensor([-1.5, -0.8, 0.4, 1.2]), torch.ones(4)
whole, clipped = torch.tensor([-2.0, -1.0, 0.0, 1.0]), torch.tensor([-1.0, -1.0, 0.0, 1.0])
check.check(
    both_ways,
    check.case("inside", some, whole, -2.0, 2.0, ones, expect=forth_and_back(whole, ones)),
    check.case(
        "clipped",
        some,
        clipped,
        -1.0,
        1.0,
        ones,
        expect=forth_and_back(clipped, [0.0, 1.0, 1.0, 0.0]),
    ),
    check.case(
        "other gradients",
        some,
        whole,
        -2.0,
        1.0,
        3 * some,
        expect=forth_and_back(whole, [-4.5, -2.4, 1.2, 0.0]),
    ),
)

# %% [markdown] id="hints-straight-through"
# <details><summary>Hint 1: where to look</summary>Two things are asked for: a value and a slope. Find a term whose
# value is 0 and whose slope is 1.</details>
#
# <details><summary>Hint 2: the move</summary>`detach` gives the value without the slope. A mask of `x` switches the
# slope off. `torch.autograd.Function` with a forward and a backward works as well.</details>
#
# <details><summary>Hint 3: symptoms</summary>All ones: the mask looks at quantized, which never leaves the range; with
# `<` in it, 0 also where x is inside and was rounded to an end. RuntimeError about grad: the result does not depend on
# x.</details>

# %% hidden="straight_through" points=3
rng = torch.Generator().manual_seed(46)


def hold_straight_through(x, quantized, low, high):
    incoming = torch.randn(x.shape, generator=rng)
    values, codes_before = x.tolist(), quantized.tolist()
    x, quantized = x.requires_grad_(), quantized.requires_grad_()
    y = straight_through(x, quantized, low, high)
    assert type(y) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert (y.dtype, y.shape) == (torch.float32, x.shape), "the result is float32 with the shape of x"
    room = 4 * torch.finfo(torch.float32).eps * max(map(abs, torch.tensor(values).flatten().tolist()))
    for came_out, wanted in zip(y.flatten().tolist(), quantized.flatten().tolist(), strict=True):
        assert abs(came_out - wanted) <= room, "the value on the way forward is quantized, whatever x is"
    assert y.requires_grad, "the result must require a gradient where x does"
    y.backward(incoming)
    assert x.grad is not None, "no gradient reaches x"
    assert quantized.grad is None or not any(quantized.grad.flatten().tolist()), "a gradient flows into quantized"
    assert (x.tolist(), quantized.tolist()) == (values, codes_before), "an argument was changed: compute on a copy"
    for value, came, passed in zip(
        x.flatten().tolist(),
        incoming.flatten().tolist(),
        x.grad.flatten().tolist(),
        strict=True,
    ):
        exact = came if low < value < high else 0.0
        at_an_end = value in (low, high) and passed in (came, 0.0)
        assert passed == exact or at_an_end, "compare the gradient with Rules: inside, outside, and for other than ones"


for low, high in ((-1.0, 1.0), (-0.25, 3.0), (0.0, 2.0), (-4.0, -0.5)):
    x = torch.randn(6, 7, generator=rng) * 2
    hold_straight_through(x, torch.round(x.clamp(low, high) * 2) / 2, low, high)
    ends = torch.tensor([low, high, low - 0.125, high + 0.125, low + 0.125, high - 0.125])
    hold_straight_through(ends, torch.randn(6, generator=rng), low, high)
    hold_straight_through(x.detach().T[::2].clone().T, torch.zeros(6, 4), low, high)
plain = straight_through(torch.ones(2), torch.zeros(2), -2.0, 2.0)
assert (plain.requires_grad, plain.tolist()) == (False, [0.0, 0.0]), "x need not require a gradient"


# %% id="see-straight-through" tags="raises-exception" alt="A staircase and its gradient"
from frugal.quant.fake import fake_quantize

ramp = torch.linspace(-1.6, 2.6, 600, requires_grad=True)
qparams = affine_qparams(torch.tensor([-1.0, 2.0]), 3)
rounded = dequantize(quantize(ramp.detach(), qparams), qparams)


def library_estimator(x, quantized, low, high):
    return fake_quantize(x, qparams)


straight_through = unblock.go_on(straight_through, fallback=library_estimator)
y = straight_through(ramp, rounded, qparams.low.item(), qparams.high.item())
y.sum().backward()
plt.plot(ramp.detach(), y.detach(), label="forward")
plt.plot(ramp.detach(), ramp.grad, label="gradient")
plt.gca().set(xlabel="x (real)", ylabel="value, slope")
plt.legend(**above)
plt.show()

# %% [markdown] id="card-integer-linear"
# ### Exercise 4.1.7 A layer on integers
# ◆◆◆ · matters a lot · ~15 min · 5 pts · slides 20, 23
#
# A layer $\sigma(WX + B)$ of equation (2) becomes, on codes,
#
# $$f: X \mapsto \sigma(Q^{-1}(Q(W)\,Q(X)) + B) \tag{3}$$
#
# which is exact only when both zero-points are 0. With symmetric weights one correction is left:
#
# $$y = s_w s_x \Big(\sum_i q_w q_x - z_x \sum_i q_w\Big) + b$$
#
# The brackets hold integers only. Products of two int8 need 16 bits, their sums more: slide 23's wider accumulator. The
# second sum belongs to the weights alone, so a deployed layer computes it once.
#


# %% solution="integer_linear"
def integer_linear(
    q_x: Tensor,
    q_w: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    w_scale: Tensor,
    bias: Tensor,
) -> Tensor:
    """Apply a linear layer to codes: sum integers, then scale to reals and add the bias.

    Args:
        q_x: int8 [n, in], codes of the inputs.
        q_w: int8 [out, in], symmetric codes of the weights; in is at most 60,000.
        x_scale, x_zero_point: float32 [] and int32 [], what the codes of the inputs stand for.
        w_scale: float32 [out], one scale for each output channel.
        bias: float32 [out], in real units.

    Returns:
        float32 [n, out], without an activation function.

    Rules:
        The sum over ``in`` is exact: no code and no partial sum is rounded or wraps around.
        Nothing that comes in is changed.

    >>> q_x = torch.tensor([[1, 2]], dtype=torch.int8)
    >>> q_w = torch.tensor([[3, 4]], dtype=torch.int8)
    >>> half, one = torch.tensor(0.5), torch.tensor(1, dtype=torch.int32)
    >>> integer_linear(q_x, q_w, half, one, torch.tensor([0.25]), torch.ones(1))  # 0.125 · 4 + 1
    tensor([[1.5000]])
    """
    ### BEGIN SOLUTION
    q_x, q_w = (
        q_x.to(torch.int32),
        q_w.to(torch.int32),
    )  # the accumulator takes the width of what it adds
    accumulator = q_x @ q_w.T - x_zero_point * q_w.sum(dim=1, dtype=torch.int32)  # int32 [n, out]
    return accumulator * (x_scale * w_scale) + bias
    ### END SOLUTION


# %% test="integer_linear" points=2
def layer_inputs(q_x, q_w, x_scale, x_zero_point, w_scale, bias):
    shift = torch.tensor(x_zero_point, dtype=torch.int32)
    return (
        codes(*q_x),
        codes(*q_w),
        torch.tensor(x_scale),
        shift,
        torch.tensor(w_scale),
        torch.tensor(bias),
    )


small = layer_inputs([[1, 2]], [[3, 4]], 0.5, 0, [0.25], [1.0])
shifted = layer_inputs([[1, 2], [0, -3]], [[3, 4], [-1, 2]], 0.5, 1, [0.25, 2.0], [1.0, 0.0])
large = layer_inputs([[127, 127, -128]], [[127, 100, -127]], 1.0, 0, [1.0], [0.0])
far_zero = layer_inputs([[127, -128]], [[1, 1]], 1.0, -128, [1.0], [0.5])
long = layer_inputs([[126] + [127] * 59_999], [[127] * 60_000], 1.0, 127, [1.0], [0.0])  # both sums pass 2^29
check.check(
    integer_linear,
    check.case("zero-point 0", *small, expect=torch.tensor([[2.375]])),
    check.case(
        "zero-point 1, two channels",
        *shifted,
        expect=torch.tensor([[1.5, 2.0], [-1.375, -7.0]]),
    ),
    check.case("sums beyond int8 and int16", *large, expect=torch.tensor([[45085.0]])),
    check.case("zero-point -128", *far_zero, expect=torch.tensor([[255.5]])),
    check.case("60,000 inputs: the sums nearly cancel", *long, expect=torch.tensor([[-127.0]])),
)

# %% [markdown] id="hints-integer-linear"
# <details><summary>Hint 1: where to look</summary>Shapes: the first sum is [n, out], the second [out], the scales
# [out], the bias [out]. All meet along the last axis.</details>
#
# <details><summary>Hint 2: the move</summary>Widen both operands before the matrix product. Correct while it is still
# an integer. Scale once, at the end; the bias comes after that.</details>
#
# <details><summary>Hint 3: symptoms</summary>Small numbers where large ones belong: an accumulator wrapped. Wrong by
# the same amount in every row: the correction or the bias.</details>

# %% hidden="integer_linear" points=3
from fractions import Fraction

rng = torch.Generator().manual_seed(47)


def hold_integer_linear(q_x, q_w, x_scale, zero, w_scale, bias, look):
    given = (
        q_x,
        q_w,
        torch.tensor(x_scale),
        torch.tensor(zero, dtype=torch.int32),
        w_scale,
        bias,
    )
    before = [each.tolist() for each in given]
    got = integer_linear(*given)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert got.dtype is torch.float32, "the result is float32: see Returns"
    assert got.shape == (len(q_x), len(q_w)), "the result is [n, out]"
    assert [each.tolist() for each in given] == before, "an argument was changed: compute on a copy"
    wide_x, wide_w = q_x.to(torch.int64), q_w.to(torch.int64)
    sums = ((wide_x - zero)[:, None, :] * wide_w[None, :, :]).sum(dim=-1).tolist()  # [n, out]
    step = Fraction(given[2].item())
    for row, sum_row in zip(got.tolist(), sums, strict=True):
        for real, total, scale, shift in zip(row, sum_row, w_scale.tolist(), bias.tolist(), strict=True):
            scaled = Fraction(scale) * step * total
            room = 4 * torch.finfo(torch.float32).eps * float(abs(scaled) + abs(Fraction(shift)))
            assert abs(real - float(scaled + Fraction(shift))) <= room, look


def some_codes(*shape, low=-128, high=128):
    return torch.randint(low, high, shape, generator=rng).to(torch.int8)


for n, out, width in ((1, 1, 1), (3, 2, 5), (2, 2, 2), (4, 4, 64), (1, 3, 300)):
    for zero in (-128, -7, 0, 127):
        w_scale, bias = (
            torch.rand(out, generator=rng) + 0.1,
            torch.randn(out, generator=rng) * 50,
        )
        q_x, q_w = some_codes(n, width), some_codes(out, width, low=-127)
        hold_integer_linear(
            q_x,
            q_w,
            0.05,
            zero,
            w_scale,
            bias,
            "look at zero_point, and at the axis of each scale",
        )
        hold_integer_linear(
            q_x.T.contiguous().T,
            q_w,
            0.05,
            zero,
            w_scale * 1e-6,
            bias,
            "the bias is in real units",
        )
one, none = torch.ones(1), torch.zeros(1)
ends = torch.full((1, 60_000), 127, dtype=torch.int8)
hold_integer_linear(ends, ends.clone(), 1.0, -128, one, none, "look at the width of the sums")
up_and_down = ends.clone()
up_and_down[:, 1::2] = -127
up_and_down[:, 0] = 126
hold_integer_linear(up_and_down, ends.clone(), 1.0, 0, one, none, "look at the width of the sums")
hold_integer_linear(ends.clone(), up_and_down.clone(), 1.0, -128, one, none, "sums that cancel")
nearly = ends.clone()
nearly[:, 7] = 96  # both sums are above 2^29, where float32 knows multiples of 64 only
hold_integer_linear(nearly, ends.clone(), 1.0, 127, one, none, "look at the width of the sums")

# %% id="see-integer-linear" tags="raises-exception" alt="Integer layer against float32"
from frugal.data import drawn
from frugal.quant.layers import QuantizedLayer

images, labels = drawn.draw(500, split="test")
kept = []
handle = net.linear.register_forward_hook(lambda layer, inputs, output: kept.append((inputs[0], output)))
with torch.no_grad():
    net(images[:100])
handle.remove()
x, in_float = kept[0]
w = net.linear.weight.detach()
on_inputs, w_scale = affine_qparams(x), channel_scales(w).flatten()
on_weights = QParams(w_scale, torch.zeros(len(w), dtype=torch.int32), -127, 127, PerChannel(0))
q_x, q_w = quantize(x, on_inputs), quantize(w, on_weights)
library_layer = QuantizedLayer(net.linear, on_weights, on_inputs)


def library_linear(*given):
    return library_layer(x).detach()


integer_linear = unblock.go_on(integer_linear, fallback=library_linear)
bias = net.linear.bias.detach()
in_integers = integer_linear(q_x, q_w, on_inputs.scale, on_inputs.zero_point, w_scale, bias)
largest = (q_x.int() @ q_w.int().T).abs().max().item()
plt.plot(in_float.flatten(), in_integers.flatten(), ".", ms=3)
plt.gca().set(xlabel="logits in float32", ylabel="logits from int8")
plt.title(f"largest sum of products {largest:,}: {largest.bit_length() + 1} bits")
plt.show()

# %% [markdown] id="part-d"
# ## Part D. Choose the range
# So far $\alpha$ was the largest magnitude. At 4 bits that is a poor trade: a smaller $\alpha$ clips a few large values
# and rounds all others more finely. Slide 24's post-training methods choose it from the tensor alone.

# %% id="example-d"
v = torch.randn(1000, generator=torch.Generator().manual_seed(0))
for share in (1.0, 0.6):  # 3 bits: codes -3 to 3
    alpha = share * v.abs().max()
    error = (torch.round(v * 3 / alpha).clamp(-3, 3) * alpha / 3 - v).square()
    clipped = v.abs() > alpha
    print(
        f"alpha {alpha:.2f}: squared error {error.sum():.1f}, {error[clipped].sum():.1f} of it where values are clipped"
    )

# %% [markdown] id="card-search-scale"
# ### Exercise 4.1.8 Search the step
# ◆◆◇ · matters · ~12 min · 4 pts · slide 24
#
# Write it with torch alone, so that it does not lean on your other answers.


# %% solution="search_scale"
def search_scale(x: Tensor, num_bits: int = 4) -> Tensor:
    """Return the symmetric scale whose codes err least in squares on ``x``.

    Args:
        x: float32, any shape, at least one value, magnitudes 0 or from 1e-9 to 1e9.
        num_bits: width b of the codes, 2 to 8.

    Returns:
        float32 []: one of the candidates k / 100 · max|x| / (2^(b-1) - 1) with k = 1, 2, ..., 100.

    Rules:
        The error of a candidate is the sum over ``x`` of (x - scale · code)², with codes rounded
        half to even and saturated at -(2^(b-1) - 1) and 2^(b-1) - 1.
        Where several candidates err equally, any of them will do. A tensor of zeros has scale 1.
        ``x`` stays as it is.

    >>> search_scale(torch.tensor([-0.6, -0.5, -0.4, -0.2, 0.3, 0.6, -1.1]), num_bits=3)
    tensor(0.3153)
    """
    ### BEGIN SOLUTION
    largest_code = 2 ** (num_bits - 1) - 1
    alpha = x.abs().max()
    if alpha == 0:
        return torch.ones(())
    candidates = alpha / largest_code * torch.arange(1, 101) / 100
    errors = []
    for scale in candidates:
        code = torch.round(x / scale).clamp(-largest_code, largest_code)
        errors.append((x - scale * code).square().sum())
    return candidates[torch.stack(errors).argmin()]
    ### END SOLUTION


# %% test="search_scale" points=2
outlier = torch.tensor([-0.5, 0.4, -0.3, 0.2, -0.1, -0.6, 0.6, -0.45, -0.35, -1.1])
check.check(
    search_scale,
    check.case("one outlier, 3 bits", outlier, 3, expect=torch.tensor(0.88 * 1.1 / 3)),
    check.case(
        "on the grid already",
        torch.tensor([-7.0, -2.0, 0.0, 1.0, 3.0]),
        expect=torch.tensor(1.0),
    ),
    check.case("zeros only", torch.zeros(4), expect=torch.tensor(1.0)),
)

# %% [markdown] id="hints-search-scale"
# <details><summary>Hint 1: where to look</summary>A hundred candidates, a hundred errors, one winner: a loop is
# fine.</details>
#
# <details><summary>Hint 2: the move</summary>For each candidate: to codes, saturate, back to reals, sum of squared
# differences. Return the scale, not its number and not the error.</details>
#
# <details><summary>Hint 3: symptoms</summary>The smallest candidate always wins: nothing saturates. The largest always
# wins: compare the way you add up errors with Rules.</details>

# %% hidden="search_scale" points=2
rng = torch.Generator().manual_seed(48)


def squared_error(x, scale, largest_code):
    code = torch.round(x / scale).clamp(-largest_code, largest_code)
    return (x - scale * code).square().sum().item()


def hold_search_scale(x, *num_bits):
    before = x.tolist()
    got = search_scale(x, *num_bits)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a number or a subclass"
    assert (got.dtype, tuple(got.shape)) == (torch.float32, ()), "the result is float32 without axes: see Returns"
    assert x.tolist() == before, "x was changed: compute on a copy"
    largest_code, wide = 2 ** ((*num_bits, 4)[0] - 1) - 1, x.double()
    finest = wide.abs().max().item() / largest_code / 100
    k = got.item() / finest
    assert 0.5 <= k <= 100.5, "the result is none of the candidates: see Returns"
    assert abs(k - round(k)) <= 1e-3, "the result is none of the candidates: see Returns"
    best = min(squared_error(wide, finest * each, largest_code) for each in range(1, 101))
    energy = wide.square().sum().item()
    room = 1e-4 * best + 1e-9 * energy  # float32 sums of a few hundred squares
    assert squared_error(wide, finest * round(k), largest_code) <= best + room, "another candidate errs less: see Rules"


for num_bits in range(2, 9):
    for size in (1e-9, 1.0, 1e9):
        hold_search_scale(torch.randn(12, 25, generator=rng).clamp(-1, 1) * size, num_bits)
    heavy = torch.randn(300, generator=rng) * torch.rand(300, generator=rng) ** 4
    hold_search_scale(heavy, num_bits)
    hold_search_scale(heavy.reshape(15, 20).T[::2].abs(), num_bits)
    hold_search_scale(-heavy.abs(), num_bits)
hold_search_scale(torch.randn(200, generator=rng) ** 3)
hold_search_scale(torch.tensor(-2.0))
zeros = search_scale(torch.zeros(3, 2))
assert (type(zeros), zeros.item()) == (Tensor, 1.0), "a tensor of zeros: see Rules"


# %% id="see-search-scale" tags="raises-exception" alt="Squared error against clipping range"
from frugal.quant.observers import MSE


def library_search(x: Tensor, num_bits: int = 4) -> Tensor:
    observer = MSE(num_bits, symmetric=True)
    observer.observe(x)
    return observer.qparams().scale


search_scale = unblock.go_on(search_scale, fallback=library_search)
weight = net.get_submodule("layer2.0.conv2").weight.detach()
shares = torch.linspace(0.2, 1, 60)
for num_bits in (3, 4, 6):
    top, widest = 2 ** (num_bits - 1) - 1, symmetric_scale(weight, num_bits)
    rounded = [torch.round(weight / step).clamp(-top, top) * step for step in shares * widest]
    errors = [(each - weight).square().mean() for each in rounded]
    plt.semilogy(shares, errors, label=f"{num_bits} bits")
    plt.axvline(search_scale(weight, num_bits) / widest, color="0.5", lw=0.8)
plt.gca().set(xlabel="alpha / largest magnitude", ylabel="mean squared error")
plt.legend(**above)
plt.show()

# %% [markdown] id="together"
# ## Put it together
# A small residual network has learned to tell ten classes of drawn figures apart. `map_tensors` makes a copy whose
# weights and layer inputs pass through functions of yours. Scales of inputs are taken from each batch as it comes.


# %% id="plug-in" tags="raises-exception"
def round_trip(x, qparams):
    return dequantize(quantize(x, qparams), qparams)


def symmetric(scale, num_bits):
    top = 2 ** (num_bits - 1) - 1
    granularity = PerTensor() if scale.ndim == 0 else PerChannel(0)
    return QParams(scale, torch.zeros_like(scale, dtype=torch.int32), -top, top, granularity)


weight_rules = {
    "one step": lambda w, bits: round_trip(w, symmetric(symmetric_scale(w, bits), bits)),
    "one searched step": lambda w, bits: round_trip(w, symmetric(search_scale(w, bits), bits)),
    "a step per channel": lambda w, bits: round_trip(w, symmetric(channel_scales(w, 0, bits).flatten(), bits)),
}
input_rules = {
    "symmetric": lambda x, bits: round_trip(x, symmetric(symmetric_scale(x, bits), bits)),
    "affine": lambda x, bits: round_trip(x, affine_qparams(x, bits)),
}

# %% id="table" tags="raises-exception,nbval-ignore-output"
from frugal.measure.accuracy import accuracy
from frugal.quant.layers import map_tensors

rows_of_table = [
    ("one step", "symmetric"),
    ("one step", "affine"),
    ("one searched step", "affine"),
    ("a step per channel", "symmetric"),
    ("a step per channel", "affine"),
]
original = accuracy(net, images, labels)
table = {row: {} for row in rows_of_table}
for weights, inputs in rows_of_table:
    for bits in (8, 6, 4):
        weight_map = functools.partial(weight_rules[weights], bits=bits)
        input_map = functools.partial(input_rules[inputs], bits=bits)
        table[weights, inputs][bits] = accuracy(map_tensors(net, weight_map, input_map), images, labels)
noise = (original * (100 - original) / len(labels)) ** 0.5
print(f"float32: {original:.1f} % on {len(labels)} pictures, standard error {noise:.1f}")
print(f"{'weights':<20}{'inputs':<12}{'8 bits':>8}{'6 bits':>8}{'4 bits':>8}")
for (weights, inputs), found in table.items():
    print(f"{weights:<20}{inputs:<12}" + "".join(f"{found[bits]:>8.1f}" for bits in (8, 6, 4)))

# %% id="table-picture" tags="raises-exception,nbval-ignore-output" alt="Accuracy at 4 bits"
plots.accuracy_bars({f"{w}, {x}": found[4] for (w, x), found in table.items()}, original=original, chance=10.0)
plt.show()

at_4 = {row: found[4] for row, found in table.items()}
coarse, zero_point = at_4["one step", "symmetric"], at_4["one step", "affine"]
channel, both_at_4 = at_4["a step per channel", "symmetric"], at_4["a step per channel", "affine"]
for row, found in table.items():
    assert abs(found[8] - original) <= 2 * noise, f"{row}: 8 bits give {found[8]:.1f} %, float32 {original:.1f} %"
assert min(zero_point - coarse, both_at_4 - channel) >= 5, "what does affine_qparams do to the inputs?"
assert min(channel - coarse, both_at_4 - zero_point) >= 5, "what does channel_scales do to the weights?"
assert both_at_4 >= max(zero_point, channel) + 5, "together they win more than either alone"
assert at_4["one searched step", "affine"] - zero_point >= 5, "what does search_scale do to the weights?"
assert max(at_4.values()) <= original - 5, "4 bits cost nothing? Look at what reaches the layers"
print("Your table agrees with every sentence below.")

# %% [markdown] id="what-happened"
# At 8 bits every row lies within two standard errors of float32; one that does not has a mistake above it. At 4 bits
# every measure counts: a zero-point for the inputs wins 5 points or more beside one step and beside a step per channel,
# and a step per channel wins as much with either kind of input. Together they win more than either alone. A searched
# step wins, too, and needs no second number. Still none comes within 5 points of float32. The cell above held
# your table to each of these sentences.

# %% [markdown] id="challenge"
# ## Challenge: half the way back at 4 bits
# **Rules.** Every layer, first and last included, at 4 bits; no training, no other weights. The referee counts: at most
# 16 different weights per output channel, at most 16 different values in an input tensor. **Target:** win back half of
# what the best 4-bit row lost. No points, but worth a paragraph in your notes. Ideas: combine your functions; search
# affine ranges; correct the bias.


# %% id="challenge-answer"
def my_weight(w: Tensor) -> Tensor:
    return weight_rules["a step per channel"](w, 4)


def my_input(x: Tensor) -> Tensor:
    return input_rules["affine"](x, 4)


# %% id="referee" tags="raises-exception,nbval-ignore-output"
def at_most_16(function, groups):
    def counted(x):
        y = function(x)
        most = max(group.unique().numel() for group in (y.unbind() if groups else [y]))
        assert most <= 16, f"{most} different values, 16 are allowed"
        return y

    return counted


mine = accuracy(map_tensors(net, at_most_16(my_weight, True), at_most_16(my_input, False)), images, labels)
target = (original + max(found[4] for found in table.values())) / 2
print(f"yours {mine:.1f} %, target {target:.1f} %: " + ("reached" if mine >= target else "not reached yet"))

# %% [markdown] id="reveal"
# ## Prediction and measurement

# %% id="revealed" tags="raises-exception,nbval-ignore-output"
positive = torch.linspace(0, 1, 2000)
predict.reveal("codes", quantize(positive, symmetric(symmetric_scale(positive), 8)).unique().numel())
base = table["one step", "symmetric"][4]
gains = {
    "a step per channel for the weights": table["a step per channel", "symmetric"][4] - base,
    "a zero-point for the inputs": table["one step", "affine"][4] - base,
}
both = table["a step per channel", "affine"][4] - base
print("; ".join(f"{name}: {gain:+.1f} points" for name, gain in {**gains, "both": both}.items()))
by_chance = 2 * (2 * 50 * 50 / len(labels)) ** 0.5  # two standard errors of a difference, at their largest
gap = max(gains.values()) - min(gains.values())
predict.reveal("helps", "both about the same" if gap <= by_chance else max(gains, key=gains.get))
predict.reveal("w4a4", base)

# %% [markdown] id="summary"
# ## In three sentences
# A quantizer is a step, a shift and two ends: everything else is how to choose them. Eight bits forgive a coarse
# choice; at four bits the zero-point, the channel and the clipping range decide. Integer arithmetic asks for wide sums
# and one correction, and gives the float result back.
#
# | symptom | look at |
# |---|---|
# | values flip sign near the ends | a cast before the clamp; int8 minus int8 |
# | accuracy falls at 8 bits already | zero-point sign; range without 0; channel axis |
# | nan after a dead channel | scale 0 |
# | a constant offset in every output | zero-point correction; units of the bias |
# | training stands still | a gradient of 0 through `round` |
#
# **What next.** Chapter 4 looks at each choice with sliders: the operator, the zero-point, the channels, the
# accumulator. Then come integer-only networks and data-free methods.
