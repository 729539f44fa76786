"""Imports go down only: the contracts of pyproject.toml hold, and they cover every package."""

import re
import subprocess
import sys
import tomllib

import pytest

ABOVE = {"cli", "show", "grading", "authoring", "survey"}  # may draw, or stand above what may not


@pytest.fixture(scope="module")
def contracts(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    return {each["type"]: each for each in settings["contracts"]}


@pytest.fixture(scope="module")
def packages(root):
    return {path.parent.name for path in (root / "lib" / "frugal").glob("*/__init__.py")}


def lint(folder, library):
    """Run import-linter with the settings in one folder over the library in another."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache', '--no-logo'])"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(library)!r}); {code}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_contracts_hold(root):
    run = lint(root, root / "lib")
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_contracts_can_break(root, tmp_path):
    """An upward import, a paper that imports a paper, a drawing method and a room without a floor are all found."""
    settings = (root / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(settings.replace("frugal", "sample"))  # the same rules for a small package
    library = tmp_path / "lib" / "sample"
    rooms = set(re.findall(r'"frugal\.(\w+)"', settings)) | {"quant/methods", "prune/methods", "show", "attic"}
    for room in ("", *rooms):
        (library / room).mkdir(parents=True, exist_ok=True)
        (library / room / "__init__.py").touch()
    (library / "core" / "up.py").write_text("import sample.quant\n")
    (library / "quant" / "methods" / "one.py").write_text("import sample.quant.methods.two\n")
    (library / "quant" / "methods" / "two.py").write_text("import matplotlib\n")
    run = lint(tmp_path, library.parent)
    assert run.returncode != 0
    for complaint in (
        "sample.core is not allowed to import sample.quant",
        "sample.quant.methods.one is not allowed to import sample.quant.methods.two",
        "sample.quant is not allowed to import matplotlib",
        "- sample.attic",
    ):
        assert complaint in run.stdout, run.stdout


def test_every_package_below_the_pictures_is_kept_from_drawing(contracts, packages):
    listed = {name.removeprefix("frugal.") for name in contracts["forbidden"]["source_modules"]}
    assert packages - ABOVE == listed, "pyproject.toml, contract 'Methods and tools draw nothing': list these packages"


def test_the_marker_imports_only_core(packages):
    """So that it can be audited without reading a method."""
    import grimp

    graph = grimp.build_graph("frugal")
    for module in graph.modules:
        if module.split(".")[1:2] == ["grading"]:
            for imported in graph.find_modules_directly_imported_by(module):
                package = (imported.split(".") + [""])[1]  # "": frugal itself, which holds the version and nothing else
                assert package in ("", "grading", "core"), f"{module} imports {imported}"
