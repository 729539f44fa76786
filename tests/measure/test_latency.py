"""The stopwatch: fair turns, medians with an interval that holds what it promises, and a word on noise."""

import itertools
import os

import numpy as np
import pytest

from frugal.measure import latency
from frugal.measure.latency import MIN_ROUNDS, Noise, NoisyMachine, Race, geometric_mean, median, pinned, race


class FakeMachine:
    """A clock that moves only when somebody works, and a record of who did."""

    def __init__(self):
        self.now = 0.0
        self.calls = []
        self.slept = []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def runner(self, name, *seconds):
        times = itertools.cycle(seconds)

        def run():
            self.calls.append(name)
            self.now += next(times)

        return run

    def race(self, runners, **settings):
        return race(runners, clock=self.clock, sleep=self.sleep, load=lambda: 0.0, **settings)


def test_every_round_gives_everybody_one_turn():
    machine = FakeMachine()
    names = ("a", "b", "c")
    machine.race({name: machine.runner(name, 1.0) for name in names}, rounds=8, turn_s=0, warm_up_s=0)
    turns = [machine.calls[i] for i in range(0, len(machine.calls), 2)]  # a turn is one warm-up call and one counted
    assert machine.calls == [name for name in turns for _ in range(2)]
    rounds = [turns[i : i + 3] for i in range(0, len(turns), 3)]
    assert len(rounds) == 8
    assert all(sorted(each) == list(names) for each in rounds)


def test_nobody_always_follows_the_same_neighbour():
    machine = FakeMachine()
    machine.race({name: machine.runner(name, 1.0) for name in "abc"}, rounds=20, turn_s=0, warm_up_s=0)
    turns = [machine.calls[i] for i in range(0, len(machine.calls), 2)]
    orders = {tuple(turns[i : i + 3]) for i in range(0, len(turns), 3)}
    assert len(orders) > 3
    assert {order[0] for order in orders} == set("abc")


def test_a_turn_lasts_as_long_as_asked_and_its_median_is_what_counts():
    machine = FakeMachine()
    run = machine.runner("a", 1.0, 1.0, 9.0)
    found = machine.race({"a": run}, rounds=MIN_ROUNDS, turn_s=20.0, warm_up_s=0)
    assert set(found.seconds["a"]) == {1.0}


def test_warm_up_calls_are_not_counted():
    machine = FakeMachine()
    run = machine.runner("a", 50.0, 1.0)  # every second call is slow, and each turn begins with one
    found = machine.race({"a": run}, rounds=MIN_ROUNDS, turn_s=0, warm_up_s=0)
    assert found.seconds["a"] == (1.0,) * MIN_ROUNDS


def test_silence_comes_before_every_turn():
    machine = FakeMachine()
    machine.race({name: machine.runner(name, 1.0) for name in "ab"}, rounds=MIN_ROUNDS, silence_s=0.025, turn_s=0)
    assert machine.slept == [0.025] * 2 * MIN_ROUNDS


def test_a_ratio_is_taken_inside_each_round():
    """The machine halves its speed in the middle: the ratio does not notice."""
    ours, theirs = (1.0, 1.0, 1.0, 2.0, 2.0, 2.0), (3.0, 3.0, 3.0, 6.0, 6.0, 6.0)
    found = Race({"ours": ours, "theirs": theirs}, Noise(0, 0, 4))
    ratio = found.ratio("theirs", to="ours")
    assert (ratio.value, ratio.low, ratio.high) == (3.0, 3.0, 3.0)
    assert found.latency("ours").low == 1.0
    assert found.latency("ours").high == 2.0
    assert found.fastest("ours") == 1.0


@pytest.mark.parametrize("n", [6, 9, 15, 30])
def test_the_interval_holds_the_true_median_95_times_in_100(n):
    """On a skewed distribution, such as times are; each trial is a coin of at least 0.95."""
    trials = 4000
    draws = np.random.default_rng(0).exponential(size=(trials, n))
    true = np.log(2)
    estimates = [median(row) for row in draws]
    held = sum(each.low <= true <= each.high for each in estimates)
    four_deviations = 4 * (0.95 * 0.05 * trials) ** 0.5
    assert held >= 0.95 * trials - four_deviations
    assert [each.value for each in estimates] == [float(np.median(row)) for row in draws]


def test_the_interval_is_no_wider_than_it_must_be():
    """One value further in on both sides would hold less than 95 times in 100."""
    from math import comb

    for n in range(MIN_ROUNDS, 60):
        j = latency._rank(n)
        outside = [2 * sum(comb(n, i) for i in range(rank)) / 2**n for rank in (j, j + 1)]
        assert outside[0] <= 0.05 < outside[1]


def test_fewer_rounds_than_an_interval_needs_are_refused():
    with pytest.raises(ValueError, match="rounds must be 6 or more, got 5"):
        race({"a": lambda: None}, rounds=5)
    with pytest.raises(ValueError, match="6 or more finite values"):
        median([1.0] * 5)
    with pytest.raises(ValueError, match="finite"):
        median([1.0] * 6 + [float("nan")])


@pytest.mark.parametrize("settings", [{"turn_s": -1}, {"warm_up_s": -1}, {"silence_s": -1}, {"when_noisy": "hide"}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        race({"a": lambda: None}, **settings)


def test_a_race_of_nobody_is_refused():
    with pytest.raises(ValueError, match="at least one callable"):
        race({})


def test_geometric_mean_of_a_ratio_and_its_inverse_is_one():
    assert geometric_mean([4.0, 0.25]) == 1.0
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0, rel=1e-15)
    for bad in ([], [1.0, 0.0], [-1.0]):
        with pytest.raises(ValueError, match="ratios above 0"):
            geometric_mean(bad)


def test_a_steady_and_idle_machine_is_quiet():
    assert not Noise(spread=0.02, load=0.3, cores=4, threads=1).noisy
    assert not Noise(spread=0.02, load=None, cores=4, threads=4).noisy  # a system that does not say


@pytest.mark.parametrize(
    "noise, reason",
    [
        (Noise(spread=0.4, load=0.1, cores=4), "40% longer"),
        (Noise(spread=0.01, load=9.0, cores=4), "load of 9.0"),
        (Noise(spread=0.01, load=2.0, cores=4, threads=4), "before 4 threads"),
    ],
)
def test_a_busy_machine_is_marked_with_the_reason(noise, reason):
    assert noise.noisy
    assert reason in str(noise)


def test_a_race_marks_a_machine_whose_calibration_loop_wavers():
    ticks = itertools.accumulate(itertools.cycle([1.0] * 80 + [2.0] * 20))  # a fifth of the time at half the speed
    found = race({"a": lambda: None}, rounds=20, turn_s=0, warm_up_s=0, clock=lambda: next(ticks), load=lambda: 0.0)
    assert found.noise.spread == pytest.approx(1.0)
    assert found.noise.noisy


def test_a_race_on_a_busy_machine_is_refused_when_asked():
    machine = FakeMachine()
    settings = {"rounds": MIN_ROUNDS, "turn_s": 0, "clock": machine.clock, "load": lambda: 1000.0}
    assert race({"a": machine.runner("a", 1.0)}, **settings).noise.noisy
    with pytest.raises(NoisyMachine, match=r"load of 1000\.0.*repeat"):
        race({"a": machine.runner("a", 1.0)}, when_noisy="refuse", **settings)


def test_the_real_clock_tells_slow_from_fast():
    found = race({"short": lambda: sum(range(500)), "long": lambda: sum(range(50_000))}, rounds=6, turn_s=1e-3)
    assert found.ratio("long", to="short").value > 10
    assert found.rounds == 6


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_pinning_takes_one_core_and_gives_all_back():
    before = os.sched_getaffinity(0)
    with pinned() as cores:
        assert os.sched_getaffinity(0) == set(cores)
        assert len(cores) == 1
    assert os.sched_getaffinity(0) == before
    with pinned(threads=2) as cores:
        assert set(cores) == before
