"""Follow a pointer of lecture.toml: does this notebook, module, lab or test exist?

    notebook   course/4_quantization/4_1_the_operator.ipynb    a file
    lab        labs/lab_4_1_affine                             a folder that holds a notebook
    module     frugal.quant.affine, frugal.quant.affine:quantize
    test       tests/quant/test_affine.py, tests/quant/test_affine.py::test_zero_has_a_code

Nothing is imported, so that no pointer costs the start of torch: names are looked up in the file's syntax tree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

FORMS = {
    "notebook": (r"course/\d_\w+/\d_\d+_\w+\.ipynb", "course/4_quantization/4_1_the_operator.ipynb"),
    "module": (r"frugal(\.[a-z_]\w*)+(:[A-Za-z_]\w*)?", "frugal.quant.affine:quantize"),
    "lab": (r"labs/lab_\d_\d+_\w+", "labs/lab_4_1_affine"),
    "test": (r"tests/[\w/]+\.py(::\w+)*", "tests/quant/test_affine.py::test_zero_has_a_code"),
}
POINTERS = tuple(FORMS)


class Pointers:
    """Follows pointers inside one course folder; remembers the syntax trees it has read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[Path, dict[str, set[str]] | str] = {}

    def why_dead(self, pointer: str, target: str) -> str:
        """Say why ``target`` leads nowhere; "" where it leads somewhere."""
        form, example = FORMS[pointer]
        if not re.fullmatch(form, target):
            return f"is not of the form {example!r}"
        if pointer == "notebook":
            return "" if (self.root / target).is_file() else "does not exist"
        if pointer == "lab":
            return "" if any((self.root / target).glob("*.ipynb")) else "holds no notebook"
        if pointer == "module":
            dotted, _, name = target.partition(":")
            return self._module(dotted, [name] if name else [])
        path, *names = target.split("::")
        return self._names_in(self.root / path, names)

    def _module(self, dotted: str, names: list[str]) -> str:
        path = self.root.joinpath("lib", *dotted.split("."))
        package = path / "__init__.py"
        if names or not package.is_file():
            return self._names_in(package if package.is_file() else path.with_suffix(".py"), names)
        return ""

    def _names_in(self, path: Path, names: list[str]) -> str:
        if not path.is_file():
            return f"does not exist (no file {path.relative_to(self.root)})"
        if not names:
            return ""
        known = self._read(path)
        if isinstance(known, str):
            return known
        if names[0] not in known:
            return f"does not exist: {path.relative_to(self.root)} has no top-level {names[0]!r}"
        if len(names) > 1 and names[1] not in known[names[0]]:
            return f"does not exist: {names[0]!r} in {path.relative_to(self.root)} has no {names[1]!r}"
        return ""

    def _read(self, path: Path) -> dict[str, set[str]] | str:
        if path not in self._names:
            try:
                self._names[path] = dict(_top_level(ast.parse(path.read_text(encoding="utf-8")).body))
            except SyntaxError as error:
                self._names[path] = f"cannot be read: {path.relative_to(self.root)} line {error.lineno}: {error.msg}"
        return self._names[path]


def _top_level(body: Iterable[ast.stmt]) -> Iterator[tuple[str, set[str]]]:
    """Every name that a module defines at its top level, with the names inside it where it is a class."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield node.name, {name for name, _ in _top_level(node.body)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, set()
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from ((n.id, set()) for n in ast.walk(target) if isinstance(n, ast.Name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (((alias.asname or alias.name).split(".")[0], set()) for alias in node.names)
        elif isinstance(node, ast.If | ast.Try):
            yield from _top_level([*node.body, *node.orelse])
