"""Schedules: how sparse a network is at each step of its training, and when its masks are chosen anew.

Papers:  Zhu and Gupta, "To prune, or not to prune", 2017: the cubic one. Frankle and Carbin, ICLR 2019:
         a constant share of what is left, in rounds. Lecture: slide 31.
Formula: one shot    s(t) = s_f from step t0 on
         linear      s(t) = s_i + (s_f - s_i) u                     u = (t - t0) / (n Δt), clamped to [0, 1]
         cubic       s(t) = s_f + (s_i - s_f) (1 - u)³              much at first, while there is much to spare
         geometric   s(r) = 1 - (1 - s_f)^(r / rounds)              every round takes the same share of what is left
Learn:   course/5_pruning/5_5_fine_tuning.ipynb
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from frugal.prune.masks import check_sparsity


class Schedule(Protocol):
    """What a training loop asks at each step."""

    def sparsity(self, step: int) -> float:
        """The share of zeros wanted at this step."""
        ...

    def updates(self, step: int) -> bool:
        """Whether masks are chosen anew just before this step."""
        ...

    @property
    def last(self) -> int:
        """The step of the last update."""
        ...


@dataclass(frozen=True)
class OneShot:
    """All at once, before step ``begin``.

    >>> [OneShot(0.9, begin=2).sparsity(step) for step in range(4)]
    [0.0, 0.0, 0.9, 0.9]
    """

    final: float
    begin: int = 0

    def __post_init__(self) -> None:
        check_sparsity(self.final)
        _check_counts(begin=self.begin)

    def sparsity(self, step: int) -> float:
        """The share of zeros wanted at this step."""
        return self.final if step >= self.begin else 0.0

    def updates(self, step: int) -> bool:
        """Whether masks are chosen anew just before this step."""
        return step == self.begin

    @property
    def last(self) -> int:
        """The step of the last update."""
        return self.begin


@dataclass(frozen=True)
class Linear:
    """The same amount at each of ``count`` updates after the first.

    final, initial: sparsity at the end and at the beginning.
    begin: step of the first update, t0.
    every: steps from one update to the next, Δt.
    count: updates after the first, n.

    >>> [round(Linear(0.8, every=1, count=4).sparsity(step), 4) for step in range(6)]
    [0.0, 0.2, 0.4, 0.6, 0.8, 0.8]
    """

    final: float
    initial: float = 0.0
    begin: int = 0
    every: int = 100
    count: int = 10

    def __post_init__(self) -> None:
        check_sparsity(self.final)
        check_sparsity(self.initial)
        _check_counts(begin=self.begin)
        _check_counts(1, every=self.every, count=self.count)
        if self.initial > self.final:
            raise ValueError(f"sparsity must not fall: it would go from {self.initial} to {self.final}")

    def sparsity(self, step: int) -> float:
        """The share of zeros wanted at this step."""
        if step < self.begin:
            return 0.0
        return self.final + (self.initial - self.final) * self._left(1 - self._done(step))

    def _done(self, step: int) -> float:
        return min((step - self.begin) / (self.every * self.count), 1.0)

    def _left(self, rest: float) -> float:
        """Which share of the way is left when this share of the time is."""
        return rest

    def updates(self, step: int) -> bool:
        """Whether masks are chosen anew just before this step."""
        return self.begin <= step <= self.last and (step - self.begin) % self.every == 0

    @property
    def last(self) -> int:
        """The step of the last update."""
        return self.begin + self.every * self.count


@dataclass(frozen=True)
class Cubic(Linear):
    """Zhu and Gupta's: fast at first, slowly towards the end; the arguments are those of ``Linear``.

    >>> schedule = Cubic(0.9, every=100, count=10)
    >>> [round(schedule.sparsity(step), 4) for step in (0, 100, 250, 500, 1000, 5000)]
    [0.0, 0.2439, 0.5203, 0.7875, 0.9, 0.9]
    """

    def _left(self, rest: float) -> float:
        return rest**3


@dataclass(frozen=True)
class Geometric:
    """Rounds, each of which removes the same share of what is left: r rounds on, (1 - s_f)^(r / rounds) is.

    final:  sparsity after the last round.
    rounds: how many.
    every:  steps from one round to the next; 1 where steps are rounds, as with rewinding.

    >>> schedule = Geometric(0.488, rounds=3)
    >>> [round(schedule.sparsity(number), 3) for number in range(5)], round(schedule.share, 3)
    ([0.0, 0.2, 0.36, 0.488, 0.488], 0.2)
    """

    final: float
    rounds: int
    every: int = 1

    def __post_init__(self) -> None:
        check_sparsity(self.final)
        _check_counts(1, rounds=self.rounds, every=self.every)

    @property
    def share(self) -> float:
        """What each round removes of what is left."""
        return 1 - (1 - self.final) ** (1 / self.rounds)

    def sparsity(self, step: int) -> float:
        """The share of zeros wanted at this step."""
        number = min(max(step, 0) // self.every, self.rounds)
        return self.final if number == self.rounds else 1 - (1 - self.final) ** (number / self.rounds)

    def updates(self, step: int) -> bool:
        """Whether masks are chosen anew just before this step."""
        return 0 < step <= self.last and step % self.every == 0

    @property
    def last(self) -> int:
        """The step of the last update."""
        return self.rounds * self.every


def _check_counts(low: int = 0, **counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"{name} must be a whole number of {low} or more, got {value!r}")
