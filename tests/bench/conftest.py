"""Entrants that are not there: the tests of the bench need no peer installed."""

import time

import pytest
import torch

from frugal.bench.contest import Timing
from frugal.bench.peer import Entry, Missing, Peer, Unsupported


@pytest.fixture
def fake():
    """Make a peer: how long a call takes, by how many codes it is off, and why it is not here or cannot."""

    def make(name, seconds=0.0, off=0, output="u8", missing="", unsupported="", ranked=True, calls=None):
        def find():
            if missing:
                raise Missing(missing)
            return "1.0"

        def prepare(problem, threads):
            if unsupported:
                raise Unsupported(unsupported)
            expected = problem.expected() if output != "s32" else problem.expected_sums()
            result = expected.clone()
            result.view(-1)[0] += off if int(result.view(-1)[0]) < 128 else -off

            def run():
                if calls is not None:
                    calls.append(name)
                until = time.perf_counter() + seconds
                while time.perf_counter() < until:
                    pass

            return Entry(run, lambda: result, expected, allowed=0 if name == "ours" else 1)

        return Peer(name, output, prepare, find, ranked)

    return make


@pytest.fixture
def quick():
    """The least that gives an interval."""
    return Timing(rounds=6, turn_s=0.0, warm_up_s=0.0, load=0.0)


@pytest.fixture(autouse=True)
def _threads_stay():
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before
