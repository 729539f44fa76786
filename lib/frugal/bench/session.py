"""A whole bench: who is here, one layer after the other, and what came out of it.

The order matters. Peers are imported first (ONNX Runtime looks at the cores then), the load is read before we add to
it, and only then is the process pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from frugal.bench import problem
from frugal.bench.contest import AnyProblem, Result, Timing, compete, present
from frugal.bench.peer import Peer
from frugal.bench.summary import LAYER_OUTPUTS, as_row, summarise
from frugal.measure import record
from frugal.measure.latency import MIN_ROUNDS, Noise, available_cores, pinned, system_load

SILENCE_S = 0.025  # OpenMP, TBB and ONNX Runtime threads spin for about this long after a call


@dataclass(frozen=True)
class Outcome:
    """What a bench found.

    results: one for every entrant and layer.
    noise:   that of the median layer; None when nobody was timed. ``noisy_shapes`` of the summary names single ones.
    missing: peers that are not here, and why.
    versions: of those that are.
    notes:   what a reader must know of the peers.
    summary: the figures to quote.
    """

    results: Sequence[Result]
    noise: Noise | None
    missing: dict[str, str]
    versions: dict[str, str]
    notes: Sequence[str]
    summary: dict[str, Any]


def timing_for(threads: int, rounds: int | None = None, *, quick: bool = False) -> Timing:
    """How the turns are taken: fewer and shorter ones for a quick look; silence before each with several threads.

    Raises:
        ValueError: threads that this machine does not have, or rounds that give no interval.
    """
    if not 1 <= threads <= available_cores():
        raise ValueError(f"threads must be from 1 to {available_cores()}, the cores of this machine; got {threads}")
    rounds = rounds if rounds is not None else (MIN_ROUNDS if quick else 15)
    if rounds < MIN_ROUNDS:
        raise ValueError(f"rounds must be {MIN_ROUNDS} or more for an interval, got {rounds}")
    silence = SILENCE_S if threads > 1 else 0.0
    warm_up = 3e-3 if threads > 1 else 1e-3
    return Timing(rounds, 5e-4 if quick else 2e-3, warm_up, silence, threads)


def hold(
    shapes: Sequence[Any],
    peers: Sequence[Peer],
    timing: Timing,
    *,
    isa: str | None,
    notes: Sequence[str] = (),
    announce: Callable[[Any, Sequence[Result]], None] = lambda shape, results: None,
    make: Callable[[Any], AnyProblem] = problem.make,
    outputs: Sequence[tuple[str, str]] = LAYER_OUTPUTS,
) -> Outcome:
    """Let all peers do all layers.

    Args:
        isa: the instruction set that ours runs on, for the summary.
        notes: see ``Outcome``.
        announce: called after each layer with its results.
        make: makes a problem of a shape.
        outputs: see ``summarise``.
    """
    if not shapes:
        raise ValueError("a bench needs at least one shape, got none")
    here, versions, missing = present(peers)
    timing = replace(timing, load=system_load())
    results: list[Result] = []
    noises: dict[str, Noise] = {}
    with threads_of_torch(timing.threads), pinned(timing.threads):
        for shape in shapes:
            found, noise = compete(make(shape), here, timing)
            results += found
            if noise is not None:
                noises[str(shape)] = noise
            announce(shape, found)
    usual = sorted(noises.values(), key=lambda noise: noise.spread)[len(noises) // 2] if noises else None
    summary = summarise(results, isa=isa, threads=timing.threads, outputs=outputs)
    summary |= {"rounds": timing.rounds, "missing": missing, "noisy": usual is not None and usual.noisy}
    summary |= {"noise": [] if usual is None else list(usual.reasons), "notes": list(notes)}
    summary["noisy_shapes"] = [shape for shape, noise in noises.items() if noise.noisy]
    return Outcome(results, usual, missing, versions, notes, summary)


def as_record(outcome: Outcome) -> dict[str, Any]:
    """The outcome as the record that ``--json`` writes."""
    made = record.record([as_row(result) for result in outcome.results], outcome.summary)
    made["versions"] |= outcome.versions
    return made


@contextmanager
def threads_of_torch(threads: int) -> Iterator[None]:
    """torch's number of threads, which ours and the peers in torch follow, as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
