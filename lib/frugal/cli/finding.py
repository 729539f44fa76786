"""One answer of the doctor: what was looked at, what was found, what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "problem"]

# The headings of the report.
COURSE, SPEED, DATA, MARKING = "To follow the course", "For speed", "Data and counters", "To mark, and to develop"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    group: the heading it stands under.
    name:  what was looked at, a word or two.
    state: "ok"; "missing": something works less well or not at all, the course goes on; "problem": it does not.
    found: what was found.
    then:  what it means and what to do next; empty when all is well.
    """

    group: str
    name: str
    state: State
    found: str
    then: str = ""
