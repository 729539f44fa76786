"""``python -m frugal labs``: build, list, stage and verify. ``python -m frugal check``: a student's own check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from frugal.authoring.tree import Tree

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
        advice = "run `make labs`" if check else "its release was not written"
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
    return []


def _check(tree: Tree, lab: str) -> list[str]:
    from frugal.authoring import publish

    outcome = next(publish.check(tree, [publish.lab_job(tree, lab)]))
    problems = [] if outcome.ok else [f"solutions/{lab}.ipynb {outcome.detail}"]
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


def _chosen(tree: Tree, lab: str | None) -> list[str]:
    """Return the asked lab, or all of them; an unknown name is refused with the known ones."""
    if lab is not None:
        tree.lab_source(lab)
        return [lab]
    if not tree.labs():
        click.echo("no lab has a source yet", err=True)
    return tree.labs()
