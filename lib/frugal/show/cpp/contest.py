"""Who multiplies fastest? Kernels of a cell, the library's and the vendor's, turn by turn in one run.

What is measured is processor time on one thread and one core: waiting for a busy machine does not lengthen it. The
system counts it, also for a kernel in its own process; what the kernel says is not asked. Everybody multiplies the same
few matrices in turn, and results are compared before and after: a kernel that is fast and wrong has no time.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from frugal.core.seed import generator
from frugal.kernels.gemm import Linear8
from frugal.measure.latency import Estimate, median
from frugal.show.cpp.errors import CppError
from frugal.show.cpp.gemm import Multiply, exact, scalar
from frugal.show.words import shorten

REFERENCE = "scalar reference"
STEP_S = 1e-3  # a turn's least processor time: the way to another process is a hundredth of it
ROUNDS = 11
DIFFERENT = 3  # matrices that take turns
Prepare = Callable[[Sequence[Tensor], Tensor], Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Ladder:
    """What a race measured.

    seconds: by name, processor seconds per multiplication of each round; round i of one goes with round i of another.
    macs:    products of one multiplication.
    absent:  who could not run here, and why.
    """

    seconds: Mapping[str, tuple[float, ...]]
    macs: int
    absent: Mapping[str, str]

    def gops(self, name: str) -> float:
        """Thousand million operations a second, a multiply-add being two."""
        return 2e-9 * self.macs / median(self._of(name)).value

    def times(self, name: str, to: str = REFERENCE) -> float:
        """How many times as fast as another, the scalar reference when none is named, in the median round."""
        return _ratio(self._of(to), self._of(name)).value

    def _of(self, name: str) -> tuple[float, ...]:
        if name not in self.seconds:
            raise CppError(f"{name} has no time: {self.absent.get(name, 'it took no part')}")
        return self.seconds[name]

    def __str__(self) -> str:
        lines = [f"{'':<24}{'Gop/s':>9}{'× scalar':>10}"]
        for name in self.seconds:
            times = f"{self.times(name):.1f}" if REFERENCE in self.seconds else "-"
            lines.append(f"{name:<24}{self.gops(name):>9.1f}{times:>10}")
        lines += [f"{name:<24}{'-':>9}{'-':>10}  {why}" for name, why in self.absent.items()]
        return "\n".join(lines)


def ladder(
    entrants: Mapping[str, Multiply | Prepare], *, m: int = 128, n: int = 128, k: int = 512, rounds: int = ROUNDS
) -> Ladder:
    """Race entrants against each other and the scalar reference.

    Args:
        entrants: by name, kernels made by ``plain`` and ``packed``, or functions that get the matrices and return a
            prepared multiplication, such as ``library`` and ``onednn``.
        m, n, k: rows, columns, terms of a sum.
        rounds: turns for each.

    Returns:
        What was measured. Without a compiler only the library and the vendor have times.
    """
    xs, w = _matrices(m, n, k)
    absent: dict[str, str] = {}
    racing: dict[str, _Racer] = {}
    with _one_core(), ExitStack() as stack:
        for name, entrant in {REFERENCE: scalar(), **entrants}.items():
            try:
                racing[name] = _racer(entrant, xs, w, stack)
            except NotImplementedError:
                absent[name] = "not answered yet"
            except (CppError, Absent) as error:
                absent[name] = shorten(str(error).splitlines()[0], 90)
        seconds: dict[str, list[float]] = {name: [] for name in racing}
        order, draw = list(racing), random.Random(0)
        for _ in range(rounds):
            draw.shuffle(order)
            for name in order:
                seconds[name].append(racing[name].seconds())
        for racer in racing.values():
            racer.look()
    return Ladder({name: tuple(values) for name, values in seconds.items()}, m * n * k, absent)


def faster_than_scalar(entrant: Multiply, times: float, *, tries: int = 5) -> bool:
    """Hold a kernel to a multiple of the scalar reference's speed in the same run; tried again where it falls short.

    Returns:
        True.

    Raises:
        AssertionError: with what was measured and what is asked for.
        CppError: it does not compile, crashes, or is wrong.
    """
    xs, w = _matrices(64, 64, 512)
    slow_s: list[float] = []
    fast_s: list[float] = []
    with _one_core(), ExitStack() as stack:
        slow, fast = (_racer(each, xs, w, stack) for each in (scalar(), entrant))
        for _ in range(tries):
            for _ in range(ROUNDS):
                slow_s.append(slow.seconds())
                fast_s.append(fast.seconds())
            if _ratio(slow_s, fast_s).low >= times:  # beyond doubt
                break
        fast.look()
    found = _ratio(slow_s, fast_s)
    if max(found.low, found.value) < times:
        raise AssertionError(f"{found.value:.2f} times as fast as the scalar reference; {times:g} times are asked for")
    return True


# ---- the library and the vendor ------------------------------------------------------------------------------------


class Absent(Exception):
    """An entrant that this machine or this torch does not have."""


def library(xs: Sequence[Tensor], w: Tensor) -> Callable[[Tensor], Tensor]:
    """frugal's own kernel, on the widest instructions or those of ``FRUGAL_ISA``; the sums, int32."""
    return Linear8(w)


def onednn(xs: Sequence[Tensor], w: Tensor) -> Callable[[Tensor], Tensor]:
    """oneDNN as torch calls it, weights prepacked; sums as float32, which holds them exactly up to 2^24."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.onednn, "qlinear_pointwise"):
        raise Absent("this torch was built without oneDNN")
    scale, zeros = torch.ones(len(w)), torch.zeros(len(w), dtype=torch.int64)
    multiply = torch.ops.onednn.qlinear_pointwise.default
    try:
        weights = torch.ops.onednn.qlinear_prepack(w, list(xs[0].shape))
        multiply(xs[0], 1.0, 0, weights, scale, zeros, None, 1.0, 0, torch.float32, "none", [], "")
    except RuntimeError as error:
        raise Absent(str(error).splitlines()[0]) from None
    return lambda x: multiply(x, 1.0, 0, weights, scale, zeros, None, 1.0, 0, torch.float32, "none", [], "")


# ---- one entrant ---------------------------------------------------------------------------------------------------


class _Run(Protocol):
    """Multiplies so many times, taking turns among the matrices, and returns the processor seconds."""

    def __call__(self, times: int) -> float: ...


class _Racer:
    """Somebody who multiplies, checked and with a turn of a fitting length."""

    def __init__(self, run: _Run, results: Callable[[], Sequence[Tensor]], expected: Sequence[Tensor]) -> None:
        self._run, self._results, self._expected = run, results, expected
        self._run(DIFFERENT)
        self.look()
        self._many = DIFFERENT
        while self._run(self._many) < STEP_S and self._many < 10_000:
            self._many *= 2

    def seconds(self) -> float:
        """Processor time per multiplication, in one turn."""
        self._run(DIFFERENT)  # what the last turn left in the caches is not this one's
        return self._run(self._many) / self._many

    def look(self) -> None:
        """Compare the last results with the exact ones."""
        for got, expected in zip(self._results(), self._expected, strict=True):
            wrong = (got.double() != expected.double()).double().mean().item()
            if wrong:
                raise CppError(f"{wrong:.1%} of the sums are wrong, so it is not timed")


def _racer(entrant: Multiply | Prepare, xs: Sequence[Tensor], w: Tensor, stack: ExitStack) -> _Racer:
    expected = [exact(x, w) for x in xs]
    if isinstance(entrant, Multiply):
        child = stack.enter_context(entrant.start(xs, w))
        return _Racer(child.processor_run, lambda: [child.outputs(number)[0] for number in range(len(xs))], expected)
    call = entrant(xs, w)
    results = list(expected)

    def run(times: int) -> float:
        before = time.thread_time()
        for step in range(times):
            results[step % len(xs)] = call(xs[step % len(xs)])
        return max(time.thread_time() - before, 1e-9)

    return _Racer(run, lambda: results, expected)


def _ratio(slow: Sequence[float], fast: Sequence[float]) -> Estimate:
    return median([a / b for a, b in zip(slow, fast, strict=True)])


def _matrices(m: int, n: int, k: int) -> tuple[list[Tensor], Tensor]:
    draw = generator(m * n + k)
    xs = [torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=draw) for _ in range(DIFFERENT)]
    return xs, torch.randint(-127, 128, (n, k), dtype=torch.int8, generator=draw)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep everybody, children too, on one thread and one core: what else runs there slows all of them alike."""
    threads = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    torch.set_num_threads(1)
    if cores:
        os.sched_setaffinity(0, {random.SystemRandom().choice(sorted(cores))})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if cores:
            os.sched_setaffinity(0, cores)
