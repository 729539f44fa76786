"""Read a class's zip download from Moodle or Canvas, in memory: nothing of it is ever unpacked to a disk.

Moodle   Ada Lovelace_123456_assignsubmission_file_/lab_4_1_affine.ipynb     (or one name, without the folder)
Canvas   lovelaceada_LATE_1234_56789_lab_4_1_affine-1.ipynb
others   <student>/<lab>.ipynb · <student>/<lab>/<lab>.ipynb · <student>.ipynb
"""

from __future__ import annotations

import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from frugal.grading.collect import (
    LARGEST,
    MOST,
    OURS,
    Refusal,
    Refused,
    Submission,
    check_notebook,
    check_owner_name,
    check_student,
    choose,
)

_MOODLE = re.compile(r"(?P<name>[^/]+?)_(?P<number>\d+)_assignsubmission_file_?/?(?P<file>[^/]*)")
_CANVAS = re.compile(r"(?P<name>[^_/]+)_(?P<late>LATE_)?(?P<number>\d+)_\d+_(?P<file>[^/]+\.ipynb)", re.IGNORECASE)
_ENCRYPTED = 1


def entries(archive: Path, lab: str) -> Iterator[Submission | Refusal]:
    """Yield a submission or a refusal for every student in a download."""
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = opened.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        yield Refusal(archive.name, "not a zip file that can be read; download it again")
        return
    if len(infos) > MOST:
        yield Refusal(archive.name, f"{len(infos)} entries; a class's download has fewer than {MOST}")
        return
    names = Counter(info.filename for info in infos)
    students: dict[tuple[str, str], list[tuple[str, zipfile.ZipInfo, str]]] = {}
    for info in infos:
        parts = PurePosixPath(info.filename).parts
        if info.is_dir() or any(part in OURS or part.startswith("._") for part in parts):
            continue
        try:
            _check_entry(info, names[info.filename])
            student, number, file, note = _owner(info.filename, lab)
            if file.lower().endswith(".ipynb"):
                students.setdefault((student, number), []).append((file, info, note))
            else:
                students.setdefault((student, number), [])
        except Refused as refused:
            yield Refusal(info.filename, str(refused), refused.student)
    shared = Counter(student for student, _ in students)
    for (student, number), files in students.items():
        name = f"{student} {number}" if shared[student] > 1 else student  # two students of one name
        try:
            yield _submission(archive, name, files, lab)
        except Refused as refused:
            where = files[0][1].filename if files else name
            yield Refusal(where, str(refused), refused.student or name)


def _submission(archive: Path, student: str, files: list[tuple[str, zipfile.ZipInfo, str]], lab: str) -> Submission:
    file, note = choose((file for file, _, _ in files), lab)
    info, earlier = next((info, earlier) for name, info, earlier in files if name == file)

    def read() -> bytes:
        try:
            with zipfile.ZipFile(archive) as opened, opened.open(info) as entry:
                content = entry.read(LARGEST + 1)  # what the entry says of its size is not believed
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
            raise Refused(f"cannot be unpacked: {error}; download it again", student) from None
        try:
            return check_notebook(content)
        except Refused as refused:
            raise Refused(str(refused), student) from None

    return Submission(student, info.filename, read, note="; ".join(filter(None, (earlier, note))))


def _check_entry(info: zipfile.ZipInfo, times: int) -> None:
    name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
    if name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or ".." in PurePosixPath(name).parts:
        raise Refused("its path leads out of the download")
    if kind not in (0, stat.S_IFREG):
        raise Refused("a link or a special file; links are not followed")
    if info.flag_bits & _ENCRYPTED:
        raise Refused("encrypted; hand it in without a password")
    if times > 1:
        raise Refused(f"{times} entries of this name in the download")
    if name.lower().endswith(".zip"):
        raise Refused("a zip file in the download; hand in the notebook itself")


def _owner(path: str, lab: str) -> tuple[str, str, str, str]:
    """Tell whose file an entry is: student, the course system's number, the file's own name, a note."""
    parts = PurePosixPath(path).parts
    last = parts[-1]
    for index, part in enumerate(parts):
        if moodle := _MOODLE.fullmatch(part):
            return check_student(moodle["name"]), moodle["number"], moodle["file"] or last, ""
        if index == len(parts) - 1 and (canvas := _CANVAS.fullmatch(part)):
            note = "handed in late, says Canvas" if canvas["late"] else ""
            return check_student(canvas["name"]), canvas["number"], canvas["file"], note
    if len(parts) >= 2 and parts[-2] == lab and len(parts) >= 3:
        return check_student(parts[-3]), "", last, ""
    if len(parts) >= 2:
        return check_student(parts[-2]), "", last, ""
    if not last.lower().endswith(".ipynb"):
        raise Refused("not a notebook")
    return check_owner_name(last, lab), "", f"{lab}.ipynb", ""
