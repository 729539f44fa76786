"""The first chapter's pictures show all classes, this machine's instructions, and every call that was timed."""

import pytest
from matplotlib.figure import Figure

from frugal.data.drawn import CLASSES
from frugal.kernels.cpu import INSTRUCTION_SETS, instruction_sets
from frugal.show import first_minute


@pytest.fixture
def ax():
    return Figure(figsize=(5, 3)).subplots()


def test_the_contact_sheet_names_every_class(ax):
    assert first_minute.contact_sheet(3, ax) is ax
    assert [label.get_text() for label in ax.get_yticklabels()] == list(CLASSES)


@pytest.mark.parametrize("features", [{}, {"avx2": True, "fma": True}, {"dotprod": True, "i8mm": True}])
def test_the_instructions_that_are_here_are_marked(features, ax):
    found = instruction_sets(features)
    first_minute.products(found, ax)
    marked = sum("here" in text.get_text() for text in ax.texts)
    assert marked == len(found)
    assert len(ax.patches) == len(INSTRUCTION_SETS)


def test_the_median_of_the_counted_calls_is_drawn(ax):
    first_minute.call_times([90.0, 80.0, 3.0, 1.0, 2.0], 2, ax)
    assert list(ax.lines[2].get_ydata()) == [2.0, 2.0]
    assert ax.get_ylabel() == "time (ms)"


def test_a_warm_up_that_leaves_nothing_is_refused(ax):
    with pytest.raises(ValueError, match="at least one of the 2 calls, got 2"):
        first_minute.call_times([1.0, 2.0], 2, ax)
