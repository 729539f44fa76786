"""Frames: one small SVG for each setting of the sliders, the same bytes on every run.

    draw(ax, bits=4)  →  matplotlib's SVG, 27 kB  →  compact: 9 kB

``compact`` keeps what is seen: coordinates to a tenth of a point (an eighth of a pixel), paths in relative steps,
names only where something points at them.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from frugal.show import style
from frugal.show.words import shorten

KEPT = 512  # frames that stay in memory, so that a slider moved back shows at once
MARGINS = (0.05, 0.12, 0.985, 0.97)  # the least: left, bottom, right, top, in parts of the figure
NO_DATE = {"Date": None, "Creator": None, "Format": None, "Type": None}


class Frames:
    """The pictures of one ``draw``, made when asked for and kept.

    Laying out a figure takes as long as drawing it. So the margins are found once, as the widest that ``corners``
    need, and every frame uses them: twice the frames per second, and the axes stand still while the slider moves.

    Args:
        draw: called as ``draw(ax, **values)``.
        figsize: inches, width and height.
        corners: settings that are likely to need the widest margins: the first and the last of each control.
    """

    def __init__(self, draw: Callable, figsize: tuple[float, float], corners: Sequence[Mapping[str, Any]]) -> None:
        self._draw, self._figsize, self._corners = draw, figsize, corners
        self._kept: dict[tuple[int, ...], str] = {}
        self._box: tuple[float, float, float, float] | None = None  # left, bottom, right, top, in parts of the figure
        self.errors: list[str] = []

    def frame(self, key: tuple[int, ...], values: Mapping[str, Any]) -> str:
        """The SVG for these values; ``key`` names them. An error in ``draw`` becomes a picture of its message."""
        if key not in self._kept:
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = self._make(values)
        return self._kept[key]

    def _make(self, values: Mapping[str, Any]) -> str:
        with matplotlib.rc_context({**style.rc(), "figure.constrained_layout.use": False}):
            try:
                box = self._box = self._box or self._widest_margins()
                figure = self._drawn(values, None)
                if len(figure.axes) == 1:
                    left, bottom, right, top = box
                    figure.axes[0].set_position((left, bottom, right - left, top - bottom))
                else:  # a colour bar or a second panel: matplotlib arranges them
                    figure = self._drawn(values, "constrained")
                page = io.StringIO()
                figure.savefig(page, format="svg", metadata=NO_DATE)
                return compact(page.getvalue())
            except Exception as error:
                told = shorten(f"{type(error).__name__}: {error}", 300)
                self.errors.append(told)
                return message(f"{getattr(self._draw, '__name__', 'draw')} raised {told}", self._figsize)

    def _drawn(self, values: Mapping[str, Any], layout: Literal["constrained"] | None) -> Figure:
        figure = Figure(figsize=self._figsize, layout=layout)
        self._draw(figure.subplots(), **values)
        return figure

    def _widest_margins(self) -> tuple[float, float, float, float]:
        boxes = [Bbox.from_extents(*MARGINS)]
        for values in self._corners:
            with contextlib.suppress(Exception):  # a corner that cannot be drawn tells so when it is shown
                figure = self._drawn(values, "constrained")
                figure.draw_without_rendering()
                boxes.append(figure.axes[0].get_position())
        return max(b.x0 for b in boxes), max(b.y0 for b in boxes), min(b.x1 for b in boxes), min(b.y1 for b in boxes)


def message(text: str, figsize: tuple[float, float]) -> str:
    """A picture that holds a few lines of text."""
    width, height = (72 * inches for inches in figsize)
    lines = textwrap.wrap(text, max(20, int(width / 6.5)))
    rows = "\n".join(f"<text x='12' y='{28 + 18 * i}'>{html.escape(line)}</text>" for i, line in enumerate(lines))
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:g}pt' height='{height:g}pt' "
        f"viewBox='0 0 {width:g} {height:g}' style='font:11px sans-serif;fill:#8c1d18'>\n"
        f"<rect width='100%' height='100%' style='fill:#fdf1f0'/>\n{rows}\n</svg>"
    )


def compact(svg: str) -> str:
    """Shrink matplotlib's SVG to a half or less, one tag per line; text that is read stays as it is."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#([\w.-]+)", svg))
    tags = re.sub(r"<[^>]*>", lambda tag: _compact_tag(tag.group(), used), svg)
    return re.sub(r"\s*\n\s*", "\n", tags).strip()


def _compact_tag(tag: str, used: set[str]) -> str:
    tag = re.sub(r' id="([^"]*)"', lambda name: name.group() if name[1] in used else "", tag)
    tag = re.sub(r' d="([^"]*)"', lambda path: f' d="{_compact_path(path[1])}"', tag)
    tag = re.sub(
        r"\d+\.\d{3,}", lambda number: f"{float(number.group()):.{2 if number.group()[0] != '0' else 4}f}", tag
    )
    tag = re.sub(r"font: ([^'\"]*)'DejaVu Sans'[^;\"]*", r"font: \1DejaVu Sans, Verdana, sans-serif", tag)
    return re.sub(r'="([^"\']*)"', r"='\1'", tag)  # JSON writes each " as \"


def _compact_path(path: str) -> str:
    """Write lines as steps in tenths of a point, ``l dx dy``, ``h dx``, ``v dy``; curves stay absolute."""
    words, at = [], (0, 0)
    for command, rest in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
        if command not in "MLz":
            return re.sub(r"(\d+\.\d)\d+", r"\1", " ".join(path.split()))
        if command == "z":
            words.append("z")
            continue
        x, y = (round(10 * float(number)) for number in rest.split())
        dx, dy = x - at[0], y - at[1]
        if command == "M":
            words.append(f"M{_tenths(x)} {_tenths(y)}")
        elif dx and dy:
            words.append(f"l{_tenths(dx)} {_tenths(dy)}")
        elif dx or dy:
            words.append(f"h{_tenths(dx)}" if dx else f"v{_tenths(dy)}")
        at = (x, y)
    return "".join(words)


def _tenths(tenths: int) -> str:
    return f"{tenths / 10:g}"
