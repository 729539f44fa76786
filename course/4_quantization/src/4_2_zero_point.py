# %% [markdown] id="title"
# # 4.2 The zero-point
#
# Slide 21 of the lecture, equation (4). About 50 minutes.
#
# After this chapter you will be able to
#
# - tell from a histogram how much of the codes equation (1) wastes;
# - choose a scale and a zero-point for any range, so that real 0 has a code of its own;
# - say why padding makes that necessary;
# - compute a layer with zero-points in exact integers, and hide their cost in the bias;
# - decide which tensors deserve a zero-point.
#
# It builds on [chapter 4.1](4_1_the_operator.ipynb): codes, `scale`, saturation, calibration, W4A4.

# %% id="setup"
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import avg_pool2d, conv2d, pad, unfold

from frugal.data.drawn import draw
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.measure.results import provenance, read, rows_where
from frugal.nets import pretrained
from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.config import weights_and_activations
from frugal.quant.convert import quantize_model
from frugal.quant.layers import quantizable_layers
from frugal.show import plots, plots_affine, still, style
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal

style.use()
still.use()
model = fold_batchnorm(pretrained.load("resnet8_drawn"))
images = draw(256, split="test").images


def input_of(name):
    """What one layer of the network receives when the images pass."""
    seen = []
    layer = model.get_submodule(name)
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    model(images)
    hook.remove()
    return seen[0]


# %% [markdown] id="waste"
# ## What does equation (1) waste?
#
# The codes of equation (1) lie symmetrically around 0, as many below as above. The data need not. In our network every
# layer but the first receives the output of a ReLU, which is never negative; the first receives pixels, which are not
# negative either. We round the input of one layer to 4 bits: 15 codes, from -7 to 7.

# %% id="predict-waste"
predict("waste", "How many of the 15 codes does the input of a layer after a ReLU use?", [15, 12, 8, 4])

# %% id="waste-measure" alt="How often each code occurs: code 0 most often, codes below 0 never."
x = input_of("layer2.0.conv1")
symmetric = choose_qparams(x, num_bits=4, symmetric=True)
print(f"smallest value {x.min().item():.0f}; exact zeros {100 * (x == 0).double().mean().item():.0f} %")
reveal("waste", len(quantize(x, symmetric).unique()))
plots_affine.used_codes(x, symmetric)
plt.show()

# %% [markdown] id="equation"
# What to see: all codes below zero lie idle (shaded; note the logarithmic axis). We pay for 4 bits and use 3.
#
# Equation (4) of the lecture adds an integer $z$, the zero-point, which moves the codes to where the data are:
#
# $$Q(X) = \left\lfloor z + X \cdot \frac{2^{b-1}-1}{\alpha} \right\rceil \tag{4}$$
#
# For it to help, the step has to change, too; we come to that below. The rule of [[19]](../references.md#ref-19), which
# the library follows, spreads all $2^b$ codes over the range from `low` to `high`:
#
# $$\mathtt{scale} = \frac{\mathtt{high} - \mathtt{low}}{2^b - 1}$$
#
# $$z = \mathtt{quant\_min} - \lfloor \mathtt{low} / \mathtt{scale} \rceil$$
#
# $$Q(X) = \mathrm{clamp}\left(\lfloor X / \mathtt{scale} \rceil + z\right)$$
#
# $$Q^{-1}(q) = \mathtt{scale} \cdot (q - z)$$
#
# Such a quantizer is called affine. There is one code more than in the symmetric one: `quant_min` is $-2^{b-1}$.

# %% id="by-hand" alt="The eight codes of 3 bits as marks on the real line from -1 to 2; real 0 falls on one of them."
low, high, num_bits = -1.0, 2.0, 3
quant_min = -(2 ** (num_bits - 1))
scale = (high - low) / (2**num_bits - 1)
zero_point = quant_min - round(low / scale)
print(f"scale {scale:.4f}, zero_point {zero_point}")
for q in range(quant_min, quant_min + 2**num_bits):
    print(f"code {q:>2} stands for {scale * (q - zero_point):>7.4f}")
qparams = choose_qparams(torch.tensor([low, high]), num_bits)
assert (qparams.zero_point.item(), qparams.quant_min) == (zero_point, quant_min), "the library must agree"
plots.number_line(qparams)
plt.show()

# %% id="used-affine" alt="How often each code occurs with a zero-point: the smallest, real 0, most often."
affine = choose_qparams(x, num_bits=4)
ratio = (symmetric.scale / affine.scale).item()
print(f"zero_point {affine.zero_point.item()}; one symmetric step is {ratio:.2f} affine steps")
plots_affine.used_codes(x, affine)
plt.show()

# %% [markdown] id="zero"
# What to see: the same activations with a zero-point. The codes lie where the data are, real 0 has moved to the
# smallest one, and the steps are less than half as wide.
#
# ## Why must real 0 be a code?
#
# In the example above `low` was -1, but the smallest code stands for another number: the nearest that the rule allows.
# The rule rounds $z$ to an integer, so the whole grid is moved by up to half a step until real 0 falls on a code. This
# is called nudging. The slider moves `low`; grey is the range as asked, blue the nudged one.


# %% id="nudge"
def nudged(ax, low):
    """Draw the codes of 3 bits from low to 2, as asked and nudged."""
    plots_affine.nudged_range(low, 2.0, 3, ax)


lows = [-1.5, -1.4, -1.3, -1.2, -1.1, -0.9, -0.7, -0.5, -0.4, -0.3, -0.2, -0.1]
Explore(nudged, low=lows, label="codes over a range, as asked and nudged to hold 0", figsize=(5.6, 2.2))

# %% [markdown] id="padding"
# Why all this care for one number? Because of padding. A convolution puts a frame of zeros around each image. On codes,
# the frame is filled with the code of real 0. If that code stands for something else, say $\delta$, every image gets a
# frame of $\delta$.
#
# We blur normalised pictures with a 3 × 3 mean, once with a 4-bit quantizer that spreads its codes from the smallest to
# the largest value and forgets about 0, once with a nudged one. The pictures show the error, averaged over all images.

# %% id="predict-padding"
answers = ["everywhere", "at the border only", "nowhere"]
predict("padding", "Where does the forgotten 0 change the blurred image?", answers)

# %% id="padding-measure" alt="Mean error of a blur: a frame along the border where 0 has no code, none where it has."
pictures = (images - images.mean()) / images.std()  # as most published networks want them
low, high = pictures.min(), pictures.max()
step = (high - low) / 15
delta = low + step * torch.round((0 - low) / step)  # what the code nearest to 0 stands for
careless = low + step * torch.round((pictures - low) / step)
qparams = choose_qparams(pictures, num_bits=4)
nudged_pictures = dequantize(quantize(pictures, qparams), qparams)


def blur(x, frame):
    """Mean of 3 x 3 pixels, with a frame of this value around the image."""
    return avg_pool2d(pad(x, (1, 1, 1, 1), value=float(frame)), kernel_size=3, stride=1)


fig, axes = plt.subplots(1, 2, figsize=(6.6, 2.7))
ways = {"0 has no code": (careless, delta), "nudged": (nudged_pictures, 0)}
for ax, (title, (x_hat, frame)) in zip(axes, ways.items(), strict=True):
    error = (blur(x_hat, frame) - blur(pictures, 0)).mean((0, 1)) / step
    plots_affine.pixels(error, ax, title=title, reach=0.25, unit="mean error (steps)")
    inside, edge = error[1:-1, 1:-1].mean().abs(), error[0, 1:-1].mean().abs()
    print(f"{title + ':':<14} mean error inside {inside:.1f} steps, along the edge {edge:.1f} steps")
reveal("padding", "at the border only")
plt.show()

# %% [markdown] id="padding-words"
# What to see: a frame. Inside, the errors of many pixels cancel. At the border they cannot, because all images are
# shifted the same way: three of the nine pixels under the blur are padding at an edge, five in a corner, and each is
# wrong by $\delta$. The check holds the measurement to that. In a deep network each padded convolution adds a frame,
# and the next one carries it further inside.
#
# Padding is not the only zero. ReLU makes zeros, pruning makes zeros, and skipping them pays only if they are exact. So
# the rule is: widen the range until it holds 0, then nudge.

# %% id="padding-check"
shift = blur(careless, delta) - blur(careless, 0)
padding = 9 - 9 * blur(torch.ones(1, 1, 32, 32), 0)  # pixels of padding under the blur: 0 inside, 3 at an edge
slack = 16 * torch.finfo(torch.float32).eps * careless.abs().max()
assert (shift - delta * padding / 9).abs().max() <= slack, "each pixel of padding shifts the blur by delta / 9"
for low_end in torch.linspace(-3, 1, 41):
    qparams = choose_qparams(torch.stack([low_end, torch.tensor(1.5)]), num_bits=4)
    zero = dequantize(quantize(torch.zeros(1), qparams), qparams)
    assert zero.item() == 0.0, "real 0 must come back as exactly 0"
print(f"padding under the blur: edge {padding[0, 0, 0, 5]:.0f}, corner {padding[0, 0, 0, 0]:.0f} of 9 pixels")

# %% [markdown] id="step"
# ## Which step belongs to a zero-point?
#
# Equation (4) as printed keeps the step of equation (1), $\alpha / (2^{b-1}-1)$. Compare three quantizers on the input
# of the layer above: equation (1), equation (4) as printed, and the affine rule.

# %% id="predict-step"
predict(
    "step",
    "After a ReLU, by what factor does the affine rule lower the squared error of equation (1)?",
    options=["none", "about 2", "about 4", "about 16"],
)


# %% id="step-measure"
def as_printed(x, num_bits, z):
    """Equation (4) with the step of equation (1), then back to reals."""
    scale = x.abs().max() / (2 ** (num_bits - 1) - 1)
    return (torch.round(z + x / scale) - z) * scale


def squared_error(x, num_bits, symmetric):
    qparams = choose_qparams(x, num_bits, symmetric=symmetric)
    return (dequantize(quantize(x, qparams), qparams) - x).square().mean().item()


for b in (8, 6, 4):
    equation_1, affine_rule = (squared_error(x, b, symmetric) for symmetric in (True, False))
    equation_4 = (as_printed(x, b, z=-(2 ** (b - 1))) - x).square().mean().item()
    steps = (2**b - 1) / (2 ** (b - 1) - 1)
    print(
        f"{b} bits, error of (1) over that of (4) as printed {equation_1 / equation_4:.1f}, "
        f"of affine {equation_1 / affine_rule:.1f}"
    )
    assert abs(equation_4 / equation_1 - 1) < 1e-3, "moving the codes alone must change nothing"
    assert 0.75 * steps**2 < equation_1 / affine_rule < 1.25 * steps**2, "error must go with step squared"
reveal("step", "about 4")

# %% [markdown] id="step-words"
# With the old step the zero-point gives the codes other names and wins nothing: the first ratio is one. With the new
# step there are a little more than twice as many steps over the same data, and the squared error falls about four
# times.
#
# <div class="alert alert-info">
#
# **Erratum.** With a zero-point the step is $(\mathtt{high} - \mathtt{low}) / (2^b - 1)$, not $\alpha / (2^{b-1}-1)$ as
# slide 21 prints. See [the errata](../../ERRATA.md#eq4-step).
#
# </div>
#
# How many bits is that worth? Symmetric codes of 4 bits have seven steps between 0 and the largest value. So have
# affine codes of 3 bits. On data that are never negative the two are the same quantizer.

# %% id="one-bit"
for b in (8, 6, 4, 3):
    one_more, affine = choose_qparams(x, b, symmetric=True), choose_qparams(x, b - 1)
    same = torch.equal(dequantize(quantize(x, one_more), one_more), dequantize(quantize(x, affine), affine))
    print(f"symmetric {b} bits equal affine {b - 1} bits, in every one of {x.numel():,} values: {same}")
    assert same, "after a ReLU, a symmetric quantizer has exactly one bit less to offer"

# %% [markdown] id="cost"
# ## What does a zero-point cost?
#
# In a layer on codes, each code now has its zero-point subtracted. Multiply it out for one output, a sum of $N$
# products:
#
# $$\sum_j (q_W - z_W)(q_X - z_X) = \sum_j q_W q_X - z_X \sum_j q_W - z_W \sum_j q_X + N z_W z_X$$
#
# This is equation (7) of [[19]](../references.md#ref-19). The first sum is the matrix product of the codes, as fast as
# without zero-points. The three others are corrections. Equation (3) of the lecture has none of them, so it is exact
# only when both zero-points are 0.

# %% id="corrections"
layer, name = model.layer1[0].conv1, "layer1.0.conv1"
x = input_of(name)[:8]
w_qparams, x_qparams = choose_qparams(layer.weight), choose_qparams(x)  # both affine, 8 bits
z_w, z_x = w_qparams.zero_point, x_qparams.zero_point
frame = float(z_x)  # the code of real 0
codes = pad(quantize(x, x_qparams).float(), (1, 1, 1, 1), value=frame)
q_x = unfold(codes, kernel_size=3).to(torch.int32)  # int32 [8, 144, 1024]
q_w = quantize(layer.weight, w_qparams).flatten(1).to(torch.int32)  # int32 [16, 144]

exact = (q_w - z_w) @ (q_x - z_x)
product = q_w @ q_x
correction = -z_x * q_w.sum(1, keepdim=True) - z_w * q_x.sum(1, keepdim=True) + q_w.shape[1] * z_w * z_x
print(f"z_W = {z_w.item()}, z_X = {z_x.item()}")
print(f"equation (3) as printed equals the exact sums: {torch.equal(product, exact)}")
print(f"with the three corrections:                    {torch.equal(product + correction, exact)}")
assert torch.equal(product + correction, exact), "integers must agree to the last bit"

# %% [markdown] id="corrections-words"
# <div class="alert alert-info">
#
# **Erratum.** Equation (3) holds for symmetric codes. With zero-points it needs the three corrections. See [the
# errata](../../ERRATA.md#eq3-zero-points).
#
# </div>
#
# What do they cost while the network runs? The term with $\sum_j q_W$ depends on the weights alone, and so does the
# constant: they are computed once, before any image comes. The term with $\sum_j q_X$ depends on the image: it has to
# be added up anew for every output pixel. And this one is multiplied by $z_W$. So choose symmetric weights: with
# $z_W = 0$ two of the three terms vanish, and the one that stays is a constant for each output channel. It joins the
# bias.

# %% id="fold-bias"
w_qparams = choose_qparams(layer.weight, symmetric=True)
q_w = quantize(layer.weight, w_qparams).flatten(1).to(torch.int32)
unit = (w_qparams.scale * x_qparams.scale).double()  # what one step of the sum is worth
bias = torch.round(layer.bias.detach().double() / unit).to(torch.int32)  # the bias in the same unit, int32

folded = (bias - z_x * q_w.sum(1)).to(torch.int32)  # once, before any image comes
sums = folded[:, None] + q_w @ q_x  # all that runs: one matrix product that starts from the folded bias
assert torch.equal(sums, bias[:, None] + q_w @ (q_x - z_x)), "the folded bias must hold the whole correction"

y = (unit * sums).float().reshape(8, 16, 32, 32)
x_hat = dequantize(quantize(x, x_qparams), x_qparams)
w_hat = dequantize(quantize(layer.weight, w_qparams), w_qparams)
y_hat = conv2d(x_hat.double(), w_hat.double(), layer.bias.double(), padding=1)
largest = conv2d(x_hat.abs(), w_hat.abs(), layer.bias.abs(), padding=1).max().item()
slack = unit.item() / 2 + 8 * torch.finfo(torch.float32).eps * largest  # rounded: the bias, and the scales
assert (y - y_hat).abs().max() <= slack, "the integer layer must equal the layer on dequantized numbers"
print("one matrix product that starts from a folded bias: exact in integers")
print("beside the layer on dequantized numbers: equal, but for the rounded bias")

# %% [markdown] id="fold-words"
# The zero-point of the activations is free. The padding, too, is right by itself, since the frame holds the code $z_X$.
#
# ## Do weights want a zero-point?
#
# It would cost a sum for every output pixel. What would it gain? For every layer, compare the squared error of
# symmetric and of affine codes in 8 bits: once for the weights, once for the inputs.

# %% id="who-gains"
print("squared error, symmetric over affine   weights   inputs")
for name, layer in quantizable_layers(model).items():
    tensors = (layer.weight.detach(), input_of(name))
    gains = [squared_error(t, 8, True) / squared_error(t, 8, False) for t in tensors]
    print(f"{name:<38} {gains[0]:>7.1f} {gains[1]:>8.1f}")
    assert gains[1] > 3.5, "data that are never negative must gain about a factor of four"

# %% [markdown] id="network"
# Trained weights spread to both sides of 0 about equally, so there is little to win. Inputs win a factor of four in
# every layer. Hence the usual choice, and the default of the library: symmetric weights, affine activations.
#
# ## What does the network gain?
#
# First with the weights in float, so that only the activations count. From chapter 4.1 we know what symmetric 4-bit
# activations leave of the accuracy.

# %% id="predict-network"
predict("network", "How many bits do affine activations need to do as well as symmetric 4?", [5, 4, 3, 2])

# %% id="activations-measure"
test_images, test_labels = draw(2500, split="test")  # so many that no figure lies near the edge of a per cent
calibration = draw(256, split="train").images.split(128)


def accuracy_at(weight_bits, activation_bits, symmetric, per_channel=True):
    """Accuracy in per cent of the whole network, weights always symmetric; None leaves a tensor in float."""
    config = weights_and_activations(
        weight_bits, activation_bits, per_channel=per_channel, symmetric_activations=symmetric
    )
    return accuracy(quantize_model(model, config, calibration), test_images, test_labels)


original = accuracy(model, test_images, test_labels)
symmetric_4, affine_4, affine_3 = (accuracy_at(None, *choice) for choice in ((4, True), (4, False), (3, False)))
print(f"everything in float   {original:.0f} %")
print(f"4 bits, symmetric     {symmetric_4:.0f} %")
print(f"4 bits, affine        {affine_4:.0f} %")
print(f"3 bits, affine        {affine_3:.0f} %")
assert affine_4 > symmetric_4 == affine_3, "one bit less with a zero-point must give the very same network"
reveal("network", 3)

# %% [markdown] id="activations-words"
# Not nearly the same accuracy: the same network, number by number. A zero-point after a ReLU is worth one bit, no more
# and no less.
#
# Now weights and activations together. The weights get one scale for each output channel, the subject of [chapter
# 4.3](4_3_per_channel.ipynb); the last line shows why.

# %% id="network-measure" alt="Accuracy with and without a zero-point: equal at 8 and 6 bits, much better at 4."
score = {f"W{b}A{b}": (accuracy_at(b, b, True), accuracy_at(b, b, False)) for b in (8, 6, 4)}
one_scale = "W4A4, one scale for each weight tensor"
score[one_scale] = (accuracy_at(4, 4, True, per_channel=False), accuracy_at(4, 4, False, per_channel=False))
print(f"{'':<40} symmetric   affine")
for name, (without, with_zero_point) in score.items():
    print(f"{name:<40} {without:>7.0f} % {with_zero_point:>6.0f} %")
gain = {name: after - before for name, (before, after) in score.items()}
assert gain["W4A4"] > gain[one_scale], "a zero-point must win less beside badly rounded weights"
bars = {
    f"{name} {word}": value
    for name in list(score)[:3]
    for word, value in zip(("symmetric", "affine"), score[name], strict=True)
}
plots.accuracy_bars(bars, plt.subplots(figsize=(5.6, 2.6))[1], original=original)
plt.show()

# %% [markdown] id="network-words"
# What to see: with 8 or 6 bits there is room for waste, and the zero-point changes next to nothing. With 4 bits the one
# bit counts.
#
# The last line of the table is a warning. With a single scale for each weight tensor, the weights lose much at 4 bits,
# and better activations cannot give it back. Rounding one tensor well helps less where the other is rounded badly.
#
# The same comparison was measured on published networks and CIFAR-10, also with one scale for each output channel; [the
# benchmark](../../benchmarks/ptq.py) tells how to repeat it.

# %% id="cifar"
stored = read("../../benchmarks/results/ptq.json")
for network in dict.fromkeys(row["network"] for row in stored["rows"]):
    print(f"{network}, float32: {stored['summary'][network + '_fp32']:.2f} %")
    for bits in ("W8A8", "W6A6", "W4A4"):
        rows = rows_where(stored, network=network, bits=bits, weights="per channel", first_last_bits=int(bits[1]))
        percent = {row["activations"]: row["accuracy_percent"] for row in rows}
        print(f"    {bits}   symmetric {percent['symmetric']:.2f} %   affine {percent['affine']:.2f} %")
    assert percent["affine"] > percent["symmetric"] + 5, "4 bits must gain clearly"
print(provenance(stored))

# %% [markdown] id="library"
# The picture is the same, on other data and by other people's training.
#
# ## In the library, in the literature
#
# | idea | file | functions |
# |---|---|---|
# | scale and zero-point from data | [affine.py](../../lib/frugal/quant/affine.py) | `choose_qparams` |
# | the same from a range | [affine.py](../../lib/frugal/quant/affine.py) | `qparams_from_range` |
# | one choice for a whole network | [config.py](../../lib/frugal/quant/config.py) | `weights_and_activations` |
#
# - [[19]](../references.md#ref-19) is the source of the affine rule, of the exact zero, and of equation (7).
# - [[20]](../references.md#ref-20) compares symmetric and affine codes on ImageNet networks.
# - [[26]](../references.md#ref-26) shows networks where a single scale for a tensor fails whatever the zero-point, and
#   mends them without data.
#
# ## Exercises
#
# `choose_qparams` with a zero-point is a part of [lab 4.1](../../labs/lab_4_1_affine/lab_4_1_affine.ipynb). With paper
# and pencil:
#
# 1. Four bits, codes from -8 to 7, and a range from -0.5 to 1. What are scale and zero-point?
# 2. All values of a tensor lie between 3 and 6. Which range does the quantizer cover, and which part of its codes is
#    used?
# 3. Activations after a ReLU could be stored as `uint8`, from 0 to 255, with zero-point 0. How does that differ from
#    `int8` with zero-point -128?
#
# <details><summary>Answers</summary>
#
# 1. $\mathtt{scale} = 1.5 / 15 = 0.1$ and $z = -8 + 5 = -3$. No nudge is needed: 0 falls on a code already.
# 2. From 0 to 6, because the range has to hold 0. The values use the upper half of the codes. A zero-point cannot help
#    a tensor that stays away from 0; subtracting the mean before could.
# 3. Only in the names of the codes: they stand for the same reals. Hardware may prefer one or the other.
#
# The cell below computes all three.
#
# </details>

# %% id="answers"
qparams = choose_qparams(torch.tensor([-0.5, 1.0]), num_bits=4)
print(f"1. scale {qparams.scale.item():.1f}, zero_point {qparams.zero_point.item()}")
values = torch.linspace(3, 6, 1001)
qparams = choose_qparams(values)
used = len(quantize(values, qparams).unique())
print(f"2. range {qparams.low.item():.0f} to {qparams.high.item():.0f}, {used} of 256 codes used")
relu_data = input_of("layer2.0.conv1")
both = [choose_qparams(relu_data, signed=signed) for signed in (True, False)]
reals = [dequantize(quantize(relu_data, qparams), qparams) for qparams in both]
print(f"3. int8 and uint8 codes stand for the same reals: {torch.equal(*reals)}")
