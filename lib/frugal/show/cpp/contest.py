"""Who multiplies fastest? Kernels of a cell, the library's and the vendor's, turn by turn in one run.

Every entrant multiplies the same few matrices, one after the other, and every result is compared before and after its
turns: a kernel that is fast and wrong has no time. The clock is on this side, not in the kernel's process. One thread.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.seed import generator
from frugal.kernels.gemm import Linear8
from frugal.measure.latency import MIN_ROUNDS, Race, median, race
from frugal.show.cpp.errors import CppError
from frugal.show.cpp.gemm import Multiply, exact, scalar

REFERENCE = "scalar reference"
TURN_S, STEP_S = 4e-3, 1e-3
DIFFERENT = 3  # matrices that take turns
Run = Callable[[int], object]
Prepare = Callable[[Sequence[Tensor], Tensor], Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Ladder:
    """What a race measured.

    race:   seconds per multiplication.
    macs:   products of one multiplication.
    absent: who could not run here, and why.
    """

    race: Race
    macs: int
    absent: Mapping[str, str]

    def gops(self, name: str) -> float:
        """Thousand million operations a second, a multiply-add being two."""
        return 2e-9 * self.macs / self.race.latency(name).value

    def times(self, name: str) -> float:
        """How many times as fast as the scalar reference, in the median round."""
        return self.race.ratio(REFERENCE, to=name).value

    def __str__(self) -> str:
        lines = [f"{'':<24}{'Gop/s':>9}{'× scalar':>10}"]
        lines += [f"{name:<24}{self.gops(name):>9.1f}{self.times(name):>10.1f}" for name in self.race.seconds]
        lines += [f"{name:<24}{'-':>9}{'-':>10}  {why}" for name, why in self.absent.items()]
        return "\n".join([*lines, f"The machine was {self.race.noise}."])


def ladder(
    entrants: Mapping[str, Multiply | Prepare], *, m: int = 128, n: int = 128, k: int = 512, rounds: int = 9
) -> Ladder:
    """Race entrants against each other and the scalar reference.

    Args:
        entrants: by name, kernels made by ``plain`` and ``packed``, or functions that get the matrices and return a
            prepared multiplication, such as ``library`` and ``onednn``.
        m, n, k: rows, columns, terms of a sum.
        rounds: turns for each.
    """
    draw = generator(m * n + k)
    xs = [torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=draw) for _ in range(DIFFERENT)]
    w = torch.randint(-127, 128, (n, k), dtype=torch.int8, generator=draw)
    everybody = {REFERENCE: scalar(), **entrants}
    steps: dict[str, tuple[Run, int]] = {}
    absent: dict[str, str] = {}
    with _one_core(), ExitStack() as stack:
        checks = []
        for name, entrant in everybody.items():
            try:
                run, look = _prepared(entrant, xs, w, stack)
                run(DIFFERENT)
                look()
            except NotImplementedError:
                absent[name] = "not answered yet"
                continue
            except (CppError, Absent, Wrong) as error:
                absent[name] = str(error).splitlines()[0][:90]
                continue
            steps[name] = (run, _steps(run))
            checks.append(look)
        if REFERENCE not in steps:
            raise CppError(absent[REFERENCE])
        timed = race({name: _call(run, many) for name, (run, many) in steps.items()}, rounds=rounds, turn_s=TURN_S)
        for look in checks:
            look()
    seconds = {name: tuple(s / steps[name][1] for s in timed.seconds[name]) for name in steps}
    return Ladder(Race(seconds, timed.noise), m * n * k, absent)


def faster_than_scalar(entrant: Multiply, times: float, *, tries: int = 5) -> bool:
    """Hold a kernel to a multiple of the scalar reference's speed in the same run; tried again where it falls short.

    Returns:
        True.

    Raises:
        AssertionError: with what was measured and what is asked for.
        CppError: it does not compile, crashes, or is wrong.
    """
    ratios: list[float] = []
    for _ in range(tries):
        found = ladder({"yours": entrant}, m=64, n=64, k=512, rounds=MIN_ROUNDS + 3)
        if "yours" in found.absent:
            raise CppError(found.absent["yours"])
        seconds = found.race.seconds
        ratios += [slow / fast for slow, fast in zip(seconds[REFERENCE], seconds["yours"], strict=True)]
        if median(ratios).low >= times:  # beyond doubt
            return True
    if median(ratios).value >= times:
        return True
    measured = median(ratios).value
    raise AssertionError(f"{measured:.2f} times as fast as the scalar reference; {times:g} times are asked for")


# ---- the library and the vendor ------------------------------------------------------------------------------------


class Absent(Exception):
    """An entrant that this machine or this torch does not have."""


class Wrong(Exception):
    """An entrant whose result is not the exact one."""


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


def _prepared(
    entrant: Multiply | Prepare, xs: Sequence[Tensor], w: Tensor, stack: ExitStack
) -> tuple[Run, Callable[[], None]]:
    """Return what multiplies so many times, and what compares the last results."""
    expected = [exact(x, w) for x in xs]
    if isinstance(entrant, Multiply):
        child = stack.enter_context(entrant.start(xs, w))
        return child.run, lambda: _compare([child.outputs(number)[0] for number in range(len(xs))], expected)
    call = entrant(xs, w)
    results: list[Tensor] = list(expected)

    def run(times: int) -> None:
        for step in range(times):
            results[step % len(xs)] = call(xs[step % len(xs)])

    return run, lambda: _compare(results, expected)


def _compare(results: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for got, exactly in zip(results, expected, strict=True):
        if not torch.equal(got.double(), exactly.double()):
            wrong = (got.double() != exactly.double()).double().mean().item()
            raise Wrong(f"{wrong:.1%} of the sums are wrong, so it is not timed")


def _steps(run: Run) -> int:
    """How many multiplications take about ``STEP_S``, so that the way to another process does not count."""
    many = DIFFERENT
    while True:
        seconds = min(race({"": _call(run, many)}, rounds=MIN_ROUNDS, turn_s=0.0, warm_up_s=0.0).seconds[""])
        if seconds >= STEP_S / 2 or many > 10_000:
            return many
        many = max(many * 2, min(many * 20, round(many * STEP_S / max(seconds, 1e-6))))


def _call(run: Run, times: int) -> Callable[[], object]:
    return lambda: run(times)


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
