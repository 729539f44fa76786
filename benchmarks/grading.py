"""Mark a class of synthetic submissions with 1, 2 and 4 processes, through Dask, and a sample with stock nbgrader.

    python benchmarks/grading.py [--json FILE] [--submissions N] [--sample N] [--jobs 1,2,4]

The class is made from the catalogues of the lab: a submission answers each exercise with a right answer, a wrong one,
or not at all; one in a hundred hangs, one in a hundred ends its process. Everything is timed from the typed command to
the last mark in the gradebook, with Formgrader's notebooks and feedback pages. Stock nbgrader runs the same submissions
with its own settings, a sample of them because it takes seconds for each, hanging ones left out: a cell of theirs
waits for its time limit, which says nothing about the grader.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import psutil
from submissions import NBGRADER, environment, read_answers, save_submission, stock_course

from frugal.authoring.tree import Tree
from frugal.measure.record import record, save

LAB = "lab_4_1_affine"
SEED = 41
KINDS = {"hanging": "import time\nwhile True:\n    time.sleep(1)", "dying": "import os\nos._exit(1)"}
MiB = 1 << 20


def make_class(tree: Tree, folder: Path, size: int) -> dict[str, int]:
    """Write ``size`` submissions and return how many there are of each kind."""
    release = json.loads(tree.release(LAB).read_text())
    exercises = [cell["id"] for cell in release["cells"] if cell["metadata"].get("nbgrader", {}).get("solution")]
    answers = {
        (kind, name): read_answers(getattr(tree, kind)(LAB, name)) for kind in ("right", "wrong") for name in exercises
    }
    chance = random.Random(SEED)
    kinds = {"mixed": 0, "right": 0, "untouched": 0, "hanging": 0, "dying": 0}
    for number in range(size):
        kind = "hanging" if number % 100 == 37 else "dying" if number % 100 == 73 else ""
        kind = kind or chance.choices(["mixed", "right", "untouched"], [80, 15, 5])[0]
        kinds[kind] += 1
        sources = {}
        for name in exercises:
            pick = {"right": "right", "untouched": ""}.get(kind) or chance.choice(["right", "right", "wrong", ""])
            if pick and kind != "untouched":
                sources[name] = chance.choice(answers[pick, name])
        if kind in KINDS:
            sources[exercises[chance.randrange(3)]] = KINDS[kind]
        save_submission(folder, f"s{number:04}", LAB, release, sources)
    return kinds


# ---- timing ----------------------------------------------------------------------------------------------------------


@contextmanager
def peak_memory(root: int) -> Iterator[dict[str, float]]:
    """Watch the memory of a process and all below it; shared pages are split between those who share them."""
    found, done = {"peak_mib": 0.0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            total = 0
            try:
                for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
                    try:
                        total += getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss
                    except psutil.Error:
                        continue
            except psutil.Error:
                return
            found["peak_mib"] = max(found["peak_mib"], total / MiB)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


def timed(command: list[str], **about: Any) -> tuple[float, float, subprocess.CompletedProcess[str]]:
    """Run a command; return its seconds, the peak memory of it and its children, and what it said."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **about)
    with peak_memory(process.pid) as memory:
        said, _ = process.communicate()
    seconds = time.perf_counter() - start
    return seconds, memory["peak_mib"], subprocess.CompletedProcess(command, process.returncode, said)


def grade(submitted: Path, size: int, *words: str) -> dict[str, Any]:
    """Mark the class once with our command, into a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="frugal-") as out:
        report = f"{out}/report.json"
        command = [sys.executable, "-m", "frugal", "grade", LAB, str(submitted), "--out", out, "--json", report, *words]
        seconds, memory, done = timed(command, env=environment())
        if not Path(report).is_file():
            raise click.ClickException(f"the marker left with {done.returncode}: {done.stdout[-2000:]}")
        result = json.loads(Path(report).read_text())
    marks = {row["student"]: row["points"] for row in result["rows"]}
    if unread := [f"{row['where']}: {row['note']}" for row in result["rows"] if row["status"] in ("refused", "failed")]:
        click.echo("\n".join(unread[:3]))
    return {
        "seconds": round(seconds, 2),
        "seconds_per_submission": round(seconds / size, 4),
        "errors": result["summary"]["errors"],
        "peak_mib": round(memory),
        "sum_of_points": sum(points or 0.0 for points in marks.values()),
    }


# ---- stock nbgrader --------------------------------------------------------------------------------------------------


def stock(tree: Tree, submitted: Path, students: list[str]) -> dict[str, Any]:
    """Time nbgrader as it comes on a sample: its own settings, a kernel for each submission."""
    with stock_course(tree, LAB, submitted, students) as about:
        seconds, memory, _ = timed([*NBGRADER, "autograde", LAB], **about)
        pages, _, _ = timed([*NBGRADER, "generate_feedback", LAB], **about)
        marked = len(list((Path(about["cwd"]) / "autograded").glob(f"*/{LAB}/{LAB}.ipynb")))
    return {
        "seconds": round(seconds + pages, 2),
        "seconds_per_submission": round((seconds + pages) / len(students), 4),
        "errors": len(students) - marked,
        "peak_mib": round(memory),
    }


# ---- Dask ------------------------------------------------------------------------------------------------------------


def through_dask(submitted: Path, size: int, workers: int) -> dict[str, Any] | None:
    """Mark the class on a cluster of this machine's processes; None where `distributed` is not installed."""
    try:
        from distributed import LocalCluster
    except ImportError:
        return None
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        peak_memory(os.getpid()) as memory,
    ):
        row = grade(submitted, size, "--scheduler", cluster.scheduler_address)
    return {**row, "peak_mib": round(memory["peak_mib"])}


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
@click.option("--submissions", default=1000, show_default=True, help="size of the class")
@click.option("--sample", default=24, show_default=True, help="submissions that stock nbgrader marks; 0 leaves it out")
@click.option("--jobs", default="1,2,4", show_default=True, help="numbers of processes, separated by commas")
def main(file: str | None, submissions: int, sample: int, jobs: str) -> None:
    tree = Tree.find()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="frugal-class-") as folder:
        submitted = Path(folder)
        kinds = make_class(tree, submitted, submissions)
        click.echo(f"{submissions} submissions of {LAB}: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
        numbers = [int(number) for number in jobs.split(",")]
        for number in numbers:
            rows.append({"grader": "frugal", "jobs": number, **grade(submitted, submissions, "--jobs", str(number))})
            click.echo(rows[-1])
        if dask := through_dask(submitted, submissions, max(numbers)):
            rows.append({"grader": "frugal through Dask", "jobs": max(numbers), **dask})
            click.echo(rows[-1])
        if sample:
            names = [f"s{number:04}" for number in range(submissions) if number % 100 != 37][:sample]
            rows.append({"grader": "nbgrader", "jobs": 1, "sample": len(names), **stock(tree, submitted, names)})
            click.echo(rows[-1])
    ours = [row for row in rows if row["grader"].startswith("frugal")]
    summary: dict[str, Any] = {
        "submissions": submissions,
        "seconds": ours[-1]["seconds"] if len(ours) == len(numbers) else ours[-2]["seconds"],
        "errors": sum(row["errors"] for row in ours),
        "same_points": len({row["sum_of_points"] for row in ours}) == 1,
        **kinds,
    }
    for row in ours:
        summary[f"seconds_{row['jobs']}{'_dask' if 'Dask' in row['grader'] else ''}"] = row["seconds"]
    if sample:
        stocks = rows[-1]["seconds_per_submission"]
        summary["nbgrader_seconds_per_submission"] = stocks
        alone = next((row for row in ours if row["jobs"] == 1), ours[0])
        summary["times_faster_than_nbgrader"] = round(stocks / alone["seconds_per_submission"], 1)  # one process each
    result = record(rows, summary)
    for key, value in summary.items():
        click.echo(f"{key}: {value}")
    if file:
        save(result, file)


if __name__ == "__main__":
    main()
