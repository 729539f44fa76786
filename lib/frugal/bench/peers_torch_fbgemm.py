"""fbgemm through torch's eager quantized operators: ``torch.ops.quantized.linear`` and ``conv2d``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from frugal.bench.peer import ALLOWED_CODES, Entry, Kept, Missing, Peer, Unsupported, first_line, installed
from frugal.bench.problem import Problem
from frugal.bench.shapes import Conv

ENGINE = "fbgemm"


def find() -> str:
    found = installed("torch")
    if ENGINE not in torch.backends.quantized.supported_engines:
        raise Missing(f"this torch was built without {ENGINE}")
    return found


@contextmanager
def fbgemm() -> Iterator[None]:
    """Pack with fbgemm (packed weights remember their engine), and keep torch's deprecation notes to itself."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = ENGINE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except RuntimeError as error:
        raise Unsupported(f"fbgemm: {first_line(error)}") from None
    finally:
        torch.backends.quantized.engine = before


def as_quantized(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor]:
    """Activations and weights in torch's quantized tensor types."""
    zeros = torch.zeros(len(problem.w), dtype=torch.int64)
    return (
        torch._make_per_tensor_quantized_tensor(x, problem.x_scale, problem.x_zero_point),
        torch._make_per_channel_quantized_tensor(problem.w, problem.w_scale.double(), zeros, 0),
    )


def prepare_gemm(problem: Problem, threads: int) -> Entry:
    multiply = torch.ops.quantized.linear.default
    with fbgemm():
        x, w = as_quantized(problem, problem.x)
        packed = torch.ops.quantized.linear_prepack(w, problem.real_bias)
    run = Kept(lambda: multiply(x, packed, problem.y_scale, problem.y_zero_point))
    return Entry(run, lambda: run.result().int_repr(), problem.expected(), ALLOWED_CODES)


def prepare_conv(problem: Problem, threads: int) -> Entry:
    shape = problem.shape
    assert isinstance(shape, Conv)
    convolve = torch.ops.quantized.conv2d.new
    with fbgemm():
        x, w = as_quantized(problem, problem.x.permute(0, 3, 1, 2))
        w = w.contiguous(memory_format=torch.channels_last)
        window = ([shape.stride] * 2, [shape.padding] * 2, [1, 1], shape.groups)
        packed = torch.ops.quantized.conv2d_prepack(w, problem.real_bias, *window)
    run = Kept(lambda: convolve(x, packed, problem.y_scale, problem.y_zero_point))
    return Entry(run, lambda: run.result().int_repr().permute(0, 2, 3, 1), problem.expected(), ALLOWED_CODES)


GEMM = (Peer("torch fbgemm", "u8", prepare_gemm, find),)
CONV = (Peer("torch fbgemm", "u8", prepare_conv, find),)
