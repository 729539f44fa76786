"""Cells to a notebook, the same bytes every time.

Ids are the tags' own names, metadata is nbgrader's (schema 3) and little else, the kernel is ``python3``.
Graded cells carry ``raises-exception``, so that Run All goes on past a red check; nbgrader marks by the error
in the cell's output, whatever its tags (tests/authoring holds that).
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from frugal.authoring.lift import lift
from frugal.authoring.percent import BEGIN_HIDDEN, END_HIDDEN, Cell, read_source

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
HIDDEN_NOTE = "# Hidden tests: they run when your lab is graded."
GOES_ON = "raises-exception"


def build_file(source: Path) -> NotebookNode:
    """Build the notebook of a source file."""
    return build(read_source(source))


def build(cells: Iterable[Cell]) -> NotebookNode:
    """Build a notebook without outputs from cells, answers and hidden tests included."""
    notebook = new_notebook(cells=[_node(cell) for cell in cells], metadata=standard_metadata())
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def read_notebook(path: Path) -> NotebookNode | None:
    """Read a notebook that anything may have happened to; None where it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        for cell in notebook.cells:
            _ = cell.cell_type, cell.source, cell.metadata.get("tags")
    except Exception:  # nbformat raises what it happens to meet
        return None
    return notebook


def standard_metadata() -> NotebookNode:
    return nbformat.from_dict({"kernelspec": dict(KERNEL), "language_info": {"name": "python"}})


def to_text(notebook: NotebookNode) -> str:
    """Return the notebook's file content: keys in order, one newline at the end."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """Return a copy as if it had just been built: no outputs, no counts, no digest."""
    bare = copy.deepcopy(notebook)
    bare.metadata = standard_metadata()
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return bare


def source_digest(notebook: NotebookNode) -> str:
    """Return the sha256 of the built cells: by it a later run knows whether saved outputs belong to them."""
    return hashlib.sha256(to_text(without_outputs(notebook)).encode()).hexdigest()


def full_source(cell: Cell) -> str:
    """Return what stands in the notebook: lifted answers and the markers of hidden tests put in."""
    if cell.lift:
        return "\n\n\n".join(part for part in (cell.source, lift(cell.lift)) if part)
    if cell.role == "hidden":
        return "\n".join([HIDDEN_NOTE, BEGIN_HIDDEN, cell.source, END_HIDDEN])
    return cell.source


def _node(cell: Cell) -> NotebookNode:
    new = new_markdown_cell if cell.role == "markdown" else new_code_cell
    return new(full_source(cell), id=cell.id, metadata=_metadata(cell))


def _metadata(cell: Cell) -> dict:
    tags = list(cell.tags)
    metadata: dict = {}
    if cell.role in ("test", "hidden") and GOES_ON not in tags:
        tags.append(GOES_ON)
    if tags:
        metadata["tags"] = tags
    if cell.alt:
        metadata["mystnb"] = {"image": {"alt": cell.alt}}
    said = {"lift": cell.lift, "mask": list(cell.mask), "allow": list(cell.allow)}
    if ours := {key: value for key, value in said.items() if value}:
        metadata["frugal"] = ours
    if cell.exercise:
        metadata["nbgrader"] = _grading(cell)
    return metadata


def _grading(cell: Cell) -> dict:
    graded = cell.role in ("test", "hidden")
    grading = {
        "grade": graded,
        "grade_id": cell.id,
        "locked": graded,
        "schema_version": 3,
        "solution": cell.role == "solution",
        "task": False,
    }
    return {**grading, "points": cell.points} if graded else grading
