# %% [markdown] id="title"
# # 0.1 Your machine
#
# **Afterwards you will be able to**
# - use a notebook of this course: run a cell, commit to a prediction, move a slider, read a check;
# - say what this machine has for integers of 8 bits;
# - measure how long a network takes, without fooling yourself;
# - find your way: five chapters, their labs, and where to ask when something is missing.
#
# **Slides** 1 and 2, title and contents. **Time** 15 minutes.

# %% [markdown] id="question-cell"
# ## How does a notebook work?
#
# What you read is a page of **cells**: words, and code. Click on the code below and press **Shift + Enter**. The code
# runs, what it finds appears below it, and the next cell is selected. A program in the background, the *kernel*,
# remembers everything that you ran. So run the cells from top to bottom.
#
# All outputs are already here: they were saved when the page was made. Running a cell replaces them by yours. The
# second cell below loads what this page needs.

# %% id="first-cell"
print(f"8 bits can name {2**8} different numbers.")

# %% id="setup"
import statistics
import time

import matplotlib.pyplot as plt
import torch

from frugal.show import first_minute, plots, style
from frugal.show.check import case, check
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal

style.use()

# %% [markdown] id="question-predict"
# ## What do you expect?
#
# Chapters ask before they measure. Choose an answer and press **Commit**: a wrong guess that you have made yourself is
# remembered better than a right answer that you have read. Nobody else sees it.
#
# This course is about networks that are cheaper to run. One way is to store numbers in fewer bits.

# %% id="predict-codes"
predict("codes", "How many different numbers can 4 bits name?", options=[4, 8, 15, 16])

# %% id="measure-codes"
from frugal.quant.affine import choose_qparams, dequantize, quantize

x = torch.linspace(-1, 2, 1001)
qparams = choose_qparams(x, num_bits=4)
rounded = dequantize(quantize(x, qparams), qparams)
print(f"{len(x)} different values went in, {len(rounded.unique())} came out")
reveal("codes", len(rounded.unique()))

# %% [markdown] id="question-slider"
# Now the same as a picture. Move the slider: the grey line is the value as it was, the blue one what is left of it.
# Each bit more halves the height of a step. (The slider works in the saved page, too.)


# %% id="explore-bits"
def draw(ax, bits):
    plots.staircase(choose_qparams(x, num_bits=bits), -1.4, 2.4, ax)


Explore(draw, bits=range(2, 9), label="real value in, real value out: the rounding staircase")

# %% [markdown] id="question-check"
# ## What does a check tell you?
#
# Labs give you a function without its body, and a check below it. The check runs your function on small cases and says
# which one fails. Here is an answer with a mistake. Read what the check makes of it.


# %% id="wrong-answer" tags="raises-exception"
def count_codes(num_bits):
    """Return how many different numbers ``num_bits`` bits can name."""
    return 2 * num_bits


cases = [case(f"{bits} bits", bits, expect=2**bits) for bits in (2, 4, 8)]
check(count_codes, *cases)

# %% [markdown] id="said-check"
# Red: the first case passes by luck, the second does not. Only the smallest failing case is explained, because it is
# the easiest to think about. Labs also have hints, which open step by step:
#
# <details><summary>Hint 1: where to look</summary>
#
# One bit more: how many numbers more?
#
# <details><summary>Hint 2: the move</summary>
#
# Each bit doubles the count.
#
# </details>
# </details>
#
# In the next cell the answer is mended. In a lab you would change the cell itself and run it again, as often as you
# like.


# %% id="right-answer"
def count_codes(num_bits):
    """Return how many different numbers ``num_bits`` bits can name."""
    return 2**num_bits


check(count_codes, *cases)

# %% [markdown] id="question-machine"
# ## What does this machine have?
#
# The lecture's slide 19 gives one reason to quantize: much hardware computes with 8-bit integers (**int8**), faster
# than with 32-bit floating point (**float32**). A processor does so with *vector instructions*, which multiply many
# pairs of numbers at once. Which ones it has depends on its age and maker.
#
# <div class="alert alert-info">
#
# The saved outputs of this section and of the stopwatch below describe the machine on which this page was made. Run
# the cells to see yours.
#
# </div>

# %% id="machine" tags="nbval-ignore-output"
from frugal.cli import machine
from frugal.kernels.cpu import cpu_features, explain, instruction_sets
from frugal.measure import record

here = record.machine()
print(f"{here['processor']}, {here['cores']} cores, memory {machine.memory().found}")
print(f"torch uses {torch.get_num_threads()} of the cores in this notebook")
print(explain(cpu_features()))

# %% id="picture-instructions" tags="nbval-ignore-output" alt="Bars of the products of two bytes that one instruction does, on a logarithmic axis, from 1 for scalar code to 16,384 for AMX. Those that this machine has are blue and marked."
first_minute.products(instruction_sets(cpu_features()))
plt.show()

# %% [markdown] id="said-machine"
# Each bar is one way to multiply bytes; the blue ones are here. `scalar` is ordinary code, one product at a time.
# Names with `avx` and `amx` belong to the x86 processors of Intel and AMD, `dotprod` and `i8mm` to those of Arm.
# Without any of them int8 still takes a quarter of the memory of float32, but saves no time. The course works on every
# one; only speeds differ.

# %% [markdown] id="question-data"
# ## What do we work with?
#
# Two kinds of pictures. By default the course **draws** its own: ten kinds of figures, 32 × 32 pixels, from a seed, so
# that everybody has the same ones and nothing is downloaded. Where real photographs matter, chapters quote
# measurements on CIFAR-10, and `python -m frugal data` tells how to get it.

# %% id="picture-data" alt="A contact sheet of drawn pictures, ten rows of twelve: disc, ring, square, triangle, star, cross, crescent, stripes, checker and spiral, in random colours on textured grounds."
first_minute.contact_sheet(columns=12)
plt.show()

# %% [markdown] id="said-data"
# Every row is a class. Colours, places, angles, clutter and noise are random; some figures hide behind a bar. Two
# networks have been trained on such pictures and come with the course, so that no lab waits for training: a residual
# one, and a MobileNet, which is built to be small.

# %% id="networks"
from frugal.core.units import format_bytes
from frugal.data.drawn import draw as draw_pictures
from frugal.measure.accuracy import accuracy
from frugal.nets.pretrained import card, classifiers, load

pictures, labels = draw_pictures(500, split="test")
models = {name: load(name) for name in classifiers()}
for name, model in models.items():
    made, measured = card(name), accuracy(model, pictures, labels)
    size = format_bytes(4 * made.parameters)
    print(f"{name:15}  {made.parameters:,} parameters, {size}, {made.accuracy_percent:.1f} % right")
    assert abs(measured - made.accuracy_percent) < 5, "500 pictures must agree with the 10,000 of the card"

# %% [markdown] id="said-networks"
# The sizes are those of float32 numbers, 4 bytes each. The accuracy was measured on 10,000 pictures that the networks
# had not seen. Guessing would give 10 %. The assertion at the end of the cell is a check for the page itself: it fails
# loudly if what is written here were no longer true.
#
# ## How long does one picture take?
#
# The **latency** is the time from asking to having the answer. Measuring it looks easy.

# %% id="predict-first-call"
predict(
    "first_call",
    "A network gets the same picture a hundred times. How does its first call compare with the others?",
    options=["faster", "about the same", "slower"],
)

# %% id="measure-latency" tags="nbval-ignore-output"
model, picture = load("resnet8_drawn"), pictures[:1]
times_ms = []
with torch.inference_mode():
    for _ in range(100):
        start = time.perf_counter()
        model(picture)
        times_ms.append(1000 * (time.perf_counter() - start))

warmup = 10
latency_ms = statistics.median(times_ms[warmup:])
ratio = times_ms[0] / latency_ms
print(f"first call {times_ms[0]:.1f} ms; median of the last {len(times_ms) - warmup}: {latency_ms:.2f} ms")
reveal("first_call", "slower" if ratio > 1.25 else "faster" if ratio < 0.8 else "about the same")

# %% id="picture-latency" tags="nbval-ignore-output" alt="The time of a hundred calls in the order they came. The first ones, marked as warm-up, are slower; the others lie near their median, with a few outliers."
first_minute.call_times(times_ms, warmup)
plt.show()

# %% [markdown] id="said-latency"
# The first calls fetch code and memory, and choose how to compute; they do not count. Later ones still scatter,
# because other programs want the processor too. Their **median**, the middle one of all, is not moved by a few that
# were disturbed; a mean would be. So: warm up, repeat, take the median, and name the machine. Chapter 4.8 (in
# preparation) races kernels with a stopwatch that is stricter still.
#
# ## Where does it go from here?
#
# | chapter | of the lecture | to read now | lab |
# |---|---|---|---|
# | 0 Start | slides 1, 2 | this page | |
# | 1 State of the art | slides 3 to 8 | in preparation | |
# | 2 Energy | slides 10 to 13 | in preparation | |
# | 3 Compact architectures | slides 15 to 17 | in preparation | |
# | 4 Quantization | slides 19 to 26 | [4.1 The operator](../4_quantization/4_1_the_operator.ipynb), [4.2 The zero-point](../4_quantization/4_2_zero_point.ipynb), [4.3 Per channel](../4_quantization/4_3_per_channel.ipynb), [4.4 Accumulators](../4_quantization/4_4_accumulators.ipynb), [4.5 Post-training](../4_quantization/4_5_post_training.ipynb), [4.6 No data](../4_quantization/4_6_no_data.ipynb), [4.7 Straight through](../4_quantization/4_7_straight_through.ipynb), [4.8 Int8 for real](../4_quantization/4_8_int8_for_real.ipynb), [4.9 The tables](../4_quantization/4_9_the_tables.ipynb), [4.10 Language models](../4_quantization/4_10_language_models.ipynb) | [4.1 The affine quantizer](../../labs/lab_4_1_affine/lab_4_1_affine.ipynb), [4.2 Integers only](../../labs/lab_4_2_integer_only/lab_4_2_integer_only.ipynb), [4.3 Without data](../../labs/lab_4_3_data_free/lab_4_3_data_free.ipynb), [4.4 Clipping](../../labs/lab_4_4_clipping/lab_4_4_clipping.ipynb), [4.5 Straight through](../../labs/lab_4_5_straight_through/lab_4_5_straight_through.ipynb), [4.6 Race the vendor](../../labs/lab_4_6_race/lab_4_6_race.ipynb) |
# | 5 Pruning | slides 28 to 32 | in preparation | |
#
# Letters and names are in the [notation](../notation.md), papers in the [references](../references.md), slips of the
# lecture and of ours in the [errata](../../ERRATA.md).
#
# **How a lab works.** Open it, fill in the functions, run the check below each. An exercise that you leave open does
# not block you: the lab goes on with the library's version. **Validate**, in the toolbar, runs the whole lab from top
# to bottom and shows which visible checks fail. Submit it from the menu *Nbgrader*, *Assignment List*. Outside
# JupyterLab, `python -m frugal check labs/lab_4_1_affine/lab_4_1_affine.ipynb` runs the same checks in a terminal.
#
# **How it is marked.** The checks that you see teach. Others, which you do not see, decide: they try values where
# mistakes hide. Both give points, exercise by exercise; the lab says how many.
#
# **When something is missing**, ask in a terminal: `python -m frugal doctor`. It says what this machine has and lacks,
# and for each thing the next step.

# %% [markdown] id="library"
# ## In the library
#
# | what | where |
# |---|---|
# | the drawn pictures | [`data/drawn.py`](../../lib/frugal/data/drawn.py): `draw` |
# | the trained networks | [`nets/pretrained.py`](../../lib/frugal/nets/pretrained.py): `load`, `card` |
# | instruction sets | [`kernels/cpu.py`](../../lib/frugal/kernels/cpu.py): `cpu_features`, `instruction_sets` |
# | predictions, sliders, checks | [`show/predict.py`](../../lib/frugal/show/predict.py), [`show/explore.py`](../../lib/frugal/show/explore.py), [`show/check.py`](../../lib/frugal/show/check.py) |
#
# ## Exercises
#
# 1. The networks above are stored in float32. How large would they be with one byte for each parameter?
# 2. Five calls take 2, 2, 3, 2 and 91 ms. Compare their mean with their median. Which one would you report?
#
# <details><summary>Answers</summary>
#
# 1. A quarter, as 8 bits are a quarter of 32. (Scales come on top; chapter 4.3 counts them.)
# 2. One disturbed call moves the mean far away from all the others. The median stays where most of them are.
#
# The cell below computes both.
# </details>

# %% id="answers"
for name in classifiers():
    count = card(name).parameters
    print(f"1. {name:15}  {format_bytes(count)} instead of {format_bytes(4 * count)}")
times = [2, 2, 3, 2, 91]
print(f"2. mean {statistics.mean(times)} ms, median {statistics.median(times)} ms")
