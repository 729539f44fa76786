"""Predict before you measure: commit to an answer, then see it beside the measurement.

    predict("step", "How wide is a 3-bit step over [-1, 2]?", options=["0.21", "0.38", "0.43"])
    ...
    reveal("step", qparams.scale, unit="per step")   →  You said 0.38. Measured: 0.4286 per step.

Predictions live in the memory of the kernel and nowhere else. Without a kernel, question and options stay to read.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets

from frugal.show.words import in_words, number

STEPS = 100  # positions of a slider over a real interval


@dataclass
class Prediction:
    """One question: what was asked, and what the reader committed to (None: nothing yet)."""

    key: str
    question: str
    options: Sequence[Any]
    unit: str = ""
    committed: Any = None
    revealed: bool = False

    @property
    def on_a_scale(self) -> bool:
        """Numbers between two ends, rather than a list of answers."""
        if isinstance(self.options, range):
            return True
        return type(self.options) is tuple and len(self.options) == 2 and all(map(_is_number, self.options))

    def words(self, value: Any) -> str:
        """Write an answer or a measurement, with its unit where it is a number."""
        value = value.item() if hasattr(value, "item") else value  # a tensor or a NumPy number
        if not _is_number(value):
            return value if isinstance(value, str) else in_words(value)
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        return f"{text} {self.unit}".strip()

    def choices_in_words(self) -> list[str]:
        if not self.on_a_scale:
            return [self.words(option) for option in self.options]
        first, last = self.options[0], self.options[-1]
        return [f"a number from {number(first)} to {self.words(last)}"]


_predictions: dict[str, Prediction] = {}


def predict(key: str, question: str, options: Sequence[Any], *, unit: str = "") -> None:
    """Ask, and show radio buttons or a slider with a button that commits.

    Args:
        key: the name by which ``reveal`` finds the answer.
        question: one sentence.
        options: a list of answers; or ``range(0, 101, 5)``, or two numbers ``(0.0, 1.0)``, for a slider.
        unit: written behind numbers, such as ``"%"``.

    Raises:
        ValueError: fewer than two options, or two that read alike.
    """
    prediction = Prediction(key, question, options, unit)
    words = prediction.choices_in_words() if len(options) else []
    if len(options) < 2 or len(set(words)) < len(words):
        raise ValueError(f"a prediction needs at least two different options, got {in_words(list(options))}")
    if prediction.on_a_scale and options[0] >= options[-1]:
        raise ValueError(f"a scale goes from a smaller to a larger number, got {options[0]} to {options[-1]}")
    _predictions[key] = prediction
    from IPython.display import display

    display(Question(prediction))


def reveal(key: str, measured: Any, *, unit: str | None = None) -> None:
    """Show the prediction beside the measurement.

    Args:
        key: as given to ``predict``.
        measured: a number, a tensor of one number, or one of the options.
        unit: written behind numbers; the unit of the question by default.
    """
    asked = _predictions.get(key)
    prediction = asked or Prediction(key, "", [])
    if unit is not None:
        prediction.unit = unit
    prediction.revealed = asked is not None
    from IPython.display import display

    display(Answer(prediction, prediction.words(measured)))


class Question(ipywidgets.VBox):
    """The question as a widget; as text where there is no kernel."""

    def __init__(self, prediction: Prediction) -> None:
        self._prediction = prediction
        self._input = _input(prediction)
        self._said = ipywidgets.HTML()
        self._button = ipywidgets.Button(description="Commit", button_style="primary", tooltip=prediction.question)
        self._button.on_click(self._commit)
        title = ipywidgets.HTML(f"<strong>Predict.</strong> {html.escape(prediction.question)}")
        super().__init__([title, self._input, ipywidgets.HBox([self._button, self._said])])

    def _commit(self, button: object = None) -> None:
        if self._input.value is None:
            self._said.value = "Choose one first."
            return
        if self._prediction.revealed:
            self._said.value = "The measurement is already below; run the cell again to ask anew."
            return
        value = self._input.value
        self._prediction.committed = value if self._prediction.on_a_scale else self._prediction.options[value]
        self._button.disabled = self._input.disabled = True
        self._said.value = (
            f"You said <strong>{html.escape(self._prediction.words(self._prediction.committed))}</strong>."
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        question, choices = self._prediction.question, self._prediction.choices_in_words()
        items = "".join(f"<li>{html.escape(choice)}</li>" for choice in choices)
        data["text/html"] = (
            f'<details open class="frugal-predict"><summary><strong>Predict.</strong> {html.escape(question)}</summary>'
            f"<ul>{items}</ul></details>"
        )
        data["text/plain"] = f"Predict. {question} [{' | '.join(choices)}]"
        return data


@dataclass(frozen=True, repr=False)
class Answer:
    """What was said beside what was measured."""

    prediction: Prediction
    measured: str

    def __repr__(self) -> str:
        return f"{self._said()} Measured: {self.measured}."

    def _repr_html_(self) -> str:
        said, measured = html.escape(self._said()), html.escape(self.measured)
        return f'<div class="frugal-reveal">{said} Measured: <strong>{measured}</strong>.</div>'

    def _said(self) -> str:
        if self.prediction.committed is None:
            return "You did not commit a prediction."
        return f"You said {self.prediction.words(self.prediction.committed)}."


def _input(prediction: Prediction) -> ipywidgets.DOMWidget:
    """Radio buttons for a list, a slider for a scale."""
    layout = ipywidgets.Layout(width="440px")
    if not prediction.on_a_scale:
        options = [(words, index) for index, words in enumerate(prediction.choices_in_words())]
        return ipywidgets.RadioButtons(options=options, value=None, layout=ipywidgets.Layout(width="max-content"))
    low, high = prediction.options[0], prediction.options[-1]
    if isinstance(prediction.options, range):
        step, middle = prediction.options.step, prediction.options[len(prediction.options) // 2]
        return ipywidgets.IntSlider(
            min=low, max=high, step=step, value=middle, description=prediction.unit, layout=layout
        )
    return ipywidgets.FloatSlider(
        min=low,
        max=high,
        step=(high - low) / STEPS,
        value=(low + high) / 2,
        description=prediction.unit,
        readout_format=".3g",
        layout=layout,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
