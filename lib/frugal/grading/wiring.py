"""What the two sides agree on before a submission: which modules are warm, which dataclasses of the course cross."""

from __future__ import annotations

import ast
import dataclasses
import sys
from typing import Any

from frugal.grading import cells as text
from frugal.grading.lab import Lab


def modules_of(lab: Lab) -> list[str]:
    """Return the modules that the lab's own cells and the stubs import: a warm process has them at hand."""
    found: list[str] = []
    for cell in lab.cells:
        if cell.role not in ("plain", "answer"):
            continue
        for node in ast.walk(ast.parse(text.plain(cell.source))):
            if isinstance(node, ast.Import):
                found += [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return list(dict.fromkeys(found))


def dataclasses_of(lab: Lab, names: dict[str, Any]) -> dict[str, type]:
    """Return the dataclasses of the course's modules that the lab imports from, by name."""
    places = {getattr(value, "__module__", None) for value in names.values()} | set(modules_of(lab))
    found: dict[str, type] = {}
    for place in sorted(each for each in places if isinstance(each, str) and each.startswith("frugal.")):
        for value in vars(sys.modules.get(place, object())).values() if place in sys.modules else ():
            if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__.startswith("frugal."):
                found[f"{value.__module__}:{value.__qualname__}"] = value
    return found
