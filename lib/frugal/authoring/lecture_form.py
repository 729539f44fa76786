"""The form of lecture.toml: which items the lecture has, which keys an entry may carry, what each kind needs.

slide      notebook, module, test          title, contents and bibliography pages say frame = "..." and need nothing
equation   notebook, module, lab, test
table row  notebook, module, test          what a row does not say, it has from its table
reference  notebook, module, test          background = "..." (no method in it): a notebook
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from frugal.authoring.pointers import POINTERS

NEEDS = {
    "slide": ("notebook", "module", "test"),
    "equation": ("notebook", "module", "lab", "test"),
    "table": ("notebook", "module", "test"),
    "reference": ("notebook", "module", "test"),
}
KINDS = tuple(NEEDS)
NUMBERS = {"slide": range(1, 39), "equation": range(1, 7), "reference": range(1, 43)}
TABLE_ROWS = {
    "imagenet": 5,
    "detection": 6,
    "pose": 5,
    "cityscapes": 4,
    "translation": 3,
    "appliances": 17,
    "gpus": 5,
    "formats": 11,
    "devices": 4,
    "ptq": 3,
    "qat": 3,
    "pruning": 4,
}

_COMMON = {*POINTERS, "planned", "errata"}
_KEYS = {
    "slide": _COMMON | {"number", "title", "text", "cites", "frame"},
    "equation": _COMMON | {"number", "slide", "text"},
    "reference": _COMMON | {"number", "authors", "title", "venue", "background"},
    "table": _COMMON | {"key", "slide", "caption", "columns", "row"},
    "row": _COMMON | {"key", "cells", "note"},
}
_REQUIRED = {
    "slide": {"number", "title"},
    "equation": {"number", "slide", "text"},
    "reference": {"number", "authors", "title"},
    "table": {"key", "slide", "caption", "columns", "row"},
    "row": {"key", "cells"},
}


@dataclass(frozen=True)
class _Type:
    words: str
    fits: Callable[[Any], bool]


def _list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(type(v) is kind for v in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


_TEXT = _Type("a text", _is_text)
_TARGETS = _Type("a text or a list of texts", lambda value: _is_text(value) or _list_of(str)(value))
_TYPES = {
    **dict.fromkeys(("authors", "background", "caption", "frame", "key", "note", "text", "title", "venue"), _TEXT),
    **dict.fromkeys(POINTERS, _TARGETS),
    **dict.fromkeys(("cells", "columns", "errata"), _Type("a list of texts", _list_of(str))),
    **dict.fromkeys(("number", "slide"), _Type("a whole number", lambda value: type(value) is int)),
    "cites": _Type("a list of whole numbers", _list_of(int)),
    "row": _Type("written as [[table.row]]", _list_of(dict)),
    "planned": _Type("a table (planned.notebook = ...)", lambda value: isinstance(value, dict)),
}


def needs(kind: str, entry: dict[str, Any]) -> tuple[str, ...]:
    """Say which pointers this entry must have to be done."""
    if "frame" in entry:
        return ()
    return ("notebook",) if "background" in entry else NEEDS[kind]


def what_is_unreadable(kind: str, entry: dict[str, Any]) -> list[str]:
    """List keys that are missing and values of the wrong type: with any of them the entry cannot be used."""
    planned = entry["planned"] if isinstance(entry.get("planned"), dict) else {}
    values = {**entry, **{f"planned.{key}": value for key, value in planned.items()}}
    faults = [f"has no {key!r}" for key in sorted(_REQUIRED[kind] - entry.keys())]
    for key, value in values.items():
        expected = _TYPES.get(key.removeprefix("planned."))
        if expected and not expected.fits(value):
            faults.append(f"has {key} = {value!r}; it must be {expected.words}")
    return faults


def what_is_unknown(kind: str, entry: dict[str, Any]) -> list[str]:
    """List keys that this kind of entry does not know."""
    planned = entry["planned"] if isinstance(entry.get("planned"), dict) else {}
    faults = [(key, _KEYS[kind]) for key in entry.keys() - _KEYS[kind]]
    faults += [(f"planned.{key}", set(POINTERS)) for key in planned.keys() - set(POINTERS)]
    return [f"has unknown key {key!r}; known are {', '.join(sorted(known))}" for key, known in sorted(faults)]
