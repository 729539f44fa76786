"""OMSE: never worse than covering everything, equivariant, and sums of codes that converge."""

import pytest
import torch

from frugal.quant.affine import choose_qparams as cover_all
from frugal.quant.affine import dequantize, quantize
from frugal.quant.granularity import PerChannel, PerGroup
from frugal.quant.methods import omse


def chance(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def errors(x, qparams):
    return qparams.granularity.blocks((dequantize(quantize(x, qparams), qparams) - x).pow(2)).sum(-1)


@pytest.mark.parametrize("num_bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("granularity", [PerChannel(0), PerGroup(10)])
def test_no_block_errs_more_than_when_all_is_covered(num_bits, symmetric, granularity):
    x = torch.cat([chance(4, 100), chance(2, 100, seed=1).abs(), chance(2, 100, seed=2) ** 3])
    best = omse.choose_qparams(x, num_bits, symmetric=symmetric, granularity=granularity)
    whole = cover_all(x, num_bits, symmetric=symmetric, granularity=granularity)
    assert (errors(x, best) <= errors(x, whole)).all()


def test_a_gaussian_is_clipped_where_theory_says():
    x = chance(200_000)
    qparams = omse.choose_qparams(x, 4, symmetric=False)
    reach = (qparams.high - qparams.low).item() / 2
    assert reach == pytest.approx(2.56, abs=0.1)  # ACIQ's point for 16 bins; the optimum is flat


def test_the_refinement_is_no_worse_than_a_grid_ten_times_as_fine():
    x = chance(2000)
    fine = omse.choose_qparams(x, 4, candidates=1000)
    assert errors(x, omse.choose_qparams(x, 4)).item() <= 1.01 * errors(x, fine).item()


@pytest.mark.parametrize("factor", [0.5, 4.0])
def test_the_scale_follows_the_data(factor):
    x = chance(500)
    one, other = omse.choose_qparams(x, 4), omse.choose_qparams(factor * x, 4)
    assert other.scale.item() == factor * one.scale.item()  # powers of two: exact


def test_eight_bits_of_uniform_data_are_hardly_clipped():
    x = torch.linspace(-1, 1, 10_001, dtype=torch.float64)
    assert omse.choose_qparams(x, 8).high.item() == pytest.approx(1, abs=0.01)


def test_each_further_tensor_of_codes_errs_less():
    x = chance(4, 500)
    seen = [
        (omse.sum_of_codes(x, 4, count, granularity=PerChannel(0)).dequantize() - x).pow(2).mean()
        for count in (1, 2, 3)
    ]
    assert seen[0] > 10 * seen[1] > 0
    assert seen[1] > 2 * seen[2]


def test_going_round_again_does_not_hurt():
    x = chance(300) ** 3
    greedy = omse.sum_of_codes(x, 3, 2, rounds=0).dequantize()
    again = omse.sum_of_codes(x, 3, 2, rounds=5).dequantize()
    assert (again - x).pow(2).sum() <= (greedy - x).pow(2).sum()


def test_codes_are_int8_and_stand_for_the_sum():
    parts = omse.sum_of_codes(chance(50), 4, 2)
    assert [codes.dtype for codes in parts.codes] == [torch.int8] * 2
    total = sum(dequantize(q, p) for q, p in zip(parts.codes, parts.qparams, strict=True))
    assert torch.equal(parts.dequantize(), total)


def test_edges_and_bad_input():
    zeros = torch.zeros(2, 5)
    assert torch.equal(omse.sum_of_codes(zeros, 4, 2).dequantize(), zeros)
    assert omse.choose_qparams(torch.tensor([3.0]), 4).high.item() == pytest.approx(3)
    with pytest.raises(ValueError, match="count"):
        omse.sum_of_codes(zeros, 4, 0)
    with pytest.raises(ValueError, match="candidates"):
        omse.choose_qparams(zeros, 4, candidates=1)
    with pytest.raises(ValueError, match="finite"):
        omse.choose_qparams(torch.tensor([float("inf")]), 4)
