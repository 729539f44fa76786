"""The catalogues of a lab: wrong answers that must lose their points, right ones that must keep them.

solutions/wrong/<lab>/<exercise>.py    every public function is one wrong answer;
                                       its docstring says to the student what went wrong
solutions/right/<lab>/<exercise>.py    every public function is a right answer, each written differently
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from frugal.core.errors import SourceError


@dataclass(frozen=True)
class Answer:
    """One catalogued answer.

    name: of the function.
    says: the docstring's first sentence, told to the student.
    hint: the docstring's second paragraph, empty where there is none.
    """

    name: str
    says: str
    hint: str


@dataclass(frozen=True)
class Catalogue:
    """The answers in one file, and the text that defines them; empty where there is no file."""

    answers: tuple[Answer, ...] = ()
    text: str = ""


def read_catalogue(path: Path, *, told: bool) -> Catalogue:
    """Read a file of answers.

    Args:
        path: it may be missing; then there are no answers.
        told: whether each needs a docstring because students are told what it says.

    Raises:
        SourceError: a name twice, a missing sentence, or not Python.
    """
    if not path.is_file():
        return Catalogue()
    text = path.read_text(encoding="utf-8")
    where = f"{path.parent.parent.name}/{path.parent.name}/{path.name}"
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        raise SourceError(f"{where}:{error.lineno}: is not Python ({error.msg})") from None
    answers: dict[str, Answer] = {}
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if node.name in answers:
            raise SourceError(f"{where}:{node.lineno}: found {node.name!r} again; every answer has a name of its own")
        answers[node.name] = _answer(node, where, told)
    return Catalogue(tuple(answers.values()), text)


def _answer(node: ast.FunctionDef | ast.ClassDef, where: str, told: bool) -> Answer:
    paragraphs = [" ".join(part.split()) for part in (ast.get_docstring(node) or "").split("\n\n")]
    says, hint = paragraphs[0], paragraphs[1] if len(paragraphs) > 1 else ""
    if told and not says.endswith((".", "?")):
        raise SourceError(
            f"{where}:{node.lineno}: {node.name} says {says!r}; its docstring begins with a sentence to the student, "
            'such as "Your codes are cut towards zero instead of rounded to the nearest."'
        )
    return Answer(node.name, says, hint)
