"""An honest stopwatch: several callables raced in one process, turn by turn, and a word on how far to trust the result.

    result = race({"ours": ours, "theirs": theirs}, rounds=15)
    print(result.latency("ours"), result.ratio("theirs", to="ours"), result.noise)

What makes a timing dishonest, and what is done about it here:

one callable timed after the other   the machine drifts; every round times all of them, in a new order each round
a mean, or the best of many          medians, with an interval that assumes nothing about the noise
a ratio of two medians               the ratio is taken inside each round, then its median
cold caches, sleeping cores          every turn begins with calls that are not counted
threads that still spin              a silence before each turn (``silence_s``), for runtimes with thread pools
somebody else on the machine         a fixed calibration loop is timed before every turn, and the system's load is read

Learn: course/4_quantization/4_8_int8_for_real.ipynb
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from frugal.core.errors import FrugalError

CONFIDENCE = 0.95
MIN_ROUNDS = 6  # with 5, even the interval from the smallest to the largest holds the median with 94 % only
BUSY = 0.10  # where a tenth of equal loops take a tenth longer than usual, so do the turns between them
CALIBRATION_STEPS = 20_000


class NoisyMachine(FrugalError, RuntimeError):
    """The machine was too busy to time anything on it."""


@dataclass(frozen=True)
class Estimate:
    """A median, and the interval that holds the true one 95 times in 100.

    value, low, high: in the unit of what was measured.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True)
class Noise:
    """How much else went on.

    spread: by how much the slowest tenth of the calibration loops exceeds the usual one. A quiet machine has 0.01 to
            0.06, one whose cores are shared 0.2 and more.
    load:   processes that wanted to run when the race began (the one-minute average), or None where that is unknown.
    cores:  how many there are for them.
    threads: how many the race itself takes.
    """

    spread: float
    load: float | None
    cores: int
    threads: int = 1

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not to trust the timings; empty on a quiet machine."""
        found = []
        if self.spread > BUSY:
            found.append(
                f"in one of ten times a fixed loop took {self.spread:.0%} longer than usual (quiet: under {BUSY:.0%})"
            )
        if self.load is not None and self.load + self.threads > self.cores + 0.5:
            found.append(f"a load of {self.load:.1f} before {self.threads} threads of ours, on {self.cores} cores")
        return tuple(found)

    @property
    def noisy(self) -> bool:
        return bool(self.reasons)

    def __str__(self) -> str:
        return "noisy: " + "; ".join(self.reasons) if self.noisy else f"quiet (spread {self.spread:.1%})"


@dataclass(frozen=True)
class Race:
    """What a race measured.

    seconds: per callable, the seconds per call of each round: round i of one goes with round i of another.
    noise:   what else went on.
    """

    seconds: Mapping[str, tuple[float, ...]]
    noise: Noise

    @property
    def rounds(self) -> int:
        return len(next(iter(self.seconds.values())))

    def latency(self, name: str) -> Estimate:
        """Seconds per call."""
        return median(self.seconds[name])

    def fastest(self, name: str) -> float:
        """Seconds per call in its best round: what is left when nobody disturbs, of interest beside the median."""
        return min(self.seconds[name])

    def ratio(self, name: str, to: str) -> Estimate:
        """How many times longer ``name`` takes than ``to``, round by round; above 1: ``to`` is the faster."""
        return median([a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True)])


def race(
    runners: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    turn_s: float = 2e-3,
    warm_up_s: float = 1e-3,
    silence_s: float = 0.0,
    threads: int = 1,
    when_noisy: str = "mark",
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    load: Callable[[], float | None] | None = None,
) -> Race:
    """Time callables against each other.

    Every round gives each of them one turn, in an order drawn anew. A turn is ``silence_s`` of nothing, ``warm_up_s``
    of calls that are not counted (one at least), then calls for ``turn_s``; their median is the round's time per call.

    Args:
        runners: what to time; each is called without arguments.
        rounds: turns for each, ``MIN_ROUNDS`` or more. The interval narrows with their square root.
        turn_s: seconds of counted calls in a turn; at least one call whatever it takes.
        warm_up_s: seconds of calls before them.
        silence_s: pause before a turn. Thread pools spin for a while after a call and would slow the next runner:
            0.025 where several threads are used.
        threads: how many cores a runner keeps busy; only the load is judged by it.
        when_noisy: ``"mark"`` leaves the verdict in ``noise``; ``"refuse"`` raises ``NoisyMachine``.
        seed: of the orders.
        clock, sleep, load: for tests.

    Raises:
        ValueError: nothing to time, too few rounds, or a time below zero.
        NoisyMachine: ``when_noisy="refuse"`` on a busy machine.
    """
    if not runners:
        raise ValueError("race needs at least one callable, got none")
    if rounds < MIN_ROUNDS:
        raise ValueError(
            f"rounds must be {MIN_ROUNDS} or more, got {rounds}: fewer give no {CONFIDENCE:.0%} interval of a median"
        )
    if min(turn_s, warm_up_s, silence_s) < 0:
        raise ValueError(f"times must be 0 or more, got {turn_s=}, {warm_up_s=}, {silence_s=}")
    if when_noisy not in ("mark", "refuse"):
        raise ValueError(f"when_noisy must be 'mark' or 'refuse', got {when_noisy!r}")
    load_before = (load or system_load)()
    draw = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    loops = []
    for _ in range(rounds):
        order = list(runners)
        draw.shuffle(order)
        for name in order:
            if silence_s:
                sleep(silence_s)
            loops.append(_calibrate(clock))
            _calls(runners[name], warm_up_s, clock)
            seconds[name].append(float(np.median(_calls(runners[name], turn_s, clock))))
    noise = Noise(spread(loops), load_before, cores=available_cores(), threads=threads)
    if noise.noisy and when_noisy == "refuse":
        raise NoisyMachine(f"this machine is too busy to time anything: {noise}. Close what runs beside, then repeat")
    return Race({name: tuple(values) for name, values in seconds.items()}, noise)


def median(values: Sequence[float]) -> Estimate:
    """The median and its 95 % interval, from the order of the values alone.

    How many of n values lie below the true median is a fair coin's business, so the interval runs from the j-th
    smallest to the j-th largest value, with the largest j that a binomial of n tosses allows.

    >>> median([3, 1, 2, 5, 4, 6])
    Estimate(value=3.5, low=1.0, high=6.0)

    Raises:
        ValueError: fewer than ``MIN_ROUNDS`` values, or one that is not finite.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if len(ordered) < MIN_ROUNDS or not np.isfinite(ordered).all():
        raise ValueError(f"median needs {MIN_ROUNDS} or more finite values, got {list(values)}")
    j = _rank(len(ordered))
    return Estimate(float(np.median(ordered)), float(ordered[j - 1]), float(ordered[-j]))


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean for ratios: twice as fast here and half as fast there is 1.

    >>> geometric_mean([2.0, 0.5])
    1.0
    """
    if not len(ratios) or min(ratios) <= 0:
        raise ValueError(f"a geometric mean needs ratios above 0, got {list(ratios)}")
    return float(np.exp(np.mean(np.log(ratios))))


def spread(loops: Sequence[float]) -> float:
    """By how much the slowest tenth of equal loops exceeds the usual one.

    >>> spread([1.0, 1.0, 1.5])
    0.4
    """
    usual = float(np.median(loops))
    return round(float(np.quantile(loops, 0.9)) / usual - 1, 6) if usual > 0 else 0.0


def available_cores() -> int:
    """Cores of this machine, also while the process is pinned to one."""
    return os.cpu_count() or 1


def system_load() -> float | None:
    """Processes that wanted to run during the last minute, on average; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


@contextmanager
def pinned(threads: int = 1) -> Iterator[tuple[int, ...]]:
    """Keep this thread on one core, where the system can and one thread is all that is timed.

    Yields the cores that are used: one, or all for several threads, which no order of ours would place better.
    Import what you time first: ONNX Runtime looks at the cores when it is imported, and gives up AMX if it sees one.
    And say torch.set_num_threads(1): several threads on one core wait for each other.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    before = os.sched_getaffinity(0)
    chosen = {max(before)} if threads == 1 else before
    os.sched_setaffinity(0, chosen)
    try:
        yield tuple(sorted(chosen))
    finally:
        os.sched_setaffinity(0, before)


def _calls(runner: Callable[[], object], at_least_s: float, clock: Callable[[], float]) -> list[float]:
    """Call once or more, until the time is up; the seconds of each call."""
    times: list[float] = []
    begin = clock()
    while True:
        before = clock()
        runner()
        after = clock()
        times.append(after - before)
        if after - begin >= at_least_s:
            return times


def _calibrate(clock: Callable[[], float]) -> float:
    """Time the same work always, so that what differs is the machine."""
    before = clock()
    sum(range(CALIBRATION_STEPS))
    return clock() - before


def _rank(n: int) -> int:
    """The largest j with P(fewer than j heads in n tosses) at most half of what the confidence leaves."""
    left, j, total = (1 - CONFIDENCE) / 2, 0, 0.0
    while (total := total + math.comb(n, j) / 2**n) <= left:
        j += 1
    return j
