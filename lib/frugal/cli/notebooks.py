"""``python -m frugal notebooks``: build and execute the chapters whose source changed."""

from __future__ import annotations

import sys

import click


@click.command()
@click.argument("names", nargs=-1)
@click.option("--check", is_flag=True, help="Execute nothing; fail where a saved notebook is not its source's.")
@click.option("--force", is_flag=True, help="Execute also what is up to date.")
@click.option("-j", "--jobs", default=2, show_default=True, help="Notebooks executed at the same time.")
def notebooks(names: tuple[str, ...], check: bool, force: bool, jobs: int) -> None:
    """Build the course's notebooks from course/*/src, all of them or those whose name holds one of NAMES."""
    from frugal.authoring import publish
    from frugal.authoring.tree import Tree

    tree = Tree.find()
    chosen = publish.chapter_jobs(tree)
    if names:
        chosen = [job for job in chosen if any(name.removesuffix(".py") in job.source.stem for name in names)]
        if not chosen:
            known = ", ".join(source.stem for source in tree.chapters()) or "none yet"
            raise click.ClickException(f"no chapter is called {', '.join(names)}; the chapters are: {known}")
    outcomes = publish.check(tree, chosen) if check else publish.update(tree, chosen, force=force, workers=jobs)
    failed = 0
    for outcome in outcomes:
        failed += not outcome.ok
        click.echo(f"{outcome.what:<11}  {tree.relative(outcome.job.notebook)}  {outcome.detail}".rstrip())
    if failed:
        advice = "run `make notebooks`" if check else "nothing was written for them"
        raise click.ClickException(f"{failed} of {len(chosen)} notebooks: {advice}")
    if not chosen:
        click.echo("no chapter has a source yet", file=sys.stderr)
