"""A small lab with one exercise of each kind, and submissions to it."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from frugal.grading.judge import Judge
from frugal.grading.lab import Lab
from frugal.grading.limits import Limits
from frugal.grading.verdict import Report

SECOND = Limits(call_seconds=1.0, test_seconds=4.0, submission_seconds=20.0, memory_bytes=1 << 30)

STUB = "raise NotImplementedError"
ANSWERS = {
    "double": "def double(x):\n    return 2 * x",
    "refuse": "def refuse(x):\n    if x < 0:\n        raise ValueError(f'positive, not {x}')\n    return x**0.5",
    "clear": "def clear(x):\n    x.zero_()\n    return x",
    "straight": """
        class Round(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return torch.round(x)

            @staticmethod
            def backward(ctx, gradient):
                return gradient


        def straight(x):
            return Round.apply(x)
        """,
    "network": """
        class Net(torch.nn.Module):
            def __init__(self, width):
                super().__init__()
                self.width = width
                self.first = torch.nn.Linear(2, width)
                self.norm = torch.nn.BatchNorm1d(width)
                self.last = torch.nn.Linear(width, 1)

            def forward(self, x):
                return self.last(torch.relu(self.norm(self.first(x))))
        """,
    "search": "def search(f, low, high):\n    return min(range(low, high), key=f)",
    "params": """
        def params(low, high):
            scale = torch.tensor((high - low) / 255)
            return QParams(scale, torch.tensor(-128, dtype=torch.int32), -128, 127)
        """,
}
TESTS = {
    "double": """
        assert double(3) == 6, "twice three is six"
        ### BEGIN HIDDEN TESTS
        secret = torch.tensor([1.5, -2.25])
        assert type(double(secret)) is torch.Tensor, "a tensor gives a tensor"
        assert double(secret).tolist() == [3.0, -4.5], "look at fractions"
        ### END HIDDEN TESTS
        """,
    "refuse": """
        import pytest

        with pytest.raises(ValueError, match="positive"):
            refuse(-1)
        assert refuse(4) == 2
        """,
    "clear": """
        x = torch.ones(3)
        assert clear(x) is x, "give back the tensor that came in"
        assert x.tolist() == [0, 0, 0], "the tensor that came in is cleared"
        """,
    "straight": """
        x = torch.tensor([0.4, 1.6], requires_grad=True)
        y = straight(x)
        assert y.tolist() == [0.0, 2.0]
        (y * torch.tensor([3.0, 5.0])).sum().backward()
        assert x.grad.tolist() == [3.0, 5.0], "the gradient passes as if nothing had been rounded"
        """,
    "network": """
        net = Net(4)
        assert sum(p.numel() for p in net.parameters()) == 2 * 4 + 4 + 4 + 4 + 4 + 1
        assert net.width == 4
        assert isinstance(net, Net)
        x, before = torch.randn(16, 2), net.norm.running_mean.clone()
        net(x)
        assert not torch.equal(net.norm.running_mean, before), "running statistics follow"
        net.eval()
        assert torch.equal(net(x), net(x))
        twin = Net(4).eval()
        twin.load_state_dict(net.state_dict())
        assert torch.equal(net(x), twin(x)), "load_state_dict reaches the network"
        step = torch.optim.SGD(net.train().parameters(), lr=0.1)
        losses = []
        for _ in range(5):
            step.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            step.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0], "it learns"
        """,
    "search": "assert search(lambda x: (x - 7) ** 2, 0, 20) == 7",
    "params": """
        got = params(0.0, 2.55)
        assert type(got) is QParams
        assert abs(got.scale.item() - 0.01) < 1e-6
        """,
}
SETUP = "import torch\nfrom torch import Tensor\n\nfrom frugal.quant.affine import QParams"


def code(identity: str, source: str, **grading: object) -> dict:
    metadata = {"nbgrader": {"schema_version": 3, "grade_id": identity, "task": False, **grading}} if grading else {}
    text = textwrap.dedent(source).strip()
    return {
        "cell_type": "code",
        "id": identity,
        "metadata": metadata,
        "source": text,
        "outputs": [],
        "execution_count": None,
    }


def notebook(cells: list[dict], **frugal: object) -> bytes:
    metadata = {"frugal": frugal} if frugal else {}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def lab_cells(answers: dict[str, str], tests: dict[str, str]) -> list[dict]:
    cells = [code("setup", SETUP)]
    for name, test in tests.items():
        cells.append(code(name, answers.get(name, STUB), grade=False, locked=False, solution=True))
        cells.append(code(f"test-{name}", test, grade=True, locked=True, solution=False, points=1.0))
    return cells


def make_lab(folder: Path, answers: dict[str, str], tests: dict[str, str], **frugal: object) -> Lab:
    path = folder / "tiny.ipynb"
    path.write_bytes(notebook(lab_cells(answers, tests), **frugal))
    return Lab.load(path)


class Bench:
    """A judge and the way to hand something in to it."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def submit(self, answers: dict[str, str] | None = None, *more: str, **options: object) -> Report:
        """Judge the right answers with some of them replaced, and more cells in front."""
        cells = lab_cells({**ANSWERS, **(answers or {})}, dict.fromkeys(TESTS, ""))
        extra = [code(f"own-{number}", source) for number, source in enumerate(more)]
        return self.judge.grade(notebook([cells[0], *extra, *cells[1:]]), **options)  # type: ignore[arg-type]

    def passed(self, answers: dict[str, str] | None = None, *more: str) -> dict[str, bool]:
        return verdicts(self.submit(answers, *more))


def verdicts(report: Report) -> dict[str, bool]:
    return {result.grade_id.removeprefix("test-"): result.passed for result in report.results}


def lost(report: Report) -> set[str]:
    return {name for name, passed in verdicts(report).items() if not passed}
