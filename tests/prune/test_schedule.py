"""Schedules: the numbers of the formulas, ends that are exact, and never less sparse than before."""

from itertools import pairwise

import pytest

from frugal.prune.schedule import Cubic, Geometric, Linear, OneShot

SCHEDULES = [
    OneShot(0.9, begin=3),
    Linear(0.8, initial=0.1, begin=5, every=7, count=9),
    Cubic(0.9, initial=0.2, begin=5, every=7, count=9),
    Cubic(0.95, every=1, count=1),
    Geometric(0.9, rounds=7, every=10),
    Geometric(0.5, rounds=1),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_sparsity_never_falls_and_ends_exactly_where_it_was_asked_to(schedule):
    values = [schedule.sparsity(step) for step in range(schedule.last + 50)]
    assert values == sorted(values)
    assert values[schedule.last] == values[-1] == schedule.final
    assert 0 <= values[0] < 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_last_update_is_the_last(schedule):
    updates = [step for step in range(schedule.last + 50) if schedule.updates(step)]
    assert updates[-1] == schedule.last
    assert len(updates) == {"OneShot": 1, "Geometric": getattr(schedule, "rounds", 0)}.get(
        type(schedule).__name__, getattr(schedule, "count", 0) + 1
    )


def test_the_cubic_schedule_is_zhu_and_guptas_formula():
    schedule = Cubic(0.9, every=100, count=10)
    expected = {0: 0.0, 100: 0.2439, 250: 0.5203, 500: 0.7875, 1000: 0.9, 2000: 0.9}
    assert {step: round(schedule.sparsity(step), 4) for step in expected} == expected
    later = Cubic(0.8, initial=0.3, begin=40, every=5, count=4)
    assert later.sparsity(39) == 0
    assert later.sparsity(40) == pytest.approx(0.3, abs=1e-15)
    assert later.sparsity(50) == pytest.approx(0.8 - 0.5 * 0.5**3, abs=1e-15)


def test_the_cubic_one_is_ahead_of_the_linear_one_until_they_meet():
    cubic, linear = Cubic(0.9, every=10, count=10), Linear(0.9, every=10, count=10)
    assert all(cubic.sparsity(step) > linear.sparsity(step) for step in range(1, 100))
    assert cubic.sparsity(100) == linear.sparsity(100) == 0.9


def test_every_round_takes_the_same_share_of_what_is_left():
    schedule = Geometric(0.9, rounds=5)
    left = [1 - schedule.sparsity(number) for number in range(6)]
    assert [b / a for a, b in pairwise(left)] == pytest.approx([1 - schedule.share] * 5, abs=1e-12)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: OneShot(1.0), "from 0 to below 1"),
        (lambda: Cubic(float("nan")), "from 0 to below 1"),
        (lambda: Linear(0.3, initial=0.5), "must not fall: it would go from 0.5 to 0.3"),
        (lambda: Cubic(0.9, every=0), "every must be a whole number of 1 or more, got 0"),
        (lambda: Cubic(0.9, begin=-1), "begin must be a whole number of 0 or more, got -1"),
        (lambda: Geometric(0.9, rounds=0), "rounds must be a whole number of 1 or more, got 0"),
        (lambda: Geometric(0.9, rounds=2.5), "rounds must be a whole number of 1 or more, got 2.5"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
