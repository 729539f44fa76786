"""Packed weights: where each one lies, back again, sums that fit int32, and packs of another layout refused."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frugal.kernels.pack import LAYOUT, Packed, column_sums, fold_zero_point, pack, restore, unpack

U8, S8 = torch.uint8, torch.int8


@given(
    out=st.integers(1, 40),
    taps=st.integers(1, 4),
    depth=st.integers(1, 140),
    groups=st.integers(1, 3),
    seed=st.integers(0),
)
def test_unpacking_gives_back_every_weight(out, taps, depth, groups, seed):
    generator = torch.Generator().manual_seed(seed % 2**63)
    w = torch.randint(-128, 128, (groups * out, taps, depth), generator=generator, dtype=S8)
    packed = pack(w, groups)
    assert torch.equal(unpack(packed), w)
    assert int(packed.data.ne(0).sum()) == int(w.ne(0).sum())
    assert torch.equal(column_sums(packed).long(), w.long().sum((1, 2)))


def test_a_weight_lies_where_the_picture_says():
    w = torch.zeros(20, 1, 70, dtype=S8)
    w[18, 0, 66] = 5  # panel 1, channel 2; quad 16, second of four
    data = pack(w).data
    assert data.shape == (2, 1, 32, 16, 4)
    assert data[1, 0, 16, 2, 2] == 5
    assert data.count_nonzero() == 1


def test_a_pack_survives_a_round_trip_through_its_state(draw):
    w = draw.weights(24, 3, 33)
    again = restore(pack(w, groups=3).state())
    assert torch.equal(unpack(again), w)


def test_a_pack_of_another_layout_is_refused(draw):
    state = pack(draw.weights(4, 9)).state()
    with pytest.raises(ValueError, match="pack the original weights again"):
        restore(state | {"layout": LAYOUT.replace("version 1", "version 0")})


def test_a_damaged_pack_is_refused(draw):
    state = pack(draw.weights(4, 9)).state()
    touched = state["data"].clone()
    touched[0, 0, 5, 0, 0] = 1  # k = 20 of 9: it would meet whatever lies behind a row
    with pytest.raises(ValueError, match="damaged"):
        restore(state | {"data": touched})
    with pytest.raises(ValueError, match="must be int8"):
        restore(state | {"data": state["data"][:, :, :8]})
    with pytest.raises(ValueError, match="must be int8"):
        Packed(state["data"].to(torch.int16), 4, 1, 9)
    with pytest.raises(ValueError, match="at least 1"):
        Packed(state["data"], 4, 0, 9)
    del state["layout"]
    with pytest.raises(ValueError, match="layout"):
        restore(state)


@pytest.mark.parametrize(
    ("weight", "error", "says"),
    [
        ([[1]], TypeError, "int8 codes"),
        (torch.ones(2, 2), TypeError, "int8 codes, got float32"),
        (torch.ones(2, dtype=S8), ValueError, "2 or 3 dimensions"),
        (torch.ones(0, 4, dtype=S8), ValueError, "none of them empty"),
        (torch.ones(4, 0, dtype=S8), ValueError, "none of them empty"),
        (torch.ones(2, 2, dtype=S8, device="meta"), ValueError, "main memory"),
    ],
)
def test_what_is_no_weight_is_refused(weight, error, says):
    with pytest.raises(error, match=says):
        pack(weight)


def test_groups_divide_the_outputs():
    with pytest.raises(ValueError, match="groups must divide the 5 outputs, got 2"):
        pack(torch.ones(5, 4, dtype=S8), groups=2)


def test_folding_the_zero_point_changes_no_sum(draw):
    for x_dtype, zero_point in product((U8, S8), (0, 1, 100)):
        w, x = draw.weights(5, 30), draw.codes(x_dtype, 30)
        bias = draw.integers(-500, 500, 5, dtype=torch.int32)
        folded = fold_zero_point(w, bias, x_dtype, zero_point)
        wanted = ((x.long() - zero_point) * w.long()).sum(1) + bias
        assert torch.equal((x.long() * w.long()).sum(1) + folded, wanted)


def test_weights_that_could_overflow_int32_are_refused_with_the_numbers():
    k = (2**31 - 1) // (255 * 127)
    fits, too_long = torch.full((2, k), 127, dtype=S8), torch.full((2, k + 1), 127, dtype=S8)
    fold_zero_point(fits, None, U8, 0)
    with pytest.raises(ValueError, match=r"output 0 may reach 2,147,\d{3},\d{3} .* int32 ends at 2,147,483,647"):
        fold_zero_point(too_long, None, U8, 0)
    fold_zero_point(too_long, None, S8, 0)  # |x| is at most 128 there
    with pytest.raises(ValueError, match="may reach"):
        fold_zero_point(fits, torch.tensor([0, 2**31 - 1], dtype=torch.int32), U8, 0)


@pytest.mark.parametrize(("x_dtype", "zero_point"), [(U8, -1), (U8, 256), (S8, -129), (S8, 128)])
def test_a_zero_point_that_is_no_code_is_refused(x_dtype, zero_point):
    with pytest.raises(ValueError, match=f"got {zero_point}"):
        fold_zero_point(torch.ones(1, 1, dtype=S8), None, x_dtype, zero_point)


@pytest.mark.parametrize("bias", [torch.ones(3), torch.ones(2, dtype=torch.int32), torch.ones(3, dtype=torch.int64)])
def test_a_bias_of_another_type_or_size_is_refused(bias):
    with pytest.raises(ValueError, match=r"bias must be int32 \[3\]"):
        fold_zero_point(torch.ones(3, 4, dtype=S8), bias, U8, 0)
