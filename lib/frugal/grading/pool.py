"""Judge many submissions: in processes of this machine, or on the workers of a Dask scheduler.

Each process holds one judge, kept warm from submission to submission. What a student's code does is the judge's to
survive; this file survives the judge. A process that dies, or that does not answer within its budget and is ended,
takes nobody else with it: what was under way is judged again one by one, and only what fails alone, twice, is given
up and told.

    items --window--> executor: [judge] [judge] [judge] --> outcomes, in the order they end
                         | a process died
                         `--> suspects, each alone in a fresh process
"""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Generic, TypeVar

from frugal.core.errors import FrugalError
from frugal.grading.errors import SandboxMissing
from frugal.grading.verdict import Report

BUDGET_S = 420.0  # one submission; the judge's own limit, Limits.submission_seconds, ends long before
GRACE_S = 90.0  # for a process to start, and for its judge to import torch
WORKERS_DIED = "every worker that judged it died:"
NO_ANSWER = "no worker of the cluster answered"
CONNECT_S = 20.0  # to reach a scheduler
WINDOW = 2  # submissions handed out for each process: one under way, one waiting

Item = TypeVar("Item")


class NoScheduler(FrugalError, RuntimeError):
    """There is no cluster to judge on; the message says what is missing."""


class LabDiffers(FrugalError, RuntimeError):
    """A process found another lab or library than the run began with; the run ends, and no mark is touched."""


@dataclass(frozen=True)
class Bench:
    """What a process needs to judge.

    lab:      path of the solved notebook; the same on every machine of a cluster.
    digest:   of the lab that the caller loaded: a worker that finds another one says so instead of judging.
    unsafe:   whether to go on without a sandbox.
    budget_s: seconds for one submission, then the process is ended.
    seed:     what random tests draw from, to repeat a run; a new one for each submission by default.
    opener:   "module:function" that makes the judge, called with this bench.
    """

    lab: str
    digest: str
    unsafe: bool = False
    budget_s: float = BUDGET_S
    seed: int | None = None
    opener: str = "frugal.grading.pool:open_judge"


@dataclass(frozen=True)
class Outcome(Generic[Item]):
    """The report of one submission, or why there is none."""

    item: Item
    report: Report | None
    trouble: str = ""


def open_judge(bench: Bench) -> AbstractContextManager[Any]:
    """Make the judge of a process."""
    from frugal.grading.judge import Judge
    from frugal.grading.lab import Lab

    lab = Lab.load(Path(bench.lab))
    if lab.digest != bench.digest:
        raise LabDiffers(
            f"{Path(bench.lab).name}, its catalogues or the library changed since the run began, or differ on this "
            f"worker. Give all workers the same course and start the command again: it goes on where it stopped"
        )
    return Judge(lab, unsafe=bench.unsafe)


# ---- inside a process ----------------------------------------------------------------------------------------------


_judges: dict[Bench, tuple[AbstractContextManager[Any], Any]] = {}
_one_at_a_time = threading.Lock()  # Dask gives a worker several threads


def judge_one(bench: Bench, notebook: bytes) -> str:
    """Judge one notebook with this process's judge; a judge that fails is replaced, once."""
    with _one_at_a_time:
        try:
            return _grade(bench, notebook)
        except Exception:
            _retire(bench)
            return _grade(bench, notebook)


def _grade(bench: Bench, notebook: bytes) -> str:
    """Judge within the budget, past which this process is ended: a clock of its own, which no code here can stop."""
    with open(os.devnull, "w") as nowhere:
        try:
            faulthandler.dump_traceback_later(bench.budget_s + GRACE_S, exit=True, file=nowhere)
            judge = _judge(bench)
            faulthandler.dump_traceback_later(bench.budget_s, exit=True, file=nowhere)
            return judge.grade(notebook, seed=bench.seed).to_json()
        finally:
            faulthandler.cancel_dump_traceback_later()


def _judge(bench: Bench) -> Any:
    if bench not in _judges:
        module, _, name = bench.opener.partition(":")
        manager = getattr(importlib.import_module(module), name)(bench)
        _judges[bench] = (manager, manager.__enter__())
        Finalize(None, _retire, args=(bench,), exitpriority=10)  # a pool's processes run no atexit
    return _judges[bench][1]


def _retire(bench: Bench) -> None:
    manager, _ = _judges.pop(bench, (nullcontext(), None))
    with suppress(Exception):  # it failed, and is gone
        manager.__exit__(None, None, None)


@atexit.register
def _retire_all() -> None:  # a Dask worker's
    for bench in list(_judges):
        _retire(bench)


# ---- on this machine -----------------------------------------------------------------------------------------------


def judge_all(
    items: Iterable[Item], content: Callable[[Item], bytes], bench: Bench, *, jobs: int = 1
) -> Iterator[Outcome[Item]]:
    """Judge items in ``jobs`` processes and yield the outcomes as they come; an item comes exactly once."""
    waiting, suspects = _Waiting(items), deque[Item]()
    while not waiting.empty:
        with _Processes(jobs) as pool:
            yield from _judge_until_broken(pool, waiting, suspects, content, bench)
    for item in suspects:
        alone, again = _Waiting([item]), deque[Item]()
        with _Processes(1) as pool:
            yield from _judge_until_broken(pool, alone, again, content, bench)
        if again:
            trouble = f"the process that judged it died or took more than {bench.budget_s:g} s, also alone"
            yield Outcome(item, None, trouble)


def _judge_until_broken(
    pool: _Processes, waiting: _Waiting[Item], suspects: deque[Item], content: Callable[[Item], bytes], bench: Bench
) -> Iterator[Outcome[Item]]:
    """Keep a pool busy until nothing waits, or until it breaks; what was under way then becomes suspect."""
    flying: dict[Future[str], Item] = {}
    broken = False
    last = time.monotonic()
    while flying or not (waiting.empty or broken):
        while len(flying) < pool.jobs * WINDOW and not (waiting.empty or broken):
            item = waiting.take()
            try:
                flying[pool.executor.submit(judge_one, bench, content(item))] = item
            except BrokenProcessPool:
                broken = True
                suspects.append(item)
        done, _ = wait(flying, timeout=1.0, return_when=FIRST_COMPLETED)
        if done:
            last = time.monotonic()
        elif time.monotonic() - last > bench.budget_s + 2 * GRACE_S:  # not even the processes' own clocks rang
            pool.kill()
            last = time.monotonic()
        for future in done:
            item, error = flying.pop(future), future.exception()
            if isinstance(error, BrokenProcessPool):
                broken = True
                suspects.append(item)
            else:
                yield _outcome(item, future)


def _outcome(item: Item, future: Future[str]) -> Outcome[Item]:
    error = future.exception()
    if error is None:
        return Outcome(item, Report.from_json(future.result()))
    if isinstance(error, (LabDiffers, SandboxMissing)):  # true for every submission, so it is no submission's trouble
        raise error
    if type(error).__name__ == "KilledWorker":
        return Outcome(item, None, f"{WORKERS_DIED} {error}")
    return Outcome(item, None, f"the judge failed: {type(error).__name__}: {error}")


class _Waiting(Generic[Item]):
    """Items that are drawn one by one: a class of notebooks need not be in memory at once."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._next = deque[Item]()

    @property
    def empty(self) -> bool:
        if not self._next:
            self._next.extend(itertools.islice(self._items, 1))
        return not self._next

    def take(self) -> Item:
        assert not self.empty, "ask first"
        return self._next.popleft()


class _Processes:
    """A pool of processes, forked from a clean one where the system can, and ended with this one."""

    def __init__(self, jobs: int) -> None:
        kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(kind)
        if kind == "forkserver":
            context.set_forkserver_preload(["frugal.grading.judge"])  # type: ignore[attr-defined]
        self.jobs = jobs
        self.executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent)
        self._others = set(multiprocessing.active_children())

    def kill(self) -> None:
        """End every process of this pool at once; its futures break."""
        for process in set(multiprocessing.active_children()) - self._others:
            process.kill()

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            self.kill()
        self.executor.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when the one that marks is gone, however it went."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# ---- on a cluster --------------------------------------------------------------------------------------------------


def judge_on_cluster(
    items: Iterable[Item], content: Callable[[Item], bytes], bench: Bench, *, address: str
) -> Iterator[Outcome[Item]]:
    """Judge items on the workers of a Dask scheduler; a worker that dies is replaced and its items go to others.

    Raises:
        NoScheduler: ``distributed`` is not installed, or nobody answers at the address.
    """
    try:
        from distributed import Client  # type: ignore[import-not-found]
    except ImportError:
        raise NoScheduler("a scheduler needs the extra `cluster`: pip install 'frugal[cluster]'") from None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except OSError as error:
        raise NoScheduler(f"no Dask scheduler answers at {address}: {error}; `dask scheduler` starts one") from None
    with client:
        workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        pool = client.get_executor(pure=False, retries=1)
        suspects: list[Item] = []
        for outcome in _judge_on(pool, items, content, bench, WINDOW * workers):
            if outcome.trouble.startswith((WORKERS_DIED, NO_ANSWER)):
                suspects.append(outcome.item)  # its worker died, perhaps of another one's submission, or took it along
            else:
                yield outcome
        answered = True
        for item in suspects:
            again = _judge_on(pool, [item], content, bench, 1) if answered else [Outcome(item, None, NO_ANSWER)]
            for outcome in again:
                answered = answered and outcome.trouble != NO_ANSWER
                yield outcome


def _judge_on(
    pool: Executor, items: Iterable[Item], content: Callable[[Item], bytes], bench: Bench, window: int
) -> Iterator[Outcome[Item]]:
    """Keep a cluster busy with a window of items; it replaces dead workers by itself."""
    waiting = _Waiting(items)
    flying: dict[Future[str], Item] = {}
    while flying or not waiting.empty:
        while len(flying) < window and not waiting.empty:
            item = waiting.take()
            flying[pool.submit(judge_one, bench, content(item))] = item
        done, late = wait(flying, timeout=2 * (bench.budget_s + GRACE_S), return_when=FIRST_COMPLETED)
        for future in done:
            yield _outcome(flying.pop(future), future)
        if not done:  # nobody works any more
            yield from (Outcome(flying.pop(future), None, NO_ANSWER) for future in late)
