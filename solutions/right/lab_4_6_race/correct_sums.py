"""Right answers to exercise 4.6.1, each written differently."""

import torch
from torch import Tensor


def term_by_term(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    of_x = x.int().sum(dim=1)[:, None] * w_zero_point
    of_w = w.int().sum(dim=1)[None, :] * x_zero_point
    return (acc - of_x - of_w + x_zero_point * w_zero_point * x.shape[-1]).to(torch.int32)


def centred_row_sums(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    centred = (w.long() - w_zero_point).sum(1)
    return (acc.long() - x_zero_point * centred - w_zero_point * x.long().sum(1, keepdim=True)).int()


def with_outer_products(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    rows, columns = x.double().sum(1), w.double().sum(1)
    ones_x, ones_w = torch.ones_like(rows), torch.ones_like(columns)
    change = torch.outer(ones_x, x_zero_point * columns) + torch.outer(w_zero_point * rows, ones_w)
    return (acc.double() - change + x.shape[1] * x_zero_point * w_zero_point).int()


def in_plain_python(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    rows, columns = [sum(row) for row in x.tolist()], [sum(row) for row in w.tolist()]
    last = x.shape[1] * x_zero_point * w_zero_point
    got = [
        [a - x_zero_point * column - w_zero_point * row + last for a, column in zip(line, columns, strict=True)]
        for line, row in zip(acc.tolist(), rows, strict=True)
    ]
    return torch.tensor(got, dtype=torch.int32)
