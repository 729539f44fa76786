# %% [markdown] id="title"
# # 4.7 How do you train through a rounding?
#
# **Afterwards you will be able to**
# - say why rounding stops gradient descent, and what the straight-through estimator puts in its place;
# - derive the gradient of a learned step (LSQ), and name the mistake that a widely used version of it makes;
# - train a real network at W4A4 and read off what the training gained;
# - explain ternary and binary weights: thresholds, scales, the float weight behind them, XNOR and counting bits;
# - tell number formats apart by what a product costs in them: a multiplication, a shift, or a change of sign;
# - say what makes graph networks hard to quantize, and which part of the remedy does the work.
#
# **Slides** 25 and 26. **Papers** [[11]](../references.md#ref-11), [[14]](../references.md#ref-14),
# [[15]](../references.md#ref-15), [[18]](../references.md#ref-18), [[23]](../references.md#ref-23),
# [[30]](../references.md#ref-30), and the younger [LSQ](../references.md#ref-esser2020),
# [TWN](../references.md#ref-li2016) and [XNOR-Net](../references.md#ref-rastegari2016). **Time** about 75 minutes.
#
# Before this: [4.1](4_1_the_operator.ipynb) to [4.3](4_3_per_channel.ipynb). Names and letters:
# [notation](../notation.md).

# %% id="setup"
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

from frugal.data.drawn import draw as draw_pictures
from frugal.measure.accuracy import accuracy
from frugal.measure.results import lay_out, provenance, read, rows_where
from frugal.nets.pretrained import load
from frugal.quant.methods.lsq import lsq_quantize
from frugal.quant.ste import clamp_through, round_through, sign_through
from frugal.show import speed, straight_through, style
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal

style.use()
RESULTS = Path("../../benchmarks/results")

# %% [markdown] id="question-gradient"
# ## What does a rounding tell the weight before it?
#
# Training moves each weight against its **gradient**: a little to where the loss falls. When the loss only sees the
# rounded weight, the gradient has to come back through the rounding. Slide 25 says what happens then.

# %% id="predict-gradient"
predict(
    "gradient",
    "The loss is round(w)², and w is 1.3. What is the gradient that reaches w?",
    options=["2.6, as for w²", "2, as for the rounded w", "0"],
)

# %% id="measure-gradient" alt="A staircase of rounding from -2 to 2. Its gradient, dashed, lies on zero everywhere."
w = torch.tensor(1.3, requires_grad=True)
torch.round(w).square().backward()
print(f"gradient at w = 1.3: {w.grad.item():.0f}")
reveal("gradient", "0" if w.grad == 0 else "not 0")
assert w.grad == 0, "on a flat step nothing changes when w moves a little"
straight_through.through(torch.round, -2, 2).set_title("round(x)")
plt.legend(loc="upper left")
plt.show()

# %% [markdown] id="said-gradient"
# Between its jumps a staircase is flat, and at a jump it has no slope at all. So the true gradient is 0 almost
# everywhere: it is right, and useless. The weight never learns which way to go.
#
# The **straight-through estimator** (STE) keeps the staircase on the way forward and puts a ramp in its place on the way
# back: it pretends that $\partial\,\text{round}(x) / \partial x = 1$. The pretence is reasonable on average, because from
# far away the staircase is a ramp. Papers differ in where they stop pretending:
#
# | name | forward | gradient passes |
# |---|---|---|
# | identity [[11]](../references.md#ref-11) | round, or sign | everywhere |
# | clipped [[20]](../references.md#ref-20) | clamp, then round | where nothing was clipped |
# | hard tanh [[18]](../references.md#ref-18) | sign | where the absolute value is at most 1 |

# %% id="picture-variants" alt="Four panels with staircases and the gradient given to each: identity is 1 everywhere; clipped is 1 inside the range; sign with identity is 1 everywhere; sign with hard tanh is 1 between -1 and 1."
variants = {
    "round, identity": round_through,
    "clamp and round, clipped": lambda x: round_through(clamp_through(x, -1, 1)),
    "sign, identity": lambda x: sign_through(x, "identity"),
    "sign, hard tanh": lambda x: sign_through(x, "hardtanh"),
}
fig, axes = plt.subplots(1, 4, figsize=(10.0, 2.5), sharey=True)
for ax, (name, function) in zip(axes, variants.items(), strict=True):
    straight_through.through(function, -2.2, 2.2, ax).set_title(name, fontsize=10)
axes[0].legend(loc="upper left", fontsize=8)
plt.show()

# %% [markdown] id="question-toy"
# Stopping beyond the range is right for the forward function: there it is constant, and a weight that ran away should
# not be pushed on. A sign is constant everywhere, so where to stop is a choice.
#
# ## What does such a training look like?
#
# One weight, one loss: $(Q(w) - 0.6)^2$, where $Q$ rounds to multiples of 0.25. No multiple is 0.6. The **latent** weight
# $w$ is a float that only the training sees; the network uses $Q(w)$.

# %% id="predict-toy"
WANTED, STEP = 0.6, 0.25
predict(
    "toy",
    f"Steps of {STEP}, and {WANTED} is wanted. Where does the training with STE end?",
    options=["it stays at 0.5, the nearest", "it stays at 0.75", "it hops between both"],
)


# %% id="measure-toy"
def train_one(lr, rounding=round_through, steps=120):
    """Train one weight through a rounding; return its latent and its used values."""
    w, latent, used = torch.tensor(-0.4, requires_grad=True), [], []
    for _ in range(steps):
        q = STEP * rounding(w / STEP)
        latent, used = [*latent, w.item()], [*used, q.item()]
        (gradient,) = torch.autograd.grad((q - WANTED).square(), w)
        w = (w - lr * gradient).detach().requires_grad_()
    return latent, used


latent, used = train_one(0.03)
_, stuck = train_one(0.03, rounding=torch.round)
print(f"without STE: from {stuck[0]} to {stuck[-1]}")
print(f"with STE:    the last values are {sorted(set(used[60:]))}, {sum(used[60:]) / 60:.3f} on average")
reveal("toy", "it hops between both" if len(set(used[60:])) == 2 else "it stays")
assert set(stuck) == {stuck[0]}, "without a gradient nothing moves"
assert abs(sum(used[60:]) / 60 - WANTED) < STEP / 5, "it hops as often as the wanted value asks for"


def show_training(ax, lr):
    straight_through.latent_path(*train_one(lr), WANTED, ax)


Explore(show_training, lr=[0.01, 0.03, 0.1], label="a latent weight and the rounded one", figsize=(6.0, 2.9))

# %% [markdown] id="said-toy"
# The latent weight runs to the border between two codes and stays there; each step over it makes the used weight hop.
# Small gradients are not lost: they add up in the float until a code changes. And the hopping is not a defect of this
# loss: seen over time the mean is what was wanted. But a network is stored with one code, so the learning rate must end
# near 0, and ranges are frozen late in training (the library does both).
#
# ## Can the step be learned as well?
#
# The step $s$ decides how much is clipped and how coarse the rest is. **LSQ** learns it like a weight. Write the
# quantizer as $\hat x = s \cdot \text{round}(\text{clamp}(x / s, q_\min, q_\max))$ and use the product rule, with STE for
# the rounding:
#
# $$\frac{\partial \hat x}{\partial s} = \begin{cases} \text{round}(x/s) - x/s & q_\min < x/s < q_\max \\
#   q_\min \text{ or } q_\max & \text{beyond} \end{cases} \tag{1}$$
#
# Now the trap. Take $q_\max = 3$ and $x/s = 3.3$. The code is 3, an ordinary code. Is $x$ inside or beyond?

# %% id="predict-lsq"
predict("lsq", "What should 3.3 say to the step, if 3 is the last code?", options=["3: beyond", "-0.3: inside"])

# %% id="measure-lsq" alt="Gradient of the step against x over the step. Equation 1 is a sawtooth between -3 and 3 and jumps to plus or minus 3 beyond. A mask on the code keeps the sawtooth for half a step more on each side."
v = torch.linspace(-5, 5, 2001)  # x, with a step of 1
s = torch.ones_like(v, requires_grad=True)  # one step for each value, so that each gradient can be seen
(by_autograd,) = torch.autograd.grad(lsq_quantize(v, s, -3, 3).sum(), s)
code = torch.round(v)
by_code = torch.where((code >= -3) & (code <= 3), code - v, v.clamp(-3, 3))  # looks at the code, not at x / s
straight_through.step_gradients(v, {"LSQ: looks at x / s": by_autograd, "looks at the code": by_code}, (-3, 3))
plt.show()

differ = (by_autograd - by_code).abs() > 1e-5
print(f"they differ where |x / s| is from {v[differ].abs().min():.2f} to {v[differ].abs().max():.2f}")
at = (v - 3.3).abs().argmin()
print(f"at 3.3: LSQ says {by_autograd[at]:.1f}, a mask on the code {by_code[at]:.1f}")
reveal("lsq", "3: beyond" if by_autograd[at] == 3 else "-0.3: inside")
assert by_autograd[at] == 3, "beyond the last code x̂ is 3 s, whose derivative is 3"

# %% [markdown] id="said-lsq"
# Where $x/s$ is 3.3 the output is $3s$, whatever $x$ is. A wider step would bring it closer to $x$, and 3 says so. The
# other rule says -0.3, *narrower*: it pulls the wrong way just where the range ends.
# `torch._fake_quantize_learnable_per_tensor_affine` looks at the code; a test of ours holds the difference.
#
# Does equation (1) find a good step? Here it rounds 4,000 normal numbers to 3 bits and minimises the squared error.

# %% id="measure-step" alt="Squared error against the step, a valley. Two trainings start left and right of it and both end near its lowest point."
values = torch.randn(4000, generator=torch.Generator().manual_seed(0))


def squared_error(step):
    return (lsq_quantize(values, step, -3, 3) - values).square().sum() / values.square().sum()


def learn(start, steps=60):
    step, path = torch.tensor(start), [start]
    for _ in range(steps):
        step.requires_grad_()
        (gradient,) = torch.autograd.grad(squared_error(step), step)
        step = (step - 0.15 * gradient).detach()
        path.append(step.item())
    return path


tried = [0.02 * i for i in range(5, 80)]
errors = [squared_error(torch.tensor(step)).item() for step in tried]
paths = {"from 0.35": learn(0.35), "from 1.5": learn(1.5)}
straight_through.descent(tried, errors, paths)
plt.show()
reached = squared_error(torch.tensor(paths["from 0.35"][-1])).item()
print(f"least error {min(errors):.4f}; learned {reached:.4f}, {100 * (reached / min(errors) - 1):.1f} % more")
assert reached < 1.05 * min(errors), "a learned step must come close to the best one"

# %% [markdown] id="said-step"
# Close, though not exactly at the bottom: equation (1) is an estimate too. In a network the loss is what counts and not
# the squared error, and nobody can search all steps of all layers at once; there a gradient is worth much.
#
# Relatives: **PACT** learns where to clip instead, and only clipped values speak. **LSQ+** learns an offset as well, for
# activations that dip below 0 on one side. Both are in the library.
#
# ## How much does training gain on a real network?
#
# The small residual network of the course, every layer at W4A4, the first and the last too. Weights have one scale for
# each output channel, activations affine codes. "Rounded" follows the ranges of 256 pictures. Then 48 steps of training
# go through the rounding, on 1,536 new pictures: a few seconds, from the trained float network.

# %% id="predict-qat"
model = load("resnet8_drawn")
test, train = draw_pictures(1000, seed=1, split="test"), draw_pictures(1536, seed=1)
original = accuracy(model, *test)
question = f"In float32 the network has {original:.1f} % on {len(test.images):,} pictures, rounded to W4A4 about 15 points less. What is left of the loss after training?"
predict("qat", question, options=["nearly all of it", "more than half", "less than half"])

# %% id="measure-qat" tags="nbval-ignore-output" alt="One line from an open to a full circle: accuracy rises by about ten points, and ends a few points below float32."
from frugal.quant.train import TrainingPlan, finish, min_max, swap_in, train_through_

untrained, through_4_bits = (swap_in(model, min_max(4, 4), ends=min_max(4, 4)) for _ in range(2))  # folds batch norm
with torch.no_grad():
    untrained.train()(train.images[:256])  # shows every quantizer its range
rounded = accuracy(untrained, *test)
training = train_through_(through_4_bits, *train, TrainingPlan(epochs=2, lr=0.003, batch_size=64))
trained = accuracy(through_4_bits, *test)
left = (original - trained) / (original - rounded)
print(f"rounded {rounded:.1f} %, after {training.steps} steps {trained:.1f} %: {left:.0%} of the loss is left")
reveal("qat", "less than half" if left < 0.5 else "more than half" if left < 0.8 else "nearly all of it")
straight_through.rounded_and_trained({"all layers W4A4": (rounded, trained)}, original=original)
plt.show()
assert trained > rounded + 4, "training through the rounding must win back a good part"

codes = finish(through_4_bits)  # the float weights go, their codes stay
stored = codes.get_submodule("layer1.0.conv1").codes
print(f"stored codes: {stored.dtype}, from {stored.min()} to {stored.max()}")
with torch.no_grad():
    same = codes(test.images[:200]).argmax(1) == through_4_bits(test.images[:200]).argmax(1)
assert same.float().mean() > 0.98, "what is stored must be what was trained"

# %% [markdown] id="said-qat"
# No layer was added and no bit spent: the same 4 bits, with weights that learned to be rounded. Once `finish` has
# replaced the latent weights by their codes, nothing of the training remains.
#
# The next table was measured once, with more pictures and the first and last layers at 8 bits, as published figures
# have it. Ternary and binary weights (further down) meet float activations.

# %% id="measure-qat-table" alt="Ten lines, one for each method: rounding alone leaves binary and ternary networks near 10 to 20 per cent, training brings them to between 80 and 87; at 4 and 8 bits training ends near float32."
stored = read(RESULTS / "qat.json") if (RESULTS / "qat.json").exists() else {"rows": []}
if stored["rows"]:
    full = stored["summary"]["float_percent"]
    rows, results = [], {}
    for row in stored["rows"]:
        before, after = row["rounded_percent"], row["trained_percent"]
        results[f"{row['bits']}, {row['method']}"] = (before, after)
        rows.append((row["bits"], row["method"], f"{before:.1f}", f"{after:.1f}", f"{100 * after / full:.0f} %"))
    print(lay_out((f"float32 {full:.2f} %", "method", "rounded", "trained", "of float32"), rows))
    print(f"standard error {stored['summary']['standard_error_percent']} points;", provenance(stored))
    straight_through.rounded_and_trained(results, original=full)
    plt.show()
else:
    print(f"Not measured yet: python benchmarks/qat.py --json {RESULTS / 'qat.json'}")

# %% [markdown] id="said-qat-table"
# Slide 26 has the same columns for ImageNet: ResNet-50 keeps about 105 % at W8A8, 100 % at W4A4, 92 % ternary and 90 %
# binary. Ours has the same order. More than 100 % is not a gift of the rounding: such a network must have been *trained*
# longer or better than the float network it is compared with. Differences of a few tenths of a point mean nothing here.
#
# Mind the first column. W4A4 survives plain rounding nearly as it is (LSQ starts from a step that is meant to be
# learned). Binary and ternary networks do little more than guess until they are trained, and slide 26 has no number for
# them without training.
#
# ## Which weights may become 0?
#
# Two bits around 0 are three values: **ternary** weights, $-\alpha$, 0 and $+\alpha$. A product is a change of sign, or
# nothing. Weights up to a threshold Δ become 0; the others get the mean of their magnitudes, which loses the fewest
# squares. **TWN** takes $\Delta = 0.7 \cdot \text{mean}|w|$. Move it.

# %% id="explore-ternary"
from frugal.quant.methods.twn import FACTOR, best_threshold, ternarize_above

weight = model.get_submodule("layer3.0.conv2").weight.detach()
mean = weight.abs().mean().item()


def show_regions(ax, factor):
    straight_through.three_regions(weight, factor * mean, ax)


Explore(show_regions, factor=[0.0, 0.35, 0.7, 1.4], label="a threshold and its three values", figsize=(7.0, 2.8))

# %% id="measure-ternary"
from frugal.quant.methods.xnor_net import binary_scale


def share_lost(made):
    return ((made - weight).square().sum() / weight.square().sum()).item()


best = best_threshold(weight).item() / mean
lost = {
    factor: share_lost(ternarize_above(weight, torch.tensor(factor * mean)).values) for factor in (0.0, FACTOR, best)
}
for factor, share in lost.items():
    print(f"threshold {factor:.2f} · mean|w|: {share:6.1%} of the squares are lost")
signs = share_lost(torch.sign(weight) * binary_scale(weight).view(-1, 1, 1, 1))
print(f"signs, one scale for each output channel: {signs:.1%}")
assert lost[best] <= lost[FACTOR] < signs, "the searched threshold must win, and three values beat two"

# %% [markdown] id="said-ternary"
# The rule of thumb loses hardly more than the best threshold, and both lose far less than signs do. **TTQ** goes on: it
# learns two values, one for each side. In the measured table it did not pay on this small network.
#
# ## What learns when a weight is only a sign?
#
# **BinaryConnect** [[11]](../references.md#ref-11) multiplies with $+1$ or $-1$, the sign of a latent weight. The
# gradient goes to the latent one as it is, and after each step the latent weight is **clipped** to [-1, 1]. Why?
#
# Below, 48 signs are to be found from examples. Half-way the task turns round: every sign must flip.

# %% id="measure-flips" tags="nbval-ignore-output" alt="Two panels of eight latent weights against training steps. Clipped ones stay within -1 and 1 and cross zero soon after the task turns; free ones have moved to up to 4 and come back slowly."
from frugal.quant.methods.binary_connect import binarize, flips


def find_signs(clip, steps=400, lr=4.0):
    """Learn 48 signs; return latent weights, flips of each step, and which part of the signs is right."""
    rng = torch.Generator().manual_seed(0)
    wanted = torch.where(torch.rand(48, generator=rng) < 0.5, -1.0, 1.0)
    w, latent, flipped, right = 0.2 * torch.randn(48, generator=rng), [], [], []
    for step in range(steps):
        x = torch.randn(64, 48, generator=rng)
        labels = torch.sign(x @ (wanted if step < steps // 2 else -wanted))
        before = w.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.softplus(-labels * (x @ binarize(before)) / 48**0.5).mean(), before)
        w = w - lr * gradient
        w = w.clamp(-1, 1) if clip else w
        latent.append(w)
        flipped.append(round(48 * flips(before.detach(), w)))
        right.append((torch.sign(w) == (wanted if step < steps // 2 else -wanted)).float().mean().item())
    return torch.stack(latent), flipped, right


fig, axes = plt.subplots(1, 2, figsize=(9.2, 2.8))
for ax, clip in zip(axes, (True, False), strict=True):
    latent, flipped, right = find_signs(clip)
    straight_through.latent_values(latent[:, :8], ax, bound=1.0 if clip else None)
    ax.set_title("clipped to [-1, 1]" if clip else "not clipped")
    again = next(step for step in range(200, 400) if right[step] == 1) - 200
    by_part = [sum(flipped[start : start + 50]) for start in range(0, 400, 50)]
    print(f"{'clipped' if clip else 'free':8} flips in each 50 steps: {by_part}; right again after {again} steps")
    assert flipped[150:200] == [0] * 50, "once all signs are right, none flips"
plt.show()

# %% [markdown] id="said-flips"
# The loss never quite reaches 0, so it keeps pushing weights that are long right. Without a bound they drift far from 0,
# and when the task changes they do not listen for a long time. A clipped weight is never farther from a flip than 1.
# In real training the task changes all the time, because the other layers move.
#
# Binary weights also have a **scale**: XNOR-Net gives each output channel $\alpha = \text{mean}|w|$, the best one in
# squares. [[11]](../references.md#ref-11) does without, because a batch norm follows.
#
# ## How do you multiply signs?
#
# If activations are signs, too [[18]](../references.md#ref-18), store each as one bit: 1 for $+1$. A product of signs is
# $+1$ where the bits agree. So a sum of 64 products is one exclusive-or of two words, and a count of the ones:
#
# $$\sum_{i=1}^{k} a_i \, b_i = k - 2 \cdot \text{ones}(A \oplus B) \tag{2}$$

# %% id="measure-xnor"
from frugal.kernels.bits import Linear1, pack

a, b = torch.tensor([1.0, -1, -1, 1, 1, -1, 1, 1]), torch.tensor([1.0, 1, -1, -1, 1, 1, 1, 1])
A, B = pack(a).words.item(), pack(b).words.item()
print(f"A = {A:08b}, B = {B:08b}, A xor B = {A ^ B:08b}: {(A ^ B).bit_count()} ones")
print(f"8 - 2 · {(A ^ B).bit_count()} = {8 - 2 * (A ^ B).bit_count()}, and the products add up to {int(a @ b)}")
assert 8 - 2 * (A ^ B).bit_count() == a @ b

rng = torch.Generator().manual_seed(0)
x, w = torch.randn(20, 1000, generator=rng), torch.randn(50, 1000, generator=rng)
layer = Linear1(w)  # packs the signs: 64 to a word
assert torch.equal(layer(pack(x)), (torch.sign(x) @ torch.sign(w).T).int()), "whole numbers are compared exactly"
print(f"weights: {4 * w.numel():,} bytes in float32, {layer.weight.size_bytes:,} packed")

# %% [markdown] id="said-xnor"
# Batch norm and the sign after it need no floats either. $\gamma (z - \mu)/\sigma + \beta \ge 0$ says that the whole
# number $z$ lies above (or, for $\gamma < 0$, below) a bound, so both together are one comparison for each output; `bnn.py`
# in the library computes the bound.
#
# Memory falls by 32 beside float32. And time? Chapter 4.8 has int8 instructions with 64 products and more.

# %% id="predict-speed"
predict(
    "speed",
    "On a processor with the widest int8 instruction (AMX), a large product of signs takes, beside the one in int8:",
    options=["an eighth of the time", "about as long", "longer by far"],
)

# %% id="measure-speed" tags="nbval-ignore-output" alt="Bars on a logarithmic axis, times as fast as float32: one bit with the widest count and int8 with AMX are alike, at about 12; the other int8 paths follow at 4 to 1."
stored = read(RESULTS / "binary.json") if (RESULTS / "binary.json").exists() else {"rows": []}
if stored["rows"]:
    summary = stored["summary"]
    names = list(dict.fromkeys(row["contestant"] for row in stored["rows"]))
    sizes = list(dict.fromkeys((row["m"], row["n"], row["k"]) for row in stored["rows"]))
    rows = []
    for m, n, k in sizes:
        times = [rows_where(stored, m=m, n=n, k=k, contestant=name)[0]["times_float32"] for name in names[:4]]
        rows.append((f"[{m}, {k}] × [{k}, {n}]", *(f"{each:.1f}" for each in times)))
    print(lay_out(("times as fast as float32", *names[:4]), rows))
    print(
        f"{summary['noisy_shapes']} of {len(sizes)} shapes were timed while others used the machine.",
        provenance(stored),
    )
    speed.times_faster({name: summary[f"{name}: times float32"] for name in names}, than="float32, over all shapes")
    plt.show()
    ratio = summary["1_bit_over_int8"]
    print(f"the best 1-bit path beside the best int8 path: {ratio:.2f} times as fast")
    reveal("speed", "about as long" if 0.5 < ratio < 2 else "an eighth of the time" if ratio > 4 else "longer by far")
else:
    print(f"Not measured yet: python benchmarks/binary.py --json {RESULTS / 'binary.json'}")

# %% [markdown] id="said-speed"
# One bit beats float32 by far, and int8 without a matrix unit, too. It does *not* beat int8 where there is AMX, for
# large matrices: there an instruction multiplies whole tiles, and the count of bits has no such unit. For one row of
# inputs, where memory is what counts, a bit wins again. Packing the activations costs extra. So what one gets for the
# ten per cent of accuracy that slide 26 pays depends on the machine. Memory is saved on every one.
#
# ## Must a product be a product?
#
# Multiplying by a power of two is a shift of bits. Two papers of slide 25 build on that. **Ristretto**
# [[14]](../references.md#ref-14)[[15]](../references.md#ref-15) is a study of number formats (its fine-tuning goes
# through the rounding with float weights behind it). **Few multiplications** [[23]](../references.md#ref-23) draws
# ternary weights by chance.

# %% id="picture-grids" alt="Five rows of marks: two uniform grids with equal steps; the powers of two crowd towards zero; the small floats do so in octaves of two values; the ternary row has three marks."
from frugal.quant.affine import choose_qparams
from frugal.quant.grids import UniformGrid, ValueGrid
from frugal.quant.methods.few_multiplications import power_of_two, ternary_connect, weight_limit
from frugal.quant.methods.ristretto import PowerOfTwoGrid, choose_grid, minifloat
from frugal.quant.methods.twn import ternarize

limit = weight_limit(weight[0].numel(), len(weight) * 9)  # the range in which [23] keeps its weights
fixed = choose_grid(weight, 4)  # dynamic fixed point
formats = {
    "uniform, 4 bits": (UniformGrid(choose_qparams(weight, 4, symmetric=True)), "multiplication"),
    "dynamic fixed point, 4 bits": (UniformGrid(fixed.qparams()), "multiplication"),
    "power of two, 4 bits": (PowerOfTwoGrid(), "shift"),
    "minifloat, 6 bits": (minifloat(6), "multiplication"),
    "ternary of [23]": (ValueGrid(torch.tensor([-limit, 0, limit])), "sign"),
}
straight_through.grids({name: grid.values() for name, (grid, _) in formats.items()}, reach=weight.abs().max().item())
plt.show()
rows = []
for name, (grid, product) in formats.items():
    made = grid.quantize(weight)
    rows.append((name, len(made.unique()), f"{share_lost(made):.1%}", product))
print(lay_out(("one layer of 3 × 3 weights", "values used", "squares lost", "a product is a"), rows))
print(f"scales: uniform {formats['uniform, 4 bits'][0].qparams.scale.item():.4f}, dynamic fixed point {fixed.scale}")
print(f"ternary values: {limit:.3f} in [23], {ternarize(weight).scale.item():.3f} by TWN")

# %% [markdown] id="said-grids"
# **Dynamic fixed point** is the uniform grid with a scale that is itself a power of two: rescaling becomes a shift. Its
# step is at most twice the one it replaces, so it costs up to one bit. **Powers of two** have no 0 and are coarse for
# large weights, but most weights of a layer are small, where the grid is finest: they lose the least here, and every
# product is a shift. A **minifloat** has as many values in each octave, over far more octaves than these weights have;
# below its last one there is only 0. The ternary value of [[23]](../references.md#ref-23) follows from the layer's size
# alone, and comes out near the one that TWN computes. How it is used is another matter.

# %% id="measure-chance" alt="Mean of drawn ternary weights against the weight, for 1 and for 1,000 draws: three levels, and nearly the diagonal."
w = torch.linspace(-limit, limit, 121)
rng = torch.Generator().manual_seed(0)
draws = ternary_connect(w.expand(1000, -1), limit, rng)
fig, ax = plt.subplots(figsize=(4.6, 2.8))
ax.plot(w, draws[0], ".", ms=4, color=style.ORANGE, label="1 draw")
ax.plot(w, draws.mean(0), ".", ms=4, color=style.BLUE, label="mean of 1,000")
ax.set(xlabel="latent weight (real)", ylabel="drawn weight")
ax.legend()
plt.show()
h = torch.tensor([0.3, -5.0, 0.0])
powers = power_of_two(h.expand(20_000, 3), rng)
print(
    f"{h[0]:.1f} is drawn as {sorted({round(p, 3) for p in powers[:, 0].tolist()})}, on average {powers[:, 0].mean():.3f}"
)
standard_error = (draws.var(0) / len(draws)).sqrt() + 1e-9
assert ((draws.mean(0) - w).abs() < 5 * standard_error + 1e-6).all(), "the mean of the draws must be the weight"

# %% [markdown] id="said-chance"
# Each drawn weight is wrong, and their mean is exact. Training only ever sees means, over pictures and steps, so chance
# keeps what rounding would lose. On the way back [[23]](../references.md#ref-23) draws each *activation* as one of the
# two powers of two around it, and the products of the weight's gradient become shifts.
#
# ## What is hard about graphs?
#
# In a **graph network** each node adds up what its neighbours send. Most nodes have a handful of neighbours, a few have
# very many. **Degree-Quant** [[30]](../references.md#ref-30) has two remedies: ranges from *percentiles*, so that the few
# are clipped; and *protection*, so that in training the nodes with many edges stay in float now and then.

# %% id="picture-degrees" alt="Sums against degree on a logarithmic axis: a narrow cloud up to ten edges, far wider for nodes with fifty and more. The percentile range encloses the cloud, the min-max range is several times as wide."
from frugal.data.graphs import draw_graph
from frugal.nets.graph_net import GraphNet, add_up

graph = draw_graph(1000, seed=0)
sums = add_up(graph.features, graph.edges)  # what the first layer adds up
tail = sums.flatten().quantile(torch.tensor([0.01, 0.99])).tolist()
ranges = {"smallest and largest": (sums.min().item(), sums.max().item()), "1 % and 99 %": tuple(tail)}
straight_through.sums_by_degree(graph.degrees, sums, ranges)
plt.show()
print(f"{graph.nodes} nodes, middle degree {graph.degrees.median()}, largest {graph.degrees.max()}")
widths = [high - low for low, high in ranges.values()]
print(f"the range of all is {widths[0] / widths[1]:.1f} times as wide as the one between the percentiles")
predict("graphs", "At 4 bits, which remedy gains more?", options=["percentiles", "protection", "both alike"])

# %% id="measure-graphs" tags="nbval-ignore-output"
from frugal.quant.methods.degree_quant import quantize_graph_net

WAYS = {
    "neither": (None, 0.0),
    "protection": ((0.1, 0.2), 0.0),
    "percentiles": (None, 0.01),
    "both": ((0.1, 0.2), 0.01),
}


def learn_graph(net, graph, steps=40):
    """Train a graph network on half of the nodes, return its accuracy on the others."""
    optimizer = torch.optim.Adam(net.train().parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = net(graph.features, graph.edges)
        F.cross_entropy(logits[graph.train], graph.labels[graph.train]).backward()
        optimizer.step()
    with torch.no_grad():
        right = net.eval()(graph.features, graph.edges).argmax(1) == graph.labels
    return 100 * right[~graph.train].float().mean().item()


found = {name: [] for name in ("float32", *WAYS)}
for seed in range(3):
    graph = draw_graph(800, seed=seed)
    for name in found:
        _ = torch.manual_seed(seed)
        net = GraphNet(16, 4)
        if name in WAYS:
            protect, tail = WAYS[name]
            rng = torch.Generator().manual_seed(seed)
            net = quantize_graph_net(net, graph.degrees, 4, protect=protect, tail=tail, rng=rng)
        found[name].append(learn_graph(net, graph))
rows = [(name, *(f"{each:.1f}" for each in all_of), f"{sum(all_of) / 3:.1f}") for name, all_of in found.items()]
print(lay_out(("4 bits, accuracy in %", "graph 1", "graph 2", "graph 3", "mean"), rows))
gain = {name: (sum(found[name]) - sum(found["neither"])) / 3 for name in ("percentiles", "protection")}
reveal("graphs", max(gain, key=gain.get) if abs(gain["percentiles"] - gain["protection"]) > 1.5 else "both alike")
assert gain["percentiles"] > 1, "percentiles must help at 4 bits"

# %% [markdown] id="said-graphs"
# Here the percentiles do most of the work, and bring 4 bits level with float32. What protection adds, three small graphs
# cannot tell from chance. The paper reports more: on REDDIT-BINARY its method lifts 4 bits from 54.1 % to 81.3 %
# [[30]](../references.md#ref-30), with both remedies together (figures from its authors' code).
#
# **In three sentences.** A rounding has no gradient, so training pretends it is a ramp and keeps a float weight behind
# each code. With that, 4 bits cost little, and even signs learn. What the bits then save depends on the machine:
# memory always, time where an instruction for them exists.

# %% [markdown] id="library"
# ## In the library
#
# | what | where |
# |---|---|
# | the estimators | [`quant/ste.py`](../../lib/frugal/quant/ste.py), [`quant/fake.py`](../../lib/frugal/quant/fake.py) |
# | the training loop | [`quant/train.py`](../../lib/frugal/quant/train.py): `swap_in`, `train_through_`, `finish` |
# | learned ranges | [`lsq.py`](../../lib/frugal/quant/methods/lsq.py), [`lsq_plus.py`](../../lib/frugal/quant/methods/lsq_plus.py), [`pact.py`](../../lib/frugal/quant/methods/pact.py) |
# | ternary | [`twn.py`](../../lib/frugal/quant/methods/twn.py), [`ttq.py`](../../lib/frugal/quant/methods/ttq.py), [`few_multiplications.py`](../../lib/frugal/quant/methods/few_multiplications.py) |
# | binary | [`binary_connect.py`](../../lib/frugal/quant/methods/binary_connect.py), [`bnn.py`](../../lib/frugal/quant/methods/bnn.py), [`xnor_net.py`](../../lib/frugal/quant/methods/xnor_net.py), [`kernels/bits.py`](../../lib/frugal/kernels/bits.py) |
# | formats, graphs | [`ristretto.py`](../../lib/frugal/quant/methods/ristretto.py), [`degree_quant.py`](../../lib/frugal/quant/methods/degree_quant.py) |
#
# ## In the literature
#
# - [[11]](../references.md#ref-11) and [[18]](../references.md#ref-18) made signs learn;
#   [XNOR-Net](../references.md#ref-rastegari2016) gave them scales. [TWN](../references.md#ref-li2016) and
#   [TTQ](../references.md#ref-zhu2017) are ternary.
# - [LSQ](../references.md#ref-esser2020), [LSQ+](../references.md#ref-bhalgat2020) and
#   [PACT](../references.md#ref-choi2018) are younger than most of the lecture's list, and are what one would try first.
# - [[14]](../references.md#ref-14), [[15]](../references.md#ref-15) stand under training on slide 25; their subject is
#   formats ([erratum](../../ERRATA.md#ristretto-formats)).
#
# ## Exercises
#
# Lab [4.5](../../labs/lab_4_5_straight_through/lab_4_5_straight_through.ipynb) lets you write the estimators and train through them. With pen and paper:
#
# 1. A step of 0.5 and codes from -2 to 1. What do 0.3 and 9 say to the step, by equation (1)?
# 2. A sum of 64 products of signs is 10. How many ones has the exclusive-or?
# 3. A layer's largest weight is 0.9. Which step does dynamic fixed point take at 8 bits? And the uniform grid?
#
# <details><summary>Answers</summary>
#
# 1. 0.3 is inside and says what its rounding error is, in steps; 9 is beyond and says the last code.
# 2. Solve equation (2) for the ones.
# 3. One bit is for the sign and none stands before the point, so the step is a power of two with exponent -7; the
#    uniform one is a little finer.
#
# The cell below computes them.
# </details>

# %% id="answers"
s = torch.full((2,), 0.5, requires_grad=True)
(said,) = torch.autograd.grad(lsq_quantize(torch.tensor([0.3, 9.0]), s, -2, 1).sum(), s)
print(f"1. {said[0]:.1f} and {said[1]:.0f}")
print(f"2. {(64 - 10) // 2} ones")
print(f"3. {choose_grid(torch.tensor([0.9, -0.2]), 8).scale:.5f} and {0.9 / 127:.5f}")
