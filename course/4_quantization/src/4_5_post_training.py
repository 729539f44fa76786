# %% [markdown] id="title"
# # 4.5 How far does rounding alone go?
#
# **Afterwards you will be able to**
# - find the clipping point that balances rounding against clipping, by a formula and by a search;
# - say why the smallest error is not the best network, and repair what it bends;
# - spend bits where channels are wide, split outliers, bend the grid, and round up or down by what comes out;
# - read a table of post-training methods, and ask it what else was changed.
#
# **Slide** 24. **Papers** [[2]](../references.md#ref-2) ACIQ, [[10]](../references.md#ref-10) OMSE,
# [[12]](../references.md#ref-12) PWLQ, [[42]](../references.md#ref-42) OCS, [[13]](../references.md#ref-13) trade-offs,
# and [AdaRound](../references.md#ref-nagel2020). **Time** about 55 minutes.
#
# Before this: [4.3 One scale, or one for each channel?](4_3_per_channel.ipynb). Names and letters:
# [notation](../notation.md). All methods here need no training and no labels; what needs no *data* at all is chapter
# [4.6](4_6_no_data.ipynb).

# %% id="setup"
import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from frugal.data.drawn import draw
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.measure.results import lay_out
from frugal.nets.pretrained import load
from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.layers import map_tensors
from frugal.quant.methods import aciq, adaround, ocs, omse, pwlq
from frugal.quant.rounding import layer_inputs, round_nearest
from frugal.quant.statistics import watch_inputs
from frugal.show import plots, post_training, style
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal

style.use()
model = fold_batchnorm(load("resnet8_drawn"))
pictures, calibration = draw(600, split="test"), draw(128, split="val").images
original = accuracy(model, *pictures)

# %% [markdown] id="question-clip"
# ## Where should the range end?
#
# So far a range covered every value. Then the step is set by the largest, which is rare. If the range ends earlier, at
# $\alpha$, the step shrinks and most values gain; the few outside are **clipped** to the end and lose. For $2^M$ codes
# and values from a Laplace distribution of width $b$, the two parts of the mean squared error are
# [[2]](../references.md#ref-2)
#
# $$\underbrace{\frac{\alpha^2}{3 \cdot 4^M}}_{\text{rounding}} + \underbrace{2 b^2 e^{-\alpha / b}}_{\text{clipping}} \tag{1}$$
#
# One grows with $\alpha$, the other falls. Setting the derivative to zero gives a closed form with Lambert's $W$
# (the solution of $w e^w = x$): $\alpha = b \cdot W(3 \cdot 4^M)$.

# %% id="predict-clip"
samples = torch.distributions.Laplace(0.0, 1.0).icdf(torch.linspace(0.00005, 0.99995, 100_000))
predict(
    "clip",
    f"The largest of 100,000 Laplace values (b = 1) is {samples.max():.1f}. Where is the best clipping point of 4 bits?",
    options=[2.5, 5.0, 7.5, 9.2],
)

# %% id="measure-clip" alt="Error against clipping point on a logarithmic axis: rounding rises, clipping falls, their sum has its minimum near 5."
alpha = torch.linspace(1, 9.2, 200)
rounding, beyond = alpha**2 / (3 * 4**4), 2 * torch.exp(-alpha)
best = aciq.laplace_clip(4)
post_training.clip_curve(alpha, rounding, beyond, marks={"best": best, "largest value": samples.max().item()})
plt.show()
reveal("clip", 5.0)
print(f"W(3 · 4^4) = {best:.2f};  the formula's error there {aciq.laplace_error(best, 4):.4f}")


def error(x, qparams):
    return (dequantize(quantize(x, qparams), qparams) - x).square().mean().item()


print(f"measured on the values: up to the largest {error(samples, choose_qparams(samples, 4)):.4f}, "
      f"by ACIQ {error(samples, aciq.choose_qparams(samples, 4)):.4f}, "
      f"by search {error(samples, omse.choose_qparams(samples, 4, symmetric=False)):.4f}")  # fmt: skip
assert error(samples, aciq.choose_qparams(samples, 4)) < error(samples, choose_qparams(samples, 4)) / 2

# %% [markdown] id="said-clip"
# **ACIQ** [[2]](../references.md#ref-2) takes the formula: one number is measured, the width $b$. **OMSE**
# [[10]](../references.md#ref-10) assumes nothing and searches the range whose codes err least. On values that really are
# Laplace the two agree.
#
# Move the slider: with more bits the best point moves outwards, because a fine step has less to gain.

# %% id="explore-clip"


def draw_curve(ax, bits):
    point = aciq.laplace_clip(bits)
    post_training.clip_curve(alpha, alpha**2 / (3 * 4**bits), beyond, ax, marks={f"{point:.1f}": point})


Explore(draw_curve, bits=range(2, 8), label="rounding and clipping error against the clipping point")

# %% [markdown] id="question-mse"
# ## Is the smallest error the best network?
#
# Now the weights of a real network, per output channel, at 4 bits: the whole range, and the range of least squared error.

# %% id="predict-mse"
predict(
    "mse",
    "OMSE has the smaller squared error in every channel, by construction. Is the network more accurate, too?",
    options=["more accurate", "less accurate"],
)

# %% id="measure-mse" tags="nbval-ignore-output" alt="Bars of accuracy at 4 bits: largest value, least squared error below it, and both with corrected moments, clearly higher."
each = PerChannel(0)


def to_nearest(bits):
    return lambda w: round_nearest(w, choose_qparams(w, bits, symmetric=True, granularity=each))


def least_squares(bits):
    return lambda w: round_nearest(w, omse.choose_qparams(w, bits, granularity=each))


def corrected(rule):
    return lambda w: aciq.correct_weight(w, rule(w))


rules = {
    "whole range": to_nearest(4),
    "least squares": least_squares(4),
    "whole range, corrected": corrected(to_nearest(4)),
    "least squares, corrected": corrected(least_squares(4)),
}
scores = {name: accuracy(map_tensors(model, weight=rule), *pictures) for name, rule in rules.items()}
plots.accuracy_bars(scores, original=original)
plt.show()
reveal("mse", "more accurate" if scores["least squares"] > scores["whole range"] else "less accurate")
w = model.layer2[0].conv2.weight.detach()
squares = {name: (rules[name](w) - w).square().mean().item() for name in ("whole range", "least squares")}
assert squares["least squares"] <= squares["whole range"], "least squares cannot lose at its own game"

# %% [markdown] id="said-mse"
# The squared error says nothing about its *sign*. If the rounded weights of a channel are all a little too small, each
# output of that channel is too small for every picture, and the error adds up from layer to layer. ACIQ repairs the two
# moments of each output channel after rounding: its mean, and its size around the mean. That costs nothing at run time,
# and here it decides.
#
# **Take with you:** compare methods by what comes out of the network, not by the error of a tensor.
#
# ## Who needs the bits?
#
# Channels of one layer differ in width. If their bits may differ too, but not their mean, the total error is least when
# the number of *bins* follows width$^{2/3}$ [[2]](../references.md#ref-2): a channel 8 times as wide gets 2 bits more.

# %% id="measure-bits" alt="Bits of each output channel, sorted by width: most get 4, the narrowest 3 and the widest 5, following a line of two thirds of the logarithm of the width."
spread = model.layer1[0].conv1.weight.detach().flatten(1).std(dim=1)
bits = aciq.allocate_bits(spread, 4.0)
post_training.bits_by_channel(spread, bits)
plt.show()
print(f"{len(bits)} channels, {bits.double().mean():.2f} bits on average, from {bits.min()} to {bits.max()}")
assert aciq.allocate_bits(torch.tensor([1.0, 8.0]), 4.0).diff().item() == 2, "8 times as wide is worth 2 bits"

# %% [markdown] id="question-outlier"
# ## What can be done about an outlier without clipping it?
#
# **OCS** [[42]](../references.md#ref-42) splits the *input channel* that holds it into two copies with half the weight.
# $w x = \tfrac{w}{2} x + \tfrac{w}{2} x$: the function stays, the largest weight is halved, and so is the step of all
# others. Split in grid steps as $(w - \tfrac12)/2$ and $(w + \tfrac12)/2$, rounded half up, the two halves even add up to
# the rounded whole: the split itself costs no error at all.

# %% id="measure-ocs"
row = torch.tensor([[0.9, -0.2, 7.0, 0.4]])
split = ocs.split_weight(row, ratio=0.25)
print("weights        ", [f"{w:.1f}" for w in row[0]])
print("after the split", [f"{w:.1f}" for w in split.weight[0]], " reading inputs", split.index.tolist())
for name, each_row in (("before", row), ("after", split.weight)):
    qparams = choose_qparams(each_row, 4, symmetric=True)
    print(f"step {name:6} {qparams.scale:.2f}: codes {quantize(each_row, qparams)[0].tolist()}")
assert torch.equal(split.merged(), row), "what the layer computes is the same"
w = torch.linspace(-9, 9, 1001)
halves = torch.floor((w - 0.5) / 2 + 0.5) + torch.floor((w + 0.5) / 2 + 0.5)
assert torch.equal(halves, torch.floor(w + 0.5)), "Hermite's identity, with halves rounded up"

# %% [markdown] id="question-grid"
# ## Must the steps be equal?
#
# Weights are bell-shaped: most codes of an equal grid serve the few large ones. **PWLQ** [[12]](../references.md#ref-12)
# cuts the range at a breakpoint and gives inside and outside the same number of levels, each with its own step. That
# takes one more bit per weight, which says in which piece it lies, and two accumulators.

# %% id="measure-pwlq" alt="Histogram of a layer's weights; below it the levels of a uniform grid, equally spaced, and of a piecewise one, dense in the middle and coarse outside."
weight = model.layer3[0].conv1.weight.detach().flatten()
whole = choose_qparams(weight, 4, symmetric=True)
pieces = pwlq.choose_grid(weight, 4, rule="search")
uniform_levels = torch.arange(whole.quant_min, whole.quant_max + 1) * whole.scale
levels = {"uniform": uniform_levels, "piecewise": pieces.quantize(weight).unique()}
post_training.grid_on_bell(weight, levels)
plt.show()
ratio = (pieces.quantize(weight) - weight).square().mean().item() / error(weight, whole)
print(f"squared error of the piecewise grid: {ratio:.2f} of the uniform one's; bound of the paper's lemma for the best "
      f"breakpoint: {pwlq.uniform_error_bound(4):.2f}")  # fmt: skip
assert ratio < 9 / 16

# %% [markdown] id="question-updown"
# ## Is the nearest code the best code?
#
# For one weight alone, yes. But a layer adds up products, and two errors can cancel if their inputs move together.
# Ten weights have $2^{10}$ ways to be rounded up or down. Few enough to try all, on inputs of a real layer.

# %% id="predict-updown"
predict(
    "updown", "Among all 1,024 ways, where is 'everything to its nearest code'?", options=["the best", "not the best"]
)

# %% id="measure-updown" alt="Output error of 1,024 combinations, sorted: rounding to nearest lies near the low end, but its error is not the lowest."
layer = model.layer2[0].conv2
(seen,) = watch_inputs(model, [calibration], ["layer2.0.conv2"]).values()
inputs = layer_inputs(layer, seen, rows=4000)
x, ten = inputs.x[0][:, :10].double(), layer.weight.detach()[3].flatten()[:10].double()
step = choose_qparams(layer.weight[3], 3, symmetric=True).scale.double()
down = torch.floor(ten / step)
ways = torch.tensor(list(itertools.product((0, 1), repeat=10)), dtype=torch.float64)
errors = (x @ ((down + ways) * step - ten).T).square().mean(dim=0)  # [1024]
nearest = int((ways == (torch.round(ten / step) - down)).all(dim=1).nonzero())
post_training.output_errors(errors, nearest, int(errors.argmin()))
plt.show()
reveal("updown", "the best" if errors.argmin() == nearest else "not the best")
print(f"error of the output: nearest {errors[nearest]:.2e}, best {errors.min():.2e}; "
      f"{(errors < errors[nearest]).sum()} ways are better than the nearest")  # fmt: skip

# %% [markdown] id="said-updown"
# **AdaRound** searches this cube for a whole layer, where trying all is hopeless. Each weight gets a variable
# $h \in [0, 1]$ between down and up; gradient descent makes the layer's outputs match, while a penalty
# $\sum 1 - |2h - 1|^\beta$ slowly forces every $h$ to a side. It needs the layer's inputs, a few hundred pictures without
# labels. BRECQ does the same for a residual block at once.

# %% id="measure-adaround" tags="nbval-ignore-output"
grid = choose_qparams(layer.weight.detach(), 3, symmetric=True, granularity=each)
rounded = {
    "nearest": round_nearest(layer.weight.detach(), grid),
    "AdaRound": adaround.round_weight(layer.weight, grid, inputs),
}
for name, weight in rounded.items():
    off = inputs.x[0] @ (weight - layer.weight.detach()).flatten(1).T
    print(
        f"{name:9} output error {off.square().mean():.2e}, mean |weight error| {(weight - layer.weight).abs().mean():.4f}"
    )
moved = (rounded["nearest"] != rounded["AdaRound"]).float().mean()
print(f"{moved:.0%} of the weights went to the farther code")

# %% [markdown] id="question-table"
# ## All of them on one network
#
# The residual network of the course, weights only, activations in float32. The first columns need no data; AdaRound saw
# 128 pictures.

# %% id="measure-table" tags="nbval-ignore-output"
from frugal.quant.recipe import Operand, Recipe
from frugal.quant.recipe import quantize as follow


def learned(bits):
    recipe = Recipe(weights=Operand(bits, granularity="per_channel"), activations=None, rounding="adaround")
    return follow(model, recipe, [calibration]).network


def by_rule(rule):
    return map_tensors(model, weight=rule)


rows = []
for name, make in {
    "round to nearest": lambda b: by_rule(to_nearest(b)),
    "least squares [10]": lambda b: by_rule(least_squares(b)),
    "least squares, moments corrected": lambda b: by_rule(corrected(least_squares(b))),
    "ACIQ, bits by width [2]": lambda b: by_rule(aciq.Aciq(b).quantize),
    "PWLQ, one bit more [12]": lambda b: by_rule(lambda w: pwlq.quantize_weight(w, b)),
    "AdaRound": learned,
}.items():
    rows.append((name, *(f"{accuracy(make(bits), *pictures):.1f} %" for bits in (4, 3))))
print(lay_out((f"weights only, float32 {original:.1f} %", "4 bits", "3 bits"), rows))

# %% [markdown] id="question-confounded"
# ## What else was changed?
#
# Two papers report "W4A4". One has a scale per channel and leaves the first layer at 8 bits, the other does neither.
# Garg and others [[13]](../references.md#ref-13) propose no method; they show that such unstated choices move accuracy
# more than the methods do, and ask for a card with every number. The cell changes one choice at a time.

# %% id="measure-confounded" tags="nbval-ignore-output" alt="Bars of accuracy for one W4A4 configuration and for variations that differ in one choice each; they differ by tens of points."
from frugal.quant.config import weights_and_activations
from frugal.quant.convert import quantize_model
from frugal.quant.methods.tradeoffs import card_of, confounders

stated = weights_and_activations(4, 4, first_last_bits=8)
found = {
    name: accuracy(quantize_model(model, config, calibration), *pictures)
    for name, config in confounders(stated).items()
}
plots.accuracy_bars(found, original=original)
plt.show()
card = card_of(model, stated, calibration_source="data.drawn, split val", calibration_images=len(calibration))
print("\n".join(f"{key}: {value}" for key, value in list(vars(card).items())[4:]))

# %% [markdown] id="question-real"
# ## And on real photographs?
#
# ResNet-20 and ResNet-56 on the 10,000 test images of CIFAR-10, weights *and* activations at 4 bits, first and last layer
# at 8. The cell reads the stored measurement.

# %% id="measure-real"
from frugal.measure.results import provenance, read

file = Path("../../benchmarks/results/ptq.json")
stored = read(file) if file.exists() else {"rows": []}
for network in dict.fromkeys(row["network"] for row in stored["rows"]):
    of_this = [row for row in stored["rows"] if row["network"] == network]
    four = [row for row in of_this if row["bits"] == "W4A4" and row.get("first_last_bits") == 8]
    rows = sorted((row["accuracy_percent"], row.get("method", f"range: {row.get('range', '')}")) for row in four)
    full = of_this[0]["accuracy_percent"]
    print(lay_out((f"{network}, float32 {full:.2f} %", "W4A4"), [(name, f"{a:.2f} %") for a, name in rows]), end="\n\n")
print(provenance(stored) if stored["rows"] else f"Not measured yet: benchmarks/ptq.py --json {file}")

# %% [markdown] id="summary"
# **In three sentences.** A range should end where rounding and clipping balance, and for bell-shaped values that point
# has a formula. The smallest error of a tensor is not the best network: what is biased adds up, so moments are repaired,
# and the best rounding looks at what the layer puts out. Between two tables the difference is often a choice that nobody
# stated.
#
# ## In the library
#
# | what | where |
# |---|---|
# | clipping, bits, moments | [`aciq.py`](../../lib/frugal/quant/methods/aciq.py) in `quant/methods` |
# | searched ranges, sums of codes | [`omse.py`](../../lib/frugal/quant/methods/omse.py) |
# | split outliers; bent grids | [`ocs.py`](../../lib/frugal/quant/methods/ocs.py), [`pwlq.py`](../../lib/frugal/quant/methods/pwlq.py) |
# | up or down | [`adaround.py`](../../lib/frugal/quant/methods/adaround.py), [`brecq.py`](../../lib/frugal/quant/methods/brecq.py) |
# | what else was changed | [`tradeoffs.py`](../../lib/frugal/quant/methods/tradeoffs.py): `card_of`, `confounders` |
# | all of them composed | [`quant/recipe`](../../lib/frugal/quant/recipe): `Recipe`, `quantize` |
#
# ## In the literature
#
# - On ImageNet, AdaRound brings ResNet-18 with 4-bit weights and activations to 68.67 % of 71.06 % in float32 and
#   MobileNetV2 to 65.74 % of 72.68 %; BRECQ reaches 68.52 % and 67.23 %, QDrop 68.84 % and 68.13 % (reproduction of
#   [MQBench](../references.md#ref-mqbench)).
# - The lecture's table says that MobileNetV2 keeps about 50 % at W4A4. Learned rounding keeps more: see chapter
#   4.9.
#
# ## Exercises
#
# The lab of this chapter is [4.4, clipping, outliers and bits](../../labs/lab_4_4_clipping/lab_4_4_clipping.ipynb).
#
# 1. Differentiate equation (1) and show that $\alpha / b = W(3 \cdot 4^M)$.
# 2. ReLU cuts a Laplace distribution in half. Why does the best clipping point become that of one bit more?
# 3. A layer grows by 5 % when OCS splits its outliers. What does the network pay, and when is per-channel scaling cheaper?
#
# <details><summary>Answers</summary>
#
# 1. $2\alpha / (3 \cdot 4^M) = 2 b e^{-\alpha/b}$; with $u = \alpha / b$: $u e^u = 3 \cdot 4^M$.
# 2. All $2^M$ codes serve one side: the step is that of $2^{M+1}$ codes over both. The cell below shows the two numbers.
# 3. About 5 % more products and weights. A scale for each output channel is free, but an outlier in a row still widens
#    that row; a split takes it out.
# </details>

# %% id="answers"
print(f"2. best point at 4 bits {aciq.laplace_clip(4):.3f} b, at 5 bits {aciq.laplace_clip(5):.3f} b")
qparams = aciq.choose_qparams(samples.relu(), 4, signed=False)
print(f"   4 bits after ReLU clip at {qparams.high:.3f} b")
