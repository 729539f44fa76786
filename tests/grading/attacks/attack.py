"""An attack on the judge as data, and the submission that carries it.

Every attack is made from a released lab, whose untouched answers earn nothing. So whatever an attack earns, it stole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
AFFINE, RACE = "lab_4_1_affine", "lab_4_6_race"
LEAK = "LEAKED:"  # what an attack puts before a stolen text, for the tests to search
Book = dict[str, Any]


@dataclass(frozen=True)
class Attack:
    """One submission that must earn nothing, show nothing and disturb nobody.

    id:      of ``reference/grading.md`` where it stands there, else a name.
    kind:    its class.
    says:    what it tries, in one sentence.
    answers: what stands in the cells of the exercises; the others keep their stubs.
    change:  what is done to the notebook after that.
    raw:     the whole file instead, where it is no notebook.
    lab:     the lab that it is handed in for.
    slow:    it runs into several time limits.
    own:     it answers the visible checks rightly, as anybody may who reads them: only hidden points would be stolen.
    """

    id: str
    kind: str
    says: str
    answers: Mapping[str, str] = field(default_factory=dict)
    change: Callable[[Book], None] | None = None
    raw: bytes | None = None
    lab: str = AFFINE
    slow: bool = False
    own: bool = False

    def notebook(self) -> bytes:
        """Return the file that is handed in."""
        if self.raw is not None:
            return self.raw
        book = released(self.lab)
        for cell in book["cells"]:
            if cell["id"] in self.answers:
                cell["source"] = self.answers[cell["id"]]
        if self.change:
            self.change(book)
        return json.dumps(book).encode()


def solved_path(lab: str) -> Path:
    return ROOT / "solutions" / f"{lab}.ipynb"


def released_path(lab: str) -> Path:
    return ROOT / "labs" / lab / f"{lab}.ipynb"


def released(lab: str) -> Book:
    return json.loads(_text(released_path(lab)))


def solved(lab: str) -> Book:
    return json.loads(_text(solved_path(lab)))


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def exercises(lab: str = AFFINE) -> list[str]:
    """Return the ids of the cells that students write."""
    return [cell["id"] for cell in released(lab)["cells"] if grading(cell).get("solution")]


def grading(cell: Book) -> Book:
    return cell["metadata"].get("nbgrader", {})


def first(code: str, lab: str = AFFINE) -> dict[str, str]:
    """Put code into the first exercise's cell, above its stub: it runs before everything of the student's."""
    name = exercises(lab)[0]
    stub = next(cell["source"] for cell in released(lab)["cells"] if cell["id"] == name)
    return {name: f"{_lines(code)}\n\n{stub if isinstance(stub, str) else ''.join(stub)}"}


def every(body: str, head: str = "", lab: str = AFFINE) -> dict[str, str]:
    """Give every exercise a function with this body, and the first cell some code above it."""
    made = {name: f"def {name}(*args, **kwargs):\n{_indented(body)}" for name in exercises(lab)}
    name = next(iter(made))
    return {**made, name: f"{_lines(head)}\n\n{made[name]}"}


def _lines(text: str) -> str:
    import textwrap

    return textwrap.dedent(text).strip("\n")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in _lines(text).splitlines())
