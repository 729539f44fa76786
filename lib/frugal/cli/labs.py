"""``python -m frugal labs``: build, list, stage and verify. ``python -m frugal check``: a student's own check."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from frugal.core.errors import CourseFileMissing

if TYPE_CHECKING:
    from frugal.authoring.tree import Tree
    from frugal.authoring.verify import Report

_LAB = click.argument("lab", required=False)


@click.group()
def labs() -> None:
    """Build the labs, and verify that they mark fairly."""


@labs.command("list")
def list_labs() -> None:
    """List every lab with its exercises and points."""
    from frugal.authoring.percent import read_source
    from frugal.authoring.tree import Tree

    tree = Tree.find()
    for lab in tree.labs():
        cells = read_source(tree.lab_source(lab))
        points = sum(cell.points for cell in cells)
        click.echo(f"{lab}: {points:g} points")
        for cell in cells:
            if cell.role == "solution":
                click.echo(f"    {cell.exercise:<24} {cell.lift or 'written in the lab'}")


@labs.command()
@_LAB
@click.option("--check", is_flag=True, help="Execute and write nothing; fail where a rebuild would change a file.")
@click.option("--force", is_flag=True, help="Execute also what is up to date.")
@click.option("-j", "--jobs", default=2, show_default=True, help="Processes.")
def build(lab: str | None, check: bool, force: bool, jobs: int) -> None:
    """Build solved notebooks, releases and the names of wrong answers; stage them for nbgrader."""
    from frugal.authoring.tree import Tree

    tree = Tree.find()
    failed = 0
    for name in _chosen(tree, lab):
        problems = _check(tree, name) if check else _build(tree, name, force, jobs)
        failed += bool(problems)
        click.echo(f"{name}: " + ("; ".join(problems) if problems else "up to date" if check else "built"))
    if failed:
        advice = "run `make labs`" if check else "see above"
        raise click.ClickException(f"{failed} lab(s) with problems: {advice}")


def _build(tree: Tree, lab: str, force: bool, jobs: int) -> list[str]:
    from frugal.authoring import publish, stage, verify

    outcome = next(publish.update(tree, [publish.lab_job(tree, lab)], force=force))
    click.echo(f"{outcome.what:<11}  {tree.relative(outcome.job.notebook)}  {outcome.detail}".rstrip())
    if not outcome.ok:
        return ["the solved lab does not run"]
    publish.update_misconceptions(tree, lab, lambda: verify.misconceptions(tree, lab, workers=jobs), force=force)
    for changed in publish.update_release(tree, lab):
        click.echo(f"changed      labs/{lab}/{changed}")
    stage.stage(tree, lab, tree.root / "grading" / "source")
    return list(publish.check_release(tree, lab))


def _check(tree: Tree, lab: str) -> list[str]:
    from frugal.authoring import publish

    outcome = next(publish.check(tree, [publish.lab_job(tree, lab)]))
    problems = [] if outcome.ok else [f"solutions/{lab}.ipynb {outcome.detail}"]
    if not publish.knows_catalogue(tree, lab):
        problems.append(f"labs/{lab}/misconceptions.json was not made from today's solutions/wrong/{lab}")
    return problems + list(publish.check_release(tree, lab))


@labs.command("stage")
@_LAB
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), help="[default: grading/source]")
def stage_labs(lab: str | None, out: Path | None) -> None:
    """Prepare the folder that stock nbgrader releases from: built labs and nothing that may not be published."""
    from frugal.authoring import publish
    from frugal.authoring.stage import stage
    from frugal.authoring.tree import Tree

    tree = Tree.find()
    folder = out or tree.root / "grading" / "source"
    if lab is None and out is None:
        publish.clear_stage(folder)
    for name in _chosen(tree, lab):
        click.echo(f"staged  {tree.relative(stage(tree, name, folder))}")


@labs.command("verify")
@_LAB
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the table here too.")
@click.option("-j", "--jobs", default=2, show_default=True, help="Answers tried at the same time.")
def verify_labs(lab: str | None, json_file: Path | None, jobs: int) -> None:
    """Try every catalogued answer: each wrong one must lose its points, each right one must keep them."""
    from frugal.authoring.tree import Tree
    from frugal.authoring.verify import verify
    from frugal.measure.record import save

    tree = Tree.find()
    reports = []
    for name in _chosen(tree, lab):
        reports.append(verify(tree, name, workers=jobs))
        click.echo("\n".join(_table(reports[-1])))
    if json_file and reports:
        save(_record(reports), json_file)
    if not all(report.fair for report in reports):
        raise SystemExit(1)


def _table(report: Report) -> list[str]:
    """Write a report as lines: one for each exercise, what is wrong, and the sums."""
    lines = [report.lab, f"    {'exercise':<24}{'points':>7}{'wrong':>7}{'visible':>9}{'hidden':>8}{'right':>8}"]
    for row in report.rows:
        rates = f"{row.visible_rate:>9.0%}{row.hidden_rate:>8.0%}"
        right = f"{row.right_passed}/{row.right}"
        lines.append(f"    {row.exercise:<24}{row.points:>7g}{row.wrong:>7}{rates}{right:>8}")
    total = report.total
    right = f"{total.right_passed}/{total.right}"
    rates = f"{total.visible_rate:>9.0%}{total.hidden_rate:>8.0%}"
    lines.append(f"    {'all':<24}{total.points:>7g}{total.wrong:>7}{rates}{right:>8}")
    lines += [f"    note: {row.exercise}: {note}" for row in report.rows for note in row.notes]
    lines += [f"    problem: {row.exercise}: {problem}" for row in report.rows for problem in row.problems]
    lines += [f"    problem: {problem}" for problem in report.problems]
    return lines


def _record(reports: list[Report]) -> dict:
    """Build what ``--json`` writes."""
    from frugal.measure.record import record

    rows = [
        {
            "lab": report.lab,
            **dataclasses.asdict(row),
            "visible_rate": row.visible_rate,
            "hidden_rate": row.hidden_rate,
        }
        for report in reports
        for row in report.rows
    ]
    summary = {
        "fair": all(report.fair for report in reports),
        "wrong": sum(row["wrong"] for row in rows),
        "visible_killed": sum(row["visible_killed"] for row in rows),
        "hidden_killed": sum(row["hidden_killed"] for row in rows),
        "right": sum(row["right"] for row in rows),
        "right_passed": sum(row["right_passed"] for row in rows),
        "problems": [f"{report.lab}: {problem}" for report in reports for problem in report.problems],
    }
    return record(
        rows, summary, command=" ".join(["python -m frugal labs verify", *(report.lab for report in reports)])
    )


@click.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("--limit", default=60.0, show_default=True, help="Seconds that one cell may take.")
def check(notebook: Path, limit: float) -> None:
    """Run a lab's visible checks on your notebook and say which exercises pass."""
    from frugal.authoring.selfcheck import self_check
    from frugal.authoring.tree import Tree

    try:
        release = Tree.find(notebook.parent).release(notebook.stem)
    except CourseFileMissing:
        release = None
    marks = self_check(notebook, release=release, limit_s=limit)
    for mark in marks:
        first, *rest = mark.message.splitlines() or [""]
        click.echo(f"{mark.status:<14} {mark.exercise:<24} {first}".rstrip())
        for line in rest:
            click.echo(" " * 40 + line)
    passed = sum(mark.status == "passed" for mark in marks)
    click.echo(f"{passed} of {len(marks)} exercises pass their visible check")
    if passed < len(marks):
        raise SystemExit(1)


def _chosen(tree: Tree, lab: str | None) -> list[str]:
    """Return the asked lab, or all of them; an unknown name is refused with the known ones."""
    if lab is not None:
        tree.lab_source(lab)
        return [lab]
    if not tree.labs():
        click.echo("no lab has a source yet", err=True)
    return tree.labs()
