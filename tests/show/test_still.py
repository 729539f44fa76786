"""Figures are stored small: charts with a palette, photographs as JPEG, each in one of the two."""

import io

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from frugal.show import still


@pytest.fixture
def chart():
    figure = Figure(figsize=(5, 3))
    figure.subplots().plot([1, 3, 2], label="a")
    return figure


@pytest.fixture
def photograph():
    figure = Figure(figsize=(5, 3))
    figure.subplots().imshow(torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0)).numpy())
    return figure


def test_a_chart_is_a_png_with_a_palette_smaller_than_matplotlibs(chart):
    page = io.BytesIO()
    chart.savefig(page, format="png", dpi=chart.dpi, bbox_inches="tight")
    picture = still.png(chart)
    assert Image.open(io.BytesIO(picture)).mode == "P"
    assert len(picture) < len(page.getvalue()) / 2
    assert still.jpeg(chart) is None


def test_a_photograph_is_a_jpeg(photograph):
    assert still.png(photograph) is None
    assert Image.open(io.BytesIO(still.jpeg(photograph))).format == "JPEG"


def test_the_same_figure_gives_the_same_bytes(chart):
    assert still.png(chart) == still.png(chart)


def test_outside_a_notebook_nothing_happens():
    assert still.use() is None
