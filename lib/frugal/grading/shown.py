"""The notebook that Formgrader shows: the student's cells, the course's tests, and the judge's verdict at each test.

Formgrader renders it on the instructor's own Jupyter, where a script would act as the instructor. So nothing that the
student controls arrives there as HTML: their text is cleaned, of their outputs only text and PNG pictures are kept,
and of their metadata only the names of cells.
"""

from __future__ import annotations

import base64
import html
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import nbformat
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from frugal.grading.cells import printable
from frugal.grading.gradebook import grade_id
from frugal.grading.verdict import CellResult, Report

TEXT = 20_000  # characters of one output
PICTURE = 2 << 20  # bytes of one picture
OUTPUTS = 20  # of one cell
_SCHEME = re.compile("(javascript|vbscript):", re.IGNORECASE)
_PNG = b"\x89PNG\r\n\x1a\n"


def shown(notebook: bytes, solved: NotebookNode, release: NotebookNode | None, report: Report) -> NotebookNode:
    """Put a student's notebook together with the lab's own cells and the verdicts."""
    ours = {name: cell for cell in solved.cells if (name := grade_id(cell))}
    handed_out = {name: cell for cell in (release.cells if release else []) if (name := grade_id(cell))}
    theirs = [cell for cell in json.loads(notebook)["cells"] if isinstance(cell, dict)]
    last = {name: index for index, cell in enumerate(theirs) if (name := grade_id(cell)) in ours}
    cells = []
    for index, cell in enumerate(theirs):
        name = grade_id(cell)
        if last.get(name) == index:
            cells.append(_graded(name, ours[name], handed_out.get(name), source(cell)))
        else:
            cells.append(_cell(str(cell.get("cell_type")), source(cell)))
        if cells[-1].cell_type == "code" and not _is(ours.get(name), "locked"):
            cells[-1].outputs = outputs(cell.get("outputs"))
    for name, cell in ours.items():
        if name not in last:
            cells.append(_graded(name, cell, handed_out.get(name), ""))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    book = new_notebook(cells=cells, metadata={"kernelspec": dict(solved.metadata.get("kernelspec", {}))})
    put_verdicts(book, report.results)
    return book


def put_verdicts(book: NotebookNode, results: Sequence[CellResult]) -> None:
    """Show each verdict as the output of its cell, in the form that nbgrader reads marks from."""
    verdicts = {result.grade_id: result for result in results}
    for cell in book.cells:
        result = verdicts.get(grade_id(cell))
        if result is None or result.kind != "auto" or cell.cell_type != "code":
            continue
        cell.execution_count = None
        told = tell(result)
        if result.points >= result.max_points:
            cell.outputs = []
        elif result.points > 0:  # nbgrader takes a number that a cell shows for its points
            cell.outputs = [new_output("execute_result", data={"text/plain": f"{result.points:g}"})]
        else:
            cell.outputs = [new_output("error", ename="CheckFailed", evalue=told, traceback=[told])]


def tell(result: CellResult) -> str:
    """Say to the student what is wrong, and what mistake it looks like."""
    first = result.message or ("" if result.passed else "The answer does not pass.")
    return "\n".join(line for line in (first, result.misconception) if line)


def outputs(values: object) -> list[NotebookNode]:
    """Keep of a student's outputs what cannot act: text, and PNG pictures that begin as such."""
    kept = []
    for value in values[:OUTPUTS] if isinstance(values, list) else []:
        if not isinstance(value, Mapping):
            continue
        kind, data = value.get("output_type"), value.get("data")
        if kind == "stream":
            kept.append(new_output("stream", name="stdout", text=_text(value.get("text"))))
        elif kind == "error":
            line = _text(f"{value.get('ename')}: {value.get('evalue')}")
            kept.append(new_output("stream", name="stdout", text=line))
        elif isinstance(data, Mapping):
            bundle = {"text/plain": _text(data.get("text/plain"))}
            if picture := _picture(data.get("image/png")):
                bundle["image/png"] = picture
            kept.append(new_output("display_data", data=bundle))
    return kept


def _graded(name: str, ours: NotebookNode, handed_out: NotebookNode | None, source: str) -> NotebookNode:
    """Take a named cell: its role, and where it is locked its text, from the course."""
    locked = _is(ours, "locked") or (_is(ours, "grade") and not _is(ours, "solution"))
    cell = _cell(ours.cell_type, source, clean=not locked)
    if locked:
        cell.source = ours.source
    cell.metadata["nbgrader"] = {**(handed_out or ours).metadata.nbgrader, "grade_id": name}
    return cell


def _cell(kind: str, source: str, *, clean: bool = True) -> NotebookNode:
    if kind == "code":
        return new_code_cell(printable(source) if clean else source)
    text = _cleaned(printable(source)) if clean else source
    return new_markdown_cell(text) if kind == "markdown" else new_raw_cell(text)


@lru_cache(maxsize=4096)  # most words of a submission are the lab's own
def _cleaned(text: str) -> str:
    bare = re.sub(r"[\s\\]", "", html.unescape(text))
    if _SCHEME.search(bare):  # [a link](javascript:...) is no HTML before it is shown: shown as code it is no link
        return textwrap.indent(text, "    ", lambda line: True)
    return SanitizeHTML().sanitize_html_tags(text) if "<" in text or "&" in text else text


def _is(cell: NotebookNode | None, role: str) -> bool:
    return bool(cell is not None and cell.metadata.get("nbgrader", {}).get(role))


def source(cell: Mapping[str, Any]) -> str:
    """Return the text of a cell, which a file holds as one string or as lines."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def _text(value: object) -> str:
    text = "".join(map(str, value)) if isinstance(value, list) else str(value or "")
    text = printable(text)
    return text if len(text) <= TEXT else f"{text[:TEXT]}\n… {len(text) - TEXT} more characters"


def _picture(value: object) -> str:
    try:
        raw = base64.b64decode("".join("".join(value if isinstance(value, list) else [str(value or "")]).split()))
    except (ValueError, TypeError):
        return ""
    return base64.b64encode(raw).decode() if raw.startswith(_PNG) and len(raw) <= PICTURE else ""


def read(path: Any) -> NotebookNode:
    """Read one of the course's own notebooks."""
    return nbformat.read(path, as_version=4)
