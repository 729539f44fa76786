"""Write down a measurement so that somebody else can repeat it: machine, versions, date, command, rows, summary."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("frugal", "torch", "torchvision", "numpy")


def machine() -> dict[str, Any]:
    """Describe this machine in the words that a reader of a measurement needs; no host name, no path."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def record(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], command: str | None = None) -> dict[str, Any]:
    """Put a measurement and its circumstances into one value.

    Args:
        rows: one mapping per measured case, units in the keys.
        summary: the figures to quote.
        command: what was run; by default the command line of this process, with file names but without their folders.
    """
    if not rows:
        raise ValueError("a record needs at least one row, got none; nothing was measured")
    return {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
        "command": command or _command_line(),
        "rows": [dict(row) for row in rows],
        "summary": dict(summary),
    }


def save(result: Mapping[str, Any], file: str | Path) -> None:
    """Write a record as JSON, whole or not at all."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(file)


def _command_line() -> str:
    """Return what was typed, with ``python -m frugal`` spelled out and without the folders of this machine."""
    script, *words = sys.argv
    name = Path(script).name
    if name == "__main__.py":
        spelled = f"-m {Path(script).parent.name}"
    elif Path(script).parent.name == "benchmarks":
        spelled = f"benchmarks/{name}"
    else:
        spelled = name
    return " ".join(["python", spelled, *(Path(word).name if word.startswith("/") else word for word in words)])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
