"""A process that dies, hangs or stops takes nobody else's mark with it."""

import contextlib
import multiprocessing
import os
import sys

import pytest
import small_lab

from frugal.grading import pool
from frugal.grading.pool import Bench, NoScheduler, judge_all, judge_on_cluster

BENCH = Bench("small.ipynb", "digest", opener="small_lab:opener", budget_s=1.0)


def judged(*submissions, jobs=2, bench=BENCH):
    """Judge some submissions; return points or trouble for each, by number."""
    items = list(enumerate(submissions))
    outcomes = list(judge_all(items, lambda item: item[1], bench, jobs=jobs))
    assert sorted(outcome.item[0] for outcome in outcomes) == list(range(len(items))), "each comes exactly once"
    return {each.item[0]: each.report.points if each.report else each.trouble for each in outcomes}


@pytest.fixture(autouse=True)
def short_grace(monkeypatch, request):
    if "cluster" not in request.fixturenames:  # its workers come back in their own time
        monkeypatch.setattr(pool, "GRACE_S", 0.5)


def test_every_submission_is_judged_once_in_any_number_of_processes():
    class_of = [small_lab.submission("test"), small_lab.submission("test", "hidden"), small_lab.submission()] * 5
    for jobs in (1, 3):
        assert judged(*class_of, jobs=jobs) == {number: (1.0, 3.0, 0.0)[number % 3] for number in range(15)}


def test_no_submission_is_no_outcome():
    assert judged() == {}


def test_a_submission_that_ends_its_process_loses_alone():
    found = judged(
        *[small_lab.submission("test")] * 4, small_lab.submission("die"), *[small_lab.submission("test")] * 4
    )
    assert "died" in found.pop(4)
    assert found == dict.fromkeys([0, 1, 2, 3, 5, 6, 7, 8], 1.0)


def test_a_process_that_died_once_is_no_reason_to_lose_a_mark(tmp_path):
    assert judged(small_lab.submission("hidden", "die-once", str(tmp_path / "mark"))) == {0: 2.0}


def test_a_submission_that_never_ends_is_given_up_after_its_budget(monkeypatch):
    monkeypatch.setattr(pool, "GRACE_S", 1000.0)  # so that only the process's own clock can ring
    found = judged(small_lab.submission("hang"), small_lab.submission("test"), jobs=1)
    assert "took more than 1 s" in found[0]
    assert found[1] == 1.0


@pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP")
def test_a_process_that_no_longer_runs_at_all_is_ended_from_outside():
    found = judged(small_lab.submission("stop"), small_lab.submission("test"), jobs=1)
    assert found[1] == 1.0
    assert "died" in found[0]


def test_a_judge_that_fails_is_a_trouble_and_no_zero():
    found = judged(small_lab.submission("raise"), small_lab.submission("test"))
    assert found == {0: "the judge failed: RuntimeError: the judge is broken", 1: 1.0}


def test_items_are_drawn_as_they_are_needed_and_not_all_at_once():
    drawn = []

    def items():
        for number in range(40):
            drawn.append(number)
            yield number

    outcomes = judge_all(items(), lambda item: small_lab.submission("slow"), BENCH, jobs=2)
    next(outcomes)
    assert len(drawn) <= 2 * pool.WINDOW + 2
    outcomes.close()


def test_processes_are_gone_when_a_run_is_given_up():
    before = set(multiprocessing.active_children())
    outcomes = judge_all(range(40), lambda item: small_lab.submission("slow"), BENCH, jobs=2)
    next(outcomes)
    outcomes.close()
    assert set(multiprocessing.active_children()) <= before


def test_a_cluster_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(pool, "CONNECT_S", 0.5)
    with pytest.raises(NoScheduler, match=r"extra `cluster`|no Dask scheduler answers"):
        list(judge_on_cluster([0], lambda item: b"", BENCH, address="tcp://127.0.0.1:1"))


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "10s", "distributed.admin.log-length": 0}):
        made = distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        )
        yield made
        with contextlib.suppress(AssertionError):  # Dask's own, where a worker is just being started again
            made.close()


@pytest.mark.slow
def test_a_worker_that_is_killed_midway_costs_nobody_a_mark(cluster):
    class_of = [small_lab.submission("test", "slow"), small_lab.submission("test", "hidden", "slow")] * 12
    items = list(enumerate(class_of))
    points = {}
    for outcome in judge_on_cluster(items, lambda item: item[1], BENCH, address=cluster.scheduler_address):
        assert outcome.item[0] not in points, "no mark is doubled"
        assert outcome.report is not None, outcome.trouble
        points[outcome.item[0]] = outcome.report.points
        if len(points) == 4:
            victim = next(iter(cluster.workers.values()))
            os.kill(victim.pid, 9)
    assert points == {number: (1.0, 3.0)[number % 2] for number in range(24)}


@pytest.mark.slow
def test_a_submission_that_kills_every_worker_it_meets_is_given_up_alone(cluster):
    items = [small_lab.submission("die"), *[small_lab.submission("test")] * 6]
    outcomes = list(judge_on_cluster(items, lambda item: item, BENCH, address=cluster.scheduler_address))
    trouble = [outcome.trouble for outcome in outcomes if outcome.report is None]
    assert len(outcomes) == 7
    assert len(trouble) == 1
    assert "every worker that judged it died" in trouble[0]
