"""The judge inside nbgrader: `nbgrader autograde`, and the Autograde button of Formgrader, mark with it.

nbgrader_config.py names two steps of this file:

    TrustedCells   first of the sanitizing steps: refuses links, and makes the course's cells the course's again
    JudgeExecute   in the place of nbgrader's Execute: no kernel starts, the verdicts become the cells' outputs

Everything after them, scores, late penalties, Formgrader, feedback, export, is nbgrader's own.
"""

from __future__ import annotations

import atexit
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool

from frugal.core.errors import FrugalError
from frugal.grading import shown
from frugal.grading.judge import Judge
from frugal.grading.lab import Lab
from frugal.grading.verdict import CellResult, Report

_open = ExitStack()  # the judges of this process
_judges: dict[tuple[str, bool], Judge] = {}
atexit.register(_open.close)


class UnreadableSubmission(FrugalError):
    """A submission that nbgrader must not touch; it goes on with the next student."""


def refuse_links(folder: str) -> None:
    """Refuse a submission that holds a link or a special file: nbgrader copies what it points to."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            mode = os.lstat(os.path.join(place, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UnreadableSubmission(f"{name} is a link or a special file; take it out of the submission")


class _Step(NbGraderPreprocessor):
    """A step that knows the lab it works on."""

    def lab_path(self, resources: Any) -> Path:
        """Return the lab with its tests: the solved one, whose mistakes have names, or the one nbgrader releases."""
        about, course = resources["nbgrader"], self.config.CourseDirectory
        root = Path(course.get("root", "."))
        names = about["assignment"], f"{about['notebook']}.ipynb"
        solved = root / "solutions" / names[1]
        return solved if solved.is_file() else root / course.get("source_directory", "source") / names[0] / names[1]

    def release_path(self, resources: Any) -> Path:
        about, course = resources["nbgrader"], self.config.CourseDirectory
        root = Path(course.get("root", ".")) / course.get("release_directory", "release")
        return root / about["assignment"] / f"{about['notebook']}.ipynb"


class TrustedCells(_Step):
    """Take the course's cells and every cell's metadata from the course: a copied cell no longer stops a class."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        refuse_links(resources["metadata"]["path"])
        solved, release = shown.read(self.lab_path(resources)), self.release_path(resources)
        empty = Report(resources["nbgrader"]["assignment"], "", ())
        handed_out = shown.read(release) if release.is_file() else None
        return shown.shown(nbformat.writes(nb).encode(), solved, handed_out, empty), resources


class JudgeExecute(_Step):
    """Judge a notebook instead of executing it."""

    unsafe = Bool(
        False, help="Whether to go on where there is no sandbox: students' code then runs with your rights."
    ).tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        report = self.judge(self.lab_path(resources)).grade(nbformat.writes(nb).encode())
        results = report.results if report.error is None else _all_failed(nb, report.error)
        for cell in nb.cells:
            if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade"):
                cell.outputs = []
        shown.put_verdicts(nb, results)
        return nb, resources

    def judge(self, path: Path) -> Judge:
        """Return this process's judge of a lab, started when it is first needed."""
        lab = Lab.load(path)
        key = lab.digest, self.unsafe
        if key not in _judges:
            _judges[key] = _open.enter_context(Judge(lab, unsafe=self.unsafe))
        return _judges[key]


def _all_failed(nb: NotebookNode, reason: str) -> list[CellResult]:
    graded = [cell.metadata.nbgrader for cell in nb.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return [CellResult(each["grade_id"], 0.0, float(each["points"]), False, reason) for each in graded]
