"""`import frugal` is quick because it imports nothing, and the command line imports only what a command needs."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "numpy", "matplotlib", "IPython", "ipywidgets", "jupytext", "nbformat", "nbgrader")


def modules_after(code):
    """The modules that one line of code adds to a fresh interpreter's."""
    lines = f"import sys; before = set(sys.modules); {code}; print(*sorted(set(sys.modules) - before))"
    return subprocess.run([sys.executable, "-c", lines], check=True, capture_output=True, text=True).stdout.split()


def test_importing_frugal_imports_nothing_else():
    loaded = modules_after("import frugal")
    # An editable install finds the package with a little of the standard library.
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == ["frugal"]
    assert len(loaded) < 30


def test_the_command_line_starts_without_heavy_packages():
    loaded = modules_after("import frugal.cli.main")
    assert not set(HEAVY) & set(loaded)
    assert not [name for name in loaded if name.startswith("frugal.cli.") and name != "frugal.cli.main"]


@pytest.mark.parametrize("module", ["frugal.kernels.native", "frugal.core.errors", "frugal.core.units"])
def test_small_tools_do_without_torch(module):
    assert not set(HEAVY) & set(modules_after(f"import {module}"))


def test_no_package_imports_pictures_or_torchvision_before_they_are_used():
    rooms = "core data graph kernels measure nets quant".split()
    loaded = modules_after("; ".join(f"import frugal.{room}" for room in rooms))
    assert not {"torchvision", "matplotlib", "IPython", "ipywidgets"} & set(loaded)
