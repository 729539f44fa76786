# %% [markdown] id="title"
# # 4.10 How does a language model survive 4 bits?
#
# **Afterwards you will be able to**
# - measure what a language model forgets when its weights are rounded;
# - explain how GPTQ, AWQ and HQQ choose better codes at the same width, and check each on one layer;
# - see why a few large features spoil int8 activations, and three ways around them: SmoothQuant, LLM.int8(), rotation;
# - read a table of such methods and say which columns are comparable.
#
# **Slides** 24 (post-training quantization); the methods themselves are younger than the lecture. **Papers**
# [GPTQ](../references.md#ref-frantar2023), [AWQ](../references.md#ref-lin2024), [HQQ](../references.md#ref-badri2023),
# [SmoothQuant](../references.md#ref-xiao2023), [LLM.int8()](../references.md#ref-dettmers2022),
# [QuaRot](../references.md#ref-ashkboos2024). **Time** about 50 minutes.
#
# Before this: [4.3 One scale, or one for each channel?](4_3_per_channel.ipynb). Names and letters:
# [notation](../notation.md).

# %% id="setup"
import math
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from frugal.data.stories import WORDS, draw_stories, text_of
from frugal.measure.results import lay_out
from frugal.nets.llama import nll, norms_and_readers, stand_out
from frugal.nets.pretrained import load
from frugal.quant.affine import choose_qparams
from frugal.quant.granularity import PerChannel, PerGroup
from frugal.quant.layers import map_tensors
from frugal.quant.rounding import round_nearest
from frugal.quant.sequential import round_layers
from frugal.quant.statistics import watch_inputs
from frugal.show import language, style
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal

style.use()

# %% [markdown] id="question-model"
# ## What does our model know?
#
# A language model reads **tokens** and gives each token of its vocabulary a chance to come next. Ours is tiny and reads
# whole words. It has the parts that large ones have: three layers of attention and feed-forward, each of which reads
# the **residual stream** through a norm and adds its answer to it (`nets/llama.py`). It was trained on stories drawn by
# the course; `python -m frugal train llama_drawn --out FOLDER` repeats that in a minute.

# %% id="measure-next-word" alt="Two bar charts of the likeliest next words. After 'sam gave the': six colours with the same chance. After 'sam gave the blue': drum, far ahead."
model = load("llama_drawn")
test, calibration = draw_stories(60, split="test"), draw_stories(16)
story = test[3]
print(text_of(story[:53]), "...")
with torch.no_grad():
    chances = model(story[None])[0].softmax(dim=-1)  # [token, vocabulary]: one forecast after every word
fig, axes = plt.subplots(1, 2, figsize=(8.4, 2.6))
for ax, read in zip(axes, (52, 53), strict=True):
    language.next_words(chances[read - 1], WORDS, ax).set_title(f"after “{text_of(story[read - 3 : read])}”")
plt.show()
remembered, guessed = chances[52].max().item(), chances[51].max().item()
assert remembered > 3 * guessed, "the toy must be remembered; the colour is not"

# %% [markdown] id="said-next-word"
# It remembers which toy the story is about, thirty words later. Which colour the toy had it has not learned to look up:
# all six are equally likely.

# %% id="predict-nll"
predict(
    "nll",
    f"A model that knows nothing gives each of the {len(WORDS)} words the same chance. What is its negative "
    "log-likelihood, in nats per word?",
    options=[0.4, 1.0, round(math.log(len(WORDS)), 1), float(len(WORDS))],
)

# %% id="measure-nll" tags="nbval-ignore-output"
floor = nll(model, [test])
reveal("nll", round(math.log(len(WORDS)), 1))
print(f"ours: {floor:.4f} nats per word, which is a perplexity of {math.exp(floor):.2f}")
assert floor < 0.5, "the trained model must be far better than guessing"

# %% [markdown] id="said-nll"
# The **negative log-likelihood** (nll) is the mean of $-\ln p$ over the words that really came. Its exponential is the
# **perplexity**: between how many equally likely words the model hesitates. Ours cannot reach 0, because the stories
# roll dice: nobody can know which colour a new toy will have.
#
# ## How many bits do the weights need?
#
# First the plain way: every weight of every linear layer is rounded to its nearest code, once with a scale for each
# output channel, once with a scale for every 16 weights.

# %% id="measure-nearest" tags="nbval-ignore-output" alt="Nll against width: flat at the float model's level from 8 to 4 bits, rising at 3 and steeply at 2 bits; groups of 16 stay below per channel."


def nearest(granularity, bits):
    """A rule for one weight: choose ranges, round each value alone."""
    return lambda weight: round_nearest(weight, choose_qparams(weight, bits, granularity=granularity))


kinds = {"per channel": PerChannel(0), "groups of 16": PerGroup(16)}
plain = {
    name: {bits: nll(map_tensors(model, weight=nearest(kind, bits)), [test]) for bits in (2, 3, 4, 6, 8)}
    for name, kind in kinds.items()
}
language.loss_by_bits(plain, floor)
plt.show()
assert plain["per channel"][2] > plain["groups of 16"][2] > floor, "fewer bits and coarser scales must cost something"

# %% [markdown] id="said-nearest"
# Down to 4 bits next to nothing is lost; such a small model on such simple stories is easy. At 2 bits it hurts, so
# this is where methods can show what they can do. A larger model on real text parts at 4 bits already: the measured
# table at the end.
#
# ## Could the next weight make up for the last?
#
# Rounding looks at one weight at a time. But a layer's output is a sum, and inputs move together. If a weight was
# rounded *up*, its product is too large; when another input tends to be large at the same time, that input's weight
# can be made a little *smaller* before its own turn comes. That is **GPTQ**:
#
# $$H = X^\top X, \qquad U^\top U = H^{-1}, \qquad
#   e = \frac{w_i - \text{round}(w_i)}{U_{ii}}, \qquad w_j \leftarrow w_j - e \, U_{ij} \quad (j > i) \tag{1}$$
#
# $X$ holds the layer's inputs, one row for each token; $U$ is upper triangular. The loop below is all of it, for the
# weights of twelve inputs.

# %% id="measure-walk"
layer = model.blocks[0].ffn.w1
(x,) = watch_inputs(model, [calibration], ["blocks.0.ffn.w1"]).values()
X = x.flatten(0, -2).double()[:, :12]  # twelve inputs are enough to see it
W = layer.weight.detach()[:, :12].double()  # [out, in]
step = choose_qparams(W, 3, symmetric=True).scale.item()

U = torch.linalg.cholesky(torch.linalg.inv(X.T @ X), upper=True)
w, walk, squared_errors = W.clone(), [W.clone()], 0.0
for i in range(12):
    rounded = torch.round(w[:, i] / step) * step
    e = (w[:, i] - rounded) / U[i, i]
    w[:, i:] -= torch.outer(e, U[i, i:])  # U[i, i] carries the column itself onto its codes
    squared_errors += e.square().sum()
    walk.append(w.clone())

naive = torch.round(W / step) * step
lost = {"nearest": (X @ (naive - W).T).square().sum(), "GPTQ": (X @ (w - W).T).square().sum()}
print(f"squared error of the outputs: nearest {lost['nearest']:.0f}, GPTQ {lost['GPTQ']:.0f}")
print(f"sum of e² along the way:      {squared_errors:.0f}")
assert torch.isclose(lost["GPTQ"], squared_errors), "what the steps lose is exactly what the output loses"
assert lost["GPTQ"] < lost["nearest"]

# %% [markdown] id="said-walk"
# The two last numbers agree to the last digit, and not by luck: $\sum e^2 = \lVert X(w - \hat w) \rVert^2$. Each step
# pays its own part of the bill.
#
# Move the slider: columns left of it lie on the grid, those right of it have moved away from where they were.

# %% id="explore-walk"


def draw(ax, columns):
    language.column_walk(W[5], walk[columns][5], columns, step, ax)


Explore(draw, columns=range(0, 13, 2), label="one row of weights on its way through GPTQ", figsize=(6.4, 3.2))

# %% [markdown] id="question-awq"
# ## Which weights matter most?
#
# Those that meet large inputs. **AWQ** multiplies the weights of input $j$ by a factor $s_j$ before rounding and divides
# the input by it, which changes nothing in float. A weight that is twice as large has half the relative rounding
# error, as long as it is not the largest of its group and widens the step for all. The factors are
# $s_j = \text{mean}|x_j|^r$, and the exponent $r$ is searched.

# %% id="predict-awq"
predict(
    "awq",
    "r = 0 is plain rounding, r = 1 hands over all of the inputs' sizes. Which r has the smallest error?",
    options=["0", "between 0 and 1", "close to 1"],
)

# %% id="measure-awq" tags="nbval-ignore-output" alt="Squared output error against the exponent r: it dips a little below that of r = 0 and rises towards r = 1."
from frugal.quant.methods.awq import RATIOS, round_groups, search_factors

readers = [reader.weight.detach() for reader in norms_and_readers(model)[1][1]]  # w1 and w3 read the same norm
choice = search_factors(readers, x.flatten(0, -2), round_groups(2, 16))
fig, ax = plt.subplots()
ax.plot(RATIOS, [loss / choice.losses[0] for loss in choice.losses], marker="o", ms=4)
ax.axvline(choice.ratio, color=style.TEAL, ls="--", lw=1.2, label=f"best r = {choice.ratio}")
ax.set(xlabel="r", ylabel="error / error of r = 0", title="first feed-forward layer, 2 bits in groups of 16")
ax.legend()
plt.show()
reveal("awq", "0" if choice.ratio == 0 else "between 0 and 1" if choice.ratio < 0.9 else "close to 1")
assert min(choice.losses) <= choice.losses[0], "r = 0 is among the candidates, so nothing can get worse"

# %% [markdown] id="question-hqq"
# ## And without any data?
#
# **HQQ** looks at the weights alone and moves the **zero-point** of each group. Plain affine rounding spends its range on
# the two outermost weights of a group. HQQ minimises $\sum |w - \hat w|^{0.7}$: with a power below 1, one large error
# is cheaper than many middling ones, so an outlier may stay wrong if the many fit better. The zero-point becomes a real
# number; real 0 no longer has a code of its own. For weights that are turned back into reals before they are multiplied
# that does no harm.

# %% id="measure-hqq" alt="Two histograms of rounding errors: HQQ has more weights with nearly no error, and longer tails, than plain rounding."
from frugal.quant.methods.hqq import hqq

weight = layer.weight.detach()
errors = {
    "nearest": hqq(weight, 2, group_size=16, steps=0).dequantize() - weight,
    "HQQ": hqq(weight, 2, group_size=16).dequantize() - weight,
}
fig, ax = plt.subplots()
for (name, error), color in zip(errors.items(), (style.ORANGE, style.BLUE), strict=True):
    counts, edges = torch.histogram(error.flatten(), 61, range=(-0.06, 0.06))
    ax.stairs(counts.numpy(), edges.numpy(), color=color, lw=1.6, label=name)
    print(f"{name:8} mean |error| {error.abs().mean():.4f}, largest {error.abs().max():.3f}")
ax.set(xlabel="rounding error (real)", ylabel="weights per bin")
ax.legend()
plt.show()
assert errors["HQQ"].abs().pow(0.7).mean() < errors["nearest"].abs().pow(0.7).mean(), "each group keeps its best"

# %% [markdown] id="question-table"
# ## Who wins at 2 bits?
#
# All methods on the whole model, 2 bits in groups of 16. "Excess" is the nll above the float model's, in thousandths of
# a nat. GPTQ and AWQ saw 16 calibration stories; HQQ saw none.

# %% id="measure-table" tags="nbval-ignore-output"
from frugal.quant.methods.awq import scale_salient
from frugal.quant.methods.gptq import gptq
from frugal.quant.methods.hadamard import rotate


def by_gptq(layer, inputs, act_order=False):
    qparams = choose_qparams(layer.weight, 2, granularity=PerGroup(16))
    return gptq(layer.weight, qparams, inputs, act_order=act_order)


def by_hqq(layer, inputs):
    return hqq(layer.weight, 2, group_size=16).dequantize()


def to_nearest(layer, inputs):
    return nearest(PerGroup(16), 2)(layer.weight)


ways = {
    "round to nearest": (model, to_nearest),
    "GPTQ": (model, by_gptq),
    "GPTQ, largest inputs first": (model, lambda layer, inputs: by_gptq(layer, inputs, act_order=True)),
    "AWQ factors, then nearest": (scale_salient(model, [calibration], 2, group_size=16), to_nearest),
    "HQQ": (model, by_hqq),
    "rotation, then nearest": (rotate(model), to_nearest),
}
excess = {name: nll(round_layers(start, rule, calibration), [test]) - floor for name, (start, rule) in ways.items()}
print(lay_out(("2 bits, groups of 16", "excess (0.001 nats)"), [(k, f"{1000 * v:.1f}") for k, v in excess.items()]))
assert excess["GPTQ"] < excess["round to nearest"]
assert excess["HQQ"] < excess["round to nearest"]

# %% [markdown] id="said-table"
# Every method leaves less than plain rounding. The order among them depends on model, width and group size: do not take
# it for a law. The next section changes the question from weights to activations.
#
# ## What do a few large features do?
#
# Large language models grow features in the residual stream that are many times as large as the rest, always the same
# ones [[Dettmers 2022]](../references.md#ref-dettmers2022). Ours is too small for that, so we make a **twin** with two such
# features: each norm's factor for them is multiplied by 64, and the weights behind it divided by 64. The function stays
# the same, bit for bit.

# %% id="make-twin" alt="Largest activation of each of 48 features: the twin has two peaks, 64 times as high as the original; smoothed and rotated models have none."
from frugal.quant.methods.smooth_quant import smooth

twin = stand_out(model, features=[3, 17], factor=64.0)
assert torch.equal(twin(test[:4]), model(test[:4])), "powers of two change exponents alone"
models = {"original": model, "twin": twin, "smoothed": smooth(twin, [calibration]), "rotated": rotate(twin)}
sizes = {
    name: watch_inputs(each, [calibration], ["blocks.1.ffn.w1"])["blocks.1.ffn.w1"].abs().amax(dim=(0, 1))
    for name, each in models.items()
}
language.feature_sizes(sizes)
plt.show()

# %% id="predict-twin"
predict(
    "twin",
    "Weights and activations of the twin in 8 bits, one scale for each output channel and one for each token. "
    "Then 4 bits for both. Which of the two still works?",
    options=["both", "8 bits only", "neither"],
)

# %% id="measure-twin" tags="nbval-ignore-output"
from frugal.quant.config import LayerConfig, QuantConfig, QuantSpec
from frugal.quant.convert import quantize_model
from frugal.quant.granularity import PerToken


def config(weight_bits, activation_bits):
    weight = QuantSpec(weight_bits, granularity=PerChannel(0))
    return QuantConfig(LayerConfig(weight, QuantSpec(activation_bits, granularity=PerToken())))


table = {
    name: [nll(quantize_model(each, config(w, a), calibration), [test]) for w, a in ((8, 8), (4, 8), (4, 4))]
    for name, each in models.items()
}
print(lay_out(("nll", "W8A8", "W4A8", "W4A4"), [(k, *(f"{each:.3f}" for each in v)) for k, v in table.items()]))
works = [loss < floor + 0.05 for loss in table["twin"]]
reveal("twin", "both" if works[2] else "8 bits only" if works[0] else "neither")
assert table["twin"][2] > 5 * table["smoothed"][2], "at 4 bits two features must spoil all others"

# %% [markdown] id="said-twin"
# One step serves all features of a token. With two features 64 times as large, all others share what is left of the
# codes: at 4 bits nothing. Three ways around it:
#
# - **SmoothQuant** hands a part of each feature's range to the weights, which can bear it:
#   $s_j = \max|x_j|^{0.5} / \max|w_j|^{0.5}$, folded into the norm. With the exponent 1 instead of 0.5 it is SPIQ's
#   choice [[41]](../references.md#ref-41): everything goes to the weights.
# - **Rotation** turns the residual stream by an orthogonal matrix of $\pm 1/\sqrt n$, so that no feature is special. The
#   norms do not notice, and the matrices disappear into the weights before and after.
# - **LLM.int8()** leaves the function alone and multiplies large features in float, the rest in int8.

# %% id="measure-mixed" tags="nbval-ignore-output"
from frugal.quant.layers import replace_modules
from frugal.quant.methods.llm_int8 import LLMInt8Linear


def mixed(model, threshold):
    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return replace_modules(model, {id(linear): LLMInt8Linear(linear, threshold) for linear in linears})


for threshold in (math.inf, 6.0):
    print(f"threshold {threshold}: {nll(mixed(twin, threshold), [test]) - floor:+.5f} nats above float32")
layer8 = mixed(twin, 6.0).blocks[1].ffn.w1
(seen,) = watch_inputs(twin, [calibration], ["blocks.1.ffn.w1"]).values()
outliers = layer8.outliers(seen).nonzero().flatten().tolist()
print(f"features of one layer that are multiplied in float: {outliers} of {seen.shape[-1]}")
assert {3, 17} <= set(outliers), "the two features that we made must be found"

# %% [markdown] id="question-real"
# ## And on a real model?
#
# The same methods on a published model of a quarter of a million parameters that writes children's stories, measured once on stories
# that it had not seen. Every linear layer is rounded. The cell reads the stored measurement.

# %% id="measure-real"
from frugal.measure.results import provenance, read, rows_where

file = Path("../../benchmarks/results/language.json")
stored = read(file) if file.exists() else {"rows": []}
for scales in ("per channel", "groups of 16"):
    named = dict.fromkeys(row["method"] for row in rows_where(stored, scales=scales))
    cell = {(row["method"], row["bits"]): f"{row['nll']:.3f}" for row in rows_where(stored, scales=scales)}
    rows = [(name, *(cell[name, bits] for bits in (8, 4, 3))) for name in named]
    print(lay_out((f"nll, {scales}", "8 bits", "4 bits", "3 bits"), rows), end="\n\n")
print(provenance(stored) if stored["rows"] else f"Not measured yet: benchmarks/language.py --json {file}")

# %% id="picture-real" alt="Nll at 4 bits in groups of 16, one dot for each method: round to nearest is farthest from the float model, then rotation, GPTQ, HQQ and AWQ."
four = {row["method"]: row["nll"] for row in rows_where(stored, bits=4, scales="groups of 16")}
fig, ax = plt.subplots(figsize=(6.4, 2.8))
if four:
    ax.plot(list(four.values()), list(four), ls="", marker="o", ms=8, color=style.BLUE)
    ax.axvline(stored["summary"]["float32"], color=style.TEAL, ls="--", label="float32")
    ax.invert_yaxis()
    ax.legend()
ax.set(xlabel="nll at 4 bits in groups of 16 (nats per token)")
plt.show()

# %% [markdown] id="said-real"
# At 8 bits all are as good as float32. At 4 bits with one scale per channel, plain rounding loses the most, and GPTQ
# takes back more than half of it. In groups of 16 everybody is closer, and the methods that look at the data or move
# the zero-point are clearly ahead of plain rounding. The rotation alone gains at 4 bits per channel and loses at 3 in
# groups: without outliers there is little to spread.
#
# **In three sentences.** Rounding each weight alone wastes what the layer's inputs know: GPTQ lets later weights make up
# for earlier ones, AWQ protects weights that meet large inputs, HQQ moves the zero-point. Activations fail where a few
# features are much larger than the rest, and each way out moves size from where it hurts to where it does not. All of
# them keep the float function as it is, up to the last step, and that can be tested exactly.

# %% [markdown] id="library"
# ## In the library
#
# | what | where |
# |---|---|
# | the model, its stories | [`nets/llama.py`](../../lib/frugal/nets/llama.py), [`data/stories.py`](../../lib/frugal/data/stories.py) |
# | walking a network | [`quant/sequential.py`](../../lib/frugal/quant/sequential.py): `round_layers` |
# | weights | [`gptq.py`](../../lib/frugal/quant/methods/gptq.py), [`awq.py`](../../lib/frugal/quant/methods/awq.py), [`hqq.py`](../../lib/frugal/quant/methods/hqq.py) in `quant/methods` |
# | activations | [`smooth_quant.py`](../../lib/frugal/quant/methods/smooth_quant.py), [`llm_int8.py`](../../lib/frugal/quant/methods/llm_int8.py), [`hadamard.py`](../../lib/frugal/quant/methods/hadamard.py) |
# | float formats | [`fp8.py`](../../lib/frugal/quant/methods/fp8.py), [`microscaling.py`](../../lib/frugal/quant/methods/microscaling.py) |
# | the table above | [`benchmarks/language.py`](../../benchmarks/language.py) |
#
# ## In the literature
#
# - GPTQ's repository reports LLaMA-7B on WikiText-2: perplexity 5.68 in 16 bits, 6.29 at 4 bits rounded to nearest,
#   6.09 with GPTQ; at 3 bits 25.54 and 8.07 [[Frantar 2023]](../references.md#ref-frantar2023).
# - SmoothQuant's repository reports W8A8 for Llama-2-7B: 5.474 before, 5.515 after; for Llama-3-8B 6.138 and 6.258
#   [[Xiao 2023]](../references.md#ref-xiao2023).
# - A perplexity is comparable only with the same tokens, the same text and the same length of context. A table that mixes
#   them compares nothing.
#
# ## Exercises
#
# 1. A weight of 4096 × 4096 is stored at 4 bits in groups of 128, each with a 16-bit scale and a 4-bit zero-point. How
#    many bits does a weight take?
# 2. GPTQ's $H$ needs $n^2$ numbers for $n$ inputs. How many bytes in float32 for $n = 4096$?
# 3. Why can a rotation not be folded through a norm whose factors differ from feature to feature?
#
# <details><summary>Answers</summary>
#
# 1. 4 bits and its share of the 20: the first line below.
# 2. The second line.
# 3. $\text{norm}(xQ)$ is $\text{norm}(x)Q$, but the factors multiply single features, and after the turn there are no
#    single features. They have to go into the next weights first, which `rotate` does.
# </details>

# %% id="answers"
print(f"1. {4 + (16 + 4) / 128:.3f} bits")
print(f"2. {4 * 4096**2 / 2**20:.0f} MiB")
