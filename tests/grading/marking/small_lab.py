"""A lab of two exercises and one essay, and judges that obey what a notebook says: for tests of everything around."""

import json
import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

from frugal.grading.pool import LabDiffers
from frugal.grading.verdict import CellResult, Report

LAB = "small"
WORTH = {"test-double": 1.0, "hidden-double": 2.0, "essay": 4.0}
SECRET = "assert double(1234567) == 2469134"


def cell(identity, kind, source, **grading):
    role = {"grade": False, "solution": False, "locked": False, "task": False, "schema_version": 3, **grading}
    made = {"cell_type": kind, "id": identity, "metadata": {}, "source": source}
    if grading:
        made["metadata"]["nbgrader"] = {**role, "grade_id": identity}
    return {**made, "outputs": [], "execution_count": None} if kind == "code" else made


def notebook(answer="def double(x): raise NotImplementedError", essay="YOUR ANSWER HERE", hidden=""):
    """Return the lab as a dict; ``hidden`` is what only the solved one has."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "cells": [
            cell("title", "markdown", "# Lab 0 Doubling"),
            cell("card-double", "markdown", "### Exercise 0.1 Twice\nReturn twice the number."),
            cell("double", "code", answer, solution=True),
            cell("test-double", "code", "assert double(2) == 4", grade=True, locked=True, points=1.0),
            cell("hidden-double", "code", f"# more\n{hidden}", grade=True, locked=True, points=2.0),
            cell("card-essay", "markdown", "### Exercise 0.2 Why"),
            cell("essay", "markdown", essay, grade=True, solution=True, points=4.0),
        ],
    }


def submission(*words, **changed):
    """Return the bytes of a submission whose fake judge does what the words say: test, hidden, die, hang, raise, ..."""
    return json.dumps(notebook(answer=" ".join(words), **changed)).encode()


def write_lab(folder: Path) -> tuple[Path, Path]:
    """Write the solved lab and its release; return their paths."""
    solved, release = folder / "solutions" / f"{LAB}.ipynb", folder / "labs" / LAB / f"{LAB}.ipynb"
    for path, book in ((solved, notebook("def double(x): return 2 * x", hidden=SECRET)), (release, notebook())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(book))
    return solved, release


def report(words, *, lab=LAB):
    """Return the report of a submission that earns the cells its words name."""
    results = []
    for name, worth in WORTH.items():
        passed = name.partition("-")[0] in words
        kind = "manual" if name == "essay" else "auto"
        message = "" if passed or kind == "manual" else f"{name}: twice 2 is 4"
        named = "You halve instead of doubling." if "halves" in words and not passed and kind == "auto" else None
        results.append(CellResult(name, worth * (passed and kind == "auto"), worth, passed, message, named, kind=kind))
    return Report(lab, "digest", tuple(results), seconds=0.01)


class FakeJudge:
    """Does to its process what a submission says."""

    def __init__(self, bench):
        self.bench = bench

    def grade(self, content, *, seed=None):
        words = "".join(json.loads(content)["cells"][2]["source"]).split()
        if "die" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        if "die-once" in words and not _seen(words):
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in words:
            time.sleep(600)
        if "stop" in words:
            os.kill(os.getpid(), signal.SIGSTOP)
        if "raise" in words:
            raise RuntimeError("the judge is broken")
        if "differs" in words:
            raise LabDiffers("small.ipynb changed since the run began")
        if "slow" in words:
            time.sleep(0.05)
        if "unreadable" in words:
            return Report(LAB, "digest", (), error="no cell could be read")
        return report(words)


def _seen(words):
    mark = Path(words[-1])
    if mark.exists():
        return True
    mark.touch()
    return False


@contextmanager
def opener(bench):
    yield FakeJudge(bench)
