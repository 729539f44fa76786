"""torch._int_mm: s8 times s8 to s32, what torchao's int8 path calls. The weights are packed again in every call.

It wants more than 16 rows, and k and n in multiples of 8; the sums are those of the s8 activations.
"""

from __future__ import annotations

import torch

from frugal.bench.peer import Entry, Peer, Unsupported, first_line, installed
from frugal.bench.problem import Problem


def find() -> str:
    return installed("torch")


def prepare(problem: Problem, threads: int) -> Entry:
    x, w = problem.x_signed, problem.w.t()  # a view: the layout that torch handles faster
    y = torch.empty(len(x), w.shape[1], dtype=torch.int32)
    try:
        torch._int_mm(x, w, out=y)
    except RuntimeError as error:
        raise Unsupported(f"torch._int_mm: {first_line(error)}") from None
    return Entry(lambda: torch._int_mm(x, w, out=y), lambda: y, problem.expected_sums(signed=True), 0, note="s8 · s8")


GEMM = (Peer("torch._int_mm", "s32", prepare, find),)
