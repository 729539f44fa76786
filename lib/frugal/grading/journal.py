"""The journal of a marking run: one JSON object a line, only ever added to.

It is the log that a person reads, and what makes a run resumable: a report is written down before it reaches the
gradebook, so that a run that was killed at any moment is finished by starting it again. A line that was cut off in
the middle is no line.

    {"event": "judged", "student": "ada", "key": "5e1c…", "report": {…}, …}     an answer was judged
    {"event": "marked", "student": "ada", "key": "5e1c…", "book": "9f0a…"}      and its marks stand in that gradebook
    {"event": "refused" | "failed" | "begun" | "ended", …}
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import Any

from frugal.core.errors import FrugalError
from frugal.grading.verdict import Report

SYNC_SECONDS = 1.0


def key(notebook: bytes, lab_digest: str) -> str:
    """Name what a report depends on: the notebook; the lab, its tests and the library (the digest); what runs them."""
    whole = hashlib.sha256()
    for part in (notebook, lab_digest.encode(), _versions().encode()):
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:32]


@cache
def _versions() -> str:
    found = [f"python {platform.python_version()}"]
    for package in ("torch", "numpy"):
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return "; ".join(found)


class JournalBusy(FrugalError):
    """Two runs may not mark one lab at the same time."""


class Journal:
    """A journal on disk; what it says of earlier runs is read once, on opening."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self._open = file.open("ab")
        self._synced = 0.0
        self._lock()
        self._reports: dict[tuple[str, str], dict[str, Any]] = {}  # as JSON values
        self._marked: dict[tuple[str, str], str] = {}
        for line in self._lines():
            self._learn(line)
        if self._cut_off:
            self._open.write(b"\n")

    def report(self, student: str, key: str) -> Report | None:
        """Return what an earlier run judged of the same notebook, lab and library."""
        stored = self._reports.get((student, key))
        try:
            return None if stored is None else Report.from_json(json.dumps(stored))
        except (KeyError, TypeError):  # written by another version
            return None

    def judged(self, student: str, key: str, report: Report) -> None:
        """Write a report down. A killed run loses none; a power cut costs those of a second, which are judged again."""
        self.write("judged", durable=True, student=student, key=key, report=json.loads(report.to_json()))

    def is_marked(self, student: str, key: str, book: str) -> bool:
        """Whether the newest marks written for a student in a gradebook are these."""
        return self._marked.get((student, book)) == key

    def has_marks(self, student: str) -> bool:
        """Whether marks of a student were written since the last trouble with a submission."""
        return any(name == student for name, _ in self._marked)

    def write(self, event: str, *, durable: bool = False, **what: Any) -> None:
        """Add a line; a durable one, and all before it, is on the disk a second after the last that was."""
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "event": event, **what}
        self._open.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._open.flush()
        if durable and monotonic() - self._synced >= SYNC_SECONDS:
            os.fsync(self._open.fileno())  # a tenth of a second on a busy disk
            self._synced = monotonic()
        self._learn(line)

    def _lock(self) -> None:
        """Keep a second run of the same lab out; the lock ends with the process, however that ends."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._open, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._open.close()
            raise JournalBusy(f"another run is marking this lab: it holds {self.file.name}; wait for it") from None

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lines(self) -> Iterator[dict[str, Any]]:
        self._cut_off = False
        with self.file.open("rb") as lines:
            for line in lines:
                self._cut_off = not line.endswith(b"\n")
                try:
                    value = json.loads(line)
                except ValueError:
                    continue
                if isinstance(value, dict):
                    yield value

    def _learn(self, line: dict[str, Any]) -> None:
        student, key = str(line.get("student", "")), str(line.get("key", ""))
        if line.get("event") == "judged" and isinstance(line.get("report"), dict):
            self._reports[student, key] = line["report"]
        elif line.get("event") == "marked":
            self._marked[student, str(line.get("book", ""))] = key
        elif line.get("event") in ("refused", "failed") and student:
            for seen in [each for each in self._marked if each[0] == student]:
                del self._marked[seen]
