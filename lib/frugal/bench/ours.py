"""Ours, as one more entrant: the prepared layers of ``frugal.kernels``. Their result must be exact, not nearly so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

import frugal
from frugal.bench.peer import OURS, Entry, Peer
from frugal.bench.problem import Problem
from frugal.bench.shapes import Conv
from frugal.kernels import dispatch
from frugal.kernels.conv import Conv8
from frugal.kernels.gemm import Linear8
from frugal.kernels.output import codes, sums


def find() -> str:
    return frugal.__version__


def widest() -> str:
    """The instruction set that is taken when nobody says otherwise: FRUGAL_ISA, or the widest here."""
    return dispatch.forced() or dispatch.available()[0]


def gemm(isa: str | None = None) -> list[Peer]:
    """Ours in both outputs, on one instruction set; None: the one of ``widest``."""

    def prepare(problem: Problem, threads: int) -> Entry:
        output = codes(problem.scale, zero_point=problem.y_zero_point)
        with forced(isa):
            layer = Linear8(problem.w, problem.bias, x_zero_point=problem.x_zero_point, output=output)
        return _bound_entry(layer, problem.x, problem.expected())

    def prepare_sums(problem: Problem, threads: int) -> Entry:
        with forced(isa):
            layer = Linear8(problem.w, output=sums())
        return _bound_entry(layer, problem.x, problem.expected_sums())

    return [Peer(OURS, "u8", prepare, find), Peer(OURS, "s32", prepare_sums, find)]


def conv(isa: str | None = None) -> list[Peer]:
    """Ours, requantized; ``isa`` as in ``gemm``."""

    def prepare(problem: Problem, threads: int) -> Entry:
        shape = problem.shape
        assert isinstance(shape, Conv)
        with forced(isa):
            layer = Conv8(
                problem.w,
                problem.bias,
                stride=shape.stride,
                padding=shape.padding,
                groups=shape.groups,
                x_zero_point=problem.x_zero_point,
                output=codes(problem.scale, zero_point=problem.y_zero_point),
            )
        return _bound_entry(layer, problem.x, problem.expected())

    return [Peer(OURS, "u8", prepare, find)]


def _bound_entry(layer: Linear8 | Conv8, x: Tensor, expected: Tensor) -> Entry:
    """Bound to its tensors, as peers are that bind their memory."""
    run = layer.bind(x)
    return Entry(run, lambda: run.out, expected, allowed=0)


@contextmanager
def forced(isa: str | None) -> Iterator[None]:
    """Prepare layers for one instruction set; a call then spends no time on choosing."""
    before = os.environ.get(dispatch.VARIABLE)
    if isa is not None:
        os.environ[dispatch.VARIABLE] = isa
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(dispatch.VARIABLE, None)
        else:
            os.environ[dispatch.VARIABLE] = before
