"""AWQ: rounding to nearest at ratio 0, never worse than it, and the same function before rounding."""

import pytest
import torch

from frugal.data.stories import draw_stories
from frugal.nets import pretrained
from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerGroup
from frugal.quant.methods.awq import round_groups, scale_salient, search_factors, shrunken_qparams


def salient(rows=128, features=32, seed=0):
    """Inputs of which a few are much larger than the rest."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, features, generator=rng)
    x[:, ::11] *= 20
    return x, torch.randn(16, features, generator=rng)


def test_ratio_zero_is_rounding_to_nearest():
    x, w = salient()
    choice = search_factors([w], x, round_groups(3, 16), ratios=[0.0])
    assert torch.equal(choice.factors, torch.ones(32))
    expected = (x @ (round_groups(3, 16)(w) - w).T).double().square().sum().item()
    assert choice.losses == (expected,)


@pytest.mark.parametrize("num_bits", [3, 4])
def test_the_best_ratio_is_better_than_nearest_where_few_inputs_are_large(num_bits):
    x, w = salient()
    choice = search_factors([w, w.flip(0)], x, round_groups(num_bits, 16))
    assert min(choice.losses) < 0.8 * choice.losses[0]
    assert choice.ratio > 0
    assert (choice.factors.max() * choice.factors.min()).item() == pytest.approx(1, rel=1e-5)


def test_equal_inputs_leave_every_ratio_alike():
    x = torch.ones(4, 32)
    _, w = salient()
    choice = search_factors([w], x, round_groups(4, 8))
    assert choice.losses == pytest.approx([choice.losses[0]] * 20, rel=1e-3)


def test_the_function_stays():
    model, rows = pretrained.load("llama_drawn"), draw_stories(8)
    scaled = scale_salient(model, [rows], 3, group_size=16)
    assert not torch.equal(scaled.blocks[0].ffn.w2.weight, model.blocks[0].ffn.w2.weight)
    torch.testing.assert_close(scaled(rows), model(rows), rtol=1e-4, atol=1e-4)


def test_shrinking_ranges_never_makes_products_worse():
    x, w = salient()
    granularity = PerGroup(16)
    full, shrunk = choose_qparams(w, 3, granularity=granularity), shrunken_qparams(w, x, 3, group_size=16)

    def errors(qparams):
        error = granularity.blocks(dequantize(quantize(w, qparams), qparams) - w)
        return torch.einsum("rgi,ogi->rog", granularity.blocks(x), error).square().sum(0)

    slack = 1e-4 * errors(full).max()  # the search sums in another order
    assert (errors(shrunk) <= errors(full) + slack).all()
    assert errors(shrunk).sum() < 0.9 * errors(full).sum()
    assert (shrunk.scale >= 0.5 * full.scale).all()


def test_bad_input_is_refused():
    x, w = salient()
    with pytest.raises(ValueError, match="to fit x"):
        search_factors([w[:, :5]], x, round_groups(4, 16))
    with pytest.raises(ValueError, match="at least one number"):
        search_factors([w], x, round_groups(4, 16), ratios=[])
    with pytest.raises(ValueError, match="does not divide"):
        shrunken_qparams(w, x, group_size=5)
