"""What the judge found: one result for each graded cell, and a report that can be stored and read again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class CellResult:
    """One graded cell.

    message:       for the student: never a line or an input of a hidden test.
    misconception: what the answer has in common with a catalogued mistake, in a sentence to the student.
    detail:        for the instructor only.
    kind:          "auto", or "manual" where a person gives the points.
    """

    grade_id: str
    points: float
    max_points: float
    passed: bool
    message: str = ""
    misconception: str | None = None
    detail: str = ""
    seconds: float = 0.0
    kind: str = "auto"


@dataclass(frozen=True)
class Report:
    """One submission, judged.

    lab, digest: of the lab; a digest of the notebook, its catalogues and the library together.
    results:     in the order of the lab.
    error:       why nothing could be judged, such as a file that is no notebook; None where all was.
    seconds:     wall time.
    seed:        what the random tests drew from; ``Judge.grade(..., seed=...)`` repeats them. For the instructor.
    log:         what happened to the student's cells, one sentence each. For the instructor.
    """

    lab: str
    digest: str
    results: tuple[CellResult, ...]
    error: str | None = None
    seconds: float = 0.0
    seed: int = 0
    log: tuple[str, ...] = ()

    @property
    def points(self) -> float:
        return sum(result.points for result in self.results)

    @property
    def max_points(self) -> float:
        return sum(result.max_points for result in self.results)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "points": self.points, "max_points": self.max_points}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        stored: dict[str, Any] = json.loads(text)
        results = tuple(CellResult(**each) for each in stored["results"])
        known = {key: stored[key] for key in ("lab", "digest", "error", "seconds", "seed")}
        return cls(results=results, log=tuple(stored["log"]), **known)
