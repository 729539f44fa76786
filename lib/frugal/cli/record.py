"""What every ``--json FILE`` holds: the rows and their summary, with the machine, the versions, the date, the command.

{"machine": ..., "versions": ..., "date": ..., "command": ..., "rows": [...], "summary": {...}}
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

VERSIONS = ("frugal", "torch", "torchvision", "numpy", "jupyterlab", "nbgrader")


def cores() -> int:
    """How many cores this process may use: what a container or ``taskset`` leaves of the machine's."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """The machine's memory, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as it calls itself, or its architecture where it has no name to tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Describe the machine; nothing here names its owner."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": processor(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
    }


def versions() -> dict[str, str]:
    """The versions of Python and of what the course stands on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def record(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Put rows and summary together with where, when and how they came about."""
    command = ["python -m frugal" if sys.argv[0].endswith("__main__.py") else Path(sys.argv[0]).name]
    return {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(command + [shlex.quote(word) for word in sys.argv[1:]]),
        "rows": [dict(row) for row in rows],
        "summary": dict(summary),
    }


def write_json(path: Path, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
    """Write the record whole: a run that is interrupted leaves the earlier file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(record(rows, summary), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
