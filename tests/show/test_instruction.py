"""Two instructions, imitated: one is exact, the other saturates; the pictures show their numbers."""

import pytest
import torch
from matplotlib.figure import Figure

from frugal.show import instruction


@pytest.fixture
def ax():
    return Figure(figsize=(8.6, 3.2)).subplots()


def codes(*shape, seed=0):
    rng = torch.Generator().manual_seed(seed)
    a = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    return a, torch.randint(-128, 128, shape, generator=rng, dtype=torch.int8)


def test_dpbusd_adds_four_products_to_each_lane():
    a, _ = codes(4)
    _, w = codes(16, 4)
    acc = torch.arange(16, dtype=torch.int32) * 1000
    expected = [
        1000 * lane + sum(x * y for x, y in zip(a.tolist(), w[lane].tolist(), strict=True)) for lane in range(16)
    ]
    assert instruction.dpbusd(acc, a, w).tolist() == expected
    assert torch.equal(instruction.dpbusd(acc, a.expand(16, 4), w), instruction.dpbusd(acc, a, w))


def test_dpbusd_wraps_where_int32_ends_as_the_processor_does():
    a, w = torch.full((4,), 255, dtype=torch.uint8), torch.full((1, 4), 127, dtype=torch.int8)
    acc = torch.tensor([2**31 - 1], dtype=torch.int32)
    assert instruction.dpbusd(acc, a, w).item() == 2**31 - 1 + 4 * 255 * 127 - 2**32


def test_many_dpbusd_are_a_row_of_a_matrix_product():
    a, _ = codes(64)
    _, w = codes(16, 64)
    acc = torch.zeros(16, dtype=torch.int32)
    for k in range(0, 64, 4):
        acc = instruction.dpbusd(acc, a[k : k + 4], w[:, k : k + 4])
    assert torch.equal(acc.long(), w.long() @ a.long())


def test_maddubs_is_exact_where_it_fits_and_the_end_of_int16_elsewhere():
    a, w = codes(1000, 8)
    exact, got = instruction.pair_sums(a, w), instruction.maddubs(a, w)
    assert got.dtype == torch.int16
    fits = (exact >= -(2**15)) & (exact <= 2**15 - 1)
    assert 0 < fits.sum() < fits.numel()
    assert torch.equal(got[fits].long(), exact[fits])
    assert torch.equal(got[~fits].long(), torch.where(exact > 0, 2**15 - 1, -(2**15))[~fits])


def test_seven_bit_weights_never_saturate_it():
    a, w = torch.full((4,), 255, dtype=torch.uint8), torch.tensor([64, 64, -64, -64], dtype=torch.int8)
    assert instruction.maddubs(a, w).tolist() == [2 * 255 * 64, -2 * 255 * 64]


@pytest.mark.parametrize("lane", [0, 7, 15])
def test_the_picture_tells_the_products_of_the_chosen_lane(ax, lane):
    a, _ = codes(4, seed=lane)
    _, w = codes(16, 4, seed=lane)
    acc = torch.arange(16, dtype=torch.int32) - 700
    assert instruction.one_instruction(acc, a, w, lane, ax) is ax
    words = [text.get_text() for text in ax.texts]
    for x, y in zip(a.tolist(), w[lane].tolist(), strict=True):
        assert f"{x} · {y}\n= {x * y}" in words
    after = instruction.dpbusd(acc, a, w)
    assert f"{after[lane]}\nnew sum" in words
    assert f"{acc[lane]}\nso far" in words
    assert {str(each) for each in after.tolist()} <= set(words)


def test_the_histogram_tells_which_part_no_int16_holds(ax):
    instruction.sixteen_bits(torch.tensor([0, 100, 32767, 32768, -32768, -32769, 5, 6]), ax)
    (label,) = [text.get_text() for text in ax.get_legend().get_texts()]
    assert label == "no int16: 25.0 %"


def test_what_fits_has_no_legend(ax):
    instruction.sixteen_bits(torch.tensor([0, 100, 32767]), ax)
    assert ax.get_legend() is None


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: instruction.dpbusd(torch.zeros(16), codes(4)[1], codes(16, 4)[1]), "a uint8"),
        (lambda: instruction.dpbusd(torch.zeros(16), codes(4)[0], codes(16, 3)[1]), r"int8 \[16, 3\]"),
        (lambda: instruction.maddubs(codes(5)[0], codes(5)[1]), "an even length"),
        (lambda: instruction.one_instruction(torch.zeros(16), codes(4)[0], codes(16, 4)[1], 16), "lane 16"),
    ],
)
def test_bad_input_is_refused_with_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
