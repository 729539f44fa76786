# %% [markdown] id="title"
# # 4.4 How wide must a sum be?
#
# **Afterwards you will be able to**
# - bound the sum of a layer: from the widths alone, from its weights, and from what it was seen to do;
# - explain why an accumulator that wraps does not mind overflow on the way, and one that saturates does;
# - read off how accuracy depends on the width of the sums, and where it breaks;
# - say how WrapNet lives with overflow, how A2Q rules it out, and what that costs.
#
# **Slide** 23. **Papers** [[27]](../references.md#ref-27), and [A2Q](../references.md#ref-colbert2023), which is younger
# than the lecture. **Time** about 45 minutes.
#
# Before this: [4.3](4_3_per_channel.ipynb). [Chapter 4.8](4_8_int8_for_real.ipynb) counts which sums of one layer
# overflow, on real instructions; here the question is what follows. Names and letters: [notation](../notation.md).

# %% id="setup"
from collections import Counter
from itertools import permutations

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import unfold

from frugal.data.drawn import draw as draw_pictures
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.measure.results import lay_out
from frugal.nets.pretrained import load
from frugal.quant.accumulator import accumulate, excursion, safe_bits, saturate, wrap
from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.show import narrow_sums, style
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal

style.use()

# %% [markdown] id="question-bound"
# ## What is the largest sum that can occur?
#
# Equation (3) adds up $k$ products of codes. Each is at most $\max|q^x| \cdot \max|q^w|$, so the sum is at most $k$ times
# that, and one bit more is for the sign:
#
# $$b \ge \left\lceil \log_2\left(k \cdot \max|q^x| \cdot \max|q^w| + 1\right) \right\rceil + 1 \tag{1}$$
#
# Slide 23 multiplies in 8 bits and adds in more. Processors add in 32. Is that always enough?

# %% id="predict-k"
predict(
    "k",
    "8-bit activations up to 255, weights up to 127, a sum in 32 bits. From how many products on can it overflow?",
    options=["about 500", "about 4,000", "about 66,000", "about 4 million"],
)

# %% id="measure-k"
formats = {"W8A8": (127, 255), "W4A4": (7, 15), "ternary, A4": (1, 15), "signs": (1, 1)}
rows = []
for name, (w_max, x_max) in formats.items():
    k = 512 * 3 * 3  # a 3 × 3 convolution of 512 channels
    bits = (k * w_max * x_max).bit_length() + 1
    most = (2**31 - 1) // (w_max * x_max)
    assert safe_bits(torch.full((1, k), w_max), 0, x_max).item() == bits, "equation (1) and the library must agree"
    rows.append((name, w_max * x_max, bits, f"{most:,}"))
print(lay_out(("", "largest product", f"bits for k = {k:,}", "products safe in 32 bits"), rows))
reveal("k", "about 66,000" if 60_000 < (2**31 - 1) // (127 * 255) < 70_000 else "another")

# %% [markdown] id="question-layers"
# So 32 bits are ample. A layer of 66,000 inputs is rare, and narrow codes need far less. That is a reason to ask for
# narrower sums: twice as many of 16 bits fit a register.
#
# ## What do real layers need?
#
# Equation (1) knows neither the weights nor the inputs. With the weights known, the worst input takes its largest code
# where a weight is positive and 0 elsewhere; `safe_bits` adds up what then comes out. And one may count what real
# pictures do. Below, the small residual network runs on int8 codes, as in chapter 4.8.

# %% id="predict-layers"
predict(
    "layers",
    "In the layer with most to spare, how many of equation (1)'s bits do real pictures not need?",
    [0, 2, 8, 16],
)

# %% id="measure-layers" alt="For each convolution three marks: by equation 1 about 21 to 26 bits, with its weights known about 2 bits less, measured on pictures about 17 to 19."
from frugal.quant.integer import Int8Conv2d, to_int8

model = load("resnet8_drawn")
network = to_int8(model, draw_pictures(256).images.split(128))
values = network.values(draw_pictures(8, split="test").images)
steps = [step for step in network.steps if isinstance(step.operator, Int8Conv2d)]


def as_matrices(step):
    """Return a convolution's input windows and weights as codes: x [positions, k], w [out, k]."""
    conv, x = step.operator, values[step.inputs[0]]  # codes, NHWC
    columns = unfold(x.permute(0, 3, 1, 2).double(), conv.weight.shape[2:], padding=conv.padding, stride=conv.stride)
    return columns.transpose(1, 2).flatten(0, 1).to(x.dtype), conv.weight.flatten(1)


needs = {"equation (1)": [], "its weights": [], "measured": []}
for step in steps:
    x, w = as_matrices(step)
    went = excursion(x[:: len(x) // 512], w)
    needs["equation (1)"].append(safe_bits(torch.full((1, w.shape[1]), 127), 0, 255).item())
    needs["its weights"].append(safe_bits(w, 0, 255).max().item())
    needs["measured"].append(next(bits for bits in range(8, 33) if not went.overflows_on_the_way(bits).any()))
narrow_sums.bits_by_layer(needs, [step.name for step in steps])
plt.show()
unused = [bound - seen for bound, seen in zip(needs["equation (1)"], needs["measured"], strict=True)]
print(f"equation (1) asks for {min(unused)} to {max(unused)} bits more than were used")
reveal("layers", max(unused))
assert all(a >= b >= c for a, b, c in zip(*needs.values(), strict=True)), "each bound must cover what lies below it"

# %% [markdown] id="said-layers"
# Knowing the weights saves a bit or two. Pictures leave several more unused, because products have both signs, and
# because no picture is lit just where a filter is positive. But the first two columns are *promises*, and the third is
# an observation: the next picture may exceed it.
#
# ## What happens when it does overflow?
#
# An adder of $b$ bits drops what lies above them. In two's complement its numbers then lie on a **circle**: after the
# largest comes the smallest. Below, a 4-bit accumulator adds six products. The line is the exact sum, which leaves the
# centre as it goes; the orange ring is what the accumulator holds. Move the slider past the border (dotted) and back.

# %% id="explore-circle"
PRODUCTS = (5, 6, 4, -7, -3, -2)


def show_circle(ax, added):
    narrow_sums.on_a_circle(PRODUCTS, added, 4, ax)


Explore(show_circle, added=range(7), figsize=(4.2, 3.9), label="a sum on the circle of 4 bits")

# %% [markdown] id="said-circle"
# The exact sum goes up to 15, far outside of 4 bits, and returns to 3. The accumulator holds wrong numbers on the way
# and the right one at the end, because a circle keeps no memory of the turns. In symbols, wrapping is arithmetic modulo
# $2^b$, and there the order of additions does not matter.
#
# Some instructions **saturate** instead: beyond the end they stay at the end. For a single sound or colour that is kinder
# than a wrap. For a sum?

# %% id="predict-orders"
predict(
    "orders",
    "The six products can be added in 720 orders. In how many does a saturating 4-bit accumulator end at 3?",
    options=["all", "fewer than half", "none"],
)

# %% id="measure-orders" alt="Bars: the saturating accumulator ends at many different numbers, depending on the order; the right one is the most frequent, with fewer than half of all orders."
ends = {"wrap": Counter(), "saturate": Counter()}
ones = torch.ones(1, len(PRODUCTS), dtype=torch.int64)
orders = torch.tensor(list(permutations(PRODUCTS)))  # [720, 6]
for mode, counter in ends.items():
    counter.update(accumulate(orders, ones, 4, mode).flatten().tolist())
    print(f"{mode:8} ends at {len(counter)} different numbers; at {sum(PRODUCTS)} in {counter[sum(PRODUCTS)]} orders")
found = ends["saturate"][sum(PRODUCTS)]
reveal("orders", "all" if found == 720 else "fewer than half" if 0 < found < 360 else "another part")
narrow_sums.ends_by_order(ends["saturate"], right=sum(PRODUCTS)).set_title("saturating, 4 bits")
plt.show()
assert ends["wrap"] == {sum(PRODUCTS): 720}, "modulo 16 the order cannot matter"

# %% [markdown] id="said-orders"
# So two rules. **If the final sum fits, wrapping is exact**, whatever happened on the way; only the final sum must be
# bounded. **Saturating is not associative**: the same numbers in another order give another result, and a kernel that
# adds in blocks differs from one that does not.
#
# ## How narrow may the sums of a whole network be?
#
# Now every layer of the network gets an accumulator of $b$ bits, at W8A8 and at W4A4 (ranges from 256 pictures, no
# training). `WrapLayer` keeps the exact integer sums of its last input; a hook replaces them by what would be held.
# "Saturating at the end" adds exactly and clamps the result, which is the best that saturation could do.


# %% id="make-narrow" tags="nbval-ignore-output"
from frugal.quant.methods.wrapnet import WrapLayer, cyclic, emulate_, peak
from frugal.quant.train import swap_in
from frugal.quant.trainable import FollowedRange, RangeOfWeights

pictures, train = draw_pictures(200, seed=1, split="test"), draw_pictures(256).images


def on_codes(bits, accumulator=8):
    """Return the network with weights and inputs of few bits and exact integer sums."""

    def layer_of(layer):
        return WrapLayer(layer, RangeOfWeights(bits, PerChannel(0)), FollowedRange(bits), num_bits=accumulator)

    made = swap_in(model, layer_of, ends=layer_of)
    with torch.no_grad():
        made.train()(train)  # shows every quantizer its range
    return made.eval()


def narrow_accuracy(network, bits, after):
    """Measure accuracy with every sum replaced by ``after(sum, bits)``."""

    def keep(layer, inputs, output):
        step = layer.weight_map.qparams().scale * layer.activation_map.qparams().scale  # [out]
        shape = (-1, 1, 1) if output.ndim == 4 else (-1,)
        return output + (after(layer.sums, bits) - layer.sums) * step.view(shape)

    hooks = [layer.register_forward_hook(keep) for layer in network.modules() if isinstance(layer, WrapLayer)]
    try:
        return accuracy(network, *pictures)
    finally:
        for hook in hooks:
            hook.remove()


networks = {"W8A8": on_codes(8), "W4A4": on_codes(4)}
exact = {name: accuracy(network, *pictures) for name, network in networks.items()}
print(", ".join(f"{name} with exact sums {each:.1f} %" for name, each in exact.items()))
predict(
    "cliff",
    "From exact sums downwards, bit by bit: how does accuracy fall when the accumulators wrap?",
    options=["little by little, a few points with each bit", "not at all, then all of it within two or three bits"],
)

# %% id="measure-width" tags="nbval-ignore-output" alt="Accuracy against width: four flat lines that each fall to guessing within two or three bits; W8A8 near 17 to 19 bits when wrapping, W4A4 near 9 to 11; saturating lines fall one to two bits later."
WIDTHS = {"W8A8": range(14, 20), "W4A4": range(6, 12)}
lines = {
    f"{name}, {words}": {bits: narrow_accuracy(networks[name], bits, after) for bits in WIDTHS[name]}
    for name in networks
    for words, after in (("wrapping", wrap), ("saturating at the end", saturate))
}
narrow_sums.accuracy_by_width(lines, chance=10.0)
plt.show()
for name in networks:
    by_bits = lines[f"{name}, wrapping"]
    assert by_bits[max(by_bits)] > exact[name] - 3, "wide sums must be as good as exact ones"
    assert by_bits[min(by_bits)] < 40, "sums that wrap all the time must be useless"
before, after = (lines["W8A8, wrapping"][bits] for bits in (19, 16))
reveal("cliff", "all of it within two or three bits" if before - after > 60 else "little by little")

# %% [markdown] id="said-width"
# A cliff. One bit above it nothing is lost. Below it a wrapped sum is not a little wrong but on the other side of the
# circle: a large positive becomes a large negative. A clamped sum is at least as large as the accumulator can say, so
# saturating *once, at the end* is kinder by a bit or two. But the adder must then be wide, and that is what we wanted
# to save.
#
# W4A4 needs eight bits fewer than W8A8: each bit of a code is a bit of the sum. That is the first answer to slide 23.
# The other two change the training.
#
# ## Can a network live with the wrap?
#
# **WrapNet** [[27]](../references.md#ref-27) takes the circle as it is. After the accumulator comes an activation that has
# the circle's period and no jump: it goes up as ever, folds back before the border, and is 0 there, from both sides. A sum
# just past the border then means almost the same as one just before it. We have read only the abstract of the paper; the
# equations below are ours, after [[27]](../references.md#ref-27).
#
# $$c(m) = \begin{cases} m & |m| \le t \\ s\,(B - m) & m > t \\ -s\,(B + m) & m < -t \end{cases}
#   \qquad B = 2^{b-1},\quad t = \frac{s B}{s + 1} \tag{2}$$
#
# Here $m$ is what the accumulator holds and $s$ the slope of the fold.

# %% id="picture-cyclic" alt="Three turns of the circle: what is held is a sawtooth with jumps; the cyclic activation follows it up to a peak and folds back to zero at each border, steeper for slope 4 than for slope 1."
narrow_sums.cyclic_activation(8, (1, 4))
plt.show()
z = torch.arange(-600.0, 600.0)
for slope in (1.0, 4.0):
    jump = cyclic(z, 8, slope).diff().abs().max().item()
    print(f"slope {slope:.0f}: identity up to {peak(8, slope):.1f}, largest change from one sum to the next {jump:.0f}")
    assert jump <= slope + 1, "the activation must have no jump anywhere"
    assert torch.equal(cyclic(z, 8, slope), cyclic(z + 256, 8, slope)), "a full turn must not be seen"
print(f"the accumulator alone: {wrap(z, 8).diff().abs().max():.0f}")

# %% [markdown] id="said-cyclic"
# A steep fold leaves more room for the identity, and turns more abruptly. Folding loses something, too: the network no
# longer tells a sum of $B + 20$ from a smaller one. So the training also asks for small sums. A penalty
# $\lambda \cdot \text{mean}(\max(|z| - t, 0))$ is added to the loss while sums are still exact; then the accumulators are
# narrowed and the training goes on through equation (2).
#
# We train one layer this way, so that it takes seconds: a convolution of the network in its place, W4A4, learns to give
# the outputs it gave before, with its sums in 9 bits.

# %% id="make-layer"
from torch import nn

from frugal.quant.statistics import watch_inputs

layer = fold_batchnorm(model).layer2[0].conv2  # 32 outputs, 3 × 3 × 32 inputs
(seen,) = watch_inputs(fold_batchnorm(model), [draw_pictures(64).images], ["layer2.0.conv2"]).values()
seen = unfold(seen, 3, padding=1).transpose(1, 2).flatten(0, 1)  # [positions, 288]
seen = seen[torch.randperm(len(seen), generator=torch.Generator().manual_seed(0))[:800]]
weight = layer.weight.detach().flatten(1)  # [32, 288]
wanted = seen @ weight.T


def lost(outputs):
    """Return the squared error as a share of the wanted outputs' squares."""
    return (outputs - wanted).square().mean() / wanted.square().mean()


def train_(layer, steps, lr):
    """Let a layer learn the wanted outputs."""
    optimizer = torch.optim.Adam(layer.train().parameters(), lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (lost(layer(seen)) + layer.penalty()).backward()
        optimizer.step()


print(f"{len(seen)} places of 64 pictures, {weight.shape[1]} inputs for each of {len(weight)} outputs")
predict(
    "wrapnet",
    "With exact sums this layer loses about 1 % of its outputs' squares. What if the 3 % of its sums that do not fit wrap?",
    options=["3 %", "10 %", "half of them"],
)

# %% id="measure-wrapnet" tags="nbval-ignore-output"
linear = nn.Linear(288, 32, bias=False)
linear.weight.data.copy_(weight)
narrow = WrapLayer(linear, RangeOfWeights(4, PerChannel(0)), FollowedRange(4), num_bits=9, slope=4.0, strength=1e-2)
with torch.no_grad():
    narrow.train()(seen)  # shows the quantizers their ranges
step = narrow.weight_map.qparams().scale * narrow.activation_map.qparams().scale  # [out]
errors, overflow = {}, {}


@torch.no_grad()
def note(words, outputs):
    errors[words], overflow[words] = lost(outputs).item(), narrow.overflows()


note("exact sums", narrow.eval()(seen))
note("wrapping in 9 bits", wrap(narrow.sums, 9) * step)
note("clamped to 9 bits, after a wide adder", saturate(narrow.sums, 9) * step)
emulate_(narrow, True)
note("cyclic, untrained", narrow(seen))
emulate_(narrow, False)
train_(narrow, 60, lr=2e-3)
note("exact sums, trained with the penalty", narrow.eval()(seen))
emulate_(narrow, True)
note("cyclic, trained with the penalty", narrow(seen))
train_(narrow, 60, lr=1e-3)
note("cyclic, then trained through the fold", narrow.eval()(seen))
rows = [(words, f"{errors[words]:.1%}", f"{overflow[words]:.1%}") for words in errors]
print(lay_out(("sums in 9 bits, W4A4", "squares lost", "sums that overflow"), rows))
reveal("wrapnet", "half of them" if errors["wrapping in 9 bits"] > 0.3 else f"{errors['wrapping in 9 bits']:.0%}")
assert errors["cyclic, then trained through the fold"] < errors["cyclic, untrained"] / 2, "it must learn the circle"

# %% [markdown] id="said-wrapnet"
# The penalty makes overflow rarer and costs a little where sums are exact. Then the training goes through the fold, and
# most of what the wrap had spoiled is repaired; hardly any sum overflows in the end. It is not free: clamping after a
# wide adder would lose less. But a wide adder is what WrapNet does without.
#
# The same in a whole network takes longer than a chapter may. Our short trials, all layers at W4A4 and sums of 8 or 9
# bits, did not get off the ground: there every layer folds, and each starts from what the last one spoiled. The abstract
# of [[27]](../references.md#ref-27) reports that it can be done in 8 bits.
#
# ## Can the training promise that nothing overflows?
#
# Codes of $N$ bits without a sign are at most $2^N - 1$. So one output's sum is at most $(2^N - 1) \sum |q^w|$, and it
# fits $P$ bits for *every* input if the sum of the weights' magnitudes is small:
#
# $$\sum_i |q^w_{oi}| \le T = \frac{2^{P-1} - 1}{2^{N}} \tag{3}$$
#
# **A2Q** trains under this bound. It writes a row of weights as a direction times a length, $w = g \, v / \sum|v|$, and
# cuts $g$ to $T$ steps. Codes are rounded *towards 0*: rounding to the nearest could exceed the bound. (Dividing by
# $2^N$ rather than $2^N - 1$ is a hair stricter than it must be.)
#
# The same layer again, from 14 bits down. Each time weights and steps are trained for its outputs, which takes a moment.

# %% id="predict-a2q"
predict(
    "a2q",
    "This layer adds 288 products. How many of its weights are 0 when all sums must fit 11 bits, whatever the input?",
    options=["few", "about half", "nearly all"],
)

# %% id="measure-a2q" tags="nbval-ignore-output" alt="Sums of magnitudes of the codes for each output: rounded to nearest they lie far above the bound, trained ones below it."
from frugal.quant.methods.a2q import AccumulatorAwareWeight, norm_bound

in_codes = choose_qparams(seen, 4)
inputs = dequantize(quantize(seen, in_codes), in_codes)
nearest = choose_qparams(weight, 4, symmetric=True, granularity=PerChannel(0))
codes = {"rounded to nearest": quantize(weight, nearest)}
made = dequantize(codes["rounded to nearest"], nearest)
errors = {"rounded to nearest": lost(inputs @ made.T).item()}


def train_to_fit(bits, steps=100):
    """Train the layer's weights under the bound of ``bits``; return codes and the squares lost."""
    quantizer, v = AccumulatorAwareWeight(weight, 4, accumulator_bits=bits, input_bits=4), weight.clone()
    v.requires_grad_()
    optimizer = torch.optim.Adam([{"params": [v], "lr": 3e-3}, {"params": list(quantizer.parameters()), "lr": 3e-2}])
    for _ in range(steps):
        optimizer.zero_grad()
        (lost(inputs @ quantizer(v).T) + quantizer.penalty()).backward()
        optimizer.step()
    with torch.no_grad():
        made = quantizer(v)
        return quantize(made, quantizer.qparams()), lost(inputs @ made.T).item()


for bits in (14, 13, 12, 11):
    codes[f"trained for {bits} bits"], errors[f"trained for {bits} bits"] = train_to_fit(bits)
    assert safe_bits(codes[f"trained for {bits} bits"], 0, 15).max() <= bits, "no input may overflow what was trained"
zeros = {name: (each == 0).float().mean().item() for name, each in codes.items()}
rows = [
    (name, safe_bits(codes[name], 0, 15).max().item(), f"{errors[name]:.1%}", f"{zeros[name]:.0%}") for name in codes
]
print(lay_out(("W4A4, 288 products", "bits for any input", "squares lost", "weights that are 0"), rows))
few = zeros["trained for 11 bits"]
reveal("a2q", "nearly all" if few > 0.8 else "about half" if few > 0.3 else "few")
norms = {name: codes[name].abs().int().sum(1) for name in ("rounded to nearest", "trained for 12 bits")}
narrow_sums.norms_under_bound(norms, norm_bound(12, 4, signed_input=False))
plt.show()

# %% [markdown] id="said-a2q"
# The bound holds, for every input that could ever come, and a kernel may rely on it. What it costs is weights: to keep
# $\sum|q|$ small most of them become 0, and the outputs lose more with each bit. That makes A2Q a way of pruning, too,
# which is chapter 5.
#
# Compare with the cliff above: at W4A4 the whole network kept its accuracy with sums that the bound would never allow. A
# promise for *all* inputs is far stronger than what pictures ask for. Equation (3) is also stricter than it need be: an
# input without a sign cannot push weights of both signs the same way. And rounding towards 0 leaves room below the
# bound. So a trained layer often needs a bit less than it was trained for.
#
# **In three sentences.** The width of a sum follows from the widths of codes and the number of products, and real inputs
# use far less. An accumulator that wraps is exact whenever the final sum fits, in any order; one that saturates is not.
# Below the cliff one must train: to live with the circle, or to never reach its end.

# %% [markdown] id="library"
# ## In the library
#
# | what | where |
# |---|---|
# | wrap, saturate, count, bound | [`quant/accumulator.py`](../../lib/frugal/quant/accumulator.py): `accumulate`, `excursion`, `safe_bits` |
# | living with the wrap | [`wrapnet.py`](../../lib/frugal/quant/methods/wrapnet.py): `cyclic`, `WrapLayer` |
# | ruling it out | [`a2q.py`](../../lib/frugal/quant/methods/a2q.py): `norm_bound`, `AccumulatorAwareWeight` |
# | real instructions | [`kernels/reference.py`](../../lib/frugal/kernels/reference.py) and chapter 4.8 |
#
# ## In the literature
#
# - [[27]](../references.md#ref-27) names the cyclic activation and the penalty. Ours is a reconstruction of the idea, and
#   no figure of the paper is quoted here.
# - [A2Q](../references.md#ref-colbert2023) says of itself, too, that it makes weights sparse.
#
# ## Exercises
#
# [Lab 4.6](../../labs/lab_4_6_race/lab_4_6_race.ipynb) writes a kernel with 32-bit sums. With pen and paper:
#
# 1. A ternary layer with 4-bit inputs (up to 15) and 100 products: how many bits are always enough?
# 2. An 8-bit accumulator adds 100, 100 and -90. What does it hold at the end when it wraps, and when it saturates?
# 3. Which $T$ does equation (3) give for 16 bits and 8-bit inputs? How many weights of size 1 may an output then have?
#
# <details><summary>Answers</summary>
#
# 1. Take equation (1); the largest sum is 1,500.
# 2. The final sum is 110 and fits, so wrapping is right. Saturating stops at 127 first.
# 3. As many as $T$ rounded down. The cell below computes all three.
# </details>

# %% id="answers"
print(f"1. {safe_bits(torch.ones(1, 100, dtype=torch.int8), 0, 15).item()} bits, for sums up to {100 * 15:,}")
x, w = torch.tensor([[100, 100, -90]]), torch.tensor([[1, 1, 1]])
print(f"2. wraps to {accumulate(x, w, 8, 'wrap').item()}, saturates to {accumulate(x, w, 8, 'saturate').item()}")
print(f"3. {norm_bound(16, 8, signed_input=False):.1f}, so {int(norm_bound(16, 8, signed_input=False))} of them")
