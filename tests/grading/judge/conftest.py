"""The small lab's judge, started once."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_lab import ANSWERS, SECOND, TESTS, Bench, make_lab

from frugal.grading import confine
from frugal.grading.judge import Judge
from frugal.grading.lab import Lab


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("lab")
    wrong = folder / "wrong" / "tiny"
    wrong.mkdir(parents=True)
    (wrong / "double.py").write_text(
        'def squared(x):\n    """You square x instead of doubling it."""\n    return x * x\n'
    )
    return make_lab(folder, ANSWERS, TESTS)


@pytest.fixture(scope="session")
def bench(tiny: Lab) -> Iterator[Bench]:
    if lacking := confine.missing():
        pytest.skip("; ".join(lacking))
    with Judge(tiny, limits=SECOND) as judge:
        yield Bench(judge)
