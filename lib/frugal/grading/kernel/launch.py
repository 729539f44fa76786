"""A Jupyter kernel inside bubblewrap, for a course that marks with stock nbgrader.

The student's code has no network, no home, no course files and an empty environment. The tests still run in the
student's own interpreter, so a mark can still be forged there: INSTRUCTOR.md says how, and what to use instead.

Needs `transport = "ipc"`: the sandbox has no network, so the kernel talks through sockets in a private folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

MEMORY = 64 << 20  # bytes of files that a kernel may write
LIMITS = ["prlimit", "--nproc=256", f"--fsize={MEMORY}", "--nofile=512", "--core=0", "--cpu=600", "--"]
HIDDEN = ("timestamp.txt", "submission_secret.txt", "gradebook.db")


def command(connection: Path, folder: Path) -> list[str]:
    """Return what starts a kernel for a connection file, with the files of ``folder`` beside it."""
    about = json.loads(connection.read_text())
    if about["transport"] != "ipc":
        raise SystemExit('the grading sandbox has no network: set c.KernelManager.transport = "ipc" and an absolute ip')
    words = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]
    words += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox"]
    words += ["--proc", "/proc", "--dev", "/dev"]
    for place in ("/tmp", "/home", "/lab"):
        words += ["--size", str(MEMORY), "--tmpfs", place]
    words += ["--dir", "/home/student"]
    for path in readable():
        words += ["--ro-bind", path, path]
    for file in sorted(folder.iterdir()):  # never a notebook: nbgrader has put the hidden tests back into it
        if file.suffix != ".ipynb" and file.name not in HIDDEN and not file.is_symlink():
            words += ["--ro-bind", str(file), f"/lab/{file.name}"]
    sockets = os.path.dirname(about["ip"])
    words += ["--ro-bind", str(connection), "/run/kernel.json", "--bind", sockets, sockets]
    words += ["--remount-ro", "/", "--chdir", "/lab"]
    for name, value in environment().items():
        words += ["--setenv", name, value]
    kernel = [sys.executable, "-m", "ipykernel_launcher", "-f", "/run/kernel.json", "--HistoryManager.enabled=False"]
    return [*LIMITS, *words, "--", *kernel]


def readable() -> list[str]:
    """Return the folders that Python itself needs: the interpreter, its packages, and where they lead."""
    found = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/passwd", "/etc/localtime"]
    found += [sys.prefix, sys.base_prefix, *sys.path[1:]]
    return list(dict.fromkeys(path for path in found if path and os.path.exists(path)))


def environment() -> dict[str, str]:
    home = "/home/student"
    return {
        "HOME": home,
        "IPYTHONDIR": f"{home}/.ipython",
        "JPY_PARENT_PID": "1",
        "LANG": "C.UTF-8",
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSAFEPATH": "1",
    }


if __name__ == "__main__":
    words = command(Path(sys.argv[1]).resolve(), Path.cwd())
    os.execvp(words[0], words)
