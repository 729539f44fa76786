"""One judge for each lab, started once, whatever it is attacked with."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from attack import solved_path
from proof import limits_of

from frugal.grading import confine
from frugal.grading.judge import Judge
from frugal.grading.lab import Lab


@pytest.fixture(scope="session")
def judge_of() -> Iterator[Callable[[str], Judge]]:
    """Return the judge of a lab, the same one every time."""
    if lacking := confine.missing():
        pytest.skip("; ".join(lacking))
    judges: dict[str, Judge] = {}

    def of(lab: str) -> Judge:
        if lab not in judges:
            judges[lab] = Judge(Lab.load(solved_path(lab)), limits=limits_of(lab)).__enter__()
        return judges[lab]

    yield of
    for judge in judges.values():
        judge.close()
