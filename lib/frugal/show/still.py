"""Still pictures in a notebook, small: a chart has few colours and gets a palette, a photograph becomes a JPEG.

    chart, 1024 × 386 pixels          68 kB as matplotlib writes it    18 kB with a palette
    contact sheet, 628 × 470 pixels   more than 400 kB                 109 kB as JPEG

``style.use()`` calls ``use()``; outside a notebook it changes nothing.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

COLOURS = 128  # of the palette: the course's five colours, each with its edges
CHART_AT_LEAST = 0.6  # of a chart's pixels have one of its commonest colours: ground, areas, lines
QUALITY = 80  # of a JPEG, of 100


def png(figure: Figure) -> bytes | None:
    """Return a chart as PNG with a palette, or None for a figure that holds photographs."""
    from PIL.Image import Dither

    picture = _drawn(figure)
    if _has_photographs(picture):
        return None
    page = io.BytesIO()
    picture.quantize(COLOURS, dither=Dither.NONE).save(page, format="png", optimize=True)
    return page.getvalue()


def jpeg(figure: Figure) -> bytes | None:
    """Return a figure that holds photographs as JPEG, or None for a chart."""
    picture = _drawn(figure)
    if not _has_photographs(picture):
        return None
    page = io.BytesIO()
    picture.save(page, format="jpeg", quality=QUALITY, optimize=True)
    return page.getvalue()


def use() -> None:
    """Let this notebook show its figures small."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        return
    import_module("matplotlib_inline.backend_inline")  # first: it registers its own way to show figures
    from matplotlib.figure import Figure

    formatters = shell.display_formatter.formatters
    formatters["image/png"].for_type(Figure, png)
    formatters["image/jpeg"].for_type(Figure, jpeg)


def _drawn(figure: Figure) -> Image:
    from PIL import Image

    page = io.BytesIO()
    figure.savefig(page, format="png", dpi=figure.dpi, bbox_inches="tight")
    return Image.open(page).convert("RGB")


def _has_photographs(picture: Image) -> bool:
    pixels = picture.width * picture.height
    counts = sorted((count for count, _ in picture.getcolors(pixels) or []), reverse=True)
    return sum(counts[:COLOURS]) < CHART_AT_LEAST * pixels
