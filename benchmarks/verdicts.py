"""Mark the same submissions with the judge and with stock nbgrader, in every lab, and list the cells they disagree on.

    python benchmarks/verdicts.py [--json FILE] [--lab LAB] [--right N] [--wrong N] [--jobs N]

A submission answers every exercise rightly, or every one wrongly, with answers spread over the catalogue, or none at
all. Stock nbgrader runs them with its own settings, a kernel for each submission; points are compared cell by cell.
"""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
from submissions import autograded, read_answers, save_submission

from frugal.authoring.tree import Tree
from frugal.grading.judge import Judge
from frugal.grading.lab import Lab
from frugal.measure.record import record, save

Points = dict[str, dict[str, float]]  # submission: {grade_id: points}


def make_submissions(tree: Tree, lab: str, folder: Path, right: int, wrong: int) -> dict[str, Path]:
    """Write the submissions to a lab: which answers, and where."""
    release = json.loads(tree.release(lab).read_text())
    exercises = [cell["id"] for cell in release["cells"] if cell["metadata"].get("nbgrader", {}).get("solution")]
    made = {"untouched": save_submission(folder, "untouched", lab, release, {})}
    for kind, count in (("right", right), ("wrong", wrong)):
        answers = {name: read_answers(getattr(tree, kind)(lab, name)) for name in exercises}
        for k in range(count):
            sources = {name: found[k * len(found) // count] for name, found in answers.items()}
            made[f"{kind}{k}"] = save_submission(folder, f"{kind}{k}", lab, release, sources)
    return made


def judged(lab: Path, submissions: dict[str, Path]) -> Points:
    with Judge(Lab.load(lab)) as judge:
        reports = {name: judge.grade(path.read_bytes()) for name, path in submissions.items()}
    return {name: {each.grade_id: each.points for each in report.results} for name, report in reports.items()}


def compare(tree: Tree, lab: str, right: int, wrong: int) -> dict[str, Any]:
    """Mark a lab's submissions twice; return its row."""
    with tempfile.TemporaryDirectory(prefix="frugal-") as folder:
        submissions = make_submissions(tree, lab, Path(folder), right, wrong)
        ours = judged(tree.solved(lab), submissions)
        theirs = autograded(tree, lab, Path(folder), list(submissions))
    differ = [
        {"submission": name, "cell": cell, "judge": points, "nbgrader": theirs.get(name, {}).get(cell)}
        for name, cells in ours.items()
        for cell, points in cells.items()
        if points != theirs.get(name, {}).get(cell)
    ]
    total = {name: sum(cells.values()) for name, cells in ours.items()}
    return {
        "lab": lab,
        "submissions": len(submissions),
        "cells": sum(map(len, ours.values())),
        "differing_cells": len(differ),
        "points": total,
        "differ": differ,
    }


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
@click.option("--lab", "labs", multiple=True, help="only this one; may be repeated")
@click.option("--right", default=2, show_default=True, help="submissions of right answers for each lab")
@click.option("--wrong", default=4, show_default=True, help="submissions of wrong answers for each lab")
@click.option("--jobs", default=1, show_default=True, help="labs at once")
def main(file: str | None, labs: tuple[str, ...], right: int, wrong: int, jobs: int) -> None:
    tree = Tree.find()
    rows = []
    with ThreadPoolExecutor(jobs) as pool:
        for row in pool.map(lambda lab: compare(tree, lab, right, wrong), labs or tree.labs()):
            rows.append(row)
            click.echo({key: value for key, value in row.items() if key != "differ"})
            for each in row["differ"]:
                click.echo(f"  {each}")
    cells, differing = (sum(row[key] for row in rows) for key in ("cells", "differing_cells"))
    summary = {"labs": len(rows), "cells": cells, "differing_cells": differing}
    click.echo(summary)
    if file:
        save(record(rows, summary), file)


if __name__ == "__main__":
    main()
