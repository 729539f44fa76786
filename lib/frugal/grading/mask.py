"""A copy of the library without the answers, for the process that a student's code runs in.

    frugal.quant, frugal.prune, ...  bodies go, unless the lab's first cell imports the name, or its metadata allows it
    what the lab lifts, and what it goes on with where an exercise is open, loses its body wherever it stands
    core, data, nets, measure, show  stay
    authoring, bench, cli, native kernels, sources of kernels  are left out

A function without its body keeps its signature and docstring, which are the exercise, and raises NotImplementedError.
The copy takes the place of the library on disk: its source, its byte code and ``inspect`` hold nothing more.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from frugal.grading import cells as text
from frugal.grading.lab import PACKAGE, Lab

METHODS = ("quant", "prune", "kernels", "survey", "graph")  # packages whose every function may be an exercise
CARDS = f"{PACKAGE.name}.quant.recipe"  # names put together: its bodies run while it is imported and hold no method
LEFT_OUT = ("authoring", "bench", "cli", "__main__")
GRADING = (  # what a worker runs on
    *("__init__", "errors", "limits", "plain", "packing", "opening", "wire"),
    *("confine", "zygote", "worker", "modules", "edits"),
)
GONE = 'raise NotImplementedError("the library\'s version of {name} is not at hand while a lab is graded")'

AT_IMPORT = ("__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass
class _Module:
    name: str
    path: Path
    source: str
    tree: ast.Module
    defines: dict[str, Definition] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)  # local name -> "module:name" or "module"


def masked(lab: Lab) -> set[str]:
    """Return what must not be at hand, as "package.module:name": lifted, gone on with, or declared."""
    found: set[str] = set()
    for cell in lab.cells:
        found |= set(_gone_on_with(lab, cell.source))
    found -= set(_at_hand(lab).values())  # a fallback uses these, and so may an answer
    return found | set(lab.mask) | {lift for cell in lab.cells if (lift := cell.meta.get("frugal", {}).get("lift"))}


def build(lab: Lab, into: Path) -> Path:
    """Write the library without the lab's answers to ``into/frugal`` and return that folder."""
    target = into / PACKAGE.name
    modules = {module.name: module for module in _modules()}
    hidden = masked(lab)
    kept = _kept(lab, modules, hidden)
    _copy_data(target)
    for module in modules.values():
        file = target / module.path.relative_to(PACKAGE)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_without_bodies(module, hidden, kept), encoding="utf-8")
    return target


# ---- what goes -------------------------------------------------------------------------------------------------------


def _gone_on_with(lab: Lab, source: str) -> Iterator[str]:
    """Yield the library's names behind ``go_on``: its reference, or what its fallback uses."""
    try:
        tree = ast.parse(text.plain(source))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not _called(node).endswith("go_on"):
            continue
        for value in [*node.args[1:], *(keyword.value for keyword in node.keywords)]:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value
            elif isinstance(value, ast.Name):
                yield from _behind(lab, value.id)


def _behind(lab: Lab, fallback: str) -> Iterator[str]:
    """Yield the names of method packages that a function of the lab uses, through the lab's own globals."""
    imported: dict[str, str] = {}
    bound: dict[str, set[str]] = {}
    for cell in lab.cells:
        if cell.role not in ("plain", "answer"):
            continue
        for node in ast.parse(text.plain(cell.source)).body:
            imported |= _imports(node)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                bound[node.name] = _loads(node)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        bound[target.id] = _loads(node)
    waiting, seen = [fallback], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if _is_method(imported.get(name, "")):
            yield imported[name]
        elif name in bound and name not in lab.asked:
            waiting += bound[name]


def _kept(lab: Lab, modules: dict[str, _Module], hidden: set[str]) -> set[str]:
    """Return what keeps its body: what the first cell imports and the lab allows, and all that these need.

    Of what only runs while a module is imported, such as the making of a table's rows, just the constructors are kept.
    """
    wanted = [target for target in _at_hand(lab).values() if ":" in target] + list(lab.allow)
    kept = _closed(modules, wanted, hidden, constructors=False)
    at_import = [_resolve(module, name) for module in modules.values() for name in _loads_at_import(module.tree)]
    at_import += [f"{module.name}:{name}" for module in modules.values() for name in _with_hooks(module)]
    return kept | _closed(modules, at_import, hidden, constructors=True)


def _closed(modules: dict[str, _Module], wanted: list[str], hidden: set[str], *, constructors: bool) -> set[str]:
    """Return what ``wanted`` needs of the packages of methods, itself included."""
    waiting, seen, found = list(wanted), set(hidden), set()
    while waiting:
        target = waiting.pop()
        if target in seen or not _is_method(target):
            continue
        seen.add(target)
        home, _, name = target.partition(":")
        module = modules.get(home)
        node = module.defines.get(name) if module else None
        if module and node is None and name in module.imports:
            waiting.append(module.imports[name])
        if module is None or node is None:
            continue
        parts: list[ast.AST] = [node]
        if constructors and isinstance(node, ast.ClassDef):
            own = _constructors(node)
            parts = [*own, *node.bases]
            found |= {f"{target}.{each.name}" for each in own}
        else:
            found.add(target)
        waiting += [_resolve(module, each) for part in parts for each in _loads(part)]
    return found


def _constructors(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """Return the methods that run when an object is made: the constructors, and what they call of their own class."""
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    waiting, found = [name for name in AT_IMPORT if name in methods], {}
    while waiting:
        name = waiting.pop()
        found[name] = methods[name]
        named = {each.attr for each in ast.walk(methods[name]) if isinstance(each, ast.Attribute)}
        waiting += [each for each in named if each in methods and each not in found]
    return list(found.values())


def _with_hooks(module: _Module) -> list[str]:
    """Return the classes that do something when another class is made of them."""
    return [
        name
        for name, node in module.defines.items()
        if isinstance(node, ast.ClassDef)
        and any(getattr(each, "name", "") in ("__init_subclass__", "__set_name__") for each in node.body)
    ]


def _at_hand(lab: Lab) -> dict[str, str]:
    """Return what the lab's first cell imports: what every answer may call."""
    first = next((cell for cell in lab.cells if cell.role == "plain"), None)
    imported: dict[str, str] = {}
    for node in ast.parse(text.plain(first.source)).body if first else ():
        imported |= _imports(node)
    return imported


def _resolve(module: _Module, name: str) -> str:
    return module.imports.get(name, f"{module.name}:{name}")


def _is_method(target: str) -> bool:
    if target.startswith((f"{CARDS}.", f"{CARDS}:")):
        return False
    packages = tuple(f"{PACKAGE.name}.{each}{end}" for each in METHODS for end in ".:")
    return target.startswith(packages)


# ---- how it goes -----------------------------------------------------------------------------------------------------


def _without_bodies(module: _Module, hidden: set[str], kept: set[str]) -> str:
    """Return a module's text with the bodies taken out, line for line where nothing is."""
    strict = _is_method(f"{module.name}:")
    cuts: list[tuple[int, int, str]] = []
    for name, node in module.defines.items():
        target = f"{module.name}:{name}"
        gone = any(each == target or each.startswith(f"{target}.") for each in hidden)
        if not gone and (not strict or target in kept):
            continue
        functions: list[ast.stmt] = [node]
        if isinstance(node, ast.ClassDef):
            functions = [each for each in node.body if _is_function(each)]
            functions = [each for each in functions if f"{target}.{getattr(each, 'name', '')}" not in kept]
        cuts += [cut for function in functions if (cut := _cut(function, name))]
    lines = module.source.splitlines()
    for start, end, stand_in in sorted(cuts, reverse=True):
        lines[start:end] = [stand_in]
    return _strip_comments("\n".join(lines) + "\n") if cuts else module.source


def _cut(node: ast.stmt, name: str) -> tuple[int, int, str] | None:
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    body = node.body
    documented = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) and len(body) > 1
    first = body[1] if documented else body[0]
    if documented is False and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        return None  # a docstring and nothing else
    if first.lineno == node.lineno:
        return None  # on one line
    start = min([first.lineno, *(each.lineno for each in getattr(first, "decorator_list", ()))]) - 1
    end = max(each.end_lineno or 0 for each in body)
    return start, end, " " * first.col_offset + GONE.format(name=name)


def _strip_comments(source: str) -> str:
    """Comments explain bodies; take out those that stand on a line of their own."""
    return re.sub(r"(?m)^[ \t]*#.*\n", "\n", source)


def _is_function(node: ast.stmt) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


# ---- reading the library ---------------------------------------------------------------------------------------------


def _modules() -> Iterator[_Module]:
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        if "__pycache__" in inside.parts or inside.parts[0].removesuffix(".py") in LEFT_OUT:
            continue
        if inside.parts[0] == "grading" and inside.stem not in GRADING:
            continue
        parts = [PACKAGE.name, *inside.with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        source = path.read_text(encoding="utf-8")
        module = _Module(name, path, source, ast.parse(source))
        for node in _statements(module.tree.body):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                module.defines[node.name] = node
            module.imports |= _imports(node)
        yield module


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those under ``if`` and ``try`` included."""
    for node in body:
        yield node
        for inner in ("body", "orelse", "finalbody"):
            if isinstance(node, (ast.If, ast.Try, ast.With)):
                yield from _statements(getattr(node, inner, ()))


def _imports(node: ast.stmt) -> dict[str, str]:
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {each.asname or each.name: f"{node.module}:{each.name}" for each in node.names}
    if isinstance(node, ast.Import):
        return {each.asname or each.name: each.name for each in node.names}
    return {}


def _loads(node: ast.AST) -> set[str]:
    found = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    for each in ast.walk(node):  # imports inside a function
        if isinstance(each, ast.ImportFrom):
            found |= {alias.name for alias in each.names}
    return found


def _loads_at_import(tree: ast.Module) -> set[str]:
    """Return the names that a module calls while it is imported: decorators, defaults, tables, base classes."""
    found: set[str] = set()
    for node in _statements(tree.body):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parts: list[ast.AST] = [*node.decorator_list, *node.args.defaults, *(x for x in node.args.kw_defaults if x)]
        elif isinstance(node, ast.ClassDef):
            inner = [each for each in node.body if not _is_function(each)]
            parts = [*node.decorator_list, *inner]
        elif isinstance(node, (ast.Import, ast.ImportFrom, ast.If, ast.Try)):
            continue
        else:
            parts = [node]
        for part in parts:
            found |= {_called(each) for each in _run_now(part) if isinstance(each, ast.Call)} - {""}
    return found


def _run_now(node: ast.AST) -> Iterator[ast.AST]:
    """Walk through an expression, but not into a lambda, which runs when it is called; a field's factory is."""
    yield node
    for each in ast.iter_child_nodes(node):
        if not isinstance(each, ast.Lambda) or (isinstance(node, ast.keyword) and node.arg == "default_factory"):
            yield from _run_now(each)


def _called(node: ast.Call) -> str:
    """Return the name of what a call calls; for a field, what makes its default value."""
    factory = next((each.value for each in node.keywords if each.arg == "default_factory"), None)
    function = factory if isinstance(factory, (ast.Name, ast.Attribute)) else node.func
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def _copy_data(target: Path) -> None:
    """Copy what is no Python and no kernel: checkpoints and tables."""

    def skip(folder: str, names: list[str]) -> list[str]:
        inside = Path(folder).relative_to(PACKAGE).parts
        if not inside:
            names = [name for name in names if name not in (*LEFT_OUT, "kernels", "grading")]
            gone = [*LEFT_OUT, "kernels", "grading"]
        else:
            gone = []
        return gone + [
            name for name in names if name.endswith((".py", ".so", ".pyc", ".cpp", ".h")) or name == "__pycache__"
        ]

    shutil.copytree(PACKAGE, target, ignore=skip)
