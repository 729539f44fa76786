# %% [markdown] id="title"
# # 4.1 The operator Q
#
# Slides 19 and 20 of the lecture, equations (1) to (3). About 60 minutes.
#
# After this chapter you will be able to
#
# - turn reals into integer codes and back, by hand and in PyTorch;
# - say how large the error will be before you measure it;
# - choose the range that the codes cover, and tell what a smaller range costs;
# - compute a layer of a real network with int8 codes and an int32 accumulator;
# - tell how many bits a small network needs when nothing else is done for it.
#
# You need to know linear layers, convolutions and PyTorch tensors. Letters and names are in [the
# notation](../notation.md). Some cells say **Predict**: commit to an answer, then run on.

# %% id="setup"
import math
import tomllib
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import conv2d, relu, unfold

from frugal.core.seed import generator
from frugal.data.drawn import draw
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.measure.results import provenance, read, rows_where
from frugal.nets import pretrained
from frugal.quant.affine import choose_qparams, dequantize, qparams_from_range, quantize
from frugal.quant.config import weights_and_activations
from frugal.quant.convert import quantize_model
from frugal.show import plots, plots_affine, still, style
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal

style.use()
still.use()

# %% [markdown] id="why"
# ## Why integers?
#
# Slide 19 gives two reasons. Many small processors compute with integers and nothing else. And large ones are much
# faster with int8 than with float32; slide 11 prints by how much for an NVIDIA A100, in TOPS, that is $10^{12}$
# operations in a second.
#
# The third reason is size. We count it on the network that this chapter uses: a residual network of eight layers that
# tells ten kinds of drawn figures apart. It comes with the course, trained. Its batch norms are folded into its
# convolutions, so that each layer is a product with weights, a bias, and an activation function.

# %% id="costs"
lecture = tomllib.loads(Path("../lecture.toml").read_text(encoding="utf-8"))
formats = next(table for table in lecture["table"] if table["key"] == "formats")
for gpu, operands, accumulator, tops, *_ in (row["cells"] for row in formats["row"]):
    if gpu == "A100" and operands in ("FP32", "INT8", "INT4"):
        print(f"slide 11: {operands} multiplied, {accumulator} added up: {tops:>6} TOPS")

model = fold_batchnorm(pretrained.load("resnet8_drawn"))
count = sum(parameter.numel() for parameter in model.parameters())
for name, bits in {"float32": 32, "int8": 8, "int4": 4}.items():
    size = count * bits / 8 / 1024
    print(f"{name:<7} {2**bits:>13,} different values; {count:,} parameters take {size:>3.0f} KiB")

# %% [markdown] id="what"
# The network shrinks to a quarter in int8. The price stands in the same lines: a number in float32 is one of four
# thousand million values, a number in int8 is one of 256. This chapter asks how that can go well.
#
# ## What does Q do to a number?
#
# $$Q(X) = \left\lfloor X \cdot \frac{2^{b-1}-1}{\alpha} \right\rceil \tag{1}$$
#
# - $X$ is a tensor of reals between $-\alpha$ and $\alpha$;
# - $b$ is the number of bits, `num_bits`;
# - $\lfloor \cdot \rceil$ rounds to the nearest integer.
#
# The fraction stretches the range so that $\alpha$ lands on the largest integer. We meet its inverse all the time, so
# it gets a name: `scale` $= \alpha / (2^{b-1}-1)$ is the step from one code to the next, in real units. Then
#
# $$Q(X) = \lfloor X / \mathtt{scale} \rceil, \qquad Q^{-1}(q) = \mathtt{scale} \cdot q .$$
#
# The integer $q$ is called a code. $Q^{-1}$ does not undo $Q$: it returns the real number that the code stands for.

# %% id="predict-ties"
predict(
    "ties",
    "With 3 bits and alpha = 3 the scale is 1. Which codes do 0.5 and 1.5 get?",
    options=["1 and 2", "0 and 1", "0 and 2"],
)

# %% id="by-hand"
num_bits, alpha = 3, 3.0
scale = alpha / (2 ** (num_bits - 1) - 1)
x = torch.tensor([-3.0, -1.5, -0.4, 0.0, 0.5, 1.5, 2.9])
q = torch.round(x / scale).to(torch.int8)
print("x           ", [round(value, 1) for value in x.tolist()])
print("code        ", q.tolist())
print("stands for  ", (scale * q).tolist())

ties = torch.arange(-100, 100) + 0.5  # half-way between two integers
print("mean error of ties, always up:   ", (torch.floor(ties + 0.5) - ties).mean().item())
print("mean error of ties, to the even: ", (torch.round(ties) - ties).mean().item())
reveal("ties", "0 and 2")

# %% [markdown] id="ties"
# A number half-way between two codes is a tie. `torch.round` gives it to the even code, as processors do. Why not
# always up, as at school? The last lines tell: ties would push the average up by half a step.
#
# Over the whole range, $Q^{-1}(Q(x))$ is a staircase along the diagonal. Move the slider: each bit halves the steps.
# Beyond the range, in the shaded parts, the stairs end.


# %% id="staircase"
def stairs(ax, num_bits):
    """Draw the staircase of a range from -1 to 1."""
    plots.staircase(choose_qparams(torch.tensor([-1.0, 1.0]), num_bits, symmetric=True), -1.3, 1.3, ax)


Explore(stairs, num_bits=range(2, 9), label="real value in, quantized value out: a staircase inside the range")

# %% [markdown] id="range"
# ## Which codes are there, and what lies beyond them?
#
# Equation (1) assumes that no value lies beyond $\alpha$. Real data do not promise that. int8 holds the integers from
# -128 to 127, so what becomes of the code 200? And slide 20 prints the set of codes as
# $\{-2^{b-1}-1, \dots, 2^{b-1}-1\}$. Take it at its word, for 8 bits.

# %% id="beyond"
codes = torch.tensor([100, 127, 128, 200])
print("cast to int8 at once:  ", codes.to(torch.int8).tolist())
print("clamped, then cast:    ", codes.clamp(-127, 127).to(torch.int8).tolist())

printed = range(-(2**7) - 1, 2**7)  # b = 8
print(f"the printed set runs from {printed[0]} to {printed[-1]}: {len(printed)} codes, but 8 bits name {2**8}")
code = torch.round(torch.tensor([-1.02]) * 127).long().clamp(printed[0], printed[-1])  # alpha = 1
print(f"x = -1.02 gets the code {code.item()}, and int8 stores {code.to(torch.int8).item()}")

# %% [markdown] id="range-words"
# Cast at once, large positive codes become negative, because int8 counts in a circle. `clamp` first gives them the
# nearest end instead. This is called saturation, and every quantizer does it:
#
# $$Q(X) = \mathrm{clamp}\left(\lfloor X / \mathtt{scale} \rceil,\ \mathtt{quant\_min},\ \mathtt{quant\_max}\right)$$
#
# With the printed set even `clamp` does not help. Its smallest code is no int8. Stored as one it wraps around, and a
# very negative input becomes the most positive number there is.
#
# <div class="alert alert-info">
#
# **Erratum.** The codes of equation (1) are $\{-(2^{b-1}-1), \dots, 2^{b-1}-1\}$: a pair of parentheses is missing. The
# equation itself says so, because $-\alpha$ lands on $-(2^{b-1}-1)$. See [the errata](../../ERRATA.md#eq1-range).
#
# </div>
#
# For 8 bits that is -127 to 127. The code -128 stays unused on purpose: with as many codes below zero as above,
# $Q(-X) = -Q(X)$. [[19]](../references.md#ref-19) leaves it out for weights, too. The next cell holds the library to
# it.

# %% id="range-check"
ends = torch.tensor([-1.0, 1.0])  # -alpha and alpha
x = torch.linspace(-1.3, 1.3, 1001)
for b in range(2, 9):
    largest = 2 ** (b - 1) - 1
    qparams = choose_qparams(ends, num_bits=b, symmetric=True)
    assert quantize(ends, qparams).tolist() == [-largest, largest], "alpha must land on the largest code"
    assert torch.equal(quantize(-x, qparams), -quantize(x, qparams)), "Q(-x) must be -Q(x)"
    print(f"{b} bits: codes from {qparams.quant_min:>4} to {qparams.quant_max:>3}")

# %% [markdown] id="error"
# ## How large is the error?
#
# The nearest code is at most half a step away. So inside the range $|x - \hat x| \le \mathtt{scale}/2$, where
# $\hat x = Q^{-1}(Q(x))$. The picture shows the error for 3 bits over a range from -1 to 1.

# %% id="sawtooth" alt="The rounding error is a sawtooth between minus and plus half a step; beyond the range it grows."
qparams = choose_qparams(torch.tensor([-1.0, 1.0]), num_bits=3, symmetric=True)
plots_affine.rounding_error(qparams, -1.25, 1.25)
plt.show()

# %% [markdown] id="sawtooth-words"
# What to see: seven teeth, one for each code, and each stays within half a step. Beyond the range, the error grows.
#
# Where the data spread evenly over a step, each error between minus and plus half a step is equally likely, and the
# mean of its square is $\mathtt{scale}^2/12$. It is custom to compare that with the mean square of the signal, as the
# signal to noise ratio in decibels (dB):
#
# $$\mathrm{SNR} = 10 \log_{10} \frac{\text{mean of } x^2}{\text{mean of } (x - \hat x)^2}$$
#
# One more bit halves the step. What does it do to the ratio?

# %% id="predict-db"
predict("bit", "By how much does one more bit raise the signal to noise ratio?", ["3 dB", "6 dB", "12 dB"])


# %% id="db" alt="Signal to noise against bits: two parallel lines, that of the weights below that of uniform numbers."
def decibels(x, num_bits):
    """Signal to noise ratio of x in num_bits, over the range of all its values."""
    qparams = choose_qparams(x, num_bits, symmetric=True)
    noise = dequantize(quantize(x, qparams), qparams) - x
    return 10 * torch.log10(x.square().mean() / noise.square().mean()).item()


uniform = 2 * torch.rand(100_000, generator=generator(0)) - 1  # any value from -1 to 1, equally likely
weight = model.layer3[0].conv2.weight.detach()  # [64, 64, 3, 3]
both = {"uniform numbers": uniform, "weights of layer3.0.conv2": weight}
snr = {name: {b: decibels(x, b) for b in range(2, 9)} for name, x in both.items()}
for b in range(2, 9):
    print(f"{b} bits: " + ", ".join(f"{name} {by_bits[b]:>2.0f} dB" for name, by_bits in snr.items()))
reveal("bit", "6 dB")
plots_affine.decibels_by_bits(snr)
plt.show()

# %% [markdown] id="db-words"
# What to see: two nearly parallel lines. Both rise by about 6 dB a bit, because half the step is a quarter of the
# squared error. At the left end a bit is worth more, because there it more than doubles the number of steps.
#
# The weights lie lower at every width. Their largest value sets the step, but most of them are small. What this costs
# can be told without rounding anything: it is the peak of a tensor over its typical size (the root of the mean square).


# %% id="peak"
def peak(x):
    """Largest magnitude over root mean square, in dB."""
    return 20 * torch.log10(x.abs().max() / x.square().mean().sqrt()).item()


print(f"peak over typical size: uniform numbers {peak(uniform):.0f} dB, weights {peak(weight):.0f} dB")
gap = decibels(uniform, 8) - decibels(weight, 8)
assert abs(gap - (peak(weight) - peak(uniform))) < 0.5, "the peaks must explain the distance of the lines"

for b in range(2, 9):
    qparams = choose_qparams(weight, b, symmetric=True)
    worst = (dequantize(quantize(weight, qparams), qparams) - weight).abs().max()
    float_slack = 2 * torch.finfo(weight.dtype).eps * weight.abs().max()
    assert worst <= qparams.scale / 2 + float_slack, "a value inside the range errs by more than half a step"

# %% [markdown] id="clip"
# ## Must alpha be the largest value?
#
# A few large weights decide the step for all others. We may choose a smaller $\alpha$: the step shrinks for all, and
# the few values beyond $\alpha$ are clipped. Commit to an answer first; then move both sliders. `alpha` is in per cent
# of the largest weight.


# %% id="clip-explore"
def cover(ax, alpha, num_bits):
    """Draw the weights with the levels that they are rounded to."""
    end = weight.abs().max() * alpha / 100
    plots.histogram_with_grid(weight, qparams_from_range(-end, end, num_bits, symmetric=True), ax)


answers = ["100 %", "80 to 95 %", "60 to 75 %", "40 to 55 %"]
predict("alpha", "At 4 bits, which alpha has the least squared error?", answers)
Explore(cover, alpha=[25, 40, 55, 70, 85, 100], num_bits=[2, 3, 4, 6], label="weights and the levels of codes")

# %% id="clip-measure" alt="Against alpha, clipping falls and rounding rises; their sum is least in between."
percent = list(range(10, 101, 5))


def two_errors(num_bits, percent):
    """Mean squared error of the weights within alpha, and of those beyond."""
    end = weight.abs().max() * percent / 100
    qparams = qparams_from_range(-end, end, num_bits, symmetric=True)
    error = (dequantize(quantize(weight, qparams), qparams) - weight).square()
    return (error * (weight.abs() <= end)).mean().item(), (error * (weight.abs() > end)).mean().item()


best = {}
for b in (2, 3, 4, 8):
    error = {each: sum(two_errors(b, each)) for each in percent}
    best[b] = min(error, key=error.get)
    share = 100 * error[best[b]] / error[100]
    print(f"{b} bits: least error at alpha = {best[b]} % of max|x|, {share:.0f} % of the error at alpha = 100 %")
reveal("alpha", f"{best[4]} %")
rounding, clipping = zip(*(two_errors(4, each) for each in percent), strict=True)
plots_affine.clipping_error(percent, rounding, clipping)
plt.show()

# %% [markdown] id="layer"
# What to see, for 4 bits: the dashed line is rounding, which grows with the square of $\alpha$. The dotted line is
# clipping, which falls. Their sum is least where the two balance. The fewer the bits, the smaller the best $\alpha$. A
# smaller squared error does not always make a better network, though: chapter
# [4.5](4_5_post_training.ipynb) measures both.
#
# ## How does a layer compute with codes?
#
# $$f(X) = \sigma(W X + B) \tag{2}$$
#
# $$f(X) \approx \sigma\left(Q^{-1}(Q(W)\,Q(X)) + B\right) \tag{3}$$
#
# $W$ are the weights, $B$ the bias, $\sigma$ the activation function, here a ReLU. Write $W \approx s_W q_W$ and
# $X \approx s_X q_X$ with codes $q$ and scales $s$. Then $W X \approx s_W s_X \, (q_W q_X)$. The product $q_W q_X$
# needs integers only. The $Q^{-1}$ of equation (3) is one multiplication by $s_W s_X$ at the end.
#
# We do it for a convolution of our network. It is a matrix product, too: `unfold` writes each window of the image, 16
# channels of 3 × 3 pixels, as one column of 144 numbers.

# %% id="layer-codes"
layer = model.layer1[0].conv1
images = draw(8, split="test").images
x = relu(model.conv1(images)).detach()  # what this layer receives, [8, 16, 32, 32]
w_qparams = choose_qparams(layer.weight, symmetric=True)  # equation (1), 8 bits
x_qparams = choose_qparams(x, symmetric=True)
q_w, q_x = quantize(layer.weight, w_qparams), quantize(x, x_qparams)  # int8
columns = unfold(q_x.float(), kernel_size=3, padding=1).to(torch.int8)  # unfold wants floats; codes stay exact
print("weights", q_w.dtype, list(q_w.flatten(1).shape), " times inputs", columns.dtype, list(columns.shape))
answers = ["nearly all", "about half", "nearly none"]
predict("sums", "Which part of the sums of 144 products fits int8?", answers)

# %% id="layer-sums"
sums = q_w.flatten(1).to(torch.int32) @ columns.to(torch.int32)  # int32 [8, 16, 1024]
fits = {}
for dtype in (torch.int8, torch.int16, torch.int32):
    fits[dtype] = 100 * (sums.to(dtype) == sums).double().mean().item()
    print(f"{str(dtype)[6:]:<5} holds {fits[dtype]:>3.0f} % of the sums")
print(f"144 products reach {144 * 127**2:,} at the very worst; int32 reaches {torch.iinfo(torch.int32).max:,}")
reveal("sums", f"{fits[torch.int8]:.0f} %")

# %% [markdown] id="accumulator"
# So the products are of 8-bit codes, and the sums are kept in 32 bits: in an accumulator. Slide 11 says the same, INT8
# multiplied and INT32 added up. How narrow a sum may be is the subject of chapter
# [4.4](4_4_accumulators.ipynb).
#
# Now the rest of equation (3), and two checks. First: the integer sums are what an exact convolution of the codes
# gives. Second: the layer on codes equals the layer on dequantized floats $\hat W$ and $\hat X$, up to what float32
# rounds away in a sum of 144 products.

# %% id="layer-check"
real = (w_qparams.scale * x_qparams.scale * sums).reshape(8, 16, 32, 32)  # Q⁻¹
y = relu(real + layer.bias[:, None, None]).detach()
y_float = relu(layer(x)).detach()  # equation (2): nothing quantized

exact = conv2d(q_x.double(), q_w.double(), padding=1)
assert torch.equal(exact.reshape(8, 16, 1024), sums.double()), "the sums must be the convolution of the codes"

w_hat, x_hat = dequantize(q_w, w_qparams), dequantize(q_x, x_qparams)
y_hat = relu(conv2d(x_hat, w_hat, layer.bias, padding=1)).detach()
largest = conv2d(x_hat.abs(), w_hat.abs(), layer.bias.abs(), padding=1).max()  # sum of magnitudes
slack = 2 * 145 * torch.finfo(torch.float32).eps * largest
assert (y - y_hat).abs().max() <= slack, "codes and dequantized floats must agree"

error = (y - y_float).square().mean().sqrt() / y_float.square().mean().sqrt()
print("codes against dequantized floats: equal")
print(f"codes against the float layer: the typical error is {100 * error.item():.0f} % of the typical output")

# %% id="layer-picture" alt="A drawn spiral; one channel of the layer in float32 and in int8; the small difference."
fig, axes = plt.subplots(1, 4, figsize=(9.4, 2.2), width_ratios=[1.2, 1.25, 1.25, 1.25])
axes[0].imshow(images[1].permute(1, 2, 0))
axes[0].set(title="what comes in", xticks=[], yticks=[])
plots_affine.pixels(y_float[1, 1], axes[1], title="float32")
plots_affine.pixels(y[1, 1], axes[2], title="int8, int32 sums")
plots_affine.pixels((y - y_float)[1, 1], axes[3], title="difference")
plt.show()

# %% [markdown] id="network"
# What to see: one channel of the layer finds the edges of the spiral. In float32 and on codes it cannot be told apart.
# The difference needs a colour scale of its own.
#
# The second check is useful. Floats that stand for codes give what codes give, so we may simulate an integer network in
# float32 and trust its accuracy. The library does so in [`QuantizedLayer`](../../lib/frugal/quant/layers.py). Speed is
# another matter; it needs integer instructions.
#
# ## How many bits does a whole network need?
#
# Now every layer at once. W4A4 says: weights in 4 bits, activations (the inputs of layers) in 4 bits. The range of an
# activation is not known in advance. So some training images, without labels, pass through the network first, and each
# layer notes the largest magnitude it sees. This is called calibration. All else follows equation (1), with one scale
# for each tensor.

# %% id="predict-w4a4"
answers = ["nearly all of it", "clearly less", "no better than guessing"]
predict("w4a4", "What is left of the accuracy in W4A4?", answers)

# %% id="network-measure" alt="Accuracy: at 8 and 6 bits close to float32, at 4 bits far lower."
test_images, test_labels = draw(2500, split="test")  # so many that no figure lies near the edge of a per cent
calibration = draw(256, split="train").images


def accuracy_at(weight_bits, activation_bits):
    """Accuracy in per cent with every layer rounded as equation (1) says; None leaves a tensor in float."""
    config = weights_and_activations(weight_bits, activation_bits, per_channel=False, symmetric_activations=True)
    return accuracy(quantize_model(model, config, calibration.split(128)), test_images, test_labels)


score = {"float32": accuracy(model, test_images, test_labels)}
score |= {f"W{b}A{b}": accuracy_at(b, b) for b in (8, 6, 4, 3, 2)}
score |= {"W4, inputs in float": accuracy_at(4, None), "A4, weights in float": accuracy_at(None, 4)}
for name, value in score.items():
    print(f"{name:<20} {value:>4.0f} %")
assert score["W4, inputs in float"] < score["A4, weights in float"], "the weights must do more damage"
assert score["float32"] - score["W8A8"] < 1 < score["W6A6"] - score["W4A4"], "the cliff must lie below 6 bits"
reveal("w4a4", f"{score['W4A4']:.0f} %")
plots.accuracy_bars(score, plt.subplots(figsize=(5.6, 2.8))[1], chance=10)
plt.show()

# %% [markdown] id="network-words"
# What to see: 8 bits cost next to nothing, 6 bits cost little, and then the accuracy falls off a cliff. The noise grew
# by 6 dB a bit all the way. The network stands it for a while, and then it does not.
#
# The last two bars round only one of the two. Each suffers for a reason of its own. Weights share one scale, though
# some of their channels are much smaller than others; in this network that does more damage ([chapter
# 4.3](4_3_per_channel.ipynb)). Activations follow a ReLU and are never negative, so half of their codes lie idle
# ([chapter 4.2](4_2_zero_point.ipynb)).
#
# Is this our small network only? The next cell reads what was measured with the same code on published networks and
# photographs, CIFAR-10. [The benchmark](../../benchmarks/ptq.py) tells how to repeat it.

# %% id="cifar"
stored = read("../../benchmarks/results/ptq.json")
for network in dict.fromkeys(row["network"] for row in stored["rows"]):
    print(f"{network}  float32 {stored['summary'][network + '_fp32']:.2f} %")
    loss = {}
    for bits in ("W8A8", "W6A6", "W4A4"):
        (row,) = rows_where(stored, network=network, bits=bits, weights="per tensor", activations="symmetric")
        loss[bits] = stored["summary"][network + "_fp32"] - row["accuracy_percent"]
        print(f"{'':<9} {bits}    {row['accuracy_percent']:.2f} %")
    assert loss["W8A8"] < 1 < loss["W4A4"], "the cliff must lie between 8 and 4 bits"
print(provenance(stored))

# %% [markdown] id="library"
# The cliff stands at the same place: fine at 8 bits, nearly fine at 6, broken at 4.
#
# ## In the library, in the literature
#
# | idea | file | functions |
# |---|---|---|
# | equation (1) | [affine.py](../../lib/frugal/quant/affine.py) | `choose_qparams`, `quantize`, `dequantize` |
# | alpha from data | [observers.py](../../lib/frugal/quant/observers.py) | `MinMax`, `Percentile`, `MSE`, `KL` |
# | a layer on codes | [layers.py](../../lib/frugal/quant/layers.py) | `QuantizedLayer` |
# | a network on codes | [convert.py](../../lib/frugal/quant/convert.py) | `quantize_model` |
# | fold batch norm first | [fold.py](../../lib/frugal/graph/fold.py) | `fold_batchnorm` |
#
# - [[19]](../references.md#ref-19) builds networks that run on integers alone: int8 codes, int32 sums, as above.
# - [[20]](../references.md#ref-20) is a guide to the choices: symmetric or not, per tensor or per channel, trained or
#   not.
# - [[2]](../references.md#ref-2) computes the best clipping range from the shape of the distribution.
#
# ## Exercises
#
# Write the operator yourself in [lab 4.1](../../labs/lab_4_1_affine/lab_4_1_affine.ipynb). With paper and pencil:
#
# 1. With 5 bits and $\alpha = 7.5$: what is the scale, which code does 1.1 get, and how large is its error?
# 2. Uniform numbers shall keep a signal to noise ratio of 50 dB. How many bits do they need?
# 3. How many products of two codes from -127 to 127 can an int32 sum hold, whatever the codes are?
#
# <details><summary>Answers</summary>
#
# 1. The largest code is $2^4 - 1 = 15$, so the scale is $7.5 / 15 = 0.5$. The quotient $1.1 / 0.5 = 2.2$ is rounded to
#    2, which stands for 1.0. The error is 0.1, less than half a step.
# 2. The range has $2^b - 2$ steps, uniform numbers have the mean square $\alpha^2 / 3$, and the error has
#    $\mathtt{scale}^2 / 12$. So the ratio is $20 \log_{10}(2^b - 2)$: 48 dB for 8 bits, 54 dB for 9 bits. They need 9.
# 3. $\lfloor (2^{31} - 1) / 127^2 \rfloor$, which is 133,144.
#
# The cell below computes all three.
#
# </details>

# %% id="answers"
qparams = choose_qparams(torch.tensor([7.5]), num_bits=5, symmetric=True)
code = quantize(torch.tensor([1.1]), qparams)
error = 1.1 - dequantize(code, qparams).item()
print(f"1. scale {qparams.scale.item()}, code {code.item()}, error {error:.1f}")
ratio = {b: 20 * math.log10(2**b - 2) for b in range(2, 17)}
needed = next(b for b in ratio if ratio[b] >= 50)
print(f"2. {needed} bits: {ratio[needed]:.0f} dB; one less: {ratio[needed - 1]:.0f} dB")
print(f"3. {torch.iinfo(torch.int32).max // 127**2:,} products")
