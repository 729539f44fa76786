"""A prediction is committed once, shown beside the measurement, and readable without a kernel."""

import numpy as np
import pytest
import torch

from frugal.show import predict as predict_module
from frugal.show.predict import Prediction, predict, reveal


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, in order."""
    seen = []
    monkeypatch.setattr("IPython.display.display", seen.append)
    monkeypatch.setattr(predict_module, "_predictions", {})
    return seen


def parts(question):
    _, control, row = question.children
    return control, row.children[0], row.children[1]


def test_a_committed_answer_is_shown_beside_the_measurement(shown):
    predict("step", "How wide is a step?", options=["0.21", "0.43"])
    control, button, said = parts(shown[0])
    control.value = 1
    button.click()
    assert said.value == "You said <strong>0.43</strong>."
    assert button.disabled
    assert control.disabled
    reveal("step", 3 / 7)
    assert repr(shown[1]) == "You said 0.43. Measured: 0.4286."


def test_looking_without_committing_is_said_so(shown):
    predict("step", "How wide is a step?", options=["0.21", "0.43"])
    reveal("step", torch.tensor(0.25))
    reveal("never asked", "int8")
    assert repr(shown[1]) == "You did not commit a prediction. Measured: 0.25."
    assert repr(shown[2]) == "You did not commit a prediction. Measured: int8."


def test_nothing_is_committed_before_something_is_chosen(shown):
    predict("step", "?", options=["a", "b"])
    _, button, said = parts(shown[0])
    button.click()
    assert said.value == "Choose one first."
    assert not button.disabled


def test_a_prediction_after_the_measurement_does_not_count(shown):
    predict("step", "?", options=["a", "b"])
    reveal("step", "a")
    control, button, said = parts(shown[0])
    control.value = 0
    button.click()
    assert "already below" in said.value
    reveal("step", "a")
    assert repr(shown[2]).startswith("You did not commit")


def test_asking_again_starts_anew(shown):
    for value in (0, 1):
        predict("step", "?", options=["a", "b"])
        control, button, _ = parts(shown[-1])
        control.value = value
        button.click()
    reveal("step", "b")
    assert repr(shown[-1]) == "You said b. Measured: b."


@pytest.mark.parametrize("options, kind", [(range(0, 101, 5), "IntSlider"), ((0.0, 1.0), "FloatSlider")])
def test_numbers_on_a_scale_are_a_slider_with_a_unit(options, kind, shown):
    predict("kept", "How much is left?", options=options, unit="%")
    control, button, said = parts(shown[0])
    assert type(control).__name__ == kind
    control.value = control.max
    button.click()
    assert said.value == f"You said <strong>{options[-1]:.4g} %</strong>."
    reveal("kept", 71.25)
    assert repr(shown[1]) == f"You said {options[-1]:.4g} %. Measured: 71.25 %."
    assert shown[1]._repr_html_().endswith("Measured: <strong>71.25 %</strong>.</div>")


@pytest.mark.parametrize(
    "value, words",
    [(3, "3 ms"), (2.5, "2.5 ms"), (np.float32(2.5), "2.5 ms"), (torch.tensor(7), "7 ms"), (True, "True")],
)
def test_measurements_of_any_kind_have_words(value, words):
    assert Prediction("k", "?", [], "ms").words(value) == words


def test_a_saved_notebook_shows_question_and_options(shown):
    predict("k", "Is 2 < 3 & more?", options=["yes", "no"])
    predict("k", "How much?", options=range(0, 11), unit="bits")
    first, second = (question._repr_mimebundle_() for question in shown)
    assert "Is 2 &lt; 3 &amp; more?" in first["text/html"]
    assert first["text/html"].startswith("<details open")
    assert "<li>yes</li><li>no</li>" in first["text/html"]
    assert first["text/plain"] == "Predict. Is 2 < 3 & more? [yes | no]"
    assert second["text/plain"] == "Predict. How much? [a number from 0 to 10 bits]"


@pytest.mark.parametrize("options", [[], ["one"], ["same", "same"], range(0), range(5, 0, -1), (1.0, 0.0)])
def test_options_must_leave_a_choice(options, shown):
    with pytest.raises(ValueError, match=r"at least two different options|from a smaller to a larger"):
        predict("k", "?", options=options)
    assert shown == []
