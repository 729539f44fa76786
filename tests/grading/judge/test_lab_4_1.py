"""Lab 4.1 before the judge: every catalogued answer gets the verdict that stock nbgrader gives it.

One submission holds the n-th catalogued answer of every exercise at once.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from frugal.grading import confine
from frugal.grading.judge import Judge
from frugal.grading.lab import Lab
from frugal.grading.verdict import Report

ROOT = Path(__file__).parents[3]
NAME = "lab_4_1_affine"
SOLVED = ROOT / "solutions" / f"{NAME}.ipynb"
RELEASED = ROOT / "labs" / NAME / f"{NAME}.ipynb"
UNNAMED = (  # not to be looked at, not twice the same, or like two others
    "agrees_with_everything",
    *("soft_clipping", "unclipped_values_only"),
)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    if lacking := confine.missing():
        pytest.skip("; ".join(lacking))
    with Judge(Lab.load(SOLVED)) as judge:
        yield judge


def catalogue(kind: str, exercise: str) -> list[tuple[str, str, str]]:
    """Return the name, the text and the first sentence of each answer in a catalogue."""
    text = (ROOT / "solutions" / kind / NAME / f"{exercise}.py").read_text()
    nodes = [node for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    says = [" ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()) for node in nodes]
    return [(node.name, text, told) for node, told in zip(nodes, says, strict=True) if not node.name.startswith("_")]


def handed_in(lab: Lab, kind: str, number: int) -> tuple[bytes, dict[str, tuple[str, str]]]:
    """Return a notebook with the n-th answer of every exercise that has one, and their names and sentences."""
    notebook = json.loads(SOLVED.read_text())
    chosen: dict[str, tuple[str, str]] = {}
    for cell in notebook["cells"]:
        exercise = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if exercise in lab.answers and number < len(answers := catalogue(kind, exercise)):
            name, text, told = answers[number]
            own = f"own_{exercise}"  # its helpers are no one else's
            cell["source"] = f"{own} = dict(globals())\nexec({text!r}, {own})\n{exercise} = {own}[{name!r}]\n"
            chosen[exercise] = (name, told)
    return json.dumps(notebook).encode(), chosen


def marks(report: Report) -> dict[str, bool]:
    return {result.grade_id: result.passed for result in report.results}


def test_solved_gets_everything_and_untouched_nothing(judge: Judge) -> None:
    assert judge.grade(SOLVED).points == judge.lab.max_points == 34
    untouched = judge.grade(RELEASED)
    assert untouched.points == 0
    assert untouched.log == ()


@pytest.mark.parametrize("number", range(4))
def test_every_right_answer_keeps_its_points(judge: Judge, number: int) -> None:
    content, chosen = handed_in(judge.lab, "right", number)
    assert chosen
    report = judge.grade(content)
    assert {result.grade_id: result.detail for result in report.results if not result.passed} == {}


def hold_wrong(judge: Judge, number: int) -> None:
    content, chosen = handed_in(judge.lab, "wrong", number)
    report = judge.grade(content)
    found = marks(report)
    for exercise in judge.lab.answers:
        assert found[f"hidden-{exercise}"] == (exercise not in chosen), (exercise, chosen.get(exercise))
    for result in report.results:
        if result.grade_id.startswith("hidden-") and not result.passed:
            name, told = chosen[result.grade_id.removeprefix("hidden-")]
            assert name in UNNAMED or told in (result.misconception or ""), (result.grade_id, name)


@pytest.mark.parametrize("number", [0, 7])
def test_wrong_answers_lose_their_points_and_their_mistake_is_named(judge: Judge, number: int) -> None:
    hold_wrong(judge, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", [each for each in range(22) if each not in (0, 7)])
def test_every_wrong_answer_loses_its_points_and_its_mistake_is_named(judge: Judge, number: int) -> None:
    hold_wrong(judge, number)
