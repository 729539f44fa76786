"""Lab 4.1: its own functions are the library's, its examples run, and its words keep to the form of a lab.

Fairness of the marking (wrong answers lose, right ones keep their points) is what ``frugal labs verify`` holds.
"""

import doctest
import re

import pytest
import torch

from frugal.authoring.build import full_source
from frugal.quant.affine import QParams, choose_qparams, dequantize, quantize
from frugal.quant.fake import fake_quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.observers import MSE

LAB = "lab_4_1_affine"
WORDS_MOST, CELLS = 2200, range(45, 71)


@pytest.fixture(scope="module", params=[(7,), (3, 5), (4, 3, 2, 2)], ids=str)
def x(request):
    return torch.randn(request.param, generator=torch.Generator().manual_seed(7)) * 3


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_symmetric_scale_is_the_librarys(lab, x, num_bits):
    assert torch.equal(lab["symmetric_scale"](x, num_bits), choose_qparams(x, num_bits, symmetric=True).scale)


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_affine_qparams_are_the_librarys(lab, x, num_bits):
    for values in (x, x.abs(), -x.abs() - 1, torch.zeros(3)):
        ours, theirs = lab["affine_qparams"](values, num_bits), choose_qparams(values, num_bits)
        last_place = torch.finfo(torch.float32).eps * theirs.scale
        assert (ours.scale - theirs.scale).abs() <= last_place
        assert ours.zero_point == theirs.zero_point
        assert (ours.quant_min, ours.quant_max) == (theirs.quant_min, theirs.quant_max)


def test_channel_scales_are_the_librarys(lab, x):
    for axis in range(-x.ndim, x.ndim) if x.ndim > 1 else []:
        granularity = PerChannel(axis)
        theirs = choose_qparams(x, 4, symmetric=True, granularity=granularity).scale
        assert torch.equal(lab["channel_scales"](x, axis, 4), granularity.spread(theirs, x))


def test_straight_through_and_fake_quantize_agree(lab, x):
    qparams = QParams(torch.tensor(0.5), torch.tensor(1, dtype=torch.int32), -8, 7)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    half = qparams.scale.item() / 2  # the library counts what rounds to an end as inside
    low, high = qparams.low.item() - half, qparams.high.item() + half
    y = lab["straight_through"](mine, dequantize(quantize(x, qparams), qparams), low, high)
    expected = fake_quantize(theirs, qparams)
    (y * x).sum().backward()
    (expected * x).sum().backward()
    assert torch.equal(y, expected)
    assert torch.equal(mine.grad, theirs.grad)


def test_integer_linear_is_the_float_layer_on_what_the_codes_stand_for(lab):
    rng = torch.Generator().manual_seed(9)
    x, w, bias = torch.randn(6, 40, generator=rng), torch.randn(5, 40, generator=rng), torch.randn(5, generator=rng)
    on_x = choose_qparams(x)
    on_w = choose_qparams(w, symmetric=True, granularity=PerChannel(0))
    q_x, q_w = quantize(x, on_x), quantize(w, on_w)
    y = lab["integer_linear"](q_x, q_w, on_x.scale, on_x.zero_point, on_w.scale, bias)
    real_x, real_w = dequantize(q_x, on_x).double(), dequantize(q_w, on_w).double()
    exact = torch.nn.functional.linear(real_x, real_w, bias.double())
    terms = torch.nn.functional.linear(real_x.abs(), real_w.abs(), bias.abs().double())
    assert ((y - exact).abs() <= 4 * torch.finfo(torch.float32).eps * terms).all()


@pytest.mark.parametrize("num_bits", range(3, 9))
def test_search_scale_errs_no_more_than_the_librarys_search(lab, num_bits):
    x = torch.randn(4000, generator=torch.Generator().manual_seed(11)) ** 3
    observer = MSE(num_bits, symmetric=True)
    observer.observe(x)
    scale = lab["search_scale"](x, num_bits)
    mine = QParams(scale, torch.tensor(0, dtype=torch.int32), -(2 ** (num_bits - 1) - 1), 2 ** (num_bits - 1) - 1)
    errors = [(dequantize(quantize(x, each), each) - x).square().sum() for each in (mine, observer.qparams())]
    between_two_candidates = 1.05  # the library's grid is another one
    assert errors[0] <= between_two_candidates * errors[1]


def test_every_example_in_the_stubs_runs(lab, cells):
    runner = doctest.DocTestRunner()
    exercises = [cell.exercise for cell in cells if cell.role == "solution"]
    for exercise in exercises:
        text = lab[exercise].__doc__
        example = doctest.DocTestParser().get_doctest(text, dict(lab), exercise, None, 0)
        assert example.examples, f"{exercise} has no example"
        runner.run(example)
    assert runner.failures == 0


def test_the_lab_keeps_to_its_form(cells):
    words = sum(len(cell.source.split()) for cell in cells if cell.role == "markdown")
    setup = next(cell for cell in cells if cell.id == "setup").source.splitlines()
    assert words <= WORDS_MOST
    assert len(cells) in CELLS
    assert sum(bool(line) for line in setup) <= 12


def test_the_points_on_the_cards_are_those_of_the_cells(cells):
    for cell in cells:
        if cell.role == "solution":
            card = next(each.source for each in cells if each.id == f"card-{cell.exercise.replace('_', '-')}")
            told = float(re.search(r"([\d.]+) pts", card)[1])
            assert told == sum(each.points for each in cells if each.exercise == cell.exercise)
    title = cells[0].source
    assert float(re.search(r"(\d+) points", title)[1]) == sum(cell.points for cell in cells)


def test_no_hint_holds_a_line_of_an_answer(cells):
    answers = [full_source(cell) for cell in cells if cell.role == "solution"]
    secret = {
        line.strip()
        for answer in answers
        for line in answer.split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0].splitlines()
        if len(line.strip()) > 12
    }
    for cell in cells:
        if cell.role == "markdown":
            assert not [line for line in secret if line in cell.source], cell.id
