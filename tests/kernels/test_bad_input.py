"""Whatever is wrong with an argument, every path refuses it before a pointer moves, and says what to do."""

import math

import pytest
import torch

from frugal.kernels import available
from frugal.kernels import output as out
from frugal.kernels import pointwise as p
from frugal.kernels.conv import Conv8
from frugal.kernels.gemm import Linear8
from frugal.kernels.pack import pack

U8, S8 = torch.uint8, torch.int8


@pytest.fixture(params=available())
def path(request):
    return request.param


@pytest.fixture
def linear(draw):
    return Linear8(draw.weights(6, 10), output=draw.output("codes", 6))


@pytest.fixture
def conv(draw):
    return Conv8(draw.weights(6, 4, 3, 3), output=draw.output("codes", 6))


def strided(shape, strides):
    return torch.zeros(1000, dtype=U8).as_strided(shape, strides)


@pytest.mark.parametrize(
    ("x", "error", "says"),
    [
        ([[1] * 10], TypeError, "must be a tensor of torch.uint8"),
        (torch.ones(2, 10), TypeError, "must be a tensor of torch.uint8, got float32"),
        (torch.ones(2, 10, dtype=S8), TypeError, "got int8"),
        (torch.ones(2, 9, dtype=U8), ValueError, "10 values in its last dimension"),
        (torch.ones(0, 10, dtype=U8), ValueError, "at least one value"),
        (torch.ones(3, 0, dtype=U8), ValueError, "at least one value"),
        (torch.tensor(1, dtype=U8), ValueError, "at least one dimension"),
        (torch.ones(2, 10, dtype=U8).to_sparse(), ValueError, "dense"),
    ],
)
def test_a_matrix_of_another_kind_is_refused(linear, path, x, error, says):
    with pytest.raises(error, match=says):
        linear(x, isa=path)


def test_values_of_a_row_must_be_neighbours(linear, path):
    if path == "reference":
        return  # torch follows any stride
    for x in (strided((3, 10), (1, 3)), strided((3, 10), (40, 2)), strided((2, 3, 10), (50, 20, 1))):
        with pytest.raises(ValueError, match=r"contiguous\(\) copies it"):
            linear(x, isa=path)


def test_an_output_that_does_not_fit_is_refused(linear, path):
    x = torch.ones(3, 10, dtype=U8)
    with pytest.raises(ValueError, match="out must have the shape"):
        linear(x, out=torch.empty(3, 5, dtype=U8), isa=path)
    with pytest.raises(TypeError, match=r"out must be a tensor of torch\.uint8, got int32"):
        linear(x, out=torch.empty(3, 6, dtype=torch.int32), isa=path)


def test_rows_of_an_output_must_not_overlap(linear, path):
    if path == "reference":
        return
    with pytest.raises(ValueError, match="must not overlap"):
        linear(torch.ones(3, 10, dtype=U8), out=strided((3, 6), (5, 1)), isa=path)


def test_an_output_that_shares_memory_with_an_input_is_refused(draw, linear, path):
    room = torch.zeros(100, dtype=U8)
    x = room[:30].view(3, 10)
    with pytest.raises(ValueError, match="must not share memory"):
        linear(x, out=room[29:47].view(3, 6), isa=path)
    linear(x, out=room[30:48].view(3, 6), isa=path)
    adding = Linear8(draw.weights(6, 10), output=draw.output("residual", 6))
    with pytest.raises(ValueError, match="must not share memory"):
        adding(x.clone(), room[:18].view(3, 6), out=room[10:28].view(3, 6), isa=path)


def test_a_misaligned_output_is_refused(path):
    layer = Linear8(torch.ones(4, 4, dtype=S8))
    memory = bytearray(4 * 4 * 2 + 1)
    y = torch.frombuffer(memory, dtype=torch.int32, count=8, offset=1).view(2, 4)
    with pytest.raises(ValueError, match="start at a multiple of 4 bytes"):
        layer(torch.ones(2, 4, dtype=U8), out=y, isa=path)


def test_a_residual_comes_when_the_layer_wants_one_and_only_then(draw, linear, path):
    x = torch.ones(3, 10, dtype=U8)
    with pytest.raises(ValueError, match="has no residual"):
        linear(x, torch.ones(3, 6, dtype=U8), isa=path)
    adding = Linear8(draw.weights(6, 10), output=draw.output("residual", 6))
    with pytest.raises(ValueError, match="needs a residual"):
        adding(x, isa=path)
    with pytest.raises(ValueError, match=r"output's shape \[3, 6\]"):
        adding(x, torch.ones(2, 6, dtype=U8), isa=path)
    with pytest.raises(TypeError, match=r"residual must be a tensor of torch\.uint8"):
        adding(x, torch.ones(3, 6, dtype=S8), isa=path)


@pytest.mark.parametrize(
    ("x", "error", "says"),
    [
        (torch.ones(1, 5, 5, 4), TypeError, "torch.uint8"),
        (torch.ones(1, 5, 5, 3, dtype=U8), ValueError, r"\[batch, height, width, 4\]"),
        (torch.ones(5, 5, 4, dtype=U8), ValueError, r"\[batch, height, width, 4\]"),
        (torch.ones(1, 2, 5, 4, dtype=U8), ValueError, "does not fit an image of 2 x 5"),
        (torch.ones(0, 5, 5, 4, dtype=U8), ValueError, "at least one value"),
    ],
)
def test_a_picture_of_another_kind_is_refused(conv, path, x, error, says):
    with pytest.raises(error, match=says):
        conv(x, isa=path)


def test_a_picture_must_be_contiguous(conv, path):
    if path == "reference":
        return
    with pytest.raises(ValueError, match="contiguous"):
        conv(torch.ones(1, 4, 6, 6, dtype=U8).permute(0, 2, 3, 1), isa=path)


def test_a_convolutions_output_and_residual_are_checked_too(draw, conv, path):
    x = torch.ones(1, 5, 5, 4, dtype=U8)
    with pytest.raises(ValueError, match="out must have the shape"):
        conv(x, out=torch.empty(1, 4, 3, 6, dtype=U8), isa=path)
    with pytest.raises(ValueError, match="has no residual"):
        conv(x, torch.ones(1, 3, 3, 6, dtype=U8), isa=path)
    room = torch.zeros(200, dtype=U8)
    with pytest.raises(ValueError, match="must not share memory"):
        conv(room[:100].view(1, 5, 5, 4), out=room[99:153].view(1, 3, 3, 6), isa=path)


@pytest.mark.parametrize(
    "bad",
    [
        {"stride": 0},
        {"stride": (1, 2, 3)},
        {"padding": -1},
        {"dilation": 0},
        {"stride": 2**15},
        {"padding": (1.5, 1)},
        {"groups": 0},
        {"groups": 4},
        {"x_dtype": torch.int16},
        {"x_zero_point": 256},
    ],
    ids=str,
)
def test_a_bad_constant_of_a_convolution_is_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Conv8(torch.ones(6, 4, 3, 3, dtype=S8), **bad)


def test_a_bad_constant_of_a_linear_layer_is_refused(draw):
    w = draw.weights(6, 10)
    with pytest.raises(TypeError, match="int8 codes"):
        Linear8(w.float())
    with pytest.raises(ValueError, match="one tap and one group"):
        Linear8(pack(draw.weights(6, 2, 10)))
    with pytest.raises(ValueError, match="scale has 5 values"):
        Linear8(w, output=out.codes(torch.ones(5)))
    with pytest.raises(ValueError, match="x_dtype"):
        Linear8(w, x_dtype=torch.int32)


def test_a_path_that_this_machine_lacks_is_refused(linear):
    with pytest.raises(ValueError, match=r"isa='avx9000' is no path of this machine, which runs .*reference"):
        linear(torch.ones(1, 10, dtype=U8), isa="avx9000")


POOLED = torch.ones(1, 5, 5, 4, dtype=U8)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: p.quantize(torch.tensor([1.0, math.nan]), 0.1), ValueError, "finite"),
        (lambda: p.quantize(torch.tensor([[-math.inf]]), 0.1), ValueError, "finite"),
        (lambda: p.quantize(torch.ones(3, dtype=torch.float64), 0.1), TypeError, "float32"),
        (lambda: p.quantize(torch.ones(0), 0.1), ValueError, "at least one value"),
        (lambda: p.quantize(torch.ones(3), 0.0), ValueError, "above 0"),
        (lambda: p.quantize(torch.ones(3), math.nan), ValueError, "finite"),
        (lambda: p.quantize(torch.ones(3), 1.0, 300), ValueError, "zero_point"),
        (lambda: p.add(POOLED, POOLED[:, 1:], 1.0, 1.0), ValueError, "one shape"),
        (lambda: p.add(POOLED, POOLED.to(S8), 1.0, 1.0), TypeError, "b must be a tensor of torch.uint8"),
        (lambda: p.add(POOLED.float(), POOLED, 1.0, 1.0), TypeError, "uint8 or torch.int8"),
        (lambda: p.add(POOLED, POOLED, math.inf, 1.0), ValueError, "finite"),
        (lambda: p.add(POOLED, POOLED, 1e300, 1.0), ValueError, "float32"),
        (lambda: p.add(POOLED, POOLED, 1.0, 1.0, zero_point_b=-1), ValueError, "zero_point"),
        (lambda: p.max_pool(POOLED, 6), ValueError, "does not fit"),
        (lambda: p.max_pool(POOLED, 2, padding=2), ValueError, "half the kernel"),
        (lambda: p.max_pool(POOLED[0], 2), ValueError, "batch, height, width, channels"),
        (lambda: p.max_pool(POOLED.float(), 2), TypeError, "uint8 or torch.int8"),
        (lambda: p.average_pool(POOLED, 0), ValueError, "kernel"),
        (lambda: p.average_pool(POOLED, 2, x_zero_point=-3), ValueError, "zero_point"),
        (lambda: p.average_pool(POOLED, 2, scale=-1.0), ValueError, "not negative"),
        (lambda: p.global_average_pool(POOLED[0]), ValueError, "batch, height, width, channels"),
    ],
)
def test_a_bad_argument_of_a_small_operator_is_refused(monkeypatch, native, call, error, says):
    if not native:
        monkeypatch.setenv("FRUGAL_ISA", "reference")
    with pytest.raises(error, match=says):
        call()
