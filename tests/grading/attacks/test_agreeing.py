"""In every lab, objects that agree with everything earn nothing, and the solved lab everything."""

import json

import pytest
from attack import ROOT, Attack, every, grading, released, solved_path
from comparison import SUBCLASS, YES
from proof import launch

from frugal.authoring.tree import Tree

LABS = [lab for lab in Tree(ROOT).labs() if solved_path(lab).is_file()]
ANSWERS = {
    "object": ("return Yes()", YES),
    "float": ("return Same(1.0)", SUBCLASS.format("float")),
    "list": ("return Same([1])", SUBCLASS.format("list")),
    "text": ("return Same('void gemm() {}')", SUBCLASS.format("str")),
    "zeros": ("return torch.zeros(())", ""),
    "argument": ("return args[0] if args else None", ""),
    "refusal": ("raise ValueError('refused')", ""),
    "assertion": ("raise AssertionError", ""),
    "none": ("return None", ""),
    "end": ("raise StopIteration", ""),
}


@pytest.mark.parametrize("lab", LABS)
def test_the_solved_lab_gets_everything_and_the_released_one_nothing(judge_of, lab):
    judge = judge_of(lab)
    assert judge.grade(solved_path(lab)).points == judge.lab.max_points
    assert judge.grade(json.dumps(released(lab)).encode()).points == 0


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("lab", LABS)
def test_an_answer_that_agrees_with_everything_earns_nothing(judge_of, lab, answer):
    body, head = ANSWERS[answer]
    attack = Attack(answer, "comparison", answer, every(body, f"import torch\n{head}", lab), lab=lab)
    assert launch(judge_of(lab), attack).wrong == []


@pytest.mark.parametrize("lab", LABS)
def test_the_tests_of_another_exercise_are_not_passed_by_an_honest_answer_to_one(judge_of, lab):
    book, right = (
        released(lab),
        {cell["id"]: cell["source"] for cell in json.loads(solved_path(lab).read_text())["cells"]},
    )
    answers = [cell for cell in book["cells"] if grading(cell).get("solution")]
    answers[0]["source"] = right[answers[0]["id"]]
    report = judge_of(lab).grade(json.dumps(book).encode())
    assert {each.grade_id.partition("-")[2] for each in report.results if each.points} == {answers[0]["id"]}
