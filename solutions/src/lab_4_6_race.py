# %% [markdown] id="title"
# # Lab 4.6 Race the vendor
#
# Slides 19 to 23 · about 105 minutes · 7 exercises, 36 points
#
# You multiply int8 matrices: first in torch, to know what is right, then in C++, to be fast. The compiler of this machine
# takes your text in a fraction of a second, your kernel runs in a process of its own, and at the end it stands in this
# table beside the vendor's:
#
# | kernel | Gop/s | times the scalar reference |
# |---|---|---|
# | naive | | |
# | blocked | | |
# | vector | | |
# | naive, vectorised | | |
# | frugal | | |
# | oneDNN | | |
#
# An open exercise does not stop you. Without a C++ compiler Part C says so, and everything else works. The library is
# not accepted as the answer.

# %% id="setup" tags="nbval-ignore-output"
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from frugal.show import check, cpp, predict, style, unblock

style.use()
cpp.load()  # teaches this notebook %%cpp
print(cpp.status())

# %% [markdown] id="predict"
# ## Before you start: predict
# Gop/s are thousand million operations a second, a multiply-add being two. The **scalar reference** is three loops in
# C++ that do one product at a time.

# %% id="predictions"
predict.predict(
    "blocked",
    "Sixteen sums side by side, still in plain C++: how many times as fast as one sum at a time?",
    options=["about once", "about 4 times", "about 16 times"],
)
predict.predict(
    "vector",
    "The same loops on vectors of sixteen numbers: how many times as fast as the scalar reference?",
    options=range(1, 33),
    unit="times",
)
predict.predict(
    "share",
    "What share of oneDNN's speed will your fastest kernel reach?",
    options=range(0, 101, 5),
    unit="%",
)

# %% [markdown] id="part-a"
# ## Part A. What is the right answer?
# Slide 20 computes a layer on codes. With the zero-points of slide 21 a sum of products is
#
# $$\sum_k (x_k - z_x)(w_k - z_w) = \sum_k x_k w_k - z_x \sum_k w_k - z_w \sum_k x_k + K z_x z_w$$
#
# On the right only the first term needs a product for each pair. So the inner loop may multiply raw codes, and the
# zero-points are settled afterwards, with one sum per row of either matrix.

# %% id="example-a"
x, w = torch.tensor([[7, 9, 3]], dtype=torch.uint8), torch.tensor([[2, -1, 4]], dtype=torch.int8)
print("raw codes", (x.int() @ w.int().T).item(), "  less zero-points 5 and 1", ((x.int() - 5) @ (w.int() - 1).T).item())

# %% [markdown] id="card-correct-sums"
# ### Exercise 4.6.1 Settle the zero-points
# ◆◇◇ · warm-up · ~8 min · 4 pts · slides 20, 21


# %% solution="correct_sums"
def correct_sums(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """Turn sums of raw products into sums of products of centred codes.

    Args:
        acc: int32 [m, n], Σ x·w over k; it may hold a bias as well, which stays in the result.
        x: uint8 [m, k], any codes. At most 4096 terms.
        w: int8 [n, k], any codes.
        x_zero_point: the code of x that stands for real 0, 0 to 255.
        w_zero_point: the code of w that stands for real 0, -128 to 127.

    Returns:
        int32 [m, n], acc with Σ x·w replaced by Σ (x - x_zero_point)·(w - w_zero_point).

    Rules:
        No second product of matrices. The arguments stay as they are.

    >>> x, w = torch.tensor([[7, 9, 3]], dtype=torch.uint8), torch.tensor([[2, -1, 4]], dtype=torch.int8)
    >>> correct_sums(torch.tensor([[17]], dtype=torch.int32), x, w, 5, 1)
    tensor([[-12]], dtype=torch.int32)
    """
    ### BEGIN SOLUTION
    row_sums = x.sum(1, keepdim=True, dtype=torch.int32)  # [m, 1]
    column_sums = w.sum(1, dtype=torch.int32)  # [n]
    terms = x.shape[1] * x_zero_point * w_zero_point
    return acc - x_zero_point * column_sums - w_zero_point * row_sums + terms
    ### END SOLUTION


# %% test="correct_sums" points=2
def u8(*values):
    return torch.tensor(values, dtype=torch.uint8)


def s8(*values):
    return torch.tensor(values, dtype=torch.int8)


def s32(*values):
    return torch.tensor(values, dtype=torch.int32)


two, three = u8([1, 2], [3, 250]), s8([2, -1], [4, 100], [-128, 5])
raw = two.int() @ three.int().T
check.check(
    correct_sums,
    check.case("one sum", s32([17]), u8([7, 9, 3]), s8([2, -1, 4]), 5, 1, expect=s32([-12])),
    check.case("no zero-points", raw, two, three, 0, 0, expect=raw),
    check.case("only of x", raw, two, three, 128, 0, expect=(two.int() - 128) @ three.int().T),
    check.case("only of w", raw, two, three, 0, -7, expect=two.int() @ (three.int() + 7).T),
    check.case("both", raw, two, three, 200, 3, expect=(two.int() - 200) @ (three.int() - 3).T),
    check.case("acc holds a bias of 1000", s32([1017]), u8([7, 9, 3]), s8([2, -1, 4]), 5, 1, expect=s32([988])),
    check.case("300 terms", s32([-300]), u8([1] * 300), s8([-1] * 300), 255, 127, expect=s32([9753600])),
)

# %% [markdown] id="hints-correct-sums"
# <details><summary>Hint 1: where to look</summary>acc is [m, n]. Which of the other three terms is [m, 1], which [n],
# which one number?</details>
#
# <details><summary>Hint 2: the move</summary>Sum each matrix along k, in a type wide enough. Each zero-point goes with
# the sums of the *other* matrix.</details>
#
# <details><summary>Hint 3: symptoms</summary>Right without zero-points and wrong with both: the last term. Wrong by a
# multiple of 256: the type of a sum.</details>

# %% hidden="correct_sums" points=2
rng = torch.Generator().manual_seed(461)
for m, n, k in ((1, 1, 1), (3, 3, 3), (4, 7, 33), (5, 2, 4096)):
    for x_zero_point, w_zero_point in ((0, 0), (255, -128), (128, 127), (3, 0), (0, -9), (77, 5)):
        codes = torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=rng)
        weights = torch.randint(-128, 128, (n, k), dtype=torch.int8, generator=rng)
        bias = torch.randint(-(10**6), 10**6, (n,), dtype=torch.int32, generator=rng)
        raw_sums = ((codes.long() @ weights.long().T) + bias).int()
        before = raw_sums.tolist(), codes.tolist(), weights.tolist()
        got = correct_sums(raw_sums, codes, weights, x_zero_point, w_zero_point)
        assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
        assert (got.dtype, tuple(got.shape)) == (torch.int32, (m, n)), "the result is int32 [m, n]: see Returns"
        assert (raw_sums.tolist(), codes.tolist(), weights.tolist()) == before, "an argument was changed"
        exactly = (codes.long() - x_zero_point) @ (weights.long() - w_zero_point).T + bias
        assert got.tolist() == exactly.tolist(), "compare all four terms, wide sums, and what acc may hold besides"

# %% [markdown] id="card-requantize"
# ### Exercise 4.6.2 From sums back to codes
# ◆◆◇ · matters a lot · ~12 min · 5 pts · slides 20, 23
#
# A sum of int8 products has up to 32 bits (slide 23); the next layer wants 8 again. One float32 number per output
# channel, `scale` = $s_x s_w / s_y$, turns steps of the sum into steps of the output:
#
# $$y = \mathrm{clamp}(\mathrm{round}(\mathrm{acc} \cdot \mathrm{scale}) + z_y, \mathrm{low}, \mathrm{high})$$
#
# Every kernel of the library gives the same bits, so the roundings are part of the definition. A ReLU
# costs nothing here: set `low` to $z_y$, the code of real 0. (Here `low` and `high` are codes, and `scale` is a quotient of
# three of the lecture's scales.)


# %% solution="requantize"
def requantize(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    """Turn sums into 8-bit codes.

    Args:
        acc: int32 [m, n], any value.
        scale: float32 [n], steps of the output per step of the sum; from 1e-9 to 1.
        zero_point: the output's code of real 0, 0 to 255.
        low, high: the smallest and the largest code, 0 <= low <= high <= 255.

    Returns:
        uint8 [m, n].

    Rules:
        acc becomes float32, then the product is a float32: one rounding each.
        Halves go to the even neighbour, then zero_point is added, then low and high hold.

    >>> requantize(torch.tensor([[100, -100, 5]]), torch.tensor([0.25, 0.25, 0.5]), 10)
    tensor([[35,  0, 12]], dtype=torch.uint8)
    """
    ### BEGIN SOLUTION
    steps = torch.round(acc.to(torch.float32) * scale)
    return (steps + zero_point).clamp(low, high).to(torch.uint8)
    ### END SOLUTION


# %% test="requantize" points=2
quarter = torch.tensor([0.25])
check.check(
    requantize,
    check.case("on the grid", s32([100], [-20]), quarter, 10, expect=u8([35], [5])),
    check.case("halves go to even", s32([2], [6], [10]), quarter, 0, expect=u8([0], [2], [2])),
    check.case("also beside an odd zero-point", s32([2], [-2], [6]), quarter, 7, expect=u8([7], [7], [9])),
    check.case("a scale per column", s32([8, 8]), torch.tensor([0.5, 0.125]), 3, expect=u8([7, 4])),
    check.case("both ends hold", s32([-4000], [4000]), quarter, 128, expect=u8([0], [255])),
    check.case("far outside", s32([-(2**31)], [2**31 - 1]), quarter, 128, expect=u8([0], [255])),
    check.case("a ReLU6", s32([-40], [4], [400]), quarter, 20, 20, 68, expect=u8([20], [21], [68])),
    check.case("the product is float32", s32([5]), torch.tensor([0.1]), 0, expect=u8([0])),
)

# %% [markdown] id="hints-requantize"
# <details><summary>Hint 1: where to look</summary>Five steps stand in Rules, each one call of torch. Where does the order
# matter?</details>
#
# <details><summary>Hint 2: the move</summary>Convert, multiply, torch's rounding, add, clamp; the 8-bit type comes
# last.</details>
#
# <details><summary>Hint 3: symptoms</summary>Large sums come out small: the type came before the ends. Off by one now and
# then: halves, or a product in float64.</details>


# %% hidden="requantize" points=3
def hold_requantize(acc, scale, zero_point, low, high):
    before = acc.tolist()
    got = requantize(acc, scale, zero_point, low, high)
    assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
    assert (got.dtype, got.shape) == (torch.uint8, acc.shape), "dtype and shape: see Returns"
    assert acc.tolist() == before, "acc was changed: compute on a copy"
    for row, codes in zip(acc.tolist(), got.tolist(), strict=True):
        for total, each, code in zip(row, scale.tolist(), codes, strict=True):
            single = torch.tensor(float(torch.tensor(float(total)).float()) * each).float().item()
            assert code == min(max(round(single) + zero_point, low), high), (
                "see Rules, for every value of acc and scale"
            )


rng = torch.Generator().manual_seed(462)
for zero_point, low, high in ((0, 0, 255), (7, 0, 255), (128, 128, 255), (255, 0, 255), (20, 20, 68), (3, 9, 9)):
    halves = torch.arange(-60, 60, dtype=torch.int32).reshape(-1, 3)
    hold_requantize(halves, torch.tensor([0.5, 0.25, 0.125]), zero_point, low, high)
    hold_requantize(halves, torch.tensor([0.1, 0.3, 0.7]), zero_point, low, high)
    wide = torch.randint(-(2**31), 2**31 - 1, (3, 3), generator=rng).int()
    hold_requantize(wide, torch.tensor([1e-9, 3.7e-8, 1.0]), zero_point, low, high)
    middle = torch.randint(-40_000, 40_000, (8, 5), generator=rng).int()
    hold_requantize(middle, torch.rand(5, generator=rng) / 100 + 1e-4, zero_point, low, high)
    hold_requantize(middle.T[::2][:, :5].contiguous(), torch.rand(5, generator=rng) / 100, zero_point, low, high)
assert requantize(s32([4000]), torch.tensor([1.0]), 0).item() == 255, "without low and high: all of uint8"

# %% id="see-requantize" tags="raises-exception" alt="Sums of a layer and the codes they become"
from frugal.kernels import output as library_output
from frugal.kernels import reference


def library_requantize(acc: Tensor, scale: Tensor, zero_point: int, low: int = 0, high: int = 255) -> Tensor:
    return reference.finish(acc.long(), library_output.codes(scale, zero_point=zero_point, low=low, high=high))


requantize = unblock.go_on(requantize, fallback=library_requantize)
total = torch.arange(-2000, 2000, 4, dtype=torch.int32)
for low, name in ((0, "no activation"), (60, "ReLU: low = zero-point")):
    plt.plot(total, requantize(total[:, None], torch.tensor([0.1]), 60, low), label=name)
plt.gca().set(xlabel="sum, int32", ylabel="code, uint8")
plt.legend()
plt.show()

# %% [markdown] id="part-b"
# ## Part B. Where do the weights lie?
# One vector instruction multiplies neighbours in memory. For sixteen output channels at once, sixteen rows of `w` would
# have to be read at sixteen places. So the weights are **packed** once, in the order in which they will be read:
#
# ```
# w [n, k]                      panel: 16 channels; quad: 4 neighbours along k
# channel 0:  k0 k1 k2 k3 k4 …      quad 0                            quad 1 …
# channel 1:  k0 k1 k2 k3 k4 …  →   [c0: k0 k1 k2 k3][c1: k0 … k3] … [c15: k0 … k3]   [c0: k4 … k7] …
# ```
#
# A quad of sixteen channels is 64 bytes, one register of the widest machines; instructions such as `vpdpbusd` sum the
# four products of a quad themselves. Missing channels and missing k, up to a multiple of 64, are zeros.

# %% [markdown] id="card-pack-weights"
# ### Exercise 4.6.3 Pack
# ◆◆◇ · matters a lot · ~10 min · 5 pts · slide 19


# %% solution="pack_weights"
def pack_weights(w: Tensor) -> Tensor:
    """Lay weights in the order in which a kernel reads them.

    Args:
        w: int8 [n, k], n and k at least 1.

    Returns:
        int8 [panels, quads, 16, 4], contiguous: panels of 16 channels, n filled up; quads of 4
        along k, k filled up to a multiple of 64. Value [p, q, c, t] is w[16·p + c, 4·q + t].

    Rules:
        What is filled up holds 0. ``w`` stays as it is.

    >>> packed = pack_weights(torch.arange(10, dtype=torch.int8).reshape(2, 5))
    >>> list(packed.shape), packed[0, 0, 1].tolist(), packed[0, 1, 1].tolist()
    ([1, 16, 16, 4], [5, 6, 7, 8], [9, 0, 0, 0])
    """
    ### BEGIN SOLUTION
    n, k = w.shape
    panels, quads = -(-n // 16), -(-k // 64) * 16
    room = torch.zeros(panels * 16, quads * 4, dtype=torch.int8)
    room[:n, :k] = w
    return room.reshape(panels, 16, quads, 4).permute(0, 2, 1, 3).contiguous()
    ### END SOLUTION


# %% test="pack_weights" points=2
def counted(n, k):
    return (torch.arange(n * k) % 251 - 125).to(torch.int8).reshape(n, k)


def packed_at(p, q, c, w):
    return lambda: pack_weights(w)[p, q, c].tolist() == w[16 * p + c, 4 * q : 4 * q + 4].tolist()


check.check(
    pack_weights,
    check.holds("16 x 64: shape", lambda: list(pack_weights(counted(16, 64)).shape) == [1, 16, 16, 4], "Returns"),
    check.holds("the first quad", packed_at(0, 0, 0, counted(16, 64)), "which k stand in quad 0?"),
    check.holds("the next channel", packed_at(0, 0, 1, counted(16, 64)), "which index is the channel's?"),
    check.holds("the next quad", packed_at(0, 1, 0, counted(16, 64)), "which index is the quad's?"),
    check.holds("the next panel", packed_at(1, 3, 2, counted(32, 64)), "which index is the panel's?"),
    check.holds("17 x 65: shape", lambda: list(pack_weights(counted(17, 65)).shape) == [2, 32, 16, 4], "filling up"),
    check.holds("filled with 0", lambda: not pack_weights(counted(1, 3))[0, 0, 1:].any(), "channels beyond n"),
    check.holds("int8", lambda: pack_weights(counted(2, 3)).dtype == torch.int8, "the dtype"),
    check.holds("neighbours in memory", lambda: pack_weights(counted(32, 128)).is_contiguous(), "contiguous"),
)

# %% [markdown] id="hints-pack-weights"
# <details><summary>Hint 1: where to look</summary>Four indices come out. Write n as two of them and k as the other two: in
# which order do they stand before, in which after?</details>
#
# <details><summary>Hint 2: the move</summary>A room of zeros of the full size, the weights in its corner; split both axes
# with reshape; exchange the two in the middle; make memory follow.</details>
#
# <details><summary>Hint 3: symptoms</summary>Shapes fit and values do not: a reshape moves nothing, only an exchange of
# axes does. Right values, not contiguous: the exchange alone is a view.</details>

# %% hidden="pack_weights" points=3
rng = torch.Generator().manual_seed(463)
for n in (1, 15, 16, 17, 33):
    for k in (1, 3, 4, 63, 64, 65, 130):
        weights = torch.randint(-128, 128, (n, k), dtype=torch.int8, generator=rng)
        before = weights.tolist()
        got = pack_weights(weights)
        assert type(got) is Tensor, "the result is a torch.Tensor, not a list or a subclass"
        size = [-(-n // 16), -(-k // 64) * 16, 16, 4]
        assert (got.dtype, list(got.shape)) == (torch.int8, size), "dtype and shape: see Returns"
        assert got.is_contiguous(), "neighbours in the last axis must be neighbours in memory, and so on"
        assert weights.tolist() == before, "w was changed"
        values = got.tolist()
        for p in range(size[0]):
            for q in range(size[1]):
                for c in range(16):
                    row = before[16 * p + c] if 16 * p + c < n else []
                    there = (row + [0] * size[1] * 4)[4 * q : 4 * q + 4]
                    assert values[p][q][c] == there, "compare with the rule for [p, q, c, t], filling included"
skewed = torch.randint(-128, 128, (70, 20), dtype=torch.int8, generator=rng).T[::2]
assert torch.equal(pack_weights(skewed), pack_weights(skewed.contiguous())), "w may lie in memory in any way"

# %% id="see-pack-weights" tags="raises-exception" alt="Channel and k in the order of memory"
from frugal.kernels.pack import pack


def library_pack(w: Tensor) -> Tensor:
    return pack(w).data[:, 0]


pack_weights = unblock.go_on(pack_weights, fallback=library_pack)
channel = torch.arange(16, dtype=torch.int8)[:, None].expand(16, 64)
along_k = torch.arange(64, dtype=torch.int8)[None].expand(16, 64)
figure, axes = plt.subplots(1, 2, figsize=(6, 2.6))
for ax, source, name in zip(axes, (channel, along_k), ("channel", "k"), strict=True):
    image = ax.imshow(pack_weights(source).reshape(16, 64), aspect="auto", interpolation="nearest")
    ax.set(xlabel="byte of a quad row", ylabel="quad", title=f"{name} of each byte")
    ax.grid(visible=False)
    figure.colorbar(image, ax=ax)
plt.show()

# %% [markdown] id="part-c"
# ## Part C. Down to C++
# A C++ answer is a Python function that returns the text. `cpp.kernel` compiles one and gives a function of tensors: a
# pointer takes a tensor, `const` means read only. `<stdint.h>`, `<stddef.h>` and `<string.h>` are included for you.

# %% id="example-c" tags="raises-exception"
doubled = cpp.kernel(
    r"""
void doubled(const uint8_t* x, int32_t* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = 2 * x[i];
}
""",
    "void doubled(const uint8_t* x, int32_t* y, int n)",
)
print(doubled(u8(1, 2, 100, 255), s32(0, 0, 0, 0), 4))

# %% [markdown] id="about-bugs"
# C++ believes you: a loop too long writes over somebody else's memory. Here kernels run in a process of their own, every
# tensor between two walls, so a mistake becomes a sentence. You can try text in a cell that begins with `%%cpp`
# and the name of the function; `scratch()` is then the text, and `y = scratch.kernel(x, y, 2)` runs it. Your tensors stay as
# they are; what the kernel wrote is returned.

# %% id="bug" tags="raises-exception,nbval-ignore-output"
one_too_many = r"""
void f(const uint8_t* x, int32_t* y, int n) {
  for (int i = 0; i <= n; ++i) y[i] = 2 * x[i];
}
"""
no_semicolon = one_too_many.replace("x[i];", "x[i]")
for text in (one_too_many, no_semicolon):
    try:
        cpp.kernel(text, "void f(const uint8_t* x, int32_t* y, int n)")(u8(1, 2, 3), s32(0, 0, 0), 3)
    except cpp.CppError as error:
        print(error)

# %% id="scratch" tags="raises-exception,nbval-ignore-output"
# %%cpp scratch
# void scratch(const uint8_t* x, int32_t* y, int n) {
#   for (int i = 0; i < n; ++i) y[i] = x[i] - 128;
# }

# %% [markdown] id="card-naive-gemm"
# ### Exercise 4.6.4 Three loops
# ◆◆◇ · matters a lot · ~10 min · 4 pts · slide 23
#
# Now GEMM, the product of matrices: $y_{ij} = \sum_p x_{ip} w_{jp}$, products of bytes, sums of 32 bits. Both matrices lie
# row by row: `x[i * k + p]`, `w[j * k + p]`, `y[i * n + j]`.


# %% solution="naive_gemm"
def naive_gemm() -> str:
    """Return C++ that multiplies, one product at a time.

    Returns:
        Text that defines exactly
        ``void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k)``
        with x [m, k], w [n, k], y [m, n], each row by row; m, n, k at least 1, k at most 4096.

    Rules:
        Every y is written once; what it holds before means nothing.
        Nothing outside the three matrices is read or written.

    >>> "void gemm(" in naive_gemm()
    True
    """
    ### BEGIN SOLUTION
    return r"""
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      int32_t sum = 0;
      for (int p = 0; p < k; ++p) sum += x[i * k + p] * w[j * k + p];
      y[i * n + j] = sum;
    }
  }
}
"""
    ### END SOLUTION


# %% test="naive_gemm" points=2
tall, flat, long_row = (
    u8([1, 2], [200, 0], [9, 255]),
    s8([3, -4], [100, 127]),
    torch.full((1, 300), 255).to(torch.uint8),
)
check.check(
    cpp.plain(naive_gemm),
    check.case("1 x 1 x 1", u8([3]), s8([-5]), expect=s32([-15])),
    check.case("one row, one column", u8([1, 2, 3]), s8([4, 5, -6]), expect=s32([-4])),
    check.case("codes above 127", u8([255, 200]), s8([127, -128]), expect=s32([6785])),
    check.case("3 x 2 x 2", tall, flat, expect=tall.int() @ flat.int().T),
    check.case("2 x 3 x 2", tall[:2], s8([3, -4], [1, 1], [0, 7]), expect=s32([-5, 3, 14], [600, 200, 0])),
    check.case("a long sum", long_row, torch.full((2, 300), -128, dtype=torch.int8), expect=s32([-9792000, -9792000])),
)

# %% [markdown] id="hints-naive-gemm"
# <details><summary>Hint 1: where to look</summary>Three letters count: i rows of x, j rows of w, p along both. How many
# sums are there, and when does each begin?</details>
#
# <details><summary>Hint 2: the move</summary>A loop in a loop in a loop; a local number of 32 bits that is 0 before the
# innermost one and is stored behind it.</details>
#
# <details><summary>Hint 3: symptoms</summary>Each sum holds all before it: where is it set to 0? Wrong by a multiple of
# 256 or 65536: the type of the sum. Huge negative numbers: y was added to, not written.</details>

# %% hidden="naive_gemm" points=2
rng = torch.Generator().manual_seed(464)
multiply = cpp.plain(naive_gemm)
for m, n, k in ((1, 1, 1), (1, 5, 3), (5, 1, 3), (2, 3, 4), (7, 6, 5), (17, 33, 65), (3, 2, 4096), (64, 64, 64)):
    codes = torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=rng)
    weights = torch.randint(-128, 128, (n, k), dtype=torch.int8, generator=rng)
    for left, right in ((codes, weights), (codes | 128, weights), (codes * 0 + 255, weights * 0 - 128)):
        got = multiply(left, right)
        assert torch.equal(got.long(), left.long() @ right.long().T), (
            "other sizes or codes than the check's: see Returns"
        )
largest = torch.full((1, 4096), 255, dtype=torch.uint8)
odd = torch.full((1, 4096), 127, dtype=torch.int8)
odd[0, -1] = 126
assert multiply(largest, odd).item() == 255 * (127 * 4095 + 126), "a long sum must be exact to the last digit"

# %% [markdown] id="card-blocked-gemm"
# ### Exercise 4.6.5 Sixteen sums at once
# ◆◆◇ · matters a lot · ~15 min · 5 pts · slide 23
#
# The naive kernel reads two bytes for every product. With packed weights (Part B) one `x[i * k + p]` meets the sixteen
# channels of a panel: sixteen sums in a local array, one read of x for all of them. The byte of channel c at p stands in
# quad `p / 4`, at place `4 * c + p % 4` of its 64 bytes. With K = k filled up to a multiple of 64, a panel has K / 4 quads, that is
# 16 · K bytes. x has no zeros there: do not read past its k.


# %% solution="blocked_gemm"
def blocked_gemm() -> str:
    """Return C++ that multiplies with packed weights, sixteen channels at once.

    Returns:
        Text that defines exactly
        ``void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k)``
        with x [m, k] and y [m, n] row by row, w as ``pack_weights`` lays it.

    Rules:
        Channels beyond n have weights, all 0, and no place in y.
        x is not filled up: nothing stands behind its last row.

    >>> "void gemm(" in blocked_gemm()
    True
    """
    ### BEGIN SOLUTION
    return r"""
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const int depth = (k + 63) / 64 * 64;  // k, filled up
  for (int j = 0; j < n; j += 16, w += depth * 16) {
    for (int i = 0; i < m; ++i) {
      int32_t sum[16] = {};
      for (int p = 0; p < k; ++p) {
        const int8_t* quad = w + p / 4 * 64 + p % 4;
        for (int c = 0; c < 16; ++c) sum[c] += x[i * k + p] * quad[4 * c];
      }
      for (int c = 0; c < 16 && j + c < n; ++c) y[i * n + j + c] = sum[c];
    }
  }
}
"""
    ### END SOLUTION


# %% test="blocked_gemm" points=2
def product_case(name, m, n, k):
    draw = torch.Generator().manual_seed(m * 10_000 + n * 100 + k)
    x = torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=draw)
    w = torch.randint(-128, 128, (n, k), dtype=torch.int8, generator=draw)
    return check.case(name, x, w, expect=x.int() @ w.int().T)


check.check(
    cpp.packed(blocked_gemm),
    check.case("1 x 1 x 1", u8([3]), s8([-5]), expect=s32([-15])),
    product_case("one quad, one panel", 1, 16, 4),
    product_case("two quads", 1, 16, 8),
    product_case("two rows", 2, 16, 64),
    product_case("two panels", 1, 32, 64),
    product_case("fewer channels than a panel has", 3, 5, 64),
    product_case("k is no multiple of 4", 2, 16, 7),
    product_case("17 channels, k of 65", 3, 17, 65),
)

# %% [markdown] id="hints-blocked-gemm"
# <details><summary>Hint 1: where to look</summary>Loops from outside: panels, rows, p, channels. What is computed once
# for each of them?</details>
#
# <details><summary>Hint 2: the move</summary>A local array of sixteen zeros per row and panel; a pointer that moves on by
# one panel's bytes; the store alone asks whether the channel exists.</details>
#
# <details><summary>Hint 3: symptoms</summary>Right for one panel only: how many bytes has a panel? Right for k of 64 only:
# filled up, not k. y[n] is written: the last panel.</details>


# %% hidden="blocked_gemm" points=3
def hold_product(multiply, shapes, rng):
    for m, n, k in shapes:
        codes = torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=rng)
        weights = torch.randint(-128, 128, (n, k), dtype=torch.int8, generator=rng)
        for left, right in ((codes, weights), (codes * 0 + 255, weights * 0 - 128), (codes | 128, weights | -128)):
            got = multiply(left, right)
            assert torch.equal(got.long(), left.long() @ right.long().T), "compare rows, panels, quads and their ends"


edges = [(m, n, k) for m in (1, 2, 5) for n in (1, 15, 16, 17, 33) for k in (1, 4, 63, 64, 65)]
hold_product(cpp.packed(blocked_gemm), [*edges, (9, 50, 258), (3, 7, 4096)], torch.Generator().manual_seed(465))

# %% [markdown] id="card-vector-gemm"
# ### Exercise 4.6.6 Vectors
# ◆◆◆ · matters a lot · ~25 min · 8 pts · slide 19
#
# Sixteen sums want one instruction. GCC and clang know vectors without naming any processor:
#
# ```cpp
# typedef int32_t lanes __attribute__((vector_size(64)));   // sixteen numbers; + - * << >> work on all of them
# lanes quad;
# memcpy(&quad, w, 64);                                     // 64 bytes: lane c holds the quad of channel c
# ```
#
# A lane holds the four bytes of its channel, the first in the lowest bits. Shift it up until the wanted byte stands on
# top, then down again by 24: of a signed type the sign comes along. Multiply by one number of x, add.
#
# The unpacking is work, so share it: keep sums for **four rows** of x at once. Points depend on being at least 1.5 times
# as fast as the scalar reference, measured in the same run. The compiler makes no vectors of its own here.


# %% solution="vector_gemm"
def vector_gemm() -> str:
    """Return C++ that multiplies with packed weights, on vectors.

    Returns:
        Text that defines exactly
        ``void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k)``
        with x [m, k] and y [m, n] row by row, w as ``pack_weights`` lays it.

    Rules:
        The same numbers as ``blocked_gemm``. Any instructions this machine has; one thread.
        Nothing behind the last row of x is read, nothing behind y is written.
        At least 1.5 times as fast as the scalar reference.

    >>> "void gemm(" in vector_gemm()
    True
    """
    ### BEGIN SOLUTION
    return r"""
typedef int32_t panel __attribute__((vector_size(64)));
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const int depth = (k + 63) / 64 * 64;
  for (int j = 0; j < n; j += 16, w += depth * 16) {
    for (int i = 0; i < m; i += 4) {
      const uint8_t* row[4];
      for (int r = 0; r < 4; ++r) row[r] = x + (i + r < m ? i + r : m - 1) * k;  // the last row again
      panel sum[4] = {};
      for (int p = 0; p < k; p += 4) {
        panel quad;
        memcpy(&quad, w + p * 16, 64);
        for (int t = 0; t < 4; ++t) {
          const panel byte = quad << (24 - 8 * t) >> 24;
          const int at = p + t < k ? p + t : k - 1;  // beyond k the weight is 0, but x ends
          for (int r = 0; r < 4; ++r) sum[r] += byte * row[r][at];
        }
      }
      for (int r = 0; r < 4 && i + r < m; ++r)
        for (int c = 0; c < 16 && j + c < n; ++c) y[(i + r) * n + j + c] = sum[r][c];
    }
  }
}
"""
    ### END SOLUTION


# %% test="vector_gemm" points=3
fast = cpp.packed(vector_gemm)
check.check(
    fast,
    product_case("one quad, one row", 1, 16, 4),
    product_case("four rows", 4, 16, 64),
    product_case("k is no multiple of 4", 4, 16, 7),
    product_case("five rows", 5, 16, 64),
    product_case("17 channels", 4, 17, 64),
    product_case("7 x 33 x 131", 7, 33, 131),
    check.holds(
        "at least 1.5 times as fast as the scalar reference",
        lambda: cpp.faster_than_scalar(fast, 1.5),
        "what is done once for each quad, and for how many rows does it serve?",
    ),
)

# %% [markdown] id="hints-vector-gemm"
# <details><summary>Hint 1: where to look</summary>Begin with one row: `blocked_gemm`, its array become one variable of type
# lanes. Then widen to four rows.</details>
#
# <details><summary>Hint 2: the move</summary>Per quad: one load, four bytes by two shifts each, and for every byte four
# rows of multiply-add. A row that does not exist may read another one, if it is not stored.</details>
#
# <details><summary>Hint 3: symptoms</summary>Negative weights come out large: the type of the lanes has no sign. x is read
# behind its end: k that is no multiple of 4, or rows beyond m. Right and too slow: the unpacking serves one row
# only.</details>

# %% hidden="vector_gemm" points=5
vectors = cpp.packed(vector_gemm)
edges = [(m, n, k) for m in (1, 3, 4, 6, 9) for n in (1, 16, 17, 33) for k in (1, 2, 4, 63, 64, 65)]
rng = torch.Generator().manual_seed(466)
for m, n, k in [*edges, (17, 50, 258), (5, 7, 4096)]:
    codes = torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=rng)
    weights = torch.randint(-128, 128, (n, k), dtype=torch.int8, generator=rng)
    for left, right in ((codes, weights), (codes * 0 + 255, weights * 0 - 128), (codes | 128, weights | -128)):
        got = vectors(left, right)
        assert torch.equal(got.long(), left.long() @ right.long().T), "compare rows, panels, bytes, signs and ends"
assert cpp.faster_than_scalar(vectors, 1.5)

# %% [markdown] id="race"
# ## The race
# 128 x 512 codes meet 128 x 512 weights. All entrants take turns in one run, on one thread, each with a median over its
# turns of its processor time; who is wrong has no time. `naive, vectorised` is your own naive text,
# compiled with the compiler's own vectors switched on, which are off above. It may well beat yours.

# %% id="ladder" tags="raises-exception,nbval-ignore-output"
entrants = {
    "naive": cpp.plain(naive_gemm),
    "blocked": cpp.packed(blocked_gemm, order=pack_weights),
    "vector": cpp.packed(vector_gemm, order=pack_weights),
    "naive, vectorised": cpp.plain(naive_gemm, vectorise=True),
    "frugal": cpp.library,
    "oneDNN": cpp.onednn,
}
result = cpp.ladder(entrants)
print(result)

# %% id="ladder-picture" tags="raises-exception,nbval-ignore-output" alt="Gop/s of every kernel, on a logarithmic axis"
names = list(result.seconds)
plt.barh(names[::-1], [result.gops(name) for name in names[::-1]])
plt.gca().set(xlabel="Gop/s", xscale="log", xlim=(1, None), title="128 x 128 x 512, one thread, medians")
plt.show()

# %% [markdown] id="what-happened"
# Blocking alone wins little: a scalar kernel is held up by its multiplier, one product per step, not by its reads. It is
# what feeds the vectors, though, and vectors multiply many numbers per step. A compiler may find them by itself, where
# the loop is plain enough and the instructions exist; look how your naive text fares once it is allowed to. Where
# the library is ahead, it has two more reasons: instructions made for bytes, and a block of sums that fills every register.
#
# With `FRUGAL_ISA=scalar` in the environment your kernels get only what every processor of this family has, and the
# library runs its scalar path: it then stands beside your naive kernel, perhaps below your vectors. oneDNN does not know this
# variable and stays as it is. Your answers are as right.

# %% [markdown] id="card-fused-layer"
# ### Exercise 4.6.7 The whole layer
# ◆◆◆ · matters · ~15 min · 5 pts · slides 20, 23
#
# Stored as int32, a result is four times as large as its codes, and has to be read again. So the last loop of a kernel
# finishes the sums while they are at hand: add the bias, then do `requantize`, in C++. With symmetric weights ($z_w = 0$) the
# only correction left is one number per channel, and the bias holds it already. `nearbyintf` rounds halves to even; write
# `#include <math.h>` at the top.


# %% solution="fused_layer"
def fused_layer() -> str:
    """Return C++ for a layer: codes in, codes out.

    Returns:
        Text that defines exactly ``void layer(const uint8_t* x, const int8_t* w, const int32_t* bias,
        const float* scale, uint8_t* y, int m, int n, int k, int zero_point, int low, int high)``
        with x [m, k], y [m, n], w as ``pack_weights`` lays it, bias [n], scale [n].

    Rules:
        y = clamp(round(float(sum + bias) · scale) + zero_point, low, high), roundings as in
        ``requantize``. Nothing outside the arguments is touched: bias and scale end at n.

    >>> "void layer(" in fused_layer()
    True
    """
    ### BEGIN SOLUTION
    return r"""
#include <math.h>
void layer(const uint8_t* x, const int8_t* panel, const int32_t* bias, const float* scale, uint8_t* y,
           int m, int n, int k, int zero, int low, int high) {
  const int depth = (k + 63) / 64 * 64;
  for (int j = 0; j < n; j += 16, panel += depth * 16) {
    for (int i = 0; i < m; ++i) {
      for (int c = 0; c < 16 && j + c < n; ++c) {
        int32_t sum = bias[j + c];
        for (int p = 0; p < k; ++p) sum += x[i * k + p] * panel[p / 4 * 64 + 4 * c + p % 4];
        float code = nearbyintf(float(sum) * scale[j + c]) + float(zero);
        code = code < low ? low : code > high ? high : code;
        y[i * n + j + c] = uint8_t(code);
      }
    }
  }
}
"""
    ### END SOLUTION


# %% test="fused_layer" points=2
from frugal.kernels import output
from frugal.kernels.gemm import Linear8


def both_layers(m, n, k):
    """Your layer and the library's, on the same codes."""
    x, w = product_case("", m, n, k).args
    bias, scale = torch.arange(n, dtype=torch.int32) * 5000 - 40_000, torch.linspace(1e-4, 5e-4, n)
    finish = output.codes(scale, zero_point=9, low=3, high=250)
    return cpp.fused(fused_layer)(x, w, bias, scale, 9, 3, 250), Linear8(w, bias, output=finish)(x)


quarters, none = torch.tensor([0.25, 0.25]), s32(0, 0)
check.check(
    cpp.fused(fused_layer),
    check.case("on the grid", u8([10, 4]), s8([2, 5], [1, -2]), none, quarters, 3, 0, 255, expect=u8([13, 3])),
    check.case("with a bias", u8([10, 4]), s8([2, 5], [1, -2]), s32(4, 80), quarters, 3, 0, 255, expect=u8([14, 23])),
    check.case("halves", u8([1], [3]), s8([2], [-2]), none, quarters, 7, 0, 255, expect=u8([7, 7], [9, 5])),
    check.case("a scale each", u8([16]), s8([1], [1]), none, torch.tensor([0.5, 0.125]), 0, 0, 255, expect=u8([8, 2])),
    check.case("both ends", u8([255]), s8([127], [-128]), none, quarters, 128, 0, 255, expect=u8([255, 0])),
    check.case("a ReLU6", u8([1], [200]), s8([4], [-4]), none, quarters, 20, 20, 68, expect=u8([21, 20], [68, 20])),
    check.holds(
        "17 channels, k of 65, as the library has it",
        lambda: torch.equal(*both_layers(9, 17, 65)),
        "panels, filled up k, and bias and scale of the right channel",
    ),
)

# %% [markdown] id="hints-fused-layer"
# <details><summary>Hint 1: where to look</summary>Any kernel above will do; only its last loop changes. Which index do
# bias and scale have there?</details>
#
# <details><summary>Hint 2: the move</summary>Add as integers, convert, multiply, round, add, compare with both ends; the
# cast to a byte is the last step.</details>
#
# <details><summary>Hint 3: symptoms</summary>Wrong from channel 16 on: c without j. Off by one at halves: roundf, or a
# cast, is no nearbyintf. Codes wrap: the cast came before the ends.</details>

# %% hidden="fused_layer" points=3
rng = torch.Generator().manual_seed(467)
layer = cpp.fused(fused_layer)
for m, n, k in ((1, 1, 1), (2, 3, 5), (5, 16, 64), (4, 17, 65), (3, 50, 130), (2, 5, 1000)):
    for zero_point, low, high in ((0, 0, 255), (7, 0, 255), (128, 128, 255), (20, 20, 68), (255, 3, 250)):
        codes = torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=rng)
        weights = torch.randint(-128, 128, (n, k), dtype=torch.int8, generator=rng)
        bias = torch.randint(-(10**5), 10**5, (n,), dtype=torch.int32, generator=rng)
        sums = (codes.long() @ weights.long().T + bias).int()
        spread = sums.abs().amax().item() + 1
        for scale in (torch.rand(n, generator=rng) * 200 / spread, torch.full((n,), 0.5), torch.full((n,), 0.001)):
            steps = torch.round(sums.float() * scale).long() + zero_point
            got = layer(codes, weights, bias, scale, zero_point, low, high)
            assert torch.equal(got.long(), steps.clamp(low, high)), "bias, scale, roundings and ends: see Rules"
halves = layer(u8([1], [3], [5], [7]), s8([1], [-1]), s32(0, 0), torch.tensor([0.5, 0.5]), 7, 0, 255)
assert halves.tolist() == [[7, 7], [9, 5], [9, 5], [11, 3]], "halves go to even, and then the zero-point comes"
in_float32 = layer(u8([5]), s8([1]), s32(0), torch.tensor([0.1]), 0, 0, 255)
assert in_float32.item() == 0, "the product is rounded to float32: see Rules of requantize"

# %% [markdown] id="together"
# ## Put it together
# A small residual network, trained on drawn figures. Each layer becomes one of yours: inputs and weights as codes, a
# convolution as a matrix of patches (border: the zero-point), `pack_weights`, your kernel, `correct_sums`. Between the
# layers it goes back to reals; the library's networks stay in codes.

# %% id="plug-in" tags="raises-exception"
import torch.nn.functional as F

from frugal.quant.affine import choose_qparams, quantize
from frugal.quant.granularity import PerChannel


class YourLayer(nn.Module):
    """A convolution or linear layer on your functions."""

    def __init__(self, layer, multiply, settle):
        super().__init__()
        self.layer, self.multiply, self.settle = layer, multiply, settle
        rows = layer.weight.detach().flatten(1)
        on_w = choose_qparams(rows, symmetric=True, granularity=PerChannel(0))
        self.w, self.w_scale = quantize(rows, on_w), on_w.scale

    def forward(self, x):
        low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
        step = (high - low) / 255 or 1.0
        zero_point = round(-low / step)
        q = (torch.round(x / step) + zero_point).clamp(0, 255)
        if isinstance(self.layer, nn.Conv2d):
            p = self.layer.padding[0]
            q = F.pad(q, (p, p, p, p), value=zero_point)
            q = F.unfold(q, self.layer.kernel_size, stride=self.layer.stride).transpose(1, 2)
        codes = q.flatten(0, -2).to(torch.uint8)
        acc = self.settle(self.multiply(codes, self.w), codes, self.w, zero_point, 0)
        y = acc * (step * self.w_scale) + (0 if self.layer.bias is None else self.layer.bias)
        y = y.reshape(*q.shape[:-1], -1)
        if isinstance(self.layer, nn.Conv2d):
            size = (x.shape[-1] + 2 * p - self.layer.kernel_size[0]) // self.layer.stride[0] + 1
            y = y.transpose(1, 2).reshape(len(x), -1, size, size)
        return y


# %% id="network" tags="raises-exception,nbval-ignore-output"
import copy

from frugal.data import drawn
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.nets import pretrained
from frugal.quant.layers import quantizable_layers


def library_correct(acc, x, w, x_zero_point, w_zero_point):
    return ((x.int() - x_zero_point).double() @ (w.int() - w_zero_point).double().T).int()


correct_sums = unblock.go_on(correct_sums, fallback=library_correct)
multiply = cpp.or_library(cpp.packed(vector_gemm, order=pack_weights))
images, labels = drawn.draw(200, split="test")
net = fold_batchnorm(pretrained.load("resnet8_drawn")).eval()
yours = copy.deepcopy(net)
for name, layer in quantizable_layers(net).items():
    yours.set_submodule(name, YourLayer(layer, multiply, correct_sums))
with torch.no_grad():
    agree = (net(images).argmax(1) == yours(images).argmax(1)).double().mean().item()
    in_float, in_codes = accuracy(net, images, labels), accuracy(yours, images, labels)
print(f"float32 {in_float:.1f} %, on your kernel {in_codes:.1f} %; the same class for {agree:.1%} of the pictures")
assert abs(in_float - in_codes) <= 3, "8 bits cost next to nothing: look at zero-points and sums"

# %% [markdown] id="challenge"
# ## Challenge: twice your vectors
# **Rules.** One thread, the signature of `gemm`, packed weights, right to the last bit. **Target:** twice the speed of
# your `vector`. No points. Ideas: more rows, two panels at once; `#include <immintrin.h>` and `_mm256_madd_epi16`, or
# `_mm512_dpbusd_epi32` where `#ifdef __AVX512VNNI__` says that it is there; on Arm `<arm_neon.h>` and `vdotq_s32`.
# Begin from a copy of your answer.


# %% id="challenge-answer"
def my_gemm() -> str:
    return vector_gemm()


# %% id="referee" tags="raises-exception,nbval-ignore-output"
final = cpp.ladder({"vector": cpp.packed(vector_gemm), "yours": cpp.packed(my_gemm), "frugal": cpp.library})
print(final)
gain = final.times("yours", to="vector")
print(f"yours is {gain:.2f} times as fast as vector: " + ("target reached" if gain >= 2 else "target 2.00"))

# %% [markdown] id="reveal"
# ## Prediction and measurement

# %% id="revealed" tags="raises-exception,nbval-ignore-output"
ran = [name for name in ("naive", "blocked", "vector") if name in result.seconds]
if "blocked" in ran:
    nearest = min((1, 4, 16), key=lambda each: abs(each - result.times("blocked")))
    predict.reveal("blocked", {1: "about once", 4: "about 4 times", 16: "about 16 times"}[nearest])
if "vector" in ran:
    predict.reveal("vector", round(result.times("vector"), 1))
if ran and "oneDNN" in result.seconds:
    predict.reveal("share", round(100 * max(map(result.gops, ran)) / result.gops("oneDNN"), 1))
print(f"{len(ran)} of your 3 kernels took part; answer the others and run the race again" if len(ran) < 3 else "")

# %% [markdown] id="summary"
# ## In three sentences
# Zero-points, bias, scale and clamp stay outside the inner loop, so int8 layers are sums of products of bytes and little
# else. Packing puts the bytes where a vector instruction wants them, and keeping several rows of sums at hand makes every
# load serve several products. What is fast is decided by the instructions a machine has; what is right is not.
#
# | symptom | look at |
# |---|---|
# | right on 16 x 64, wrong elsewhere | filled up k; the last panel |
# | negative weights come out as large ones | signed lanes |
# | sums wrong by a multiple of 65536 | 16-bit sums |
# | right and slow | what is unpacked for how many rows |
#
# **What next.** `lib/frugal/kernels/csrc` has a file for each instruction set, with the same packed weights; chapter 4.8
# draws the limits of the machine.
