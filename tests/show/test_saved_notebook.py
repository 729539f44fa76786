"""What is saved is what runs: strict nbval finds no difference in a notebook that uses all of frugal.show."""

import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = [
    """import torch
import matplotlib.pyplot as plt
from frugal.quant import affine
from frugal.show import plots, style
from frugal.show.check import case, check
from frugal.show.explore import Explore
from frugal.show.predict import predict, reveal
from frugal.show.unblock import go_on

style.use()
qparams = affine.choose_qparams(torch.tensor([-1.0, 2.0]), 3)""",
    "predict('step', 'How wide is a step?', options=['0.21', '0.43'])",
    "predict('kept', 'What is left?', options=range(5))",
    "reveal('step', qparams.scale)",
    "Explore(lambda ax, bits: ax.plot([0, bits]), bits=range(2, 9), label='a line')",
    "def quantize(x, qparams):\n    raise NotImplementedError()",
    "check(quantize, case('zero', torch.zeros(1), qparams, expect=torch.tensor([-2], dtype=torch.int8)))",
    "quantize = go_on(quantize, 'frugal.quant.affine:quantize')",
    "check(quantize, case('zero', torch.zeros(1), qparams, expect=torch.tensor([-2], dtype=torch.int8)))",
    "check(affine.quantize, case('zero', torch.zeros(1), qparams, expect=torch.tensor([-2], dtype=torch.int8)))",
    "check(affine.quantize, case('wrong', torch.ones(3), qparams, expect=torch.zeros(3)))",
    "_ = plots.staircase(qparams, -1.5, 2.5)\nplt.show()",
]
pytestmark = pytest.mark.slow
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    path = tmp_path_factory.mktemp("notebook") / "shown.ipynb"
    notebook = nbformat.v4.new_notebook()
    for index, source in enumerate(CELLS):
        tags = {"tags": ["raises-exception"]} if source.startswith("check") else {}
        notebook.cells.append(nbformat.v4.new_code_cell(source, id=f"cell-{index}", metadata=tags))
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": path.parent}}).execute()
    notebook.metadata.pop("widgets", None)
    for output in (output for cell in notebook.cells for output in cell.outputs):
        if "text/html" in output.get("data", {}):
            output["data"].pop(WIDGET, None)
    nbformat.write(notebook, path)
    return path


def test_strict_nbval_finds_no_difference(executed):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbval",
        "--nbval-current-env",
        executed,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=executed.parent)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert f"{len(CELLS)} passed" in ran.stdout


def test_nothing_goes_to_stderr_and_failures_are_short(executed):
    outputs = [output for cell in nbformat.read(executed, 4).cells for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    errors = [output for output in outputs if output.output_type == "error"]
    assert [error.ename for error in errors] == ["CheckFailed"] * 3  # open, borrowed, wrong
    assert all(len(error.traceback) == 1 for error in errors), "the table above says the rest"


def test_every_widget_leaves_something_to_read_without_a_kernel(executed):
    pages = [output.data for cell in nbformat.read(executed, 4).cells for output in cell.outputs if "data" in output]
    assert not [page for page in pages if WIDGET in page]
    assert sum("frugal-predict" in page.get("text/html", "") for page in pages) == 2
    assert sum("frugal-explore" in page.get("text/html", "") for page in pages) == 1
