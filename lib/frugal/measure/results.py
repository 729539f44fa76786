"""Read a stored measurement back, and say where it comes from.

    result = read("../../benchmarks/results/ptq.json")
    print(provenance(result))
    for row in rows_where(result, network="resnet20", bits="W4A4"): ...

``measure.record`` writes such files; what is read here is refused when a part of them is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frugal.core.errors import CourseFileMissing

PARTS = ("machine", "versions", "date", "command", "rows", "summary")


def read(file: str | Path) -> dict[str, Any]:
    """Read one record of ``benchmarks/results``.

    Raises:
        CourseFileMissing: there is no such file.
        ValueError: it is not a record; the message names the part that is missing.
    """
    file = Path(file)
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseFileMissing(
            f"there is no measurement {file.name}; python benchmarks/{file.stem}.py --json {file.as_posix()} makes it"
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{file.name} is not JSON: {error}; restore it from the repository") from error
    missing = [part for part in PARTS if part not in result] if isinstance(result, dict) else list(PARTS)
    if missing:
        raise ValueError(f"{file.name} lacks {', '.join(missing)}; a record holds {', '.join(PARTS)}")
    return result


def provenance(result: Mapping[str, Any]) -> str:
    """Say in two lines when, on what and with what command a record was measured.

    >>> print(provenance({"date": "2026-01-31", "machine": {"processor": "a CPU", "cores": 2},
    ...                   "versions": {"torch": "2.9"}, "command": "python benchmarks/ptq.py"}))
    Measured on 2026-01-31, a CPU, 2 cores, torch 2.9,
    by python benchmarks/ptq.py
    """
    machine = result["machine"]
    words = [str(result["date"])[:10], str(machine.get("processor", "an unknown processor"))]
    if "cores" in machine:
        words.append(f"{machine['cores']} cores")
    if "torch" in result["versions"]:
        words.append(f"torch {result['versions']['torch']}")
    return f"Measured on {', '.join(words)},\nby {result['command']}"


def rows_where(result: Mapping[str, Any], **wanted: Any) -> list[Mapping[str, Any]]:
    """Return the rows that hold all of the wanted values.

    >>> rows_where({"rows": [{"bits": "W8A8", "x": 1}, {"bits": "W4A4", "x": 2}]}, bits="W4A4")
    [{'bits': 'W4A4', 'x': 2}]
    """
    return [row for row in result["rows"] if all(row.get(key) == value for key, value in wanted.items())]


def lay_out(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Lay cells out as text: the first column to the left, the others to the right.

    >>> print(lay_out(("bits", "top-1"), [("W8A8", "91.8"), ("W4A4", "7")]))
    bits  top-1
    W8A8   91.8
    W4A4      7
    """
    lines = [[str(cell) for cell in line] for line in (header, *rows)]
    if len({len(line) for line in lines}) != 1:
        raise ValueError(f"every row needs {len(lines[0])} cells, as the header has")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
