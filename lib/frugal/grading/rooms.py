"""A judge's folder among the temporary ones: it goes with the judge; after a judge that was killed, with the next one.

A room is locked as long as its judge lives. The kernel opens the lock of a killed process, so whoever starts next can
tell what was left behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

PREFIX, LOCK = "frugal-judge-", "lock"


@dataclass(frozen=True)
class Room:
    """A folder of our own and the descriptor that holds its lock."""

    name: str
    lock: int

    def close(self) -> None:
        shutil.rmtree(self.name, ignore_errors=True)
        os.close(self.lock)


def make() -> Room:
    """Make a locked folder, and remove those of judges that are gone."""
    clean()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder / f"{LOCK}.new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    _take(lock)
    os.rename(folder / f"{LOCK}.new", folder / LOCK)  # from here on others may ask for it
    return Room(str(folder), lock)


def clean() -> list[Path]:
    """Remove the rooms of this user whose lock nobody holds; return them."""
    gone = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _take(lock):
                    shutil.rmtree(folder, ignore_errors=True)
                    gone.append(folder)
            finally:
                os.close(lock)
    return gone


def _take(lock: int) -> bool:
    import fcntl  # POSIX has it; elsewhere no judge starts

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
