"""Staging and releasing: students get no answer, no hidden test and nothing that lies beside them."""

import nbformat
import pytest

from frugal.authoring import stage as stage_module
from frugal.authoring.percent import read_source
from frugal.authoring.publish import check_release, update_release
from frugal.authoring.stage import leaks, release_files, secrets, stage
from frugal.core.errors import SourceError

LAB = "lab_1_1_clip"


def book(content: bytes):
    return nbformat.reads(content.decode(), as_version=4)


def test_the_stage_holds_the_built_lab_and_the_listed_files_alone(tiny, tmp_path):
    tiny.write(f"solutions/assets/{LAB}/pictures/map.txt", "a map")
    tiny.write(f"labs/{LAB}/misconceptions.json", "{}")
    folder = stage(tiny.tree, LAB, tmp_path / "stage")
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == [f"{LAB}.ipynb", "misconceptions.json", "pictures/map.txt"]


def test_a_picture_among_the_published_files_keeps_its_bytes(tiny):
    picture = b"\x89PNG\r\n\x1a\n\xff\x00"
    tiny.write(f"solutions/assets/{LAB}/map.png", "").write_bytes(picture)
    update_release(tiny.tree, LAB)
    assert (tiny.tree.release(LAB).parent / "map.png").read_bytes() == picture


def test_what_an_earlier_stage_left_goes(tiny, tmp_path):
    folder = stage(tiny.tree, LAB, tmp_path / "stage")
    (folder / "old.py").write_text("answers = 1")
    stage(tiny.tree, LAB, tmp_path / "stage")
    assert not (folder / "old.py").exists()


def test_a_release_has_stubs_that_say_which_exercise_is_open(tiny):
    cells = {cell.id: cell for cell in book(release_files(tiny.tree, LAB)[f"{LAB}.ipynb"]).cells}
    assert cells["clip"].source.endswith('    # YOUR CODE HERE\n    raise NotImplementedError("exercise clip")')
    assert ">>> clip(5, 0, 3)" in cells["clip"].source, "the docstring is the exercise"
    assert cells["hidden-clip"].source == "# Hidden tests: they run when your lab is graded."
    assert cells["test-clip"].metadata.tags == ["raises-exception"]


def test_two_releases_are_the_same_bytes(tiny):
    assert release_files(tiny.tree, LAB) == release_files(tiny.tree, LAB)


def test_a_rebuild_changes_nothing_and_what_does_not_belong_is_told(tiny):
    assert update_release(tiny.tree, LAB) == [f"{LAB}.ipynb"]
    assert update_release(tiny.tree, LAB) == []
    tiny.write(f"labs/{LAB}/.ipynb_checkpoints/copy.ipynb", "{}")
    assert list(check_release(tiny.tree, LAB)) == []
    mine = tiny.write(f"labs/{LAB}/notes.md", "what I tried")
    assert list(check_release(tiny.tree, LAB)) == [f"labs/{LAB}/notes.md does not belong to the release; take it out"]
    update_release(tiny.tree, LAB)
    assert mine.exists(), "a file that somebody else made is never deleted"


def test_an_edited_release_is_told(tiny):
    update_release(tiny.tree, LAB)
    path = tiny.tree.release(LAB)
    path.write_text(path.read_text().replace("the end", "The End"))
    assert list(check_release(tiny.tree, LAB)) == [f"labs/{LAB}/{LAB}.ipynb differs from a rebuild"]


def test_the_answers_and_the_hidden_tests_are_the_secrets_and_what_the_lab_shows_is_not(tiny):
    found = secrets(read_source(tiny.tree.lab_source(LAB)))
    assert found["return min(bounded_below, high)"] == "clip"
    assert found["for secret_value in (-2, -1, 0, 2, 7):"] == "hidden-clip"
    assert not any("def clip" in line or ">>>" in line for line in found)


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("notes.md", "Write  `return min(bounded_below,   high)`.", "a line of clip"),
        ("notes.md", "for secret_value in (-2, -1, 0, 2, 7):", "a line of hidden-clip"),
        ("notes.md", "### BEGIN SOLUTION", "BEGIN SOLUTION"),
        ("notes.md", "### END HIDDEN TESTS", "HIDDEN TESTS"),
        ("clip.py", "x = 1", "Python files"),
    ],
)
def test_a_planted_leak_is_found(tiny, name, text, told):
    cells = read_source(tiny.tree.lab_source(LAB))
    assert list(leaks(cells, release_files(tiny.tree, LAB))) == []
    (leak,) = leaks(cells, {name: text.encode()})
    assert leak.startswith(name)
    assert told in leak


def test_a_hint_that_holds_the_answer_stops_the_release(tiny):
    text = tiny.tree.lab_source(LAB).read_text()
    tiny.lab(text.replace("# Keep values in a range.", "# <details>bounded_below = max(x, low)</details>"))
    with pytest.raises(SourceError, match="cell title: holds a line of clip"):
        release_files(tiny.tree, LAB)


def test_an_answer_that_nbgrader_left_in_stops_the_release(tiny, monkeypatch):
    monkeypatch.setattr(stage_module, "_generate", lambda root, lab: (root / "source").rename(root / "release"))
    with pytest.raises(SourceError, match="BEGIN SOLUTION"):
        release_files(tiny.tree, LAB)
    with pytest.raises(SourceError):
        update_release(tiny.tree, LAB)
    assert not tiny.tree.release(LAB).exists(), "nothing is written of a release that leaks"


def test_a_file_with_answers_among_the_published_ones_stops_the_release(tiny):
    tiny.write(f"solutions/assets/{LAB}/helper.py", "x = 1")
    with pytest.raises(SourceError, match="Python files"):
        release_files(tiny.tree, LAB)
