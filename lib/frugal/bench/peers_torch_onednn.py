"""oneDNN through torch: ``torch.ops.onednn.qlinear_pointwise`` and ``qconv2d_pointwise``, weights prepacked.

These are the operators that torch.compile puts into a PT2E-quantized model. They are not in torch's public interface,
so whatever goes wrong when they are called is reported as unsupported. (torch's eager quantized engine of the same name
is left out: with a zero-point other than 0 it runs a reference loop.)
"""

from __future__ import annotations

from typing import Any

import torch

from frugal.bench.peer import ALLOWED_CODES, Entry, Kept, Missing, Peer, Unsupported, first_line, installed
from frugal.bench.problem import Problem
from frugal.bench.shapes import Conv


def find() -> str:
    found = installed("torch")
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.onednn, "qlinear_pointwise"):
        raise Missing("this torch was built without oneDNN")
    return found


def prepare_gemm(problem: Problem, threads: int) -> Entry:
    x, w_scale, bias = problem.x, problem.w_scale, problem.real_bias
    zeros = torch.zeros(len(problem.w), dtype=torch.int64)
    to_codes: tuple[Any, ...] = (problem.y_scale, problem.y_zero_point, torch.uint8, "none", [], "")
    multiply = torch.ops.onednn.qlinear_pointwise.default
    try:
        w = torch.ops.onednn.qlinear_prepack(problem.w, list(x.shape))
    except RuntimeError as error:
        raise Unsupported(f"qlinear_pointwise: {first_line(error)}") from None
    run = Kept(lambda: multiply(x, problem.x_scale, problem.x_zero_point, w, w_scale, zeros, bias, *to_codes))
    return Entry(run, run.result, problem.expected(), ALLOWED_CODES)


def prepare_conv(problem: Problem, threads: int) -> Entry:
    shape = problem.shape
    assert isinstance(shape, Conv)
    x = problem.x.permute(0, 3, 1, 2)  # NCHW by its sizes, NHWC in memory
    window = ([shape.stride] * 2, [shape.padding] * 2, [1, 1], shape.groups)
    zeros = torch.zeros(len(problem.w), dtype=torch.int64)
    given = (x, problem.x_scale, problem.x_zero_point)
    to_codes: tuple[Any, ...] = (problem.y_scale, problem.y_zero_point, torch.uint8, "none", [], "")
    convolve = torch.ops.onednn.qconv2d_pointwise.default
    try:
        w = torch.ops.onednn.qconv_prepack(
            problem.w, problem.w_scale, problem.x_scale, problem.x_zero_point, *window, list(x.shape)
        )
    except RuntimeError as error:
        raise Unsupported(f"qconv2d_pointwise: {first_line(error)}") from None
    weights = (w, problem.w_scale, zeros, problem.real_bias)
    run = Kept(lambda: convolve(*given, *weights, *window, *to_codes))
    return Entry(run, lambda: run.result().permute(0, 2, 3, 1), problem.expected(), ALLOWED_CODES)


GEMM = (Peer("torch oneDNN qlinear", "u8", prepare_gemm, find),)
CONV = (Peer("torch oneDNN qconv", "u8", prepare_conv, find),)
