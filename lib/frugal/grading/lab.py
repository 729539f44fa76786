"""A lab as the judge sees it: its cells, its exercises, what is graded, what the library must not give away.

The metadata of a notebook, and that of a solution's cell, may add to what is found in its cells, under ``frugal``:

    "mask":  ["frugal.graph.fold:fold_batchnorm"]   more that has no body while a student's code runs
    "allow": ["frugal.quant.layers:map_tensors"]    what an answer may call, beside what the first cell imports

Authors write them in a solution's header: frugal.authoring.percent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import frugal
from frugal.core.errors import SourceError
from frugal.grading import cells as text
from frugal.grading.cells import Names

PACKAGE = Path(frugal.__file__).resolve().parent


@dataclass(frozen=True)
class LabCell:
    """One cell of the instructor's notebook.

    role:     "text", "plain", "answer" (what students write), "test" (graded), or "manual" (a person gives points).
    exercise: of an answer and its tests: the id of the answer's cell.
    """

    id: str
    role: str
    source: str
    points: float = 0.0
    exercise: str = ""
    meta: dict[str, Any] = field(default_factory=dict, compare=False)

    @cached_property
    def names(self) -> Names:
        return text.names(self.source)

    @property
    def hidden(self) -> bool:
        return text.has_hidden(self.source)


@dataclass(frozen=True)
class Lab:
    """What the judge needs of a lab. Make it with ``Lab.load``."""

    name: str
    cells: tuple[LabCell, ...]
    digest: str
    path: Path
    mask: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path | str) -> Lab:
        """Read the instructor's notebook, solutions and hidden tests included.

        Raises:
            SourceError: it is no notebook, it grades nothing, or two cells share an id.
        """
        path = Path(path).resolve()
        try:
            raw = path.read_bytes()
            notebook = json.loads(raw)
            cells = tuple(_cells(notebook["cells"]))
            declared = notebook.get("metadata", {}).get("frugal", {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{path.name} cannot be read as a lab: {type(error).__name__}: {error}") from None
        if not any(cell.role == "test" for cell in cells):
            raise SourceError(f"{path.name} has no graded cell; give the notebook with the solutions, in solutions/")
        ids = [cell.id for cell in cells]
        if twice := {each for each in ids if ids.count(each) > 1}:
            raise SourceError(f"{path.name} has two cells {', '.join(sorted(twice))}; ids must differ")
        own = [declared, *(cell.meta.get("frugal", {}) for cell in cells)]
        mask, allow = (tuple(dict.fromkeys(x for each in own for x in each.get(key, ()))) for key in ("mask", "allow"))
        lab = cls(path.stem, cells, "", path, mask, allow)
        files = [path, *lab.catalogues.values()]
        object.__setattr__(lab, "digest", _digest([*files, *library_files()]))
        return lab

    @property
    def max_points(self) -> float:
        return sum(cell.points for cell in self.cells)

    @cached_property
    def graded(self) -> tuple[LabCell, ...]:
        """The cells that give points, in order."""
        return tuple(cell for cell in self.cells if cell.role in ("test", "manual"))

    @cached_property
    def answers(self) -> dict[str, tuple[str, ...]]:
        """For each exercise, the names that its answer gives: all that a test takes from a student."""
        return {cell.id: text.defined(cell.source) for cell in self.cells if cell.role == "answer"}

    @cached_property
    def asked(self) -> frozenset[str]:
        return frozenset(name for names in self.answers.values() for name in names)

    @cached_property
    def catalogues(self) -> dict[str, Path]:
        """For each exercise, the file of its wrong answers, where there is one."""
        folder = self.path.parent / "wrong" / self.name
        return {name: file for name in self.answers if (file := folder / f"{name}.py").is_file()}


def library_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def _digest(files: list[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _cells(raw: list[dict[str, Any]]) -> Iterator[LabCell]:
    known: list[LabCell] = []
    for place, cell in enumerate(raw):
        meta = cell.get("metadata", {})
        grading = meta.get("nbgrader", {})
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        identity = str(grading.get("grade_id") or cell.get("id") or f"cell-{place}")
        role = _role(cell["cell_type"], grading)
        points = float(grading.get("points") or 0) if role in ("test", "manual") else 0.0
        exercise = identity if role == "answer" else _exercise(identity, known) if role == "test" else ""
        known.append(LabCell(identity, role, source, points, exercise, meta))
        yield known[-1]


def _role(kind: str, grading: dict[str, Any]) -> str:
    if grading.get("grade") and (grading.get("solution") or kind != "code"):
        return "manual"
    if kind != "code":
        return "text"
    return "answer" if grading.get("solution") else "test" if grading.get("grade") else "plain"


def _exercise(identity: str, above: list[LabCell]) -> str:
    """The exercise of a test: the one that it is named after, else the nearest answer above it."""
    answers = [cell.id for cell in above if cell.role == "answer"]
    named = [each for each in answers if identity.removeprefix("test-").removeprefix("hidden-") == each]
    return named[0] if named else answers[-1] if answers else ""
