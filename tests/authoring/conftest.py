"""A small course made for each test: one module, one lab lifted from it, one chapter, catalogues."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from frugal.authoring.tree import Tree

MODULE = '''
"""A tiny library."""

def clip(x, low, high):
    """Keep ``x`` between ``low`` and ``high``.

    >>> clip(5, 0, 3)
    3
    """
    if low > high:  # an empty range
        raise ValueError("low must not be above high")
    bounded_below = max(x, low)
    return min(bounded_below, high)


def untold(x):
    return x


def empty(x):
    """Nothing to lift."""
'''

LAB = """
# %% [markdown] id="title"
# # A lab
# Keep values in a range.

# %% id="setup"
print("ready")

# %% solution="clip" lift="tinylib.bounds:clip"

# %% test="clip" points=1
assert clip(5, 0, 3) == 3, "5 lies above 3"

# %% hidden="clip" points=2
for secret_value in (-2, -1, 0, 2, 7):
    assert clip(secret_value, -1, 4) == sorted([-1, secret_value, 4])[1]

# %% id="after"
print("the end")
"""

CHAPTER = """
# %% [markdown] id="question"
# # Why?

# %% id="answer"
print("because", 6 * 7)
"""

WRONG = {
    "never_clips": "x",
    "forgets_low": "min(x, high)",
    "forgets_high": "max(x, low)",
    "swaps": "max(low, min(x, low))",
    "low_only": "low",
    "high_only": "high",
    "zero": "0",
    "negates": "-max(low, min(x, high))",
}
RIGHT = {
    "nested": "max(low, min(x, high))",
    "ordered": "sorted([low, x, high])[1]",
    "asks": "low if x < low else min(x, high)",
}


def catalogue(answers: dict[str, str], *extra: str) -> str:
    """Write answers ``name -> expression`` as a catalogue file, with more functions at its end."""
    functions = [
        f'def {name}(x, low, high):\n    """Your answer is that of {name}."""\n    return {expression}\n'
        for name, expression in answers.items()
    ]
    return "\n\n".join([*functions, *(textwrap.dedent(function) for function in extra)])


@dataclass(frozen=True)
class TinyCourse:
    """Where a test's course lies, and what it may change in it."""

    tree: Tree

    @property
    def root(self) -> Path:
        return self.tree.root

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def lab(self, text: str = LAB) -> str:
        self.write("solutions/src/lab_1_1_clip.py", text)
        return "lab_1_1_clip"

    def answers(self, kind: str, text: str) -> None:
        self.write(f"solutions/{kind}/lab_1_1_clip/clip.py", text)


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> TinyCourse:
    """A course with one lab, its catalogues, and one chapter."""
    course = TinyCourse(Tree(tmp_path / "course_root"))
    course.write("modules/tinylib/__init__.py", "")
    course.write("modules/tinylib/bounds.py", MODULE)
    monkeypatch.syspath_prepend(str(course.root / "modules"))
    monkeypatch.setenv("PYTHONPATH", str(course.root / "modules"))
    course.lab()
    course.answers("wrong", catalogue(WRONG))
    course.answers("right", catalogue(RIGHT))
    course.write("course/1_tiny/src/1_1_why.py", CHAPTER)
    return course
