"""Explore: sliders that turn the knobs of a drawing function, live in a notebook and still alive in a saved page.

    Explore(draw, bits=range(2, 9), label="the rounding staircase")      where  draw(ax, bits)

With a kernel each move draws again. Saved, the notebook and the book hold a flipbook of all settings, or, where there
are too many, of the first control alone.
"""

from __future__ import annotations

import html
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from frugal.show.flipbook import FRAMES_MOST, Control, flipbook
from frugal.show.frames import Frames
from frugal.show.words import in_words

CONTROLS_MOST = 3


class Explore(ipywidgets.VBox):
    """A picture with one to three sliders.

    Args:
        draw: a function ``draw(ax, **values)`` that draws on ``ax``; what it returns is not used.
        label: what the picture shows, for those who hear it; the first line of draw's docstring by default.
        caption: a line below the picture.
        figsize: inches, width and height.
        choices: for each slider the values it offers, such as ``bits=range(2, 9)``.

    Raises:
        ValueError: no slider or more than three, a slider with fewer than two values, or a name that ``draw`` lacks.
    """

    def __init__(
        self,
        draw: Callable,
        *,
        label: str | None = None,
        caption: str | None = None,
        figsize: tuple[float, float] = (5.6, 3.0),
        **choices: Sequence[Any],
    ) -> None:
        self._choices = {name: list(values) for name, values in choices.items()}
        _check_choices(draw, self._choices)
        self._label = label or str(inspect.getdoc(draw) or getattr(draw, "__name__", "picture")).splitlines()[0]
        self._caption = caption
        ends = [range(0, len(values), max(1, len(values) - 1)) for values in self._choices.values()]
        corners = [self._values(key) for key in itertools.product(*ends)]
        self._frames = Frames(draw, figsize, corners)
        self._sliders = [self._slider(name, values) for name, values in self._choices.items()]
        self._picture = ipywidgets.HTML()
        below = [ipywidgets.HTML(html.escape(caption))] if caption else []
        super().__init__([*self._sliders, self._picture, *below])
        self._redraw()

    def _slider(self, name: str, values: list[Any]) -> ipywidgets.SelectionSlider:
        options = [(in_words(value), index) for index, value in enumerate(values)]
        slider = ipywidgets.SelectionSlider(
            options=options,
            value=_middle(values),
            description=name,
            layout=ipywidgets.Layout(width="440px"),
            style={"description_width": "90px"},
        )
        slider.observe(self._redraw, "value")
        return slider

    def _values(self, key: Sequence[int]) -> dict[str, Any]:
        return {name: values[index] for index, (name, values) in zip(key, self._choices.items(), strict=True)}

    def _redraw(self, change: object = None) -> None:
        key = tuple(slider.value for slider in self._sliders)
        here = ", ".join(f"{name} = {in_words(value)}" for name, value in self._values(key).items())
        words = html.escape(f"{self._label}; {here}")
        svg = self._frames.frame(key, self._values(key))
        self._picture.value = f'<div role="img" aria-label="{words}" style="display:flex">{svg}</div>'

    def _saved(self) -> str:
        """The flipbook: every setting where they are few, else the first control with the others in the middle."""
        keys = [list(range(len(values))) for values in self._choices.values()]
        starts = [_middle(values) for values in self._choices.values()]
        notes = [self._caption] if self._caption else []
        if _product(keys) > FRAMES_MOST:
            names = list(self._choices)
            still = ", ".join(
                f"{name} = {in_words(self._choices[name][at])}" for name, at in zip(names[1:], starts[1:], strict=True)
            )
            keys = [_spread(len(keys[0])), *([at] for at in starts[1:])]
            some = "" if len(keys[0]) == len(self._choices[names[0]]) else f", in {len(keys[0])} of its settings"
            kept = f"{names[0]} moves{some}" + (f", with {still}" if still else "")
            notes.append(f"Saved picture: {kept}. Run the cell to move everything.")
        controls = [
            Control(
                name, [in_words(values[index]) for index in key], key.index(start) if start in key else _middle(key)
            )
            for (name, values), key, start in zip(self._choices.items(), keys, starts, strict=True)
            if len(key) > 1
        ]
        frames = [self._frames.frame(key, self._values(key)) for key in itertools.product(*keys)]
        return flipbook(frames, controls, self._label, " ".join(notes))

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data["text/html"] = self._saved()
        turned = "; ".join(f"{name} = {', '.join(map(in_words, values))}" for name, values in self._choices.items())
        errors = "".join(f"\ndraw failed: {told}" for told in dict.fromkeys(self._frames.errors))
        data["text/plain"] = f"Explore: {self._label} ({turned}){errors}"
        return data


def _middle(values: Sequence[Any]) -> int:
    return (len(values) - 1) // 2


def _product(keys: list[list[int]]) -> int:
    product = 1
    for key in keys:
        product *= len(key)
    return product


def _spread(count: int) -> list[int]:
    """At most FRAMES_MOST positions out of ``count``, evenly spread, both ends among them."""
    most = min(count, FRAMES_MOST)
    return [round(step * (count - 1) / (most - 1)) for step in range(most)]


def _check_choices(draw: Callable, choices: dict[str, list[Any]]) -> None:
    if not 1 <= len(choices) <= CONTROLS_MOST:
        names = ", ".join(choices) or "none"
        raise ValueError(f"Explore needs 1 to {CONTROLS_MOST} sliders, such as bits=range(2, 9); got {names}")
    for name, values in choices.items():
        if len(values) < 2:
            raise ValueError(f"{name} needs at least two values to choose from, got {in_words(values)}")
    parameters = list(inspect.signature(draw).parameters.values())
    if not parameters:
        raise ValueError("draw must take the axes first, as in draw(ax, bits); it takes nothing")
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return
    named = [each.name for each in parameters[1:] if each.kind is not each.VAR_POSITIONAL]
    unknown = [name for name in choices if name not in named]
    missing = [each.name for each in parameters[1:] if each.default is each.empty and each.name not in choices]
    if unknown or missing:
        raise ValueError(
            f"draw takes {', '.join(named) or 'no settings'} after the axes, but the sliders are {', '.join(choices)}"
        )
