"""Right answers to exercise 4.5.3, each written differently."""

import torch
from torch import Tensor


def three_regions(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    v = x / step
    below, above = v <= quant_min, v >= quant_max
    by_x = torch.ones_like(v).masked_fill(below | above, 0.0)
    by_step = (torch.round(v) - v).masked_fill(below, float(quant_min)).masked_fill(above, float(quant_max))
    return by_x, by_step


def code_less_what_moves(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    v = x / step
    by_x = ((quant_min < v) & (v < quant_max)).float()
    return by_x, torch.round(torch.clamp(v, quant_min, quant_max)) - v * by_x


def by_autograd(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        steps = step.detach().expand(x.shape).clone().requires_grad_()
        v = x.detach() / steps
        inside = (v > quant_min) & (v < quant_max)
        code = torch.where(inside, v + (torch.round(v) - v).detach(), v.detach().clamp(quant_min, quant_max))
        (by_step,) = torch.autograd.grad((code * steps).sum(), steps)
    return inside.float(), by_step


def one_value_at_a_time(x: Tensor, step: Tensor, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    by_x, by_step = [], []
    for v in (x / step).flatten().tolist():
        inside = quant_min < v < quant_max
        by_x.append(float(inside))
        by_step.append(round(v) - v if inside else float(min(max(v, quant_min), quant_max)))
    return torch.tensor(by_x).reshape(x.shape), torch.tensor(by_step).reshape(x.shape)
