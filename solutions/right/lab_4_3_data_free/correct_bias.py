"""Right answers to exercise 4.3.5, each written differently."""

import torch
from torch import Tensor
from torch.nn import functional as F


def a_constant_picture(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    error = (w_q - w).reshape(*w.shape[:2], -1, 1)
    picture = mean.reshape(1, -1, 1, 1).expand(1, len(mean), error.shape[2], 1)
    return bias - F.conv2d(picture, error, groups=len(w) if depthwise else 1).flatten()


def one_product(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    error = (w_q - w).reshape(*w.shape[:2], -1)
    if depthwise:
        return bias - torch.einsum("cit,c->c", error, mean)
    return bias - torch.einsum("oit,i->o", error, mean)


def channel_by_channel(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    new = bias.clone()
    for o in range(len(w)):
        for i in range(w.shape[1]):
            new[o] -= (w_q[o, i] - w[o, i]).sum() * mean[o if depthwise else i]
    return new


def two_mean_outputs(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    laid = mean.double().reshape(*((-1, 1) if depthwise else (1, -1)), *[1] * (w.ndim - 2))
    rounded, exact = ((each.double() * laid).flatten(1).sum(1) for each in (w_q, w))
    return (bias.double() + exact - rounded).float()
