"""``python -m frugal bench``: our kernels raced against the peers', sparse against dense, the machine's roofline."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from frugal.bench.contest import Result, Timing
    from frugal.bench.peer import Peer
    from frugal.bench.session import Outcome

ISAS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx2", "i8mm", "dotprod", "scalar", "reference")


@dataclass(frozen=True)
class Settings:
    """What every bench is told.

    isa:   of ours; None: the widest here.
    threads, rounds, quick: see ``session.timing_for``.
    file:  where the record goes.
    notes: what was done to hold the peers to ``isa``.
    """

    isa: str | None
    threads: int
    rounds: int | None
    quick: bool
    file: Path | None
    notes: Sequence[str]

    def timing(self) -> Timing:
        from frugal.bench import session

        try:
            return session.timing_for(self.threads, self.rounds, quick=self.quick)
        except ValueError as error:
            raise click.UsageError(str(error)) from None


def common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every bench has, as one value."""

    @functools.wraps(command)
    def with_settings(
        isa: str | None, threads: int, rounds: int | None, quick: bool, file: Path | None, **more: Any
    ) -> None:
        command(Settings(isa, threads, rounds, quick, file, hold_back(isa)), **more)

    options = (
        click.option("--isa", type=click.Choice(ISAS), help="Of ours; peers are held to it where they can be."),
        click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Of everybody."),
        click.option(
            "--rounds", type=click.IntRange(1), help="Turns for each; 15, with --quick 6, which is the least."
        ),
        click.option("--quick", is_flag=True, help="A few layers and short turns: does it run? Not to be quoted."),
        click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the record here."),
    )
    return functools.reduce(lambda made, option: option(made), reversed(options), with_settings)


def shapes_option(form: str, usual: str) -> Callable[..., Any]:
    return click.option(
        "--shapes", multiple=True, metavar=form, help=f"Instead of {usual}; several in quotes, or repeat the option."
    )


weight_bits = click.option(
    "--weight-bits",
    type=click.Choice(("8", "7")),
    default="8",
    show_default=True,
    help="7: weights within ±63, which peers without VNNI need; with 8 their 16-bit sums overflow.",
)


@click.group()
def bench() -> None:
    """Race our int8 kernels against the peers', all in one process and turn by turn.

    Peers that are not installed are left out and named; `pip install 'frugal[peers]'` brings them.
    """


@bench.command()
@common
@shapes_option("M,N,K", "the 34")
@click.option("--output", type=click.Choice(("u8", "s32", "both")), default="both", show_default=True)
@weight_bits
def gemm(settings: Settings, shapes: Sequence[str], output: str, weight_bits: str) -> None:
    """Matrix products, requantized to u8 and as raw s32 sums."""
    from frugal.bench import gemm
    from frugal.bench import shapes as known

    chosen = chosen_shapes(shapes, known.parse_gemm, known.QUICK_GEMMS if settings.quick else known.GEMMS)
    run_bench(settings, chosen, lambda: gemm.peers(settings.isa, output), make=maker(weight_bits))


@bench.command()
@common
@shapes_option("B,SIZE,IN,OUT,K,STRIDE,PAD,GROUPS", "the 23")
@weight_bits
def conv(settings: Settings, shapes: Sequence[str], weight_bits: str) -> None:
    """Convolutions and depthwise convolutions, NHWC, requantized to u8."""
    from frugal.bench import conv
    from frugal.bench import shapes as known

    chosen = chosen_shapes(shapes, known.parse_conv, known.QUICK_CONVS if settings.quick else known.CONVS)
    run_bench(settings, chosen, lambda: conv.peers(settings.isa), make=maker(weight_bits))


@bench.command()
@common
@shapes_option("NAME,BATCH", "resnet18, resnet50 and mobilenet_v2 at 1 and 8")
def models(settings: Settings, shapes: Sequence[str]) -> None:
    """Whole networks, float32 in and out, in every runtime's best precision."""
    from frugal.bench import models, network
    from frugal.bench.summary import NETWORK_OUTPUTS

    chosen = chosen_shapes(shapes, network.parse_network, network.QUICK if settings.quick else network.ALL)
    run_bench(settings, chosen, lambda: models.peers(settings.isa), make=network.make, outputs=NETWORK_OUTPUTS)


@bench.command()
@common
def roofline(settings: Settings) -> None:
    """Measure what this machine can do at most, and how near ours comes."""
    from frugal.bench import ours, report, session
    from frugal.bench import roofline as probe
    from frugal.bench.peer import Missing
    from frugal.measure import record

    timing, isa = settings.timing(), settings.isa or ours.widest()
    try:
        with session.threads_of_torch(timing.threads), session.pinned(timing.threads):
            roof = probe.measure(timing.threads, windows=20 if settings.quick else probe.WINDOWS)
            results = probe.attained(isa, timing)
    except Missing as reason:
        raise click.ClickException(str(reason)) from None
    click.echo(report.roofline_tables(roof, results, isa))
    if settings.file is not None:
        record.save(record.record(probe.rows(roof, results), probe.summarise(roof, results, isa)), settings.file)
        click.echo(f"wrote {settings.file}")


@bench.command()
@common
@shapes_option("M,N,K", "the 6")
def sparse(settings: Settings, shapes: Sequence[str]) -> None:
    """Sparse products beside dense ones: from which share of zeros on each format pays."""
    from frugal.bench import ours, sparse, sparse_report
    from frugal.bench.shapes import parse_gemm
    from frugal.measure import record

    quick, timing, isa = settings.quick, settings.timing(), settings.isa or ours.widest()
    points, noises = sparse.measure(
        chosen_shapes(shapes, parse_gemm, sparse.QUICK_SHAPES if quick else sparse.SHAPES),
        timing,
        isa=settings.isa,
        sparsities=sparse.QUICK_SPARSITIES if quick else sparse.SPARSITIES,
        announce=lambda shape, points: click.echo(f"\n{shape}\n{sparse_report.table(points)}"),
    )
    summary = sparse_report.summarise(points, noises, timing, isa) | {"notes": list(settings.notes)}
    click.echo(f"\n{sparse_report.break_even_table(points)}")
    click.echo("\n" + ("NOISY: do not quote these figures" if summary["noisy"] else "the machine was quiet"))
    if settings.file is not None:
        record.save(record.record([sparse_report.as_row(point) for point in points], summary), settings.file)
        click.echo(f"wrote {settings.file}")
    if summary["wrong"]:
        raise click.ClickException("; ".join(summary["wrong"]))


def hold_back(isa: str | None) -> list[str]:
    """Refuse an instruction set that is not here; hold the peers to one that is, before they are imported."""
    if isa is None:
        return []
    from frugal.bench.caps import cap_peers
    from frugal.kernels import dispatch, native

    if isa not in dispatch.available():
        raise click.UsageError(f"ours has no {isa} here, but {', '.join(dispatch.available())}. {native.status()}")
    return cap_peers(isa)


def chosen_shapes(words: Sequence[str], parse: Callable[[str], Any], default: Sequence[Any]) -> Sequence[Any]:
    """The shapes of the command line, or the usual ones."""
    try:
        return [parse(word) for group in words for word in group.split()] or default
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def maker(weight_bits: str) -> Callable[[Any], Any]:
    """Makes problems with weights of so many bits."""
    from frugal.bench.problem import make

    return functools.partial(make, largest_weight=2 ** (int(weight_bits) - 1) - 1)


def run_bench(settings: Settings, shapes: Sequence[Any], peers: Callable[[], Sequence[Peer]], **more: Any) -> None:
    """Run, print and write; ends with exit code 1 when ours was wrong or failed."""
    from frugal.bench import ours, report, session
    from frugal.bench.caps import unrank_free

    timing = settings.timing()

    def announce(shape: Any, results: Sequence[Result]) -> None:
        click.echo(f"\n{shape}\n{report.layer_table(results)}")

    more |= {"isa": settings.isa or ours.widest(), "notes": settings.notes, "announce": announce}
    close(session.hold(shapes, unrank_free(peers(), settings.isa), timing, **more), settings.file)


def close(outcome: Outcome, file: Path | None) -> None:
    """Print the end, write the record."""
    from frugal.bench import report, session
    from frugal.bench.peer import OURS
    from frugal.bench.summary import standings
    from frugal.measure import record

    table = standings(outcome.results)
    if table:
        click.echo(f"\n{report.standings_table(table)}")
    click.echo("\n" + "\n".join([report.closing(outcome.summary, outcome.missing, outcome.noise), *outcome.notes]))
    if file is not None:
        record.save(session.as_record(outcome), file)
        click.echo(f"wrote {file}")
    if any(result.name == OURS and (result.wrong or result.unsupported) for result in outcome.results):
        raise SystemExit(1)
