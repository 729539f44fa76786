"""Right answers to exercise 4.1.7, each written differently."""

import torch
from torch import Tensor


def shifted_first(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    centred = q_x.to(torch.int64) - x_zero_point
    return torch.einsum("ni,oi->no", centred, q_w.to(torch.int64)) * x_scale * w_scale + bias


def exact_in_float64(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    total = torch.nn.functional.linear(q_x.double() - x_zero_point, q_w.double())  # below 2^53: exact
    return (total * (x_scale.double() * w_scale.double()) + bias.double()).float()


def correction_in_the_bias(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    shift = -x_zero_point * q_w.sum(dim=1)  # torch sums int8 in int64
    total = torch.addmm(shift.expand(len(q_x), -1), q_x.long(), q_w.long().T)
    return total.float().mul(x_scale * w_scale).add(bias)


def one_output_at_a_time(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    columns = []
    for row, scale, shift in zip(q_w.to(torch.int32), w_scale, bias, strict=True):
        total = ((q_x.to(torch.int32) - x_zero_point) * row).sum(dim=1)
        columns.append(total * (x_scale * scale) + shift)
    return torch.stack(columns, dim=1)
