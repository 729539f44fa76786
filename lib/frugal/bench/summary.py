"""From results to the figures that are quoted.

For every layer the best peer is the fastest one that computes the same, int8 in and the same output out. Above 1, ours
is faster than that peer: a geometric mean of 1.15 says that whoever picked the best peer for each layer by hindsight
would still wait 15 % longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from frugal.bench.contest import Result
from frugal.bench.peer import OURS
from frugal.measure.latency import geometric_mean

LAYER_OUTPUTS = (("u8", ""), ("s32", "s32_"))
NETWORK_OUTPUTS = (("logits", ""),)


@dataclass(frozen=True)
class Standing:
    """How one peer did against ours, over all layers where both were timed: its time over ours."""

    name: str
    output: str
    geomean: float
    worst: float
    best: float
    faster_in: int
    layers: int


def best_peers(results: Iterable[Result], output: str) -> dict[str, Result]:
    """The fastest ranked peer of every layer."""
    best: dict[str, Result] = {}
    for result in results:
        if result.output != output or result.name == OURS or not result.ranked or result.latency is None:
            continue
        if result.shape not in best or result.latency.value < best[result.shape].latency.value:  # type: ignore[union-attr]
            best[result.shape] = result
    return best


def standings(results: Sequence[Result]) -> list[Standing]:
    """Every peer that was timed against ours, in the order of the results."""
    found = []
    for name, output in dict.fromkeys((result.name, result.output) for result in results if result.name != OURS):
        ratios = [
            result.ratio.value
            for result in results
            if (result.name, result.output) == (name, output) and result.ratio is not None
        ]
        if ratios:
            faster = sum(ratio > 1 for ratio in ratios)
            found.append(Standing(name, output, geometric_mean(ratios), min(ratios), max(ratios), faster, len(ratios)))
    return found


def summarise(
    results: Sequence[Result], *, isa: str | None, threads: int, outputs: Sequence[tuple[str, str]] = LAYER_OUTPUTS
) -> dict[str, Any]:
    """The figures of a bench; ``None`` where there was nobody to compare with.

    Args:
        outputs: which outputs have figures, each with what stands before their names: ``geomean_vs_best_peer``,
            ``worst_vs_best_peer`` and ``worst_shape`` speak of the requantized output, with ``s32_`` of raw sums.
            ``geomean_vs_best_peer_fastest`` compares best rounds instead of medians.
    """
    summary: dict[str, Any] = {"isa": isa, "threads": threads}
    for output, prefix in outputs:
        ratios = {
            shape: peer.ratio.value for shape, peer in best_peers(results, output).items() if peer.ratio is not None
        }
        if not prefix or ratios:
            worst = min(ratios, key=ratios.__getitem__) if ratios else None
            summary[f"{prefix}geomean_vs_best_peer"] = geometric_mean(list(ratios.values())) if ratios else None
            summary[f"{prefix}worst_vs_best_peer"] = None if worst is None else ratios[worst]
            summary[f"{prefix}worst_shape"] = worst
            summary[f"{prefix}shapes_compared"] = len(ratios)
            summary[f"{prefix}geomean_vs_best_peer_fastest"] = _by_fastest(results, output)
    summary["geomean_vs"] = {f"{each.name} {each.output}": each.geomean for each in standings(results)}
    summary["wrong"] = _told(results, "wrong")
    summary["unsupported"] = _told(results, "unsupported")
    return summary


def as_row(result: Result) -> dict[str, Any]:
    """One result as a row of the record, units in the keys."""
    row: dict[str, Any] = {"shape": result.shape, "output": result.output, "peer": result.name, "macs": result.macs}
    for key, estimate, unit in (("latency", result.latency, 1e6), ("ratio", result.ratio, 1.0)):
        suffix = "_us" if key == "latency" else "_to_ours"
        for part in ("value", "low", "high"):
            name = f"{key}{suffix}" + ("" if part == "value" else f"_{part}")
            row[name] = None if estimate is None else getattr(estimate, part) * unit
    row["latency_us_fastest"] = None if result.fastest is None else result.fastest * 1e6
    row |= {"gops": result.gops, "ranked": result.ranked}
    row |= {key: number for key in ("difference", "sqnr_db") if (number := getattr(result, key)) is not None}
    return row | {key: text for key in ("wrong", "unsupported", "note") if (text := getattr(result, key))}


def _by_fastest(results: Sequence[Result], output: str) -> float | None:
    """The same mean of everybody's best round instead of the usual one: what threads that wait for a core hide."""
    ours: dict[str, float] = {}
    best: dict[str, float] = {}
    for result in results:
        if result.output == output and result.ranked and result.fastest is not None:
            if result.name == OURS:
                ours[result.shape] = result.fastest
            else:
                best[result.shape] = min(result.fastest, best.get(result.shape, result.fastest))
    ratios = [best[shape] / ours[shape] for shape in best if shape in ours]
    return geometric_mean(ratios) if ratios else None


def _told(results: Sequence[Result], what: str) -> dict[str, dict[str, str]]:
    """Per peer and layer, what is wrong with it or not supported."""
    told: dict[str, dict[str, str]] = {}
    for result in results:
        if reason := getattr(result, what):
            told.setdefault(f"{result.name} {result.output}", {})[result.shape] = reason
    return told
