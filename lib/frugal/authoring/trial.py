"""Try answers in a lab: runs as a process of its own, reads a request and writes what came of each answer.

    python -m frugal.authoring.trial REQUEST.json RESULTS.json

It runs the solved lab from top to bottom once. At every exercise it forks: each answer gets a copy of the lab as it
stands there, is put in the place of the solution, and meets the visible check and the hidden tests in two copies of
its own, with a deadline. So no answer sees what another one did, and one that loops or dies takes nothing with it.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import json
import linecache
import multiprocessing
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

GRADED = ("test", "hidden")


def main(request_file: str, results_file: str) -> None:
    request = json.loads(Path(request_file).read_text())
    results = list(Trial(request).run())
    Path(results_file).write_text(json.dumps(results))


class Trial:
    """One lab, run from top to bottom.

    request: cells (role, exercise, id, source, stub), answers (exercise, kind, name, bound, text),
             limit_s, lab_limit_s, workers.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self.cells: list[dict] = request["cells"]
        self.answers: list[dict] = request["answers"]
        self.limit_s, self.lab_limit_s = request["limit_s"], request["lab_limit_s"]
        self.workers = request["workers"]
        self.lab = types.ModuleType("__main__")
        self.lab.__dict__.update(__builtins__=builtins, display=lambda *values, **options: None)
        sys.modules["__main__"] = self.lab
        warnings.simplefilter("ignore")

    def run(self) -> Iterator[dict]:
        """Yield one record for each answer and target cell, then for the solved and for the untouched lab."""
        first = next((index for index, cell in enumerate(self.cells) if cell["role"] == "solution"), len(self.cells))
        for index, cell in enumerate(self.cells):
            if cell["role"] == "solution":
                yield from self._at(index)
            if index == first:
                yield from self._together([(self._untouched(index), {"kind": "untouched lab"})], self.lab_limit_s)
            result = run_cell(cell["source"], self.lab.__dict__, cell["id"])
            if cell["role"] in GRADED or not result["passed"]:
                yield {**_about(cell), **result, "kind": "solved lab"}

    def _at(self, index: int) -> Iterator[dict]:
        """Yield what comes of every answer to the exercise whose solution is the cell at ``index``."""
        exercise = self.cells[index]["exercise"]
        calls = []
        for place, cell in enumerate(self.cells):
            if cell["role"] not in GRADED or cell["exercise"] != exercise:
                continue
            for answer in self.answers:
                if answer["exercise"] == exercise:
                    about = {**_about(cell), "kind": answer["kind"], "name": answer["name"]}
                    calls.append((self._answered(answer, index, place), about))
        yield from self._together(calls, self.limit_s)

    def _answered(self, answer: dict, index: int, place: int) -> Callable[[], list[dict]]:
        """Return a function that puts ``answer`` at ``index`` and runs on to the cell at ``place``."""

        def call() -> list[dict]:
            names = self.lab.__dict__
            if answer["kind"] == "untouched":
                run_cell(self.cells[index]["stub"], names, self.cells[index]["id"])
            else:
                put_in_place(answer, names)
            for cell in self.cells[index + 1 : place]:
                run_cell(cell["source"], names, cell["id"])
            return [run_cell(self.cells[place]["source"], names, self.cells[place]["id"])]

        return call

    def _untouched(self, index: int) -> Callable[[], list[dict]]:
        """Return a function that runs the rest of the lab as a student gets it, with its hidden tests put back."""

        def call() -> list[dict]:
            found = []
            for cell in self.cells[index:]:
                result = run_cell(cell["stub"] or cell["source"], self.lab.__dict__, cell["id"])
                if cell["role"] in GRADED:
                    found.append({**_about(cell), **result})
            return found

        return call

    def _together(self, calls: list[tuple[Callable[[], list[dict]], dict]], limit_s: float) -> Iterator[dict]:
        """Fork a process for each call, a few at a time, kill it at the deadline, and yield the records in order."""
        waiting = list(reversed(range(len(calls))))
        running: dict[Any, tuple[BaseProcess, int, float]] = {}
        found: list[list[dict]] = [[] for _ in calls]
        while waiting or running:
            while waiting and len(running) < self.workers:
                number = waiting.pop()
                reader, process = _fork(calls[number][0])
                running[reader] = (process, number, time.monotonic() + limit_s)
            patience = min(deadline for _, _, deadline in running.values()) - time.monotonic()
            ready = wait(list(running), max(0.0, patience))
            late = [reader for reader, (_, _, deadline) in running.items() if time.monotonic() > deadline]
            for done in {*ready, *late}:
                process, number, _ = running.pop(done)
                found[number] = [{**calls[number][1], **record} for record in _records(done, process, limit_s)]
        yield from (record for records in found for record in records)


def put_in_place(answer: dict, names: dict[str, Any]) -> None:
    """Define a catalogued answer with the lab's names in reach, and bind it as the exercise's."""
    own = dict(names)
    exec(_compiled(answer["text"], f"{answer['exercise']}.{answer['kind']}"), own)
    function = own[answer["name"]]
    function.__name__ = function.__qualname__ = answer["bound"]
    names[answer["bound"]] = function


def run_cell(source: str, names: dict[str, Any], name: str) -> dict[str, Any]:
    """Run one cell quietly and say what came of it; nothing it raises comes out."""
    errors = io.StringIO()
    began = time.monotonic()
    record: dict[str, Any] = {"passed": True, "status": "", "digest": "", "message": "", "value": False}
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            record["value"] = _run(source, names, name) is not None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        record |= {
            "passed": False,
            "status": getattr(error, "status", "crashed"),
            "digest": getattr(error, "digest", ""),
            "first_failing": getattr(error, "first_failing", ""),
            "message": f"{type(error).__name__}: {error}"[:600],
        }
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    return {**record, "stderr": errors.getvalue()[:300], "seconds": round(time.monotonic() - began, 3)}


def _run(source: str, names: dict[str, Any], name: str) -> Any:
    """Run the cell and return the value of its last line, as a notebook would show it; magics are left out."""
    if source.startswith("%%"):  # a cell of another language
        return None
    lines = [line if not line.startswith(("%", "!")) else "" for line in source.splitlines()]
    text = "\n".join(lines)
    tree = ast.parse(text)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    filename = _remember(text, name)
    exec(compile(tree, filename, "exec", dont_inherit=True), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), filename, "eval", dont_inherit=True), names)  # type: ignore[attr-defined]


def _compiled(text: str, name: str) -> types.CodeType:
    return compile(text, _remember(text, name), "exec", dont_inherit=True)


def _remember(text: str, name: str) -> str:
    """Let tracebacks and inspect find the text."""
    filename = f"<{name}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    return filename


def _fork(call: Callable[[], list[dict]]) -> tuple[Connection, BaseProcess]:
    reader, writer = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        writer.send_bytes(json.dumps(call()).encode())

    process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
    process.start()
    writer.close()
    return reader, process


def _records(reader: Any, process: BaseProcess, limit_s: float) -> list[dict]:
    """Read what a process said; one that said nothing died or ran past its deadline."""
    failed = {"passed": False, "digest": "", "value": False, "stderr": ""}
    try:
        if reader.poll():
            return json.loads(reader.recv_bytes())
        return [{**failed, "status": "too slow", "message": f"ran past {limit_s:g} s", "seconds": limit_s}]
    except EOFError:
        return [{**failed, "status": "crashed", "message": "the process died", "seconds": 0.0}]
    finally:
        process.kill()
        process.join()
        reader.close()


def _about(cell: dict) -> dict[str, str]:
    return {"exercise": cell["exercise"], "role": cell["role"], "cell": cell["id"]}


if __name__ == "__main__":
    main(*sys.argv[1:])
