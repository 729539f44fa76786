"""What students hand in is found, and nothing else is ever read."""

import datetime
import json
import os
import stat
import sys
import zipfile

import pytest
import small_lab

from frugal.core.errors import CourseFileMissing
from frugal.grading import collect as collecting
from frugal.grading.collect import LARGEST, Refused, check_notebook, check_student, collect, parse_time

LAB, GOOD = small_lab.LAB, small_lab.submission("test")
posix = pytest.mark.skipif(sys.platform == "win32", reason="links and owners of POSIX systems")


def put(path, content=GOOD):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def students(folder):
    found, refused = collect(folder, LAB)
    assert refused == []
    return {each.student: each.read() for each in found}


def reason(folder):
    """Return the only refusal of a folder, met while finding or while reading."""
    found, refused = collect(folder, LAB)
    told = [(each.reason, each.student) for each in refused]
    for submission in found:
        try:
            submission.read()
        except Refused as error:
            told.append((str(error), error.student))
    assert len(told) == 1, told
    return told[0]


@pytest.mark.parametrize(
    "path",
    [f"ada/{LAB}/{LAB}.ipynb", f"ada/{LAB}.ipynb", "ada.ipynb", f"ada+{LAB}+2026-11-23 10:00:00 UTC+x7/{LAB}.ipynb"],
)
def test_every_layout_gives_the_student_and_the_bytes(tmp_path, path):
    put(tmp_path / path)
    assert students(tmp_path) == {"ada": GOOD}


def test_layouts_may_lie_side_by_side(tmp_path):
    put(tmp_path / "ada" / LAB / f"{LAB}.ipynb")
    put(tmp_path / "ben.ipynb")
    with zipfile.ZipFile(tmp_path / "rest.zip", "w") as archive:
        archive.writestr(f"cleo/{LAB}.ipynb", GOOD)
    assert list(students(tmp_path)) == ["ada", "ben", "cleo"]


def test_other_labs_and_the_course_systems_own_files_are_no_submissions(tmp_path):
    put(tmp_path / "ada" / "lab_of_another_week" / "x.ipynb")
    put(tmp_path / f"ben+lab_of_another_week+2026-11-23 10:00:00 UTC/{LAB}.ipynb")
    put(tmp_path / ".DS_Store")
    assert students(tmp_path) == {}


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CourseFileMissing, match="give the folder"):
        collect(tmp_path / "nowhere", LAB)


# ---- links, owners, special files -----------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("level", ["student", "lab", "file"])
def test_a_link_is_not_followed_at_any_level(tmp_path, level):
    secret = put(tmp_path / "solutions" / f"{LAB}.ipynb", small_lab.submission("test", "hidden"))
    handed_in = tmp_path / "submitted"
    place = {
        "student": handed_in / "eve",
        "lab": handed_in / "eve" / LAB,
        "file": handed_in / "eve" / LAB / secret.name,
    }
    place[level].parent.mkdir(parents=True)
    place[level].symlink_to(secret if level == "file" else secret.parent)
    told, _ = reason(handed_in)
    assert "link" in told


@posix
def test_a_hard_link_to_somebodys_file_is_refused(tmp_path):
    secret = put(tmp_path / "solutions.ipynb")
    (tmp_path / "submitted").mkdir()
    os.link(secret, tmp_path / "submitted" / "eve.ipynb")
    told, student = reason(tmp_path / "submitted")
    assert "hard link" in told
    assert student == "eve"


@posix
def test_a_link_that_takes_the_files_place_after_it_was_found_is_not_followed(tmp_path):
    handed_in = put(tmp_path / "submitted" / "eve.ipynb")
    (submission,), _ = collect(tmp_path / "submitted", LAB)
    handed_in.unlink()
    handed_in.symlink_to(put(tmp_path / "secret.ipynb"))
    with pytest.raises(Refused, match="link"):
        submission.read()


@posix
def test_a_pipe_does_not_stop_the_collector(tmp_path):
    (tmp_path / "eve").mkdir()
    os.mkfifo(tmp_path / "eve" / f"{LAB}.ipynb")
    told, _ = reason(tmp_path)
    assert "not a regular file" in told


@posix
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user_does_not_speak_for_the_student_on_it(tmp_path):
    folder = tmp_path / "submitted"
    put(folder / f"ben+{LAB}+2026-11-23 10:00:00 UTC" / f"{LAB}.ipynb")
    os.chown(folder / f"ben+{LAB}+2026-11-23 10:00:00 UTC", 54321, -1)
    told, student = reason(folder)
    assert "belongs to user number 54321" in told
    assert student == "", "ben's marks are not touched for what somebody else did"


@posix
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_a_students_own_file_is_theirs(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "_accounts", lambda student: {54321} if student == "ada" else set())
    for name in ("ada", "ben"):
        os.chown(put(tmp_path / f"{name}.ipynb"), 54321, -1)
    found, _ = collect(tmp_path, LAB)
    by_name = {each.student: each for each in found}
    assert by_name["ada"].read() == GOOD
    with pytest.raises(Refused, match="belongs to"):
        by_name["ben"].read()


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "a\\b", "-rf", "", "x" * 101, "a\u202eb", "a\nb", "<b>"])
def test_a_name_that_could_be_a_path_or_a_trap_is_no_student(name):
    with pytest.raises(Refused):
        check_student(name)


@pytest.mark.parametrize("name", ["ada", "Zoë Müller", "o'brien-2", "a.b@c.org", "s1234567"])
def test_the_names_of_people_are_students(name):
    assert check_student(name) == name


@pytest.mark.parametrize("file", [f"{LAB} (1).ipynb", f"{LAB}-1.ipynb", f"{LAB}_2.ipynb", f"{LAB}-Copy1.ipynb"])
def test_what_browsers_make_of_a_name_is_read_with_a_note(tmp_path, file):
    put(tmp_path / "ada" / file)
    (submission,), refused = collect(tmp_path, LAB)
    assert refused == []
    assert submission.note == f"read as {LAB}.ipynb"


def test_a_wrong_file_name_is_told_with_the_expected_one(tmp_path):
    put(tmp_path / "ada" / LAB / "smal lab final.ipynb")
    told, student = reason(tmp_path)
    assert f"expected a file called {LAB}.ipynb, found 'smal lab final.ipynb'" in told
    assert student == "ada"


def test_a_wrong_folder_name_is_told_with_the_expected_one(tmp_path):
    put(tmp_path / "ada" / "smal" / f"{LAB}.ipynb")
    assert f"expected a folder called {LAB}, found 'smal'" in reason(tmp_path)[0]


def test_a_file_named_by_the_lab_belongs_to_nobody(tmp_path):
    put(tmp_path / f"{LAB}.ipynb")
    assert "whose is it" in reason(tmp_path)[0]


def test_two_submissions_under_one_name_are_both_refused(tmp_path):
    put(tmp_path / "ada.ipynb")
    put(tmp_path / "Ada" / f"{LAB}.ipynb")
    found, refused = collect(tmp_path, LAB)
    assert found == []
    assert len(refused) == 2
    assert all("2 submissions for one name" in each.reason for each in refused)


# ---- times ----------------------------------------------------------------------------------------------------------


def test_nbgraders_timestamp_is_read_and_a_broken_one_is_none(tmp_path):
    put(tmp_path / "ada" / LAB / f"{LAB}.ipynb")
    stamp = put(tmp_path / "ada" / LAB / "timestamp.txt", b"2026-11-23 12:30:00.250000 +0100")
    (submission,), _ = collect(tmp_path, LAB)
    assert submission.received == datetime.datetime(2026, 11, 23, 11, 30, 0, 250000)
    stamp.write_bytes(b"yesterday")
    (submission,), _ = collect(tmp_path, LAB)
    assert submission.received is None


def test_times_are_read_with_and_without_a_zone():
    noon = datetime.datetime(2026, 11, 23, 12)
    for text in ("2026-11-23 12:00:00 UTC", "2026-11-23 13:00:00 +0100", "2026-11-23 12:00:00", "2026-11-23T12:00:00Z"):
        assert parse_time(text) == noon


@posix
def test_inbound_the_newest_counts_by_the_systems_clock_not_by_the_students(tmp_path):
    put(tmp_path / f"ada+{LAB}+2030-01-01 00:00:00 UTC" / f"{LAB}.ipynb", small_lab.submission("first"))
    later = put(tmp_path / f"ada+{LAB}+2020-01-01 00:00:00 UTC" / f"{LAB}.ipynb", small_lab.submission("second"))
    os.utime(later, (0, 0))  # a student can set these
    (submission,), refused = collect(tmp_path, LAB)
    assert refused == []
    assert submission.read() == small_lab.submission("second")
    assert submission.received.year >= 2026


# ---- content --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"{ not json", "not a notebook"),
        (b"\xff\xfe\x00", "not a notebook"),
        (b"[" * 100_000, "not a notebook"),
        (b'{"cells": 3}', "no list of cells"),
        (b'{"worksheets": []}', "no list of cells"),
        (b'{"cells": [{"source": 3}]}', "cell 1"),
        (b'{"cells": [null]}', "cell 1"),
        (b'{"cells": [{"source": ["a", 3]}]}', "cell 1"),
        (b" " * (LARGEST + 1), "larger than"),
    ],
)
def test_a_malformed_notebook_is_refused_with_what_is_wrong(content, told):
    with pytest.raises(Refused, match=told):
        check_notebook(content)


def test_a_refused_file_names_its_student(tmp_path):
    put(tmp_path / "ada" / LAB / f"{LAB}.ipynb", b"")
    told, student = reason(tmp_path)
    assert "empty" in told
    assert student == "ada"


# ---- downloads ------------------------------------------------------------------------------------------------------


def archive(path, **entries):
    with zipfile.ZipFile(path, "w") as made:
        for name, content in entries.items():
            made.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("entry", "student"),
    [
        (f"Ada Lovelace_123456_assignsubmission_file_/{LAB}.ipynb", "Ada Lovelace"),
        (f"Ada Lovelace_123456_assignsubmission_file_{LAB}.ipynb", "Ada Lovelace"),
        (f"lovelaceada_1234_56789_{LAB}-1.ipynb", "lovelaceada"),
        (f"lovelaceada_LATE_1234_56789_{LAB}.ipynb", "lovelaceada"),
        (f"class/ada/{LAB}/{LAB}.ipynb", "ada"),
        (f"ada/{LAB}.ipynb", "ada"),
        ("ada.ipynb", "ada"),
    ],
)
def test_downloads_of_course_systems_name_their_students(tmp_path, entry, student):
    assert students(archive(tmp_path / "all.zip", **{entry: GOOD})) == {student: GOOD}


def test_two_students_of_one_name_stay_two(tmp_path):
    entries = {f"Ada L_{number}_assignsubmission_file_/{LAB}.ipynb": GOOD for number in (1, 2)}
    assert list(students(archive(tmp_path / "all.zip", **entries))) == ["Ada L 1", "Ada L 2"]


@pytest.mark.parametrize("entry", [f"../ada/{LAB}.ipynb", f"/ada/{LAB}.ipynb", f"a\\..\\{LAB}.ipynb", "C:/ada.ipynb"])
def test_a_path_that_leads_out_of_the_download_is_refused(tmp_path, entry):
    assert "leads out" in reason(archive(tmp_path / "all.zip", **{entry: GOOD}))[0]
    assert [path.name for path in tmp_path.iterdir()] == ["all.zip"], "nothing is unpacked"


def test_a_link_in_a_download_is_refused(tmp_path):
    info = zipfile.ZipInfo(f"ada/{LAB}.ipynb")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as made:
        made.writestr(info, "/etc/passwd")
    assert "link" in reason(tmp_path / "all.zip")[0]


def test_an_entry_that_unpacks_to_more_than_it_says_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"ada/{LAB}.ipynb", b" " * (4 * LARGEST))
    assert (tmp_path / "all.zip").stat().st_size < LARGEST / 10
    assert "larger than" in reason(tmp_path / "all.zip")[0]


def test_a_zip_in_the_zip_and_a_double_entry_and_rubbish_are_told(tmp_path):
    assert "zip file in the download" in reason(archive(tmp_path / "a.zip", **{"ada/work.zip": b""}))[0]
    (tmp_path / "b.zip").write_bytes(b"PK rubbish")
    assert "not a zip file" in reason(tmp_path / "b.zip")[0]
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as made:
        made.writestr("ada.ipynb", GOOD)
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("ada.ipynb", json.dumps({}))
    found, refused = collect(tmp_path / "c.zip", LAB)
    assert found == []
    assert all("2 entries of this name" in each.reason for each in refused)
