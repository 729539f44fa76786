"""Quantize, add and pooling: native loops equal the reference bit for bit, the reference equals torch's operators."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from frugal.kernels import native
from frugal.kernels import pointwise as p
from frugal.kernels.output import CODES

U8, S8 = torch.uint8, torch.int8
DTYPES = pytest.mark.parametrize("dtype", [U8, S8], ids=["u8", "s8"])
needs_library = pytest.mark.skipif(native.library() is None, reason="the native library is not built on this machine")


@pytest.fixture
def both(monkeypatch):
    """Run an operator natively and by the reference."""

    def run(function, *args, **kwargs):
        monkeypatch.delenv("FRUGAL_ISA", raising=False)
        fast = function(*args, **kwargs)
        monkeypatch.setenv("FRUGAL_ISA", "reference")
        return fast, function(*args, **kwargs)

    return run


@needs_library
@DTYPES
@pytest.mark.parametrize("shape", [(1,), (65,), (3, 257), (2, 3, 5, 7), (1, 1, 4, 300), (4, 5, 6)])
def test_quantize_equals_the_reference(draw, both, dtype, shape, three_threads):
    x = torch.randn(shape, generator=draw.generator) * 30
    fast, slow = both(p.quantize, x, 0.21, CODES[dtype][0] + 100, dtype=dtype)
    assert torch.equal(fast, slow)


@DTYPES
def test_quantize_is_torchs_quantizer(draw, dtype):
    low, high = CODES[dtype]
    x = torch.randn(50, 40, generator=draw.generator) * 30
    steps = torch.round(x / 0.21) + low + 90
    assert torch.equal(p.quantize(x, 0.21, low + 90, dtype=dtype), steps.clamp(low, high).to(dtype))


def test_a_picture_becomes_channels_last():
    x = torch.arange(24.0).view(1, 2, 3, 4)
    assert torch.equal(p.quantize(x, 1.0), x.permute(0, 2, 3, 1).to(U8))
    moved = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(p.quantize(moved, 1.0), p.quantize(x, 1.0))


@needs_library
@DTYPES
@pytest.mark.parametrize("shape", [(1,), (64,), (3, 67), (2, 5, 5, 33), (1, 9001)])
def test_add_equals_the_reference(draw, both, dtype, shape, three_threads):
    low, _ = CODES[dtype]
    a, b = draw.codes(dtype, *shape), draw.codes(dtype, *shape)
    zeros = {"zero_point_a": low + 30, "zero_point_b": low + 200, "zero_point": low + 128}
    fast, slow = both(p.add, a, b, 0.61, 1.7, **zeros)
    assert torch.equal(fast, slow)


def test_add_adds_reals(draw):
    a, b = draw.codes(U8, 999), draw.codes(U8, 999)
    real = (a.double() - 3) * 0.25 + (b.double() - 9) * 0.5
    wanted = (torch.round(real) + 40).clamp(0, 255).to(U8)  # quarters: float32 and float64 are exact
    assert torch.equal(p.add(a, b, 0.25, 0.5, zero_point_a=3, zero_point_b=9, zero_point=40), wanted)


POOLS = {
    "2x2": (2, None, 0),
    "3x3 stride 2, padded": (3, 2, 1),
    "oblong": ((2, 3), (1, 2), (1, 0)),
    "stride above the kernel": (2, 3, 0),
    "overlapping": (3, 1, 1),
}


@needs_library
@DTYPES
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS.keys())
def test_pooling_equals_the_reference(draw, both, dtype, pool, three_threads):
    kernel, stride, padding = pool
    low, _ = CODES[dtype]
    x = draw.codes(dtype, 2, 9, 10, 35)
    for count_border in (True, False):
        fast, slow = both(
            *(p.average_pool, x, kernel, stride, padding),
            scale=0.8,
            x_zero_point=low + 17,
            zero_point=low + 60,
            count_border=count_border,
        )
        assert torch.equal(fast, slow)
    fast, slow = both(p.max_pool, x, kernel, stride, padding)
    assert torch.equal(fast, slow)


@needs_library
@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(3, 12), st.integers(3, 12), st.integers(1, 70)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
    seed=st.integers(0, 2**32),
)
def test_any_pool_equals_torchs(size, kernel, stride, padding, seed):
    h, w, channels = size
    padding = min(padding, min(kernel) // 2)
    x = torch.randint(0, 256, (1, h, w, channels), generator=torch.Generator().manual_seed(seed)).to(U8)
    real = x.double().permute(0, 3, 1, 2)
    largest = F.max_pool2d(real, kernel, stride, padding).permute(0, 2, 3, 1)
    assert torch.equal(p.max_pool(x, kernel, stride, padding).double(), largest)
    mean = F.avg_pool2d(real, kernel, stride, padding, count_include_pad=False).permute(0, 2, 3, 1)
    got = p.average_pool(x, kernel, stride, padding, count_border=False).double()
    float_slack = 3 * 2.0**-24 * 255  # three operations, each rounded to float32
    assert ((got - mean).abs() <= 0.5 + float_slack).all()


def test_a_dilated_window_takes_the_largest_code(draw):
    x = draw.codes(S8, 1, 9, 9, 5)
    wanted = F.max_pool2d(x.double().permute(0, 3, 1, 2), 3, 2, 1, 2).permute(0, 2, 3, 1)
    assert torch.equal(p.max_pool(x, 3, 2, 1, 2).double(), wanted)


@DTYPES
def test_global_pooling_is_the_mean_of_the_image(draw, dtype):
    low, _ = CODES[dtype]
    x = draw.codes(dtype, 3, 7, 5, 33)
    y = p.global_average_pool(x, x_zero_point=low, zero_point=low)
    assert y.shape == (3, 1, 1, 33)
    mean = x.double().mean((1, 2), keepdim=True)
    float_slack = 3 * 2.0**-24 * 255
    assert ((y.double() - mean).abs() <= 0.5 + float_slack).all()


def test_a_constant_image_keeps_its_code(draw):
    for code in (0, 1, 127, 255):
        x = torch.full((1, 6, 6, 9), code, dtype=U8)
        assert (p.average_pool(x, 3, x_zero_point=50, zero_point=50) == code).all()
        assert (p.max_pool(x, 3, 2, 1) == code).all()
