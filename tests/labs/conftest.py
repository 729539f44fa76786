"""What every lab's own tests start from: the cells of its source, and the functions that its solution defines.

A test file names its lab in ``LAB``.
"""

import pytest

from frugal.authoring.build import full_source
from frugal.authoring.percent import Cell, read_source


@pytest.fixture(scope="module")
def cells(root, request) -> list[Cell]:
    return read_source(root / "solutions" / "src" / f"{request.module.LAB}.py")


@pytest.fixture(scope="module")
def lab(cells, request) -> dict:
    """The solved functions, defined below the lab's own set-up cell."""
    names: dict = {"__name__": request.module.LAB}
    for cell in cells:
        if cell.id == "setup" or cell.role == "solution":
            exec(full_source(cell), names)
    return names
