"""Products of signs: every way to count equals the product of whole numbers, around every edge of a word."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frugal.kernels import bits, native

PATHS = bits.available()
AROUND_A_WORD = (1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 193)
LONG = (31 * 64 - 1, 31 * 64, 31 * 64 + 1, 62 * 64 + 7)  # a byte holds the count of 31 words


@pytest.fixture(params=PATHS)
def isa(request):
    return request.param


def signs(rows, k, seed=0):
    return torch.where(torch.rand(rows, k, generator=torch.Generator().manual_seed(seed)) < 0.5, -1.0, 1.0)


def exact(x, w):
    """The product in whole numbers: float64 holds each of them."""
    return (x.double() @ w.double().T).to(torch.int32)


@pytest.mark.parametrize("k", AROUND_A_WORD)
@pytest.mark.parametrize("rows, out", [(1, 1), (3, 7), (8, 8), (9, 17)])
def test_counting_equals_the_integer_product_around_every_word(isa, rows, out, k):
    x, w = signs(rows, k, seed=1), signs(out, k, seed=2)
    y = bits.Linear1(w)(bits.pack(x, isa), isa=isa)
    assert y.dtype == torch.int32
    assert torch.equal(y, exact(x, w))


@pytest.mark.parametrize("k", LONG)
def test_long_rows_do_not_overflow_a_byte_of_counts(isa, k):
    x = torch.ones(5, k)
    w = torch.cat([torch.ones(3, k), -torch.ones(3, k)])
    y = bits.Linear1(w)(bits.pack(x), isa=isa)
    assert y[0].tolist() == [k] * 3 + [-k] * 3


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 400), st.integers(0, 9))
def test_any_shape_agrees_on_every_path(rows, out, k, seed):
    x, w = signs(rows, k, seed), signs(out, k, seed + 100)
    for isa in PATHS:
        assert torch.equal(bits.Linear1(w)(bits.pack(x, isa), isa=isa), exact(x, w))


def test_packing_keeps_the_sign_and_0_is_positive_on_both_sides(isa):
    x = torch.tensor([[0.0, -0.0, 1e-45, -1e-45, float("inf"), float("-inf"), 3.0, -3.0] * 20])
    assert torch.equal(bits.unpack(bits.pack(x, isa)), torch.where(x >= 0, 1.0, -1.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_reals_keep_their_sign(isa, dtype):
    smallest = torch.finfo(dtype).tiny
    x = torch.tensor([[-smallest, smallest, 0.0]], dtype=dtype)
    assert bits.unpack(bits.pack(x, isa)).tolist() == [[-1.0, 1.0, 1.0]]


@pytest.mark.parametrize("k", AROUND_A_WORD)
def test_every_path_packs_the_same_words_and_fills_up_with_zeros(isa, k):
    x = signs(4, k, seed=3)
    packed = bits.pack(x, isa)
    assert torch.equal(packed.words, bits.pack(x, "reference").words)
    assert torch.equal(bits.unpack(packed), x)
    if k % 64:
        assert not (packed.words[:, -1] >> k % 64).any()


def test_packed_weights_take_a_32nd_of_float32():
    w = torch.randn(128, 256)
    assert bits.pack(w).size_bytes * 32 == w.numel() * 4


def test_rows_with_gaps_between_them_and_turned_matrices_are_packed_alike(isa):
    wide = torch.randn(6, 200)
    assert torch.equal(bits.pack(wide[:, :130], isa).words, bits.pack(wide[:, :130].clone(), isa).words)
    assert torch.equal(bits.pack(wide.T, isa).words, bits.pack(wide.T.clone(), isa).words)


def test_threads_change_nothing(isa):
    x, w = signs(70, 300, 5), signs(90, 300, 6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(bits.Linear1(w)(bits.pack(x, isa), isa=isa), exact(x, w))
    finally:
        torch.set_num_threads(before)


def test_nan_has_no_sign(isa):
    for place in (0, 63, 64, 99):
        x = torch.ones(2, 100)
        x[1, place] = float("nan")
        with pytest.raises(ValueError, match=r"sign everywhere.*1 of 200"):
            bits.pack(x, isa)


@pytest.mark.parametrize("wrong", [torch.ones(0, 3), torch.ones(3, 0), torch.ones(2, 2, 2), torch.ones(())])
def test_what_is_no_matrix_is_refused(wrong):
    with pytest.raises(ValueError, match=r"\[rows, k\]"):
        bits.pack(wrong)


def test_codes_are_refused():
    with pytest.raises(TypeError, match="float dtype"):
        bits.pack(torch.ones(2, 3, dtype=torch.int8))


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="64 signs in a row, got 65"):
        bits.Linear1(torch.ones(2, 64))(bits.pack(torch.ones(1, 65)))
    with pytest.raises(TypeError, match="pack"):
        bits.Linear1(torch.ones(2, 64))(torch.ones(1, 64))


def test_words_that_do_not_fit_their_length_are_refused():
    with pytest.raises(ValueError, match=r"words \[rows, 2\]"):
        bits.Bits(torch.zeros(3, 1, dtype=torch.int64), 65)
    with pytest.raises(ValueError, match="must be 0"):
        bits.Bits(torch.tensor([[0b1000]]), 3)
    with pytest.raises(TypeError, match="int64"):
        bits.Bits(torch.zeros(3, 1), 3)


def test_a_path_that_is_not_here_is_refused_by_name():
    with pytest.raises(ValueError, match="isa='mmx' counts no bits"):
        bits.pack(torch.ones(1, 1), "mmx")


@pytest.mark.parametrize("forced, allowed", [("reference", {"reference"}), ("scalar", {"scalar"}), ("avx2", {"avx2"})])
def test_frugal_isa_is_understood(monkeypatch, forced, allowed):
    from frugal.kernels import dispatch

    if forced not in dispatch.available():
        pytest.skip(f"this machine has no path {forced}")
    monkeypatch.setenv("FRUGAL_ISA", forced)
    number = bits._choose(None)
    assert ({"reference"} if number is None else {list(bits._paths())[number]}) <= allowed


def test_without_the_native_library_torch_counts(monkeypatch):
    monkeypatch.setattr(bits, "_paths", dict)
    x, w = signs(5, 100, 1), signs(6, 100, 2)
    assert bits.available() == ("reference",)
    assert torch.equal(bits.Linear1(w)(bits.pack(x)), exact(x, w))


def test_a_library_built_before_the_bits_leaves_them_to_torch(monkeypatch):
    monkeypatch.setattr(native, "library", lambda: object())
    bits._open.cache_clear()
    try:
        assert bits._open() is None
    finally:
        bits._open.cache_clear()
