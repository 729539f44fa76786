"""Built notebooks: fixed ids, nbgrader's metadata, the same bytes every time."""

import nbformat
import pytest

from frugal.authoring.build import build, build_file, source_digest, standard_metadata, to_text, without_outputs
from frugal.authoring.percent import read_cells
from frugal.core.errors import SourceError


def test_two_builds_are_the_same_bytes(tiny):
    source = tiny.tree.lab_source("lab_1_1_clip")
    assert to_text(build_file(source)) == to_text(build_file(source))


def test_cells_have_the_ids_of_their_tags_and_the_kernel_is_python3(tiny):
    book = build_file(tiny.tree.lab_source("lab_1_1_clip"))
    assert [cell.id for cell in book.cells] == ["title", "setup", "clip", "test-clip", "hidden-clip", "after"]
    assert book.metadata == standard_metadata()
    assert (book.nbformat, book.nbformat_minor) == (4, 5)
    assert book.metadata.kernelspec == {
        "name": "python3",
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
    }
    nbformat.validate(book)


def test_graded_cells_carry_what_nbgrader_needs(tiny):
    cells = {cell.id: cell for cell in build_file(tiny.tree.lab_source("lab_1_1_clip")).cells}
    assert cells["clip"].metadata.nbgrader == {
        "grade": False,
        "grade_id": "clip",
        "locked": False,
        "schema_version": 3,
        "solution": True,
        "task": False,
    }
    assert cells["clip"].metadata.frugal == {"lift": "tinylib.bounds:clip"}
    for name, points in (("test-clip", 1.0), ("hidden-clip", 2.0)):
        grading = cells[name].metadata.nbgrader
        assert (grading.grade, grading.locked, grading.solution, grading.points) == (True, True, False, points)
        assert cells[name].metadata.tags == ["raises-exception"], "Run All goes on past a red check"
    assert "nbgrader" not in cells["setup"].metadata


def test_hidden_tests_lie_between_markers_under_one_line_that_stays(tiny):
    cells = {cell.id: cell for cell in build_file(tiny.tree.lab_source("lab_1_1_clip")).cells}
    first, begin, *_, end = cells["hidden-clip"].source.splitlines()
    assert first == "# Hidden tests: they run when your lab is graded."
    assert (begin, end) == ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")


def test_the_picture_of_a_cell_carries_its_words_for_who_cannot_see_it():
    (cell,) = build(read_cells('# %% id="plot" alt="a staircase"\n1\n')).cells
    assert cell.metadata.mystnb.image.alt == "a staircase"


def test_the_digest_names_the_source_and_not_the_outputs(tiny):
    book = build_file(tiny.tree.lab_source("lab_1_1_clip"))
    shown = without_outputs(book)
    shown.cells[1].outputs = [nbformat.v4.new_output("stream", text="ready\n")]
    shown.cells[1].execution_count = 1
    assert source_digest(shown) == source_digest(book)
    shown.cells[1].source += "\n"
    assert source_digest(shown) != source_digest(book)


def test_an_answer_that_cannot_be_lifted_is_refused(tiny):
    lab = tiny.lab('# %% solution="clip" lift="tinylib.bounds:klip"\n')
    with pytest.raises(SourceError, match="klip"):
        build_file(tiny.tree.lab_source(lab))


def test_what_a_solution_masks_and_allows_stands_in_its_cell():
    header = '# %% solution="clip" lift="frugal.core.units:format_bytes" mask="torch:clamp" allow="frugal.core:x"\n'
    (cell,) = build(read_cells(header)).cells
    assert cell.metadata.frugal == {
        "lift": "frugal.core.units:format_bytes",
        "mask": ["torch:clamp"],
        "allow": ["frugal.core:x"],
    }
