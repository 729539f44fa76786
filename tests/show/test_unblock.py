"""An unanswered exercise is recognised without calling it, and the lab goes on."""

import functools

import pytest
import torch

from frugal.quant import affine
from frugal.show.unblock import fallback_for, go_on, is_unanswered


def as_handed_out(x):
    """Round to codes."""
    # YOUR CODE HERE
    raise NotImplementedError()


def with_a_message(x):
    raise NotImplementedError("exercise 4.3")


def with_the_class_alone(x):
    raise NotImplementedError


def raise_left_below_the_answer(x):
    y = x + 1
    raise NotImplementedError
    return y


def raise_left_above_the_answer(x):
    raise NotImplementedError()
    return x + 1


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, x):
        raise NotImplementedError


@pytest.mark.parametrize(
    "function",
    [
        as_handed_out,
        with_a_message,
        with_the_class_alone,
        raise_left_below_the_answer,
        raise_left_above_the_answer,
        Network,
        functools.partial(as_handed_out, 1),
        functools.lru_cache(as_handed_out),
        torch.no_grad()(as_handed_out),
    ],
)
def test_a_body_that_cannot_return_is_unanswered(function):
    assert is_unanswered(function)


def answered(x):
    """Round to codes."""
    if x is None:
        raise NotImplementedError("no x")
    return x


def wrong_but_answered(x):
    raise ValueError("no")


def without_return(x):
    x.append(1)


def generator(x):
    yield x
    raise NotImplementedError


def only_a_docstring(x):
    """Nothing here, which returns None."""


@pytest.mark.parametrize(
    "function", [answered, wrong_but_answered, without_return, generator, only_a_docstring, max, torch.relu]
)
def test_a_body_that_may_return_is_an_answer(function):
    assert not is_unanswered(function)


def test_nothing_is_called_to_find_out():
    calls = []

    def costly(x):
        calls.append(x)
        raise NotImplementedError

    assert is_unanswered(costly)
    assert calls == []


def test_source_is_not_needed():
    space = {}
    exec("def todo(x):\n    raise NotImplementedError\n", space)
    assert is_unanswered(space["todo"])


def test_an_unanswered_exercise_goes_on_with_the_library(capsys):
    borrowed = go_on(as_handed_out, "frugal.quant.affine:quantize")
    said = capsys.readouterr()
    x, qparams = torch.tensor([-1.0, 0.3]), affine.choose_qparams(torch.tensor([-1.0, 2.0]), 3)
    assert torch.equal(borrowed(x, qparams=qparams), affine.quantize(x, qparams))
    assert said.out == "as_handed_out: not answered yet; the lab goes on with the library's version.\n"
    assert said.err == ""


def test_an_answer_goes_on_as_it_is_even_when_it_is_wrong(capsys):
    assert go_on(wrong_but_answered, "frugal.quant.affine:quantize") is wrong_but_answered
    assert capsys.readouterr().out == "wrong_but_answered: the lab goes on with yours.\n"


def test_a_lab_can_bring_its_own_fallback(capsys):
    borrowed = go_on(as_handed_out, fallback=lambda x: x + 1)
    assert borrowed(2) == 3
    assert "lambda" not in capsys.readouterr().out


def test_what_was_borrowed_stays_borrowed_however_often_the_cell_runs(capsys):
    borrowed = go_on(as_handed_out, fallback=answered)
    capsys.readouterr()
    assert go_on(borrowed, fallback=answered) is borrowed
    assert capsys.readouterr().out.startswith("as_handed_out: still open; the lab goes on with the library's version.")
    assert (fallback_for(borrowed), fallback_for(answered), fallback_for(max)) == ("as_handed_out", "", "")
    assert not is_unanswered(borrowed)


def test_a_borrowed_class_can_still_be_made_and_derived_from(capsys):
    borrowed = go_on(Network, fallback=torch.nn.Identity)
    assert isinstance(borrowed(), torch.nn.Identity)
    assert fallback_for(borrowed) == borrowed.__name__ == "Network"
    assert fallback_for(type("Mine", (borrowed,), {})) == ""
    assert not is_unanswered(borrowed)


@pytest.mark.parametrize("reference", ["frugal.quant.affine:no_such_name", "frugal.nowhere:x", "no colon", ""])
def test_a_reference_that_leads_nowhere_is_named(reference):
    with pytest.raises(ValueError, match="reference must"):
        go_on(as_handed_out, reference)


def test_go_on_needs_exactly_one_way_out():
    with pytest.raises(TypeError, match="needs one of"):
        go_on(as_handed_out)
    with pytest.raises(TypeError, match="needs one of"):
        go_on(as_handed_out, "frugal.quant.affine:quantize", fallback=answered)
