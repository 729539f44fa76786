"""``python -m frugal grade``: mark a class, write the gradebook and the feedback, say what could not be read.

Exit code 0: every submission was read and judged. 1: some were not; each has its line. 2: nothing could be done.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from frugal.grading.marking import Marking, Row


@click.command()
@click.argument("lab")
@click.argument("submitted", type=click.Path(path_type=Path), required=False)
@click.option("-j", "--jobs", type=click.IntRange(1, 256), help="Processes.  [default: one for each core]")
@click.option("--scheduler", default="", metavar="ADDRESS", help="Judge on the workers of this Dask scheduler instead.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the report here too.")
@click.option("--db-url", envvar="FRUGAL_GRADEBOOK", help="The gradebook.  [default: grading/gradebook.db]")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of gradebook, journal, marked notebooks and feedback.  [default: the course's grading/]",
)
@click.option(
    "--feedback",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the students' pages.  [default: feedback/ in --out]",
)
@click.option("--force", is_flag=True, help="Judge again what has not changed since the last run.")
@click.option("--seed", type=int, help="Draw the random tests from this seed, to repeat a run.")
@click.option("--unsafe", is_flag=True, help="Without a sandbox: what a student wrote can do whatever you can.")
def grade(
    lab: str,
    submitted: Path | None,
    jobs: int | None,
    scheduler: str,
    json_file: Path | None,
    db_url: str | None,
    out: Path | None,
    feedback: Path | None,
    force: bool,
    seed: int | None,
    unsafe: bool,
) -> None:
    """Mark the submissions of LAB that lie in SUBMITTED, by default in the course's grading/submitted.

    SUBMITTED is nbgrader's submitted or inbound folder, a folder of <student>.ipynb, or the zip file that Moodle or
    Canvas gives. Nothing in it is changed, and no link in it is followed. Started again after it was stopped, the
    command does what is left.
    """
    from frugal.cli import machine
    from frugal.grading.errors import SandboxMissing
    from frugal.grading.lab import Lab
    from frugal.grading.marking import Marking, Order
    from frugal.grading.pool import Bench

    reasons = [] if scheduler else missing()
    if reasons and not unsafe:
        raise SandboxMissing(refusal(reasons))
    solved, release, out = _paths(lab, out)
    out.mkdir(parents=True, exist_ok=True)
    order = Order(
        solved=solved,
        release=release,
        submitted=submitted or out / "submitted",
        journal=out / "journal" / f"{solved.stem}.jsonl",
        db_url=db_url or f"sqlite:///{(out / 'gradebook.db').resolve()}",
        autograded=out / "autograded",
        feedback=feedback or out / "feedback",
        kept=out / "submitted",
        bench=Bench(str(solved), Lab.load(solved).digest, unsafe=unsafe, seed=seed),
        jobs=jobs or machine.cores(),
        scheduler=scheduler,
        force=force,
    )
    if reasons:
        click.echo("unsafe: the students' code runs without a sandbox, with your rights", err=True)
    start = time.perf_counter()
    rows = _run(Marking(order))
    seconds = time.perf_counter() - start
    for line in summary_lines(rows, seconds):
        click.echo(line)
    if json_file:
        _save(rows, seconds, order.lab, json_file)
    if not all(row.read for row in rows):
        raise SystemExit(1)


def missing() -> list[str]:
    """Return what this machine lacks for marking in a sandbox, a sentence each."""
    try:
        from frugal.grading import confine
    except ImportError as error:  # no `resource`: Windows
        return [f"this system has no {error.name}: the sandbox needs Linux"]
    return confine.missing()


def refusal(reasons: list[str]) -> str:
    """Say why nothing is marked here, and the ways to go on."""
    return "\n".join(
        [
            "students' code is not run here, because this machine cannot confine it:",
            *(f"    {reason}" for reason in reasons),
            "What to do, the best first:",
            "    Debian, Ubuntu:  sudo apt-get install bubblewrap    Fedora:  sudo dnf install bubblewrap",
            "    macOS, Windows:  mark in a Linux machine or container that allows user namespaces",
            "    --unsafe         mark without a sandbox: every student can then read and change what you can",
            "`python -m frugal doctor` says more. Students need none of this: `python -m frugal check LAB.ipynb`.",
        ]
    )


def _paths(lab: str, out: Path | None) -> tuple[Path, Path | None, Path]:
    """Find the solved notebook and the release of a lab, and where results go; LAB may be a notebook of one's own."""
    from frugal.authoring.tree import Tree

    own = Path(lab)
    if own.suffix == ".ipynb" and own.is_file():
        return own.resolve(), None, out or Path("grading")
    tree = Tree.find()
    tree.lab_source(lab)
    return tree.solved(lab), tree.release(lab), out or tree.root / "grading"


def _run(marking: Marking) -> list[Row]:
    """Mark, with a bar on stderr."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    rows = []
    with tqdm(marking.rows(), total=len(marking), desc=marking.order.lab, unit="submission", leave=False) as bar:
        for row in bar:
            rows.append(row)
            if not row.read:
                bar.set_postfix_str(f"{row.where} {row.status}")
    return rows


def summary_lines(rows: list[Row], seconds: float) -> list[str]:
    """Close a run in a few lines: how many were judged, what was not read and why, and the spread of marks."""
    counts = Counter(row.status for row in rows)
    lines = [f"{len(rows)} submissions in {seconds:.1f} s: " + ", ".join(f"{n} {word}" for word, n in counts.items())]
    if not rows:
        lines = ["no submission of this lab is there"]
    lines += [f"    note: {row.where}: {row.note}" for row in rows if row.read and row.note]
    lines += [f"    {row.status}: {row.where}: {row.note}" for row in rows if not row.read]
    marks = sorted(row.points for row in rows if row.points is not None)
    if marks:
        full = next(row.max_points for row in rows if row.points is not None)
        middle = marks[len(marks) // 2]
        lines.append(f"automatic points of {full:g}: lowest {marks[0]:g}, middle {middle:g}, highest {marks[-1]:g}")
    return lines


def _save(rows: list[Row], seconds: float, lab: str, file: Path) -> None:
    from frugal.measure.record import machine, save, versions

    packages = ("frugal", "torch", "numpy", "nbgrader", "sqlalchemy", "distributed")
    counts = Counter(row.status for row in rows)
    result: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(packages),
        "date": time.strftime("%Y-%m-%d"),
        "command": f"python -m frugal grade {lab}",
        "rows": [asdict(row) for row in rows],
        "summary": {
            "submissions": len(rows),
            "seconds": round(seconds, 3),
            "errors": sum(not row.read for row in rows),
            **{word: counts.get(word, 0) for word in ("judged", "unchanged", "refused", "failed")},
        },
    }
    save(result, file)
