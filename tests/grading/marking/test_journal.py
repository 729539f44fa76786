"""What was judged is known after any end of the process; what changed is judged again."""

import json

import pytest
import small_lab

from frugal.grading.journal import Journal, JournalBusy, key

REPORT = small_lab.report({"test"})


def test_a_report_is_found_again_by_student_and_key(tmp_path):
    with Journal(tmp_path / "a" / "log.jsonl") as journal:
        journal.judged("ada", "k1", REPORT)
        assert journal.report("ada", "k1") == REPORT
    with Journal(tmp_path / "a" / "log.jsonl") as journal:
        assert journal.report("ada", "k1") == REPORT
        assert journal.report("ada", "k2") is None
        assert journal.report("ben", "k1") is None


def test_a_line_that_was_cut_off_is_no_line_and_spoils_no_other(tmp_path):
    file = tmp_path / "log.jsonl"
    with Journal(file) as journal:
        journal.judged("ada", "k1", REPORT)
        journal.judged("ben", "k2", REPORT)
    whole = file.read_bytes()
    second = whole.index(b"\n") + 1
    for length in range(second, len(whole) - 1, 37):
        file.write_bytes(whole[:length])
        with Journal(file) as journal:
            assert journal.report("ada", "k1") == REPORT
            assert journal.report("ben", "k2") is None
            journal.judged("ben", "k2", REPORT)
        with Journal(file) as journal:
            assert journal.report("ben", "k2") == REPORT


def test_every_line_is_json_with_a_time_and_an_event(tmp_path):
    with Journal(tmp_path / "log.jsonl") as journal:
        journal.write("begun", lab="small")
        journal.judged("Zoë", "k", REPORT)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["begun", "judged"]
    assert all(line["time"].endswith("+00:00") for line in lines)


def test_marks_stand_until_the_next_trouble(tmp_path):
    with Journal(tmp_path / "log.jsonl") as journal:
        journal.write("marked", student="ada", key="k", book="b")
        assert journal.is_marked("ada", "k", "b")
        assert journal.has_marks("ada")
        assert not journal.is_marked("ada", "k", "another book")
        assert not journal.is_marked("ada", "other", "b")
        journal.write("refused", student="ada", where="ada.ipynb", reason="empty")
        assert not journal.is_marked("ada", "k", "b")
        assert not journal.has_marks("ada")


def test_a_second_run_of_the_same_lab_is_refused_and_a_later_one_is_not(tmp_path):
    pytest.importorskip("fcntl")
    with Journal(tmp_path / "log.jsonl"), pytest.raises(JournalBusy, match="another run"):
        Journal(tmp_path / "log.jsonl")
    Journal(tmp_path / "log.jsonl").close()


def test_the_key_changes_with_the_notebook_and_with_the_lab():
    assert key(b"a", "d") == key(b"a", "d")
    assert len({key(b"a", "d"), key(b"b", "d"), key(b"a", "e"), key(b"ad", "")}) == 4
