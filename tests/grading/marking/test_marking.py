"""A class is marked whole whatever happens to the marker, and a second run does only what is left."""

import datetime
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import small_lab
from nbgrader import api

from frugal.grading import shown
from frugal.grading.collect import parse_time
from frugal.grading.gradebook import Book
from frugal.grading.journal import Journal, JournalBusy
from frugal.grading.marking import Marking, Order
from frugal.grading.pool import Bench, LabDiffers

LAB = small_lab.LAB
BENCH = Bench("small.ipynb", "digest", opener="small_lab:opener", budget_s=5.0)


def hand_in(folder, **students):
    for name, content in students.items():
        path = folder / name / LAB / f"{LAB}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def order(tmp_path, lab):
    solved, release = lab
    return Order(
        solved=solved,
        release=release,
        submitted=tmp_path / "submitted",
        journal=tmp_path / "journal.jsonl",
        db_url=f"sqlite:///{tmp_path / 'gradebook.db'}",
        autograded=tmp_path / "autograded",
        feedback=tmp_path / "feedback",
        bench=BENCH,
        jobs=2,
    )


def mark(order):
    return {row.student or row.where: row for row in Marking(order).rows()}


def scores(order):
    with api.Gradebook(order.db_url) as book:
        return {each.student.id: each.score for each in book.assignment_submissions(LAB)}


def test_a_class_gets_its_marks_notebooks_and_pages(order):
    hand_in(
        order.submitted,
        ada=small_lab.submission("test", "hidden"),
        ben=small_lab.submission("test", essay="Because."),
        cleo=small_lab.submission(),
        dan=b"{",
    )
    rows = mark(order)
    assert {name: row.status for name, row in rows.items()} == {
        "ada": "judged", "ben": "judged", "cleo": "judged", "dan": "refused"
    }  # fmt: skip
    assert scores(order) == {"ada": 3.0, "ben": 1.0, "cleo": 0.0, "dan": 0.0}
    with Book(order.db_url, LAB) as book:
        book.declare(*map(shown.read, (order.solved, order.release)))
        assert {name: book.standings(name)["essay"].open for name in rows} == {
            "ada": False, "ben": True, "cleo": False, "dan": True
        }, "an untouched essay has 0 points, a written one waits for a person"  # fmt: skip
    for name in ("ada", "ben", "cleo"):
        assert (order.autograded / name / LAB / f"{LAB}.ipynb").is_file()
    for name in rows:
        assert (order.feedback / name / LAB / f"{LAB}.html").is_file()
    assert "could not be read" in (order.feedback / "dan" / LAB / f"{LAB}.html").read_text()


def test_what_has_not_changed_is_not_judged_again(order):
    hand_in(order.submitted, ada=small_lab.submission("test"), ben=small_lab.submission("hidden"))
    mark(order)
    hand_in(order.submitted, ben=small_lab.submission("test", "hidden"), cleo=small_lab.submission())
    assert {name: row.status for name, row in mark(order).items()} == {
        "ada": "unchanged", "ben": "judged", "cleo": "judged"
    }  # fmt: skip
    assert scores(order) == {"ada": 1.0, "ben": 3.0, "cleo": 0.0}
    other_lab = replace(order, bench=replace(BENCH, digest="the tests changed"))
    assert {row.status for row in mark(other_lab).values()} == {"judged"}
    assert {row.status for row in mark(replace(other_lab, force=True)).values()} == {"judged"}


def test_a_lost_gradebook_is_written_again_from_the_journal(order, tmp_path):
    hand_in(order.submitted, ada=small_lab.submission("test"))
    mark(order)
    (tmp_path / "gradebook.db").unlink()
    assert mark(order)["ada"].status == "unchanged"
    assert scores(order) == {"ada": 1.0}


def test_a_regrade_that_fails_leaves_no_old_mark_and_the_next_one_heals_it(order):
    hand_in(order.submitted, ada=small_lab.submission("test"), ben=small_lab.submission("test"))
    mark(order)
    hand_in(order.submitted, ada=small_lab.submission("raise"), ben=b"")
    rows = mark(order)
    assert (rows["ada"].status, rows["ben"].status) == ("failed", "refused")
    assert scores(order) == {"ada": 0.0, "ben": 0.0}
    hand_in(order.submitted, ada=small_lab.submission("test"), ben=small_lab.submission("test", "hidden"))
    mark(order)
    assert scores(order) == {"ada": 1.0, "ben": 3.0}


def test_a_lab_that_changes_during_a_run_ends_the_run_and_touches_no_mark(order):
    hand_in(order.submitted, ada=small_lab.submission("test"))
    mark(order)
    hand_in(order.submitted, ada=small_lab.submission("differs"))
    with pytest.raises(LabDiffers, match="changed since the run began"):
        mark(order)
    assert scores(order) == {"ada": 1.0}
    hand_in(order.submitted, ada=small_lab.submission("test", "hidden"))
    mark(order)
    assert scores(order) == {"ada": 3.0}


def test_a_mark_given_by_hand_survives_runs_and_is_shown_again_for_a_new_answer(order):
    hand_in(order.submitted, ada=small_lab.submission("test", essay="Because."))
    mark(order)
    with api.Gradebook(order.db_url) as book:
        grade = book.find_grade("essay", LAB, LAB, "ada")
        grade.manual_score, grade.needs_manual_grade = 4.0, False
        book.db.commit()
    mark(order)
    with api.Gradebook(order.db_url) as book:
        grade = book.find_grade("essay", LAB, LAB, "ada")
        assert (grade.manual_score, grade.needs_manual_grade) == (4.0, False)
    assert "5</b> of 7 points" in (order.feedback / "ada" / LAB / f"{LAB}.html").read_text()
    hand_in(order.submitted, ada=small_lab.submission("test", essay="Because of something else."))
    mark(order)
    with api.Gradebook(order.db_url) as book:
        grade = book.find_grade("essay", LAB, LAB, "ada")
        assert (grade.manual_score, grade.needs_manual_grade) == (4.0, True)


def test_no_hidden_line_is_in_a_page_or_in_the_journal(order):
    hand_in(order.submitted, ada=small_lab.submission(), ben=small_lab.submission("die"), cleo=b"{")
    mark(order)
    files = [order.journal, *order.feedback.rglob("*.html")]
    assert len(files) == 3
    for path in files:
        assert "1234567" not in path.read_text()


CLASS = 24
KILLS = """
import sys
sys.path.insert(0, {here!r})
if __name__ == "__main__":  # below it, so that the marking processes need not import it
    import os, random, signal, time
    from pathlib import Path
    from frugal.grading.marking import Marking, Order
    from frugal.grading.pool import Bench
    root = Path({root!r})
    order = Order(solved=root / "solutions/small.ipynb", release=root / "labs/small/small.ipynb",
        submitted=root / "submitted", journal=root / "journal.jsonl", db_url=f"sqlite:///{{root / 'gradebook.db'}}",
        autograded=root / "autograded", feedback=root / "feedback", jobs=2,
        bench=Bench("small.ipynb", "digest", opener="small_lab:opener", budget_s=5.0))
    chance = random.Random(4)
    def size():
        return order.journal.stat().st_size if order.journal.is_file() else 0
    for _ in range(10):
        marker = os.fork()
        if not marker:
            list(Marking(order).rows())
            os._exit(0)
        least = size() + 700 * chance.randrange(4)  # a few lines further, then at any instant
        while size() < least and not os.waitpid(marker, os.WNOHANG)[0]:
            time.sleep(0.002)
        time.sleep(0.05 * chance.random())
        try:
            os.kill(marker, signal.SIGKILL)
            os.waitpid(marker, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it had ended
        print(size())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_marker_killed_at_any_moment_ten_times_over_finishes_and_loses_and_doubles_no_mark(order, tmp_path):
    words = [("test", "slow"), ("test", "hidden", "slow"), ("slow",)]
    hand_in(order.submitted, **{f"s{number:02}": small_lab.submission(*words[number % 3]) for number in range(CLASS)})
    script = tmp_path / "run.py"
    script.write_text(KILLS.format(here=str(Path(__file__).parent), root=str(tmp_path)))
    killed = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert killed.returncode == 0, killed.stderr
    assert len(set(killed.stdout.split())) > 3, "the kills met different moments"
    rows = mark(order)
    assert len(rows) == CLASS
    assert {row.status for row in rows.values()} <= {"judged", "unchanged"}
    assert scores(order) == {f"s{number:02}": (1.0, 3.0, 0.0)[number % 3] for number in range(CLASS)}
    lines = [json.loads(line) for line in order.journal.read_text().splitlines() if line.endswith("}")]
    assert {line["student"] for line in lines if line["event"] == "marked"} == set(scores(order))
    assert len(list(order.feedback.rglob("*.html"))) == CLASS
    with api.Gradebook(order.db_url) as book:
        assert all(len(each.notebooks[0].grades) == 3 for each in book.assignment_submissions(LAB))


def test_what_came_through_the_exchange_is_kept_for_the_way_back(order, tmp_path):
    folder = order.submitted / f"ada+{LAB}+2026-11-23 10:00:00 UTC+x7"
    folder.mkdir(parents=True)
    (folder / f"{LAB}.ipynb").write_bytes(small_lab.submission("test"))
    (folder / "timestamp.txt").write_text("2026-11-23 10:00:00 UTC")
    (folder / "submission_secret.txt").symlink_to(order.solved)
    mark(replace(order, kept=tmp_path / "kept"))
    kept = tmp_path / "kept" / "ada" / LAB
    assert {path.name for path in kept.iterdir()} == {f"{LAB}.ipynb", "timestamp.txt"}
    with api.Gradebook(order.db_url) as book:
        received = book.find_submission(LAB, "ada").timestamp
    assert received != datetime.datetime(2026, 11, 23, 10), "the mark's time is the system's, not the student's"
    for stamp in (kept / "timestamp.txt", order.autograded / "ada" / LAB / "timestamp.txt"):
        assert parse_time(stamp.read_text()) == received, "else Formgrader takes it for not yet marked"
    assert (order.feedback / "ada" / LAB / "timestamp.txt").read_text() == "2026-11-23 10:00:00 UTC"


def test_nobody_marks_twice_at_once(order):
    hand_in(order.submitted, ada=small_lab.submission("test"))
    pytest.importorskip("fcntl")
    with Journal(order.journal), pytest.raises(JournalBusy):
        mark(order)
