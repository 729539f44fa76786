"""Executed notebooks: the same bytes on a second run, and nothing in them that differs between machines."""

import nbformat
import pytest

from frugal.authoring import execute as execute_module
from frugal.authoring.build import build, source_digest, to_text
from frugal.authoring.execute import execute, is_current, kernel_environment, normalise, problems
from frugal.authoring.percent import read_cells
from frugal.core.errors import SourceError


def source(*codes: str, header: str = "") -> str:
    return "\n\n".join(f'# %% id="cell-{number}" {header}\n{code}' for number, code in enumerate(codes)) + "\n"


def made(*codes: str, header: str = ""):
    return build(read_cells(source(*codes, header=header)))


def run(folder, *codes: str, header: str = "", budget_s: float = 60.0):
    return execute(made(*codes, header=header), folder, budget_s=budget_s).notebook


PICTURE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"


def test_a_second_run_gives_the_same_bytes(tmp_path):
    codes = (
        "print('a', flush=True)\nprint('b')",
        "{'x', 'y', 'z'}",
        PICTURE,
        "import os\nos.environ['OMP_NUM_THREADS']",
    )
    first, second = run(tmp_path, *codes), run(tmp_path, *codes)
    assert to_text(first) == to_text(second)
    assert [cell.execution_count for cell in first.cells] == [1, 2, 3, 4]
    assert first.cells[0].outputs[0].text == "a\nb\n", "pieces of one stream are joined"
    assert first.cells[3].outputs[0].data["text/plain"] == "'1'", "outputs do not depend on the number of cores"
    assert "image/png" in first.cells[2].outputs[0].data


def test_saved_outputs_belong_to_their_source_and_to_no_other(tmp_path):
    saved = run(tmp_path, "1 + 1")
    assert is_current(saved, made("1 + 1"))
    assert not is_current(saved, made("1 + 2"))
    saved.cells[0].source = "1 + 2"
    assert not is_current(saved, made("1 + 1")), "a cell that was edited by hand is told"
    assert saved.metadata.frugal.source_sha256 == source_digest(made("1 + 1"))


REFUSED = {
    "import warnings\nwarnings.warn('careful')": "wrote to stderr",
    "object()": "shows a memory address",
    "import sys\nprint(sys.prefix)": "shows a path of this machine",
    "from ipywidgets import IntSlider\nIntSlider()": "shows a widget without",
}


def test_outputs_that_cannot_be_kept_are_refused_each_with_its_cell(tmp_path):
    with pytest.raises(SourceError) as refused:
        run(tmp_path, *REFUSED)
    for number, told in enumerate(REFUSED.values()):
        assert f"cell cell-{number}: {told}" in str(refused.value)


@pytest.mark.parametrize(
    "code, told",
    [
        ("x = 0\n1 / x", "cell cell-0 failed: ZeroDivisionError: division by zero\n    in the line: 1 / x"),
        ("import os\nos._exit(1)", "kernel died"),
        ("print('x' * 400_000)", "KB with outputs, the limit is 300 KB"),
    ],
)
def test_a_notebook_that_cannot_be_saved_is_refused(tmp_path, code, told):
    with pytest.raises(SourceError, match=told):
        run(tmp_path, code)


def test_a_notebook_past_twice_its_budget_is_refused(tmp_path):
    with pytest.raises(SourceError, match="budget"):
        run(tmp_path, "import time\ntime.sleep(5)", budget_s=1)


def test_an_expected_error_is_kept_without_frames(tmp_path):
    (cell,) = run(tmp_path, "raise ValueError('num_bits must be from 2 to 8')", header='tags="raises-exception"').cells
    assert cell.outputs[0].traceback == ["ValueError: num_bits must be from 2 to 8"]


def test_a_red_check_in_a_solved_lab_is_refused_although_it_may_raise(tmp_path, tiny):
    lab = tiny.tree.lab_source("lab_1_1_clip").read_text().replace("== 3", "== 4")
    with pytest.raises(SourceError, match="cell test-clip: a graded check failed on the solved lab: AssertionError"):
        execute(build(read_cells(lab)), tmp_path)


def test_widget_state_and_timing_go_and_the_page_that_needs_no_kernel_stays():
    book = made("1")
    data = {execute_module.WIDGET_VIEW: {"model_id": "abc"}, "text/html": "<b>3</b>", "text/plain": "3"}
    book.cells[0].outputs = [nbformat.v4.new_output("display_data", data=data)]
    book.cells[0].metadata["execution"] = {"iopub.status.busy": "now"}
    book.metadata["widgets"] = {"state": {}}
    normalise(book)
    assert set(book.cells[0].outputs[0].data) == {"text/html", "text/plain"}
    assert "execution" not in book.cells[0].metadata
    assert "widgets" not in book.metadata
    assert list(problems(book)) == []


def test_the_kernel_does_not_see_the_data_folder_or_a_random_hash_seed(monkeypatch):
    monkeypatch.setenv("FRUGAL_DATA", "somewhere")
    environment = kernel_environment()
    assert "FRUGAL_DATA" not in environment
    assert environment["PYTHONHASHSEED"] == "0"


def test_executing_leaves_the_built_notebook_as_it_was(tmp_path):
    book = made("1 + 1")
    before = to_text(book)
    execute(book, tmp_path)
    assert to_text(book) == before
