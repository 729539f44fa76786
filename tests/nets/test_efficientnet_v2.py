"""EfficientNetV2: counted, equal to torchvision's, gated where the paper gates."""

import pytest
import torch
import torchvision
from torch import nn

from frugal.nets.blocks import SqueezeExcitation
from frugal.nets.efficientnet_v2 import (
    Block,
    ResidualDrop,
    Stage,
    efficientnet_v2_l,
    efficientnet_v2_m,
    efficientnet_v2_s,
    efficientnet_v2_small,
)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("size, make", [("s", efficientnet_v2_s), ("m", efficientnet_v2_m), ("l", efficientnet_v2_l)])
def test_every_size_has_torchvisions_shapes(size, make):
    with torch.device("meta"):
        ours, reference = make(), torchvision.models.get_model(f"efficientnet_v2_{size}")
    expected = {name: value.shape for name, value in reference.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == expected


def test_it_computes_what_torchvisions_computes():
    ours, reference = efficientnet_v2_s(), torchvision.models.efficientnet_v2_s()
    assert count(ours) == 21_458_488
    ours.load_state_dict(reference.state_dict())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), reference.eval()(x), rtol=1e-5, atol=1e-6)


def test_early_blocks_are_fused_and_late_ones_gated():
    model = efficientnet_v2_small()
    gated = [any(isinstance(m, SqueezeExcitation) for m in stage.modules()) for stage in model.features[1:-1]]
    assert gated == [False, False, True, True]
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_gate_is_a_number_between_0_and_1_for_each_channel():
    gate = SqueezeExcitation(6, 2)
    x = torch.rand(3, 6, 4, 4) + 0.5
    factor = gate(x) / x
    torch.testing.assert_close(factor, factor[:, :, :1, :1].expand_as(factor))
    assert ((factor > 0) & (factor < 1)).all()
    nn.init.constant_(gate.fc2.weight, 0.0)
    nn.init.constant_(gate.fc2.bias, 0.0)
    torch.testing.assert_close(gate(x), x / 2)


def test_a_dropped_block_keeps_its_mean_and_acts_in_training_only():
    drop, x = ResidualDrop(0.25), torch.ones(20_000, 2)
    assert torch.equal(drop.eval()(x), x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        y = drop.train()(x)
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    standard_error = (0.25 / 0.75 / 20_000) ** 0.5
    assert abs(y.mean().item() - 1) < 4 * standard_error
    with pytest.raises(ValueError, match="below 1"):
        ResidualDrop(1.0)


def test_a_block_adds_its_input_only_where_the_shapes_agree():
    for stage, stride, expected in ((Stage(True, 2, 8, 1, 1), 1, True), (Stage(False, 2, 8, 1, 2), 2, False)):
        assert Block(stage, 8, stride, 0.0).is_residual is expected
