"""What the doctor asks of the software: Python, packages, Jupyter, the course itself.

Nothing here raises for what is missing, and nothing is changed.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from frugal.cli import machine
from frugal.cli.finding import COURSE, MARKING, Finding, State


def python(version: str = platform.python_version()) -> Finding:
    """Is this Python new enough?"""
    needed = _requires_python() or ">=3.11.7"
    if SpecifierSet(needed).contains(version, prereleases=True):
        return Finding(COURSE, "Python", "ok", version)
    then = f"frugal needs {needed}. Install a newer Python, then `make setup PYTHON=python3.12`."
    return Finding(COURSE, "Python", "problem", version, then)


def packages(requires: list[str] | None = None) -> list[Finding]:
    """Are the packages here, at versions within the bounds of pyproject.toml?"""
    if requires is None:
        try:
            requires = metadata.requires("frugal") or []
        except metadata.PackageNotFoundError:
            then = "Run `make setup`; it installs frugal and what it needs into .venv."
            return [Finding(COURSE, "packages", "problem", "frugal itself is not installed", then)]
    wanted = [Requirement(line) for line in requires]
    base = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    dev = [each for each in wanted if each not in base and each.marker and each.marker.evaluate({"extra": "dev"})]
    return [
        _bounds(base, COURSE, "packages", "problem", "Run `make setup`; it installs what is missing."),
        _bounds(dev, MARKING, "tools", "missing", "Only developers need them: `make setup`."),
    ]


def _bounds(wanted: list[Requirement], group: str, name: str, otherwise: State, then: str) -> Finding:
    wrong = []
    for each in wanted:
        have = _version(each.name)
        if have is None:
            wrong.append(f"{each.name} is not installed")
        elif not each.specifier.contains(have, prereleases=True):
            wrong.append(f"{each.name} is {have}, not {each.specifier}")
    if wrong:
        return Finding(group, name, otherwise, "; ".join(wrong), then)
    return Finding(group, name, "ok", f"{len(wanted)} of {len(wanted)}, all within the bounds of pyproject.toml")


def torch() -> Finding:
    """Does torch start, and with how many threads?"""
    try:
        import torch as the_torch
    except (ImportError, OSError) as error:
        then = "Run `make clean`, then `make setup`. The message above is torch's own."
        return Finding(COURSE, "torch", "problem", f"cannot be imported: {error}", then)
    threads, cores = the_torch.get_num_threads(), machine.cores()
    return Finding(COURSE, "torch", "ok", f"{the_torch.__version__}, {threads} threads on {cores} cores")


def jupyter(prefix: Path = Path(sys.prefix)) -> Finding:
    """Can a notebook find its kernel?"""
    if (prefix / "share/jupyter/kernels/python3/kernel.json").is_file():
        return Finding(COURSE, "notebook kernel", "ok", "python3")
    then = "Notebooks will not run. `python -m ipykernel install --sys-prefix` puts it there."
    return Finding(COURSE, "notebook kernel", "problem", f"no kernel named python3 under {prefix}", then)


def nbgrader(prefix: Path = Path(sys.prefix)) -> Finding:
    """Will JupyterLab show the Validate button and the assignment list?"""
    extension = prefix / "share/jupyter/labextensions/@jupyter/nbgrader/package.json"
    switches = sorted((prefix / "etc/jupyter/jupyter_server_config.d").glob("nbgrader*.json"))
    if not extension.is_file() or not switches:
        then = "Labs can be solved, but not validated or submitted from JupyterLab. Run `make setup`."
        return Finding(COURSE, "nbgrader", "missing", "its JupyterLab extension is not installed", then)
    off = [name for path in switches for name, on in _enabled(path).items() if not on]
    if off:
        then = f"Switch them on: `jupyter server extension enable --sys-prefix {off[0]}`."
        return Finding(COURSE, "nbgrader", "missing", f"switched off: {', '.join(off)}", then)
    return Finding(COURSE, "nbgrader", "ok", f"{_version('nbgrader')}, its buttons appear in JupyterLab")


def _enabled(path: Path) -> dict[str, bool]:
    """Read one of Jupyter's files of switches; a damaged one counts as switched off."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["ServerApp"]["jpserver_extensions"])
    except (OSError, ValueError, KeyError, TypeError):
        return {path.stem: False}


def course(root: Path | None) -> Finding:
    """Are the chapters here, or only the library?"""
    if root is None:
        then = "The library works. For the chapters and labs, clone the project and run `make course` in it."
        return Finding(COURSE, "course", "missing", "only the library is installed", then)
    chapters = [path for path in (root / "course").glob("*/*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    labs = [path for path in (root / "labs").glob("*/*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    if not chapters:
        then = "Run `make notebooks labs`, which builds them."
        return Finding(COURSE, "course", "missing", f"no chapters in {root / 'course'}", then)
    return Finding(COURSE, "course", "ok", f"{len(chapters)} chapters and {len(labs)} labs in {root}")


def find_root(start: Path = Path(__file__)) -> Path | None:
    """The working copy that this library lies in, or None where it was installed from a wheel."""
    for folder in start.resolve().parents:
        if (folder / "course").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _requires_python() -> str | None:
    try:
        return str(metadata.metadata("frugal").json["requires_python"])
    except (metadata.PackageNotFoundError, KeyError):
        return None
