"""A submitted notebook, whatever it is: its cells, each known to be the lab's or the student's.

A student's metadata counts for nothing but the id that says which exercise a cell answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from frugal.grading import cells as text
from frugal.grading.lab import Lab

MOST_CELLS, MOST_CODE = 2000, 1 << 20  # a solved lab has 100 cells and 60,000 characters of code


class Unreadable(Exception):
    """The file is no notebook; the message says what it is instead."""


@dataclass(frozen=True)
class Step:
    """One thing to do, in the notebook's order.

    kind: "run" a student's cell or a cell of the lab that theirs need, or "test".
    """

    kind: str
    id: str
    source: str = ""


@dataclass(frozen=True)
class Submission:
    """What to run and what to test, in order; every test of the lab is among it."""

    steps: tuple[Step, ...]

    @classmethod
    def read(cls, raw: bytes, lab: Lab) -> Submission:
        """Read a notebook that anything may have happened to.

        Raises:
            Unreadable: it is no notebook.
        """
        found = _cells(raw)
        known = {cell.id: cell for cell in lab.cells if cell.role != "text"}
        same_text = {cell.source.strip(): cell for cell in lab.cells if cell.role == "plain"}
        steps: list[tuple[Step, bool]] = []  # and whether it is an answer
        tested: set[str] = set()
        for place, (identity, source) in enumerate(found):
            cell = known.get(identity)
            if cell is not None and cell.role == "test":
                if cell.id not in tested:
                    tested.add(cell.id)
                    steps.append((Step("test", cell.id), False))
            elif cell is not None and cell.role == "plain" and cell.meta.get("nbgrader", {}).get("locked"):
                steps.append((Step("lab", cell.id, text.plain(cell.source)), False))
            elif source.strip() in same_text:
                steps.append((Step("lab", identity or f"cell {place + 1}", text.plain(source)), False))
            else:
                answers = cell is not None and cell.role in ("answer", "manual")
                title = identity if answers else f"cell {place + 1}"
                steps.append((Step("run", title, text.plain(source)), answers))
        for cell in lab.cells:
            if cell.role == "test" and cell.id not in tested:
                steps.append((Step("test", cell.id), False))
        return cls(tuple(_only_needed(steps, lab)))


def _only_needed(steps: list[tuple[Step, bool]], lab: Lab) -> list[Step]:
    """Leave out cells that no answer needs: pictures, tables, networks that the lab runs at its end."""
    known = {cell.id: cell for cell in lab.cells}
    names = []
    for step, _ in steps:
        if step.kind == "test":  # its visible helpers may be used by an answer; it is the lab's own text
            names.append(text.names(text.visible(known[step.id].source)))
        elif step.kind == "lab":  # `f = go_on(f, ...)` is the lab's way past an open exercise, not an answer
            found = text.names(step.source)
            names.append(text.Names(found.binds - lab.asked, found.uses, found.everything))
        else:
            names.append(text.names(step.source))
    last = {known[step.id].exercise: place for place, (step, _) in enumerate(steps) if step.kind == "test"}
    roots = {place: last.get(step.id, len(steps)) for place, (step, answer) in enumerate(steps) if answer}
    for place, (step, _) in enumerate(steps):
        if step.kind == "run" and names[place].binds & lab.asked:
            roots.setdefault(place, len(steps))
    wanted = text.needed(names, roots)
    kept: list[Step] = []
    for place, (step, _) in enumerate(steps):
        if step.kind == "test":
            if place in wanted:
                kept.append(Step("lab", step.id, text.plain(text.visible(known[step.id].source))))
            kept.append(step)
        elif place in wanted:
            kept.append(step)
    return kept


def _cells(raw: bytes) -> list[tuple[str, str]]:
    """Return the id and the text of every code cell."""
    try:
        notebook = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Unreadable("this file is not text, so it is no notebook; submit the .ipynb file of the lab") from None
    except (ValueError, RecursionError) as error:
        what = "is empty" if not raw.strip() else f"is not JSON ({str(error)[:80]})"
        raise Unreadable(f"this file {what}, so it is no notebook; submit the .ipynb file of the lab") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise Unreadable("this file has no cells, so it is no notebook of today's format; save it again in JupyterLab")
    found: list[tuple[str, str]] = []
    total = 0
    for cell in cells[:MOST_CELLS]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        if isinstance(source, list):
            source = "".join(line for line in source if isinstance(line, str))
        if isinstance(source, str):
            total += len(source)
            found.append((_identity(cell), source))
    if total > MOST_CODE:
        raise Unreadable(
            f"this notebook has {total:,} characters of code, {MOST_CODE:,} are allowed; leave data in files"
        )
    return found


def _identity(cell: dict) -> str:
    metadata = cell.get("metadata")
    grading = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    identity = grading.get("grade_id") if isinstance(grading, dict) else None
    identity = identity if isinstance(identity, str) else cell.get("id")
    return identity[:200] if isinstance(identity, str) else ""
