"""The judge: starts the two warm processes once, and has one submission after another judged by them.

Judge (this process)       no torch, no student's data but text: starts, waits, kills
  ├─ referee               trusted: the tests; forks one referee per submission
  └─ zygote in bubblewrap  confined: the library without answers; forks one worker per submission
         the two talk over a data-only wire (frugal.grading.wire)
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import secrets
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frugal.grading import confine, mask, rooms
from frugal.grading.errors import JudgeBroken, SandboxMissing
from frugal.grading.lab import PACKAGE, Lab
from frugal.grading.limits import Limits
from frugal.grading.verdict import CellResult, Report
from frugal.grading.wiring import modules_of


class Judge:
    """Judges submissions of one lab.

        with Judge(Lab.load("solutions/lab_4_1_affine.ipynb")) as judge:
            report = judge.grade(path)

    ``grade`` may be called from several threads at once.

    Args:
        lab: what to judge.
        limits: what a submission may use.
        unsafe: run students' code without a sandbox where this machine has none; never where it matters.
    """

    def __init__(self, lab: Lab, *, limits: Limits | None = None, unsafe: bool = False) -> None:
        self.lab, self.limits, self.unsafe = lab, limits or Limits(), unsafe
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen] = []
        self._control: socket.socket | None = None
        self._folder: rooms.Room | None = None

    def __enter__(self) -> Judge:
        """Start the warm processes.

        Raises:
            SandboxMissing: this machine cannot confine a process, and ``unsafe`` is not given.
            JudgeBroken: they do not start.
        """
        if not sys.platform.startswith("linux"):
            raise SandboxMissing(f"the judge needs Linux, this is {sys.platform}; grade in a Linux container")
        confined = not (self.unsafe and confine.missing())
        if confined and (lacking := confine.missing()):
            raise SandboxMissing(
                "this machine cannot confine a student's code. " + "; ".join(lacking) + ". "
                "Grade on a machine that has it, or give --unsafe to run submissions with your own rights"
            )
        try:
            self._start(confined)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End both processes and everything below them."""
        if self._control:
            self._control.close()
            self._control = None
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = []
        if self._folder:
            self._folder.close()
            self._folder = None

    # ---- starting ----------------------------------------------------------------------------------------------------

    def _start(self, confined: bool) -> None:
        self._folder = rooms.make()
        folder = Path(self._folder.name)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        forks, forked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        limits = asdict(self.limits)
        with ours, theirs, forks, forked:
            settings = json.dumps({"lab": str(self.lab.path), "limits": limits})
            command = [
                sys.executable,
                "-P",
                "-m",
                "frugal.grading.referee",
                str(theirs.fileno()),
                str(forks.fileno()),
                settings,
            ]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONPATH": str(PACKAGE.parent)}
            self._launch(command, [theirs, forks], environment, folder / "referee.log")
            self._start_zygote(forked, mask.build(self.lab, folder), confined, limits)  # meanwhile
            theirs.close()
            forked.close()
            self._await(forks, "zygote")
            self._await(ours, "referee")
            self._control = ours.dup()

    def _start_zygote(self, forked: socket.socket, library: Path, confined: bool, limits: dict[str, Any]) -> None:
        read = _python_folders()
        settings = {
            "warm": modules_of(self.lab),
            "limits": limits,
            "confined": confined,
            "forbidden": [each for each in self.lab.mask if not each.startswith(f"{PACKAGE.name}.")],
            "read": [
                *read,
                "/usr",
                "/lib",
                "/lib64",
                "/etc/ld.so.cache",
                "/etc/localtime",
                str(PACKAGE),
                "/sys/devices/system/cpu",
            ],
        }
        environment = dict(os.environ)
        if confined:
            python = [*confine.bubblewrap(read, library, PACKAGE, self.limits), sys.executable, "-P"]
        else:
            python, environment = confine.alone(library, python_paths())
            environment |= {"HOME": self._folder.name, "TMPDIR": self._folder.name}  # type: ignore[union-attr]
        command = [*python, "-m", "frugal.grading.zygote", str(forked.fileno()), json.dumps(settings)]
        self._launch(command, [forked], environment, Path(self._folder.name) / "zygote.log")  # type: ignore[union-attr]

    def _launch(self, command: list[str], sockets: list[socket.socket], environment: dict[str, str], log: Path) -> None:
        descriptors = [each.fileno() for each in sockets]
        with log.open("wb") as file:
            self._processes.append(
                subprocess.Popen(
                    command, pass_fds=descriptors, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
                )
            )

    def _await(self, sock: socket.socket, who: str) -> None:
        sock.settimeout(self.limits.start_seconds)
        try:
            said = sock.recv(4096)
        except TimeoutError:
            said = b""
        if not said:
            log = Path(self._folder.name) / f"{who}.log"  # type: ignore[union-attr]
            raise JudgeBroken(f"the {who} did not start:\n{log.read_text(errors='replace')[-3000:]}")
        sock.settimeout(None)

    # ---- one submission ----------------------------------------------------------------------------------------------

    def grade(self, notebook: bytes | Path | str, *, seed: int | None = None) -> Report:
        """Judge one submission. Whatever a student did, this returns a report.

        Args:
            notebook: the submitted file, or its bytes.
            seed: of the random tests, to repeat a verdict; drawn anew by default.

        Raises:
            JudgeBroken: the judge itself is not running.
        """
        began = time.monotonic()
        seed = secrets.randbits(53) if seed is None else seed
        try:
            raw = notebook if isinstance(notebook, bytes) else _read(Path(notebook), self.limits.notebook_bytes)
            if len(raw) > self.limits.notebook_bytes:
                raise ValueError(
                    f"it has {len(raw):,} bytes, {self.limits.notebook_bytes:,} are allowed; clear its outputs"
                )
        except (OSError, ValueError) as error:
            return self._report({}, f"the file cannot be read: {error}", [], began, seed)
        found: dict[str, dict] = {}
        log: list[str] = []
        deadline = began + self.limits.submission_seconds
        while True:
            hung, why = self._session(raw, seed, found, log, deadline)
            if not hung:
                return self._report(found, why, log, began, seed)
            found[hung] = self._hung(hung)

    def _session(
        self, raw: bytes, seed: int, found: dict[str, dict], log: list[str], deadline: float
    ) -> tuple[str, str | None]:
        """Have one referee judge what is left; return the test that never ended, or why nothing was judged."""
        if self._control is None:
            raise JudgeBroken("the judge is not running; use it as `with Judge(lab) as judge:`")
        ours, theirs = socket.socketpair()
        head = json.dumps({"seed": seed, "skip": list(found)}).encode()
        with ours:
            with theirs, self._lock:
                try:
                    rights = array.array("i", [theirs.fileno()])
                    self._control.sendmsg([b"one"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                except OSError as error:
                    raise JudgeBroken(f"the referee is gone: {error}") from None
            ours.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                with _killed_at_the_end(ours):
                    ours.sendall(struct.pack("!IQ", len(head), len(raw)) + head + raw)
                    return self._listen(ours, found, log, deadline)
            except OSError as error:
                raise JudgeBroken(f"the referee does not listen: {error}") from None

    def _listen(self, sock: socket.socket, found: dict, log: list, deadline: float) -> tuple[str, str | None]:
        at, until = "", [deadline]
        try:
            for line in _lines(sock, until):
                said = json.loads(line)
                if "begin" in said:
                    at, until[0] = said["begin"], min(deadline, time.monotonic() + self.limits.test_seconds)
                elif "result" in said:
                    found[at], at, until[0] = said["result"], "", deadline
                elif "mistake" in said:
                    found[said["of"]]["misconception"] = said["mistake"]
                elif "log" in said:
                    log.append(said["log"])
                elif "unreadable" in said:
                    return "", said["unreadable"]
                elif "broken" in said:
                    raise JudgeBroken(said["broken"])
                elif "end" in said:
                    return "", None
        except TimeoutError:
            if time.monotonic() >= deadline:
                log.append(f"stopped after {self.limits.submission_seconds:g} s")
                return "", None
        if at:
            log.append(f"{at}: the referee had to be stopped")
            return at, None
        raise JudgeBroken("a referee ended without a word")

    def _hung(self, grade_id: str) -> dict[str, Any]:
        seconds = self.limits.test_seconds
        message = f"the test was stopped after {seconds:g} s: what your function returned takes too long to look at"
        points = next(cell.points for cell in self.lab.graded if cell.id == grade_id)
        return asdict(CellResult(grade_id, 0.0, points, False, message, seconds=seconds))

    def _report(self, found: dict[str, dict], error: str | None, log: list[str], began: float, seed: int) -> Report:
        results = []
        for cell in self.lab.graded:
            if cell.role == "manual":
                results.append(CellResult(cell.id, 0.0, cell.points, False, "graded by hand", kind="manual"))
            elif cell.id in found:
                results.append(CellResult(**found[cell.id]))
            else:
                message = error or f"not reached: the submission took longer than {self.limits.submission_seconds:g} s"
                results.append(CellResult(cell.id, 0.0, cell.points, False, message))
        seconds = round(time.monotonic() - began, 4)
        return Report(self.lab.name, self.lab.digest, tuple(results), error, seconds, seed, tuple(log))


def _read(path: Path, most: int) -> bytes:
    """Read a regular file that is no link."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        return file.read(most + 1)


@contextlib.contextmanager
def _killed_at_the_end(sock: socket.socket) -> Iterator[None]:
    """Take the referee's process from its first word, and kill it when we are done with it."""
    _, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(4))
    handles = array.array("i")
    for _, _, data in ancillary:
        handles.frombytes(data)
    try:
        yield
    finally:
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)


def _lines(sock: socket.socket, until: list[float]) -> Iterator[bytes]:
    """Yield lines as they come, up to a deadline that may move meanwhile."""
    buffer = b""
    while True:
        left = until[0] - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        piece = sock.recv(1 << 16)
        if not piece:
            return
        *whole, buffer = (buffer + piece).split(b"\n")
        yield from whole


def python_paths() -> list[str]:
    """Return where this Python looks for packages when it is left alone, the library's own folder left out."""
    ask = "import json, sys; print(json.dumps(sys.path))"
    command = [sys.executable, "-P", "-c", ask]
    paths = json.loads(subprocess.run(command, capture_output=True, env={"PATH": "/usr/bin:/bin"}, check=True).stdout)
    return [path for path in paths if Path(path) != PACKAGE.parent]


def _python_folders() -> list[str]:
    """Return where this Python and its packages lie, links followed, the library itself left out."""
    executable = Path(sys.executable)
    wanted = [sys.prefix, sys.base_prefix, *python_paths()]
    wanted += [str(executable.resolve().parent.parent)]
    found: list[str] = []
    for path in wanted:
        for each in (path, os.path.realpath(path)):
            covered = any(each == known or each.startswith(known + "/") for known in [*found, "/usr"])
            if os.path.isdir(each) and not covered and each != "/":
                found.append(each)
    return found
