"""Right answers to exercise 4.1.4, each written differently."""

import torch
from torch import Tensor

from frugal.quant.affine import QParams


def in_plain_python(q: Tensor, qparams: QParams) -> Tensor:
    spread = qparams.granularity.spread
    scales, zeros = (spread(each, q).expand_as(q).flatten() for each in (qparams.scale, qparams.zero_point))
    reals = [
        (code - zero) * scale
        for code, zero, scale in zip(q.flatten().tolist(), zeros.tolist(), scales.tolist(), strict=True)
    ]
    return torch.tensor(reals, dtype=qparams.scale.dtype).reshape(q.shape)


def in_floats(q: Tensor, qparams: QParams) -> Tensor:
    spread = qparams.granularity.spread
    return torch.sub(q.to(qparams.scale.dtype), spread(qparams.zero_point, q)).mul(spread(qparams.scale, q))


def in_int16(q: Tensor, qparams: QParams) -> Tensor:
    spread = qparams.granularity.spread
    return (q.to(torch.int16) - spread(qparams.zero_point, q).to(torch.int16)) * spread(qparams.scale, q)


def two_products(q: Tensor, qparams: QParams) -> Tensor:
    spread = qparams.granularity.spread
    scale = spread(qparams.scale, q).double()
    return (q * scale - spread(qparams.zero_point, q) * scale).to(qparams.scale.dtype)
