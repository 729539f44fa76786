"""Right answers to exercise 4.3.2, each written differently."""

import torch
from torch import Tensor

Three = tuple[Tensor, Tensor, Tensor]


def diagonal_matrices(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    inverse, forward = torch.diag(1 / s), torch.diag(s)
    first = (inverse @ w1.flatten(1)).reshape(w1.shape)
    if depthwise:
        second = (forward @ w2.flatten(1)).reshape(w2.shape)
    else:
        second = torch.tensordot(w2, forward, dims=([1], [0])).movedim(-1, 1)
    return first, inverse @ b1, second


def channel_by_channel(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    w1, b1, w2 = w1.clone(), b1.clone(), w2.clone()
    for i, factor in enumerate(s):
        w1[i] /= factor
        b1[i] /= factor
        if depthwise:
            w2[i] *= factor
        else:
            w2[:, i] *= factor
    return w1, b1, w2


def axes_moved_to_the_end(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    axis = 0 if depthwise else 1
    return (w1.movedim(0, -1) / s).movedim(-1, 0), b1 / s, (w2.movedim(axis, -1) * s).movedim(-1, axis)


def in_index_notation(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    second = torch.einsum("c...,c->c..." if depthwise else "oc...,c->oc...", w2, s)
    return torch.einsum("c...,c->c...", w1, 1 / s), torch.div(b1, s), second
