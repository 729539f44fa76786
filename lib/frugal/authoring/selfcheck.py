"""A student's own check outside JupyterLab: run the notebook, tell for each exercise what its check says.

The notebook is whatever it is: not JSON, a copied cell, a loop without end, a cell that ends the process.
Each of them gets a sentence; none of them gets a traceback.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from frugal.authoring.build import read_notebook, standard_metadata
from frugal.authoring.execute import kernel_environment, private_sockets
from frugal.core.errors import CourseFileMissing, SourceError

LIMIT_S = 60.0  # one cell; a check takes seconds
GRACE_S = 5.0  # for a cell that is told to stop
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Mark:
    """What the visible check says of one exercise: "passed", "failed", "not attempted" or "missing", and why."""

    exercise: str
    status: str
    message: str = ""


def self_check(path: Path, *, release: Path | None = None, limit_s: float = LIMIT_S) -> list[Mark]:
    """Run a student's notebook and return a mark for every exercise, in the lab's order.

    Args:
        path: the notebook; it is not written to.
        release: the lab as it was handed out, if it is at hand: what it asks for and the notebook lacks is missing.
        limit_s: how long one cell may take.

    Raises:
        CourseFileMissing: there is no such file.
        SourceError: it is not a notebook, or it holds no check.
    """
    notebook = read_student(path)
    expected = _exercises(read_student(release)) if release and release.is_file() else []
    exercises = list(dict.fromkeys([*expected, *_exercises(notebook)]))
    if not exercises:
        raise SourceError(f"{path.name} holds no graded check; give the notebook of a lab")
    stopped = run_on(notebook, path.resolve().parent, limit_s)
    return [_mark(notebook, exercise, stopped) for exercise in exercises]


def read_student(path: Path) -> NotebookNode:
    """Read a notebook that anything may have happened to."""
    if not path.is_file():
        raise CourseFileMissing(f"there is no file {path}")
    notebook = read_notebook(path)
    if notebook is None:
        raise SourceError(f"{path.name} is not a readable notebook; fetch the lab again and copy your answers into it")
    return notebook


def run_on(notebook: NotebookNode, folder: Path, limit_s: float) -> str:
    """Run every cell in place, past errors; return "" or why the run stopped before the end."""
    notebook.metadata = standard_metadata()
    for cell in notebook.cells:
        cell.metadata.pop("tags", None)  # a tag may skip a cell
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory(prefix="frugal-") as sockets, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = NotebookClient(
            notebook,
            allow_errors=True,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
            timeout=None,
        )
        private_sockets(client, sockets)
        return asyncio.run(_run_cells(client, limit_s))


async def _run_cells(client: NotebookClient, limit_s: float) -> str:
    async with client.async_setup_kernel(env=kernel_environment()):
        for index, cell in enumerate(client.nb.cells):
            running = asyncio.ensure_future(client.async_execute_cell(cell, index))
            done, _ = await asyncio.wait([running], timeout=limit_s)
            if not done:
                cell.metadata["late"] = True
                await client.km.interrupt_kernel()
                done, _ = await asyncio.wait([running], timeout=GRACE_S)
            try:
                if not done:
                    running.cancel()
                    await client.km.shutdown_kernel(now=True)
                    return f"cell {_name(cell, index)} ran past {limit_s:g} s and could not be stopped"
                running.result()
            except (DeadKernelError, CellTimeoutError, RuntimeError):
                return f"cell {_name(cell, index)} ended the process"
    return ""


def _name(cell: NotebookNode, index: int) -> str:
    lines = [line for line in cell.source.splitlines() if line.strip()]
    return f"{index + 1} ({lines[0].strip()[:50]})" if lines else str(index + 1)


# ---- what the cells say --------------------------------------------------------------------------------------------


def _exercises(notebook: NotebookNode) -> list[str]:
    """Return the exercises that a notebook asks for: those with a visible check, or with a cell to write in."""
    names = []
    for cell in notebook.cells:
        grading = _grading(cell)
        identity = str(grading.get("grade_id", ""))
        if grading.get("grade") and identity.startswith("test-"):
            names.append(identity.removeprefix("test-"))
        elif grading.get("solution"):
            names.append(identity)
    return list(dict.fromkeys(names))


def _mark(notebook: NotebookNode, exercise: str, stopped: str) -> Mark:
    checks = [cell for cell in notebook.cells if _grading(cell).get("grade_id") == f"test-{exercise}"]
    if not checks:
        return Mark(
            exercise, "missing", "its check cell is not in the notebook; fetch the lab again and copy your answers"
        )
    for cell in checks:
        if cell.metadata.get("late"):
            return Mark(exercise, "failed", "the check ran past the time limit; look for a loop without end")
        for status, message in _errors(cell):
            return Mark(exercise, status, message)
        if cell.get("execution_count") is None:
            return Mark(
                exercise, "failed", f"its check was not reached: {stopped}" if stopped else "its check did not run"
            )
    return Mark(exercise, "passed")


def _errors(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    for output in cell.get("outputs", []):
        if output.output_type != "error":
            continue
        message = _ANSI.sub("", output.evalue).strip()
        open_yet = output.ename == "NotImplementedError" or "not attempted" in message.lower()
        if output.ename not in ("CheckFailed", "AssertionError"):
            message = f"{output.ename}: {message}"
        yield ("not attempted", "") if open_yet else ("failed", message)


def _grading(cell: NotebookNode) -> dict:
    grading = cell.metadata.get("nbgrader", {})
    return grading if isinstance(grading, dict) else {}
