"""``python -m frugal bench``: our int8 kernels raced against the peers', and the machine's roofline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from frugal.bench.contest import Result, Timing
    from frugal.bench.session import Outcome

ISAS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx2", "i8mm", "dotprod", "scalar", "reference")


def common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every bench has."""
    options = (
        click.option("--isa", type=click.Choice(ISAS), help="Of ours; peers are held to it where they can be."),
        click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Of everybody."),
        click.option(
            "--rounds", type=click.IntRange(1), help="Turns for each; 15, with --quick 6, which is the least."
        ),
        click.option("--quick", is_flag=True, help="A few layers and short turns: does it run? Not to be quoted."),
        click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the record here."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def bench() -> None:
    """Race our int8 kernels against the peers', all in one process and turn by turn.

    Peers that are not installed are left out and named; `pip install 'frugal[peers]'` brings them.
    """


@bench.command()
@common
@click.option("--shapes", multiple=True, metavar="M,N,K", help="Instead of the 34; several with spaces, or repeat it.")
@click.option("--output", type=click.Choice(("u8", "s32", "both")), default="both", show_default=True)
def gemm(
    isa: str | None,
    threads: int,
    rounds: int | None,
    quick: bool,
    file: Path | None,
    shapes: Sequence[str],
    output: str,
) -> None:
    """Matrix products, requantized to u8 and as raw s32 sums."""
    notes = hold_back(isa)
    from frugal.bench import gemm
    from frugal.bench import shapes as known

    chosen = chosen_shapes(shapes, known.parse_gemm, known.QUICK_GEMMS if quick else known.GEMMS)
    run_bench(chosen, lambda: gemm.peers(isa, output), isa, threads, rounds, quick, file, notes)


@bench.command()
@common
@click.option(
    "--shapes",
    multiple=True,
    metavar="B,SIZE,IN,OUT,K,STRIDE,PAD,GROUPS",
    help="Instead of the 23; several with spaces, or repeat it.",
)
def conv(
    isa: str | None, threads: int, rounds: int | None, quick: bool, file: Path | None, shapes: Sequence[str]
) -> None:
    """Convolutions and depthwise convolutions, NHWC, requantized to u8."""
    notes = hold_back(isa)
    from frugal.bench import conv
    from frugal.bench import shapes as known

    chosen = chosen_shapes(shapes, known.parse_conv, known.QUICK_CONVS if quick else known.CONVS)
    run_bench(chosen, lambda: conv.peers(isa), isa, threads, rounds, quick, file, notes)


@bench.command()
@common
@click.option("--shapes", multiple=True, metavar="NAME,BATCH", help="resnet18, resnet50, mobilenet_v2; instead of all.")
def models(
    isa: str | None, threads: int, rounds: int | None, quick: bool, file: Path | None, shapes: Sequence[str]
) -> None:
    """Whole networks, float32 in and out, in every runtime's best precision."""
    notes = hold_back(isa)
    from frugal.bench import models, network
    from frugal.bench.summary import NETWORK_OUTPUTS

    chosen = chosen_shapes(shapes, network.parse_network, network.QUICK if quick else network.ALL)
    more = {"make": network.make, "outputs": NETWORK_OUTPUTS}
    run_bench(chosen, lambda: models.peers(isa), isa, threads, rounds, quick, file, notes, **more)


@bench.command()
@common
def roofline(isa: str | None, threads: int, rounds: int | None, quick: bool, file: Path | None) -> None:
    """Measure what this machine can do at most, and how near ours comes."""
    notes = hold_back(isa)
    from frugal.bench import ours, report, session
    from frugal.bench import roofline as probe
    from frugal.measure import record

    timing = checked_timing(threads, rounds, quick)
    isa = isa or ours.widest()
    with session.threads_of_torch(threads), session.pinned(threads):
        roof = probe.measure(threads, windows=20 if quick else probe.WINDOWS)
        results = probe.attained(isa, timing)
    summary = probe.summarise(roof, results, isa)
    click.echo("\n".join([report.roofline_tables(roof, results, isa), *notes]))
    if file is not None:
        record.save(record.record(probe.rows(roof, results), summary), file)
        click.echo(f"wrote {file}")


def hold_back(isa: str | None) -> list[str]:
    """Refuse an instruction set that is not here; hold the peers to one that is, before they are imported."""
    if isa is None:
        return []
    from frugal.kernels import dispatch, native

    if isa not in dispatch.available():
        raise click.UsageError(f"ours has no {isa} here, but {', '.join(dispatch.available())}. {native.status()}")
    from frugal.bench.caps import cap_peers

    return cap_peers(isa)


def chosen_shapes(words: Sequence[str], parse: Callable[[str], Any], default: Sequence[Any]) -> Sequence[Any]:
    """The shapes of the command line, or the usual ones."""
    try:
        return [parse(word) for group in words for word in group.split()] or default
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def checked_timing(threads: int, rounds: int | None, quick: bool) -> Timing:
    """How the turns are taken, or a usage error."""
    from frugal.bench import session

    try:
        return session.timing_for(threads, rounds, quick=quick)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def run_bench(
    shapes: Sequence[Any],
    peers: Callable[[], Sequence[Any]],
    isa: str | None,
    threads: int,
    rounds: int | None,
    quick: bool,
    file: Path | None,
    notes: Sequence[str],
    **more: Any,
) -> None:
    """Run, print and write; ends with exit code 1 when ours was wrong."""
    from frugal.bench import ours, report, session

    timing = checked_timing(threads, rounds, quick)

    def announce(shape: Any, results: Sequence[Result]) -> None:
        click.echo(f"\n{shape}\n{report.layer_table(results)}")

    outcome = session.hold(shapes, peers(), timing, isa=isa or ours.widest(), notes=notes, announce=announce, **more)
    close(outcome, file)


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
    if any(result.name == OURS and result.wrong for result in outcome.results):
        raise SystemExit(1)
