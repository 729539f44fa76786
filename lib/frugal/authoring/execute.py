"""Run a notebook and keep its outputs, the same bytes on every run.

A kernel of its own with a fixed number of threads, no hash randomisation and no data folder, so that the outputs
do not depend on who runs it; then everything that changes between runs is taken out, and what cannot be taken
out (stderr, addresses, paths of this machine) is refused with the name of the cell.

The saved digest of the built source tells a later run, on any machine, that these outputs belong to these cells.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from frugal.authoring.build import source_digest, standard_metadata, to_text, without_outputs
from frugal.core.errors import SourceError

SIZE_LIMIT = 300 * 1024  # bytes of one notebook, outputs included
THREADS = 1  # outputs must not depend on the number of cores; the tests compare them on one thread, too
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MAY_DIFFER = "nbval-ignore-output"  # the tag of cells whose outputs are timings or this machine's

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Executed:
    """A notebook with outputs, and the seconds that it took."""

    notebook: NotebookNode
    seconds: float


def execute(notebook: NotebookNode, folder: Path, *, name: str = "notebook", budget_s: float = 60.0) -> Executed:
    """Run a built notebook in ``folder`` and return it with normalised outputs and its digest.

    Args:
        notebook: as built, without outputs; it is left as it is.
        folder: the working folder of the kernel.
        name: for messages.
        budget_s: the run fails past twice this many seconds.

    Raises:
        SourceError: a cell failed, wrote to stderr, showed something that differs between runs or machines,
            or the notebook is too slow or too large.
    """
    running = without_outputs(notebook)
    began = time.monotonic()
    try:
        _run(running, folder, int(2 * budget_s))
    except CellExecutionError as error:
        raise SourceError(f"{name}: {_told(running, error)}") from None
    except CellTimeoutError as error:
        raise SourceError(
            f"{name}: a cell ran past {2 * budget_s:.0f} s, twice the notebook's budget: {error}"
        ) from None
    except DeadKernelError:
        raise SourceError(f"{name}: the kernel died; a cell used too much memory or ended the process") from None
    seconds = time.monotonic() - began
    if seconds > 2 * budget_s:
        raise SourceError(f"{name}: took {seconds:.0f} s, the budget is {budget_s:.0f} s; make the cells lighter")
    normalise(running)
    if found := list(problems(running)):
        raise SourceError("\n".join(f"{name}: {line}" for line in found))
    running.metadata["frugal"] = {"source_sha256": source_digest(notebook)}
    size = len(to_text(running).encode())
    if size > SIZE_LIMIT:
        raise SourceError(f"{name}: {size // 1024} KB with outputs, the limit is {SIZE_LIMIT // 1024} KB; fewer frames")
    return Executed(running, seconds)


def is_current(saved: NotebookNode, built: NotebookNode) -> bool:
    """Tell whether saved outputs belong to these built cells, whichever machine made them."""
    return saved.metadata.get("frugal", {}).get("source_sha256") == source_digest(built) == source_digest(saved)


def kernel_environment() -> dict[str, str]:
    """Return the variables a kernel runs with: the same on every machine where outputs depend on them."""
    environment = {key: value for key, value in os.environ.items() if key not in ("FRUGAL_DATA", "PYTHONWARNINGS")}
    threads = {key: str(THREADS) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    fixed = {"PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline", "NO_COLOR": "1"}
    return {**environment, **threads, **fixed, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def _told(notebook: NotebookNode, error: CellExecutionError) -> str:
    """Name the failed cell, its error, and the line of the cell that led to it."""
    failed = [cell for cell in notebook.cells if any(each.output_type == "error" for each in cell.get("outputs", []))]
    arrows = re.findall(r"^-+> *\d+ (.*)$", _ANSI.sub("", error.traceback), flags=re.MULTILINE)
    line = f"\n    in the line: {arrows[0].strip()}" if arrows else ""
    return f"cell {failed[-1].id if failed else '?'} failed: {error.ename}: {error.evalue}{line}"


def private_sockets(client: NotebookClient, folder: str) -> None:
    """Let a client's kernel talk through sockets in ``folder``: on TCP it warns about the missing encryption."""
    manager = client.create_kernel_manager()
    if os.name == "posix":
        manager.transport, manager.ip = "ipc", f"{folder}/k"


def _run(notebook: NotebookNode, folder: Path, timeout_s: int) -> None:
    """Run in place."""
    sockets = tempfile.mkdtemp(prefix="frugal-")
    try:
        client = NotebookClient(
            notebook,
            timeout=timeout_s,
            kernel_name="python3",
            record_timing=False,
            store_widget_state=True,  # False fails where an Output widget is shown (nbclient 0.11)
            resources={"metadata": {"path": str(folder)}},
        )
        private_sockets(client, sockets)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asyncio.run(client.async_execute(env=kernel_environment()))
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


# ---- what changes between runs -------------------------------------------------------------------------------------


def normalise(notebook: NotebookNode) -> None:
    """Number the cells 1 to n and take out of their outputs what differs between two runs; in place."""
    notebook.metadata = standard_metadata()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.metadata.pop("execution", None)
        cell.execution_count = count
        cell.outputs = _merged([_plain(output, count) for output in cell.outputs])


def _plain(output: NotebookNode, count: int) -> NotebookNode:
    output.pop("transient", None)
    if output.output_type == "execute_result":
        output.execution_count = count
    if output.output_type == "error":
        output.traceback = [f"{output.ename}: {output.evalue}"]  # frames hold paths of this machine
    if "text/html" in output.get("data", {}):
        output["data"].pop(WIDGET_VIEW, None)
    return output


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream: where the kernel cuts it depends on time."""
    merged: list[NotebookNode] = []
    for output in outputs:
        before = merged[-1] if merged else None
        if before is not None and output.output_type == "stream" == before.output_type and output.name == before.name:
            before.text += output.text
        else:
            merged.append(output)
    return merged


# ---- what cannot be taken out --------------------------------------------------------------------------------------


def problems(notebook: NotebookNode) -> Iterator[str]:
    """Yield what a saved notebook may not hold, one sentence each, beginning with the cell's id."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            yield from (f"cell {cell.id}: {problem}" for problem in _refused(cell, output))


def _refused(cell: NotebookNode, output: NotebookNode) -> Iterator[str]:
    text = _text(output)
    if output.output_type == "error" and cell.metadata.get("nbgrader", {}).get("grade"):
        yield f"a graded check failed on the solved lab: {output.ename}: {output.evalue}"
    if output.output_type == "stream" and output.name == "stderr":
        yield f"wrote to stderr, for which nbgrader gives 0 points: {output.text.strip()[:200]!r}"
    if WIDGET_VIEW in output.get("data", {}):
        yield "shows a widget without a text/html alternative: empty without a kernel; use show.explore"
    if (address := _ADDRESS.search(text)) and MAY_DIFFER not in cell.metadata.get("tags", []):
        yield f"shows a memory address ({address[0]}), which differs between runs"
    for place in _places():
        if place in text:
            yield f"shows a path of this machine ({place})"


def _places() -> list[str]:
    here = Path(__file__).resolve().parents[3]
    return [place for place in {str(here), sys.prefix, str(Path.home())} if len(place) > 5]


def _text(output: NotebookNode) -> str:
    parts = [output.get("text", ""), output.get("evalue", "")]
    parts += [value for mime, value in output.get("data", {}).items() if mime.startswith("text/")]
    return "\n".join(part if isinstance(part, str) else str(part) for part in parts)
