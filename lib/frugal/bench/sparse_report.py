"""What the races of bench/sparse.py say: the break-even of every format, tables, and the figures to quote.

The break-even lies where the time falls below the dense product's for good, interpolated between the measured shares of
zeros on a line of log speedup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from frugal.bench import ours
from frugal.bench.contest import Timing
from frugal.bench.sparse import FP32, INT8, Point
from frugal.kernels import sparse
from frugal.measure.latency import Noise
from frugal.measure.results import lay_out


def break_even(curve: Iterable[tuple[float, float]]) -> float | None:
    """The sparsity from which on a format is the faster one, between two measured ones on a line of log speedup.

    Args:
        curve: (sparsity, speedup) points, by sparsity.

    Returns:
        None where the last point is still slower; the first sparsity where all are faster.

    >>> break_even([(0.5, 0.25), (0.7, 0.5), (0.9, 2.0)])
    0.8
    >>> break_even([(0.5, 0.2), (0.9, 0.9)]) is None
    True
    """
    points = list(curve)
    if not points or points[-1][1] < 1:
        return None
    first = max((i + 1 for i, (_, speedup) in enumerate(points) if speedup < 1), default=0)
    if first == 0:
        return points[0][0]
    (s0, a), (s1, b) = points[first - 1], points[first]
    return round(s0 + (s1 - s0) * math.log(1 / a) / math.log(b / a), 4)


def break_evens(points: Sequence[Point], dense: str) -> dict[str, dict[str, float | None]]:
    """By entrant and shape; entrants that were timed at two sparsities or more."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for point in points:
        if point.speedups is not None and dense in point.speedups and point.name not in (FP32, INT8):
            pairs = curves.setdefault(point.name, {}).setdefault(point.shape, [])
            pairs.append((point.sparsity, point.speedups[dense].value))
    return {
        name: {shape: break_even(sorted(pairs)) for shape, pairs in shapes.items() if len(pairs) > 1}
        for name, shapes in curves.items()
        if any(len(pairs) > 1 for pairs in shapes.values())
    }


def as_row(point: Point) -> dict[str, Any]:
    """One point as a row of the record, units in the keys."""
    row: dict[str, Any] = {"shape": point.shape, "sparsity": point.sparsity, "entrant": point.name}
    if point.latency is not None and point.speedups is not None:
        row["latency_us"] = point.latency.value * 1e6
        for dense, key in ((FP32, "speedup_vs_fp32"), (INT8, "speedup_vs_int8")):
            if dense in point.speedups:
                each = point.speedups[dense]
                row |= {key: each.value, f"{key}_low": each.low, f"{key}_high": each.high}
    return row | {key: text for key in ("wrong", "unsupported") if (text := getattr(point, key))}


def summarise(points: Sequence[Point], noises: Sequence[Noise], timing: Timing, isa: str) -> dict[str, Any]:
    """The figures to quote."""
    with ours.forced(isa):
        sparse_isa = sparse.chosen()
    halves = {
        point.shape: point.speedups[FP32].value
        for point in points
        if point.name == "ours 2:4" and point.speedups is not None
    }
    return {
        "isa": isa,
        "sparse_isa": sparse_isa,
        "threads": timing.threads,
        "rounds": timing.rounds,
        "break_even_vs_fp32": break_evens(points, FP32),
        "break_even_vs_int8": break_evens(points, INT8),
        "two_four_speedup_vs_fp32": halves,
        "wrong": [
            f"{point.name} at {point.shape}, {point.sparsity:g}: {point.wrong}" for point in points if point.wrong
        ],
        "noisy": sum(noise.noisy for noise in noises) > len(noises) / 2,
        "noise": sorted({reason for noise in noises for reason in noise.reasons})[:3],
    }


def table(points: Sequence[Point]) -> str:
    """One shape: microseconds of the dense products, and how many times faster than fp32 the others are."""
    shares = list(dict.fromkeys(point.sparsity for point in points))
    at = {(point.name, point.sparsity): point for point in points}
    rows = []
    for name in dict.fromkeys(point.name for point in points):
        cells = [at[name, share] for share in shares]
        usual = sorted(cell.latency.value for cell in cells if cell.latency is not None)
        dense = f"{usual[len(usual) // 2] * 1e6:,.1f}" if name in (FP32, INT8) and usual else ""
        rows.append((name, dense, *("" if c.speedups is None else f"{c.speedups[FP32].value:.2f}" for c in cells)))
    lines = [lay_out(("fp32's time / its", "median us", *(f"{share:.0%}" for share in shares)), rows)]
    told = {(point.name, reason): None for point in points if (reason := point.wrong or point.unsupported)}
    return "\n".join([*lines, *(f"not timed: {name}: {reason}" for name, reason in told if name != "ours 2:4")])


def break_even_table(points: Sequence[Point]) -> str:
    """From which share of zeros on, by entrant and shape; "never" where the last measured one is still slower."""
    parts = []
    for dense in (FP32, INT8):
        found = break_evens(points, dense)
        shapes = list(dict.fromkeys(shape for by_shape in found.values() for shape in by_shape))
        rows = [
            (name, *("" if s not in by_shape else _percent(by_shape[s]) for s in shapes))
            for name, by_shape in found.items()
        ]
        if rows:
            parts.append(lay_out((f"beats {dense} from", *shapes), rows))
    return "\n\n".join(parts)


def _percent(share: float | None) -> str:
    return "never" if share is None else f"{share:.0%}"
