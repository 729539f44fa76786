# %% [markdown] id="title"
# # 4.8 int8 for real
#
# Slides 11, 15, 19 and 23 of the lecture. About 75 minutes.
#
# After this chapter you will be able to
#
# - say what one int8 instruction does with its bytes, and where one of them goes wrong;
# - pack a weight matrix the way such an instruction reads it;
# - tell from its operations per byte whether a layer waits for the processor or for the memory;
# - explain why depthwise layers are slower than their few products suggest, and why one scale for each input channel is
#   not free;
# - count which sums overflow an accumulator of 8, 16 or 32 bits;
# - run a whole network on int8 codes, count where it differs from the simulated one, and race it against float32.
#
# Before this: [4.1](4_1_the_operator.ipynb) to [4.3](4_3_per_channel.ipynb), which mostly simulated integers in
# float32. Here nothing is simulated. Letters and names are in [the notation](../notation.md).

# %% id="setup"
import os
from functools import partial

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import unfold

from frugal.bench.caps import ONEDNN, VARIABLES
from frugal.data.drawn import draw
from frugal.kernels import available, dispatch, native
from frugal.kernels.cpu import INSTRUCTION_SETS
from frugal.measure.accuracy import accuracy
from frugal.measure.latency import race
from frugal.measure.results import lay_out
from frugal.nets import pretrained
from frugal.quant.integer import Int8Conv2d, to_int8
from frugal.show import accumulators, instruction, packing, speed, style
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal

style.use()
torch.set_num_threads(1)  # one core: several would race for the memory, and blur every ratio below
if dispatch.forced() in ONEDNN:  # a smaller machine is imitated: hold float32 to its instructions, too
    os.environ.update(dict.fromkeys(VARIABLES, ONEDNN[dispatch.forced()]))

model = pretrained.load("resnet8_drawn")
network = to_int8(model, draw(256, split="train").images.split(128))  # float layers become layers on codes
images = draw(8, split="test").images
values = network.values(images)  # what every layer makes of 8 pictures, in codes

# %% [markdown] id="machine-words"
# ## What can this machine do?
#
# A processor computes in **registers**, small stores inside it. A vector register holds many numbers, and one
# **instruction** works on all of them. Which instructions there are depends on its make and year. So the library has one
# file of C++ for each **instruction set**, one slow file that every processor runs (`scalar`), and one definition in plain
# PyTorch (`reference`). All give the same codes, bit for bit.
#
# The saved outputs of this notebook were made on a server processor with the widest of them. Run it, and the timings
# are yours. To see what a smaller machine would do, set `FRUGAL_ISA` to one of the names before you start JupyterLab,
# for example `FRUGAL_ISA=avx2`; PyTorch's convolutions in float32 are then held to it, too. Cells that show an instruction
# imitate it, so they work everywhere.

# %% id="machine" tags="nbval-ignore-output"
isa = dispatch.forced() or available()[0]
paths = available()[available().index(isa) :]  # the chosen one, and those below it on the ladder
fast = isa not in ("scalar", "reference")
print("this machine runs:", ", ".join(available()))
print("this notebook uses:", isa, "" if fast else "(no int8 vector instruction: expect int8 to be slower than float32)")
print(native.status())
for each in INSTRUCTION_SETS:
    here = "runs here" if each.name in available() else "does not run here"
    print(f"{each.name:<12} one instruction does {each.products:>6,} products of two bytes   {here}")

# %% [markdown] id="instruction-words"
# ## What does one instruction do?
#
# The instruction is called `vpdpbusd`. It has three registers of 64 bytes. The first holds activations (`a`, uint8), the
# second weights (`w`, int8). The third is the accumulator: 16 sums in int32. Each register falls into 16 **lanes** of
# four bytes, and in every lane
#
# $$\mathtt{sum} \leftarrow \mathtt{sum} + a_0 w_0 + a_1 w_1 + a_2 w_2 + a_3 w_3 .$$
#
# Products of bytes, sums in 32 bits: slide 11's INT8 and INT32, slide 23's narrow products and wide sums, in one
# instruction. A layer gives each lane an output channel. All lanes get the same four inputs; each has its own weights.
# Processors with shorter registers have the same with fewer lanes: AVX-VNNI has eight, Arm's `sdot` has four.
#
# The numbers below are codes of our network: one place of a picture, 16 output channels of a layer that has 288 inputs.
# A convolution is a matrix product of such rows ([4.1](4_1_the_operator.ipynb)). The slider picks a lane.


# %% id="instruction"
def as_matrices(name):
    """Return a convolution's input windows and its weights as matrices of codes: x [positions, k], w [out, k]."""
    step = next(step for step in network.steps if step.name == name)
    conv, x = step.operator, values[step.inputs[0]]  # codes, NHWC
    columns = unfold(x.permute(0, 3, 1, 2).double(), conv.weight.shape[2:], padding=conv.padding, stride=conv.stride)
    return columns.transpose(1, 2).flatten(0, 1).to(x.dtype), conv.weight.flatten(1)


x, w = as_matrices("layer2.0.conv2")
row = x[x.count_nonzero(dim=1).argmax()]  # a place with few zeros, uint8 [288]
first = 4 * row.unflatten(0, (-1, 4)).all(dim=1).nonzero()[-1].item()  # the last four inputs that are not 0
before = (row[:first].long() * w[:16, :first].long()).sum(1).to(torch.int32)


def show_lane(ax, lane):
    """Draw one vpdpbusd, with one lane enlarged."""
    instruction.one_instruction(before, row[first : first + 4], w[:16, first : first + 4], lane, ax)


predict("products", "How many products does one such instruction do?", [4, 16, 64])
Explore(show_lane, lane=[0, 5, 10, 15], figsize=(8.6, 3.2), label="one vpdpbusd on 16 output channels")

# %% id="whole-row"
acc, count = torch.zeros(16, dtype=torch.int32), 0
for k in range(0, len(row), 4):
    acc = instruction.dpbusd(acc, row[k : k + 4], w[:16, k : k + 4])  # imitated, number by number
    count += 1
exact = w[:16].long() @ row.long()
assert torch.equal(acc.long(), exact), "sixteen sums of all inputs must come out exactly"
products = 16 * len(row)
print(f"{count} instructions did {products:,} products: {products // count} each")
reveal("products", products // count)

# %% [markdown] id="saturate-words"
# ## What goes wrong without it?
#
# `vpdpbusd` is young. Older processors (AVX2) have `vpmaddubsw`: two products in a lane, and their sum in 16 bits. An
# int16 ends at 32,767, and two products of large codes exceed that. The instruction then **saturates**: it returns the
# end of the range and tells nobody.
#
# Real codes are rarely so large. The next cell asks each convolution of our network how often it happens.

# %% id="saturate-predict"
worst = instruction.pair_sums(torch.full((2,), 255, dtype=torch.uint8), torch.full((2,), 127, dtype=torch.int8))
print(f"the largest pair: 255 · 127 + 255 · 127 = {worst.item():,}")
answers = ["in all alike", "in the first one", "in the last one"]
predict("where", "In which convolution of this network do pairs saturate?", answers)


# %% id="saturate" alt="Histogram of sums of two products in the first convolution: most lie inside the range of int16, two tails lie beyond it."
def pairs_of(name, places=512):
    """Return the exact sums of two products, for some places of a layer: [places, out, k / 2]."""
    x, w = (torch.nn.functional.pad(each, (0, each.shape[1] % 2)) for each in as_matrices(name))  # k even
    return instruction.pair_sums(x[:: len(x) // places, None], w)


convolutions = [step.name for step in network.steps if isinstance(step.operator, Int8Conv2d)]
wrong_sums, rows = {}, []
for name in convolutions:
    pairs = pairs_of(name)
    lost = pairs != pairs.clamp(-(2**15), 2**15 - 1)
    wrong_sums[name] = 100 * lost.any(-1).double().mean().item()
    rows.append((name, f"{pairs.abs().max():,}", f"{100 * lost.double().mean():.1f} %", f"{wrong_sums[name]:.0f} %"))
print(lay_out(("convolution", "largest pair", "pairs that saturate", "sums spoiled"), rows))
reveal("where", "in the first one" if max(wrong_sums, key=wrong_sums.get) == convolutions[0] else "not in the first")
instruction.sixteen_bits(pairs_of(convolutions[0])).set_title("first convolution: sums of two products")
plt.show()

# %% id="seven-bits"
halved = 2 * 255 * 64  # weights of 7 bits end at 64
assert halved <= 2**15 - 1, "pairs with 7-bit weights must fit"
assert wrong_sums[convolutions[0]] > 5 > max(wrong_sums[name] for name in convolutions[1:])
print(f"with 7-bit weights the largest pair is {halved:,}, and int16 reaches {2**15 - 1:,}")

# %% [markdown] id="saturate-said"
# What to see: only about one pair in a hundred is lost, but a sum consists of many pairs, and one of them spoils it. The
# first convolution suffers because it reads the picture itself, with codes all the way up to 255. Further inside, large
# codes are rare. A test that looks at inner layers passes.
#
# There are two ways out. Libraries that use this instruction ask for weights (or activations) of 7 bits; PyTorch's own
# quantizer calls the switch `reduce_range`. Our file [gemm_avx2.cpp](../../lib/frugal/kernels/csrc/gemm_avx2.cpp) widens
# bytes to 16 bits first and uses `vpmaddwd`, whose sums of two are int32. That is exact, with half as many products in
# an instruction.
#
# ## In which order do weights lie in memory?
#
# One instruction wants four weights of each of 16 output channels: 64 bytes. In the matrix `[out, k]` they lie in 16
# places far apart. So a library writes the weights anew, once, in the order in which they will be read. This is called
# **packing**. Move the slider through the memory: which weights are neighbours there?


# %% id="packing"
def show_packing(ax, row):
    """Draw where the weights of one row of memory come from."""
    packing.packing(20, 10, row, ax)


Explore(show_packing, row=[0, 2, 16, 18, 19], figsize=(8.6, 3.9), label="a weight matrix and its packed memory")

# %% id="packing-check"
from frugal.kernels.pack import pack, unpack

weight = network.steps[-1].operator.weight  # [10, 64]
packed = pack(weight)
assert torch.equal(unpack(packed)[:, 0], weight), "packing must lose nothing"
o, k = 7, 42
assert packed.data[o // 16, 0, k // 4, o % 16, k % 4] == weight[o, k], "panel, tap, quad, channel, byte"

for name, (out, taps, depth) in {
    "64 outputs, 3 × 3 × 64": (64, 9, 64),
    "16 outputs, 3 × 3 × 16": (16, 9, 16),
    "1000 outputs, k = 512": (1000, 1, 512),
}.items():
    print(f"{name:<24} {packing.padded_share(out, taps, depth):>4.0%} of the packed memory is filling")

# %% [markdown] id="packing-said"
# What to see: each row of 64 bytes is a block of 16 outputs and four values of $k$, and the next row continues with the
# next four. The kernel reads memory in one direction and never jumps. Sixteen outputs are called a panel, and what `pack`
# returns has the shape `[panels, taps, k / 4, 16, 4]`; a tap is a position of a convolution's kernel. 20 outputs need two
# panels. The rest is filled with zeros (grey), as is $k$ up to a multiple of 64. Zeros change no sum. They cost time where
# a layer is small: with 16 channels three quarters of the memory are filling.
#
# Why a multiple of 64? Because of the largest instruction. Sixteen rows of packed memory, 64 × 16 weights, are one
# **tile** of AMX. Its instruction multiplies a tile of activations (16 rows of 64 bytes) with a tile of weights.

# %% id="ladder-predict"
for name, products, bytes_read in (("vpdpbusd", 64, 2 * 64), ("AMX tile product", 16 * 16 * 64, 2 * 1024)):
    print(f"{name:<17} {products:>6,} products from {bytes_read:>5,} bytes: {products / bytes_read:g} for each byte")
predict("amx", "What does AMX add for a batch of one, a single row of inputs?", ["16 times", "twice", "nothing"])

# %% id="ladder" tags="nbval-ignore-output" alt="Bars of speed on a logarithmic axis, one for each instruction set, for 256 rows and for one row."
from frugal.kernels.gemm import Linear8

rng = torch.Generator().manual_seed(0)
w_codes = torch.randint(-127, 128, (512, 1024), generator=rng, dtype=torch.int8)
layer, w_float = Linear8(w_codes), w_codes.float()
fig, axes = plt.subplots(1, 2, figsize=(9.2, 0.9 + 0.4 * len(paths)))
gain = {}
for ax, rows in zip(axes, (256, 1), strict=True):
    x_codes = torch.randint(0, 256, (rows, 1024), generator=rng, dtype=torch.uint8)
    results = [layer(x_codes, isa=path) for path in paths]
    assert all(torch.equal(each, results[-1]) for each in results), "every path must give the same sums, bit for bit"
    runners = {path: partial(layer, x_codes, isa=path) for path in paths}
    runners["torch float32"] = partial(torch.nn.functional.linear, x_codes.float(), w_float)
    timed = race(runners, rounds=6)
    base = "scalar" if "scalar" in paths else "reference"
    gain[rows] = {name: timed.ratio(base, to=name).value for name in runners}
    speed.times_faster(gain[rows], ax, than=base).set_title(f"{rows} row{'s' * (rows > 1)}")
print(f"512 outputs, k = 1024, one core, beside {base}; {timed.noise}")
if {"amx_int8", "avx512_vnni"} <= set(paths):
    many, one = (gain[rows]["amx_int8"] / gain[rows]["avx512_vnni"] for rows in (256, 1))
    print(f"AMX beside AVX512-VNNI: {many:.1f} times as fast for 256 rows, {one:.1f} times for one")
    reveal("amx", "nothing" if one < 1.3 else f"{one:.1f} times")
else:
    print("AMX is not among the paths here; the saved picture is of a machine that has it.")
plt.show()

# %% [markdown] id="ladder-said"
# What to see, on a machine with AMX: for many rows each rung of the ladder is a good step. For one row AMX adds
# nothing. A tile multiplies 16 rows at once, and a single one would leave it almost empty; our kernel hands few rows to
# the smaller instruction. And there is a second reason, which no instruction can help with: the memory.
#
# ## What limits a layer?
#
# A layer reads its inputs and weights and writes its outputs. Move every byte once, and count:
#
# $$\text{intensity} = \frac{\text{operations}}{\text{bytes moved}}, \qquad
#   \text{speed} \le \min(\text{peak},\ \text{intensity} \times \text{bandwidth}).$$
#
# A product with its addition counts as two operations, as in slide 11. The **peak** is what the instructions can do
# when nothing is missing; the **bandwidth** is how many bytes per second the memory delivers. This is the **roofline**
# model: a slope for the memory, then a flat roof. A layer left of the corner waits for memory.

# %% id="intensity-predict"
from frugal.bench.roofline import intensity
from frugal.bench.shapes import Conv, Gemm

examples = {  # batch, size of the picture, channels, outputs, kernel, stride, padding, groups
    "3 × 3, 128 channels": Conv(1, 28, 128, 128, 3, 1, 1, 1),
    "1 × 1, 128 channels": Conv(1, 28, 128, 128, 1, 1, 0, 1),
    "depthwise 3 × 3": Conv(1, 28, 128, 128, 3, 1, 1, 128),
    "linear, batch 1": Gemm(1, 1000, 512),
    "linear, batch 64": Gemm(64, 1000, 512),
}
predict("memory", "Which of these layers is the first to wait for memory?", list(examples))

# %% id="intensity"
for name, shape in examples.items():
    print(f"{name:<20} {shape.macs:>11,} products, {intensity(shape):>5.0f} operations for each byte moved")
reveal("memory", min(examples, key=lambda name: intensity(examples[name])))

# %% [markdown] id="roof-words"
# A linear layer at batch 1 uses each weight once: one product, two operations, for one byte. Nothing can change that but
# a larger batch, or smaller weights.
#
# Now this machine. The next cell compiles a small program that measures the peak of every instruction set and the
# bandwidth of each level of memory. Then it times each layer of two real networks on codes: ResNet-18 and MobileNetV2.
# They are not trained; the time does not depend on what the weights are.

# %% id="layers" tags="nbval-ignore-output"
from frugal.bench.peer import Missing
from frugal.bench.roofline import measure
from frugal.nets.mobilenet_v2 import mobilenet_v2
from frugal.nets.resnet import resnet18
from frugal.show.layer_cost import KINDS, layer_costs

side = 224 if fast else 112  # smaller pictures where everything takes long
picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
_ = torch.manual_seed(0)
floats = {"ResNet-18": resnet18().eval(), "MobileNetV2": mobilenet_v2().eval()}
integers = {name: to_int8(each, picture) for name, each in floats.items()}
layers = {name: layer_costs(each, picture) for name, each in integers.items()}
try:
    roof = measure(threads=1, windows=20)
except Missing as reason:
    roof = None
    print(f"The peak cannot be measured here: {reason}")
for name, each in layers.items():
    macs, seconds = sum(layer.macs for layer in each), sum(layer.latency_s for layer in each)
    print(
        f"{name:<12} {len(each)} layers, {macs:>13,} products in {1e3 * seconds:.1f} ms: {2e-9 * macs / seconds:,.0f} Gop/s"
    )

# %% id="roofline" tags="nbval-ignore-output" alt="Roofline in logarithmic axes. Layers with 3 by 3 kernels lie highest and farthest right, 1 by 1 layers spread below, depthwise and linear layers lie low on the left."
if roof is not None and roof.peaks_gops:
    under = {kind: [] for kind in KINDS}
    for layer in (*layers["ResNet-18"], *layers["MobileNetV2"]):
        under[layer.kind].append((layer.intensity, layer.gops))
    speed.layers_under_the_roof(roof.peaks_gops, roof.read_gb_s, under)
    nearest, farthest = min(roof.read_gb_s), max(roof.read_gb_s)
    for name, peak in roof.peaks_gops.items():
        corner = [roof.balance(name, array) for array in (nearest, farthest)]
        print(f"{name:<12} peak {peak:>6,.0f} Gop/s, corner at {corner[0]:.0f} to {corner[1]:.0f} operations per byte")
else:
    print("No roof without a C++ compiler and an instruction set that the probe knows; see the saved picture.")
plt.show()

# %% [markdown] id="roofline-said"
# What to see: a byte from the nearest memory (16 KiB) comes an order of magnitude faster than one from the farthest. Each
# dotted line is the peak of an instruction set. **A wider instruction raises the roof and leaves the slopes where they
# are**, so its corner lies farther right, and more layers wait for memory. With AMX only the widest kernels of these
# networks lie right of all corners, or nearly.
#
# The kinds keep apart. Wide kernels reuse each byte most and come closest to the roof. Points above the lowest slope are
# no contradiction: here each layer is timed alone, again and again, and what it reads stays in the nearer memories.
#
# ## Why is depthwise slow?
#
# Slide 15's compact networks are built of depthwise convolutions, which filter each channel on its own. They save
# almost all products. Do they save time?

# %% id="depthwise-predict" tags="nbval-ignore-output"
totals = dict.fromkeys(("1 × 1", "depthwise", "other"), (0, 0.0))
for layer in layers["MobileNetV2"]:
    kind = layer.kind if layer.kind in totals else "other"
    totals[kind] = (totals[kind][0] + layer.macs, totals[kind][1] + layer.latency_s)
of_products, of_time = (100 * totals["depthwise"][i] / sum(total[i] for total in totals.values()) for i in (0, 1))
question = (
    f"Depthwise layers do {of_products:.0f} % of MobileNetV2's products. Which part of its layers' time do they take?"
)
predict("depthwise", question, range(0, 101, 5), unit="%")

# %% id="depthwise" tags="nbval-ignore-output" alt="Two stacked bars for MobileNetV2. Of the products, depthwise layers have a small part; of the time, a much larger one."
reveal("depthwise", round(of_time))
for kind, (macs, seconds) in totals.items():
    print(f"{kind:<10} {2e-9 * macs / seconds:>6,.0f} Gop/s")
speed.shares(totals, ("products", "time")).set_title("MobileNetV2 on codes", pad=26)
plt.show()

# %% [markdown] id="depthwise-said"
# What to see, where a vector path runs: depthwise layers take a far larger part of the time than of the products. Each
# output needs nine products. It reads nine bytes and shares none of them with another channel, so `vpdpbusd` cannot give
# one input to 16 outputs, and AMX has nothing to multiply: there is no matrix. Before each product, bytes of neighbouring
# pixels must be put side by side. That is why the depthwise layers lie so far below the slopes of the nearer memories:
# they wait for bytes to be in place. With `FRUGAL_ISA=scalar` the effect disappears, because then products are what takes
# time. Counting products tells the time of a slow processor only.
#
# ## Which scales are free?
#
# [Chapter 4.3](4_3_per_channel.ipynb) showed with algebra that a scale for each output channel leaves the sum, and one
# for each input channel does not. Here is what it costs. The kernel adds up integers and multiplies the finished sum
# once by its scale. A group of inputs with a scale of its own needs a sum of its own. With one scale for *each* input no
# integer sum is left at all.

# %% id="scales" tags="nbval-ignore-output"
from frugal.kernels.output import reals

rows, out, k, group = 784, 128, 1152, 64
x_codes = torch.randint(0, 256, (rows, k), generator=rng, dtype=torch.uint8)
w_codes = torch.randint(-127, 128, (out, k), generator=rng, dtype=torch.int8)
per_output = torch.rand(out, generator=rng) / 1000
parts = [slice(start, start + group) for start in range(0, k, group)]
slices = [x_codes[:, part].contiguous() for part in parts]

one_scale = Linear8(w_codes, output=reals(0.001))
output_scales = Linear8(w_codes, output=reals(per_output))
group_layers = [Linear8(w_codes[:, part].contiguous(), output=reals(per_output)) for part in parts]
w_real = w_codes.float() * per_output[:, None]


def by_groups():
    """Multiply group by group, each with its own scales, and add reals."""
    total = group_layers[0](slices[0])
    for layer, part in zip(group_layers[1:], slices[1:], strict=True):
        total += layer(part)
    return total


def by_inputs():
    """Multiply every code by its scale first; then nothing is an integer any more."""
    return (x_codes.float() * 0.5) @ w_real.T


scale = output_scales(x_codes).abs().max()
assert (by_groups() - output_scales(x_codes)).abs().max() < 1e-5 * scale, "equal scales must give equal outputs"
assert (2 * by_inputs() - output_scales(x_codes)).abs().max() < 1e-5 * scale, "and so must products of reals"
ways = {
    "one for all": (partial(one_scale, x_codes), 1),
    "one for each output": (partial(output_scales, x_codes), 1),
    f"one for {group} inputs": (by_groups, k // group),
    "one for each input": (by_inputs, k),
}
timed = race({name: run for name, (run, _) in ways.items()}, rounds=8)
table = [(name, f"{times:,}", f"{timed.ratio(name, to='one for all').value:.1f}") for name, (_, times) in ways.items()]
print(lay_out(("scale", "multiplied by a scale, for each output", "time, beside one for all"), table))

# %% [markdown] id="scales-said"
# What to see: one scale or one for each output take the same time, because the kernel reads one number for each output
# in any case. Small groups cost, and one scale for each input leaves the int8 instructions unused. So formats with small
# groups (language models in 4 bits) are chosen where memory is the limit and products are cheap. In a convolutional
# network on int8, scales of inputs are moved into the weights before rounding, as chapter 4.3 said.
#
# ## How wide must the sum be?
#
# The last part of the instruction is the accumulator. Slide 23 says that it is wider than the codes, and that few try
# to narrow it [[27]](../references.md#ref-27). Twice as many sums of half the width would fit a register, so why not?
# We count. A sum can overflow at its end, or on the way there, with later products bringing it back.

# %% id="overflow"
from frugal.quant.accumulator import accumulate, excursion, safe_bits

went, rows = {}, []
for name in convolutions:
    x, w = as_matrices(name)
    went[name] = excursion(x[:: len(x) // 512], w)
    shares = [100 * went[name].overflows(bits).double().mean().item() for bits in (8, 16, 32)]
    rows.append((name, w.shape[1], *(f"{share:.0f} %" for share in shares), safe_bits(w, 0, 255).max().item()))
print(lay_out(("sums that overflow at the end", "k", "8 bits", "16 bits", "32 bits", "enough for any input"), rows))

name = convolutions[0]
x, w = as_matrices(name)
x = x[:: len(x) // 512]
on_the_way = 100 * went[name].overflows_on_the_way(16).double().mean().item()
at_the_end = 100 * went[name].overflows(16).double().mean().item()
print(f"{name} in 16 bits: {on_the_way:.0f} % overflow on the way, {at_the_end:.0f} % at the end")
answers = [f"{100 - on_the_way:.0f} %", f"{100 - at_the_end:.0f} %", "none"]
predict("wrap", "An int16 that overflows wraps around. Which part of this layer's sums comes out right?", answers)


# %% id="running"
rows_back, columns_back = (went[name].overflows_on_the_way(16) & ~went[name].overflows(16)).nonzero().T
place = (went[name].highest - went[name].lowest)[rows_back, columns_back].argmax()
products = x[rows_back[place]].long() * w[columns_back[place]].long()  # a sum that leaves 16 bits and comes back


def show_sum(ax, bits):
    """Draw a sum on its way through an accumulator."""
    accumulators.running_sum(products, bits, ax)


Explore(show_sum, bits=[12, 15, 16, 17, 20], figsize=(6.8, 3.2), label="one sum, exact, wrapped and saturated")

# %% id="modes" alt="Share of overflowing sums against the accumulator's width for the first convolution: both lines fall to zero near 18 bits; overflow on the way is more frequent."
exact = went[name].final
right = {mode: 100 * (accumulate(x, w, 16, mode) == exact).double().mean().item() for mode in ("wrap", "saturate")}
assert torch.equal(accumulate(x, w, 16, "wrap") != exact, went[name].overflows(16)), "wrapping forgets the way"
print(", ".join(f"{mode}: {share:.0f} % of the sums are right" for mode, share in right.items()))
reveal("wrap", f"{right['wrap']:.0f} %")
widths = range(8, 22)
lines = {
    "at the end": {b: 100 * went[name].overflows(b).double().mean().item() for b in widths},
    "on the way": {b: 100 * went[name].overflows_on_the_way(b).double().mean().item() for b in widths},
}
always = safe_bits(w, 0, 255).max().item()
accumulators.overflow_by_bits(lines, marks={"enough for any picture": always}).set_title("first convolution")
plt.show()

# %% [markdown] id="overflow-said"
# What to see: in 8 bits nearly every sum overflows. In 16 bits most fit, and most is not enough. In 32 bits none does,
# and none can: the last column of the table follows from the weights alone, by adding up the largest products.
#
# Wrapping and saturating differ. A sum that wraps lives on a circle; where it has been does not matter, only where it
# ends. A sum that saturates loses what lay beyond the end, and later products start from a wrong place. Move the slider
# to 16 bits to see both. The circle is the idea of WrapNet [[27]](../references.md#ref-27): train a network whose
# activation function does not mind a full turn. Chapter
# [4.4](4_4_accumulators.ipynb) does so.
#
# ## Does a whole network run on codes?
#
# `to_int8` folded the batch norms, chose scales on 256 pictures, and joined each convolution with its bias, its residual
# addition and its ReLU into one call. Between the layers there are uint8 codes and nothing else. Chapters 4.1 to 4.3
# simulated that in float32. We count the codes that differ.

# %% id="agreement" tags="nbval-ignore-output"
agreement = network.agreement(draw(64, split="test").images)
print(agreement)
assert agreement.inexact == 0, "kernels must equal their definition bit for bit"
assert agreement.differing < agreement.values / 1000, "and the simulation in all but a few codes"

pictures = draw(1000, split="test")
for name, each in (("float32", model), ("int8 codes", network)):
    print(f"{name:<10} {accuracy(each, *pictures):.1f} % of 1000 pictures")
predict("race", "How many times as fast as float32 is ResNet-18 on codes, on this machine?", (0.0, 40.0), unit="times")

# %% [markdown] id="agreement-said"
# Hardly any code differs from the simulation. Given the same inputs (the column *alone*), only a handful do, by one: there
# a value lies half-way between two codes, and float32 rounds to the other side. Later layers carry such a difference on,
# which makes the other column larger. From the definition of the kernels not one code differs. So the simulated accuracy
# of the earlier chapters was honest.
#
# ## And is it faster?
#
# The race runs both on one core, turn by turn, and takes the ratio within each round. `float32` is PyTorch with batch
# norms folded, too. PyTorch's kernels are good ones; `python -m frugal bench models` races more rivals.

# %% id="race" tags="nbval-ignore-output" alt="Bars: how many times as fast as float32 three networks are on codes."
from frugal.graph.fold import fold_batchnorm

races = {"ResNet-8, 32 × 32": (model, network, images[:1])}
races |= {f"{name}, {side} × {side}": (floats[name], integers[name], picture) for name in floats}
table, ratios = [], {}
for name, (real, codes, x) in races.items():
    folded = fold_batchnorm(real).eval()
    size = [sum(each.nbytes for each in (*net.parameters(), *net.buffers())) / 2**20 for net in (folded, codes)]
    with torch.no_grad():
        timed = race({"float32": partial(folded, x), "int8": partial(codes, x)}, rounds=8, turn_s=5e-2, warm_up_s=2e-2)
    ratio = timed.ratio("float32", to="int8")
    ratios[name] = ratio.value
    times = [f"{1e3 * timed.latency(each).value:.2f} ms" for each in ("float32", "int8")]
    interval = f"{ratio.value:.2g} [{ratio.low:.2g}, {ratio.high:.2g}]"
    table.append((name, *(f"{mib:.2f} MiB" for mib in size), *times, interval))
print(lay_out(("batch 1, one core", "float32", "int8", "float32", "int8", "float32 / int8"), table))
print(f"{isa}; {timed.noise}")
reveal("race", float(f"{ratios[f'ResNet-18, {side} × {side}']:.2g}"))
speed.times_faster(ratios, than="torch in float32")
plt.show()

# %% [markdown] id="race-said"
# The network on codes takes a quarter of the memory everywhere. Where there is an instruction for sums of four products,
# it also takes a fraction of the time. How much depends on the layers: wide kernels gain most, as the roofline showed, and
# ResNet-8 has so few channels that much of each register and tile is filling. The interval behind each ratio holds the
# true median in 95 of 100 such races, and the last line says how quiet the machine was.
#
# With AVX2 alone, exact int8 takes as many instructions for a product as float32 does, so the race is about even.
# Without vector instructions int8 saves memory and no time: with `FRUGAL_ISA=scalar` it loses.
#
# ## In the library, in the literature
#
# | idea | file |
# |---|---|
# | one instruction, and a block of sums in registers | [gemm_avx512_vnni.cpp](../../lib/frugal/kernels/csrc/gemm_avx512_vnni.cpp), [gemm_amx.cpp](../../lib/frugal/kernels/csrc/gemm_amx.cpp) |
# | the order of weights | [pack.py](../../lib/frugal/kernels/pack.py) |
# | the definition of every kernel | [reference.py](../../lib/frugal/kernels/reference.py) |
# | sums in few bits | [accumulator.py](../../lib/frugal/quant/accumulator.py) |
# | networks on codes | [quant/integer](../../lib/frugal/quant/integer/__init__.py): `to_int8` |
# | an honest stopwatch | [latency.py](../../lib/frugal/measure/latency.py): `race` |
#
# - [[19]](../references.md#ref-19) describes the layer that the kernels compute: uint8 codes, int32 sums and bias,
#   rounding to codes while the sum is at hand.
# - [[27]](../references.md#ref-27) narrows the sums, and trains for it.
#
# ## Exercises
#
# In lab [4.6](../../labs/lab_4_6_race/lab_4_6_race.ipynb) you write such a kernel and race it. With paper and pencil:
#
# 1. A linear layer with $k$ inputs and as many outputs runs at batch $m$. What is its intensity when $k$ is much larger
#    than $m$? From which batch on is it above 100 operations per byte, for $k = 4096$?
# 2. How many products of a code up to 255 and a weight up to 127 are safe in a signed accumulator of 16 bits? And of a
#    4-bit code (up to 15) and a 4-bit weight (up to 7)?
# 3. The first convolution of ResNet-18 has 7 × 7 × 3 inputs for each output. If each kernel position is filled up to 64
#    bytes, which part of the memory is filling? And if each kernel *row*, seven pixels of three channels, is one run?
#
# <details><summary>Answers</summary>
#
# 1. $2 m k^2$ operations move $k^2 + 2 m k$ bytes, so nearly $2m$ of them for each byte. See below for the exact batch.
# 2. One, and a few hundred. Narrow codes are what makes narrow sums possible.
# 3. Nearly all of it; with rows about two thirds. The library takes rows for layers like this one.
#
# The cell below computes them.
# </details>

# %% id="answers"
batch = next(m for m in range(1, 200) if intensity(Gemm(m, 4096, 4096)) > 100)
print(f"1. batch {batch}: {intensity(Gemm(batch, 4096, 4096)):.1f} operations per byte")
print(f"2. {(2**15 - 1) // (255 * 127)} product, and {(2**15 - 1) // (15 * 7)} products")
print(f"3. {packing.padded_share(64, 49, 3):.0%} and {packing.padded_share(64, 7, 21):.0%} filling")
