# %% [markdown] id="title"
# # 4.3 One scale, or one for each channel?
#
# **Afterwards you will be able to**
# - say what a single scale costs the small channels of a layer, and see it in a picture;
# - explain why one scale per *output* channel is free in integer arithmetic, and one per *input* channel is not;
# - count the bytes that the scales take;
# - predict where it matters: which networks, which widths.
#
# **Slides** 22, with equations 1, 3 and 4 of slides 20 and 21. **Papers** [[41]](../references.md#ref-41),
# [[2]](../references.md#ref-2), [[20]](../references.md#ref-20). **Time** about 40 minutes, the sliders included.
#
# Before this: [4.1 The operator](4_1_the_operator.ipynb) and [4.2 The zero-point](4_2_zero_point.ipynb). Names and
# letters: [notation](../notation.md).

# %% id="setup"
import copy
import math
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn

from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel, PerGroup, PerTensor
from frugal.show import channels, plots, style
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal

style.use()

# %% [markdown] id="question-one-scale"
# ## What does one scale do to a small channel?
#
# Equation (1) divides the largest magnitude α of a tensor into steps: $\text{scale} = \alpha / (2^{b-1} - 1)$. So far
# α was taken over the whole tensor. That is **per-tensor** quantization.
#
# Here is a layer with two outputs and four inputs. Each row makes one output: it is an **output channel**. The second
# row has small weights. Nothing is wrong with that; the next layer may well multiply its output by a lot.

# %% id="predict-small-row"
weight = torch.tensor([[0.70, -0.31, 0.52, 0.08], [0.04, -0.09, 0.02, 0.07]])  # [out, in]
predict(
    "small_row",
    "4 bits have 15 symmetric codes, -7 to 7. One scale serves all eight weights. "
    "How many of the codes lie within the range of the second row?",
    options=[1, 3, 7, 15],
)

# %% id="measure-small-row"
one = choose_qparams(weight, num_bits=4, symmetric=True)
each = choose_qparams(weight, num_bits=4, symmetric=True, granularity=PerChannel(axis=0))
print(f"one scale:           {one.scale:.3f}")
print(f"one for each output: {each.scale[0]:.3f} and {each.scale[1]:.3f}")
reveal("small_row", channels.codes_within(weight, num_bits=4)[1])

assert one.scale.ndim == 0, "one scale for the whole tensor has no axis"
assert each.scale.shape == (2,), "two output channels have two scales"
assert quantize(weight, one)[1].tolist() == [0, -1, 0, 1], "at a step of 0.1 only -0.09 and 0.07 reach a code"
assert quantize(weight, each)[1].abs().max() == 7, "the largest weight of a row gets code 7 or -7"

# %% id="picture-small-row" alt="Three grids of two rows and four columns: the weights; their codes with one scale, where the second row is 0, -1, 0, 1; their codes with one scale for each row, where the second row is 3, -7, 2, 5."
fig, axes = plt.subplots(1, 3, figsize=(9.2, 1.9))
plots.tensor_grid(weight, axes[0], title="weights")
plots.tensor_grid(quantize(weight, one), axes[1], title="codes, one scale")
plots.tensor_grid(quantize(weight, each), axes[2], title="codes, one scale for each row")
plt.show()

# %% [markdown] id="said-small-row"
# With one scale the second row is left with the codes -1, 0 and 1, and two of its four weights are gone. With a scale
# of its own it has all 15 codes. The first row is the same in both, because it has the largest weight.
#
# This is **per-channel** quantization (slide 22): a vector of scales, one for each output channel,
#
# $$\text{scale}_o = \frac{\alpha_o}{2^{b-1} - 1}, \qquad \alpha_o = \max_i |W_{oi}|$$
#
# In code the difference is one word: `granularity=PerChannel(axis=0)`. Axis 0 of a weight counts its output channels.

# %% [markdown] id="question-real-layers"
# ## Do real layers have small channels?
#
# Two small trained networks come with the course. One is residual. The other is a MobileNet: its **depthwise**
# convolutions filter each channel on its own, nine weights for each. In both, batch norm follows the convolutions.
# Once trained, it is one multiplication and one addition for each channel, so it can be **folded** into the
# convolution before:
#
# $$W'_o = \frac{\gamma_o}{\sqrt{\sigma_o^2 + \varepsilon}} \, W_o$$
#
# Here γ is the batch norm's factor, σ² the variance that it remembers, and ε a small constant. A folded network is
# what one quantizes, because then the batch norm costs nothing. But each output channel has been multiplied by a
# factor of its own.
#
# To say how unlike the channels of a layer are, take the **spread**: the largest of their α, divided by the smallest.

# %% id="predict-fold"
predict(
    "fold",
    "Folding multiplies every output channel by its own factor. Are the channels' ranges more alike afterwards?",
    options=["more alike", "as before", "less alike"],
)

# %% id="measure-fold"
from frugal.graph.fold import fold_batchnorm
from frugal.nets.pretrained import load

trained = {"residual": load("resnet8_drawn"), "MobileNet": load("mobilenet_drawn")}
folded = {name: fold_batchnorm(model) for name, model in trained.items()}
more_alike = []
for name in folded:
    raw, now = channels.spreads(trained[name]), channels.spreads(folded[name])
    more_alike += [now[layer] < raw[layer] for layer in list(raw)[:-1]]  # the last layer has no batch norm
    for layer in sorted(now, key=now.get, reverse=True)[:3]:
        print(f"{name:9}  {layer:21}  spread {raw[layer]:4.1f} before folding, {now[layer]:4.1f} after")
print(f"The spread grew in {more_alike.count(False)} of {len(more_alike)} layers.")
reveal("fold", "less alike" if more_alike.count(False) > len(more_alike) / 2 else "more alike")

# %% [markdown] id="said-fold"
# Mostly less alike. Training keeps the raw weights of the channels similar, and the factors of the batch norm pull
# them apart. So choose ranges *after* folding.
#
# Below, each blue bar is the range of one output channel. The shaded band is the range of the tensor, which is all
# that a per-tensor scale knows. Where a bar leaves the band empty, the channel leaves codes unused.

# %% id="picture-ranges" alt="Two panels of blue bars in an orange band, one bar for each output channel, sorted by range. In both layers most bars fill a small part of the band."
first = folded["residual"].conv1.weight.detach()  # [16, 3, 3, 3]
depthwise = folded["MobileNet"].features[5].conv[1][0].weight.detach()  # [128, 1, 3, 3]
fig, axes = plt.subplots(1, 2, figsize=(9.2, 3.0))
plots.channel_ranges(first, axes[0]).set_title("residual network, first convolution")
plots.channel_ranges(depthwise, axes[1]).set_title("MobileNet, a depthwise convolution")
for ax in axes:
    ax.legend(loc="lower left", fontsize=8)
plt.show()

# %% [markdown] id="question-codes"
# ## How many codes does each channel use?
#
# With a scale of its own, a channel has all 15 codes of 4 bits. With the tensor's scale, it has those that fit into
# its range. Each orange bar below counts them for one channel.

# %% id="measure-codes" alt="Two bar charts of the codes that each output channel can use at 4 bits with the tensor's scale, rising from a few to 15. A line at 15 marks what a scale of its own gives."
fig, axes = plt.subplots(1, 2, figsize=(9.2, 2.9))
for ax, (name, layer) in zip(axes, {"first convolution": first, "depthwise": depthwise}.items(), strict=True):
    channels.codes_by_channel(layer, 4, ax).set_title(name)
    codes = channels.codes_within(layer, num_bits=4)
    print(f"{name:17}  smallest channel {codes.min():2} of 15 codes, middle one {codes.median():2}")
plt.show()

# %% [markdown] id="said-codes"
# Every channel is stored in 4 bits, but only the widest make use of them. In the first convolution one channel has a
# single code left, which is 0: this channel is gone.
#
# Now move the sliders: `rank` picks a channel of the depthwise layer, 1 for the smallest range, 128 for the largest;
# `bits` is the width. The green marks are the nine weights of that channel. How many bits does the tensor's scale need
# before it serves the smallest channel as well as 4 bits of its own do?

# %% id="explore-grids"
order = channels.channel_alphas(depthwise).argsort()


def draw(ax, rank, bits):
    values = depthwise[order[rank - 1]]
    shared = choose_qparams(depthwise, bits, symmetric=True)
    own = choose_qparams(values, bits, symmetric=True)
    channels.two_grids(values, {"tensor's scale": shared, "its own scale": own}, ax)


Explore(draw, rank=[1, 43, 86, 128], bits=range(2, 8), label="nine weights between the levels of two grids")

# %% [markdown] id="question-free"
# ## Why is a scale for each output channel free?
#
# Take equation (3), with symmetric codes so that both zero-points are 0. For one output $o$ it sums over the inputs
# $i$:
#
# $$y_o \approx \sum_i \left(\text{scale}_o \, q^w_{oi}\right)\left(\text{scale}_x \, q^x_i\right)
#   = \text{scale}_o \, \text{scale}_x \underbrace{\sum_i q^w_{oi} \, q^x_i}_{\text{integers only}}$$
#
# Neither scale has an $i$, so both leave the sum. The integers are added in an **accumulator**, and its final value is
# multiplied once for each output. A layer does that anyway; whether the factor is the same for all outputs makes no
# difference to it.

# %% id="measure-free"
x = torch.tensor([1.27, 0.40, 0.90, 0.00])
x_params = choose_qparams(x, num_bits=8, symmetric=True)
qw, qx = quantize(weight, each).to(torch.int32), quantize(x, x_params).to(torch.int32)
accumulator = qw @ qx  # int32 [out]: no scale has been used yet
print("codes of x:  ", qx.tolist())
print("accumulators:", accumulator.tolist())
print("times scale: ", [f"{y:.3f}" for y in (each.scale * x_params.scale * accumulator).tolist()])
print("in float:    ", [f"{y:.3f}" for y in (weight @ x).tolist()])

reals = dequantize(quantize(weight, each), each) @ dequantize(quantize(x, x_params), x_params)
integers = each.scale * x_params.scale * accumulator
assert torch.allclose(reals, integers), "the scales leave the sum, so both orders give the same"

# %% [markdown] id="said-free"
# (What is left between the last two lines is the rounding of the codes.)
#
# Now give each **input** channel a scale. It has the index $i$, and stays inside the sum:
#
# $$y_o \approx \sum_i \text{scale}_i \, q^w_{oi} \, q^x_i$$
#
# The next cell shows in integers that no factor can be found afterwards. Two inputs lead to the same accumulator, but
# stand for different reals. Once the integers are added, the difference is gone.

# %% id="measure-not-free"
codes, input_scales = torch.tensor([5, 5]), torch.tensor([0.5, 0.125])  # one output, two inputs
for qx in (torch.tensor([3, 0]), torch.tensor([0, 3])):
    accumulator, real = (codes * qx).sum(), (input_scales * codes * qx).sum()
    print(f"x has codes {qx.tolist()}: the accumulator is {accumulator}, the output should be {real}")

# %% [markdown] id="said-not-free"
# There is a way out. The scales of the *inputs* can be moved into the weights before these are rounded:
#
# $$\sum_i W_{oi} \, x_i = \sum_i \left(W_{oi} \, \text{scale}_i\right) \frac{x_i}{\text{scale}_i}$$
#
# Now $x_i / \text{scale}_i$ is rounded with a step of 1 in every channel, and the new weights have one scale for each
# output. The division is done by the layer before, in its own last multiplication. This is the idea of SPIQ
# [[41]](../references.md#ref-41), which takes the scales from the batch norms and needs no data. Chapter
# [4.6](4_6_no_data.ipynb) builds on it.
#
# In a **depthwise** convolution each output reads one input channel only, and its sum runs over the nine places of the
# kernel. There a scale for each input channel is free as well.
#
# ## What does it cost to store?
#
# A scale is a float32, which takes 4 bytes. How much is that beside the codes?

# %% id="measure-cost"
from frugal.core.units import format_bytes
from frugal.measure.results import lay_out
from frugal.quant.config import weights_and_activations
from frugal.quant.convert import quantize_model, weight_bytes

scales, codes = 4 * len(depthwise), depthwise.numel() * 4 / 8
share = scales / (scales + codes)
print(f"one depthwise layer, 4 bits: {codes:.0f} bytes of codes, {scales} of scales: {share:.0%}\n")


def size(model, bits, per_channel):
    config = weights_and_activations(bits, None, per_channel=per_channel)  # activations stay in float32
    return weight_bytes(quantize_model(model, config, torch.zeros(1, 3, 32, 32)))


rows = []
for name, bits in (("residual", 8), ("residual", 4), ("MobileNet", 8), ("MobileNet", 4)):
    tensor, channel = (size(folded[name], bits, per_channel) for per_channel in (False, True))
    more = f"+{channel / tensor - 1:.1%}"
    rows.append((f"{name}, {bits} bits", format_bytes(tensor), format_bytes(channel), more))
print(lay_out(("whole network", "per tensor", "per channel", "more"), rows))

# %% [markdown] id="question-groups"
# In a depthwise layer at 4 bits the scales weigh almost as much as the codes: nine weights make a short channel. In a
# whole network most channels are longer. The residual network grows by one to three per cent, the MobileNet by more.
# (Biases stay in float32; both columns count them.)
#
# ## How small may a group be?
#
# Nothing stops at the channel. **Per group** means one scale for every run of, say, 16 weights along a row. The sum
# then falls into parts, and each part is multiplied by its own scale: one more multiplication for every 16. Language
# models are often stored like this at 4 bits.
#
# A smaller group never has a larger step than the group around it. Its error is smaller on average, though not for
# each single weight: a coarse grid may hit a value by luck. As a bit more halves the step, it divides the squared
# error by 4. So an error can be told in bits: a quarter of the error is worth one bit.

# %% id="measure-groups" alt="Mean squared error of a 1 by 1 convolution's weights against width in bits, on a logarithmic axis: three parallel falling lines, per tensor above per channel above groups of 16."
pointwise = folded["MobileNet"].features[6].conv[2].weight.detach().flatten(1)  # [48, 128]
kinds = {"per tensor": PerTensor(), "per channel": PerChannel(0), "groups of 16": PerGroup(16)}


def squared_error(granularity, bits):
    qparams = choose_qparams(pointwise, bits, symmetric=True, granularity=granularity)
    return (dequantize(quantize(pointwise, qparams), qparams) - pointwise).square().mean().item()


errors = {}
for name, granularity in kinds.items():
    errors[name] = {bits: squared_error(granularity, bits) for bits in range(2, 9)}
    scales = choose_qparams(pointwise, 4, granularity=granularity).scale.numel()
    bits = 4 + 32 * scales / pointwise.numel()
    worth = math.log(errors["per tensor"][4] / errors[name][4], 4)
    print(f"{name:12}  stored in {bits:.2f} bits per weight, rounds like {4 + worth:.1f} bits per tensor")
plots.error_by_bits(errors).set_title("MobileNet, 1 × 1 convolution with 48 outputs")
plt.show()

# %% [markdown] id="said-groups"
# One scale for each channel costs a quarter of a bit here and is worth more than a whole one. Groups of 16 are worth
# more still, but with float32 scales they cost two bits, which is a bad bargain: formats that use small groups store
# their scales in 8 or 16 bits. The lines are nearly parallel, so this holds at every width.
#
# **Which axis?** Output channels are on axis 0 of a weight, with one exception: a transposed convolution stores `[in,
# out, kh, kw]`. With axis 0 it would get one scale for each *input*, and no error message would say so.

# %% id="measure-axis"
from frugal.quant.layers import weight_granularity

layers = {
    "convolution": nn.Conv2d(8, 16, 3),
    "depthwise": nn.Conv2d(8, 8, 3, groups=8),
    "linear": nn.Linear(8, 16),
    "transposed": nn.ConvTranspose2d(8, 16, 2),
}
for name, layer in layers.items():
    granularity = weight_granularity(layer, PerChannel(0))  # "per output channel", whatever the layer
    scales = choose_qparams(layer.weight, granularity=granularity).scale.numel()
    print(f"{name:11}  weight {list(layer.weight.shape)!s:14}  axis {granularity.axis}: {scales:2} scales")

# %% [markdown] id="question-accuracy"
# ## Does it save accuracy?
#
# Now whole networks. W4A4 means weights and activations at 4 bits. Weights are symmetric, with one scale per tensor or
# one per output channel. Activations have one scale per tensor, symmetric or affine ([4.2](4_2_zero_point.ipynb)).
# Every layer is quantized, also the first and the last. The ranges of the activations are found on 256 training
# pictures, the accuracy is measured on 250 others.

# %% id="predict-accuracy"
from frugal.data.calibration import calibration_batches
from frugal.data.drawn import draw as draw_pictures
from frugal.measure.accuracy import accuracy

pictures = draw_pictures(250, seed=1, split="test")  # a sample about as hard as the 10,000 of chapter 0.1
calibration = calibration_batches(draw_pictures(1000).images, 256)
predict(
    "accuracy",
    "At W4A4, what gains more accuracy in the MobileNet, starting from one scale per tensor and symmetric activations?",
    options=["one scale per output channel", "affine activations"],
)

# %% id="measure-accuracy" tags="nbval-ignore-output"
METHODS = [(weights, inputs) for weights in ("per tensor", "per channel") for inputs in ("symmetric", "affine")]


def top1_percent(model, bits, weights, inputs):
    config = weights_and_activations(
        bits, bits, per_channel=weights == "per channel", symmetric_activations=inputs == "symmetric"
    )
    return accuracy(quantize_model(model, config, calibration), *pictures, batch_size=100)


original = {name: accuracy(model, *pictures) for name, model in folded.items()}
top1 = {
    name: {", ".join(method): {bits: top1_percent(model, bits, *method) for bits in (8, 6, 4)} for method in METHODS}
    for name, model in folded.items()
}
for name in folded:
    rows = [(method, *(f"{percent:.0f} %" for percent in by_bits.values())) for method, by_bits in top1[name].items()]
    print(lay_out((f"{name}, float32 {original[name]:.0f} %", "W8A8", "W6A6", "W4A4"), rows), end="\n\n")

# %% id="picture-accuracy" alt="Accuracy against width for both networks, four lines each. All lines lie together at 8 and 6 bits and fan out at 4 bits, where per tensor with symmetric activations is lowest and per channel with affine activations highest."
fig, axes = plt.subplots(1, 2, figsize=(9.2, 3.4), sharey=True)
for ax, name in zip(axes, folded, strict=True):
    channels.accuracy_by_bits(top1[name], ax, original=original[name], chance=10).set_title(name)
axes[1].get_legend().remove()
plt.show()

# %% id="check-accuracy" tags="nbval-ignore-output"
mobilenet = {method: by_bits[4] for method, by_bits in top1["MobileNet"].items()}
gains = {
    "one scale per output channel": mobilenet["per channel, symmetric"] - mobilenet["per tensor, symmetric"],
    "affine activations": mobilenet["per tensor, affine"] - mobilenet["per tensor, symmetric"],
}
reveal("accuracy", max(gains, key=gains.get))

for name, by_method in top1.items():
    best, worst = by_method["per channel, affine"], by_method["per tensor, symmetric"]
    at_8_bits = min(by_bits[8] for by_bits in by_method.values())
    assert at_8_bits > original[name] - 5, "8 bits must cost almost nothing"
    assert best[4] > worst[4] + 20, f"{name}: at 4 bits both refinements together must gain much"
assert mobilenet["per channel, affine"] - mobilenet["per tensor, affine"] > gains["one scale per output channel"] + 5

# %% [markdown] id="said-accuracy"
# At 8 bits all four are as good as float32, and at 6 nearly so. At 4 bits they part. In the residual network each
# refinement helps alone. In the MobileNet a scale for each channel changes little as long as the activations are
# symmetric, because these are what fails; beside affine ones it gains most. In both networks the two together are far
# better than neither.
#
# On 250 pictures a difference of four or five points means nothing, and between processors a picture or two may
# differ.
#
# **The same on real photographs.** The next table was measured once, on the 10,000 test images of CIFAR-10 with
# published ResNet-20 and ResNet-56. The cell reads the stored measurement.

# %% id="measure-cifar"
from frugal.measure.results import provenance, read, rows_where

file = Path("../../benchmarks/results/ptq.json")
stored = read(file) if file.exists() else {"rows": []}
for network in dict.fromkeys(row["network"] for row in stored["rows"]):
    full = rows_where(stored, network=network, bits="fp32")[0]["accuracy_percent"]
    rows = []
    for weights, inputs in METHODS:
        wanted = {"network": network, "weights": weights, "activations": inputs, "range": "minmax"}
        found = [rows_where(stored, **wanted, bits=f"W{b}A{b}", first_last_bits=b)[0] for b in (8, 6, 4)]
        rows.append((f"{weights}, {inputs}", *(f"{row['accuracy_percent']:.1f} %" for row in found)))
    print(lay_out((f"{network}, float32 {full:.1f} %", "W8A8", "W6A6", "W4A4"), rows), end="\n\n")
print(provenance(stored) if stored["rows"] else f"Not measured yet: benchmarks/ptq.py --json {file}")

# %% [markdown] id="question-twin"
# ## When is one scale fatal at 8 bits?
#
# Our networks are well behaved. Others are not, and here is how to make one of those. Let $s$ be above 0. Multiply a
# channel by $s$ before its ReLU and divide by $s$ after it: the network computes the same function, because the ReLU
# of $s$ times a value is $s$ times the ReLU of the value.
#
# The cell does so in every block of the residual network, with random powers of two. These lose nothing in float32:
# only exponents change.


# %% id="make-twin"
def twin_of(model, seed=0):
    """Return a network that computes the same function with very different channels."""
    twin, rng = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    for block in (twin.layer1[0], twin.layer2[0], twin.layer3[0]):
        s = torch.exp2(torch.round(2 * torch.randn(len(block.conv1.bias), generator=rng)))  # [hidden]
        block.conv1.weight.data *= s[:, None, None, None]  # output channels
        block.conv1.bias.data *= s
        block.conv2.weight.data /= s[:, None, None]  # the same channels, as inputs
    return twin


twin = twin_of(folded["residual"])
with torch.no_grad():
    difference = (twin(pictures.images[:100]) - folded["residual"](pictures.images[:100])).abs().max()
print(f"largest difference of the outputs: {difference:.0f}")
for name, model in (("network", folded["residual"]), ("twin", twin)):
    print(f"{name:7}  spread of layer3.0.conv1: {channels.spread(model.layer3[0].conv1.weight):.0f}")
assert difference == 0, "powers of two change the exponent alone: the twin is the same function, bit for bit"
predict(
    "twin",
    "With 8-bit weights, one scale per tensor and float32 activations: how accurate is the twin?",
    options=range(0, 101, 5),
    unit="%",
)

# %% id="measure-twin" tags="nbval-ignore-output" alt="Four bars of accuracy with 8-bit weights: the network per tensor and per channel at the level of float32, the twin per tensor far below, the twin per channel close to float32."
eight_bits = {}
for name, model in (("network", folded["residual"]), ("twin", twin)):
    for weights in ("per tensor", "per channel"):
        config = weights_and_activations(8, None, per_channel=weights == "per channel")
        quantized = quantize_model(model, config, calibration)
        eight_bits[f"{name}, {weights}"] = accuracy(quantized, *pictures, batch_size=100)
reveal("twin", round(eight_bits["twin, per tensor"]))

lost = eight_bits["twin, per tensor"] + 20
assert eight_bits["network, per tensor"] > lost, "one scale must fail on the twin alone"
assert eight_bits["twin, per channel"] > lost, "a scale for each channel must rescue most of it"
plots.accuracy_bars(eight_bits, original=original["residual"], chance=10.0)
plt.show()

# %% [markdown] id="said-twin"
# The same function and the same 8 bits, but one scale per tensor comes close to guessing. A scale for each output
# channel takes the factor of its row back exactly: the codes of `conv1` are those of the original network. What it
# cannot take back is in `conv2`: there the factors sit on *input* channels, inside each row.
#
# The trick also works backwards: choose factors that make the channels *alike*. That is cross-layer equalization
# [[26]](../references.md#ref-26), chapter [4.6](4_6_no_data.ipynb).
#
# **In three sentences.** One scale for a tensor is set by its widest channel, and the others pay. One scale for each
# output channel costs a few bytes and nothing in integer arithmetic, because it leaves the sum; one for each input
# channel stays inside. Where channels are unlike it decides at 8 bits between a working and a broken network, and at 4
# bits both of ours needed it.

# %% [markdown] id="library"
# ## In the library
#
# | what | where |
# |---|---|
# | which values share a scale | [`quant/granularity.py`](../../lib/frugal/quant/granularity.py): `PerChannel`, `PerGroup` |
# | their scales and zero-points | [`quant/affine.py`](../../lib/frugal/quant/affine.py): `choose_qparams` |
# | the axis of the output channels | [`quant/layers.py`](../../lib/frugal/quant/layers.py): `weight_granularity` |
# | a whole network | [`quant/convert.py`](../../lib/frugal/quant/convert.py): `quantize_model`, `weight_bytes` |
# | batch norm folding | [`graph/fold.py`](../../lib/frugal/graph/fold.py): `fold_batchnorm` |
#
# ## In the literature
#
# - [[20]](../references.md#ref-20), Krishnamoorthi's whitepaper, measured the difference on ImageNet. MobileNet-v2 at
#   W8A8 without training keeps 0.1 % with one scale per layer and 69.8 % with one per channel, of 71.9 % in float32
#   [[20]](../references.md#ref-20). ResNet-50 keeps 75.0 % and 75.1 %, of 75.2 % [[20]](../references.md#ref-20). A
#   trained MobileNet can be such a twin.
# - [[2]](../references.md#ref-2) (ACIQ) goes a step further: each channel has its own *width*, the same on average.
#   Chapter [4.5](4_5_post_training.ipynb).
# - [[41]](../references.md#ref-41) (SPIQ) gives each *input* channel a scale, without data: chapter
#   [4.6](4_6_no_data.ipynb). We have read its abstract only; our version is a reconstruction.
#
# ## Exercises
#
# The lab of this chapter is [4.1, the affine quantizer](../../labs/lab_4_1_affine/lab_4_1_affine.ipynb). With pen and
# paper:
#
# 1. A 3 × 3 convolution has 64 inputs and 128 outputs, at 8 bits. How many bytes do its codes take, how many its
#    scales per tensor and per channel?
# 2. A weight has four rows with α = 2, 1.2, 0.3 and 0.1. With one scale at 4 bits, how many codes lie within each
#    row's range? What becomes of the last row?
# 3. A row of a weight is multiplied by 8, and the matching column of the next weight divided by 8. Which of these
#    change: the network's float output, the row's per-channel codes, the per-tensor codes of the whole weight?
#
# <details><summary>Answers</summary>
#
# 1. One byte for each weight; 4 bytes for one scale, 4 for each output channel otherwise: under one per cent more.
# 2. The step is 2/7. Divide each α by it, round, double, add one. The last row is less than half a step everywhere: it
#    becomes zeros.
# 3. Only the last. Scale and weights of the row grow alike, so their quotient stays; the tensor's α may grow, and with
#    it everyone's step.
#
# The cell below computes them.
# </details>

# %% id="answers"
codes = 128 * 64 * 3 * 3
print(f"1. {codes:,} bytes of codes, 4 or {4 * 128} bytes of scales: {4 * 128 / codes:.1%} more")
rows = torch.tensor([[2.0], [1.2], [0.3], [0.1]])
print(f"2. {channels.codes_within(rows, num_bits=4).tolist()} codes")
scaled = weight * torch.tensor([[1.0], [8.0]])
for granularity in (PerChannel(0), PerTensor()):
    pair = [quantize(w, choose_qparams(w, 4, symmetric=True, granularity=granularity)) for w in (weight, scaled)]
    print(f"3. {granularity}: codes {'unchanged' if torch.equal(*pair) else 'changed'}")
