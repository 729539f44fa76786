"""Right answers to exercise 4.2.3, each written differently."""

import torch
import torch.nn.functional as F
from torch import Tensor


def on_a_canvas(q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0) -> Tensor:
    n, c, h, w = q_x.shape
    canvas = torch.full((n, c, h + 2 * padding, w + 2 * padding), x_zero_point, dtype=torch.int64)
    canvas[:, :, padding : padding + h, padding : padding + w] = q_x
    return (F.conv2d(canvas, q_w.long(), stride=stride) + bias.long()[:, None, None]).to(torch.int32)


def windows_and_a_product(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    x = F.pad(q_x.int(), [padding] * 4, mode="constant", value=x_zero_point)
    windows = x.unfold(2, q_w.shape[2], stride).unfold(3, q_w.shape[3], stride)  # [n, c, h', w', kh, kw]
    flat = windows.permute(0, 2, 3, 1, 4, 5).flatten(3).double()
    return ((flat @ q_w.flatten(1).double().T) + bias.double()).permute(0, 3, 1, 2).contiguous().int()


def real_zeros_and_the_bias_undone(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    centred = F.conv2d(q_x.double() - x_zero_point, q_w.double(), stride=stride, padding=padding).long()
    undone = bias.long() + x_zero_point * q_w.long().sum((1, 2, 3))
    return (centred + undone.view(1, -1, 1, 1)).int()


def tap_by_tap(q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0) -> Tensor:
    x = F.pad(q_x.long(), (padding, padding, padding, padding), value=x_zero_point)
    kh, kw = q_w.shape[2:]
    height, width = (x.shape[2] - kh) // stride + 1, (x.shape[3] - kw) // stride + 1
    total = bias.long().reshape(1, -1, 1, 1).expand(len(x), -1, height, width).clone()
    for i in range(kh):
        for j in range(kw):
            part = x[:, :, i : i + stride * height : stride, j : j + stride * width : stride][:, :, :height, :width]
            total += torch.einsum("nchw,oc->nohw", part, q_w[:, :, i, j].long())
    return total.to(torch.int32)
