"""Mark a class: collect, judge, write down, enter, show. Every step may be the last before a power cut.

    collect --> journal knows it? --no--> judge (pool) --> journal --> gradebook --> Formgrader's notebook, feedback
                       `--------------yes------------------^

A report is in the journal before it is in the gradebook, and the gradebook changes a student at a time. So a run that
is started again does what is left, and doing a step twice changes nothing.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from frugal.grading import journal as journals
from frugal.grading import shown
from frugal.grading.collect import Refusal, Refused, Submission, collect
from frugal.grading.feedback import exercise, page, render
from frugal.grading.gradebook import Book, grade_id
from frugal.grading.journal import Journal
from frugal.grading.pool import Bench, Outcome, judge_all, judge_on_cluster
from frugal.grading.verdict import Report


@dataclass(frozen=True)
class Order:
    """What is to be marked, with what, and where the results go.

    solved, release: the lab's notebooks, with tests and as handed out.
    submitted:       what `collect` understands.
    journal:         a JSON-lines file; keep it, and nothing is judged twice.
    db_url:          of the gradebook.
    autograded:      nbgrader's folder for Formgrader.
    feedback:        a folder for the students' pages, or None.
    kept:            where what came through nbgrader's exchange is copied to, so that feedback finds its way back.
    jobs, scheduler: processes here, or the address of a Dask scheduler.
    force:           judge also what was judged before.
    """

    solved: Path
    submitted: Path
    journal: Path
    db_url: str
    bench: Bench
    release: Path | None = None
    autograded: Path | None = None
    feedback: Path | None = None
    kept: Path | None = None
    jobs: int = 1
    scheduler: str = ""
    force: bool = False

    @property
    def lab(self) -> str:
        return self.solved.stem


@dataclass(frozen=True)
class Row:
    """One line of the report.

    status: "judged", "unchanged" since an earlier run, "refused" as it cannot be read, or "failed" on our side.
    """

    where: str
    status: str
    student: str = ""
    points: float | None = None
    max_points: float | None = None
    seconds: float = 0.0
    note: str = ""

    @property
    def read(self) -> bool:
        return self.status in ("judged", "unchanged")


@dataclass(frozen=True)
class _Item:
    submission: Submission
    notebook: bytes
    key: str


class Marking:
    """A run over one class. Iterate over ``rows`` to do it."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.submissions, self.refusals = collect(order.submitted, order.lab)
        self.solved = shown.read(order.solved)
        self.release = shown.read(order.release) if order.release and order.release.is_file() else None

    def __len__(self) -> int:
        return len(self.submissions) + len(self.refusals)

    def rows(self) -> Iterator[Row]:
        """Mark everything; a row for each submission as it is done."""
        order = self.order
        with Journal(order.journal) as self.journal, Book(order.db_url, order.lab) as self.book:
            self.book.declare(self.solved, self.release)
            self.journal.write("begun", lab=order.lab, digest=order.bench.digest, submissions=len(self))
            for refusal in self.refusals:
                yield self._refuse(refusal)
            fresh: list[Submission] = []
            for submission in self.submissions:
                row = self._known(submission)
                if row is None:
                    fresh.append(submission)
                else:
                    yield row
            refused: list[Row] = []
            items = self._items(fresh, refused)
            outcomes: Iterator[Outcome[_Item]]
            if order.scheduler:
                outcomes = judge_on_cluster(items, _content, order.bench, address=order.scheduler)
            else:
                outcomes = judge_all(items, _content, order.bench, jobs=order.jobs)
            for outcome in outcomes:
                yield self._judged(outcome)
            yield from refused
            self.journal.write("ended", lab=order.lab, submissions=len(self))

    def _key(self, notebook: bytes) -> str:
        bench = self.order.bench
        return journals.key(notebook, bench.digest if bench.seed is None else f"{bench.digest} {bench.seed}")

    def _known(self, submission: Submission) -> Row | None:
        """Settle a submission that an earlier run judged, or that cannot be read; None where it is to be judged."""
        try:
            notebook = submission.read()
        except Refused as refused:
            return self._refuse(Refusal(submission.where, str(refused), refused.student))
        key = self._key(notebook)
        report = None if self.order.force else self.journal.report(submission.student, key)
        if report is None:
            return None
        return self._settle(_Item(submission, notebook, key), report, "unchanged")

    def _items(self, submissions: list[Submission], refused: list[Row]) -> Iterator[_Item]:
        """Read submissions one by one as they are drawn; the key is that of the bytes that are judged."""
        for submission in submissions:
            try:
                notebook = submission.read()
            except Refused as gone:  # it was readable a moment ago
                refused.append(self._refuse(Refusal(submission.where, str(gone), gone.student)))
                continue
            yield _Item(submission, notebook, self._key(notebook))

    # ---- one submission ----------------------------------------------------------------------------------------------

    def _judged(self, outcome: Outcome[_Item]) -> Row:
        submission = outcome.item.submission
        if outcome.report is None:
            self.journal.write("failed", student=submission.student, where=submission.where, reason=outcome.trouble)
            reason = "Your submission could not be marked yet, for a reason on our side. You need do nothing."
            self.book.void(submission.student, reason, received=submission.received)
            return Row(submission.where, "failed", submission.student, note=outcome.trouble)
        self.journal.judged(submission.student, outcome.item.key, outcome.report)
        return self._settle(outcome.item, outcome.report, "judged")

    def _refuse(self, refusal: Refusal) -> Row:
        """Write down what is not read; the marks of the student go only where the submission is surely theirs."""
        if refusal.student:
            fresh = self.journal.has_marks(refusal.student)
            told = f"Your submission could not be read: {refusal.reason}."
            self.book.void(refusal.student, told, fresh=fresh)
            if self.order.feedback:
                report = Report(self.order.lab, "", (), error=told)
                self._write_feedback(refusal.student, report, "")
        self.journal.write("refused", student=refusal.student, where=refusal.where, reason=refusal.reason)
        return Row(refusal.where, "refused", refusal.student, note=refusal.reason)

    def _settle(self, item: _Item, report: Report, status: str) -> Row:
        """Bring the gradebook, Formgrader's notebook and the feedback to what a report says."""
        submission, student = item.submission, item.submission.student
        if report.error is not None:
            return self._refuse(Refusal(submission.where, report.error, student))
        scores = self._scores(item.notebook, report)
        fresh = not self.journal.is_marked(student, item.key, self.book.name)
        standings = {} if fresh else self.book.standings(student)
        if fresh or {name: each.auto for name, each in standings.items()} != scores:
            comments = self._comments(report, scores)
            self.book.mark(student, scores, comments, fresh=fresh, received=submission.received)
            self.journal.write("marked", durable=True, student=student, key=item.key, book=self.book.name)
            standings = {}
        if submission.beside:
            self._keep(item, submission.beside())
        if self.order.autograded:
            self._write_shown(item, report, fresh)
        if self.order.feedback:
            self._write_feedback(
                student, report, submission.received.isoformat(" ", "minutes") if submission.received else ""
            )
        return Row(submission.where, status, student, report.points, report.max_points, report.seconds, submission.note)

    def _scores(self, notebook: bytes, report: Report) -> dict[str, float | None]:
        """Return the automatic score of each cell; a manual answer that is still the stub has 0, others wait."""
        stubs = {grade_id(cell): cell.source for cell in (self.release.cells if self.release else [])}
        answers = {}
        if any(result.kind != "auto" for result in report.results):
            answers = {grade_id(cell): shown.source(cell) for cell in json.loads(notebook)["cells"]}
        scores: dict[str, float | None] = {}
        for result in report.results:
            name = result.grade_id
            if result.kind == "auto":
                scores[name] = result.points
            else:
                scores[name] = 0.0 if answers.get(name, stubs.get(name)) == stubs.get(name, "") else None
        return scores

    def _comments(self, report: Report, scores: dict[str, float | None]) -> dict[str, str]:
        lines: dict[str, list[str]] = {}
        for result in report.results:
            told = "" if result.passed else shown.tell(result) if result.kind == "auto" else ""
            if result.kind != "auto" and scores.get(result.grade_id) is not None:
                told = "No response."
            if told:
                lines.setdefault(exercise(result.grade_id), []).append(told)
        return {name: "\n".join(dict.fromkeys(told)) for name, told in lines.items()}

    # ---- files -------------------------------------------------------------------------------------------------------

    def _keep(self, item: _Item, beside: dict[str, bytes]) -> None:
        """Put copies to where nbgrader looks.

        Its release_feedback wants the student's own files beside the page; its lists take a submission for marked where
        the time in the submitted folder is the gradebook's.
        """
        assert item.submission.received is not None, "inbound, the system's clock is asked"
        stamp = _stamp(item.submission.received).encode()
        kept = {f"{self.order.lab}.ipynb": item.notebook, **beside, "timestamp.txt": stamp}
        for folder, files in ((self.order.kept, kept), (self.order.feedback, beside)):
            for name, content in files.items():
                if folder:
                    _write(folder / item.submission.student / self.order.lab / name, content)

    def _write_shown(self, item: _Item, report: Report, fresh: bool) -> None:
        import nbformat

        assert self.order.autograded is not None, "asked for by the caller"
        folder = self.order.autograded / item.submission.student / self.order.lab
        path = folder / f"{self.order.lab}.ipynb"
        if fresh or not path.is_file():
            book = shown.shown(item.notebook, self.solved, self.release, report)
            _write(path, nbformat.writes(book))
            if item.submission.received:
                _write(folder / "timestamp.txt", _stamp(item.submission.received))

    def _write_feedback(self, student: str, report: Report, received: str) -> None:
        assert self.order.feedback is not None, "asked for by the caller"
        made = page(
            self.solved,
            report,
            student,
            standings=self.book.standings(student),
            said=self.book.comments(student),
            received=received,
        )
        _write(self.order.feedback / student / self.order.lab / f"{self.order.lab}.html", render(made))


def _content(item: _Item) -> bytes:
    return item.notebook


def _stamp(time: datetime.datetime) -> str:
    return f"{time.isoformat(' ')} UTC"


def _write(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, and never through a link that lies there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)
