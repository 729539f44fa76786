"""One layer, everybody on it: compare the results with the exact ones, then time who is right.

A wrong answer is reported and not timed: a fast wrong kernel has no time. Only peers with the same output as ours
(``u8`` or ``s32``) are ranked; float arithmetic stands in the table for context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from frugal.bench.peer import OURS, Entry, Missing, Peer, Unsupported, first_line
from frugal.measure.latency import Estimate, Noise, race


class AnyProblem(Protocol):
    """What a contest asks of a problem; the peers know the rest."""

    @property
    def shape(self) -> Any:
        """Written with ``str``; has ``macs``."""


EXACT_DB = 150.0  # no noise at all is called this: the most that float32 can tell


@dataclass(frozen=True)
class Timing:
    """How the turns are taken; the fields are those of ``measure.latency.race``."""

    rounds: int = 15
    turn_s: float = 2e-3
    warm_up_s: float = 1e-3
    silence_s: float = 0.0
    threads: int = 1
    load: float | None = None


@dataclass(frozen=True)
class Result:
    """How one entrant did on one layer.

    shape:      the layer, as written on the command line.
    output:     u8, s32 or float.
    name:       who.
    macs:       products of the layer.
    latency:    seconds, or None where it was not timed.
    fastest:    seconds in its best round.
    ratio:      its time over ours, round by round: above 1, ours is faster. None for those not timed, and without ours.
    difference: the largest difference from the exact result, in codes (float: in real units).
    ranked:     whether it may be the best peer.
    wrong, unsupported: why it was not timed; empty otherwise.
    note:       what a reader must know.
    sqnr_db:    of a network's logits beside float32's.
    """

    shape: str
    output: str
    name: str
    macs: int
    latency: Estimate | None = None
    fastest: float | None = None
    ratio: Estimate | None = None
    difference: float | None = None
    ranked: bool = True
    wrong: str = ""
    unsupported: str = ""
    note: str = ""
    sqnr_db: float | None = None

    @property
    def gops(self) -> float | None:
        """Thousand million operations per second, a multiply-add being two."""
        return None if self.latency is None else 2e-9 * self.macs / self.latency.value


def present(peers: Sequence[Peer]) -> tuple[list[Peer], dict[str, str], dict[str, str]]:
    """Ask every peer whether it is here: who is, the versions of those, and why the others are not."""
    here, versions, missing = [], {}, {}
    for peer in peers:
        try:
            versions[peer.name] = peer.find()
            here.append(peer)
        except Missing as reason:
            missing[peer.name] = str(reason)
    return here, versions, missing


def compete(problem: AnyProblem, peers: Sequence[Peer], timing: Timing) -> tuple[list[Result], Noise | None]:
    """Let all peers do one layer. Results come in the order of ``peers``; the noise is None when nobody was timed."""
    entries: dict[Peer, Entry] = {}
    results: dict[Peer, Result] = {}
    for peer in peers:
        blank = Result(str(problem.shape), peer.output, peer.name, problem.shape.macs, ranked=peer.ranked)
        results[peer], entry = _admit(peer, problem, timing.threads, blank)
        if entry is not None:
            entries[peer] = entry
    noise = None
    for output in dict.fromkeys(peer.output for peer in peers if peer.output != "float"):
        field = {peer: entries[peer] for peer in entries if peer.output in (output, "float")}
        if any(peer.output == output for peer in field):
            noise = _worse(noise, _time(field, timing, results))
            entries = {peer: entry for peer, entry in entries.items() if peer not in field}  # floats run once
    return list(results.values()), noise


def _admit(peer: Peer, problem: AnyProblem, threads: int, blank: Result) -> tuple[Result, Entry | None]:
    """Prepare a peer, run it once and compare."""
    try:
        entry = peer.prepare(problem, threads)
        entry.run()
        produced = entry.result()
    except Unsupported as reason:
        return replace(blank, unsupported=str(reason)), None
    except Exception as error:  # what a peer raises is its own business; the race goes on without it
        return replace(blank, unsupported=f"{type(error).__name__}: {first_line(error)}"), None
    if entry.least_sqnr_db is not None:
        sqnr_db, wrong = compare_sqnr(produced, entry)
        result = replace(blank, sqnr_db=sqnr_db, wrong=wrong, note=entry.note)
    else:
        difference, wrong = compare(produced, entry)
        result = replace(blank, difference=difference, wrong=wrong, note=entry.note)
    return result, None if wrong else entry


def compare(produced: Tensor, entry: Entry) -> tuple[float | None, str]:
    """The largest difference from the exact result, and what is wrong with it; empty where nothing is."""
    expected = entry.expected
    if wrong := _misfit(produced, expected):
        return None, wrong
    differences = (produced.double() - expected.double()).abs()
    largest = float(differences.max())
    if largest <= entry.allowed:  # a NaN is not
        return largest, ""
    share = (differences > entry.allowed).double().mean().item()
    off = f"{share:.1%} of the outputs are off by more than {entry.allowed:g}, the worst by {largest:g}"
    return (largest if torch.isfinite(differences).all() else None), off


def compare_sqnr(produced: Tensor, entry: Entry) -> tuple[float | None, str]:
    """The signal in the result over its noise, in dB (at most ``EXACT_DB``), and what is wrong with it."""
    expected = entry.expected
    if wrong := _misfit(produced, expected):
        return None, wrong
    if not torch.isfinite(produced).all():
        return None, "the result is not finite"
    noise = (produced.double() - expected.double()).square().sum()
    signal = expected.double().square().sum()
    sqnr_db = min(EXACT_DB, float(10 * torch.log10(signal / noise))) if noise > 0 else EXACT_DB
    assert entry.least_sqnr_db is not None
    if sqnr_db < entry.least_sqnr_db:
        return sqnr_db, f"SQNR {sqnr_db:.1f} dB, where {entry.least_sqnr_db:g} dB is due"
    return sqnr_db, ""


def _misfit(produced: Tensor, expected: Tensor) -> str:
    if produced.shape == expected.shape and produced.dtype == expected.dtype:
        return ""
    return f"returns {produced.dtype} {list(produced.shape)} where {expected.dtype} {list(expected.shape)} is due"


def _time(field: Mapping[Peer, Entry], timing: Timing, results: dict[Peer, Result]) -> Noise:
    settings = {name: getattr(timing, name) for name in ("rounds", "turn_s", "warm_up_s", "silence_s", "threads")}
    measured = race({peer.name: entry.run for peer, entry in field.items()}, **settings, load=lambda: timing.load)
    ours = OURS if any(peer.name == OURS for peer in field) else None
    for peer in field:
        ratio = None if ours is None else measured.ratio(peer.name, to=ours)
        results[peer] = replace(
            results[peer], latency=measured.latency(peer.name), fastest=measured.fastest(peer.name), ratio=ratio
        )
    return measured.noise


def _worse(a: Noise | None, b: Noise) -> Noise:
    return b if a is None or b.spread >= a.spread else a
