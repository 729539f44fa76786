# %% [markdown] id="title"
# # Lab 4.2 Integers only
#
# Slides 19 to 23 · about 110 minutes · 9 exercises, 38 points
#
# Many small processors know no float32 at all (slide 19). You write all that a residual network needs to run on them:
# sums, scales, additions and averages of integers. At the end a trained network runs on your functions, and they fill
# this table:
#
# | network | pictures recognised | same class as float32 |
# |---|---|---|
# | float32 | | |
# | integers, one rounding | | |
# | integers, two roundings | | |
# | the library's int8 network | | |
#
# Each exercise has a stub, a check right below it, and three hints. An open exercise does not stop you: the lab goes on
# with a working version. Your code calls torch, Python's `math` and `QParams`: the library is not accepted as the
# answer.
#
# From lab 4.1 you know codes, scale (real units per step) and zero-point (the code of real 0): $x = s_x (q_x - z_x)$. A
# `QParams` holds `scale` and `zero_point`, tensors without axes, and `quant_min`, `quant_max` and `dtype`. Chapter
# [4.2](../../course/4_quantization/4_2_zero_point.ipynb) has the bias of Part A,
# [4.4](../../course/4_quantization/4_4_accumulators.ipynb) the width of sums.

# %% id="setup"
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frugal.quant.affine import QParams
from frugal.show import check, predict, style, unblock

style.use()

# %% [markdown] id="predict"
# ## Before you start: predict
# Commit to an answer; the last section shows it beside what you measured.

# %% id="predictions"
predict.predict(
    "sums",
    "Eight-bit codes, up to 576 products in a sum: how many bits does our network's largest sum need, sign included?",
    options=range(8, 33),
    unit="bits",
)
predict.predict(
    "twice",
    "Rounding a sum twice instead of once: how many of the network's codes change?",
    options=["about 1 in 1000", "about 1 in 30", "about 1 in 3"],
)
predict.predict(
    "multiplier",
    "Each sum is multiplied by an integer. With how few bits in it do 9 of 10 pictures keep their class?",
    options=[31, 16, 8, 4, 2, 1],
)

# %% [markdown] id="part-a"
# ## Part A. One layer, one bias
# With codes for reals, equation (3) needs the products of *centred* codes. Multiplied out
# ([[19]](../../course/references.md#ref-19), equation 7), one sum becomes four:
#
# $$\sum_{j=1}^{N} (q_x - z_x)(q_w - z_w) = \sum q_x q_w - z_x \sum q_w - z_w \sum q_x + N z_x z_w \tag{7}$$
#
# The first and the third wait for the picture. The two others are known beforehand.

# %% id="example-a"
q_x, q_w, z_x, z_w = torch.tensor([7, 9, 3]), torch.tensor([2, -1, 4]), 5, 1
four = [(q_x * q_w).sum(), -z_x * q_w.sum(), -z_w * q_x.sum(), len(q_x) * z_x * z_w]
print("the four sums", [int(each) for each in four], "together", int(sum(four)))
print("centred codes", ((q_x - z_x) * (q_w - z_w)).sum().item())

# %% [markdown] id="card-fold-norm"
# ### Exercise 4.2.1 Fold batch norm
# ◆◇◇ · warm-up · ~8 min · 3 pts · slide 20, $W$ and $B$ in equation (2)
#
# Behind each convolution stands a batch norm, which in a trained network is a fixed line for each channel:
#
# $$y = \gamma \frac{(WX + B) - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta$$
#
# A line after a line is a line. Let the convolution do both, in float32 still, so that one layer remains to be
# quantized.


# %% solution="fold_norm"
def fold_norm(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of one layer that does what the layer and its batch norm did.

    Args:
        weight: float32 [out, ...], two to four axes.
        bias, gamma, beta, mean, var: float32 [out]; gamma of any sign, var 0 or more.
        eps: above 0.

    Returns:
        float32, the shapes of ``weight`` and ``bias``.

    Rules:
        What comes in stays as it is.

    >>> one = torch.ones(1)
    >>> fold_norm(torch.tensor([[2.0]]), one, 3 * one, 0.5 * one, 2 * one, 0.75 * one, eps=0.25)
    (tensor([[6.]]), tensor([-2.5000]))
    """
    ### BEGIN SOLUTION
    factor = gamma / torch.sqrt(var + eps)  # [out]
    along = factor.reshape(-1, *[1] * (weight.ndim - 1))
    return weight * along, (bias - mean) * factor + beta
    ### END SOLUTION


# %% test="fold_norm" points=1
def real(*values):
    return torch.tensor(values)


check.check(
    fold_norm,
    check.case(
        "one weight",
        *(real([2.0]), real(1.0), real(3.0), real(0.5), real(2.0), real(0.75), 0.25),
        expect=(real([6.0]), real(-2.5)),
    ),
    check.case(
        "two channels, the second turned round",
        *(real([2.0, 1.0], [4.0, 8.0]), real(0.0, 1.0), real(1.0, -2.0), real(0.5, 0.0)),
        *(real(2.0, -1.0), real(3.0, 15.0), 1.0),
        expect=(real([1.0, 0.5], [-2.0, -4.0]), real(-0.5, -1.0)),
    ),
    check.case(
        "a convolution; a channel that never varied",
        *(real([[2.0, 1.0]], [[3.0, 5.0]]), real(0.0, 4.0), real(1.0, 1.0), real(0.0, 0.0)),
        *(real(0.0, 0.0), real(0.0, 3.75), 0.25),
        expect=(real([[4.0, 2.0]], [[1.5, 2.5]]), real(0.0, 2.0)),
    ),
)

# %% [markdown] id="hints-fold-norm"
# <details><summary>Hint 1: where to look</summary>Collect what multiplies $X$, and what is left when $X$ is
# 0.</details>
#
# <details><summary>Hint 2: the move</summary>One number per channel multiplies. Lay it along the first axis of the
# weight, whatever axes follow. The mean goes before it, $\beta$ after it.</details>
#
# <details><summary>Hint 3: symptoms</summary>Infinity: eps belongs under the root. Right for square matrices of equal
# rows only: the factor lies along the wrong axis. Two axes right, three wrong or refused: it has too few
# axes.</details>

# %% hidden="fold_norm" points=2
rng = torch.Generator().manual_seed(421)
SLACK = 8 * torch.finfo(torch.float32).eps  # an addition, a root, a quotient, a product, each rounded once


def hold_fold_norm(given, eps, look):
    before = [each.clone() for each in given]
    got = fold_norm(*given, eps)
    assert type(got) is tuple, "the result is a pair: weight, bias"
    assert len(got) == 2, "the result is a pair: weight, bias"
    assert all(type(each) is Tensor and each.dtype is torch.float32 for each in got), "both are float32 tensors"
    assert (got[0].shape, got[1].shape) == (given[0].shape, given[1].shape), "the shapes of weight and bias stay"
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True)), "an argument was changed"
    weight, bias, gamma, beta, mean, var = (each.double() for each in given)
    factor = gamma / (var + eps).sqrt()
    exact_weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    exact_bias = (bias - mean) * factor + beta
    room = SLACK * ((bias.abs() + mean.abs()) * factor.abs() + beta.abs())
    assert ((got[0] - exact_weight).abs() <= SLACK * exact_weight.abs()).all(), f"the weight: {look}"
    assert ((got[1] - exact_bias).abs() <= room).all(), f"the bias: {look}"


for shape in ((1, 1), (3, 3), (5, 2), (4, 4, 3), (6, 3, 2, 2), (3, 3, 3, 3)):
    for eps in (1e-5, 1e-3, 0.5):
        vectors = [torch.randn(shape[0], generator=rng) for _ in range(4)]
        var = torch.rand(shape[0], generator=rng) ** 4
        given = [torch.randn(shape, generator=rng), *vectors, var]
        hold_fold_norm(given, eps, "collect what multiplies X, and what does not")
        hold_fold_norm([*given[:5], var * 0], eps, "a channel whose variance is 0")
        hold_fold_norm([*given[:2], vectors[1] * 0, *given[3:]], eps, "a channel whose gamma is 0")

# %% [markdown] id="card-fold-bias"
# ### Exercise 4.2.2 All that is known beforehand
# ◆◆◇ · matters a lot · ~12 min · 5 pts · slides 20, 21
#
# A sum of products of codes counts steps of $s_x s_w$. Count the real bias in the same steps, and it can be added to
# the sum. To it come the terms of (7) in which no $q_x$ occurs. Together they are one int32 for each output channel.


# %% solution="fold_bias"
def fold_bias(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """Return what is added to the sums of bare products, apart from the term that needs the input.

    Args:
        bias: float32 [out], in real units.
        q_w: int8 [out, ...], codes of the weights; N of them for each output channel.
        step: float64 [out], x_scale · w_scale: what 1 in the sum stands for.
        x_zero_point: -128 to 255.
        w_zero_point: int32 [out], -128 to 127.

    Returns:
        int32 [out].

    Raises:
        ValueError: an entry does not fit int32.

    Rules:
        The bias is rounded to whole steps, halves to even, in float64.

    >>> codes, one = torch.tensor([[3, 4]], dtype=torch.int8), torch.ones(1, dtype=torch.int32)
    >>> fold_bias(torch.tensor([1.0]), codes, torch.tensor([0.25]).double(), 2, one)  # 4 - 2 · 7 + 2 · 2 · 1
    tensor([-6], dtype=torch.int32)
    """
    ### BEGIN SOLUTION
    rows = q_w.flatten(1).long()
    whole = torch.round(bias.double() / step)
    total = whole - x_zero_point * rows.sum(1) + rows.shape[1] * x_zero_point * w_zero_point.long()
    if ((total < -(2**31)) | (total > 2**31 - 1)).any():
        raise ValueError(f"the bias needs {total.abs().max():g} steps, and int32 ends at {2**31 - 1}")
    return total.to(torch.int32)
    ### END SOLUTION


# %% test="fold_bias" points=2
def s8(*values):
    return torch.tensor(values, dtype=torch.int8)


def s32(*values):
    return torch.tensor(values, dtype=torch.int32)


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


check.check(
    fold_bias,
    check.case("the bias alone", real(1.0), s8([3, 4]), f64(0.25), 0, s32(0), expect=s32(4)),
    check.case("halves go to even", real(0.5, 1.5), s8([1], [1]), f64(1.0, 1.0), 0, s32(0, 0), expect=s32(0, 2)),
    check.case("a zero-point of the input", real(1.0), s8([3, 4]), f64(0.25), 2, s32(0), expect=s32(-10)),
    check.case("both zero-points", real(1.0), s8([3, 4]), f64(0.25), 2, s32(1), expect=s32(-6)),
    check.case(
        "two channels of a convolution",
        *(real(1.0, -2.0), s8([[[100, 100]]], [[[-7, 2]]]), f64(0.5, 0.125), -128, s32(3, -1)),
        expect=s32(2 + 25600 - 768, -16 - 640 + 256),
    ),
    check.case("too large for int32", real(1.0), s8([1]), f64(1e-10), 0, s32(0), expect=check.raises(ValueError)),
)

# %% [markdown] id="hints-fold-bias"
# <details><summary>Hint 1: where to look</summary>Put $q_x = 0$ into equation (7): what is left is what you want, the
# bias apart.</details>
#
# <details><summary>Hint 2: the move</summary>Flatten the weights behind the first axis. Widen before you sum. Real
# units become steps by a division.</details>
#
# <details><summary>Hint 3: symptoms</summary>Wrong by a multiple of 256: a sum or a product in int8. Wrong with both
# zero-points only: the last term, or what N counts. Large values of the wrong sign: the cast came before the look at
# the ends.</details>

# %% hidden="fold_bias" points=3
from fractions import Fraction

rng = torch.Generator().manual_seed(422)


def hold_fold_bias(bias, q_w, step, x_zero_point, w_zero_point, look):
    given = (bias, q_w, step, w_zero_point)
    before = [each.tolist() for each in given]
    got = fold_bias(bias, q_w, step, x_zero_point, w_zero_point)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert got.dtype is torch.int32, "the result is an int32 tensor"
    assert tuple(got.shape) == (len(q_w),), "the result is [out]"
    assert [each.tolist() for each in given] == before, "an argument was changed"
    for channel, code in enumerate(got.tolist()):
        rows = q_w[channel].flatten().tolist()
        ratio = bias[channel].double().item() / step[channel].item()  # rounded once to float64, as in Rules
        terms = len(rows) * x_zero_point * w_zero_point[channel].item() - x_zero_point * sum(rows)
        assert code == round(Fraction(ratio)) + terms, look


for shape in ((1, 1), (3, 3), (4, 70), (5, 2, 3), (2, 16, 3, 3)):
    for x_zero_point in (-128, -1, 0, 3, 255):
        q_w = torch.randint(-128, 128, shape, generator=rng).to(torch.int8)
        step = torch.rand(shape[0], generator=rng).double() * 1e-4 + 1e-7
        bias = torch.randn(shape[0], generator=rng)
        none = torch.zeros(shape[0], dtype=torch.int32)
        some = torch.randint(-128, 128, (shape[0],), generator=rng, dtype=torch.int32)
        hold_fold_bias(bias, q_w, step, x_zero_point, none, "symmetric weights: units, signs, and the width of sums")
        hold_fold_bias(bias, q_w, step, x_zero_point, some, "compare the terms with equation (7)")
halves = torch.arange(-9, 10) / 2
ones = torch.ones(len(halves), 1, dtype=torch.int8)
hold_fold_bias(halves, ones, torch.ones(len(halves)).double(), 1, ones[:, 0].int() * 0, "halves: see Rules")
near = torch.tensor([16777217.0 * 64, -16777217.0 * 64])  # more than float32 can count one by one
hold_fold_bias(near, ones[:2], f64(0.9999, 0.7777), 0, s32(0, 0), "a large bias: float64, see Rules")
hold_fold_bias(real(2.0**31 + 6144), ones[:1] * 100, f64(1.0), 100, s32(0), "it fits only with its correction")
for value in (2.2e9, -2.2e9, 3e15):
    try:
        fold_bias(real(0.0, value), ones[:2], f64(1.0, 1.0), 0, s32(0, 0))
    except ValueError:
        continue
    raise AssertionError("an entry does not fit int32, and no ValueError came")

# %% [markdown] id="card-integer-conv"
# ### Exercise 4.2.3 A convolution of codes
# ◆◆◇ · matters a lot · ~12 min · 5 pts · slides 20, 23
#
# With symmetric weights ($z_w = 0$) the third sum of (7) is gone, and the folded bias holds all the rest. So the inner
# loop multiplies bare codes and adds them up, in a type that is wide enough (slide 23).
#
# One trap remains. A convolution pads its input with real 0. Which code is that?


# %% solution="integer_conv"
def integer_conv(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """Convolve codes: bare products, summed in int32, on top of a folded bias.

    Args:
        q_x: int8 [n, c, h, w]; x_zero_point is its code of real 0.
        q_w: int8 [out, c, kh, kw], symmetric codes.
        bias: int32 [out], what ``fold_bias`` returned.
        stride, padding: as in torch's conv2d, the same in both directions.

    Returns:
        int32 [n, out, h', w']. Every exact sum fits.

    Rules:
        Sums are exact. What comes in stays as it is.

    >>> real_zero, ones = torch.full((1, 1, 1, 1), 5, dtype=torch.int8), torch.ones(1, 1, 3, 3, dtype=torch.int8)
    >>> integer_conv(real_zero, ones, torch.tensor([-45], dtype=torch.int32), x_zero_point=5, padding=1)
    tensor([[[[0]]]], dtype=torch.int32)
    """
    ### BEGIN SOLUTION
    framed = F.pad(q_x.to(torch.int32), (padding,) * 4, value=x_zero_point)
    return F.conv2d(framed, q_w.to(torch.int32), bias, stride=stride)
    ### END SOLUTION


# %% test="integer_conv" points=2
picture, filters = s8([[[1, 2], [3, 4]]]), s8([[[1, 0], [0, -1]]], [[[100, 100], [100, 100]]])
zero, ones = s8([[[5]]]), torch.ones(1, 1, 3, 3, dtype=torch.int8)
row = torch.arange(10, dtype=torch.int8).reshape(1, 1, 1, 10)
long = torch.full((1, 2000, 1, 1), 127, dtype=torch.int8)
check.check(
    integer_conv,
    check.case("two filters", picture, filters, s32(0, 7), 0, expect=s32([[-3]], [[1007]])[None]),
    check.case("a frame of real 0", zero, ones, s32(-45), 5, 1, 1, expect=s32([[[[0]]]])[0]),
    check.case("every third place", row, s8([[[2]]]), s32(1), 0, 3, expect=s32([[[1, 7, 13, 19]]])),
    check.case(
        "wide frame, stride 2",
        *(picture, s8([[[1, 2]]]), s32(0), -3, 2, 1),
        expect=s32([[[[-9, -9], [3, -2]]]])[0],
    ),
    check.case("2000 products", long, long - 1, s32(1), 0, expect=s32([[[[127 * 126 * 2000 + 1]]]])[0]),
)

# %% [markdown] id="hints-integer-conv"
# <details><summary>Hint 1: where to look</summary>The folded bias takes z_x Σ q_w away for *every* tap, those over the
# frame included.</details>
#
# <details><summary>Hint 2: the move</summary>Frame the picture first (`F.pad` takes a value), widen both sides, then
# convolve without padding. torch convolves int32 tensors.</details>
#
# <details><summary>Hint 3: symptoms</summary>Right inside, wrong along the border: the frame. Numbers from -128 to 127
# only: int8 sums. "found Char": torch's word for int8; one side was not widened.</details>

# %% hidden="integer_conv" points=3
rng = torch.Generator().manual_seed(423)


def hold_integer_conv(q_x, q_w, bias, x_zero_point, stride, padding, look):
    before = [each.tolist() for each in (q_x, q_w, bias)]
    got = integer_conv(q_x, q_w, bias, x_zero_point, stride, padding)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert got.dtype is torch.int32, "the result is an int32 tensor"
    assert [each.tolist() for each in (q_x, q_w, bias)] == before, "an argument was changed"
    centred = F.conv2d(q_x.double() - x_zero_point, q_w.double(), stride=stride, padding=padding)  # exact below 2^53
    exact = centred.long() + (bias.long() + x_zero_point * q_w.long().sum((1, 2, 3))).reshape(-1, 1, 1)
    assert got.shape == exact.shape, "compare the shape with torch's conv2d"
    assert got.tolist() == exact.tolist(), look


for n, c, size, out, kernel in ((1, 1, 1, 1, 1), (2, 3, 5, 4, 3), (1, 2, 6, 2, 2), (3, 3, 3, 3, 3)):
    for stride, padding in ((1, 0), (1, 1), (2, 1), (3, 2), (2, 0)):
        for x_zero_point in (-128, -3, 0, 127):
            q_x = torch.randint(-128, 128, (n, c, size, size + 1), generator=rng).to(torch.int8)
            q_w = torch.randint(-127, 128, (out, c, kernel, kernel), generator=rng).to(torch.int8)
            bias = torch.randint(-(2**20), 2**20, (out,), generator=rng, dtype=torch.int32)
            hold_integer_conv(q_x, q_w, bias, x_zero_point, stride, padding, "look at frame, stride and bias")
wide = torch.full((1, 3000, 2, 2), 127, dtype=torch.int8)
wide[0, 0, 0, 0] = 126  # the sum is above 2^24: float32 would round it
hold_integer_conv(wide, torch.full((2, 3000, 1, 1), 127, dtype=torch.int8), s32(0, 1), 0, 1, 0, "the width of sums")
hold_integer_conv(wide[:, :, 1:], -wide[:, :, :1, :1] - 1, s32(2**30 + 1), -128, 1, 0, "sums that are large and bias")

# %% id="see-sums" tags="raises-exception"
from types import SimpleNamespace

from frugal.data import drawn
from frugal.graph.fold import fold_into_
from frugal.nets import pretrained
from frugal.quant.affine import choose_qparams, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.methods import integer_only


def library_norm(weight, bias, gamma, beta, mean, var, eps):
    layer = SimpleNamespace(weight=nn.Parameter(weight), bias=nn.Parameter(bias))
    fold_into_(layer, SimpleNamespace(weight=gamma, bias=beta, running_mean=mean, running_var=var, eps=eps))
    return layer.weight.detach(), layer.bias.detach()


def library_bias(bias, q_w, step, x_zero_point, w_zero_point):
    rows = q_w.flatten(1)
    dark = integer_only.factorised_sums(torch.zeros_like(rows[:1]), rows, x_zero_point, w_zero_point)[0]
    return (integer_only.quantize_bias(bias, step, torch.ones(1)) + dark).int()


def library_conv(q_x, q_w, bias, x_zero_point, stride=1, padding=0):
    centred = F.conv2d(q_x.double() - x_zero_point, q_w.double(), stride=stride, padding=padding)
    return (centred + (bias + x_zero_point * q_w.sum((1, 2, 3))).reshape(-1, 1, 1)).int()


fold_norm = unblock.go_on(fold_norm, fallback=library_norm)
fold_bias = unblock.go_on(fold_bias, fallback=library_bias)
integer_conv = unblock.go_on(integer_conv, fallback=library_conv)
net = pretrained.load("resnet8_drawn")


def folded(layer, norm):
    conv, bn = net.get_submodule(layer), net.get_submodule(norm)
    vectors = (bn.weight.detach(), bn.bias.detach(), bn.running_mean, bn.running_var)
    return fold_norm(conv.weight.detach(), torch.zeros(len(conv.weight)), *vectors, bn.eps)


# %% id="see-first-layer" tags="raises-exception" alt="Histogram of the first layer's sums, beyond the ends of int16"
train = drawn.draw(256, split="train").images
weight, bias = folded("conv1", "bn1")
on_x, on_w = choose_qparams(train), choose_qparams(weight, symmetric=True, granularity=PerChannel(0))
q_x, q_w = quantize(train[:64], on_x), quantize(weight, on_w)
z_x, step = int(on_x.zero_point), on_x.scale.double() * on_w.scale.double()
acc = integer_conv(q_x, q_w, fold_bias(bias, q_w, step, z_x, torch.zeros_like(on_w.zero_point)), z_x, padding=1)
exact = F.conv2d(train[:64].double(), weight.double(), bias.double(), padding=1)
off = (acc * step.reshape(-1, 1, 1) - exact).abs().max() / exact.abs().max()
plt.hist(acc.flatten() / 1000, bins=80, log=True)
for end in (-(2**15), 2**15 - 1):
    plt.axvline(end / 1000, color=style.ORANGE, ls="--")
plt.gca().set(xlabel="sum (thousands)", ylabel="how often", title="Sums of the first layer; dashed: the ends of int16")
plt.show()
print(f"largest error beside float32: {off:.1%} of the largest output")
assert off < 0.02, "codes of 8 bits are finer: look at the three functions above"

# %% [markdown] id="card-fixed-point"
# ## Part B. A real factor without reals
# The sum counts steps of $s_x s_w$, the next layer wants steps of $s_y$. Between them stands one real number per
# channel,
#
# $$M = \frac{s_x s_w}{s_y}$$
#
# and it is known before any picture comes. So write it as a fraction, $M \approx m / 2^s$: an integer multiplication
# and a shift by $s$ bits, which every processor has.
#
# ### Exercise 4.2.4 A fraction for a scale
# ◆◆◇ · matters a lot · ~10 min · 4 pts · slide 20, $Q^{-1}$ in equation (3)
#
# The larger $m$, the finer the fraction. So choose the shift that brings $m$ into the upper half of what its bits can
# say, then round.


# %% solution="fixed_point"
def fixed_point(scale: float, num_bits: int = 31) -> tuple[int, int]:
    """Write a scale as multiplier / 2^shift, with all bits of the multiplier in use.

    Args:
        scale: any magnitude from 1e-30 to 1e30.
        num_bits: 1 to 31.

    Returns:
        (multiplier, shift), Python ints. The multiplier is from 2^(num_bits - 1) to 2^num_bits - 1;
        the shift is below 0 for large scales.

    Raises:
        ValueError: scale is 0 or less, infinite or nan.

    Rules:
        The multiplier is rounded to the nearest, halves to even.

    >>> fixed_point(0.375, num_bits=3)  # 6 / 2^4
    (6, 4)
    """
    ### BEGIN SOLUTION
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be above 0 and finite, got {scale}")
    mantissa, exponent = math.frexp(scale)  # scale = mantissa · 2^exponent, mantissa in [0.5, 1)
    multiplier = round(mantissa * 2**num_bits)
    if multiplier == 2**num_bits:  # rounded up to 1.0
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, num_bits - exponent
    ### END SOLUTION


# %% test="fixed_point" points=2
check.check(
    fixed_point,
    check.case("exactly three bits", 0.375, 3, expect=(6, 4)),
    check.case("31 bits", 0.375, expect=(3 * 2**29, 32)),
    check.case("to the nearest", 0.3, 4, expect=(10, 5)),
    check.case("halves go to even", 0.5625, 3, expect=(4, 3)),
    check.case("rounded up to the next power of two", 0.99, 3, expect=(4, 2)),
    check.case("a large scale", 1000.0, 4, expect=(8, -7)),
    check.case("one bit: a shift alone", 0.3, 1, expect=(1, 2)),
    check.case("0 is refused", 0.0, expect=check.raises(ValueError)),
    check.case("so is a scale below 0", -0.25, expect=check.raises(ValueError)),
    check.case("so is nan", math.nan, expect=check.raises(ValueError)),
    check.case("so is infinity", math.inf, expect=check.raises(ValueError)),
)

# %% [markdown] id="hints-fixed-point"
# <details><summary>Hint 1: where to look</summary>float32 itself keeps a mantissa and an exponent. `math` takes them
# apart.</details>
#
# <details><summary>Hint 2: the move</summary>A mantissa in [0.5, 1) times 2^num_bits lies where the multiplier must;
# round it. Then one special case: which value is just too large?</details>
#
# <details><summary>Hint 3: symptoms</summary>Wrong near powers of two only: the special case. An OverflowError:
# infinity, met by the rounding. nan comes through: comparisons with it are False.</details>

# %% hidden="fixed_point" points=2
from fractions import Fraction

rng = torch.Generator().manual_seed(424)


def hold_fixed_point(scale, *num_bits):
    bits = (*num_bits, 31)[0]
    got = fixed_point(scale, *num_bits)
    assert type(got) is tuple, "the result is a pair of Python ints"
    assert [type(each) for each in got] == [int, int], "the result is a pair of Python ints"
    multiplier, shift = got
    assert 2 ** (bits - 1) <= multiplier < 2**bits, "the multiplier does not use its bits: see Returns"
    exact = Fraction(scale)
    best = math.frexp(scale)[1]
    wanted, right = round(exact * Fraction(2) ** (bits - best)), bits - best
    if wanted == 2**bits:
        wanted, right = wanted // 2, right - 1
    assert (multiplier, shift) == (wanted, right), "another fraction lies nearer, or a half went the wrong way"


for bits in range(1, 32):
    for scale in (1.0, 0.5, 2.0, 0.75, 1e-30, 1e30, 1 / 3, 0.999999, 1 - 2.0**-40, 1 + 2.0**-40, 0.4999999999):
        hold_fixed_point(scale, bits)
    for mantissa in torch.rand(20, generator=rng).double().tolist():
        hold_fixed_point((mantissa + 0.01) * 2.0 ** (bits - 16), bits)
    odd = (2 ** (bits - 1) + 1 + torch.arange(6) % 2 ** (bits - 1) if bits > 1 else torch.ones(1)).tolist()
    for whole in odd:
        if whole + 0.5 < 2**bits:
            hold_fixed_point((whole + 0.5) / 2**bits, bits)
for scale in (0.3, 0.0007, 123.4):
    hold_fixed_point(scale)
for bad in (0.0, -0.25, math.nan, math.inf, -math.inf):
    try:
        fixed_point(bad)
    except ValueError:
        continue
    except Exception as error:
        raise AssertionError("a scale that Raises speaks of: a ValueError should say so") from error
    raise AssertionError("a scale that Raises speaks of came through: no ValueError")

# %% id="see-fixed-point" tags="raises-exception" alt="Sum against steps for a multiplier of few bits"
from frugal.show.explore import Explore


def library_fraction(scale, num_bits=31):
    multiplier, shift = integer_only.quantize_multiplier(scale)
    return round(multiplier / 2 ** (31 - num_bits)), shift + num_bits


fixed_point = unblock.go_on(fixed_point, fallback=library_fraction)


def two_lines(ax, num_bits):
    """Draw what a sum becomes: with the exact factor, and with your fraction."""
    sums = torch.linspace(-3000, 3000, 200)
    multiplier, shift = fixed_point(0.0472, num_bits)
    ax.plot(sums, sums * 0.0472, color="0.6", ls="--", label="M = 0.0472")
    ax.plot(sums, sums * multiplier / 2**shift, label=f"{multiplier} / 2^{shift}")
    ax.set(xlabel="sum", ylabel="steps of the output", title=f"off by {multiplier / 2**shift / 0.0472 - 1:+.2%}")
    ax.legend()


Explore(two_lines, num_bits=range(1, 9), label="a scale as a fraction of few bits")

# %% [markdown] id="card-round-once"
# ### Exercise 4.2.5 Multiply, round, shift
# ◆◆◇ · matters a lot · ~8 min · 4 pts · slides 20, 23
#
# A shift to the right divides by a power of two and rounds *down*, negative numbers included. What must be added before
# the shift, so that it rounds to the nearest?


# %% solution="round_once"
def round_once(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Return acc · multiplier / 2^shift, rounded to the nearest whole number, by integers alone.

    Args:
        acc: int32, any shape and value.
        multiplier: int64, 1 to 2^31 - 1.
        shift: int64, 1 to 62. Both broadcast with ``acc``: [], or [out, 1, 1] for [n, out, h, w].

    Returns:
        int64, the shape of ``acc``.

    Rules:
        Halves go up: 1.5 to 2, -1.5 to -1. Exact for all values above; float64 knows 53 bits, a
        product here has 62.

    >>> round_once(torch.tensor([4, -4, 5], dtype=torch.int32), torch.tensor(6), torch.tensor(4))
    tensor([ 2, -1,  2])
    """
    ### BEGIN SOLUTION
    half = torch.ones_like(shift) << (shift - 1)
    return (acc.long() * multiplier + half) >> shift
    ### END SOLUTION


# %% test="round_once" points=2
def s64(*values):
    return torch.tensor(values, dtype=torch.int64)


def number(value):
    return torch.tensor(value, dtype=torch.int64)


top = 2**31 - 1
check.check(
    round_once,
    check.case("to the nearest", s32(5, -5, 3), number(6), number(4), expect=s64(2, -2, 1)),
    check.case("halves go up", s32(4, -4), number(6), number(4), expect=s64(2, -1)),
    check.case("beyond 32 bits", s32(2**30, -(2**30)), number(2**30), number(31), expect=s64(2**29, -(2**29))),
    check.case(
        "a fraction per channel",
        s32([[[8]], [[8]]])[0],
        s64([[3]], [[5]]),
        s64([[2]], [[3]]),
        expect=s64([[[6]], [[5]]])[0],
    ),
    check.case("beyond 53 bits", s32(top - 2), number(2**31 - 3), number(62), expect=s64(1)),
    check.case("the last bit counts", s32(2**30 + 1), number(2**30 + 1), number(60), expect=s64(1)),
    check.case(
        "the ends of int32",
        s32(-top - 1, top),
        number(top),
        number(1),
        expect=s64(-(2**30) * top, (top * top + 1) // 2),
    ),
)

# %% [markdown] id="hints-round-once"
# <details><summary>Hint 1: where to look</summary>-3 >> 1 is -2 and 3 >> 1 is 1: both rounded down. What is half of
# 2^shift?</details>
#
# <details><summary>Hint 2: the move</summary>Widen, multiply, add half of what one unit of the result is, shift. The
# half is a shift, too: of 1, to the left.</details>
#
# <details><summary>Hint 3: symptoms</summary>Small products right, large ones wild: 32 bits overflowed before you
# widened. Ties of large products wrong: a float. int32 although the multiplier is int64: in torch a tensor without axes
# widens nothing.</details>

# %% hidden="round_once" points=2
rng = torch.Generator().manual_seed(425)


def hold_round_once(acc, multiplier, shift, look):
    before = [each.tolist() for each in (acc, multiplier, shift)]
    got = round_once(acc, multiplier, shift)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert got.dtype is torch.int64, "the result is an int64 tensor"
    assert got.shape == acc.shape, "the result has the shape of acc"
    assert [each.tolist() for each in (acc, multiplier, shift)] == before, "an argument was changed"
    along = [each.expand(acc.shape).flatten().tolist() for each in (acc, multiplier, shift)]
    exact = [(a * m + 2 ** (s - 1)) // 2**s for a, m, s in zip(*along, strict=True)]  # Python's integers never overflow
    assert got.flatten().tolist() == exact, look


ends = s32(-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1)
for shift in (1, 2, 8, 30, 31, 32, 45, 61, 62):
    for multiplier in (1, 2, 3, 2**30, 2**30 + 1, 2**31 - 1):
        hold_round_once(ends, number(multiplier), number(shift), "large values: look at the width of the product")
    odd = torch.arange(-9, 10, 2, dtype=torch.int32)
    if shift <= 31:
        hold_round_once(odd, number(2 ** (shift - 1)), number(shift), "halves: see Rules")
    many = torch.randint(-(2**31), 2**31, (3, 4, 5), generator=rng).to(torch.int32)
    m = torch.randint(2**30, 2**31, (4, 1), generator=rng)
    hold_round_once(many, m, torch.full((4, 1), shift), "many channels: see Args")
    hold_round_once(many.transpose(0, 2)[1:], m[0, 0], torch.tensor(shift), "any shape")
mixed = torch.randint(-(2**20), 2**20, (2, 6, 2, 2), generator=rng).to(torch.int32)
each = torch.randint(1, 2**31, (6, 1, 1), generator=rng)
hold_round_once(mixed, each, torch.tensor([1, 20, 33, 40, 50, 62]).reshape(6, 1, 1), "a shift per channel")
edge = s32(2**30 + 1, 2**30 - 1, -(2**30) - 1, -(2**30) + 1)
hold_round_once(edge, number(2**30 + 1), number(61), "floats have 53 bits")
hold_round_once(edge, number(2**30 - 1), number(61), "floats have 53 bits")

# %% [markdown] id="card-round-twice"
# ### Exercise 4.2.6 Round twice
# ◆◆◆ · matters · ~15 min · 5 pts · slide 20
#
# A processor of 32 bits has no room for the product. But many have an instruction that returns the high half of it, and
# the open library gemmlowp builds on that:
#
# 1. product / 2^31, rounded to the nearest whole number, **halves up**;
# 2. that number / 2^(shift - 31), rounded again, **halves away from zero**.


# %% solution="round_twice"
def round_twice(acc: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    """Return acc · multiplier / 2^shift in gemmlowp's two roundings.

    Args:
        acc, multiplier: as in ``round_once``.
        shift: int64, 31 to 62; broadcasts with ``acc``.

    Returns:
        int64, the shape of ``acc``.

    Rules:
        Halves as written above. Exact, by integers alone.

    >>> acc, quarter = torch.tensor([1, 2, -1, -2], dtype=torch.int32), (torch.tensor(2**30), torch.tensor(32))
    >>> round_twice(acc, *quarter), round_once(acc, *quarter)  # 1 / 4: to a half, then to 1
    (tensor([ 1,  1,  0, -1]), tensor([0, 1, 0, 0]))
    """
    ### BEGIN SOLUTION
    high = (acc.long() * multiplier + 2**30) >> 31
    one = torch.ones_like(shift) << (shift - 31)  # 1 of the result, in units of high
    steps = (2 * high.abs() + one) // (2 * one)
    return torch.where(high < 0, -steps, steps)
    ### END SOLUTION


# %% test="round_twice" points=2
quarter = number(2**30), number(32)
check.check(
    round_twice,
    check.case("far from halves", s32(400, -397), *quarter, expect=s64(100, -99)),
    check.case("the second rounding: away from zero", s32(6, -6), *quarter, expect=s64(2, -2)),
    check.case("the first rounding: up", s32(1, -1, 3, -3), *quarter, expect=s64(1, 0, 1, -1)),
    check.case("nothing left to shift", s32(3, -3), number(2**30), number(31), expect=s64(2, -1)),
    check.case("the ends of int32", s32(-top - 1, top), number(top), number(31), expect=s64(-top, top - 1)),
    check.case(
        "a shift per channel",
        s32([[[40]], [[40]]])[0],
        s64([[2**30]], [[2**30]]),
        s64([[32]], [[34]]),
        expect=s64([[[10]], [[3]]])[0],
    ),
)

# %% [markdown] id="hints-round-twice"
# <details><summary>Hint 1: where to look</summary>The first rounding is `round_once` with a shift of 31. Write it out
# here.</details>
#
# <details><summary>Hint 2: the move</summary>Away from zero is the same for a number and its opposite. So round the
# magnitude, and give the sign back. Where the second shift is 0, there must be nothing to round.</details>
#
# <details><summary>Hint 3: symptoms</summary>Only negative halves wrong: which of the two roundings? 1 too large at a
# shift of 31: a half where nothing is left to round. "ambiguous": each channel has its own shift, so no `if`.</details>

# %% hidden="round_twice" points=3
rng = torch.Generator().manual_seed(426)


def two_roundings(a, m, s):
    high = (a * m + 2**30) // 2**31
    away = (2 * abs(high) + 2 ** (s - 31)) // 2 ** (s - 30)
    return -away if high < 0 else away


def hold_round_twice(acc, multiplier, shift, look):
    before = [each.tolist() for each in (acc, multiplier, shift)]
    got = round_twice(acc, multiplier, shift)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert got.dtype is torch.int64, "the result is an int64 tensor"
    assert got.shape == acc.shape, "the result has the shape of acc"
    assert [each.tolist() for each in (acc, multiplier, shift)] == before, "an argument was changed"
    along = [each.expand(acc.shape).flatten().tolist() for each in (acc, multiplier, shift)]
    assert got.flatten().tolist() == [two_roundings(*three) for three in zip(*along, strict=True)], look


small, ends = torch.arange(-40, 41, dtype=torch.int32), s32(-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1)
for shift in (31, 32, 33, 36, 47, 61, 62):
    for multiplier in (2**30, 2**30 + 1, 3 * 2**29, 2**31 - 1, 12345):
        hold_round_twice(ends, number(multiplier), number(shift), "large values: look at widths")
        hold_round_twice(small, number(multiplier), number(shift), "halves of either rounding: see the card")
    many = torch.randint(-(2**31), 2**31, (3, 4, 50), generator=rng).to(torch.int32)
    hold_round_twice(many, torch.randint(2**30, 2**31, (4, 1), generator=rng), torch.full((4, 1), shift), "channels")
hold_round_twice(torch.arange(-6000, 6000, dtype=torch.int32), number(1374389535), number(34), "twice means twice")
mixed = torch.randint(-(2**16), 2**16, (2, 5, 4, 4), generator=rng).to(torch.int32)
each = torch.randint(2**30, 2**31, (5, 1, 1), generator=rng)
hold_round_twice(mixed, each, torch.tensor([31, 33, 35, 40, 45]).reshape(5, 1, 1), "a shift per channel")

# %% [markdown] id="card-to-codes"
# ### Exercise 4.2.7 Saturate, with ReLU for nothing
# ◆◆◇ · matters a lot · ~8 min · 4 pts · slides 20, 21, $\sigma$ in equation (3)
#
# The rounded number counts steps of the output. Add its zero-point, then hold the ends. An activation function costs
# nothing: ReLU and ReLU6 only move the ends inwards. $\mathrm{ReLU6}(x) = \min(\max(x, 0), 6)$.


# %% solution="to_codes"
def to_codes(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Turn steps of the output into its codes.

    Args:
        steps: int64, any shape and value up to 2^61 in magnitude.
        y: per-tensor parameters of the output.
        activation: "none", "relu" or "relu6".

    Returns:
        Codes of dtype ``y.dtype``, the shape of ``steps``.

    Rules:
        Codes end at quant_min and quant_max. ReLU gives out none below the code of real 0, ReLU6
        moreover none above that of real 6, which lies round(6 / scale) codes higher.

    >>> y = QParams(torch.tensor(0.25), torch.tensor(-100, dtype=torch.int32), -128, 127)
    >>> to_codes(torch.tensor([-50, -3, 20, 500]), y), to_codes(torch.tensor([-50, -3, 20, 500]), y, "relu6")
    (tensor([-128, -103,  -80,  127], dtype=torch.int8), tensor([-100, -100,  -80,  -76], dtype=torch.int8))
    """
    ### BEGIN SOLUTION
    zero, low, high = int(y.zero_point), y.quant_min, y.quant_max
    if activation in ("relu", "relu6"):
        low = zero
    if activation == "relu6":
        high = min(high, zero + round(6 / float(y.scale)))
    return (steps + zero).clamp(low, high).to(y.dtype)
    ### END SOLUTION


# %% test="to_codes" points=2
def output(scale, zero_point, quant_min=-128, quant_max=127):
    return QParams(torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int32), quant_min, quant_max)


check.check(
    to_codes,
    check.case("inside", s64(3, 0, -3), output(0.25, 10), expect=s8(13, 10, 7)),
    check.case("both ends", s64(300, -300), output(0.25, 10), expect=s8(127, -128)),
    check.case("4 bits end earlier", s64(9, -9), output(0.25, 1, -8, 7), expect=s8(7, -8)),
    check.case("ReLU ends at real 0", s64(-9, -1, 0, 1), output(0.25, -100), "relu", expect=s8(-100, -100, -100, -99)),
    check.case("ReLU6 ends at real 6", s64(-9, 18, 19, 20), output(0.32, 7), "relu6", expect=s8(7, 25, 26, 26)),
    check.case("real 6 is out of reach", s64(2000), output(0.01, 0), "relu6", expect=s8(127)),
    check.case("uint8", s64(2, 400), output(0.5, 0, 0, 255), "relu", expect=torch.tensor([2, 255], dtype=torch.uint8)),
    check.case("far outside", s64(2**40 + 1, -(2**40) - 1), output(0.25, 3), expect=s8(127, -128)),
)

# %% [markdown] id="hints-to-codes"
# <details><summary>Hint 1: where to look</summary>Write down the smallest and the largest code that may come out, for
# each of the three activations. The rest is one line.</details>
#
# <details><summary>Hint 2: the move</summary>Add, clamp, cast: in this order. The code of real 0 is no 0.</details>
#
# <details><summary>Hint 3: symptoms</summary>ReLU lets negative reals through, or clips positive ones: that is where
# code 0 stands in for real 0. Large values of the wrong sign: the cast came first.</details>


# %% hidden="to_codes" points=2
def hold_to_codes(steps, y, activation, look):
    before = steps.tolist()
    got = to_codes(steps, y, activation) if activation else to_codes(steps, y)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert got.dtype is y.dtype, "the dtype of the codes: see Returns"
    assert got.shape == steps.shape, "the result has the shape of steps"
    assert steps.tolist() == before, "steps was changed"
    zero, low, high = y.zero_point.item(), y.quant_min, y.quant_max
    if activation in ("relu", "relu6"):
        low = zero
    if activation == "relu6":
        high = min(high, zero + round(6 / y.scale.item()))
    assert got.flatten().tolist() == [min(max(each + zero, low), high) for each in steps.flatten().tolist()], look


every = torch.cat([torch.arange(-300, 301), s64(2**31, -(2**31), 2**33, 2**61, -(2**61), 2**40 + 3, -256 * 5 - 1)])
for quant_min, quant_max in ((-128, 127), (-8, 7), (0, 255), (0, 15), (-127, 127)):
    for zero in {quant_min, quant_max, (quant_min + quant_max) // 2, quant_min + 3}:
        for scale in (0.011, 0.07, 0.9, 5.0):
            y = output(scale, zero, quant_min, quant_max)
            for activation in ("none", "relu", "relu6", ""):
                hold_to_codes(every, y, activation, f"look at the ends for {activation or 'no activation'}")
            hold_to_codes(every[:600].reshape(2, 3, 100).transpose(0, 2), y, "relu", "any shape")


# %% id="see-rounding" tags="raises-exception" alt="Three stairs around zero: exact, rounded once, rounded twice"
def float_once(acc, multiplier, shift):
    return torch.floor(acc.double() * multiplier / 2.0**shift + 0.5).long()


def float_twice(acc, multiplier, shift):
    fine = torch.round(acc.double() * multiplier / 2**31) / 2.0 ** (shift - 31)
    return (fine.sign() * torch.floor(fine.abs() + 0.5)).long()


def library_codes(steps, y, activation="none"):
    reals = {"none": lambda x: x, "relu": F.relu, "relu6": F.relu6}[activation](steps * y.scale.double())
    return quantize(reals, y)


round_once = unblock.go_on(round_once, fallback=float_once)
round_twice = unblock.go_on(round_twice, fallback=float_twice)
to_codes = unblock.go_on(to_codes, fallback=library_codes)
line, fraction = torch.arange(-24, 25, dtype=torch.int32), (number(2**30), number(33))
once, twice = round_once(line, *fraction), round_twice(line, *fraction)
plt.plot(line, line / 8, color="0.6", ls="--", label="acc / 8")
plt.step(line, once, where="mid", label="one rounding")
plt.step(line, twice, where="mid", label="two roundings")
plt.gca().set(xlabel="acc", ylabel="steps", title=f"{int((once != twice).sum())} of {len(line)} sums differ")
plt.legend()
plt.show()

# %% [markdown] id="card-add-steps"
# ## Part C. What stands between the layers
# A residual network adds two tensors, and averages at the end. Both are codes, and the two sides of an addition have
# scales of their own. With scales 0.5 and 0.2, two codes of 3 stand for 1.5 and 0.6. In steps of 0.4 these are 3.75 and
# 1.5, together 5.25, so 5. Rounded one by one they would be 4 and 2, together 6.
#
# ### Exercise 4.2.8 Add codes of two scales
# ◆◆◇ · matters a lot · ~14 min · 5 pts · slide 20, $Q^{-1}$ in equation (3)
#
# $$\frac{s_a (q_a - z_a) + s_b (q_b - z_b)}{s_y}$$
#
# Two real factors, one division: give both fractions the same denominator, $2^{20}$, add the products, and round the
# sum once.


# %% solution="add_steps"
def add_steps(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    """Add two tensors of codes; return whole steps of the result, before its zero-point and its ends.

    Args:
        q_a, q_b: codes of dtypes ``a.dtype`` and ``b.dtype``, one shape.
        a, b, y: per-tensor parameters; each scale is at most 1000 times another.

    Returns:
        int64 steps of ``y.scale``, the shape of ``q_a``.

    Rules:
        a.scale / y.scale · 2^20 is computed in float64 and rounded to a whole number; b likewise.
        The sum of both products is divided by 2^20 and rounded once, halves up. Integers otherwise.

    >>> a, y = QParams(torch.tensor(0.5), torch.tensor(1, dtype=torch.int32), -128, 127), QParams(
    ...     torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), -128, 127)
    >>> add_steps(torch.tensor([4, 2], dtype=torch.int8), torch.tensor([2, 1], dtype=torch.int8), a, a, y)
    tensor([2, 1])
    """
    ### BEGIN SOLUTION
    factor_a = round(float(a.scale) / float(y.scale) * 2**20)
    factor_b = round(float(b.scale) / float(y.scale) * 2**20)
    total = (q_a.long() - a.zero_point) * factor_a + (q_b.long() - b.zero_point) * factor_b
    return (total + 2**19) >> 20
    ### END SOLUTION


# %% test="add_steps" points=2
def u8(*values):
    return torch.tensor(values, dtype=torch.uint8)


half, whole = output(0.5, 1), output(1.0, 9)  # a zero-point that has to wait
check.check(
    add_steps,
    check.case("the same scale", s8(4, 2), s8(3, 1), output(1.0, 0), output(1.0, 0), whole, expect=s64(7, 3)),
    check.case("two halves", s8(2, 4), s8(2, 2), half, half, whole, expect=s64(1, 2)),
    check.case("halves go up", s8(2, 0), s8(1, 1), half, half, whole, expect=s64(1, 0)),
    check.case(
        "two scales, two zero-points",
        s8(100, -128),
        s8(7, -20),
        output(0.5, -10),
        output(0.125, 7),
        whole,
        expect=s64(55, -62),
    ),
    check.case("beyond int8", s8(127), s8(-128), output(1.0, -128), output(1.0, 127), whole, expect=s64(0)),
    check.case(
        "a coarse and a fine side", s8(5), s8(100), output(200.0, 0), output(0.3, 0), output(0.4, 0), expect=s64(2575)
    ),
    check.case(
        "uint8 beside int8", u8(200), s8(-3), output(0.5, 100, 0, 255), output(2.0, 0), output(0.5, 0), expect=s64(88)
    ),
)

# %% [markdown] id="hints-add-steps"
# <details><summary>Hint 1: where to look</summary>How many steps of y is one step of a worth? And one of b?</details>
#
# <details><summary>Hint 2: the move</summary>Widen and centre both sides. Two whole factors, two products, one sum, one
# rounding shift as in 4.2.5.</details>
#
# <details><summary>Hint 3: symptoms</summary>Off by one now and then: each side was rounded by itself. Off by 256, or
# not int64: a tensor without axes, be it zero-point or factor, widens nothing. Large factors wild: 32 bits.</details>

# %% hidden="add_steps" points=3
rng = torch.Generator().manual_seed(428)


def hold_add_steps(q_a, q_b, a, b, y, look):
    before = q_a.tolist(), q_b.tolist()
    got = add_steps(q_a, q_b, a, b, y)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert got.dtype is torch.int64, "the result is an int64 tensor"
    assert got.shape == q_a.shape, "the result has the shape of q_a"
    assert (q_a.tolist(), q_b.tolist()) == before, "an argument was changed"
    m_a, m_b = (round(each.scale.item() / y.scale.item() * 2**20) for each in (a, b))
    z_a, z_b = a.zero_point.item(), b.zero_point.item()
    pairs = zip(q_a.flatten().tolist(), q_b.flatten().tolist(), strict=True)
    exact = [((p - z_a) * m_a + (q - z_b) * m_b + 2**19) // 2**20 for p, q in pairs]
    assert got.flatten().tolist() == exact, look


every = torch.cartesian_prod(torch.arange(-128, 128, 5), torch.arange(-128, 128, 7)).to(torch.int8)
for scales in ((0.5, 0.5, 1.0), (0.25, 0.5, 1.0), (0.031, 0.0077, 0.0291), (3.0, 0.004, 0.5), (0.001, 0.9, 0.9)):
    for zero_a, zero_b in ((0, 0), (-128, 127), (127, -128), (-3, 40)):
        a, b = output(scales[0], zero_a), output(scales[1], zero_b)
        hold_add_steps(every[:, 0].clone(), every[:, 1].clone(), a, b, output(scales[2], 0), "scales and zero-points")
        hold_add_steps(
            every[:6, 0].reshape(1, 2, 3), every[:6, 1].reshape(1, 2, 3), a, b, output(scales[2], -9), "shape"
        )
odd, none = torch.arange(-127, 128, 2).to(torch.int8), torch.zeros(128, dtype=torch.int8)
almost = output(0.5 - 0.3 * 2.0**-20, 0)  # its factor is a half only if it is rounded: all odd codes tie
hold_add_steps(odd, none, almost, output(0.5, 0), output(1.0, 0), "the factors are rounded: see Rules")
hold_add_steps(none, odd, output(0.5, 0), almost, output(1.0, 0), "the factors are rounded: see Rules")
wide = torch.randint(0, 256, (300,), generator=rng).to(torch.uint8)
left, right = output(0.5, 200, 0, 255), output(0.0039, 255, 0, 255)
hold_add_steps(wide, wide.flip(0), left, right, output(0.005, 0), "uint8 codes: look at the width of differences")
hold_add_steps(every[:, 0].clone(), every[:, 1].clone(), output(900.0, -128), output(1.1, 0), output(0.95, 0), "widths")

# %% [markdown] id="card-mean-codes"
# ### Exercise 4.2.9 Average codes
# ◆◇◇ · matters · ~6 min · 3 pts · slide 20
#
# The mean of the codes is the code of the mean: scale and zero-point stay as they are. Only a rounding is new.


# %% solution="mean_codes"
def mean_codes(q: Tensor) -> Tensor:
    """Average codes over rows and columns, by integers alone.

    Args:
        q: int8 or uint8 [n, c, h, w], up to 4096 places.

    Returns:
        Codes of the same dtype, [n, c].

    Rules:
        Rounded to the nearest code, halves up: 2.5 to 3, -2.5 to -2.

    >>> mean_codes(torch.tensor([[[[1, 2]], [[-1, -2]], [[127, 126]]]], dtype=torch.int8))
    tensor([[  2,  -1, 127]], dtype=torch.int8)
    """
    ### BEGIN SOLUTION
    count = q.shape[2] * q.shape[3]
    total = q.sum((2, 3), dtype=torch.int64)
    return ((2 * total + count) // (2 * count)).to(q.dtype)
    ### END SOLUTION


# %% test="mean_codes" points=1
check.check(
    mean_codes,
    check.case("three places", s8([[[1, 2, 5]]]), expect=s8([3])),
    check.case("halves go up", s8([[[2, 3]], [[-2, -3]], [[-1, 0]]]), expect=s8([3, -2, 0])),
    check.case("to the nearest below zero", s8([[[-5, -4, -4]], [[-5, -5, -4]]]), expect=s8([-4, -5])),
    check.case("sums beyond int8", torch.full((2, 1, 8, 8), 127, dtype=torch.int8), expect=s8([127], [127])),
    check.case("uint8", u8([[[255, 254], [255, 255]]]), expect=u8([255])),
)

# %% [markdown] id="hints-mean-codes"
# <details><summary>Hint 1: where to look</summary>A whole-number division rounds down. How far below the nearest can it
# end?</details>
#
# <details><summary>Hint 2: the move</summary>Sum in a wide type. Add half of the divisor before dividing; if it is odd,
# double all three.</details>
#
# <details><summary>Hint 3: symptoms</summary>Always a little too small: no half was added. Wrong below zero only: a
# division that cuts.</details>

# %% hidden="mean_codes" points=2
rng = torch.Generator().manual_seed(429)


def hold_mean_codes(q, look):
    before = q.tolist()
    got = mean_codes(q)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert got.dtype is q.dtype, "the result has the dtype of q"
    assert got.shape == q.shape[:2], "the result is [n, c]"
    assert q.tolist() == before, "q was changed"
    count, sums = q.shape[2] * q.shape[3], q.long().sum((2, 3)).flatten().tolist()
    assert got.flatten().tolist() == [(2 * total + count) // (2 * count) for total in sums], look


for height, width in ((1, 1), (1, 2), (2, 2), (1, 3), (3, 5), (7, 7), (8, 8), (64, 64)):
    for dtype, low, high in ((torch.int8, -128, 128), (torch.uint8, 0, 256), (torch.int8, -6, 4)):
        q = torch.randint(low, high, (3, 12, height, width), generator=rng).to(dtype)
        hold_mean_codes(q, "look at signs and at the width of the sum")
        hold_mean_codes(q.transpose(2, 3)[:, ::2], "rows and columns may differ in number")
for value in (-128, 127):
    hold_mean_codes(torch.full((1, 2, 64, 64), value, dtype=torch.int8), "look at the width of the sum")
pairs = torch.arange(-128, 127)
hold_mean_codes(torch.stack([pairs, pairs + 1], -1).reshape(1, -1, 1, 2).to(torch.int8), "halves: see Rules")
hold_mean_codes(torch.stack([pairs, pairs + 1], -1).reshape(1, -1, 2, 1).to(torch.int8), "halves: see Rules")

# %% [markdown] id="together"
# ## Put it together
# A small residual network, trained on drawn figures: seven convolutions with batch norm, three additions, an average
# and a linear layer. First, 256 pictures choose a range for every tensor of codes. Then each layer is prepared:
# 4.2.1, 4.2.2 and 4.2.4 turn its reals into integers. From there on nothing but integers runs.

# %% id="ranges" tags="raises-exception"
from dataclasses import dataclass

from frugal.quant.affine import dequantize


def library_sum(q_a, q_b, a, b, y):
    return torch.round((dequantize(q_a, a).double() + dequantize(q_b, b)) / y.scale).long()


def library_mean(q):
    return quantize(q.float().mean((2, 3)), QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), -128, 127))


add_steps = unblock.go_on(add_steps, fallback=library_sum)
mean_codes = unblock.go_on(mean_codes, fallback=library_mean)

blocks = ("layer1.0", "layer2.0", "layer3.0")
sources = {"conv1": ["relu"]}  # which tensors of codes a layer is responsible for
for block in blocks:
    sources |= {f"{block}.conv1": [f"{block}.relu1"], f"{block}.conv2": [f"{block}.bn2", f"{block}.relu2"]}
seen = {"input": train}
hooks = [
    net.get_submodule(name).register_forward_hook(lambda _, x, y, name=name: seen.update({name: y}))
    for names in sources.values()
    for name in names
]
with torch.no_grad():
    net(train)
for hook in hooks:
    hook.remove()
print(len(seen), "tensors of codes")


# %% id="prepare" tags="raises-exception"
@dataclass(frozen=True)
class Bits:
    """How wide a layer's numbers are: its weights, the codes it gives out, its multiplier."""

    weights: int = 8
    codes: int = 8
    multiplier: int = 31


@dataclass(frozen=True)
class Layer:
    """All that a layer needs to run, in integers; ``x`` and ``y`` say what its codes stand for."""

    q_w: Tensor
    bias: Tensor
    multiplier: Tensor
    shift: Tensor
    x: QParams
    y: QParams | None
    bits: Bits

    def sums(self, q_x, stride=1):
        padding = self.q_w.shape[-1] // 2
        return integer_conv(q_x, self.q_w, self.bias, int(self.x.zero_point), stride, padding)


def prepare(weight, bias, x, y, bits):
    """Turn a float layer into integers; without ``y`` its sums are the result, and share one scale."""
    channels = {"granularity": PerChannel(0)} if y else {}
    on_w = choose_qparams(weight, bits.weights, symmetric=True, **channels)
    q_w, step = quantize(weight, on_w), (x.scale.double() * on_w.scale.double()).expand(len(weight))
    folded_bias = fold_bias(bias, q_w, step, int(x.zero_point), torch.zeros(len(weight), dtype=torch.int32))
    pairs = [fixed_point(each, bits.multiplier) for each in (step / y.scale if y else step[:1]).tolist()]
    multiplier, shift = torch.tensor(pairs).T.reshape(2, -1, 1, 1)
    return Layer(q_w, folded_bias, multiplier, shift, x, y, bits)


# %% id="network" tags="raises-exception"
class IntegerNet:
    """The network on your functions; ``choose`` names the widths of each layer."""

    def __init__(self, choose=lambda layer: Bits(), rounding=None):
        self.rounding = rounding or round_once
        self.on = {"input": choose_qparams(train)}
        for layer, names in sources.items():
            self.on |= {name: choose_qparams(seen[name], choose(layer).codes) for name in names}
        self.layers = {"conv1": prepare(*folded("conv1", "bn1"), self.on["input"], self.on["relu"], choose("conv1"))}
        before = "relu"
        for block in blocks:
            for part, x, y in (("1", before, f"{block}.relu1"), ("2", f"{block}.relu1", f"{block}.bn2")):
                name, floats = f"{block}.conv{part}", folded(f"{block}.conv{part}", f"{block}.bn{part}")
                self.layers[name] = prepare(*floats, self.on[x], self.on[y], choose(name))
            before = f"{block}.relu2"
        weight, bias = net.linear.weight.detach()[:, :, None, None], net.linear.bias.detach()
        self.layers["linear"] = prepare(weight, bias, self.on[before], None, choose("linear"))

    def run(self, name, q_x, activation, stride=1):
        layer = self.layers[name]
        self.acc[name] = layer.sums(q_x, stride)
        return to_codes(self.rounding(self.acc[name], layer.multiplier, layer.shift), layer.y, activation)

    def __call__(self, images):
        """Return int32 sums [n, 10]: the largest names the class, whatever their scale."""
        return torch.cat([self.forward(few) for few in images.split(50)])

    def forward(self, images):
        self.acc = {}  # the sums of these pictures stay to be looked at
        q, before = self.run("conv1", quantize(images, self.on["input"]), "relu"), "relu"
        for block in blocks:
            stride = 1 if block == "layer1.0" else 2
            inner = self.run(f"{block}.conv2", self.run(f"{block}.conv1", q, "relu", stride), "none")
            missing = inner.shape[1] - q.shape[1]  # the shortcut skips pixels, and new channels are real 0
            frame = (0, 0, 0, 0, missing // 2, missing - missing // 2)
            q = F.pad(q[:, :, ::stride, ::stride], frame, value=int(self.on[before].zero_point))
            a, b, y = (self.on[name] for name in (f"{block}.bn2", before, f"{block}.relu2"))
            q, before = to_codes(add_steps(inner, q, a, b, y), y, "relu"), f"{block}.relu2"
        return self.layers["linear"].sums(mean_codes(q)[:, :, None, None]).flatten(1)


# %% id="table" tags="raises-exception,nbval-ignore-output"
from frugal.quant.integer import to_int8

images, labels = drawn.draw(400, split="test")
with torch.no_grad():
    in_float = net(images)
mine, gemmlowp = IntegerNet(), IntegerNet(rounding=round_twice)
library = to_int8(net, train)
networks = {
    "float32": in_float,
    "integers, one rounding": mine(images),
    "integers, two roundings": gemmlowp(images),
    "the library's int8 network": library(images),
}


def recognised(outputs):
    return 100 * (outputs.argmax(1) == labels[: len(outputs)]).double().mean().item()


def same_class(outputs):
    return 100 * (outputs.argmax(1) == in_float[: len(outputs)].argmax(1)).double().mean().item()


print(f"{'network':<28}{'pictures recognised':>20}{'same class as float32':>24}")
for name, outputs in networks.items():
    print(f"{name:<28}{recognised(outputs):>18.1f} %{same_class(outputs):>22.1f} %")
    assert same_class(outputs) >= 97, f"{name}: 8 bits decide as float32 does; look at Parts A to C"

# %% id="oracle" tags="raises-exception"
from frugal.quant.methods.integer_only import requantize_exactly

# Python's integers never overflow: they recompute some numbers of every layer, drawn by chance, from their sums on.
rng, wrong, compared = torch.Generator().manual_seed(0), 0, 0
for name, layer in mine.layers.items():
    if name == "linear":
        continue
    acc = mine.acc[name]
    steps = round_once(acc, layer.multiplier, layer.shift)
    for place in torch.randint(acc.numel(), (300,), generator=rng).tolist():
        channel = place // acc[0, 0].numel() % acc.shape[1]
        m, s = layer.multiplier[channel].item(), layer.shift[channel].item()
        wrong += steps.flatten()[place].item() != requantize_exactly(acc.flatten()[place].item(), m, s - 31)
        compared += 1
print(f"{wrong} of {compared} numbers differ from exact arithmetic")
assert wrong == 0, "look at round_once"

# %% id="narrow" tags="raises-exception,nbval-ignore-output" alt="Codes that two roundings change, by layer"
kept = {31: same_class(networks["integers, one rounding"])}
for bits in (8, 4, 2, 1):
    kept[bits] = same_class(IntegerNet(lambda layer, bits=bits: Bits(multiplier=bits))(images[:200]))
for bits, percent in kept.items():
    print(f"multipliers of {bits:>2} bits: {percent:5.1f} % of the pictures keep their class")
assert kept[8] >= 97 > kept[1], "8 bits of multiplier suffice, and a bare shift does not: look at fixed_point"
changed = {}
for name, layer in mine.layers.items():
    if name != "linear":
        both = (rounding(mine.acc[name], layer.multiplier, layer.shift) for rounding in (round_once, round_twice))
        once, twice = (to_codes(steps, layer.y, "none" if name.endswith("conv2") else "relu") for steps in both)
        changed[name] = (once != twice).double().mean().item()
share = sum(changed.values()) / len(changed)
expected = [1000 * (2.0 ** (30 - mine.layers[name].shift.double())).mean().item() for name in changed]
plt.barh(list(changed), [1000 * each for each in changed.values()], label="counted")
plt.plot(expected, list(changed), "o", color=style.ORANGE, label="expected, before ReLU")
plt.gca().invert_yaxis()
plt.legend(loc="lower right", bbox_to_anchor=(1, 1), ncol=2)
plt.gca().set(xlabel="codes of 1000 that the second rounding changes")
plt.show()
assert 0 < share < 0.01, "the second rounding changes few codes: is round_twice right?"

# %% [markdown] id="what-happened"
# Eight-bit integers decide as float32 does for nearly all pictures, whichever way they round. The second rounding
# matters only where the first one leaves a tie: one number in 2^(shift - 31), and half of these the two roundings send
# apart (the dots). Where a ReLU follows, fewer codes change: what lies below real 0 is cut off anyway. The multiplier
# needs far fewer than 31 bits: its error is one factor for a whole channel. The cells above held your numbers to this.

# %% [markdown] id="challenge"
# ## Challenge: the cheapest network
# **Rules.** Choose the widths of each layer: weights and codes from 2 to 8 bits, multipliers from 1 to 31. No training.
# The referee charges a bit for each pair of bits that is multiplied: weight · code for each product, sum · multiplier
# for each output. The sum is as wide as the worst input demands. **Target:** the least cost at a loss of at most 0.5
# points on these pictures. The other rows have the same widths in every layer; yours need not. No points, but a row in
# the table. (Chosen on test pictures, the loss flatters: note what it is on others.)


# %% id="challenge-answer"
def my_bits(layer: str) -> Bits:
    """Choose for "conv1", "layer1.0.conv1", ..., "layer3.0.conv2" and "linear"."""
    return Bits(weights=7, codes=8, multiplier=6)


# %% id="cost" tags="raises-exception"
sizes = {name: acc[0, 0].numel() for name, acc in mine.acc.items()} | {"linear": 1}
reads = {"conv1": "input", "linear": "layer3.0.relu2"}
for block, before in zip(blocks, ("relu", "layer1.0.relu2", "layer2.0.relu2"), strict=True):
    reads |= {f"{block}.conv1": before, f"{block}.conv2": f"{block}.relu1"}


def sum_bits(layer):
    """The width that holds every sum, whatever codes come in."""
    ends = torch.tensor([layer.x.quant_min, layer.x.quant_max])
    both = layer.q_w.flatten(1).long()[..., None] * ends  # [out, N, 2]
    high = (both.amax(-1).sum(1) + layer.bias).max().item()
    low = (both.amin(-1).sum(1) + layer.bias).min().item()
    return max(high, -low - 1).bit_length() + 1


def cost(network):
    """Pairs of bits multiplied for one picture."""
    total = 0
    for name, layer in network.layers.items():
        x = network.on[reads[name]]
        x_bits = (x.quant_max - x.quant_min).bit_length()
        outputs = len(layer.q_w) * sizes[name]
        total += outputs * layer.q_w[0].numel() * layer.bits.weights * x_bits
        if layer.y:
            total += outputs * sum_bits(layer) * layer.bits.multiplier
    return total


# %% id="referee" tags="raises-exception,nbval-ignore-output" alt="Cost against loss, the Pareto front joined by a line"
choices = {"8, 8, 4": Bits(8, 8, 4), "6, 8, 6": Bits(6, 8, 6), "6, 7, 4": Bits(6, 7, 4)}
choices |= {"5, 6, 4": Bits(5, 6, 4), "4, 5, 4": Bits(4, 5, 4), "yours": my_bits}
results = {"8, 8, 31": (100.0, recognised(in_float) - recognised(networks["integers, one rounding"]))}
for name, bits in choices.items():
    narrow = IntegerNet(bits if callable(bits) else lambda layer, bits=bits: bits)
    results[name] = (100 * cost(narrow) / cost(mine), recognised(in_float) - recognised(narrow(images)))
front = [n for n, (c, loss) in results.items() if not any(d < c and other <= loss for d, other in results.values())]
print(f"{'weights, codes, multiplier':<28}{'cost':>8}{'points lost':>13}")
for name, (price, loss) in sorted(results.items(), key=lambda item: -item[1][0]):
    print(f"{name:<28}{price:>6.0f} %{loss:>13.1f}  {'front' if name in front else ''}")
line = sorted(results[name] for name in front)
plt.plot(*zip(*line, strict=True), color=style.TEAL, lw=1)
for name, (price, loss) in results.items():
    plt.plot(price, loss, "o", color=style.ORANGE if name == "yours" else style.BLUE)
    plt.annotate(name, (price, loss), xytext=(3, 5), textcoords="offset points", fontsize=8)
plt.axhline(0.5, color=style.GREY, ls="--", lw=0.8)
plt.gca().margins(0.12)
plt.gca().set(xlabel="cost (% of 8, 8, 31)", ylabel="points lost", title="Weights, codes, multiplier: bits")
plt.show()

# %% [markdown] id="reveal"
# ## Prediction and measurement

# %% id="revealed" tags="raises-exception,nbval-ignore-output"
largest = max(int(acc.abs().max()) for acc in mine.acc.values())
predict.reveal("sums", largest.bit_length() + 1)
nearest = min((1000, 30, 3), key=lambda each: abs(math.log(share * each)))
predict.reveal("twice", f"about 1 in {nearest}")
predict.reveal("multiplier", min(bits for bits, percent in kept.items() if percent >= 90), unit="bits")

# %% [markdown] id="summary"
# ## In three sentences
# What is known before the picture comes, batch norm, bias and zero-points, becomes one integer per channel. What is a
# real factor becomes a multiplication and a shift, and the rounding belongs to the definition: fix it, and two
# machines agree to the last bit. Activations are ends, additions are two fractions over one denominator, and no real
# number is left.
#
# | symptom | look at |
# |---|---|
# | a frame around every feature map | padding with code 0 |
# | a constant offset per channel | the folded bias; its units |
# | off by one between two machines | halves; one rounding or two |
# | large values of the wrong sign | a cast before the clamp; 32-bit products |
# | accuracy falls after additions | one scale for both sides |
#
# **What next.** The library's kernels keep $M$ as one float32 number per channel; `frugal.quant.methods.integer_only`
# has the layer of this lab. Lab 4.6 makes the inner loop fast.
