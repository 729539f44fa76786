"""The student's first hour in a real browser: read, move a slider, fail a check, pass Validate, submit."""

import shutil

import nbformat
import pytest

from frugal.authoring.build import build_file
from frugal.authoring.tree import Tree

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LABS = Tree.find().labs()
CHAPTER = "course/4_quantization/4_3_per_channel.ipynb"


def figures(page):
    return page.locator(".jp-OutputArea .widget-html svg, .jp-OutputArea .widget-html img")


def test_a_chapter_runs_and_its_slider_redraws_the_figure(server, page):
    page.open(server, CHAPTER)
    page.shot("chapter")
    page.run_all()
    slider = page.page.locator(".jp-OutputArea .widget-slider .noUi-handle").first
    slider.scroll_into_view_if_needed()
    before = figures(page.page).first.evaluate("figure => figure.outerHTML")
    slider.focus()
    page.page.keyboard.press("ArrowRight")
    page.page.wait_for_function(
        "before => document.querySelector('.jp-OutputArea .widget-html svg, .jp-OutputArea .widget-html img')"
        ".outerHTML !== before",
        arg=before,
        timeout=60_000,
    )
    page.shot("slider_moved")
    assert page.page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count() == 0


@pytest.mark.parametrize("lab", LABS)
def test_an_untouched_lab_runs_to_its_end_and_validate_says_what_is_open(server, page, lab):
    page.open(server, f"labs/{lab}/{lab}.ipynb")
    page.run_all()
    page.page.get_by_text("not attempted").first.scroll_into_view_if_needed()
    page.shot("check_not_attempted")
    said = page.validate()
    page.shot("validate_failed")
    assert "failed" in said
    assert "not attempted" in said


@pytest.mark.parametrize("lab", LABS)
def test_a_fetched_lab_is_solved_validated_and_submitted(server, page, lab):
    page.open(server, f"labs/{lab}/{lab}.ipynb")
    page.choose("Nbgrader", "Assignment List")
    page.assignment(lab, "Fetch").click()
    page.assignment(lab, "Submit").wait_for(timeout=60_000)
    page.shot("fetched")

    solve(server, lab)
    page.open(server, f"{lab}/{lab}.ipynb")
    said = page.validate()
    page.shot("validate_passed")
    assert "Success" in said
    page.close_dialog()

    page.choose("Nbgrader", "Assignment List")
    page.assignment(lab, "Submit").click()
    inbound = server.root / "exchange" / "frugal" / "inbound"
    for _ in range(60):
        if submissions := list(inbound.glob(f"*+{lab}+*/{lab}.ipynb")):
            break
        page.page.wait_for_timeout(500)
    page.shot("submitted")
    assert len(submissions) == 1


def solve(server, lab: str) -> None:
    """Write the answers of the solved lab into the student's fetched copy."""
    answers = {
        cell.id: cell.source
        for cell in build_file(server.tree.lab_source(lab)).cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    file = server.root / lab / f"{lab}.ipynb"
    book = nbformat.read(file, as_version=4)
    for cell in book.cells:
        cell.source = answers.get(cell.id, cell.source)
    nbformat.write(book, file)


def test_a_wrong_answer_is_told_what_to_look_at(server, page):
    lab = LABS[0]
    book = nbformat.read(server.root / "labs" / lab / f"{lab}.ipynb", as_version=4)
    broken = next(cell for cell in book.cells if "raise NotImplementedError" in cell.source)
    broken.source = broken.source.split("# YOUR CODE HERE")[0].rstrip() + "\n    return None\n"
    folder = server.root / "labs" / "wrong"
    shutil.copytree(server.root / "labs" / lab, folder)
    nbformat.write(book, folder / f"{lab}.ipynb")
    page.open(server, f"labs/wrong/{lab}.ipynb")
    page.run_all()
    page.page.get_by_text("FAIL").or_(page.page.get_by_text("fail")).first.scroll_into_view_if_needed()
    page.shot("check_failed")
