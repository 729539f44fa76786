"""The commands that the texts promise exist, and the scripts say what is wrong before they change anything."""

import re
import shutil
import subprocess

import pytest

from frugal.cli.main import COMMANDS

TEXTS = ("README.md", "INSTRUCTOR.md", "CONTRIBUTING.md", "CHANGELOG.md", "environment.yml", ".ci/run")


@pytest.fixture(scope="module")
def makefile(root):
    return (root / "Makefile").read_text()


@pytest.fixture(scope="module")
def targets(makefile):
    """Everything that `make` takes: the described targets and the steps of `make test`."""
    steps = re.findall(r"^(?:QUICK|STEPS) := (.*)$", makefile, re.MULTILINE)
    return set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.MULTILINE)) | set(" ".join(steps).split())


def code_of(text):
    """What a text shows as code: between backquotes, or on a line that starts with the command."""
    return re.findall(r"`([^`\n]+)`", text) + re.findall(r"^(?:make|python) .*$", text, re.MULTILINE)


@pytest.mark.parametrize("name", TEXTS)
def test_every_make_target_in_the_texts_exists(root, targets, name):
    promised = [line for line in code_of((root / name).read_text()) if line.startswith("make ")]
    for line in promised:
        words = re.match(r"make ((?:[a-z-]+(?:\s|$))*)", line)[1].split()
        assert set(words) <= targets, f"{name} promises `{line}`"


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_of_the_library_in_the_texts_exists(root, name):
    for line in code_of((root / name).read_text()):
        if found := re.match(r"python -m frugal (\w+)", line):
            assert found[1] in COMMANDS, f"{name} promises `{line}`"


def test_the_two_commands_stand_first_in_the_readme(root):
    first_block = (root / "README.md").read_text().split("```")[1]
    assert [line.split("#")[0].strip() for line in first_block.strip().splitlines()] == ["make course", "make test"]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_link_to_a_file_leads_somewhere(root, name):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (root / name).read_text())
    assert links
    assert [link for link in links if not (root / link).exists()] == []


def test_bare_make_lists_every_described_target(root, makefile):
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    listing = subprocess.run(["make"], cwd=root, capture_output=True, text=True, check=True).stdout
    described = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert {"course", "test", "setup", "notebooks", "labs", "book", "bench", "grade", "check", "clean"} <= set(
        described
    )
    for target in described:
        assert f"  make {target} " in listing


def test_a_python_that_is_too_old_is_refused_by_name_and_nothing_is_made(root, tmp_path):
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.1"\nexit 1\n')
    old.chmod(0o755)
    command = ["bash", "etc/setup.sh", "venv", str(old), str(tmp_path / "venv")]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert run.returncode != 0
    assert "3.11.7 or newer" in run.stderr
    assert "Python 3.9.1" in run.stderr
    assert "make setup PYTHON=" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_the_oldest_python_is_the_same_everywhere(root):
    oldest = re.search(r'^requires-python = ">=([\d.]+)"', (root / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert f"OLDEST={oldest} " in (root / "etc/setup.sh").read_text()
    assert f"Python {oldest} or newer" in (root / "README.md").read_text()


def test_a_step_of_make_test_that_fails_fails_the_run_and_is_named_last(root, tmp_path):
    """The table at the end tells what passed, and later steps still run."""
    script = (root / "etc/test.sh").read_text()
    script = script.replace(
        "run() {", "step_good() { true; }\nstep_bad() { false; }\nstep_idle() { nothing yet; }\nrun() {"
    )
    (tmp_path / "test.sh").write_text(script)
    run = subprocess.run(["bash", "test.sh", "bad", "idle", "good"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    table = [line.split() for line in run.stdout.splitlines()[-5:-2]]
    assert [row[:2] for row in table] == [["bad", "FAILED"], ["idle", "nothing"], ["good", "passed"]]
    assert run.stdout.splitlines()[-1] == "steps: 1 passed, 1 failed"
