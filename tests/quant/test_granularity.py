"""Granularity: shapes, the order of steps, and what is refused."""

import pytest
import torch

from frugal.quant.affine import choose_qparams
from frugal.quant.granularity import PerChannel, PerGroup, PerTensor, PerToken


@pytest.mark.parametrize(
    "granularity, shape, scale_shape",
    [
        (PerTensor(), (8, 4, 3, 3), ()),
        (PerChannel(0), (8, 4, 3, 3), (8,)),
        (PerChannel(1), (8, 4, 3, 3), (4,)),
        (PerGroup(2, axis=1), (8, 4, 3, 3), (8, 3, 3, 2)),
        (PerGroup(4), (8, 16), (8, 4)),
        (PerToken(), (2, 5, 16), (2, 5)),
    ],
    ids=str,
)
def test_the_scale_has_one_value_per_block(granularity, shape, scale_shape):
    x = torch.randn(shape)
    qparams = choose_qparams(x, granularity=granularity)
    assert tuple(qparams.scale.shape) == scale_shape
    spread = granularity.spread(qparams.scale, x)
    assert torch.broadcast_shapes(spread.shape, x.shape) == x.shape


def test_spread_lays_each_number_over_its_own_block():
    x = torch.arange(24.0).reshape(2, 3, 4)
    for granularity in (PerChannel(1), PerGroup(2), PerGroup(3, axis=1), PerToken()):
        largest = granularity.blocks(x).amax(-1)
        assert (granularity.spread(largest, x) >= x).all()
        assert torch.equal(granularity.spread(largest, x).expand_as(x).amax(), x.amax())


def test_finer_granularity_never_has_a_larger_step():
    w = torch.randn(6, 8)
    tensor, channel, group = (
        choose_qparams(w, 4, symmetric=True, granularity=g) for g in (PerTensor(), PerChannel(0), PerGroup(4))
    )
    assert (channel.scale <= tensor.scale).all()
    assert (group.scale <= channel.scale[:, None]).all()


def test_scaling_a_row_changes_no_code_per_channel_but_does_per_tensor():
    w = torch.randn(4, 32)
    scaled = w * torch.tensor([1.0, 4.0, 0.25, 16.0])[:, None]
    for granularity, same in ((PerChannel(0), True), (PerTensor(), False)):
        a, b = (quantize_with(x, granularity) for x in (w, scaled))
        assert torch.equal(a, b) is same


def quantize_with(x, granularity):
    from frugal.quant.affine import quantize

    return quantize(x, choose_qparams(x, 4, symmetric=True, granularity=granularity))


def test_what_does_not_fit_the_tensor_is_refused_by_value():
    with pytest.raises(ValueError, match="axis 2 does not exist"):
        choose_qparams(torch.randn(3, 4), granularity=PerChannel(2))
    with pytest.raises(ValueError, match="group_size 3 does not divide axis -1"):
        choose_qparams(torch.randn(3, 4), granularity=PerGroup(3))
    with pytest.raises(ValueError, match="group_size must be a whole number"):
        PerGroup(0)
    with pytest.raises(ValueError, match="PerToken needs at least one axis"):
        choose_qparams(torch.tensor(1.0), granularity=PerToken())


def test_granularities_are_values():
    assert PerChannel(1) == PerChannel(1) != PerChannel(0)
    assert len({PerTensor(), PerTensor(), PerGroup(2), PerGroup(2)}) == 2
