"""The pictures of sums draw the sums that accumulators make."""

import pytest
import torch
from matplotlib.figure import Figure

from frugal.quant.accumulator import accumulate
from frugal.show import accumulators


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_a_running_sum_ends_where_the_accumulator_does(ax, bits):
    products = torch.tensor([100, 100, -90, 60, -120, 30])
    accumulators.running_sum(products, bits, ax)
    ends = [line.get_ydata()[-1] for line in ax.lines if len(line.get_xdata()) > 1]
    ones = torch.ones(1, len(products), dtype=torch.int64)
    wrapped, saturated = (accumulate(products[None], ones, bits, mode).item() for mode in ("wrap", "saturate"))
    assert ends == [80, wrapped, saturated]
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert f"saturated: {'right' if saturated == 80 else 'wrong'}" in told
    assert "wrapped: right" in told


def test_a_final_overflow_is_wrong_in_both_ways(ax):
    accumulators.running_sum(torch.tensor([100, 100]), 8, ax)
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"wrapped: wrong", "saturated: wrong"} <= set(told)


def test_overflow_is_a_line_for_each_kind_and_a_mark_for_each_width(ax):
    accumulators.overflow_by_bits({"end": {8: 90.0, 16: 10.0}, "way": {16: 20.0, 8: 95.0}}, ax, marks={"safe": 18})
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[90.0, 10.0], [95.0, 20.0]]
    assert [text.get_text() for text in ax.texts] == ["safe"]
    assert ax.lines[2].get_xdata()[0] == 18


def test_reals_are_no_products(ax):
    with pytest.raises(ValueError, match=r"whole numbers \[k\], got float32 \[3\]"):
        accumulators.running_sum(torch.rand(3), 8, ax)
