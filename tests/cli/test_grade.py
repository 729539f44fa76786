"""The command says what was marked, what was not and why, and leaves with an exit code that a script can trust."""

import json

import pytest
from click.testing import CliRunner

from frugal.cli import grade as command
from frugal.cli.main import cli, main
from frugal.grading import confine
from frugal.grading.errors import SandboxMissing
from frugal.grading.marking import Row

LAB = "lab_4_1_affine"
sandbox = pytest.mark.skipif(bool(confine.missing()), reason="; ".join(confine.missing()))


def run(*words):
    return CliRunner().invoke(cli, ["grade", *map(str, words)])


@pytest.fixture
def class_of(root, tmp_path):
    """An untouched submission and an unreadable one."""
    folder = tmp_path / "submitted"
    folder.mkdir()
    (folder / "ada.ipynb").write_bytes((root / "labs" / LAB / f"{LAB}.ipynb").read_bytes())
    (folder / "ben.ipynb").write_bytes(b"{")
    return folder


def test_without_a_sandbox_it_refuses_and_says_what_is_missing_and_how_to_go_on(
    monkeypatch, tmp_path, class_of, capsys
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as left:
        main(["grade", LAB, str(class_of), "--out", str(tmp_path / "out")])
    assert left.value.code == 2
    said = capsys.readouterr().err
    for words in ("bubblewrap: not installed", "apt-get install bubblewrap", "--unsafe", "frugal check LAB.ipynb"):
        assert words in said
    assert not (tmp_path / "out").exists(), "nothing was begun"


def test_the_refusal_is_a_named_error_for_programs(monkeypatch):
    monkeypatch.setattr(command, "missing", lambda: ["bubblewrap: not installed"])
    assert isinstance(run(LAB).exception, SandboxMissing)


@sandbox
@pytest.mark.slow
def test_a_class_is_marked_and_what_could_not_be_read_decides_the_exit_code(class_of, tmp_path):
    done = run(LAB, class_of, "--out", tmp_path / "out", "--json", tmp_path / "report.json", "-j", 1)
    assert done.exit_code == 1, done.output
    assert "refused: ben.ipynb: not a notebook" in done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert {"machine", "versions", "date", "command", "rows", "summary"} <= set(report)
    assert (report["summary"]["submissions"], report["summary"]["errors"]) == (2, 1)
    assert report["summary"]["seconds"] > 0
    assert {row["student"]: row["points"] for row in report["rows"]} == {"ada": 0.0, "ben": None}
    (class_of / "ben.ipynb").unlink()
    assert run(LAB, class_of, "--out", tmp_path / "out", "-j", 1).exit_code == 0


def test_an_unknown_lab_and_a_missing_folder_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "missing", lambda: [])
    assert "no lab is called 'lab_9'" in str(run("lab_9", "--out", tmp_path).exception)
    assert "no folder and no zip download" in str(run(LAB, tmp_path / "nowhere", "--out", tmp_path).exception)


def test_the_summary_counts_notes_and_names_what_was_refused():
    rows = [
        Row("a.ipynb", "judged", "a", 3.0, 34.0, note="read as lab.ipynb"),
        Row("b.ipynb", "unchanged", "b", 34.0, 34.0),
        Row("c", "refused", note="a link; links are not followed"),
    ]
    lines = command.summary_lines(rows, 1.25)
    assert lines[0] == "3 submissions in 1.2 s: 1 judged, 1 unchanged, 1 refused"
    assert "    refused: c: a link; links are not followed" in lines
    assert lines[-1] == "automatic points of 34: lowest 3, middle 34, highest 34"
    assert command.summary_lines([], 0.0) == ["no submission of this lab is there"]
