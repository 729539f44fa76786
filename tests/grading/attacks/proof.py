"""What every attack is held to: no marks, nothing shown, nobody left, the judge alive."""

# the text of an attack stands on one line

from __future__ import annotations

import html
import re
import time
from dataclasses import dataclass, field, replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import psutil
from attack import LEAK, RACE, Attack, solved_path
from nbconvert.exporters import HTMLExporter

from frugal.authoring.percent import read_source
from frugal.authoring.stage import secrets
from frugal.authoring.tree import Tree
from frugal.grading import shown
from frugal.grading.errors import JudgeBroken
from frugal.grading.feedback import page, render
from frugal.grading.judge import Judge
from frugal.grading.limits import Limits
from frugal.grading.verdict import Report

SECOND = Limits(call_seconds=1.0, test_seconds=4.0, submission_seconds=20.0, memory_bytes=1 << 30, respawns=2)
SLOW_TESTS = replace(SECOND, test_seconds=20.0, submission_seconds=60.0)  # its tests compile and race kernels
MARKS = (Path("/tmp/frugal-owned"), Path("/tmp/owned"))


def limits_of(lab: str) -> Limits:
    return SLOW_TESTS if lab == RACE else SECOND


@dataclass
class Outcome:
    """What came of one attack; ``wrong`` says everything that it got."""

    attack: Attack
    report: Report | None = None
    seconds: float = 0.0
    crashed: str = ""
    leaks: list[str] = field(default_factory=list)
    acts: list[str] = field(default_factory=list)
    survivors: int = 0

    @property
    def stolen(self) -> float:
        results = self.report.results if self.report else ()
        return sum(each.points for each in results if not self.attack.own or each.grade_id.startswith("hidden"))

    @property
    def wrong(self) -> list[str]:
        found = [f"earned {self.stolen:g} points"] if self.stolen else []
        found += [f"the judge broke: {self.crashed}"] if self.crashed else []
        found += [f"showed {leak!r}" for leak in self.leaks]
        found += [f"a page acts: {each}" for each in self.acts]
        return found + ([f"{self.survivors} processes left"] if self.survivors else [])


def launch(judge: Judge, attack: Attack) -> Outcome:
    """Hand an attack in and look at all that came of it."""
    outcome = Outcome(attack)
    content = attack.notebook()
    before = family()
    began = time.monotonic()
    try:
        outcome.report = judge.grade(content)
    except JudgeBroken as broken:
        outcome.crashed = str(broken)[-400:]
    outcome.seconds = time.monotonic() - began
    outcome.survivors = left(before)
    if outcome.report:
        outcome.leaks = list(leaks(attack, outcome.report))
        try:
            outcome.acts = acts(attack, content, outcome.report)
        except Exception as error:
            outcome.crashed = f"showing it ends in {type(error).__name__}: {error}"[:400]
    outcome.acts += [f"{path} was written" for path in MARKS if path.exists()]
    return outcome


# ---- processes -------------------------------------------------------------------------------------------------------


def family() -> set[int]:
    return {each.pid for each in psutil.Process().children(recursive=True)}


def left(before: set[int], seconds: float = 10.0) -> int:
    """Count the processes that are there after a submission and were not before it; they get a moment to go."""
    until = time.monotonic() + seconds
    while True:
        more = [each for each in family() - before if _lives(each)]
        if not more or time.monotonic() > until:
            return len(more)
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ---- what is shown ---------------------------------------------------------------------------------------------------


def leaks(attack: Attack, report: Report) -> list[str]:
    """Find hidden lines in all that a report says, and stolen words in what a student gets to read."""
    told = "\n".join(words(report))
    found = [line for line in hidden_lines(attack.lab) if line in " ".join(told.split())]
    for result in report.results:
        said = f"{result.message} {result.misconception}"
        visible = result.grade_id.startswith("test-")
        inputs = (
            attack.id.startswith("tell-") or attack.id == "N-print-inputs"
        )  # of a visible check, which stand in the lab
        if (LEAK.strip(":") in said and not (visible and inputs)) or "TOOK" in said:
            found.append(said[:200])
    if not inputs_only(attack) and LEAK in told:
        found.append("stolen words in the report")
    return found


def words(report: Report) -> list[str]:
    """Return every text of a report, an instructor's as well."""
    parts = [report.error or "", *report.log]
    return parts + [str(part) for each in report.results for part in (each.message, each.misconception, each.detail)]


def inputs_only(attack: Attack) -> bool:
    return attack.id.startswith(("tell-", "N-print-inputs", "N-line"))


@cache
def hidden_lines(lab: str) -> tuple[str, ...]:
    cells = read_source(Tree.find().lab_source(lab))
    return tuple(line for line, owner in secrets(cells).items() if owner.startswith("hidden-"))


@cache
def _solved(lab: str):
    return shown.read(solved_path(lab))


class _Acting(HTMLParser):
    """Collects what in a page could act or call out."""

    TAGS = ("script", "iframe", "object", "embed", "svg", "form", "base", "link", "meta", "style", "math")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in self.TAGS:
            self.found.append(tag)
        self.found += [f"{n}={v}" for n, v in attributes if n.startswith("on") or "javascript:" in (v or "")]
        self.found += [f"{n}={v}" for n, v in attributes if n in ("src", "style", "srcset") and "evil" in (v or "")]


def acting(markup: str) -> list[str]:
    parser = _Acting()
    parser.feed(markup)
    return parser.found


def acts(attack: Attack, content: bytes, report: Report) -> list[str]:
    """Write the pages that student and instructor see, as bytes on a disk, and find what in them acts."""
    feedback = render(page(_solved(attack.lab), report, "ada"))
    feedback.encode()
    report.to_json().encode()
    body = feedback[feedback.index("<body") :]
    found = acting(body)
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
    found += [f"feedback shows {line!r}" for line in hidden_lines(attack.lab) if line in text]
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", feedback):
        found.append("control characters in the feedback")
    if attack.kind == "browser" and report.error is None:
        import nbformat

        book = shown.shown(content, _solved(attack.lab), None, report)
        nbformat.writes(book).encode()
        made, _ = HTMLExporter().from_notebook_node(book)
        main = made[made.index("<main") : made.index("</main>")]
        ours, _ = HTMLExporter().from_notebook_node(_plain(attack.lab))
        usual = acting(ours[ours.index("<main") : ours.index("</main>")])
        found += [each for each in acting(main) if each not in usual]
    return found


@cache
def _plain(lab: str):
    return _solved(lab)
