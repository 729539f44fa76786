# %% [markdown] id="title"
# # 4.6 How does one quantize without a single picture?
#
# **Afterwards you will be able to**
# - make the channels of neighbouring layers alike without changing the function, and say when that is allowed;
# - compute from a batch norm what a layer's inputs look like, and correct the mean that rounding bends;
# - choose activation ranges without data, per tensor and per input channel;
# - let a network draw its own calibration pictures, and judge whether they help.
#
# **Slides** 21 and 24. **Papers** [[26]](../references.md#ref-26) DFQ, [[41]](../references.md#ref-41) SPIQ,
# [[3]](../references.md#ref-3) ZeroQ. **Time** about 45 minutes.
#
# Before this: [4.3 One scale, or one for each channel?](4_3_per_channel.ipynb), whose twin comes back here. Names and
# letters: [notation](../notation.md).

# %% id="setup"
import matplotlib.pyplot as plt
import torch

from frugal.data.drawn import draw
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.measure.results import lay_out
from frugal.nets.pretrained import load
from frugal.quant.config import weights_and_activations
from frugal.quant.convert import quantize_model
from frugal.quant.methods import dfq, spiq, zeroq
from frugal.quant.statistics import clipped_normal, input_moments, normal, watch_inputs
from frugal.quant.transforms import links, unequalise
from frugal.show import no_data, plots, style
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal

style.use()
model = load("resnet8_drawn")  # with its batch norms: they are all that we will know of the data
test = draw(1000, split="test")  # only to measure what came out
original = accuracy(model, *test)


def rounded(network, bits, per_channel):
    """The network with rounded weights; no picture is looked at."""
    config = weights_and_activations(bits, None, per_channel=per_channel)
    return quantize_model(fold_batchnorm(network), config, torch.zeros(1, 3, 32, 32))


# %% [markdown] id="question-twin"
# ## Can a broken network be repaired from its weights alone?
#
# Chapter 4.3 made a **twin**: the same function, with every hidden channel scaled by a random power of two before its ReLU
# and back after it. With one scale per tensor and 8 bits the twin guesses.

# %% id="predict-cle"
twin = unequalise(model)
predict(
    "cle",
    "Suppose the channels are made alike again, looking at nothing but the weights. How much of the original accuracy "
    "comes back at 8 bits per tensor?",
    options=["nothing", "about half", "all of it"],
)

# %% id="measure-cle" tags="nbval-ignore-output" alt="Bars of accuracy with 8-bit weights and one scale per tensor: the original near float32, the twin at chance, the equalised twin at float32 again."
networks = {"original": model, "twin": twin, "twin, equalised": dfq.equalise(twin)}
scores = {name: accuracy(rounded(each, 8, per_channel=False), *test) for name, each in networks.items()}
plots.accuracy_bars(scores, original=original, chance=10.0)
plt.show()
back = (scores["twin, equalised"] - scores["twin"]) / (original - scores["twin"])
reveal("cle", "all of it" if back > 0.9 else "about half" if back > 0.3 else "nothing")
x = test.images[:100]
with torch.no_grad():
    difference = (dfq.equalise(twin).eval()(x) - model(x)).abs().max().item()
assert difference < 1e-3, "equalisation must not change the function"

# %% [markdown] id="said-cle"
# This is **cross-layer equalization** [[26]](../references.md#ref-26). ReLU lets a positive factor through:
# $\text{relu}(s x) = s \, \text{relu}(x)$. So output channel $i$ of one layer may be divided by $s_i$ if input channel
# $i$ of the next is multiplied by it. With $r^1_i$ and $r^2_i$ the two ranges, the choice
#
# $$s_i = \sqrt{r^1_i / r^2_i} \tag{1}$$
#
# makes both ranges the same, $\sqrt{r^1_i r^2_i}$, and that is the best that one factor can do for both.

# %% id="picture-ranges" alt="Ranges of the output channels of one layer: in the twin a few bars fill the tensor's range and most are tiny, after equalisation all are of similar length."
fig, axes = plt.subplots(1, 2, figsize=(9.2, 2.8))
for ax, name in zip(axes, ("twin", "twin, equalised"), strict=True):
    plots.channel_ranges(fold_batchnorm(networks[name]).layer3[0].conv1.weight.detach(), ax).set_title(name)
plt.show()
print("pairs that may be rescaled:", ", ".join(f"{link.first} → {link.second}" for link in links(model)))

# %% [markdown] id="said-links"
# A pair needs a private channel: what the first layer makes goes to the second and nowhere else. The outputs of a residual
# block are added to the stream, so they are in no pair. ReLU6 and SiLU do not let factors through: ReLU6 may be replaced by
# ReLU first, where that changes little; SiLU cannot be treated like this at all.
#
# ## What does a batch norm remember?
#
# Rounding a weight changes the *mean* of the output, by $(\hat W - W) \, E[x]$. To correct it one needs $E[x]$, the mean of
# each input channel. Before the layer stands ReLU, before that a batch norm, and that one promises: mean $\beta$, standard
# deviation $|\gamma|$. What ReLU leaves of such a normal distribution has a formula [[26]](../references.md#ref-26):
#
# $$E[\text{relu}(x)] = |\gamma| \, \varphi\!\left(\tfrac{-\beta}{|\gamma|}\right) + \beta \left(1 - \Phi\!\left(\tfrac{-\beta}{|\gamma|}\right)\right) \tag{2}$$
#
# with $\varphi$ and $\Phi$ the density and the share below of a standard normal.

# %% id="explore-clipped"


def draw_clipped(ax, beta, gamma):
    no_data.clipped_bell(beta, gamma, ax)


Explore(
    draw_clipped,
    beta=[-2, -1, 0, 1, 2],
    gamma=[-1.5, 0.5, 1.5],
    label="a normal distribution and what ReLU leaves of it",
)

# %% id="predict-gamma"
predict(
    "gamma",
    "A batch norm may learn a negative factor. β = 2, γ = -1.5: what does formula (2) give if one forgets the bars around γ?",
    options=["the same", "a little less", "something below 0"],
)

# %% id="measure-gamma"
mean, _ = clipped_normal(torch.tensor(2.0), torch.tensor(-1.5))
samples = (2.0 - 1.5 * torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))).relu()
phi = lambda x: torch.exp(-(x**2) / 2) / (2 * torch.pi) ** 0.5  # noqa: E731
beta, gamma = torch.tensor(2.0), torch.tensor(-1.5)
careless = gamma * phi(-beta / gamma) + beta * (1 - torch.special.ndtr(-beta / gamma))
reveal("gamma", "something below 0" if careless < 0 else "a little less")
print(f"formula {mean:.3f}, measured {samples.mean():.3f}, with γ in place of |γ| {careless:.3f}")
assert abs(mean - samples.mean()) < 0.01
assert careless < 0, "the mean of numbers that are all 0 or more cannot be below 0"

# %% [markdown] id="question-true"
# ## Do the promises hold?
#
# `input_moments` sends means and variances through the whole network instead of numbers. All that we tell it about pictures
# is the mean and the spread of a pixel, which anybody who normalises pictures knows. Each dot below is one input channel of
# one layer: computed without data, and measured on pictures.

# %% id="measure-moments" alt="Computed against measured means of all input channels: the dots follow the diagonal, most of them a little below it."
sample = draw(256, split="val").images
pixels = normal(sample.mean((0, 2, 3)), sample.std((0, 2, 3)))
computed = input_moments(model, (3, 32, 32), pixels)
seen = watch_inputs(model, [sample], computed)
measured = {name: each.flatten(2).mean((0, 2)) if each.ndim > 2 else each.mean(0) for name, each in seen.items()}
no_data.promised_and_seen({name: (computed[name].mean, measured[name]) for name in computed})
plt.show()

# %% id="measure-correct" tags="nbval-ignore-output"
rows = []
for bits in (4, 3):
    equal = networks["twin, equalised"]
    plain = rounded(equal, bits, per_channel=True)
    without = dfq.correct_biases(equal, plain, pixels=pixels)
    with_data = dfq.correct_biases(equal, plain, [sample])
    rows.append((f"{bits} bits", *(f"{accuracy(each, *test):.1f} %" for each in (plain, without, with_data))))
print(lay_out(("weights per channel", "rounded", "corrected, no data", "corrected, 256 pictures"), rows))

# %% [markdown] id="said-correct"
# Correcting one number per output channel brings back most of what rounding took, and the means that were computed do it
# nearly as well as the means that were measured.
#
# ## Where do the activations' ranges come from?
#
# From the same source. **DFQ** takes $\beta \pm 6|\gamma|$ per channel, cut where ReLU cuts, and the outermost ends over all
# channels. **SPIQ** [[41]](../references.md#ref-41) keeps one range for *each input channel* and multiplies its scale into
# the weight, as chapter 4.3 did by hand:
#
# $$\sum_i W_{oi} x_i = \sum_i \left(W_{oi} s_i\right) \frac{x_i}{s_i}$$
#
# so that the activation is rounded with a step of 1 everywhere. Here is the room that each channel of one layer gets.

# %% id="picture-ranges-inputs" alt="For each input channel of a layer a bar up to its own range, far below the line of the range shared by all."
name = "layer3.0.conv1"
no_data.input_ranges(computed[name].high.float(), seen[name].amax((0, 2, 3)))
plt.show()

# %% id="predict-table"
predict(
    "dfq",
    "8-bit weights and activations, from the twin, without any picture: how many points below float32 is DFQ?",
    options=["0 to 1", "2 to 5", "10 or more"],
)

# %% id="measure-table" tags="nbval-ignore-output"
data_free = {
    "nothing done": quantize_model(fold_batchnorm(twin), weights_and_activations(8, 8, per_channel=False), [sample]),
    "DFQ, one scale per tensor": dfq.quantize_without_data(twin, pixels=pixels),
    "SPIQ, a scale for each input": spiq.quantize_network(model, (3, 32, 32), pixels=pixels),
}
table = {name: accuracy(each, *test) for name, each in data_free.items()}
print(lay_out((f"W8A8, float32 {original:.1f} %", "accuracy"), [(k, f"{v:.1f} %") for k, v in table.items()]))
gap = original - table["DFQ, one scale per tensor"]
reveal("dfq", "0 to 1" if gap < 1.5 else "2 to 5" if gap < 7 else "10 or more")
assert table["nothing done"] < 50 < table["DFQ, one scale per tensor"]

# %% [markdown] id="said-table"
# (SPIQ starts from the original: it works on scales of inputs, and gives each output channel a scale as well. Our version is
# a reconstruction after the abstract of [[41]](../references.md#ref-41).)
#
# SPIQ hands *all* of an input's spread over to the weights. Handing over half of it is SmoothQuant, chapter
# [4.10](4_10_language_models.ipynb).
#
# ## Can the network draw its own data?
#
# **ZeroQ** [[3]](../references.md#ref-3) starts from noise and changes the pixels by gradient descent until the inputs of
# every batch norm have the mean and the spread that the batch norm remembers.

# %% id="measure-distil" tags="nbval-ignore-output" alt="Four pictures drawn by the network, noise with faint round edges, beside four real ones; the distance falls steeply."
drawn = zeroq.distil(model, (3, 32, 32), 24, steps=50, pixels=pixels)
no_data.drawn_beside_real(drawn.images, sample, drawn.losses)
plt.show()
print(f"distance to the remembered statistics: {drawn.losses[0]:.1f} at first, {min(drawn.losses):.2f} at last")
assert min(drawn.losses) < drawn.losses[0] / 10

# %% id="measure-calibrate" tags="nbval-ignore-output"
noise = pixels.mean.float().view(3, 1, 1) + pixels.std.float().view(3, 1, 1) * torch.randn(
    24, 3, 32, 32, generator=torch.Generator().manual_seed(0)
)
sources = {"real pictures": sample[:24], "drawn by the network": drawn.images, "noise": noise}
rows = []
for source, batch in sources.items():
    networks_4 = [quantize_model(fold_batchnorm(model), weights_and_activations(8, a), [batch]) for a in (8, 4)]
    rows.append((source, *(f"{accuracy(each, *test):.1f} %" for each in networks_4)))
print(lay_out(("activations calibrated on", "W8A8", "W8A4"), rows))

# %% [markdown] id="said-distil"
# At 8 bits anything will do. At 4 bits compare the last two rows: on these simple pictures plain noise may do as well as
# what the network had to draw first. A method can do what it promises and still not be needed. Whether it is depends on the
# data: ours is simple.
#
# ZeroQ's second idea asks which *layers* deserve more bits: it measures how much the output's distribution changes when one
# layer alone is rounded, and solves the rest as a knapsack (`zeroq.pareto_front`).
#
# **In three sentences.** Positive factors pass ReLU, so ranges can be moved between layers until both are served. A batch
# norm remembers the mean and the spread of its input, from which ranges and mean errors follow by formulas. Without one
# picture, 8 bits cost less than a point here.

# %% [markdown] id="library"
# ## In the library
#
# | what | where |
# |---|---|
# | pairs, rescaling, the twin | [`quant/transforms.py`](../../lib/frugal/quant/transforms.py): `links`, `unequalise` |
# | networks on distributions | [`quant/statistics.py`](../../lib/frugal/quant/statistics.py): `input_moments`, `clipped_normal` |
# | equalise, absorb, correct | [`dfq.py`](../../lib/frugal/quant/methods/dfq.py) in `quant/methods` |
# | a scale for each input | [`spiq.py`](../../lib/frugal/quant/methods/spiq.py) |
# | pictures from memory, bits by knapsack | [`zeroq.py`](../../lib/frugal/quant/methods/zeroq.py) |
#
# ## In the literature
#
# - DFQ's opening example [[26]](../references.md#ref-26): MobileNetV2 with 8-bit weights, one scale per tensor, falls to
#   chance on ImageNet, and equalisation with bias absorption and correction brings it back to within a point of float32.
# - Its third part, bias **absorption**, moves what ReLU always passes into the next layer's bias, so that activation ranges
#   shrink (`dfq.absorb_biases`). On our networks it changes nothing that can be seen.
#
# ## Exercises
#
# The lab of this chapter is [4.3, data-free quantization](../../labs/lab_4_3_data_free/lab_4_3_data_free.ipynb).
#
# 1. Show that equation (1) makes both ranges equal.
# 2. A leaky ReLU has slope 0.1 below 0. May a pair with it in between be equalised?
# 3. β = 0, γ = 1: compute formula (2) in your head.
#
# <details><summary>Answers</summary>
#
# 1. $r^1 / s = r^1 \sqrt{r^2 / r^1} = \sqrt{r^1 r^2}$, and $s \, r^2 = \sqrt{r^1 / r^2} \, r^2 = \sqrt{r^1 r^2}$.
# 2. Yes: it is linear on each side of 0, and a positive factor changes no sign.
# 3. $\varphi(0)$; the cell below prints it.
# </details>

# %% id="answers"
print(f"3. {clipped_normal(torch.zeros(1), torch.ones(1))[0].item():.3f}")
