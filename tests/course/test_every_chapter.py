"""Every chapter notebook: saved as its source builds it, executed, small, and with no number out of nowhere."""

import re

import nbformat
import pytest

from frugal.authoring.build import KERNEL
from frugal.authoring.execute import SIZE_LIMIT, problems
from frugal.authoring.prose import stored_numbers, unsupported_numbers
from frugal.authoring.publish import chapter_jobs, check
from frugal.authoring.tree import Tree

TREE = Tree.find()
JOBS = chapter_jobs(TREE)
CELLS = 40
OPENING = {
    "what you will be able to do": re.compile(r"you (?:will be able to|can then|will)\b", re.IGNORECASE),
    "the slides it covers": re.compile(r"\bslides?\b[\s*]*\d", re.IGNORECASE),
    "the minutes it takes": re.compile(r"\d+\s*(?:minutes|min)\b", re.IGNORECASE),
}

every_chapter = pytest.mark.parametrize("job", JOBS, ids=[job.source.stem for job in JOBS])


def saved(job):
    return nbformat.read(job.notebook, as_version=4)


def test_there_are_at_least_four_chapters():
    assert len(JOBS) >= 4, "course/*/src holds fewer than four sources, so little below was tested"


def test_no_notebook_stands_without_a_source():
    ours = {job.notebook for job in JOBS}
    found = {path for path in TREE.root.glob("course/**/*.ipynb") if ".ipynb_checkpoints" not in path.parts}
    assert found - ours == set()


@every_chapter
def test_a_rebuild_changes_nothing(job):
    (outcome,) = check(TREE, [job])
    assert outcome.ok, f"{outcome.what}: {outcome.detail}; run `make notebooks`"


@every_chapter
def test_it_is_saved_executed_from_top_to_bottom(job):
    code = [cell for cell in saved(job).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any(cell.outputs for cell in code), "a notebook without outputs passes every comparison"
    assert list(problems(saved(job))) == []


@every_chapter
def test_its_ids_are_unique_and_its_kernel_is_everybodys(job):
    book = saved(job)
    ids = [cell.id for cell in book.cells]
    assert len(set(ids)) == len(ids)
    assert book.metadata.kernelspec == KERNEL


@every_chapter
def test_it_opens_with_what_it_teaches_its_slides_and_its_minutes(job):
    opening = "\n\n".join(cell.source for cell in saved(job).cells[:2] if cell.cell_type == "markdown")
    assert opening.startswith("# "), "the first cell is the title"
    missing = [what for what, pattern in OPENING.items() if not pattern.search(opening)]
    assert missing == []


@every_chapter
def test_it_is_small_enough_to_read_and_to_load(job):
    assert job.notebook.stat().st_size <= SIZE_LIMIT
    assert len(saved(job).cells) <= CELLS


@every_chapter
def test_every_picture_has_words_for_who_cannot_see_it(job):
    for cell in saved(job).cells:
        pictures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        if pictures:
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert alt, f'cell {cell.id} draws a picture; say what it shows: # %% id="{cell.id}" alt="..."'


@every_chapter
def test_every_number_in_its_words_comes_from_a_cell_or_a_measurement(job):
    measured = stored_numbers(TREE.root / "benchmarks" / "results")
    assert [str(found) for found in unsupported_numbers(saved(job), measured)] == []


@every_chapter
def test_its_links_lead_somewhere(job):
    for cell in saved(job).cells:
        if cell.cell_type != "markdown":
            continue
        for target in re.findall(r"\]\(([^)#\s]+)", cell.source):
            if not re.match(r"https?:|mailto:", target):
                assert (job.notebook.parent / target).exists(), f"cell {cell.id} links to {target}"
