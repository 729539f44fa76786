"""A student's own check: every exercise gets a word, every broken notebook a sentence."""

import json

import nbformat
import pytest

from frugal.authoring.build import build, to_text
from frugal.authoring.percent import read_cells
from frugal.authoring.publish import update_release
from frugal.authoring.selfcheck import Mark, self_check
from frugal.core.errors import CourseFileMissing, SourceError

NAME = "lab_1_1_clip"


@pytest.fixture
def student(tiny):
    """The released lab in a student's folder, and a function that writes an answer into it."""
    update_release(tiny.tree, NAME)
    path = tiny.root / "mine" / f"{NAME}.ipynb"
    path.parent.mkdir()

    def answer(body: str, **more: str):
        book = nbformat.read(tiny.tree.release(NAME), as_version=4)
        for cell in book.cells:
            if cell.id == "clip":
                cell.source = f"def clip(x, low, high):\n    {body}"
            cell.source = more.get(cell.id.replace("-", "_"), cell.source)
        path.write_text(to_text(book))
        return path

    return answer


@pytest.mark.parametrize(
    "body, mark",
    [
        ("return max(low, min(x, high))", Mark("clip", "passed")),
        ("return x", Mark("clip", "failed", "5 lies above 3")),
        ("return y", Mark("clip", "failed", "NameError: name 'y' is not defined")),
        ("# YOUR CODE HERE\n    raise NotImplementedError", Mark("clip", "not attempted")),
    ],
)
def test_an_exercise_passes_fails_or_is_open(student, body, mark):
    assert self_check(student(body)) == [mark]


def test_the_notebook_is_not_changed(student):
    path = student("return x")
    before = path.read_bytes()
    self_check(path)
    assert path.read_bytes() == before


def test_a_loop_without_end_fails_and_the_rest_is_checked(student):
    path = student("return max(low, min(x, high))", setup="while True:\n    pass")
    assert self_check(path, limit_s=2) == [Mark("clip", "passed")]
    path = student("while True:\n        pass")
    assert self_check(path, limit_s=2) == [
        Mark("clip", "failed", "the check ran past the time limit; look for a loop without end")
    ]


def test_a_cell_that_ends_the_process_is_named(student):
    (mark,) = self_check(student("return x", setup="import os\nos._exit(1)"))
    assert mark.status == "failed"
    assert "was not reached: cell 2 (import os) ended the process" in mark.message


def test_a_loop_that_cannot_be_interrupted_is_ended(student, monkeypatch):
    monkeypatch.setattr("frugal.authoring.selfcheck.GRACE_S", 1.0)
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass"
    (mark,) = self_check(student("return x", setup=stubborn), limit_s=2)
    assert "could not be stopped" in mark.message


def test_a_tag_that_skips_a_check_does_not_pass_it(student):
    path = student("return x")
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        cell.metadata["tags"] = ["skip-execution"]
    path.write_text(to_text(book))
    assert self_check(path)[0].status == "failed"


def test_a_missing_check_is_told_with_or_without_the_lab_at_hand(student, tiny):
    path = student("return x")
    book = nbformat.read(path, as_version=4)
    book.cells = [cell for cell in book.cells if cell.id != "test-clip"]
    path.write_text(to_text(book))
    assert self_check(path)[0].status == "missing"
    book.cells = [cell for cell in book.cells if cell.id != "clip"]
    path.write_text(to_text(book))
    assert self_check(path, release=tiny.tree.release(NAME))[0].status == "missing"


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"cells": 1}', json.dumps({"nbformat": 99, "cells": []})])
def test_what_is_not_a_notebook_is_told_in_one_sentence(tmp_path, text):
    path = tmp_path / "lab.ipynb"
    path.write_text(text)
    with pytest.raises(SourceError, match="is not a readable notebook"):
        self_check(path)


def test_a_missing_file_and_a_notebook_without_checks_are_told(tmp_path):
    with pytest.raises(CourseFileMissing, match="no file"):
        self_check(tmp_path / "lab.ipynb")
    (tmp_path / "chapter.ipynb").write_text(to_text(build(read_cells('# %% id="a"\n1\n'))))
    with pytest.raises(SourceError, match="no graded check"):
        self_check(tmp_path / "chapter.ipynb")
