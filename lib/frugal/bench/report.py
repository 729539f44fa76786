"""What a bench prints: one line per entrant and layer while it runs, one line per peer at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frugal.bench.contest import Result
from frugal.bench.peer import OURS
from frugal.bench.roofline import Roofline, intensity
from frugal.bench.shapes import parse_gemm
from frugal.bench.summary import Standing
from frugal.core.units import format_bytes
from frugal.measure.latency import Estimate, Noise
from frugal.measure.results import lay_out


def layer_table(results: Sequence[Result]) -> str:
    """One layer: who took how long, beside ours; who is wrong or cannot, and why."""
    timed = [result for result in results if result.latency is not None]
    networks = any(result.sqnr_db is not None for result in timed)
    rows = [
        (
            result.name,
            result.output,
            microseconds(result.latency),
            interval(result.latency, 1e6),
            "" if result.ratio is None else f"{result.ratio.value:.2f}",
            interval(result.ratio, 1.0),
            f"{result.gops:,.0f}",
            *([f"{result.sqnr_db:.1f}"] if networks else []),
        )
        for result in timed
    ]
    header = ("", "output", "median us", "interval", "to ours", "interval", "Gop/s", *["SQNR dB"] * networks)
    lines = [lay_out(header, rows)] if rows else []
    for result in results:
        if result.wrong:
            lines.append(f"WRONG, not timed: {result.name} {result.output}: {result.wrong}")
        if result.unsupported:
            lines.append(f"left out: {result.name} {result.output}: {result.unsupported}")
    return "\n".join(lines)


def standings_table(standings: Sequence[Standing]) -> str:
    """The peers' times over ours, over all layers: above 1, ours is faster."""
    rows = [
        (
            each.name,
            each.output,
            f"{each.geomean:.2f}",
            f"{each.worst:.2f}",
            f"{each.best:.2f}",
            f"{each.faster_in}/{each.layers}",
        )
        for each in standings
    ]
    return lay_out(("its time / ours", "output", "geomean", "worst", "best", "ours faster in"), rows)


def closing(summary: Mapping[str, Any], missing: Mapping[str, str], noise: Noise | None) -> str:
    """The figures to quote, who was not here, and how far to trust it all."""
    lines = []
    if summary["geomean_vs_best_peer"] is None:
        why = "ours was not timed" if OURS in missing or not summary["geomean_vs"] else "no peer was timed"
        lines.append(f"nothing to compare: {why}")
    else:
        for prefix, what in (("", ""), ("s32_", ", raw sums")):
            if summary.get(f"{prefix}geomean_vs_best_peer") is not None:
                lines.append(
                    f"best peer / ours{what}: geometric mean {summary[f'{prefix}geomean_vs_best_peer']:.3f}, "
                    f"worst {summary[f'{prefix}worst_vs_best_peer']:.2f} at {summary[f'{prefix}worst_shape']}, "
                    f"{summary[f'{prefix}shapes_compared']} layers; "
                    f"by best rounds {summary[f'{prefix}geomean_vs_best_peer_fastest']:.3f}"
                )
    lines += [f"missing: {name}: {reason}" for name, reason in missing.items()]
    for name, layers in summary["wrong"].items():
        lines.append(
            f"WRONG: {name} on {len(layers)} layers, first {next(iter(layers))}: {next(iter(layers.values()))}"
        )
    if noise is not None:
        lines.append(f"the machine: {noise}")
        if summary["noisy_shapes"]:
            lines.append(f"noisy while these were timed: {' '.join(summary['noisy_shapes'])}")
        if noise.noisy:
            lines.append("NOISY: do not quote these figures; close what runs beside, and repeat")
    return "\n".join(lines)


def roofline_tables(roof: Roofline, results: Sequence[Result], isa: str) -> str:
    """The two limits, and how near ours comes to them on each layer."""
    peaks = lay_out(("peak", "Gop/s"), [(name, f"{gops:,.0f}") for name, gops in roof.peaks_gops.items()])
    reads = lay_out(
        ("array", "read GB/s", f"balance, {isa}"),
        [
            (format_bytes(size), f"{rate:,.1f}", f"{roof.balance(isa, size):,.0f}" if isa in roof.peaks_gops else "")
            for size, rate in roof.read_gb_s.items()
        ],
    )
    peak = roof.peaks_gops.get(isa)
    layers = [
        (result.shape, f"{intensity(parse_gemm(result.shape)):,.0f}", f"{result.gops:,.0f}", percent(result.gops, peak))
        for result in results
        if result.gops is not None
    ]
    attained = lay_out(("ours", "ops / byte", "Gop/s", "of the peak"), layers)
    lines = [f"{peaks}", f"{reads}\nbalance: operations per byte from there that keep {isa} busy", attained]
    lines += [f"WRONG, not timed: ours on {result.shape}: {result.wrong}" for result in results if result.wrong]
    return "\n\n".join(lines)


def percent(part: float | None, whole: float | None) -> str:
    return "" if part is None or whole is None else f"{100 * part / whole:.0f} %"


def microseconds(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value * 1e6:,.1f}"


def interval(estimate: Estimate | None, unit: float) -> str:
    """``low..high``, with as many digits as a reader needs.

    >>> interval(Estimate(1.5e-5, 1.4e-5, 1.63e-5), 1e6)
    '14.0..16.3'
    """
    if estimate is None:
        return ""
    digits = 1 if unit > 1 else 2
    return f"{estimate.low * unit:,.{digits}f}..{estimate.high * unit:,.{digits}f}"
