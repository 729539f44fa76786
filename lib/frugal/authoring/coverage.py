"""How much of the lecture stands in the course: lecture.toml read, checked and counted.

    course/lecture.toml     every slide, equation, table row and reference, with pointers
       |  read_coverage     form checked, nothing missing, nothing twice
       v  Pointers          does each pointer lead somewhere?  (no module is imported: files and syntax trees only)
    Coverage                items with their state, and the problems in words

An item is done when it has every pointer that its kind needs, each leads somewhere, and nothing of it is planned.
Learn: CONTRIBUTING.md, "add a paper"; python -m frugal coverage prints the table.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frugal.authoring.lecture_form import KINDS, NUMBERS, TABLE_ROWS, needs, what_is_unknown, what_is_unreadable
from frugal.authoring.pointers import POINTERS, Pointers
from frugal.core.errors import CourseFileMissing, SourceError


@dataclass(frozen=True)
class Item:
    """One slide, equation, table row or reference of the lecture.

    key:      its number, or "table/row".
    standing: pointer kind -> where it leads.
    planned:  pointer kind -> where it will lead.
    reason:   why it needs less than its kind does (a title page, a background reference), or "".
    lacks:    pointer kinds that it needs and has not.
    dead:     pointers that lead nowhere.
    """

    kind: str
    key: str
    title: str
    standing: Mapping[str, tuple[str, ...]]
    planned: Mapping[str, tuple[str, ...]]
    reason: str = ""
    lacks: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Everything it needs stands, all of it leads somewhere, and nothing is left to come."""
        return not (self.lacks or self.dead or self.planned)

    @property
    def state(self) -> str:
        """One of "done", "planned", "broken"."""
        return "done" if self.done else "broken" if self.dead else "planned"


@dataclass(frozen=True)
class Coverage:
    """The items of lecture.toml, what is wrong with them, and what could be marked as done."""

    items: tuple[Item, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def done(self) -> int:
        """How many items are done."""
        return sum(item.done for item in self.items)

    @property
    def planned(self) -> int:
        """How many are not."""
        return len(self.items) - self.done


def read_coverage(root: Path) -> Coverage:
    """Read ``course/lecture.toml`` under ``root``, check its form and follow its pointers.

    Raises:
        CourseFileMissing: there is no lecture.toml.
        SourceError: it is not TOML; the message gives the line.
    """
    path = root / "course" / "lecture.toml"
    if not path.is_file():
        raise CourseFileMissing(f"{path} is missing; restore it with: git checkout -- course/lecture.toml")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} is not valid TOML: {error}") from None
    return _Reader(root).read(document)


class _Reader:
    """One walk over the document; collects items, problems and notes."""

    def __init__(self, root: Path) -> None:
        self.pointers = Pointers(root)
        errata = root / "ERRATA.md"
        text = errata.read_text(encoding="utf-8") if errata.is_file() else ""
        self.errata = set(re.findall(r'id="([\w-]+)"', text))
        self.items: list[Item] = []
        self.problems: list[str] = []
        self.arrived: dict[str, list[str]] = {}

    def read(self, document: dict[str, Any]) -> Coverage:
        for key in sorted(document.keys() - set(KINDS)):
            self.problems.append(f"unknown key {key!r} at the top; known are {', '.join(KINDS)}")
        for kind in KINDS:
            entries = document.get(kind, [])
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                self.problems.append(f"{kind} must be written as [[{kind}]]")
                continue
            for position, entry in enumerate(entries, 1):
                (self._table if kind == "table" else self._numbered)(kind, entry, position)
            if kind == "table":
                self._count_tables(entries)
            else:
                self._count_numbers(kind, entries)
        notes = (f"{target} exists now, yet is planned by {_some(names)}" for target, names in self.arrived.items())
        return Coverage(tuple(self.items), tuple(self.problems), tuple(notes))

    # ---- one entry ----

    def _numbered(self, kind: str, entry: dict[str, Any], position: int) -> None:
        number = entry.get("number")
        name = _name(kind, number) if type(number) is int else f"{kind} number {position} of the file"
        if not self._form(name, kind, entry):
            return
        self._add(name, kind, str(number), entry.get("title") or entry["text"], entry)

    def _table(self, kind: str, table: dict[str, Any], position: int) -> None:
        key = table.get("key")
        name = f"table {key!r}" if isinstance(key, str) else f"table number {position} of the file"
        if not self._form(name, kind, table):
            return
        keys = [str(row.get("key")) for row in table["row"]]
        self.problems += [f"{name} has row {key!r} {n} times" for key, n in Counter(keys).items() if n > 1]
        for place, row in enumerate(table["row"], 1):
            row_name = f"{name}, row {row.get('key', place)!r}"
            if not self._form(row_name, "row", row):
                continue
            if len(row["cells"]) != len(table["columns"]):
                self.problems.append(f"{row_name} has {len(row['cells'])} cells for {len(table['columns'])} columns")
            merged = _inherit(table, row)
            self._add(row_name, "table", f"{table['key']}/{row['key']}", row["cells"][0], merged)

    def _add(self, name: str, kind: str, key: str, title: str, entry: dict[str, Any]) -> None:
        standing = {p: _targets(entry[p]) for p in POINTERS if p in entry}
        planned = {p: _targets(entry["planned"][p]) for p in POINTERS if p in entry.get("planned", {})}
        dead = []
        for pointer, target in _pairs(standing):
            if why := self.pointers.why_dead(pointer, target):
                self.problems.append(f"{name}: {pointer} {target!r} {why}")
                dead.append(target)
        for pointer, target in _pairs(planned):
            why = self.pointers.why_dead(pointer, target)
            if why.startswith("is not of the form"):
                self.problems.append(f"{name}: planned.{pointer} {target!r} {why}")
            elif not why:
                self.arrived.setdefault(target, []).append(name)
        lacks = tuple(p for p in needs(kind, entry) if p not in standing)
        for pointer in lacks:
            if pointer not in planned:
                self.problems.append(f"{name} needs a {pointer}: point at it, or plan it with planned.{pointer}")
        reason = entry.get("frame") or entry.get("background") or ""
        self.items.append(Item(kind, key, title, standing, planned, reason, lacks, tuple(dead)))

    def _form(self, name: str, kind: str, entry: dict[str, Any]) -> bool:
        """Note what is wrong with the entry itself; False where it cannot be read further."""
        unreadable = what_is_unreadable(kind, entry)
        self.problems += [f"{name} {fault}" for fault in unreadable + what_is_unknown(kind, entry)]
        if not unreadable:
            self._links(name, entry)
        return not unreadable

    def _links(self, name: str, entry: dict[str, Any]) -> None:
        for number in entry.get("cites", []):
            if number not in NUMBERS["reference"]:
                self.problems.append(f"{name} cites [{number}]; the bibliography goes from 1 to 42")
        if "slide" in entry and entry["slide"] not in NUMBERS["slide"]:
            self.problems.append(f"{name} lies on slide {entry['slide']}; the slides go from 1 to 38")
        for erratum in entry.get("errata", []):
            if erratum not in self.errata:
                self.problems.append(f"{name}: erratum {erratum!r} has no anchor in ERRATA.md")

    # ---- the whole ----

    def _count_numbers(self, kind: str, entries: list[dict[str, Any]]) -> None:
        counts = Counter(entry["number"] for entry in entries if type(entry.get("number")) is int)
        for number in NUMBERS[kind]:
            if counts[number] != 1:
                self.problems.append(f"{_name(kind, number)} {_times(counts[number])}")
        for number in sorted(counts.keys() - set(NUMBERS[kind])):
            self.problems.append(f"{_name(kind, number)} is not in the lecture: it has 1 to {NUMBERS[kind][-1]}")

    def _count_tables(self, entries: list[dict[str, Any]]) -> None:
        counts = Counter(str(entry.get("key")) for entry in entries)
        for known in TABLE_ROWS:
            if counts[known] != 1:
                self.problems.append(f"table {known!r} {_times(counts[known])}")
        for entry in entries:
            key, rows = str(entry.get("key")), entry.get("row")
            found = len(rows) if isinstance(rows, list) else 0
            if key not in TABLE_ROWS:
                self.problems.append(f"table {key!r} is not in the lecture; known are {', '.join(TABLE_ROWS)}")
            elif found != TABLE_ROWS[key]:
                self.problems.append(f"table {key!r} has {found} rows; the lecture prints {TABLE_ROWS[key]}")


def _name(kind: str, number: object) -> str:
    return f"reference [{number}]" if kind == "reference" else f"{kind} {number}"


def _times(count: int) -> str:
    return "is missing" if count == 0 else f"stands {count} times"


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _pairs(pointers: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    return ((pointer, target) for pointer, targets in pointers.items() for target in targets)


def _targets(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _inherit(table: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """A row's pointers are its table's, unless it says its own: then both of the table's, standing and planned, go."""
    merged: dict[str, Any] = {"planned": {}}
    for pointer in POINTERS:
        own = pointer in row or pointer in row.get("planned", {})
        source = row if own else table
        if pointer in source:
            merged[pointer] = source[pointer]
        if pointer in source.get("planned", {}):
            merged["planned"][pointer] = source["planned"][pointer]
    return merged
