"""Collect what students handed in, and open no door doing so.

A folder of submissions is written by many hands. A link in it may lead to the solved lab or to the gradebook, a folder
may carry somebody else's name, a file may be a pipe that never ends. So nothing is copied and nothing is followed:
every step of a path is opened relative to the one before it, without following links, and what was opened is looked
at again before it is read.

Understood layouts, also side by side in one folder:

    <student>/<lab>/<lab>.ipynb                   nbgrader's submitted folder
    <student>+<lab>+<time>[+word]/<lab>.ipynb     nbgrader's inbound folder; the newest counts
    <student>/<lab>.ipynb · <student>.ipynb       folders and files named by student
    <download>.zip                                what Moodle and Canvas give for a whole class
"""

from __future__ import annotations

import datetime
import difflib
import errno
import json
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from frugal.core.errors import CourseFileMissing
from frugal.core.units import format_bytes

LARGEST = 10 << 20  # bytes of a notebook; a solved lab with its pictures has less than one
MOST = 20_000  # entries of a folder or a download
OURS = frozenset({"timestamp.txt", "submission_secret.txt", "__MACOSX", ".DS_Store", "Thumbs.db", ".ipynb_checkpoints"})
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER = os.O_RDONLY | _NO_LINK | getattr(os, "O_DIRECTORY", 0)


class Refused(Exception):
    """A submission that is not read; the message says why and what to do.

    student: whose mark it concerns, or "" where the name on it proves nothing.
    """

    def __init__(self, reason: str, student: str = "") -> None:
        super().__init__(reason)
        self.student = student


@dataclass(frozen=True)
class Submission:
    """A notebook that was found; it is read when it is marked.

    student:  the name it is marked under.
    where:    its place below the folder that was collected, for the report.
    received: when it came in, in UTC, where that can be told.
    note:     what was let pass but should be known.
    beside:   from nbgrader's inbound folder: reads the small files by which its exchange finds the way back.
    """

    student: str
    where: str
    read: Callable[[], bytes]
    received: datetime.datetime | None = None
    note: str = ""
    beside: Callable[[], dict[str, bytes]] | None = None


@dataclass(frozen=True)
class Refusal:
    """A line of the report: what was not read, and why."""

    where: str
    reason: str
    student: str = ""


def collect(folder: Path, lab: str) -> tuple[list[Submission], list[Refusal]]:
    """Find every submission of a lab, sorted by student; reading and refusing for content happens in ``read``.

    Raises:
        CourseFileMissing: there is no such folder or download.
    """
    if folder.is_file() and folder.suffix.lower() == ".zip":
        from frugal.grading import download

        found = list(download.entries(folder, lab))
    elif folder.is_dir():
        found = list(_Walk(folder, lab).entries())
    else:
        raise CourseFileMissing(
            f"no folder and no zip download at {folder}; give the folder that holds the students' submissions"
        )
    refused = [each for each in found if isinstance(each, Refusal)]
    submissions, doubled = newest([each for each in found if isinstance(each, Submission)])
    return submissions, sorted(refused + doubled, key=lambda refusal: refusal.where)


def newest(found: Iterable[Submission]) -> tuple[list[Submission], list[Refusal]]:
    """Keep one submission a student: the newest where times are known, none where two claim the same name."""
    by_student: dict[str, list[Submission]] = {}
    for submission in found:
        by_student.setdefault(_fold(submission.student), []).append(submission)
    kept, refused = [], []
    for same in by_student.values():
        if len(same) > 1 and all(each.received for each in same):
            same = [max(same, key=lambda each: each.received or datetime.datetime.min)]
        if len(same) == 1:
            kept.append(same[0])
            continue
        places = ", ".join(each.where for each in same)
        refused += [
            Refusal(each.where, f"{len(same)} submissions for one name ({places}); keep one of them", each.student)
            for each in same
        ]
    return sorted(kept, key=lambda each: each.student), refused


# ---- names -----------------------------------------------------------------------------------------------------------


def check_student(name: str) -> str:
    """Return a student's name as it is stored, or refuse one that could be a path, a flag or a trap for the eye."""
    name = unicodedata.normalize("NFC", name).strip()
    letters = all(char.isalnum() or char in " ._@-'" for char in name)
    if not name or len(name) > 100 or not name[0].isalnum() or not letters:
        raise Refused(f"{name[:40]!r} cannot be a student's name: letters, digits, spaces and . _ @ - ' are allowed")
    return name


def check_name(found: str, lab: str) -> str:
    """Let ``lab.ipynb`` pass, and what browsers and course systems make of it; return a note, or refuse the rest."""
    stem, extension = os.path.splitext(found)
    if extension.lower() == ".ipynb" and stem == lab:
        return ""
    again = rf"{re.escape(lab)}([ _-]*(\(\d+\)|\d+|copy\d*|kopie|copie))*"
    if extension.lower() == ".ipynb" and re.fullmatch(again, stem, re.IGNORECASE):
        return f"read as {lab}.ipynb"
    raise Refused(f"expected a file called {lab}.ipynb, found {found!r}; rename it if it is this lab")


def check_owner_name(file: str, lab: str) -> str:
    """Return the student whose name a single file carries; a file named by the lab carries nobody's."""
    try:
        check_name(file, lab)
    except Refused:
        return check_student(os.path.splitext(file)[0])
    raise Refused(f"whose is it? Name the file by its student, or put it into <student>/{lab}.ipynb")


def choose(names: Iterable[str], lab: str) -> tuple[str, str]:
    """Pick the notebook of a lab among the files of one student; return its name and a note."""
    books = [name for name in names if name.lower().endswith(".ipynb")]
    if f"{lab}.ipynb" in books:
        return f"{lab}.ipynb", ""
    close = []
    for name in books:
        try:
            close.append((name, check_name(name, lab)))
        except Refused:
            continue
    if len(close) == 1:
        return close[0]
    if close:
        raise Refused(f"expected {lab}.ipynb, found {', '.join(sorted(name for name, _ in close))}; keep one of them")
    if not books:
        raise Refused(f"expected {lab}.ipynb, found no notebook")
    likely = (difflib.get_close_matches(f"{lab}.ipynb", books, n=1, cutoff=0) or books)[0]
    raise Refused(f"expected a file called {lab}.ipynb, found {likely!r}; rename it if it is this lab")


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


# ---- content ---------------------------------------------------------------------------------------------------------


def check_notebook(content: bytes) -> bytes:
    """Return the bytes of a notebook that can be marked, or refuse them with what is wrong."""
    if len(content) > LARGEST:
        raise Refused(
            f"larger than {format_bytes(LARGEST)}; clear the outputs (Kernel, Restart and Clear) and hand it in again"
        )
    if not content.strip():
        raise Refused("the file is empty; hand the notebook in again")
    try:
        book = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"not a notebook: {type(error).__name__} while reading it as JSON; hand it in again") from None
    if not isinstance(book, dict) or not isinstance(book.get("cells"), list):
        raise Refused("not a notebook of version 4: it has no list of cells; open it in JupyterLab and save it")
    for number, cell in enumerate(book["cells"], 1):
        source = cell.get("source") if isinstance(cell, dict) else None
        lines = isinstance(source, list) and all(isinstance(line, str) for line in source)
        if not isinstance(source, str) and not lines:
            raise Refused(f"cell {number} of the notebook has no text; open it in JupyterLab and save it")
    return content


# ---- folders ---------------------------------------------------------------------------------------------------------


class _Walk:
    """A folder of submissions, entered without following a link."""

    def __init__(self, root: Path, lab: str) -> None:
        self.root, self.lab = root, lab
        self.trusted = {os.stat(root).st_uid, 0, *([os.getuid()] if hasattr(os, "getuid") else [])}

    def entries(self) -> Iterator[Submission | Refusal]:
        """Look at everything in the folder."""
        with self._folder(()) as here:
            names = sorted(os.listdir(here))
            kinds = {name: os.stat(name, dir_fd=here, follow_symlinks=False).st_mode for name in names[:MOST]}
        if len(names) > MOST:
            yield Refusal(".", f"{len(names)} entries; only the first {MOST} were looked at")
        for name, mode in kinds.items():
            if name in OURS or name.startswith("."):
                continue
            try:
                if stat.S_ISLNK(mode):
                    raise Refused("a link; links are not followed")
                if stat.S_ISDIR(mode):
                    found = self._of_folder(name)
                    if found is not None:
                        yield found
                elif not stat.S_ISREG(mode):
                    raise Refused("neither a file nor a folder")
                elif name.lower().endswith(".zip"):
                    from frugal.grading import download

                    inside = download.entries(self.root / name, self.lab)
                    yield from (replace(each, where=f"{name}: {each.where}") for each in inside)
                elif name.lower().endswith(".ipynb"):
                    yield self._submission(check_owner_name(name, self.lab), (name,))
                else:
                    raise Refused("not a notebook, a folder or a zip download")
            except Refused as refused:
                yield Refusal(name, str(refused), refused.student)

    def _of_folder(self, name: str) -> Submission | Refusal | None:
        """Look into a student's folder; None where it holds work for other labs only."""
        student, inbound = check_student_folder(name, self.lab)
        if student is None:
            return None
        with self._folder((name,)) as here:
            names = os.listdir(here)
            path: tuple[str, ...] = (name,)
            if self.lab in names and not inbound:
                path, names = (name, self.lab), []
            elif not inbound and not any(each.lower().endswith(".ipynb") for each in names):
                likely = difflib.get_close_matches(self.lab, names, n=1, cutoff=0.85)
                if not likely:
                    return None  # a student who handed in other labs
                raise Refused(f"expected a folder called {self.lab}, found {likely[0]!r}; rename it if it is this lab")
        if len(path) == 2:
            with self._folder(path) as here:
                names = os.listdir(here)
        try:
            file, note = choose(names, self.lab)
            found = self._submission(student, (*path, file), note)
        except Refused as refused:
            raise Refused(str(refused), refused.student or (student if self._belongs(path, student) else "")) from None
        if inbound:  # the folder's own account of the time is the student's; the system's is not
            return replace(found, received=self._changed((*path, file)), beside=lambda: self._beside(path))
        return replace(found, received=self._timestamp(path))

    def _submission(self, student: str, path: tuple[str, ...], note: str = "") -> Submission:
        where = "/".join(path)
        return Submission(student, where, lambda: self._read(student, path), note=note)

    def _read(self, student: str, path: tuple[str, ...]) -> bytes:
        with self._folder(path[:-1], student) as folder:
            try:
                file = os.open(path[-1], os.O_RDONLY | _NO_LINK, dir_fd=folder)
            except OSError as error:
                reason = "a link; links are not followed" if error.errno == errno.ELOOP else error.strerror
                raise Refused(f"{path[-1]}: {reason}", student) from None
        with os.fdopen(file, "rb") as opened:
            about = os.fstat(opened.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise Refused(f"{path[-1]} is not a regular file", student)
            self._check_owner(about, student, path[-1])
            if about.st_nlink > 1:
                raise Refused(
                    f"{path[-1]} has {about.st_nlink} names in the file system (a hard link); hand in a copy", student
                )
            try:
                return check_notebook(opened.read(LARGEST + 1))
            except Refused as refused:
                raise Refused(str(refused), student) from None

    @contextmanager
    def _folder(self, path: tuple[str, ...], student: str = "") -> Iterator[int]:
        """Open a folder below the root one step at a time, and close it again."""
        here = os.open(self.root, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))  # the root may be reached by a link
        try:
            for step in path:
                try:
                    below = os.open(step, _FOLDER, dir_fd=here)
                except OSError:
                    raise Refused(f"{step} is a link or cannot be entered; links are not followed") from None
                os.close(here)
                here = below
                if student:
                    self._check_owner(os.fstat(here), student, step)
            yield here
        finally:
            os.close(here)

    def _check_owner(self, about: os.stat_result, student: str, what: str) -> None:
        """Refuse what neither the marker nor the student owns; then the name on it is a claim of a third person."""
        if not hasattr(os, "getuid") or about.st_uid in self.trusted | _accounts(student):
            return
        raise Refused(
            f"{what} carries the name {student} but belongs to user {_user(about.st_uid)}; ask them both, and if all "
            f"is well make it yours with `chown`"
        )

    def _belongs(self, path: tuple[str, ...], student: str) -> bool:
        try:
            with self._folder(path, student):
                return True
        except Refused:
            return False

    def _changed(self, path: tuple[str, ...]) -> datetime.datetime:
        """Return when the system last saw a file change; a student can set every other time of it."""
        with self._folder(path[:-1]) as folder:
            seconds = os.stat(path[-1], dir_fd=folder, follow_symlinks=False).st_ctime
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(tzinfo=None)

    def _timestamp(self, path: tuple[str, ...]) -> datetime.datetime | None:
        """Read the time that nbgrader wrote beside a submission when it was collected."""
        return parse_time(self._beside(path).get("timestamp.txt", b"").decode("ascii", "replace"))

    def _beside(self, path: tuple[str, ...]) -> dict[str, bytes]:
        """Read the small files that nbgrader puts beside a submission; what is no file is not there."""
        found = {}
        for name in ("timestamp.txt", "submission_secret.txt"):
            try:
                with self._folder(path) as folder:
                    file = os.open(name, os.O_RDONLY | _NO_LINK, dir_fd=folder)
                with os.fdopen(file, "rb") as opened:
                    about = os.fstat(opened.fileno())
                    if stat.S_ISREG(about.st_mode) and about.st_nlink == 1:
                        found[name] = opened.read(1000)
            except (OSError, Refused):
                continue
        return found


def check_student_folder(name: str, lab: str) -> tuple[str | None, bool]:
    """Read a folder's name: the student, or None where it is another lab's; and whether it is nbgrader's inbound."""
    parts = name.split("+")
    if len(parts) < 3:
        return check_student(name), False
    return (check_student(parts[0]), True) if parts[1] == lab else (None, True)


def parse_time(text: str) -> datetime.datetime | None:
    """Read nbgrader's timestamps, ``2026-11-23 21:05:25.000000 UTC`` and its kin, as UTC; None where it is none."""
    text = re.sub(r"\s*(UTC|Z)\s*$", "+00:00", text.strip())
    text = re.sub(r"\s+([+-]\d\d):?(\d\d)$", r"\1:\2", text)
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.astimezone(datetime.UTC).replace(tzinfo=None) if time.tzinfo else time


def _accounts(student: str) -> set[int]:
    try:
        import pwd

        return {pwd.getpwnam(student).pw_uid}
    except (ImportError, KeyError):
        return set()


def _user(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"number {uid}"
