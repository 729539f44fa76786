"""While a student's code runs, the library holds no answer: not to call, not to read, not through another name."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest
from tiny_lab import SETUP, code, make_lab, notebook

from frugal.grading import confine, mask
from frugal.grading.judge import Judge, python_paths
from frugal.grading.lab import Lab

ROOT = Path(__file__).parents[3]
LAB = ROOT / "solutions" / "lab_4_1_affine.ipynb"
GONE = "is not at hand while a lab is graded"


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mask.build(Lab.load(LAB), tmp_path_factory.mktemp("masked"))


def run(masked: Path, text: str) -> str:
    """Run a text with the masked library and return what it printed."""
    python, environment = confine.alone(masked, python_paths())
    done = subprocess.run([*python, "-c", text], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_answers_and_all_that_leads_to_them_raise_and_what_an_answer_may_use_works(masked: Path) -> None:
    said = run(
        masked,
        """
import inspect, torch
import frugal.quant, frugal.show, frugal.nets, frugal.data
from frugal.core.check import check_finite, describe
from frugal.graph.fold import fold_batchnorm
from frugal.kernels import reference
from frugal.nets import pretrained
from frugal.quant import affine, fake, layers, observers
from frugal.quant.affine import QParams
from frugal.quant.granularity import PerChannel, PerTensor
from frugal.show import check, plots, predict, style, unblock

x = torch.tensor([1.0, 2.0])
zero = torch.tensor(0, dtype=torch.int32)
qparams = QParams(torch.tensor(0.5), zero, -8, 7)
assert qparams.granularity.spread(qparams.scale, x).item() == 0.5
assert PerChannel(0).spread(torch.ones(2), torch.ones(2, 3)).shape == (2, 1)
assert pretrained.load("resnet8_drawn") is not None
def observe():
    observer = observers.MSE(4, symmetric=True)
    observer.observe(x)
    return observer.qparams()
for call in (
    lambda: affine.quantize(x, qparams), lambda: affine.dequantize(x.to(torch.int8), qparams),
    lambda: affine.choose_qparams(x), lambda: affine.qparams_from_range(x[0], x[1]),
    lambda: fake.fake_quantize(x, qparams), observe,
    lambda: layers.QuantizedLayer(torch.nn.Linear(2, 2), qparams, qparams),
):
    try:
        call()
    except NotImplementedError as error:
        assert "is not at hand while a lab is graded" in str(error), error
    else:
        raise SystemExit("an answer came")
print(inspect.getsource(affine.quantize).strip().splitlines()[-1].strip()[:25])
""",
    )
    assert said == "raise NotImplementedError"


def test_no_line_of_an_answer_stands_anywhere_in_the_copy(masked: Path) -> None:
    source = (ROOT / "lib/frugal/quant/affine.py").read_text()
    body = {
        line.strip()
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
        for inner in node.body[1:]
        for line in ast.get_source_segment(source, inner).splitlines()  # type: ignore[union-attr]
        if len(line.strip()) > 30
    }
    assert len(body) > 10
    for file in masked.rglob("*.py"):
        found = body & {line.strip() for line in file.read_text().splitlines()}
        assert not {line for line in found if "check_" not in line and "raise" not in line}, file


def test_native_kernels_byte_code_and_the_judge_itself_are_left_out(masked: Path) -> None:
    names = {path.name for path in masked.rglob("*") if path.is_file()}
    assert not any(name.endswith((".so", ".pyc", ".cpp", ".h", ".ipynb")) for name in names)
    assert not {"judge.py", "referee.py", "diagnosis.py", "trial.py", "gradebook.py"} & names
    assert not (masked / "authoring").exists()


def test_every_module_of_the_copy_can_be_imported(masked: Path) -> None:
    names = sorted(
        ".".join(("frugal", *path.relative_to(masked).with_suffix("").parts)).removesuffix(".__init__")
        for path in masked.rglob("*.py")
    )
    text = f"""
import importlib
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert not str(error.name).startswith("frugal"), (name, error)
"""
    run(masked, text)


def test_a_lab_may_mask_more_and_allow_more(tmp_path: Path) -> None:
    lab = make_lab(
        tmp_path,
        {"f": "def f(x):\n    return x"},
        {"f": "assert f(1) == 1"},
        mask=["frugal.core.units:format_bytes"],
        allow=["frugal.quant.affine:dequantize"],
    )
    assert "frugal.core.units:format_bytes" in mask.masked(lab)
    built = mask.build(lab, tmp_path / "out")
    affine = (built / "quant" / "affine.py").read_text()
    assert "sub_(zero_point)" in affine
    assert "add_(zero_point)" not in affine


def test_calling_the_library_for_the_answer_earns_nothing(tmp_path: Path) -> None:
    if confine.missing():
        pytest.skip("no sandbox")
    answer = code("quantize", "def quantize(x, qparams):\n    return x", grade=False, locked=False, solution=True)
    answer["metadata"]["frugal"] = {"lift": "frugal.quant.affine:quantize"}
    test = code(
        "test-quantize",
        "zero = torch.tensor(0, dtype=torch.int32)\n"
        "assert quantize(torch.ones(1), QParams(torch.tensor(1.0), zero, -8, 7)).item() == 1",
        grade=True, locked=True, solution=False, points=1.0,
    )  # fmt: skip
    cells = [code("setup", SETUP), answer, test]
    (tmp_path / "lab.ipynb").write_bytes(notebook(cells))
    with Judge(Lab.load(tmp_path / "lab.ipynb")) as judge:
        assert judge.grade(notebook(cells)).points == 1
        cells[1]["source"] = "from frugal.quant.affine import quantize"
        report = judge.grade(notebook(cells))
    assert report.points == 0
    assert GONE in report.results[0].detail
