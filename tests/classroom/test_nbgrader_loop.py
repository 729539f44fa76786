"""From release to exported marks with stock nbgrader commands, for three students."""

import csv
import html
import re

import pytest

from frugal.authoring.percent import read_source
from frugal.authoring.stage import secrets
from frugal.authoring.tree import Tree

LABS = Tree.find().labs()


def points(tree: Tree, lab: str) -> dict[str, float]:
    """Return what each exercise is worth."""
    worth: dict[str, float] = {}
    for cell in read_source(tree.lab_source(lab)):
        if cell.points:
            worth[cell.exercise] = worth.get(cell.exercise, 0) + cell.points
    return worth


def hidden_lines(tree: Tree, lab: str) -> list[str]:
    """Return the lines of hidden tests that would give something away."""
    return [line for line, owner in secrets(read_source(tree.lab_source(lab))).items() if owner.startswith("hidden-")]


@pytest.mark.slow
@pytest.mark.parametrize("course", LABS, indirect=True)
def test_three_students_get_the_marks_they_earned_and_feedback_without_hidden_tests(course):
    lab, worth = course.lab, points(course.tree, course.lab)
    half = set(list(worth)[: len(worth) // 2])
    answered = {"ada": set(worth), "ben": half, "cleo": set()}  # right, partly right, untouched

    course.nbgrader("generate_assignment", lab)
    course.nbgrader("release_assignment", lab)
    for name, exercises in answered.items():
        folder = course.student(name)
        course.nbgrader("fetch_assignment", lab, folder=folder)
        course.answer(folder / lab / f"{lab}.ipynb", exercises)
        course.nbgrader("submit", lab, f"--student={name}", folder=folder)
    course.nbgrader("collect", lab)
    course.nbgrader("autograde", lab)
    course.nbgrader("generate_feedback", lab)
    course.nbgrader("release_feedback", lab)
    course.nbgrader("export")

    with open(course.root / "grading" / "grades.csv") as file:
        marks = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)}
    full = sum(worth.values())
    assert marks == {name: (sum(worth[e] for e in done), full) for name, done in answered.items()}

    released = (course.root / "labs" / lab / f"{lab}.ipynb").read_bytes()
    assert released == course.tree.release(lab).read_bytes(), "stock nbgrader releases what `make labs` committed"
    hidden = hidden_lines(course.tree, lab)
    assert len(hidden) > len(worth)
    for name in answered:
        page = (course.root / "grading" / "feedback" / name / lab / f"{lab}.html").read_text()
        text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())
        assert [line for line in hidden if line in text] == []
