"""Which files of the library a notebook's outputs may depend on: its imports, followed down through frugal."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

from frugal.authoring.lift import module_file

DATA = (".toml", ".json", ".safetensors", ".cpp", ".h")


def library_digest(source: Path) -> str:
    """Return the sha256 of every frugal file that a notebook source imports, directly or not."""
    digest = hashlib.sha256()
    for path in library_files(source.read_text(encoding="utf-8")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def library_files(text: str) -> list[Path]:
    """Return the modules that this text imports from frugal, and the data that lies beside them."""
    found: set[Path] = set()
    waiting = _imports(text)
    while waiting:
        path = module_file(waiting.pop())
        if path is None or path in found:
            continue
        found.add(path)
        waiting |= _imports(path.read_text(encoding="utf-8"))
    if any(path.parts[-2:] == ("nets", "pretrained.py") for path in found):
        found |= set(_library().glob("checkpoints/*"))
    beside = {path for folder in {path.parent for path in found} for path in folder.iterdir() if path.suffix in DATA}
    return sorted(path for path in found | beside if path.is_file())


def _library() -> Path:
    return Path(__file__).resolve().parents[1]


def _imports(text: str) -> set[str]:
    """Return the frugal modules named by import statements; a notebook's magics are skipped."""
    try:
        tree = ast.parse("\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("%", "!"))))
    except SyntaxError:
        return {"frugal"}
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    frugal = {name for name in names if name.split(".")[0] == "frugal"}
    return frugal | {name.rpartition(".")[0] for name in frugal if "." in name}
