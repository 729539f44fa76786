"""Every lab: fair, unleaked, rebuilt to the same bytes, and of a form and size that a student can work with."""

import ast
import re
from dataclasses import dataclass
from functools import cache

import nbformat
import pytest

from frugal.authoring.build import build, full_source
from frugal.authoring.catalogue import read_catalogue
from frugal.authoring.execute import problems
from frugal.authoring.percent import BEGIN_SOLUTION, END_SOLUTION, Cell, read_source
from frugal.authoring.prose import count_words
from frugal.authoring.publish import check, check_release, knows_catalogue, lab_job
from frugal.authoring.stage import MARKERS
from frugal.authoring.tree import Tree
from frugal.authoring.verify import LEAST_RIGHT, LEAST_WRONG, lab_problems

TREE = Tree.find()
LABS = TREE.labs()
CELLS, WORDS, CODE_LINES, SETUP_LINES, EXERCISES = range(45, 71), 2200, 40, 12, range(6, 10)
CARD = re.compile(r"[◆◇]{3}.*·.*\bmin\b.*·\s*(?P<points>[\d.]+)\s*(?:points?|pts)\b.*·.*\bslides?\b", re.IGNORECASE)
HINT = re.compile(r"<details\b.*?</details>", re.DOTALL)

every_lab = pytest.mark.parametrize("lab", LABS)


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lab: its name, its cells from card to hidden tests, and its words."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def words(self) -> str:
        return "\n\n".join(cell.source for cell in self.cells if cell.role == "markdown")

    @property
    def roles(self) -> list[str]:
        return [cell.role for cell in self.cells if cell.exercise == self.name]

    @property
    def points(self) -> float:
        return sum(cell.points for cell in self.cells if cell.exercise == self.name)

    @property
    def answer(self) -> list[str]:
        """The lines of the answer that a hint might give away."""
        (solution,) = (cell for cell in self.cells if cell.role == "solution")
        lines = full_source(solution).splitlines()
        begin = next(number for number, line in enumerate(lines) if BEGIN_SOLUTION in line)
        end = next(number for number, line in enumerate(lines) if END_SOLUTION in line)
        flat = [" ".join(line.split("#")[0].split()) for line in lines[begin + 1 : end]]
        return [line for line in flat if len(line) >= 10 and not re.fullmatch(r"return \w+|else:", line)]


@cache
def cells_of(lab: str) -> tuple[Cell, ...]:
    return tuple(read_source(TREE.lab_source(lab)))


@cache
def exercises_of(lab: str) -> tuple[Exercise, ...]:
    """Cut a lab behind the last graded cell of every exercise."""
    found: list[Exercise] = []
    waiting: list[Cell] = []
    cells = cells_of(lab)
    last = {cell.exercise: cell.id for cell in cells if cell.exercise}
    for cell in cells:
        waiting.append(cell)
        if cell.exercise and cell.id == last[cell.exercise]:
            found.append(Exercise(cell.exercise, tuple(waiting)))
            waiting = []
    return tuple(found)


def test_there_is_at_least_one_lab():
    assert LABS, "solutions/src holds no lab, so nothing below was tested"


@every_lab
def test_solved_scores_full_and_untouched_scores_nothing(lab):
    assert lab_problems(TREE, lab) == []


@every_lab
def test_a_rebuild_changes_nothing(lab):
    (outcome,) = check(TREE, [lab_job(TREE, lab)])
    assert outcome.ok, f"{outcome.what}: {outcome.detail}; run `make labs`"
    assert list(check_release(TREE, lab)) == [], "run `make labs`"
    assert knows_catalogue(TREE, lab), "a wrong answer changed; run `make labs`"


@every_lab
def test_students_get_no_answer_no_hidden_test_no_output_and_no_source(lab):
    folder = TREE.release(lab).parent
    for path in folder.rglob("*"):
        assert path.suffix != ".py", f"{path.name} lies beside the lab"
        if path.suffix == ".ipynb":
            assert not any(marker in path.read_text() for marker in MARKERS)
            for cell in nbformat.read(path, as_version=4).cells:
                assert not cell.get("outputs")
                assert cell.get("execution_count") is None


@every_lab
def test_the_solved_notebook_is_saved_without_a_red_check(lab):
    assert list(problems(nbformat.read(TREE.solved(lab), as_version=4))) == []


@every_lab
def test_every_exercise_has_a_card_three_hints_a_check_and_hidden_tests(lab):
    exercises = exercises_of(lab)
    assert len(exercises) in EXERCISES
    for exercise in exercises:
        assert exercise.roles == ["solution", "test", "hidden"], exercise.name
        card = CARD.search(exercise.words)
        assert card, (
            f"{exercise.name}: no card such as `4.3 Name · ◆◆◇ · matters a lot · ~12 min · 6 points · slide 23`"
        )
        assert float(card["points"]) == exercise.points, f"{exercise.name}: the card and the cells disagree on points"
        assert len(HINT.findall(exercise.words)) == 3, f"{exercise.name}: three hints, each in <details>"


@every_lab
def test_the_first_two_hints_hold_no_line_of_the_answer(lab):
    for exercise in exercises_of(lab):
        hints = [" ".join(hint.split()) for hint in HINT.findall(exercise.words)[:2]]
        told = [line for line in exercise.answer for hint in hints if line in hint]
        assert told == [], exercise.name


@every_lab
def test_every_exercise_has_enough_wrong_and_right_answers(lab):
    for exercise in exercises_of(lab):
        wrong = read_catalogue(TREE.wrong(lab, exercise.name), told=True).answers
        right = read_catalogue(TREE.right(lab, exercise.name), told=False).answers
        assert len(wrong) >= LEAST_WRONG, exercise.name
        assert len(right) >= LEAST_RIGHT, exercise.name


@every_lab
def test_the_docstring_of_an_exercise_shows_an_example(lab):
    for exercise in exercises_of(lab):
        (solution,) = (cell for cell in exercise.cells if cell.role == "solution")
        definitions = [node for node in ast.parse(full_source(solution)).body if isinstance(node, ast.FunctionDef)]
        assert any(">>>" in (ast.get_docstring(node) or "") for node in definitions), exercise.name


@every_lab
def test_a_lab_has_the_size_of_one_session(lab):
    cells = cells_of(lab)
    assert len(cells) in CELLS, f"{len(cells)} cells; the form is {CELLS.start} to {CELLS.stop - 1}"
    assert count_words(build(cells)) <= WORDS
    for cell in cells:
        if cell.role in ("plain", "test"):
            assert len(cell.source.splitlines()) <= CODE_LINES, f"{lab}: cell {cell.id}"
    setup = next(cell for cell in cells if cell.role == "plain")
    assert len(setup.source.splitlines()) <= SETUP_LINES, f"{lab}: the setup is one cell of {SETUP_LINES} lines at most"
