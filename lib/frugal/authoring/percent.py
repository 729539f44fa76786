"""Percent text to cells: the only place that knows our source format.

    # %% [markdown] id="question"                                   words
    # %% id="measure" tags="nbval-ignore-output" alt="a staircase"  code
    # %% solution="quantize" lift="frugal.quant.affine:quantize"    an exercise, its answer lifted from the library
    # %% test="quantize" points=1                                   its visible check
    # %% hidden="quantize" points=2                                 its hidden tests: the whole cell

While a lab is graded, a student's code finds no body behind a lifted name. A solution's header may say more:

    mask="frugal.quant.rounding:half_up,torch:round"   these have no body either; of other packages, only their top
    allow="frugal.quant.layers:map_tensors"            an answer may call this, beside what the lab's first cell imports

jupytext splits the text and restores magics; options, ids, words and the rules of grading are read here.
"""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import jupytext

from frugal.core.errors import SourceError

BEGIN_SOLUTION, END_SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"

OPTIONS = {
    "markdown": ("id", "tags"),
    "plain": ("id", "tags", "alt"),
    "solution": ("solution", "lift", "mask", "allow", "tags"),
    "test": ("test", "points", "tags"),
    "hidden": ("hidden", "points", "tags"),
}
ROLES = ("solution", "test", "hidden")

_HEADER = re.compile(r"# %%(?P<rest>\s.*)?")
_KIND = re.compile(r"\[(?P<kind>[\w ]*)\]\s*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Cell:
    """One cell of a source.

    role:     "markdown", "plain", "solution", "test" or "hidden".
    exercise: the name that a solution, its test and its hidden tests share; empty for other cells.
    lift:     "package.module:function" whose body answers the exercise; empty where the author wrote it.
    points:   what nbgrader gives for the cell; 0 where it gives none.
    line:     where the cell begins in the source, counted from 1.
    mask, allow: "module:name" of what an answer must not find, and of what it may call, while it is graded.
    """

    role: str
    id: str
    source: str
    line: int
    exercise: str = ""
    lift: str = ""
    points: float = 0.0
    alt: str = ""
    tags: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Header:
    line: int
    kind: str
    options: dict[str, str] = field(default_factory=dict)


def read_source(path: Path) -> list[Cell]:
    """Read the cells of a notebook source; raise SourceError where it cannot be built."""
    return read_cells(path.read_text(encoding="utf-8"), path.name)


def read_cells(text: str, name: str = "source") -> list[Cell]:
    """Turn percent text into cells.

    Raises:
        SourceError: naming file and line, what was found, and what is allowed.

    >>> [cell.id for cell in read_cells('# %% [markdown] id="why"\\n# Why?\\n\\n# %% id="sum"\\n1 + 1\\n')]
    ['why', 'sum']
    """
    headers = [
        _header(line, number, name) for number, line in enumerate(text.splitlines(), 1) if _HEADER.fullmatch(line)
    ]
    if not headers:
        raise SourceError(f'{name}: no cell found; a cell begins with a line such as # %% id="measure"')
    sources = _split(text, headers, name)
    cells = [_cell(header, source, name) for header, source in zip(headers, sources, strict=True)]
    _check_ids(cells, name)
    _check_grading(cells, name)
    return cells


def _header(line: str, number: int, name: str) -> _Header:
    rest = line.removeprefix("# %%").strip()
    kind = "code"
    if match := _KIND.match(rest):
        kind, rest = match["kind"], rest[match.end() :]
    if kind not in ("code", "markdown"):
        raise SourceError(f"{name}:{number}: found a [{kind}] cell; a cell is # %% (code) or # %% [markdown]")
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise SourceError(f'{name}:{number}: cannot read {rest!r} ({error}); write name="value"') from None
    options: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise SourceError(f'{name}:{number}: found {word!r} in a cell\'s header; only name="value" may stand there')
        if key in options:
            raise SourceError(f"{name}:{number}: option {key!r} is given twice")
        options[key] = value
    return _Header(number, kind, options)


def _split(text: str, headers: list[_Header], name: str) -> list[str]:
    """Let jupytext cut the text; it gets headers without options, because it would not keep ours as they are."""
    lines = text.splitlines()
    first = headers[0].line - 1
    before = "\n".join(lines[:first]).strip()
    if before:
        raise SourceError(f"{name}:1: found text before the first cell: {before.splitlines()[0]!r}; begin with # %%")
    for header in headers:
        lines[header.line - 1] = "# %% [markdown]" if header.kind == "markdown" else "# %%"
    cells = jupytext.reads("\n".join(lines[first:]) + "\n", fmt="py:percent").cells
    if len(cells) != len(headers):
        raise SourceError(
            f"{name}: {len(headers)} lines begin with # %% but jupytext sees {len(cells)} cells; "
            "no such line may stand inside a string"
        )
    ends = [header.line - 1 for header in headers[1:]] + [len(lines)]
    return [
        _words(lines, header.line, end, name) if header.kind == "markdown" else _bare(cell.source.strip("\n"))
        for header, end, cell in zip(headers, ends, cells, strict=True)
    ]


def _bare(source: str) -> str:
    """Take the comment signs from a cell of another language: jupytext takes only that of its magic, ``%%cpp``."""
    first, *rest = source.split("\n")
    if not first.startswith("%%") or not all(line.startswith("#") for line in rest):
        return source
    return "\n".join([first, *(line.removeprefix("#").removeprefix(" ") for line in rest)])


def _words(lines: list[str], start: int, end: int, name: str) -> str:
    """Take the comment signs away. jupytext takes two from every line where a short file opens with a heading."""
    for number, line in enumerate(lines[start:end], start + 1):
        if line.strip() and not line.startswith("#"):
            raise SourceError(f"{name}:{number}: found {line!r} in a markdown cell; every line of it begins with #")
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[start:end]).strip("\n")


def _cell(header: _Header, source: str, name: str) -> Cell:
    where, options = f"{name}:{header.line}", header.options
    roles = [role for role in ROLES if role in options]
    if len(roles) > 1:
        raise SourceError(f"{where}: found {' and '.join(roles)} on one cell; a cell is one of {', '.join(ROLES)}")
    role = roles[0] if roles else "markdown" if header.kind == "markdown" else "plain"
    if roles and header.kind == "markdown":
        raise SourceError(f"{where}: found {role}= on a markdown cell; only code cells are graded")
    for key in options:
        if key not in OPTIONS[role]:
            raise SourceError(f"{where}: found unknown option {key!r}; a {role} cell takes {', '.join(OPTIONS[role])}")
    exercise = options.get(role, "") if roles else ""
    if roles and not exercise.isidentifier():
        raise SourceError(f"{where}: found {role}={exercise!r}; the name of an exercise is a Python name")
    cell = Cell(
        role=role,
        id=_identity(role, exercise, options, where),
        source=source,
        line=header.line,
        exercise=exercise,
        lift=options.get("lift", ""),
        points=_points(role, options, where),
        alt=options.get("alt", ""),
        tags=_listed(options, "tags"),
        mask=_targets(options, "mask", where),
        allow=_targets(options, "allow", where),
    )
    _check_markers(cell, where)
    _check_syntax(cell, where)
    return cell


def _identity(role: str, exercise: str, options: dict[str, str], where: str) -> str:
    if role == "solution":
        return exercise
    if role in ("test", "hidden"):
        return f"{role}-{exercise}"
    if "id" not in options:
        raise SourceError(f'{where}: found a {role} cell without an id; write id="a-name", so that rebuilds are equal')
    if not _ID.fullmatch(options["id"]):
        raise SourceError(f"{where}: found id={options['id']!r}; an id is 1 to 64 of the characters A-Z a-z 0-9 - _")
    return options["id"]


def _listed(options: dict[str, str], key: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in options.get(key, "").split(",") if each.strip())


def _targets(options: dict[str, str], key: str, where: str) -> tuple[str, ...]:
    for each in (found := _listed(options, key)):
        if not _TARGET.fullmatch(each):
            raise SourceError(f'{where}: found {key}={each!r}; a name is "package.module:function", more after a comma')
    return found


def _points(role: str, options: dict[str, str], where: str) -> float:
    if role not in ("test", "hidden"):
        return 0.0
    if "points" not in options:
        raise SourceError(f"{where}: found a {role} cell without points; write points=1")
    try:
        points = float(options["points"])
    except ValueError:
        points = -1.0
    if not 0 < points < 1000:
        raise SourceError(f"{where}: found points={options['points']!r}; points are a number above 0")
    return points


def _check_markers(cell: Cell, where: str) -> None:
    """Markers stand once, in order, in a solution cell that is not lifted, and nowhere else."""
    if not cell.source.strip() and not cell.lift:
        raise SourceError(f"{where}: found an empty {cell.role} cell; write something or take it out")
    found = [
        line.strip() for line in cell.source.splitlines() if re.search(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS)", line)
    ]
    if cell.role == "solution" and not cell.lift:
        if found != [BEGIN_SOLUTION, END_SOLUTION]:
            raise SourceError(
                f"{where}: found markers {found}; a solution cell without lift= holds the answer "
                f"between one line {BEGIN_SOLUTION} and one line {END_SOLUTION}"
            )
    elif found:
        raise SourceError(
            f"{where}: found {found[0]!r} in a {cell.role} cell; the builder writes the markers "
            "of lifted answers and of hidden= cells, and other cells have none"
        )


def _check_syntax(cell: Cell, where: str) -> None:
    """Graded cells are plain Python: the marker reads them without IPython."""
    if cell.role not in ROLES:
        return
    try:
        ast.parse(cell.source)
    except SyntaxError as error:
        raise SourceError(
            f"{where}: line {error.lineno} of this {cell.role} cell is not Python ({error.msg}); "
            "graded cells hold plain Python, without magics"
        ) from None


def _check_ids(cells: list[Cell], name: str) -> None:
    seen: dict[str, int] = {}
    for cell in cells:
        if cell.id in seen:
            raise SourceError(f"{name}:{cell.line}: found id {cell.id!r} again; line {seen[cell.id]} has it already")
        seen[cell.id] = cell.line


def _check_grading(cells: list[Cell], name: str) -> None:
    """A test needs a solution above it."""
    solutions = [cell for cell in cells if cell.role == "solution"]
    known = ", ".join(cell.exercise for cell in solutions) or "none"
    for cell in cells:
        if cell.role not in ("test", "hidden"):
            continue
        above = [solution for solution in solutions if solution.exercise == cell.exercise]
        if not above:
            raise SourceError(
                f"{name}:{cell.line}: found {cell.role}={cell.exercise!r} without a cell "
                f"solution={cell.exercise!r}; the solutions are: {known}"
            )
        if above[0].line > cell.line:
            raise SourceError(
                f"{name}:{cell.line}: found {cell.role}={cell.exercise!r} above its solution "
                f"(line {above[0].line}); move it below"
            )
