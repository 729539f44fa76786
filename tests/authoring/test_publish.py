"""Bringing notebooks up to date: only what changed is executed, and nothing is left half-written."""

import json

import nbformat
import pytest

from frugal.authoring import publish
from frugal.authoring.build import to_text
from frugal.authoring.depends import library_files
from frugal.authoring.tree import write_whole

LAB = "lab_1_1_clip"


@pytest.fixture
def runs(monkeypatch):
    """Count the executions."""
    names = []
    execute = publish.execute

    def counted(*args, **options):
        names.append(options["name"])
        return execute(*args, **options)

    monkeypatch.setattr(publish, "execute", counted)
    return names


def whats(outcomes):
    return [outcome.what for outcome in outcomes]


def test_only_a_changed_source_is_executed_again(tiny, runs):
    jobs = publish.chapter_jobs(tiny.tree)
    assert whats(publish.update(tiny.tree, jobs)) == ["executed"]
    before = jobs[0].notebook.read_bytes()
    assert whats(publish.update(tiny.tree, jobs)) == ["unchanged"]
    assert whats(publish.check(tiny.tree, jobs)) == ["unchanged"]
    jobs[0].source.write_text(jobs[0].source.read_text().replace("6 * 7", "6 * 8"))
    assert whats(publish.check(tiny.tree, jobs)) == ["out of date"]
    assert whats(publish.update(tiny.tree, jobs)) == ["executed"]
    assert jobs[0].notebook.read_bytes() != before
    assert len(runs) == 2


def test_outputs_of_another_machine_are_kept_as_they_are(tiny, runs):
    (job,) = jobs = publish.chapter_jobs(tiny.tree)
    list(publish.update(tiny.tree, jobs))
    theirs = nbformat.read(job.notebook, as_version=4)
    theirs.cells[1].outputs[0].text = "because 42.0000001\n"
    job.notebook.write_text(to_text(theirs))
    before = job.notebook.read_bytes()
    assert whats(publish.update(tiny.tree, jobs)) == ["unchanged"]
    assert job.notebook.read_bytes() == before
    assert whats(publish.update(tiny.tree, jobs, force=True)) == ["executed"]
    assert job.notebook.read_bytes() != before


SPOILT = {
    "cell answer differs": lambda book: book.cells[1].update(source="print(1)"),
    "from top to bottom": lambda book: book.cells[1].update(execution_count=7),
    "is not saved executed": lambda book: book.cells[1].update(outputs=[], execution_count=None),
    "1 cells, the source has 2": lambda book: book.cells.pop(),
}
NO_NOTEBOOKS = ("", "{", "[]", '{"cells": 3}', '{"cells": [3], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}')


def test_a_notebook_edited_by_hand_or_broken_is_told_and_repaired(tiny):
    (job,) = jobs = publish.chapter_jobs(tiny.tree)
    list(publish.update(tiny.tree, jobs))
    good = job.notebook.read_bytes()
    for told, spoil in SPOILT.items():
        book = nbformat.reads(good.decode(), as_version=4)
        spoil(book)
        job.notebook.write_text(to_text(book))
        (outcome,) = publish.check(tiny.tree, jobs)
        assert (outcome.what, outcome.ok) == ("out of date", False)
        assert told in outcome.detail
    for text in NO_NOTEBOOKS:
        job.notebook.write_text(text)
        (outcome,) = publish.check(tiny.tree, jobs)
        assert (outcome.what, outcome.detail) == ("out of date", "is not a notebook")
    assert whats(publish.update(tiny.tree, jobs)) == ["executed"]
    assert job.notebook.read_bytes() == good


def test_a_source_that_fails_leaves_the_saved_notebook_alone(tiny):
    (job,) = jobs = publish.chapter_jobs(tiny.tree)
    list(publish.update(tiny.tree, jobs))
    before = job.notebook.read_bytes()
    for bad in ('# %% id="a"\n1 / 0\n', '# %% id="a"\n1\n# %% id="a"\n2\n'):
        job.source.write_text(bad)
        (outcome,) = publish.update(tiny.tree, jobs)
        assert outcome.what == "failed"
        assert "1_1_why.py" in outcome.detail
        assert job.notebook.read_bytes() == before
    assert not list(job.notebook.parent.glob(".*partial"))


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    assert write_whole(path, "a")
    assert not write_whole(path, "a"), "the same text is not written again"
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert path.read_text() == "a"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_library_files_are_followed_through_imports():
    names = {path.name for path in library_files("%matplotlib inline\nfrom frugal.quant.affine import quantize\n")}
    assert {"affine.py", "check.py"} <= names
    assert "execute.py" not in names
    assert library_files("import math\n") == []


def test_names_of_wrong_answers_are_computed_again_only_when_the_catalogue_changes(tiny):
    (outcome,) = publish.update(tiny.tree, [publish.lab_job(tiny.tree, LAB)])
    assert outcome.ok
    calls = []

    def recognise():
        calls.append(1)
        return {"clip": {"00": {"name": "swaps", "says": "You swap."}}}

    assert publish.update_misconceptions(tiny.tree, LAB, recognise)
    assert not publish.update_misconceptions(tiny.tree, LAB, recognise)
    assert json.loads(tiny.tree.misconceptions(LAB).read_text())["clip"]["00"]["name"] == "swaps"
    assert whats(publish.check(tiny.tree, [publish.lab_job(tiny.tree, LAB)])) == ["unchanged"]
    wrong = tiny.tree.wrong(LAB, "clip")
    wrong.write_text(wrong.read_text() + "\n")
    assert not publish.knows_catalogue(tiny.tree, LAB)
    publish.update_misconceptions(tiny.tree, LAB, recognise)
    assert len(calls) == 2
