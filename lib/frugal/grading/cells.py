"""What a cell binds and what it uses, read from its text alone.

A lab has many cells that no test needs: pictures, tables, trained networks. The judge runs a cell only where something
that is graded uses a name which the cell binds, directly or through other cells.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


def names(source: str) -> Names:
    """Read the global names of a cell; none where the text is not Python."""
    text = plain(source)
    try:
        tree = ast.parse(text)
        table = symtable.symtable(text, "cell", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Names()
    binds = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    uses = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    _inner(table, binds, uses)
    for node in tree.body:
        binds |= _changed(node)
    star = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in tree.body)
    return Names(frozenset(binds), frozenset(uses), star)


def _inner(table: symtable.SymbolTable, binds: set[str], uses: set[str]) -> None:
    for child in table.get_children():
        for symbol in child.get_symbols():
            if symbol.is_global():
                (binds if symbol.is_assigned() else uses).add(symbol.get_name())
        _inner(child, binds, uses)


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


def needed(cells: Sequence[Names], roots: Iterable[int]) -> set[int]:
    """Return the cells that ``roots`` need, themselves included: a cell needs who binds what it uses.

    >>> setup, plot, answer = names("import math"), names("shown = answer(1)"), names("def answer(x): return math.pi")
    >>> sorted(needed([setup, plot, answer], roots=[2]))
    [0, 2]
    """
    found, waiting = set(roots), list(roots)
    while waiting:
        uses = cells[waiting.pop()].uses
        for index, cell in enumerate(cells):
            if index not in found and (cell.everything or cell.binds & uses):
                found.add(index)
                waiting.append(index)
    return found


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


def sayings(source: str) -> frozenset[str]:
    """Return the whole strings that stand in a test: what it may tell a student without telling an input."""
    tree = ast.parse(plain(source))
    return frozenset(
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
