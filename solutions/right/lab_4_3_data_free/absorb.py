"""Right answers to exercise 4.3.6, each written differently."""

import torch
from torch import Tensor
from torch.nn import functional as F

Two = tuple[Tensor, Tensor]


def a_constant_picture(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    c = F.relu(beta - 3 * gamma.abs())
    kernel = w2.reshape(*w2.shape[:2], -1, 1)
    picture = c.reshape(1, -1, 1, 1).expand(1, len(c), kernel.shape[2], 1)
    return beta - c, F.conv2d(picture, kernel, b2, groups=len(c) if depthwise else 1).flatten()


def the_lower_of_two(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    low = torch.minimum(beta, 3 * gamma.abs())
    moved = (beta - low).reshape(*((-1, 1) if depthwise else (1, -1)), *[1] * (w2.ndim - 2))
    return low, b2 + (w2 * moved).flatten(1).sum(1)


def channel_by_channel(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    beta, b2 = beta.clone(), b2.clone()
    for i in range(len(beta)):
        c = beta[i] - 3 * abs(gamma[i])
        if c > 0:
            beta[i] = beta[i] - c
            if depthwise:
                b2[i] += w2[i].sum() * c
            else:
                b2 += w2[:, i].reshape(len(b2), -1).sum(1) * c
    return beta, b2


def masked(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    high = beta > 3 * gamma.abs()
    c = torch.where(high, beta - 3 * gamma.abs(), torch.zeros_like(beta))
    taps = w2.reshape(*w2.shape[:2], -1).sum(-1)
    return beta - c, torch.addmv(b2, torch.diag(taps.squeeze(1)) if depthwise else taps, c)
