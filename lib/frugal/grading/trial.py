"""One submission before the referee: the student's cells run there, the tests run here.

A test counts only if it ran to its end here, and every call it made came back as a call does. A process that hangs or
dies costs the test that met it; for the next one a new process is started and the cells so far are run again.
"""

from __future__ import annotations

import array
import ast
import builtins
import contextlib
import hashlib
import io
import os
import re
import socket
import time
from collections.abc import Callable
from functools import cache
from types import CodeType
from typing import Any

from frugal.grading import cells as text
from frugal.grading.diagnosis import Known, named
from frugal.grading.errors import Foul
from frugal.grading.lab import Lab, LabCell
from frugal.grading.limits import Limits
from frugal.grading.proxy import Line, RemoteFunction
from frugal.grading.submission import Step, Submission
from frugal.grading.wiring import dataclasses_of

LONGEST_MESSAGE = 600
BORROWED = "is not at hand while a lab is graded"  # what a function without its body says: frugal.grading.mask
HIDDEN_SAYS = "a hidden test fails; go through the rules of the exercise once more"
Say = Callable[..., None]


@cache
def compiled(source: str, title: str) -> CodeType:
    """Compile a test of the lab: once, before the first submission."""
    return compile(text.plain(source), f"<{title}>", "exec", dont_inherit=True)


class Trial:
    """One submission's workers and its results."""

    def __init__(
        self,
        lab: Lab,
        limits: Limits,
        zygote: socket.socket,
        names: dict[str, Any],
        known: dict[str, Known],
        seed: int,
        skip: set[str],
    ) -> None:
        self.lab, self.limits, self.zygote = lab, limits, zygote
        self.names, self.known, self.seed, self.skip = names, known, seed, skip
        self.named: dict[str, str | None] = {}
        self.failed: list[LabCell] = []  # of which a mistake may be named
        self.dataclasses = dataclasses_of(lab, names)
        self.cells = {cell.id: cell for cell in lab.cells}
        self.done: list[Step] = []  # cells that ran, for a replay
        self.started = 0
        self.log: list[str] = []
        self.line: Line | None = None
        self.ahead: Line | None = self._order()  # a worker starts while the notebook is read

    def run(self, submission: Submission, say: Say) -> None:
        """Go through the notebook; say each result as soon as it is known.

        Hidden tests wait for the end, each with the names it would have had at its place: until then nothing that a
        student must not see has reached their process, so whatever it says in a visible test may be shown to them.
        """
        later: list[tuple[LabCell, dict[str, Any]]] = []
        try:
            for step in submission.steps:
                if step.kind != "test":
                    self._run(step)
                    self.done.append(step)
                elif self.cells[step.id].hidden:
                    later.append((self.cells[step.id], dict(self.names)))
                else:
                    self._judge(self.cells[step.id], self.names, say)
                while self.log:
                    say(log=text.printable(self.log.pop(0)))
            above: dict[str, Any] = {}
            for cell, names in later:
                names = {**above, **names}
                self._judge(cell, names, say)
                above = names
            for cell in self.failed:
                say(mistake=self._mistake(cell), of=cell.id)
        finally:
            for line in (self.line, self.ahead):
                if line:
                    line.close()

    def _judge(self, cell: LabCell, names: dict[str, Any], say: Say) -> None:
        if cell.id in self.skip:
            self._define(cell, names)
            return
        say(begin=cell.id)
        say(result=self._test(cell, names))

    # ---- the student's side ------------------------------------------------------------------------------------------

    def _run(self, step: Step) -> None:
        try:
            self._alive().ask(["run", step.source, step.id])
        except Foul as foul:
            self.log.append(f"{step.id}: {foul}"[:300])
        except Exception as error:
            if step.kind != "lab":
                self.log.append(f"{step.id}: {type(error).__name__}: {error}"[:300])

    def _alive(self) -> Line:
        """Return a line to a living worker; start one and run the cells so far again where there is none."""
        if self.line and not self.line.dead:
            return self.line
        if self.started > self.limits.respawns:
            raise Foul(f"the process hung or died {self.started} times")
        self.started += 1
        self.line = self._spawn()
        replay, self.done = self.done, []
        for step in replay:
            try:
                self.line.ask(["run", step.source, step.id])
            except Foul:
                self.line.close()
                self.line = self._spawn()  # this cell ends every process: go on without it
                self.started += 1
                if self.started > self.limits.respawns:
                    raise
                for earlier in self.done:
                    with contextlib.suppress(Exception):
                        self.line.ask(["run", earlier.source, earlier.id])
                continue
            except Exception:
                pass
            self.done.append(step)
        return self.line

    def _order(self) -> Line:
        """Ask the zygote for a worker."""
        ours, theirs = socket.socketpair()
        held, leash = os.pipe()
        descriptors = array.array("i", [theirs.fileno(), held])
        self.zygote.sendmsg([b"fork"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        theirs.close()
        os.close(held)
        return Line(ours, leash, self.limits, self.dataclasses)

    def _spawn(self) -> Line:
        """Return a line to a new worker that is confined and knows its seed."""
        line, self.ahead = self.ahead or self._order(), None
        line.hello(self.limits.start_seconds)
        theirs = int.from_bytes(hashlib.sha256(f"worker {self.seed}".encode()).digest()[:7], "big")  # tells not ours
        line.ask(["begin", {"dataclasses": list(self.dataclasses), "seed": theirs}])
        return line

    # ---- the tests ---------------------------------------------------------------------------------------------------

    def _test(self, cell: LabCell, names: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        error: BaseException | None = None
        foul = ""
        try:
            line = self._alive()
            self._bind(line, names)
            code = compiled(cell.source, cell.id)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                exec(code, names)
            foul = line.dead
        except KeyboardInterrupt:
            raise
        except BaseException as raised:
            error = raised
        if self.line and self.line.dead:
            foul = self.line.dead
        passed = error is None and not foul
        message, detail = ("", "") if passed else self._words(cell, names, error, foul)
        if not (passed or foul or isinstance(error, NotImplementedError)):
            self.failed.append(cell)
        return {
            "grade_id": cell.id,
            "points": cell.points if passed else 0.0,
            "max_points": cell.points,
            "passed": passed,
            "message": text.printable(message),
            "detail": text.printable(detail),
            "seconds": round(time.monotonic() - began, 4),
        }

    def _mistake(self, cell: LabCell) -> str | None:
        """Name the catalogued mistake that the answer makes, once for all tests of the exercise."""
        if cell.exercise not in self.named:
            self.named[cell.exercise] = None
            known = self.known.get(cell.exercise)
            with contextlib.suppress(Foul, Exception):
                found: dict[str, Any] = {}
                self._bind(self._alive(), found)
                if known and isinstance(function := found.get(known.name), RemoteFunction):
                    self.named[cell.exercise] = named(known, function)
        return self.named[cell.exercise]

    def _bind(self, line: Line, names: dict[str, Any]) -> None:
        """Give the tests a stand-in for every name that they take from the student, and nothing for what is missing."""
        kinds, _ = line.ask(["kinds", sorted(self.lab.asked)])
        for name in self.lab.asked:
            kind = kinds.get(name) if type(kinds) is dict else None
            if kind == "data":
                names[name], _ = line.ask(["get", [name]])
            elif kind in ("function", "class"):
                names[name] = RemoteFunction(line, [name], name, self._says(name))
            elif kind == "module":
                names[name], _ = line.ask(["get", [name]])
            else:
                names.pop(name, None)

    def _says(self, name: str) -> str | None:
        return None

    def _define(self, cell: LabCell, names: dict[str, Any]) -> None:
        """Run what a test that is judged already defines for later ones: its imports, functions and plain values."""
        for node in ast.parse(text.plain(cell.source)).body:
            if not isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)):
                continue
            if (
                isinstance(node, ast.Assign)
                and {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & self.lab.asked
            ):
                continue
            with contextlib.suppress(Exception):
                code = compile(ast.Module([node], []), f"<{cell.id}>", "exec", dont_inherit=True)
                exec(code, names)

    # ---- words -------------------------------------------------------------------------------------------------------

    def _words(self, cell: LabCell, names: dict[str, Any], error: BaseException | None, foul: str) -> tuple[str, str]:
        """Return what to tell the student, and what to tell the instructor."""
        raised = "" if error is None else f"{type(error).__name__}: {error}"
        detail = f"{raised}; {foul}".strip("; ")[:2000]
        if foul:
            return foul, detail
        if isinstance(error, NotImplementedError) and str(error).endswith(BORROWED):
            return f"your answer calls a function of the library that {BORROWED}; write what it does yourself", detail
        if isinstance(error, NameError) and error.name in self.lab.asked and error.name not in names:
            return f"there is no {error.name}: its cell is missing, or ends in an error before it", detail
        if isinstance(error, Foul):
            return str(error) if not cell.hidden else _without_values(str(error)), detail
        if not cell.hidden:
            return _shorten(str(error) if isinstance(error, AssertionError) and str(error) else raised), detail
        said = str(error)
        if isinstance(error, AssertionError) and said in text.sayings(cell.source):
            return _shorten(said), detail
        if isinstance(error, NotImplementedError):
            return "not attempted: it still raises NotImplementedError", detail
        if not isinstance(error, AssertionError) and type(error).__name__ in vars(builtins):
            return f"a hidden test ends in {type(error).__name__}", detail
        return HIDDEN_SAYS, detail


def _shorten(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 2] + " …"


def _without_values(message: str) -> str:
    return re.split(r":", message, maxsplit=1)[0]
