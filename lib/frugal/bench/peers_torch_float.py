"""torch in float32 (MKL, oneDNN) and bfloat16: not int8, so shown beside the others and never ranked.

They multiply the real values that the codes stand for. Their error is bounded by what their format loses: each term and
each sum is rounded to ``eps`` of its size, so the result is off by at most (terms + 2) · eps · Σ |x · w|.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from frugal.bench.peer import Entry, Kept, Peer, installed
from frugal.bench.problem import Problem, exact_sums
from frugal.bench.shapes import Conv, Gemm


def find() -> str:
    return installed("torch")


def real_operands(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Activations, weights and bias as the reals that they stand for."""
    x = (problem.x.float() - problem.x_zero_point) * problem.x_scale
    w = problem.w.float() * problem.w_scale.reshape(-1, *[1] * (problem.w.ndim - 1))
    return x.to(dtype), w.to(dtype), problem.real_bias.to(dtype)


def error_bound(problem: Problem, dtype: torch.dtype) -> float:
    """The largest error that rounding explains; bfloat16 products are summed in float32 and rounded at both ends."""
    x = (problem.x.int() - problem.x_zero_point).abs()
    sizes = exact_sums(problem.shape, x, problem.w.abs(), 0) + problem.bias.abs()
    largest = float((sizes * problem.w_scale.double()).max()) * problem.x_scale
    terms = problem.w[0].numel()
    summed = (terms + 2) * torch.finfo(torch.float32).eps * largest
    return summed if dtype == torch.float32 else summed + 4 * torch.finfo(dtype).eps * largest


def prepare(problem: Problem, dtype: torch.dtype) -> Entry:
    x, w, bias = real_operands(problem, dtype)
    shape = problem.shape
    if isinstance(shape, Gemm):
        run = Kept(lambda: F.linear(x, w, bias))
        expected = problem.expected_real()
    else:
        assert isinstance(shape, Conv)
        x, w = x.permute(0, 3, 1, 2), w.contiguous(memory_format=torch.channels_last)
        run = Kept(lambda: F.conv2d(x, w, bias, shape.stride, shape.padding, groups=shape.groups))
        expected = problem.expected_real().permute(0, 3, 1, 2)
    return Entry(run, lambda: run.result().double(), expected, error_bound(problem, dtype))


def prepare_float32(problem: Problem, threads: int) -> Entry:
    return prepare(problem, torch.float32)


def prepare_bfloat16(problem: Problem, threads: int) -> Entry:
    return prepare(problem, torch.bfloat16)


GEMM = CONV = (
    Peer("torch fp32", "float", prepare_float32, find, ranked=False),
    Peer("torch bf16", "float", prepare_bfloat16, find, ranked=False),
)
