"""Right answers to exercise 4.2.8, each written differently."""

import torch
from torch import Tensor

from frugal.quant.affine import QParams


def in_plain_python(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    m_a, m_b = (round(each.scale.item() / y.scale.item() * 1048576) for each in (a, b))
    z_a, z_b = a.zero_point.item(), b.zero_point.item()
    pairs = zip(q_a.flatten().tolist(), q_b.flatten().tolist(), strict=True)
    steps = [((left - z_a) * m_a + (right - z_b) * m_b + 524288) // 1048576 for left, right in pairs]
    return torch.tensor(steps, dtype=torch.int64).reshape(q_a.shape)


def zero_points_in_one_constant(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    ratio = torch.stack([a.scale, b.scale]).double() / y.scale.double()
    m_a, m_b = torch.round(ratio * 2**20).long().tolist()
    constant = 2**19 - int(a.zero_point) * m_a - int(b.zero_point) * m_b
    return torch.bitwise_right_shift(q_a.to(torch.int64) * m_a + q_b.to(torch.int64) * m_b + constant, 20)


def exactly_in_float64(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    sides = []
    for q, side in ((q_a, a), (q_b, b)):
        factor = round(float(side.scale) / float(y.scale) * 2**20)
        sides.append((q.double() - side.zero_point.item()) * factor)
    return torch.floor((sides[0] + sides[1]) / 2**20 + 0.5).to(torch.int64)  # below 2^53: nothing is rounded


def as_a_product(q_a: Tensor, q_b: Tensor, a: QParams, b: QParams, y: QParams) -> Tensor:
    both = torch.stack([q_a.int() - a.zero_point, q_b.int() - b.zero_point], dim=-1).long()
    factors = torch.tensor([round(float(x.scale) / float(y.scale) * 2**20) for x in (a, b)])
    total = (both * factors).sum(-1)
    return (torch.div(total, 2**19, rounding_mode="floor") + 1) // 2
