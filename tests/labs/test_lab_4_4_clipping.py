"""Lab 4.4: its own functions are the library's, its examples run, and its words keep to the form of a lab.

Fairness of the marking (wrong answers lose, right ones keep their points) is what ``frugal labs verify`` holds.
"""

import doctest
import re

import pytest
import torch

from frugal.quant.granularity import PerChannel
from frugal.quant.methods import aciq, ocs, omse, pwlq
from frugal.quant.rounding import half_up

LAB = "lab_4_4_clipping"


@pytest.fixture(scope="module", params=[(3, 50), (4, 6, 3, 3)], ids=str)
def w(request):
    return torch.randn(request.param, generator=torch.Generator().manual_seed(7)) ** 3


@pytest.mark.parametrize("num_bits", [2, 4, 8])
@pytest.mark.parametrize("alpha", [0.5, 3.0, 9.0])
def test_expected_error_is_the_closed_form_of_the_library(lab, num_bits, alpha):
    x = torch.linspace(-40, 40, 40_001, dtype=torch.float64)
    spacing = 80 / 40_000
    laplace, gauss = torch.exp(-x.abs()) / 2, torch.exp(-x.square() / 2) / (2 * torch.pi) ** 0.5
    for density, closed in ((laplace, aciq.laplace_error), (gauss, aciq.gauss_error)):
        bent_at_the_ends = (
            spacing**2 * density.max().item()
        )  # of a sum in place of an integral: h² f' / 12 for each end
        assert (
            abs(sum(lab["expected_error"](x, density, alpha, num_bits)) - closed(alpha, num_bits)) <= bent_at_the_ends
        )


@pytest.mark.parametrize("num_bits", range(1, 17))
def test_laplace_clip_is_the_librarys(lab, num_bits):
    assert lab["laplace_clip"](num_bits) == pytest.approx(aciq.laplace_clip(num_bits), rel=1e-12)


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_search_clips_errs_no_more_than_the_librarys_grid_does(lab, w, num_bits):
    top = 2 ** (num_bits - 1) - 1
    theirs = omse.choose_qparams(w, num_bits, granularity=PerChannel(0)).scale * top
    rows = w.flatten(1)

    def error(ends):
        step = ends[:, None] / top
        return (rows - (rows / step).round().clamp(-top, top) * step).square().sum(dim=1)

    refined = 1.05  # the library narrows the best of the same hundred ends further
    assert (error(lab["search_clips"](w, num_bits)) <= refined * error(theirs)).all()


def test_correct_moments_is_the_librarys(lab, w):
    coarse = w.round()
    room = 8 * torch.finfo(torch.float32).eps * w.abs().max()
    assert (lab["correct_moments"](w, coarse) - aciq.correct_weight(w, coarse)).abs().max() <= room


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("scale", [0.0, 0.25])
def test_split_channels_is_the_librarys(lab, w, count, scale):
    weight, index = lab["split_channels"](w, count, scale)
    theirs = ocs.split_weight(w, max(0, count - 0.5) / w.shape[1], scale or None)
    assert torch.equal(weight, theirs.weight)
    assert torch.equal(index, theirs.index)


def test_halves_of_a_split_channel_round_to_the_code_of_the_whole(lab):
    codes = torch.arange(-40, 41) / 4  # in steps of 1: every fourth is a tie, and every second of its halves
    weight, _ = lab["split_channels"](codes[:, None], 1, 1.0)
    assert torch.equal(lab["half_up"](weight).sum(dim=1), half_up(codes))
    assert not torch.equal(weight.round().sum(dim=1), codes.round())


def test_allocate_bits_is_the_librarys_wherever_that_spends_the_whole_budget(lab):
    compared = 0
    for seed in range(40):
        spread = torch.rand(16, generator=torch.Generator().manual_seed(seed)) ** 3 + 1e-4
        theirs = aciq.allocate_bits(spread, 4)
        if theirs.sum() == 64:
            compared += 1
            assert torch.equal(lab["allocate_bits"](spread, 4), theirs)
    assert compared >= 30


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_piecewise_is_the_librarys(lab, w, num_bits):
    grid = pwlq.choose_grid(w, num_bits)
    room = 4 * torch.finfo(torch.float32).eps * w.abs().max()
    assert (lab["piecewise"](w, grid.breakpoint, grid.limit, num_bits) - grid.quantize(w)).abs().max() <= room


def test_every_example_in_the_stubs_runs(lab, cells):
    runner = doctest.DocTestRunner()
    for exercise in (cell.exercise for cell in cells if cell.role == "solution"):
        example = doctest.DocTestParser().get_doctest(lab[exercise].__doc__, dict(lab), exercise, None, 0)
        assert example.examples, f"{exercise} has no example"
        runner.run(example)
    assert runner.failures == 0


def test_the_title_counts_exercises_and_points(cells):
    title = cells[0].source
    assert float(re.search(r"(\d+) points", title)[1]) == sum(cell.points for cell in cells)
    assert int(re.search(r"(\d+) exercises", title)[1]) == sum(cell.role == "solution" for cell in cells)
