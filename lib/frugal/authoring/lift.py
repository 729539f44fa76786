"""Lift a function of the library into a lab: one source for library, exercise and answer.

The signature and the docstring become the exercise, the body becomes the answer between nbgrader's markers.
The module is read as text and parsed, not imported: comments survive, and building a lab needs no torch.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

from frugal.authoring.percent import BEGIN_SOLUTION, END_SOLUTION
from frugal.core.errors import SourceError


def lift(target: str) -> str:
    """Return the text of ``"package.module:function"`` with its body between solution markers.

    Raises:
        SourceError: no such module or function, no docstring, or nothing after the docstring.
    """
    path, function = _locate(target)
    text = path.read_text(encoding="utf-8")
    return _with_markers(text.splitlines(), _find(ast.parse(text), function, target), target)


def module_file(module: str) -> Path | None:
    """Return the file of a module without importing it or its parent packages; None where there is none."""
    top, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    if not parts:
        return Path(spec.origin)
    base = Path(spec.origin).parent.joinpath(*parts)
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _locate(target: str) -> tuple[Path, str]:
    match = re.fullmatch(r"(?P<module>[\w.]+):(?P<function>\w+)", target)
    if not match:
        raise SourceError(f'lift={target!r} is not of the form "frugal.quant.affine:quantize"')
    path = module_file(match["module"])
    if path is None:
        raise SourceError(f"lift={target!r}: there is no module {match['module']}")
    return path, match["function"]


def _find(tree: ast.Module, function: str, target: str) -> ast.FunctionDef:
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if function not in functions:
        known = ", ".join(functions) or "none"
        raise SourceError(f"lift={target!r}: no top-level function is called {function!r}; the module has {known}")
    return functions[function]


def _with_markers(lines: list[str], node: ast.FunctionDef, target: str) -> str:
    if ast.get_docstring(node) is None:
        raise SourceError(f"lift={target!r}: the function has no docstring, and the docstring is the exercise")
    if len(node.body) < 2:
        raise SourceError(
            f"lift={target!r}: the function has nothing after its docstring, so there is no answer to lift"
        )
    docstring, last = node.body[0], node.body[-1]
    assert docstring.end_lineno is not None
    assert last.end_lineno is not None
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    exercise = lines[start - 1 : docstring.end_lineno]
    answer = lines[docstring.end_lineno : _end_of_body(lines, last.end_lineno, docstring.col_offset)]
    while not answer[0].strip():
        answer = answer[1:]
    indent = " " * docstring.col_offset
    return "\n".join([*exercise, indent + BEGIN_SOLUTION, *answer, indent + END_SOLUTION])


def _end_of_body(lines: list[str], end: int, indent: int) -> int:
    """Return where the body ends, comments after its last statement included."""
    for number, line in enumerate(lines[end:], end + 1):
        if not line.strip():
            continue
        if not (line.startswith(" " * indent) and line.lstrip().startswith("#")):
            break
        end = number
    return end
