"""Compile one C++ file when a bench needs it, and open it: the shim to oneDNN, and the probe of the machine's peaks."""

from __future__ import annotations

import atexit
import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from frugal.bench.peer import Missing

COMPILERS = ("c++", "g++", "clang++")
SOURCES = Path(__file__).with_name("csrc")


@cache
def library(source: str, *flags: str) -> ctypes.CDLL:
    """Compile ``csrc/<source>`` into a temporary folder and open it; once in a process.

    Raises:
        Missing: there is no compiler, or it refuses; the message says which and why.
    """
    compiler = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if compiler is None:
        raise Missing(f"no C++ compiler ({', '.join(COMPILERS)}) for {source}: install one")
    target = _folder() / f"{Path(source).stem}.so"
    run([compiler, "-std=c++17", "-O2", "-shared", "-fPIC", str(SOURCES / source), "-o", str(target), *flags], source)
    try:
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise Missing(f"{source} was compiled and cannot be opened: {error}") from None


def run(command: Sequence[str], source: str) -> None:
    """Run the compiler; a failure becomes one line."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise Missing(f"{source} does not compile here: {lines[0].strip() if lines else 'the compiler said nothing'}")


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="frugal-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
