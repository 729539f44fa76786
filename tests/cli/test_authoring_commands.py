"""The commands of authors, instructors and students, as they are typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = 'def half(x):\n    """Halve.\n\n    >>> half(2)\n    1.0\n    """\n    return x / 2  # a real division\n'
LAB = """
# %% [markdown] id="title"
# # Halves

# %% solution="half" lift="tinyhalf:half"

# %% test="half" points=1
assert half(2) == 1, "half of 2"

# %% hidden="half" points=2
for secret_value in range(1, 20):
    assert half(secret_value) * 2 == secret_value
"""
CHAPTER = '# %% [markdown] id="q"\n# # Why?\n\n# %% id="a"\nprint(6 * 7)\n'


@pytest.fixture
def course(tmp_path, root):
    """A course of one chapter and one lab in a folder of its own; returns a function that types a command there."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "lib" / "frugal").mkdir(parents=True)
    files = {
        "modules/tinyhalf.py": MODULE,
        "solutions/src/lab_1_1_half.py": LAB,
        "course/1_tiny/src/1_1_why.py": CHAPTER,
        "solutions/wrong/lab_1_1_half/half.py": "".join(
            f'def off_by_{n}(x):\n    """You are off by {n}."""\n    return x / 2 + {n}\n\n\n' for n in range(1, 9)
        ),
        "solutions/right/lab_1_1_half/half.py": "".join(
            f"def way_{n}(x):\n    return {way}\n\n\n" for n, way in enumerate(("x / 2", "x * 0.5", "x - x / 2"))
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    path = os.pathsep.join([str(tmp_path / "modules"), str(root / "lib"), os.environ.get("PYTHONPATH", "")])

    def frugal(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "frugal", *words]
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    frugal.root = tmp_path
    return frugal


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".cache" not in path.parts and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_building_twice_changes_nothing_and_check_agrees(course):
    for words in (("notebooks",), ("labs", "build")):
        done = course(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    before = files(course.root)
    assert {
        "course/1_tiny/1_1_why.ipynb",
        "solutions/lab_1_1_half.ipynb",
        "labs/lab_1_1_half/misconceptions.json",
    } <= set(before)
    assert "grading/source/lab_1_1_half/lab_1_1_half.ipynb" in before
    for words in (("notebooks",), ("labs", "build"), ("notebooks", "--check"), ("labs", "build", "--check")):
        done = course(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert files(course.root) == before

    done = course("check", "labs/lab_1_1_half/lab_1_1_half.ipynb")
    assert (done.returncode, done.stdout.splitlines()[0].split()) == (1, ["not", "attempted", "half"])
    done = course("check", "solutions/lab_1_1_half.ipynb")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 of 1 exercises pass their visible check")


@pytest.mark.slow
def test_verify_prints_a_table_writes_a_record_and_fails_on_a_survivor(course):
    done = course("labs", "verify", "--json", "table.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split() == ["all", "3", "8", "100%", "100%", "3/3"]
    record = json.loads((course.root / "table.json").read_text())
    assert set(record) == {"machine", "versions", "date", "command", "rows", "summary"}
    assert record["rows"][0]["hidden_rate"] == 1.0
    assert record["summary"]["fair"] is True

    wrong = course.root / "solutions/wrong/lab_1_1_half/half.py"
    wrong.write_text(wrong.read_text() + 'def late(x):\n    """You are wrong later."""\n    return x / 2 + (x > 30)\n')
    done = course("labs", "verify", "lab_1_1_half")
    assert done.returncode == 1
    assert "wrong answer late keeps its points" in done.stdout


def test_stage_and_list_need_no_execution(course):
    assert course("labs", "stage").returncode == 0
    staged = files(course.root / "grading" / "source")
    assert set(staged) == {"lab_1_1_half/lab_1_1_half.ipynb"}
    assert b"BEGIN SOLUTION" in staged["lab_1_1_half/lab_1_1_half.ipynb"], "nbgrader takes the answers out itself"
    assert "lab_1_1_half: 3 points" in course("labs", "list").stdout


@pytest.mark.parametrize(
    "words, told",
    [
        (("notebooks", "9_9"), "the chapters are: 1_1_why"),
        (("notebooks", "--check"), "make notebooks"),
        (("labs", "build", "lab_9"), "the labs are: lab_1_1_half"),
        (("labs", "build", "--check"), "make labs"),
        (("labs", "verify", "lab_9"), "the labs are: lab_1_1_half"),
        (("check", "nothing.ipynb"), "no file nothing.ipynb"),
        (("check", "pyproject.toml"), "not a readable notebook"),
    ],
)
def test_what_cannot_be_done_is_told_without_a_traceback(course, words, told):
    done = course(*words)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (course.root / "labs").exists(), "nothing is half-written"


def test_a_source_that_cannot_be_read_is_told_with_its_line(course):
    source = course.root / "course/1_tiny/src/1_1_why.py"
    source.write_text(CHAPTER + '\n# %% id="a"\n1\n')
    done = course("notebooks")
    assert done.returncode != 0
    assert "1_1_why.py:7: found id 'a' again" in done.stdout
    assert not (course.root / "course/1_tiny/1_1_why.ipynb").exists()
