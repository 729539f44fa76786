"""nbgrader's gradebook, written by one hand: a student at a time, all of a student's cells in one transaction.

nbgrader commits after every cell and opens the database anew for every step, so a run that is stopped leaves half a
student. Here a student's marks change together or not at all. What a person entered, manual scores, extra credit and
manual comments, is never touched. A submission that could not be judged takes its old automatic scores with it: the
cells are open again, and a comment says why.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import nbformat
from alembic.script import ScriptDirectory
from nbgrader import api, dbutil
from nbgrader.preprocessors import ComputeChecksums, LockCells, SaveCells
from sqlalchemy import Connection, case, create_engine, insert, inspect, select, text, update
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from frugal.core.errors import FrugalError

TRIES = 6  # for a database that somebody else is writing to: 0.1, 0.2, 0.4 ... seconds apart


class GradebookMismatch(FrugalError, ValueError):
    """The gradebook cannot be opened, or does not fit the lab; the message says how to go on."""


@dataclass(frozen=True)
class Standing:
    """What the gradebook holds for one cell of one student; None where nothing was entered."""

    auto: float | None
    manual: float | None
    extra: float | None
    open: bool
    max_points: float

    @property
    def points(self) -> float:
        counts = self.manual if self.manual is not None else self.auto
        return 0.0 if counts is None else counts + (self.extra or 0.0)


class Book:
    """The gradebook of one lab.

    Args:
        url: SQLAlchemy's, ``sqlite:////path/gradebook.db`` or ``postgresql+psycopg2://user@host/name``.
        lab: name of the assignment and of its only notebook.
        course: nbgrader's course id.
    """

    def __init__(self, url: str, lab: str, course: str = "frugal") -> None:
        self.lab = lab
        try:
            _prepare(url)
            self._book = api.Gradebook(url, course)
        except ModuleNotFoundError as error:
            raise GradebookMismatch(f"this gradebook needs the package {error.name}; install it") from None
        except (ArgumentError, NoSuchModuleError, OperationalError) as error:
            reason = str(error).splitlines()[0]
            raise GradebookMismatch(f"the gradebook cannot be opened: {reason}; see --db-url") from None
        self._engine = self._book.engine
        self.name = hashlib.sha256(self._engine.url.render_as_string(hide_password=True).encode()).hexdigest()[:12]
        self._graded: dict[str, str] = {}  # cell's name -> id
        self._commented: dict[str, str] = {}
        self._assignment = self._notebook = ""

    def close(self) -> None:
        self._book.close()

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the lab -----------------------------------------------------------------------------------------------------

    def declare(self, solved: nbformat.NotebookNode, release: nbformat.NotebookNode | None = None) -> None:
        """Enter the lab's cells, as nbgrader's own release does; nothing is written where they already stand.

        Args:
            solved: the lab with its tests.
            release: what students got: a manually graded answer that is still its stub counts as not answered.

        Raises:
            GradebookMismatch: the lab's cells changed after submissions were marked.
        """
        stubs = {name: cell.source for cell in (release.cells if release else []) if (name := grade_id(cell))}
        book = nbformat.from_dict(json.loads(json.dumps(solved)))
        for cell in book.cells:
            if cell.metadata.get("nbgrader", {}).get("solution") and grade_id(cell) in stubs:
                cell.source = stubs[grade_id(cell)]
        resources = {"nbgrader": {"assignment": self.lab, "notebook": self.lab, "db_url": self._url()}}
        for step in (LockCells(), ComputeChecksums()):
            book, _ = step.preprocess(book, resources)
        if self._declared() != _cells(book):
            self._book.update_or_create_assignment(self.lab, course_id=self._book.course_id)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    SaveCells().preprocess(book, resources)
            except RuntimeError:
                raise GradebookMismatch(
                    f"the cells of {self.lab} are not those that its marks stand for. Export the marks "
                    f"(`python -m nbgrader export`), then take the old lab out of the gradebook "
                    f"(`python -m nbgrader db assignment remove {self.lab} --force`) and mark again"
                ) from None
        self._remember()

    def _url(self) -> str:
        return self._engine.url.render_as_string(hide_password=False)

    def _declared(self) -> dict[str, tuple[Any, ...]]:
        cells = (
            select(api.SourceCell.name, api.SourceCell.source, api.SourceCell.checksum, api.SourceCell.locked)
            .join(api.Notebook, api.Notebook.id == api.SourceCell.notebook_id)
            .join(api.Assignment, api.Assignment.id == api.Notebook.assignment_id)
            .where(api.Assignment.name == self.lab, api.Notebook.name == self.lab)
        )
        with self._engine.connect() as connection:
            return {row.name: (row.source, row.checksum, row.locked) for row in connection.execute(cells)}

    def _remember(self) -> None:
        with self._engine.connect() as connection:
            self._assignment, self._notebook = connection.execute(
                select(api.Assignment.id, api.Notebook.id)
                .join(api.Notebook, api.Notebook.assignment_id == api.Assignment.id)
                .where(api.Assignment.name == self.lab, api.Notebook.name == self.lab)
            ).one()
            base = api.BaseCell.__table__
            for row in connection.execute(
                select(base.c.id, base.c.name, base.c.type).where(base.c.notebook_id == self._notebook)
            ):
                if row.type in ("GradeCell", "TaskCell"):
                    self._graded[row.name] = row.id
                if row.type in ("SolutionCell", "TaskCell"):
                    self._commented[row.name] = row.id

    # ---- a student ---------------------------------------------------------------------------------------------------

    def mark(
        self,
        student: str,
        scores: Mapping[str, float | None],
        comments: Mapping[str, str],
        *,
        fresh: bool = True,
        received: datetime.datetime | None = None,
    ) -> None:
        """Write everything that a submission earned.

        Args:
            fresh: the answer is a new one, so a person looks again at what they had scored by hand.
            scores: points of each cell; None where a person has to give them. A cell that is not named becomes open.
            comments: what to tell the student at a solution cell.
            received: when it came in, UTC.
        """
        with self._transaction() as connection:
            notebook = self._submission(connection, student, received)
            grades = api.Grade.__table__
            rows = connection.execute(select(grades).where(grades.c.notebook_id == notebook)).all()
            standing = {row.cell_id: row for row in rows}
            for name, cell in self._graded.items():
                score, row = scores.get(name), standing[cell]
                by_hand = row.manual_score is not None
                changed = fresh or row.auto_score != score
                open_again = (changed or row.needs_manual_grade) if by_hand else score is None
                connection.execute(
                    update(grades)
                    .where(grades.c.id == row.id)
                    .values(auto_score=score, needs_manual_grade=bool(open_again))
                )
            self._comment(connection, notebook, comments)

    def void(self, student: str, reason: str, *, fresh: bool = True, received: datetime.datetime | None = None) -> None:
        """Take back the automatic scores of a submission that could not be judged, and say why."""
        with self._transaction() as connection:
            notebook = self._submission(connection, student, received)
            grades = api.Grade.__table__
            to_see = True if fresh else case((grades.c.manual_score.is_(None), True), else_=grades.c.needs_manual_grade)
            connection.execute(
                update(grades)
                .where(grades.c.notebook_id == notebook)
                .values(auto_score=None, needs_manual_grade=to_see)
            )
            self._comment(connection, notebook, dict.fromkeys(self._commented, reason))

    def standings(self, student: str) -> dict[str, Standing]:
        """Return what stands for each graded cell of a student; empty where nothing was handed in."""
        grades, base, points = api.Grade.__table__, api.BaseCell.__table__, self._max_points()
        with self._engine.connect() as connection:
            notebook = self._find(connection, student)
            if notebook is None:
                return {}
            rows = connection.execute(
                select(base.c.name, grades)
                .join(base, base.c.id == grades.c.cell_id)
                .where(grades.c.notebook_id == notebook)
            ).all()
        return {
            row.name: Standing(
                row.auto_score, row.manual_score, row.extra_credit, row.needs_manual_grade, points[row.name]
            )
            for row in rows
        }

    def comments(self, student: str) -> dict[str, str]:
        """Return what a person wrote to a student, by the cell it is written at."""
        comments, base = api.Comment.__table__, api.BaseCell.__table__
        with self._engine.connect() as connection:
            notebook = self._find(connection, student)
            rows = connection.execute(
                select(base.c.name, comments.c.manual_comment)
                .join(base, base.c.id == comments.c.cell_id)
                .where(comments.c.notebook_id == notebook, comments.c.manual_comment.is_not(None))
            )
            return {row.name: row.manual_comment for row in rows}

    # ---- steps of a transaction --------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Begin a transaction, waiting for somebody else's to end; commit it, or leave everything as it was."""
        with self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                _begin_writing(connection)
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def _find(self, connection: Connection, student: str) -> str | None:
        found = (
            select(api.SubmittedNotebook.id)
            .join(api.SubmittedAssignment, api.SubmittedAssignment.id == api.SubmittedNotebook.assignment_id)
            .where(
                api.SubmittedAssignment.assignment_id == self._assignment,
                api.SubmittedAssignment.student_id == student,
                api.SubmittedNotebook.notebook_id == self._notebook,
            )
        )
        return connection.execute(found).scalar_one_or_none()

    def _submission(self, connection: Connection, student: str, received: datetime.datetime | None) -> str:
        """Return the id of a student's notebook in the gradebook, made with its empty rows where it is new."""
        notebook = self._find(connection, student)
        handed = api.SubmittedAssignment.__table__
        if notebook is None:
            students = api.Student.__table__
            if connection.execute(select(students.c.id).where(students.c.id == student)).first() is None:
                connection.execute(insert(students).values(id=student))
            submission, notebook = uuid4().hex, uuid4().hex
            connection.execute(insert(handed).values(id=submission, assignment_id=self._assignment, student_id=student))
            connection.execute(
                insert(api.SubmittedNotebook.__table__).values(
                    id=notebook, assignment_id=submission, notebook_id=self._notebook, flagged=False
                )
            )
            for table, cells in ((api.Grade, self._graded), (api.Comment, self._commented)):
                extra = {"needs_manual_grade": True} if table is api.Grade else {}
                rows = [
                    {"id": uuid4().hex, "notebook_id": notebook, "cell_id": cell, **extra} for cell in cells.values()
                ]
                if rows:
                    connection.execute(insert(table.__table__), rows)
        if received is not None:
            connection.execute(
                update(handed)
                .where(handed.c.assignment_id == self._assignment, handed.c.student_id == student)
                .values(timestamp=received)
            )
        return notebook

    def _comment(self, connection: Connection, notebook: str, comments: Mapping[str, str]) -> None:
        table = api.Comment.__table__
        for name, cell in self._commented.items():
            connection.execute(
                update(table)
                .where(table.c.notebook_id == notebook, table.c.cell_id == cell)
                .values(auto_comment=comments.get(name) or None)
            )

    def _max_points(self) -> dict[str, float]:
        found: dict[str, float] = {}
        with self._engine.connect() as connection:
            for kind in (api.GradeCell, api.TaskCell):
                own, base = kind.__table__, api.BaseCell.__table__
                rows = connection.execute(
                    select(base.c.name, own.c.max_score)
                    .join(base, base.c.id == own.c.id)
                    .where(base.c.notebook_id == self._notebook)
                )
                found |= {row.name: row.max_score for row in rows}
        return found


def _prepare(url: str) -> None:
    """Make an empty database nbgrader's, in one transaction.

    nbgrader itself asks a program `alembic` on the PATH for its version, and where there is none leaves tables that
    nothing can upgrade. A database that was left so is completed.
    """
    engine = create_engine(url)
    try:
        tables = inspect(engine).get_table_names()
        if tables and "alembic_version" in tables:
            return
        with engine.begin() as connection:
            api.Base.metadata.create_all(connection)
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
            heads = ScriptDirectory(dbutil.ALEMBIC_DIR).get_heads()
            connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": heads[0]})
    finally:
        engine.dispose()


def _begin_writing(connection: Connection) -> None:
    """Take SQLite's only writer's place before the first change, waiting for whoever has it."""
    for turn in range(TRIES):
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return
        except OperationalError:
            connection.rollback()
            if turn == TRIES - 1:
                raise
            time.sleep(0.1 * 2**turn)


def grade_id(cell: Mapping[str, Any]) -> str:
    """Return the name that nbgrader knows a cell by, or ""."""
    metadata = cell.get("metadata")
    grading = metadata.get("nbgrader") if isinstance(metadata, Mapping) else None
    name = grading.get("grade_id") if isinstance(grading, Mapping) else None
    return name if isinstance(name, str) else ""


def _cells(book: nbformat.NotebookNode) -> dict[str, tuple[Any, ...]]:
    found = {}
    for cell in book.cells:
        if name := grade_id(cell):
            grading = cell.metadata.nbgrader
            found[name] = (cell.source, grading.get("checksum"), bool(grading.get("locked")))
    return found
