"""What we rely on in nbgrader and nbval: a graded cell may raise past, and still counts as failed."""

import os
import subprocess
import sys

import nbformat
import pytest
from nbgrader.preprocessors import Execute
from nbgrader.utils import determine_grade
from nbgrader.validator import Validator

from frugal.authoring.build import build_file, to_text
from frugal.authoring.execute import execute, kernel_environment
from frugal.authoring.nbgrader_steps import ShortTracebacks, feedback_steps, release_steps, stub

NAME = "lab_1_1_clip"


def broken(tiny):
    """The solved lab with an answer that fails both graded cells."""
    book = build_file(tiny.tree.lab_source(NAME))
    book.cells[2].source = "def clip(x, low, high):\n    return x + 100"
    return book


def test_autograding_gives_nothing_for_a_raising_cell_and_runs_the_cells_below_it(tiny, tmp_path):
    book, _ = Execute().preprocess(broken(tiny), {"metadata": {"path": str(tmp_path)}})
    cells = {cell.id: cell for cell in book.cells}
    for name, points in (("test-clip", 1.0), ("hidden-clip", 2.0)):
        assert "raises-exception" in cells[name].metadata.tags
        assert determine_grade(cells[name]) == (0, points)
    assert cells["after"].outputs[0].text == "the end\n"


def test_validating_reports_a_raising_cell_as_failed(tiny, tmp_path):
    path = tmp_path / "lab.ipynb"
    path.write_text(to_text(broken(tiny)))
    result = Validator().validate(str(path))
    assert len(result["failed"]) == 2
    assert "5 lies above 3" in str(result["failed"][0]["error"])


@pytest.mark.slow
def test_nbval_passes_the_saved_lab_and_fails_it_where_a_graded_cell_raises_now(tiny, tmp_path):
    book = execute(build_file(tiny.tree.lab_source(NAME)), tmp_path).notebook
    (tmp_path / "good.ipynb").write_text(to_text(book))
    book.cells[2].source = "def clip(x, low, high):\n    return x + 100"
    (tmp_path / "now_raises.ipynb").write_text(to_text(book))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "-c", os.devnull, "good.ipynb", "now_raises.ipynb"],
        cwd=tmp_path,
        env=kernel_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 2, done.stdout[-3000:]
    assert all("now_raises.ipynb" in line for line in failed)


def test_our_steps_stand_where_nbgrader_has_its_own():
    steps = [name.rpartition(".")[2] for name in release_steps()]
    assert steps.index("LockCells") < steps.index("ClearNamedSolutions") < steps.index("SaveCells")
    assert "ClearSolutions" not in steps
    assert "SaveCells" not in [name.rpartition(".")[2] for name in release_steps(database=False)]
    assert "nbgrader.preprocessors.ClearHiddenTests" in feedback_steps()


def test_feedback_keeps_the_message_of_a_failed_test_and_not_the_lines_around_it(tiny):
    book = broken(tiny)
    secret = ["----> 2 assert clip(secret_value) == secret_value", "AssertionError: too high"]
    for cell in book.cells[3:5]:
        cell.outputs = [nbformat.v4.new_output("error", ename="AssertionError", evalue="too high", traceback=secret)]
    shown, _ = ShortTracebacks().preprocess(book, {})
    assert [cell.outputs[0].traceback for cell in shown.cells[3:5]] == [["AssertionError: too high"]] * 2


def test_a_stub_keeps_the_docstring_and_names_the_exercise(tiny):
    text = stub(build_file(tiny.tree.lab_source(NAME)).cells[2].source, "clip")
    assert text.splitlines()[-3:] == [
        '    """',
        "    # YOUR CODE HERE",
        '    raise NotImplementedError("exercise clip")',
    ]
    assert "bounded_below" not in text
