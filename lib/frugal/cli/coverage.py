"""``python -m frugal coverage``: which part of the lecture stands in the course, and where.

The last line on stdout is ``N done, M planned``. Exit code 1, with the reasons on stderr, when course/lecture.toml
has a pointer that leads nowhere, an item missing or twice, or a key that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from frugal.authoring.coverage import Coverage, Item, read_coverage
from frugal.authoring.lecture_form import KINDS
from frugal.authoring.tree import Tree
from frugal.measure.record import record, save

_HEADINGS = {"slide": "Slides", "equation": "Equations", "table": "Table rows", "reference": "References"}
_TITLE_WIDTH = 46


@click.command()
@click.option("--kind", type=click.Choice(KINDS), help="Show and count one kind of item only.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the table here too.")
def coverage(kind: str | None, json_file: Path | None) -> None:
    """Show which part of the lecture is covered where; fail when a pointer leads nowhere."""
    found = read_coverage(Tree.find().root)
    shown = Coverage(tuple(item for item in found.items if kind in (None, item.kind)), found.problems, found.notes)
    for each in KINDS if kind is None else (kind,):
        click.echo("\n".join(table(each, [item for item in shown.items if item.kind == each])) + "\n")
    for note in shown.notes:
        click.echo(f"note: {note}", err=True)
    for problem in shown.problems:
        click.echo(f"course/lecture.toml: {problem}", err=True)
    if json_file and shown.items:
        summary = {"done": shown.done, "planned": shown.planned, "problems": list(shown.problems)}
        save(record(rows(shown.items), summary), json_file)
    click.echo(f"{shown.done} done, {shown.planned} planned")
    if shown.problems:
        raise SystemExit(1)


def table(kind: str, items: Sequence[Item]) -> list[str]:
    """Write one kind's items as lines: key, title, state, and where to look."""
    done = sum(item.done for item in items)
    width = max((len(item.key) for item in items), default=0)
    side = "<" if kind == "table" else ">"
    lines = [f"{_HEADINGS[kind]}: {done} done, {len(items) - done} planned"]
    for item in items:
        key = f"{item.key:{side}{width}}"
        lines.append(f"  {key}  {_cut(item.title):{_TITLE_WIDTH}}  {item.state:7}  {_where(item)}".rstrip())
    return lines


def rows(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Build the rows that ``--json`` writes, one for each item."""
    return [
        {
            "kind": item.kind,
            "key": item.key,
            "title": item.title,
            "state": item.state,
            "standing": dict(item.standing),
            "planned": dict(item.planned),
        }
        for item in items
    ]


def _cut(title: str) -> str:
    return title if len(title) <= _TITLE_WIDTH else title[: _TITLE_WIDTH - 1] + "…"


def _where(item: Item) -> str:
    """The notebooks to open; in brackets what is planned."""
    if item.reason and not item.standing and not item.planned:
        return item.reason
    here = ", ".join(Path(path).stem for path in item.standing.get("notebook", ()))
    coming = ", ".join(Path(path).stem for path in item.planned.get("notebook", ()))
    waits = [pointer for pointer in item.planned if pointer != "notebook"] if here else []
    parts = [here, f"({coming})" if coming else "", f"(waits for {', '.join(waits)})" if waits else ""]
    return " ".join(part for part in parts if part)
