"""What an instructor's browser and a student's page show: the verdicts, and nothing that could act or give away."""

import base64
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import nbformat
import pytest
import small_lab
from nbconvert.exporters import HTMLExporter
from nbgrader.utils import determine_grade

from frugal.grading import shown
from frugal.grading.feedback import Part, page, render
from frugal.grading.gradebook import Standing, grade_id

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"pixels").decode()
HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script><iframe src="javascript:alert(3)"></iframe>'


@pytest.fixture
def notebooks(lab):
    return tuple(map(shown.read, lab))


class _Acting(HTMLParser):
    """Collects what in a page could act: scripts, frames, drawings, event attributes, script addresses."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "iframe", "object", "embed", "svg", "form", "base"):
            self.found.append(tag)
        self.found += [name for name, value in attributes if name.startswith("on") or "javascript:" in (value or "")]


def acting(markup):
    parser = _Acting()
    parser.feed(markup)
    return parser.found


def test_the_search_for_what_could_act_finds_it():
    assert acting(HOSTILE) == ["onerror", "script", "iframe", "src"]


def made(notebooks, content, words=("test",)):
    book = shown.shown(content, *notebooks, small_lab.report(words))
    nbformat.validate(book)
    return book


def by_name(book):
    return {name: cell for cell in book.cells if (name := grade_id(cell))}


def test_nbgrader_reads_from_it_the_marks_that_the_judge_gave(notebooks):
    cells = by_name(made(notebooks, small_lab.submission("test")))
    assert determine_grade(cells["test-double"])[0] == 1.0
    assert determine_grade(cells["hidden-double"])[0] == 0.0
    assert determine_grade(cells["essay"])[0] is None


def test_tests_are_the_courses_whatever_the_student_made_of_them(notebooks):
    handed_in = small_lab.notebook("test")
    for cell in handed_in["cells"]:
        if cell["id"] == "test-double":
            cell["source"] = "pass  # no test at all"
            cell["metadata"]["nbgrader"]["points"] = 1000
            cell["metadata"]["tags"] = ["skip-execution"]
            cell["outputs"] = [{"output_type": "execute_result", "data": {"text/plain": "1000"}, "metadata": {}}]
    handed_in["cells"] = [cell for cell in handed_in["cells"] if cell["id"] != "hidden-double"]
    cells = by_name(made(notebooks, json.dumps(handed_in).encode(), words=()))
    assert cells["test-double"].source == "assert double(2) == 4"
    assert cells["test-double"].metadata == notebooks[1].cells[3].metadata
    assert small_lab.SECRET in cells["hidden-double"].source, "a deleted test comes back"
    assert [determine_grade(cells[name])[0] for name in ("test-double", "hidden-double")] == [0.0, 0.0]


def test_a_copied_cell_is_an_ordinary_cell(notebooks):
    handed_in = small_lab.notebook("first")
    handed_in["cells"].insert(3, json.loads(json.dumps(handed_in["cells"][2])))
    handed_in["cells"][3]["source"] = "second"
    book = made(notebooks, json.dumps(handed_in).encode())
    names = [grade_id(cell) for cell in book.cells if grade_id(cell)]
    assert sorted(names) == sorted(set(names))


def test_nothing_of_a_student_reaches_the_instructors_browser_as_html(notebooks):
    handed_in = small_lab.notebook("print(1)", essay=HOSTILE)
    data = {"text/html": HOSTILE, "image/svg+xml": f"<svg>{HOSTILE}</svg>", "application/javascript": "alert(4)"}
    handed_in["cells"][2]["outputs"] = [
        {"output_type": "display_data", "metadata": {}, "data": {**data, "text/plain": "a picture", "image/png": PNG}},
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": base64.b64encode(b"<svg/>").decode()}},
        {"output_type": "error", "ename": "E", "evalue": HOSTILE, "traceback": [HOSTILE]},
        {"output_type": "stream", "name": "stderr", "text": "x" * 10**6},
        {"output_type": "stream", "name": "stdout", "text": "fine"},
        "no output at all",
    ]
    handed_in["cells"].append({"cell_type": "raw", "source": HOSTILE, "metadata": {"format": "text/html"}})
    book = made(notebooks, json.dumps(handed_in).encode())
    page_, _ = HTMLExporter().from_notebook_node(book)
    body = page_[page_.index("<main") : page_.index("</main>")]  # around it stand nbconvert's own scripts
    assert acting(body) == []
    assert PNG in body.replace("\n", "")
    assert "fine" in body
    assert len(nbformat.writes(book)) < 100_000


def test_metadata_of_any_shape_is_ignored(notebooks):
    handed_in = small_lab.notebook("test")
    shapes = [
        [],
        "x",
        {"nbgrader": 3},
        {"nbgrader": {"grade_id": ["a"]}},
        {"nbgrader": {"schema_version": 99}},
        None,
        {},
    ]
    for cell, shape in zip(handed_in["cells"], shapes, strict=True):
        cell["metadata"] = shape
    cells = by_name(made(notebooks, json.dumps(handed_in).encode()))
    assert set(cells) == {"double", *small_lab.WORTH}


# ---- the student's page ---------------------------------------------------------------------------------------------


def text_of(markup):
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", markup, flags=re.DOTALL)).split())


def test_a_page_names_exercise_points_message_and_mistake(notebooks):
    text = text_of(render(page(notebooks[0], small_lab.report({"test", "halves"}), "ada", received="2026-11-23 12:00")))
    assert (
        "Lab 0 Doubling ada · received 2026-11-23 12:00 UTC 1 of 7 points so far; 1 answer is still to be read" in text
    )
    assert "Exercise 0.1 Twice 1 of 3 hidden-double: twice 2 is 4 You halve instead of doubling." in text
    assert "Exercise 0.2 Why 0 of 4 Still to be read by a person." in text


def test_an_exercise_left_open_is_told_in_one_sentence(notebooks):
    report = small_lab.report(set())
    open_yet = tuple(replace(each, message=f"{each.grade_id}: not attempted yet\n  more") for each in report.results)
    (double, _) = page(notebooks[0], replace(report, results=open_yet), "ada").parts
    assert double.messages == ("You have not answered this one yet.",)


def test_what_a_person_gave_and_said_is_on_the_page(notebooks):
    standings = {
        "test-double": Standing(1.0, None, None, False, 1.0),
        "hidden-double": Standing(0.0, 1.5, 0.25, False, 2.0),
        "essay": Standing(None, 4.0, None, False, 4.0),
    }
    made_page = page(
        notebooks[0], small_lab.report({"test"}), "ada", standings=standings, said={"double": "half right <3"}
    )
    assert made_page.points == 6.75
    assert made_page.open == 0
    assert "half right <3" in text_of(render(made_page))


def test_a_page_needs_no_network_runs_nothing_and_gives_no_test_away(notebooks):
    report = small_lab.report(set())
    hostile = replace(report, results=tuple(replace(each, message=HOSTILE) for each in report.results))
    markup = render(page(notebooks[0], hostile, HOSTILE[:90]))
    assert acting(markup) == []
    assert not re.search(r"<(img|link)|https?://|url\(|@import", markup)
    assert "default-src 'none'" in markup
    assert small_lab.SECRET not in text_of(markup)
    assert "1234567" not in markup


def test_the_colour_of_an_exercise_is_its_share():
    assert [Part("", points, 2.0).state for points in (0.0, 1.0, 2.0)] == ["none", "some", "full"]
