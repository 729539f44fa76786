"""Right answers to exercise 4.2.2, each written differently."""

import torch
from torch import Tensor


def in_plain_python(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    found = []
    for real, codes, unit, zero in zip(bias.tolist(), q_w, step.tolist(), w_zero_point.tolist(), strict=True):
        centred = sum(code - zero for code in codes.flatten().tolist())
        found.append(round(real / unit) - x_zero_point * centred)
    if any(not -(2**31) <= each < 2**31 for each in found):
        raise ValueError("an entry does not fit int32")
    return torch.tensor(found, dtype=torch.int32)


def sums_of_centred_weights(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    centred = q_w.flatten(1).double() - w_zero_point.double()[:, None]
    total = (bias.double() / step).round() - x_zero_point * centred.sum(1)
    info = torch.iinfo(torch.int32)
    if total.min() < info.min or total.max() > info.max:
        raise ValueError(f"the bias does not fit int32: {total.tolist()}")
    return total.to(torch.int32)


def a_picture_of_code_0(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    rows = q_w.reshape(len(q_w), -1).to(torch.int64)
    dark = torch.full((rows.shape[1],), -x_zero_point, dtype=torch.int64)
    total = (rows - w_zero_point.reshape(-1, 1)) @ dark + torch.round(torch.div(bias.double(), step)).to(torch.int64)
    narrow = total.to(torch.int32)
    if not torch.equal(narrow.to(torch.int64), total):
        raise ValueError("int32 is too narrow for this bias")
    return narrow
