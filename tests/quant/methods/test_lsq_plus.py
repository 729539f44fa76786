"""LSQ+: the offset learns from what is clipped, and saves the dip of a SiLU."""

import pytest
import torch
from torch.nn.functional import silu

from frugal.quant.methods.lsq_plus import LearnedStepAndOffset, lsq_plus_quantize


def draw(count):
    return torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_gradients_are_the_papers():
    x = draw(300).requires_grad_()
    step, offset = (torch.full((300,), each, dtype=torch.float64, requires_grad=True) for each in (0.3, -0.4))
    lsq_plus_quantize(x, step, offset, 0, 3).sum().backward()
    v = (x.detach() + 0.4) / 0.3
    inside = (v > 0) & (v < 3)
    assert torch.equal(x.grad, inside.double())
    assert torch.allclose(offset.grad, (~inside).double(), atol=1e-12)
    assert torch.allclose(step.grad, torch.where(inside, v.round() - v, v.clamp(0, 3)), atol=1e-12)


def test_without_an_offset_it_is_lsq():
    from frugal.quant.methods.lsq import lsq_quantize

    x = draw(200)
    zero, step = torch.zeros((), dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    assert torch.equal(lsq_plus_quantize(x, step, zero, -2, 1), lsq_quantize(x, step, -2, 1))


def test_an_offset_keeps_the_dip_of_silu_that_unsigned_codes_lose():
    y = silu(3 * draw(4000)).float()
    learned = LearnedStepAndOffset(3)
    with_offset = (learned(y) - y).square().mean()
    step = y.max() / 7
    without = (lsq_plus_quantize(y, step, torch.tensor(0.0), 0, 7) - y)[y < 0].square().mean()
    assert (learned(y) - y)[y < 0].square().mean() < without
    assert with_offset < y.square().mean()
    assert learned.offset.item() == pytest.approx(y.min().item())


def test_constants_and_bad_input():
    layer = LearnedStepAndOffset(4)
    assert layer(torch.full((4,), 2.0)).tolist() == [2.0] * 4
    with pytest.raises(ValueError, match="step must be above 0"):
        lsq_plus_quantize(torch.ones(1), torch.tensor(0.0), torch.tensor(0.0), 0, 3)
    with pytest.raises(ValueError, match="below quant_max"):
        lsq_plus_quantize(torch.ones(1), torch.tensor(1.0), torch.tensor(0.0), 3, 3)
    with pytest.raises(ValueError, match="finite"):
        LearnedStepAndOffset(4)(torch.tensor([float("nan")]))
