"""A judge's folder goes with it; the next judge removes what a killed one left, and nothing that is in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from frugal.grading import rooms


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_room_in_use_stays_and_goes_when_it_is_closed() -> None:
    room = rooms.make()
    assert rooms.clean() == []
    assert Path(room.name).is_dir()
    room.close()
    assert not Path(room.name).exists()


def test_the_room_of_a_killed_process_is_removed_by_the_next(place: Path) -> None:
    script = (
        "import tempfile, time; from frugal.grading import rooms; "
        f"tempfile.tempdir = {str(place)!r}; print(rooms.make().name, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    left = Path(process.stdout.readline().strip())
    (left / "library").mkdir()
    assert rooms.clean() == []
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    room = rooms.make()
    assert not left.exists()
    room.close()


def test_folders_of_others_and_links_are_left_alone(place: Path) -> None:
    (place / f"{rooms.PREFIX}half-made").mkdir()  # its lock is not there yet
    target = place / "elsewhere"
    target.mkdir()
    (target / rooms.LOCK).touch()
    (place / f"{rooms.PREFIX}link").symlink_to(target)
    assert rooms.clean() == []
    assert target.is_dir()
