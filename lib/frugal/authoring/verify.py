"""Does a lab mark fairly? Every wrong answer must lose its points, every right one must keep them.

    exercise     points  wrong  visible  hidden   right
    quantize          3     12     83 %   100 %   4 / 4

Visible: how many wrong answers the check in the notebook refuses. Hidden: how many lose the hidden tests' points;
it must be all of them. Right: how many differently written right answers pass both; it must be all of them.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frugal.authoring.build import full_source
from frugal.authoring.catalogue import Catalogue, read_catalogue
from frugal.authoring.execute import kernel_environment
from frugal.authoring.nbgrader_steps import stub
from frugal.authoring.percent import Cell, read_source
from frugal.authoring.tree import Tree
from frugal.core.errors import SourceError

LEAST_WRONG, LEAST_RIGHT = 8, 3
LIMIT_S = 25.0  # one answer meeting one cell
LAB_LIMIT_S = 180.0  # the whole lab, once
Mistake = dict[str, str]  # name, says, and hint where there is one
Mistakes = dict[str, Any]  # digest -> Mistake, and "first_failing" -> {case and digest -> Mistake}


@dataclass(frozen=True)
class Row:
    """One exercise: counts of its catalogue, and the sentences about what is not right."""

    exercise: str
    points: float
    wrong: int
    visible_killed: int
    hidden_killed: int
    right: int
    right_passed: int
    seconds: float
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def visible_rate(self) -> float:
        return self.visible_killed / self.wrong if self.wrong else 0.0

    @property
    def hidden_rate(self) -> float:
        return self.hidden_killed / self.wrong if self.wrong else 0.0


@dataclass(frozen=True)
class Report:
    """A lab's rows, what is wrong with the lab as a whole, and how to recognise its wrong answers."""

    lab: str
    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()
    misconceptions: dict[str, Mistakes] = field(default_factory=dict)

    @property
    def total(self) -> Row:
        """The sums over all exercises, as a row."""
        counts = ("points", "wrong", "visible_killed", "hidden_killed", "right", "right_passed", "seconds")
        return Row("all", **{count: sum(getattr(row, count) for row in self.rows) for count in counts})

    @property
    def fair(self) -> bool:
        return not self.problems and not any(row.problems for row in self.rows)


def verify(tree: Tree, lab: str, *, workers: int = 2, limit_s: float = LIMIT_S) -> Report:
    """Try every catalogued answer of a lab against its visible checks and hidden tests.

    Raises:
        SourceError: the lab or a catalogue cannot be read, or the solved lab cannot be run at all.
    """
    cells = read_source(tree.lab_source(lab))
    exercises = [cell for cell in cells if cell.role == "solution"]
    wrong = {cell.exercise: read_catalogue(tree.wrong(lab, cell.exercise), told=True) for cell in exercises}
    right = {cell.exercise: read_catalogue(tree.right(lab, cell.exercise), told=False) for cell in exercises}
    answers = [
        answer
        for cell in exercises
        for answer in [
            *_answers(cell, "wrong", wrong[cell.exercise]),
            *_answers(cell, "right", right[cell.exercise]),
            {"exercise": cell.exercise, "kind": "untouched", "name": "untouched", "bound": "", "text": ""},
        ]
    ]
    records = _try(tree, lab, cells, answers, workers, limit_s)
    rows = tuple(_row(cells, cell.exercise, records, wrong, right) for cell in exercises)
    known = {bound_name(cell): _recognised(cell.exercise, records, wrong[cell.exercise]) for cell in exercises}
    return Report(
        lab, rows, tuple(_lab_problems(tree, lab, cells, records)), {key: known[key] for key in known if known[key]}
    )


def lab_problems(tree: Tree, lab: str) -> list[str]:
    """Run a lab solved and untouched, without its catalogues; return what does not score full or zero."""
    cells = read_source(tree.lab_source(lab))
    return _lab_problems(tree, lab, cells, _try(tree, lab, cells, [], 1, LIMIT_S))


def misconceptions(tree: Tree, lab: str, *, workers: int = 2) -> dict[str, Mistakes]:
    """Return, for each exercise, the digests of what a wrong answer makes the visible check see, and its name."""
    return verify(tree, lab, workers=workers).misconceptions


def bound_name(cell: Cell) -> str:
    """Return the name that a solution cell gives its answer: the exercise's own, or that of its last definition."""
    tree = ast.parse(full_source(cell))
    names = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    if not names:
        raise SourceError(
            f"line {cell.line}: the solution {cell.exercise!r} defines no function, so nothing can be tried"
        )
    return cell.exercise if cell.exercise in names else names[-1]


def _answers(cell: Cell, kind: str, catalogue: Catalogue) -> list[dict[str, str]]:
    common = {"exercise": cell.exercise, "kind": kind, "bound": bound_name(cell), "text": catalogue.text}
    return [{**common, "name": answer.name} for answer in catalogue.answers]


def _try(tree: Tree, lab: str, cells: list[Cell], answers: list[dict], workers: int, limit_s: float) -> list[dict]:
    """Run the trial in a process of its own: forking needs one without threads."""
    request = {
        "cells": [_plain(cell) for cell in cells if cell.role != "markdown"],
        "answers": answers,
        "workers": max(1, workers),
        "limit_s": limit_s,
        "lab_limit_s": LAB_LIMIT_S,
    }
    with tempfile.TemporaryDirectory(prefix="frugal-") as temporary:
        folder = Path(temporary)
        work = folder / "lab"
        work.mkdir()
        for asset in tree.assets(lab):
            target = work / asset.relative_to(tree.root / "solutions" / "assets" / lab)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(asset, target)
        (folder / "request.json").write_text(json.dumps(request))
        command = [sys.executable, "-P", "-m", "frugal.authoring.trial", "../request.json", "../results.json"]
        done = subprocess.run(command, cwd=work, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SourceError(f"{lab}: the solved lab could not be run\n{done.stderr[-2000:].strip()}")
        return json.loads((folder / "results.json").read_text())


def _environment() -> dict[str, str]:
    library = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (library, os.environ.get("PYTHONPATH", "")) if part)
    return {
        **kernel_environment(),
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": path,
    }


def _plain(cell: Cell) -> dict[str, Any]:
    source = full_source(cell)
    stubbed = stub(source, cell.exercise) if cell.role == "solution" else ""
    return {"role": cell.role, "exercise": cell.exercise, "id": cell.id, "source": source, "stub": stubbed}


# ---- what the records say ------------------------------------------------------------------------------------------


def _row(
    cells: list[Cell], exercise: str, records: list[dict], wrong: dict[str, Catalogue], right: dict[str, Catalogue]
) -> Row:
    own = [record for record in records if record.get("exercise") == exercise]
    points = sum(cell.points for cell in cells if cell.exercise == exercise)
    roles = {cell.role for cell in cells if cell.exercise == exercise}
    visible = [record for record in own if record["kind"] == "wrong" and record["role"] == "test"]
    hidden = [record for record in own if record["kind"] == "wrong" and record["role"] == "hidden"]
    spared = {record["name"] for record in own if record["kind"] == "right" and _loses(record)}
    counts = len(wrong[exercise].answers), len(right[exercise].answers)
    problems = [
        *(
            f"has no {word}"
            for role, word in (("test", "visible check"), ("hidden", "hidden test"))
            if role not in roles
        ),
        *_too_few(*counts),
        *(
            f"wrong answer {record['name']} keeps its points: hidden tests pass"
            for record in hidden
            if record["passed"]
        ),
        *(
            f"right answer {record['name']} {_how(record)}"
            for record in own
            if record["kind"] == "right" and _loses(record)
        ),
        *(
            f"untouched, the {record['role']} cell passes"
            for record in own
            if record["kind"] == "untouched" and record["passed"]
        ),
    ]
    return Row(
        exercise=exercise,
        points=points,
        wrong=counts[0],
        visible_killed=sum(not record["passed"] for record in visible),
        hidden_killed=sum(not record["passed"] for record in hidden),
        right=counts[1],
        right_passed=counts[1] - len(spared),
        seconds=sum(record.get("seconds", 0.0) for record in own),
        problems=tuple(problems),
        notes=tuple(_notes(visible)),
    )


def _too_few(wrong: int, right: int) -> list[str]:
    found = []
    if wrong < LEAST_WRONG:
        found.append(f"has {wrong} wrong answers, it needs at least {LEAST_WRONG}")
    if right < LEAST_RIGHT:
        found.append(f"has {right} right answers, it needs at least {LEAST_RIGHT}")
    return found


def _loses(record: dict) -> bool:
    """Whether stock nbgrader takes points: an error, or a word on stderr; a value shown would be read as the mark."""
    return not record["passed"] or bool(record["stderr"]) or record["value"]


def _how(record: dict) -> str:
    where = "the visible check" if record["role"] == "test" else "the hidden tests"
    if not record["passed"]:
        return f"fails {where}: {record['message']}"
    if record["stderr"]:
        return f"makes {where} write to stderr: {record['stderr'].strip()[:120]!r}"
    return f"passes, but {where} end in a value, which nbgrader reads as the mark; end the cell with a statement"


def _notes(visible: list[dict]) -> list[str]:
    seen: dict[str, str] = {}
    notes = [f"the visible check lets {record['name']} through" for record in visible if record["passed"]]
    for record in visible:
        if record["digest"] and not record["passed"]:
            first = seen.setdefault(record["digest"], record["name"])
            if first != record["name"]:
                notes.append(f"{record['name']} looks like {first} to the visible check, which names {first}")
    return notes


def _recognised(exercise: str, records: list[dict], catalogue: Catalogue) -> Mistakes:
    """Map digests to the sentence for the student; the first of two wrong answers that look the same is named.

    Under ``first_failing`` the same for the first failing case alone, where all who fail it alike share a sentence.
    """
    answers = {answer.name: answer for answer in catalogue.answers}
    found: dict[str, Mistake] = {}
    first: dict[str, list[Mistake]] = {}
    for record in records:
        if (record.get("exercise"), record["kind"], record.get("role")) != (exercise, "wrong", "test"):
            continue
        if record["passed"] or not record["digest"]:
            continue
        answer = answers[record["name"]]
        entry = {"name": answer.name, "says": answer.says}
        entry = {**entry, "hint": answer.hint} if answer.hint else entry
        found.setdefault(record["digest"], entry)
        if record.get("first_failing"):
            first.setdefault(record["first_failing"], []).append(entry)
    alike = {key: told[0] for key, told in first.items() if len({entry["says"] for entry in told}) == 1}
    return {**found, "first_failing": alike} if alike else dict(found)


def _lab_problems(tree: Tree, lab: str, cells: list[Cell], records: list[dict]) -> list[str]:
    found = []
    for record in records:
        if record["kind"] == "solved lab" and _loses(record):
            found.append(
                f"solved, cell {record['cell']} fails: {record['message'] or record['stderr'] or 'ends in a value'}"
            )
        if record["kind"] == "untouched lab" and "cell" not in record:
            found.append(f"untouched, the lab does not reach its end: {record['message']}")
        elif record["kind"] == "untouched lab" and record["passed"]:
            found.append(f"untouched, cell {record['cell']} passes, so an empty submission gets points")
    known = {cell.exercise for cell in cells}
    for kind in ("wrong", "right"):
        for path in sorted((tree.root / "solutions" / kind / lab).glob("*.py")):
            if path.stem not in known:
                found.append(f"{tree.relative(path)} belongs to no exercise")
    return found
