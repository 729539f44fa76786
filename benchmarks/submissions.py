"""Submissions of made-up students, and a course of nbgrader as it comes that marks them."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from frugal.authoring.catalogue import read_catalogue
from frugal.authoring.stage import stage
from frugal.authoring.tree import Tree


def save_submission(folder: Path, student: str, lab: str, release: dict[str, Any], sources: dict[str, str]) -> Path:
    """Write a released lab with some cells answered as ``folder/student/lab/lab.ipynb``."""
    cells = [{**cell, "source": sources.get(cell["id"], cell["source"])} for cell in release["cells"]]
    path = folder / student / lab / f"{lab}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**release, "cells": cells}))
    return path


def read_answers(path: Path) -> list[str]:
    """Return each answer of a catalogue as the cell of a student: its helpers, and itself under the exercise's name."""
    catalogue = read_catalogue(path, told=False)
    names = {answer.name for answer in catalogue.answers}
    tree = ast.parse(catalogue.text)
    cells = []
    for name in sorted(names):
        kept = [node for node in tree.body if getattr(node, "name", None) not in names - {name}]
        cells.append("\n\n".join(ast.unparse(node) for node in kept) + f"\n\n{path.stem} = {name}")
    return cells


# ---- stock nbgrader --------------------------------------------------------------------------------------------------

NBGRADER = [sys.executable, "-m", "nbgrader"]
STOCK = """
import os
c = get_config()
c.CourseDirectory.root = {root!r}
c.CourseDirectory.course_id = "frugal"
c.CourseDirectory.db_url = "sqlite:///" + os.path.join({root!r}, "gradebook.db")
"""


@contextmanager
def stock_course(tree: Tree, lab: str, submitted: Path, students: list[str]) -> Iterator[dict[str, Any]]:
    """A course of nbgrader as it comes, with a lab and what was handed in; yields where and how to run its commands."""
    with tempfile.TemporaryDirectory(prefix="frugal-") as folder:
        root = Path(folder)
        (root / "nbgrader_config.py").write_text(STOCK.format(root=folder))
        stage(tree, lab, root / "source")
        for student in students:
            shutil.copytree(submitted / student, root / "submitted" / student)
        about = {"cwd": folder, "env": environment()}
        made = subprocess.run([*NBGRADER, "generate_assignment", lab], capture_output=True, text=True, **about)
        if made.returncode:
            raise click.ClickException(f"nbgrader cannot read the lab: {made.stdout[-1000:]}{made.stderr[-1000:]}")
        yield about


def autograded(tree: Tree, lab: str, submitted: Path, students: list[str]) -> dict[str, dict[str, float]]:
    """Mark with nbgrader as it comes; return every student's points, cell by cell."""
    from nbgrader.api import Gradebook

    with stock_course(tree, lab, submitted, students) as about:
        subprocess.run([*NBGRADER, "autograde", lab], capture_output=True, **about)
        points: dict[str, dict[str, float]] = {}
        with Gradebook(f"sqlite:///{about['cwd']}/gradebook.db") as book:
            for each in book.assignment_submissions(lab):
                grades = each.notebooks[0].grades
                points[each.student.id] = {
                    grade.name: grade.auto_score for grade in grades if grade.auto_score is not None
                }
    return points


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
