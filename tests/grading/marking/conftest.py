"""What tests of marking share: a small lab on disk, and processes that can import it."""

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:  # marking processes import small_lab by name
    sys.path.insert(0, HERE)


@pytest.fixture
def lab(tmp_path):
    """The solved small lab, its release beside it."""
    import small_lab

    return small_lab.write_lab(tmp_path)
