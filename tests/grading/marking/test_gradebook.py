"""A student's marks change together or not at all, and never lose what a person entered."""

import datetime
import os
import shutil
import sqlite3
import subprocess
import tempfile
from pathlib import Path

import pytest
import small_lab
from nbgrader import api
from sqlalchemy.exc import OperationalError

from frugal.grading import gradebook, shown
from frugal.grading.gradebook import Book, GradebookMismatch

LAB = small_lab.LAB
EARNED = {"test-double": 1.0, "hidden-double": 0.0, "essay": None}


def open_book(url, lab):
    book = Book(url, LAB)
    book.declare(*map(shown.read, lab))
    return book


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'gradebook.db'}"


@pytest.fixture
def book(url, lab):
    with open_book(url, lab) as book:
        yield book


def by_hand(url, cell, **values):
    """Enter what a person enters in Formgrader."""
    with api.Gradebook(url) as theirs:
        if "manual_comment" in values:
            entry = theirs.find_comment(cell, LAB, LAB, "ada")
        else:
            entry = theirs.find_grade(cell, LAB, LAB, "ada")
        for name, value in values.items():
            setattr(entry, name, value)
        theirs.db.commit()


def test_nbgrader_reads_the_marks_the_comment_and_the_time(book, url):
    noon = datetime.datetime(2026, 11, 23, 12)
    book.mark("ada", EARNED, {"double": "twice 2 is 4"}, received=noon)
    with api.Gradebook(url) as theirs:
        submission = theirs.find_submission(LAB, "ada")
        assert (submission.score, submission.max_score, submission.timestamp) == (1.0, 7.0, noon)
        assert submission.needs_manual_grade
        assert theirs.find_comment("double", LAB, LAB, "ada").comment == "twice 2 is 4"
        open_cells = {grade.name for grade in submission.notebooks[0].grades if grade.needs_manual_grade}
        assert open_cells == {"essay"}


def test_marking_twice_doubles_nothing(book, url):
    for _ in range(2):
        book.mark("ada", EARNED, {})
    with api.Gradebook(url) as theirs:
        assert len(theirs.students) == 1
        assert len(theirs.assignment_submissions(LAB)) == 1
        assert len(theirs.find_submission(LAB, "ada").notebooks[0].grades) == 3


def test_what_a_person_entered_stays(book, url):
    book.mark("ada", EARNED, {"double": "automatic"})
    by_hand(url, "essay", manual_score=3.5, extra_credit=0.5, needs_manual_grade=False)
    by_hand(url, "double", manual_comment="well argued")
    book.mark("ada", EARNED, {"double": "automatic"}, fresh=False)
    standing = book.standings("ada")["essay"]
    assert (standing.points, standing.open) == (4.0, False)
    assert book.comments("ada") == {"double": "well argued"}


def test_a_new_answer_shows_the_hand_marked_cell_to_the_grader_again(book, url):
    book.mark("ada", EARNED, {})
    by_hand(url, "essay", manual_score=3.5, needs_manual_grade=False)
    book.mark("ada", EARNED, {}, fresh=True)
    assert book.standings("ada")["essay"] == gradebook.Standing(None, 3.5, None, True, 4.0)


def test_a_submission_that_can_no_longer_be_judged_leaves_no_old_score(book, url):
    book.mark("ada", EARNED, {})
    book.void("ada", "the file is empty")
    standing = book.standings("ada")
    assert all(each.auto is None and each.open for each in standing.values())
    with api.Gradebook(url) as theirs:
        assert theirs.find_submission(LAB, "ada").score == 0
        assert theirs.find_comment("double", LAB, LAB, "ada").comment == "the file is empty"


def test_a_failure_midway_changes_nothing(book, monkeypatch):
    book.mark("ada", EARNED, {"double": "before"})
    before = book.standings("ada")

    def power_cut(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(book, "_comment", power_cut)
    with pytest.raises(OSError, match="no space"):
        book.mark("ada", {"test-double": 0.0, "hidden-double": 2.0, "essay": 0.0}, {})
    with pytest.raises(OSError, match="no space"):
        book.mark("ben", EARNED, {})
    assert book.standings("ada") == before
    assert book.standings("ben") == {}


def test_another_program_that_writes_is_waited_for_and_not_for_ever(book, tmp_path, monkeypatch):
    other = sqlite3.connect(tmp_path / "gradebook.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waits = []
    monkeypatch.setattr(gradebook, "TRIES", 2)
    monkeypatch.setattr(gradebook.time, "sleep", lambda seconds: (waits.append(seconds), other.execute("ROLLBACK")))
    with book._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 10")
    book.mark("ada", EARNED, {})
    assert waits == [0.1]
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(gradebook.time, "sleep", waits.append)
    with book._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 10")
    with pytest.raises(OperationalError, match="locked"):
        book.mark("ben", EARNED, {})
    other.close()


def test_a_lab_whose_cells_changed_after_marking_is_refused_with_the_way_on(book, url, lab, tmp_path):
    book.mark("ada", EARNED, {})
    changed = shown.read(lab[0])
    changed.cells[3].metadata.nbgrader.grade_id = "test-renamed"
    with Book(url, LAB) as again, pytest.raises(GradebookMismatch, match="db assignment remove small"):
        again.declare(changed, None)


@pytest.mark.parametrize(
    "url", ["nonsense", "postgres+nodriver://x/y", "sqlite:////no/such/folder/gradebook.db", "mysql://u@h/d"]
)
def test_a_gradebook_that_cannot_be_opened_is_told(url):
    with pytest.raises(GradebookMismatch, match="gradebook"):
        Book(url, LAB)


def test_a_new_gradebook_needs_no_program_on_the_path_and_knows_its_version(url, lab, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    open_book(url, lab).close()
    database = sqlite3.connect(tmp_path / "gradebook.db")
    assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    database.execute("DROP TABLE alembic_version")  # what nbgrader leaves where `alembic` is not on the PATH
    open_book(url, lab).close()
    assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    database.close()


# ---- PostgreSQL, where there is one ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres():
    """A server of its own, on a socket in a folder that is thrown away; as `nobody` where we are root."""
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed: PostgreSQL cannot be reached")
    found = shutil.which("pg_ctl") or next(iter(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")))), "")
    if not found:
        pytest.skip("no PostgreSQL server on this machine")
    programs = Path(found).resolve().parent
    with tempfile.TemporaryDirectory(prefix="frugal-pg-") as folder:
        data = f"{folder}/data"
        about: dict = {"capture_output": True, "text": True, "timeout": 120}
        if os.getuid() == 0:
            shutil.chown(folder, "nobody")
            about["user"] = "nobody"

        def run(program, *words):
            done = subprocess.run([programs / program, *words], cwd=folder, **about)
            assert done.returncode == 0, done.stdout + done.stderr

        run("initdb", "-D", data, "-U", "marker", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg2://marker@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")


@pytest.mark.slow
def test_postgresql_holds_the_same_marks(postgres, lab):
    with open_book(postgres, lab) as book:
        book.mark("ada", EARNED, {"double": "twice 2 is 4"})
        by_hand(postgres, "essay", manual_score=3.5, needs_manual_grade=False)
        book.mark("ada", {**EARNED, "hidden-double": 2.0}, {}, fresh=False)
        book.void("ben", "the file is empty")
        points = {name: each.points for name, each in book.standings("ada").items()}
        assert points == {"test-double": 1.0, "hidden-double": 2.0, "essay": 3.5}
    with api.Gradebook(postgres) as theirs:
        assert theirs.find_submission(LAB, "ada").score == 6.5
        assert theirs.find_submission(LAB, "ben").needs_manual_grade
    with open_book(postgres, lab) as again:
        assert again.standings("ada")["essay"].manual == 3.5
