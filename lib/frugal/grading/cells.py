"""What a cell binds and what it uses, read from its text alone.

A lab has many cells that no test needs: pictures, tables, trained networks. The judge runs a cell only where something
that is graded uses a name which the cell binds, directly or through other cells.
"""

from __future__ import annotations

import ast
import functools
import re
import symtable
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"


@dataclass(frozen=True)
class Names:
    """The global names of one cell.

    binds: given a value, or changed in place by a statement such as ``table["a"] = 1`` or ``rows.append(1)``.
    uses:  read, in functions as well.
    everything: the cell says ``from ... import *``, so what it binds is not known.
    """

    binds: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    everything: bool = False


def plain(source: str) -> str:
    """Return a cell's text without magics and shell lines, which only IPython understands."""
    lines = source.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("%%") and first.split()[0] not in ("%%time", "%%timeit", "%%capture"):
        return ""
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)


@functools.lru_cache(maxsize=4096)
def names(source: str) -> Names:
    """Read the global names of a cell; none where the text is not Python, or nested deeper than anybody writes."""
    try:
        return _read(plain(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Names()


def _read(text: str) -> Names:
    tree = ast.parse(text)
    table = symtable.symtable(text, "cell", "exec")
    binds = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    uses: set[str] = set()
    _inner(table, binds, uses)
    uses -= binds  # a function is called after its cell has run
    bound: set[str] = set()
    for node in tree.body:
        uses |= {each for each in _at_once(node) if each not in bound}
        bound |= _bound(node)
    changed = {name for node in tree.body for name in _changed(node)}
    star = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in tree.body)
    return Names(frozenset(binds | changed), frozenset(uses), star)


def _inner(table: symtable.SymbolTable, binds: set[str], uses: set[str]) -> None:
    for child in table.get_children():
        for symbol in child.get_symbols():
            if symbol.is_global():
                (binds if symbol.is_assigned() else uses).add(symbol.get_name())
        _inner(child, binds, uses)


def _at_once(node: ast.stmt) -> set[str]:
    """Name what a top-level statement reads while it runs, and does not itself bind first."""
    own = _bound(node) if isinstance(node, (ast.For, ast.With, ast.Try, ast.While, ast.If)) else set()
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        parts: list[ast.AST] = [*node.decorator_list, node.args, *([node.returns] if node.returns else [])]
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        return set()
    else:
        parts = [node]
    loads = {each.id for part in parts for each in _walk(part) if isinstance(each, ast.Name)}
    stores = {
        each.id
        for part in parts
        for each in _walk(part)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    }
    read = {
        each.id
        for part in parts
        for each in _walk(part)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    }
    again = {node.target.id} if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) else set()
    return ((loads - stores) | read | again) - own - _local(node)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs now: not into the bodies of functions."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        yield from _walk(child)


def _local(node: ast.stmt) -> set[str]:
    """The variables of comprehensions, which are not the cell's."""
    return {
        each.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.comprehension)
        for each in ast.walk(inner.target)
        if isinstance(each, ast.Name)
    }


def _bound(node: ast.stmt) -> set[str]:
    """Name what a statement binds at the top level, nested blocks included."""
    found: set[str] = set()
    for each in _walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            found.add(each.id)
        elif isinstance(each, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in each.names}
        for child in ast.iter_child_nodes(each):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.add(child.name)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        found.add(node.name)
    return found


def _changed(node: ast.stmt) -> set[str]:
    """Name what a statement changes without binding it."""
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {root for target in targets if (root := _root(target))}
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        root = _root(node.value.func)
        return {root} if root else set()
    return set()


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def needed(cells: Sequence[Names], roots: Mapping[int, int]) -> set[int]:
    """Return the cells that ``roots`` need, themselves included: a cell needs who binds what it uses.

    Args:
        cells: the names of each, in order.
        roots: the cells that count, each with the place before which all that it needs has to stand.

    >>> setup, answer, plot = names("import math"), names("def answer(x): return math.pi"), names("shown = answer(1)")
    >>> sorted(needed([setup, answer, plot], roots={1: 3}))
    [0, 1]
    """
    found = dict(roots)
    waiting = list(roots)
    while waiting:
        place = waiting.pop()
        uses, limit = cells[place].uses, found[place]
        for index, cell in enumerate(cells[:limit]):
            if found.get(index, -1) < limit and (cell.everything or cell.binds & uses):
                found[index] = max(limit, found.get(index, -1))
                waiting.append(index)
    return set(found)


def defined(source: str) -> tuple[str, ...]:
    """Return the names that an answer gives: its definitions and assignments, in order."""
    found: list[str] = []
    for node in ast.parse(plain(source)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            found.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
    return tuple(dict.fromkeys(name for name in found if not name.startswith("_")))


def has_hidden(source: str) -> bool:
    return BEGIN_HIDDEN in source


def visible(source: str) -> str:
    """Return a cell's text without its hidden tests."""
    kept, inside = [], False
    for line in source.splitlines():
        if line.strip() == BEGIN_HIDDEN:
            inside = True
        elif line.strip() == END_HIDDEN:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def printable(words: str) -> str:
    """Return a student's words without what acts on a terminal or a database, turns the direction, or is half a letter.

    >>> printable("red: \\x1b[31m, zero: \\0")
    'red: ?[31m, zero: ?'
    """
    return _ACTING.sub("?", words)


@functools.lru_cache(maxsize=1024)
def sayings(source: str) -> frozenset[str]:
    """Return the whole strings that stand in a test: what it may tell a student without telling an input."""
    tree = ast.parse(plain(source))
    return frozenset(
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
