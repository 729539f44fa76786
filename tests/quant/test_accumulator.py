"""Sums in few bits: wrapping forgets the way, saturating does not, and the bound that needs no data holds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frugal.quant.accumulator import accumulate, accumulator_range, excursion, safe_bits, saturate, wrap

ROWS, OUT, K = 5, 4, 37


def codes(seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (ROWS, K), generator=rng, dtype=torch.uint8)
    return x, torch.randint(-127, 128, (OUT, K), generator=rng, dtype=torch.int8)


def exact(x, w):
    return x.long() @ w.long().T


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32])
def test_wrapping_is_what_a_cast_to_a_narrow_integer_does(dtype):
    x = torch.randint(-(2**40), 2**40, (1000,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(wrap(x, torch.iinfo(dtype).bits), x.to(dtype).long())


@given(st.integers(2, 62), st.integers(-(2**61), 2**61))
@settings(max_examples=200, deadline=None)
def test_wrapping_ends_in_the_range_and_moves_by_whole_turns(num_bits, value):
    low, high = accumulator_range(num_bits)
    wrapped = wrap(torch.tensor(value), num_bits).item()
    assert low <= wrapped <= high
    assert (wrapped - value) % 2**num_bits == 0


@pytest.mark.parametrize("cut", [wrap, saturate])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int64, torch.float32])
def test_what_fits_is_left_alone_in_every_dtype(cut, dtype):
    x = torch.tensor([0, 1, 100, 127]).to(dtype)
    kept = cut(x, 16)
    assert kept.dtype == dtype
    assert torch.equal(kept, x)


def test_the_gradient_of_a_wrapped_sum_is_one():
    x = torch.tensor([3.0, 200.0, -500.0], requires_grad=True)
    wrap(x, 8).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


@pytest.mark.parametrize("num_bits", [16, 17, 20, 24])
def test_adding_with_wrapping_is_wrapping_the_exact_sum_in_any_order(num_bits):
    x, w = codes(1)
    order = torch.randperm(K, generator=torch.Generator().manual_seed(2))
    assert torch.equal(accumulate(x, w, num_bits), wrap(exact(x, w), num_bits))
    assert torch.equal(accumulate(x[:, order], w[:, order], num_bits), accumulate(x, w, num_bits))


def test_adding_with_saturation_follows_a_loop_and_depends_on_the_order():
    x, w = codes(3)
    slow = []
    for row in x.tolist():
        for weights in w.tolist():
            total = 0
            for a, b in zip(row, weights, strict=True):
                total = max(-32768, min(32767, total + a * b))
            slow.append(total)
    assert accumulate(x, w, 16, "saturate").flatten().tolist() == slow
    backwards = accumulate(x.flip(1), w.flip(1), 16, "saturate")
    assert not torch.equal(backwards, accumulate(x, w, 16, "saturate"))


def test_what_never_leaves_the_range_is_exact_in_both_modes():
    x, w = codes(4)
    fits = ~excursion(x, w).overflows_on_the_way(18)
    assert fits.any()
    assert not fits.all()
    for mode in ("wrap", "saturate"):
        assert torch.equal(accumulate(x, w, 18, mode)[fits], exact(x, w)[fits])


def test_an_excursion_is_the_extremes_of_the_running_sums():
    x, w = codes(5)
    running = (x.long()[:, None] * w.long()).cumsum(-1)  # [rows, out, k]
    went = excursion(x, w)
    assert torch.equal(went.final, running[..., -1])
    assert torch.equal(went.highest, running.amax(-1).clamp(min=0))
    assert torch.equal(went.lowest, running.amin(-1).clamp(max=0))
    assert torch.equal(went.overflows(17), running[..., -1] != wrap(running[..., -1], 17))
    assert torch.equal(went.overflows_on_the_way(17), (running != wrap(running, 17)).any(-1))


@pytest.mark.parametrize("x_low, x_high", [(0, 255), (-128, 127), (0, 15), (3, 9)])
def test_safe_bits_suffice_for_the_worst_input_and_one_less_does_not(x_low, x_high):
    _, w = codes(6)
    for weights, bits in zip(w.long(), safe_bits(w, x_low, x_high).tolist(), strict=True):
        ends = torch.stack([weights * x_low, weights * x_high], 1)
        above, below = ends.amax(1).clamp(min=0).sum().item(), ends.amin(1).clamp(max=0).sum().item()
        low, high = accumulator_range(bits)
        assert low <= below
        assert above <= high
        low, high = accumulator_range(bits - 1)
        assert below < low or above > high


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: accumulator_range(1), "2 to 62 bits, got 1"),
        (lambda: accumulator_range(True), "2 to 62 bits, got True"),
        (lambda: accumulate(*codes(0), 16, "clip"), "mode must be one of wrap, saturate, got 'clip'"),
        (lambda: accumulate(torch.ones(2, 3), codes(0)[1], 16), r"x must hold integer codes .* float32 \[2, 3\]"),
        (lambda: excursion(codes(0)[0][:, 1:], codes(0)[1]), "same k, got 36 and 37"),
        (lambda: safe_bits(torch.ones(3), 0, 255), r"integer codes \[out, ...\]"),
        (lambda: safe_bits(codes(0)[1], 5, 4), "x_low must not be above x_high, got 5 and 4"),
    ],
)
def test_bad_input_is_refused_with_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
