"""The page that a student gets back: points, messages and named mistakes for each exercise, in one file.

It works without a network, runs no script, and shows everything as text. What a hidden test did or was given is not on
it: a message comes from the judge, which lets no line and no input of a hidden test into one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode

from frugal.grading.gradebook import Standing, grade_id
from frugal.grading.verdict import Report

_HEADING = re.compile(r"^#{1,6}\s+(.*\S)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """One exercise of a page."""

    title: str
    points: float
    max_points: float
    messages: tuple[str, ...] = ()
    misconceptions: tuple[str, ...] = ()
    said: str = ""
    open: bool = False

    @property
    def state(self) -> str:
        return "full" if self.points >= self.max_points else "some" if self.points > 0 else "none"


@dataclass(frozen=True)
class Page:
    """One student's feedback."""

    lab: str
    title: str
    student: str
    parts: tuple[Part, ...]
    received: str = ""
    trouble: str = ""

    @property
    def points(self) -> float:
        return sum(part.points for part in self.parts)

    @property
    def max_points(self) -> float:
        return sum(part.max_points for part in self.parts)

    @property
    def open(self) -> int:
        return sum(part.open for part in self.parts)


def page(
    lab: NotebookNode,
    report: Report,
    student: str,
    *,
    standings: Mapping[str, Standing] | None = None,
    said: Mapping[str, str] | None = None,
    received: str = "",
) -> Page:
    """Lay out a report, with the marks that stand in the gradebook and what a person said, where there are any.

    Args:
        lab: the lab's notebook, for the titles of exercises.
        standings, said: by cell; what a person entered counts before what the judge found.
    """
    standings, said = standings or {}, said or {}
    names = titles(lab)
    grouped: dict[str, list[Any]] = {}
    for result in report.results:
        grouped.setdefault(exercise(result.grade_id), []).append(result)
    parts = []
    for name, results in grouped.items():
        marks = [standings.get(result.grade_id) for result in results]
        shown = [result.points if mark is None else mark.points for result, mark in zip(results, marks, strict=True)]
        waits = [
            result.kind == "manual" if mark is None else mark.open and mark.manual is None
            for result, mark in zip(results, marks, strict=True)
        ]
        parts.append(
            Part(
                title=names.get(name, name.replace("_", " ")),
                points=sum(shown),
                max_points=sum(result.max_points for result in results),
                messages=_messages(result.message for result in results if not result.passed),
                misconceptions=_once(result.misconception for result in results),
                said="\n".join(_once([said.get(name, ""), *(said.get(result.grade_id, "") for result in results)])),
                open=any(waits),
            )
        )
    return Page(report.lab, names[""] or report.lab, student, tuple(parts), received, report.error or "")


def render(page: Page) -> str:
    """Write a page as HTML; every value is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    environment.filters["points"] = lambda value: f"{value:g}"
    return environment.get_template("feedback.html.j2").render(page=page)


def exercise(name: str) -> str:
    """Return the exercise that a graded cell belongs to.

    >>> exercise("test-quantize"), exercise("hidden-quantize"), exercise("essay")
    ('quantize', 'quantize', 'essay')
    """
    return re.sub(r"^(test|hidden)-", "", name)


def titles(lab: NotebookNode) -> dict[str, str]:
    """Return what the lab calls each exercise: the nearest heading above its cell; "" names the lab itself."""
    found, heading = {"": ""}, ""
    for cell in lab.cells:
        if cell.cell_type == "markdown" and (match := _HEADING.search(cell.source)):
            heading = re.sub(r"[*`$]", "", match[1])
            found[""] = found[""] or heading
        elif name := grade_id(cell):
            found.setdefault(exercise(name), heading or exercise(name).replace("_", " "))
    return found


def _messages(lines: Iterable[str]) -> tuple[str, ...]:
    """Return what to show of an exercise's messages: each once, and one sentence for an exercise left open."""
    kept = _once(lines)
    if kept and all("not attempted" in line.partition("\n")[0] for line in kept):
        return ("You have not answered this one yet.",)
    return kept


def _once(lines: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.strip() for line in lines if line and line.strip()))


# ---- for nbgrader's own command --------------------------------------------------------------------------------------


class FeedbackExporter(HTMLExporter):
    """Makes the same page where `nbgrader generate_feedback` asks for one, from the marked notebook."""

    def from_notebook_node(self, nb: NotebookNode, resources: Any = None, **kwargs: Any) -> tuple[str, dict[str, Any]]:
        nb, resources = super(HTMLExporter, self)._preprocess(nb, self._init_resources(resources))
        return render(page_of(nb, resources)), resources


def page_of(nb: NotebookNode, resources: Mapping[str, Any]) -> Page:
    """Read a page off a notebook that nbgrader has put scores and comments into."""
    about, names = resources.get("nbgrader", {}), titles(nb)
    grouped: dict[str, list[NotebookNode]] = {}
    for cell in nb.cells:
        if name := grade_id(cell):
            grouped.setdefault(exercise(name), []).append(cell)
    parts = []
    for name, cells in grouped.items():
        graded = [cell for cell in cells if cell.metadata.nbgrader.get("points") is not None]
        if not graded:
            continue
        errors = [out.evalue for cell in graded for out in cell.get("outputs", []) if out.output_type == "error"]
        said = [cell.metadata.nbgrader.get("comment") or "" for cell in cells]
        parts.append(
            Part(
                title=names.get(name, name),
                points=sum(cell.metadata.nbgrader.get("score") or 0.0 for cell in graded),
                max_points=sum(float(cell.metadata.nbgrader.points) for cell in graded),
                messages=_messages(errors),
                said="\n".join(line for line in _once(said) if line not in _once(errors)),
            )
        )
    lab = str(about.get("assignment", ""))
    return Page(lab, names[""] or lab, str(about.get("student", "")), tuple(parts))
