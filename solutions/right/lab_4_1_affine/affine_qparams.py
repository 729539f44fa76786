"""Right answers to exercise 4.1.2, each written differently."""

import math

import torch
from torch import Tensor

from frugal.core.check import check_finite
from frugal.quant.affine import QParams


def in_plain_python(x: Tensor, num_bits: int = 8) -> QParams:
    values = x.flatten().tolist()
    if not values or not all(map(math.isfinite, values)):
        raise ValueError("x must hold finite values")
    low, high = min(values + [0.0]), max(values + [0.0])
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = (high - low) / (quant_max - quant_min) or 1.0
    zero_point = round(quant_min - low / scale)
    return QParams(torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int32), quant_min, quant_max)


def from_the_upper_end(x: Tensor, num_bits: int = 8) -> QParams:
    if x.numel() == 0 or not torch.isfinite(x).all():
        raise ValueError("x must hold finite values")
    padded = torch.cat([x.flatten(), torch.zeros(1)])
    low, high = padded.double().aminmax()
    levels = 2**num_bits
    scale = (high - low) / (levels - 1)
    if scale == 0:
        return QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), -levels // 2, levels // 2 - 1)
    zero_point = torch.round(-low / scale).int() - levels // 2
    return QParams(scale.float(), zero_point, -levels // 2, levels // 2 - 1)


def with_an_observer(x: Tensor, num_bits: int = 8) -> QParams:
    from torch.ao.quantization import MinMaxObserver

    check_finite(x, "x")
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    if not x.any():
        return QParams(torch.ones(()), torch.full((), quant_min, dtype=torch.int32), quant_min, quant_max)
    observer = MinMaxObserver(torch.qint8, torch.per_tensor_affine, False, quant_min, quant_max, eps=0.0)
    observer(x)
    scale, zero_point = observer.calculate_qparams()
    return QParams(scale.reshape(()), zero_point.reshape(()).to(torch.int32), quant_min, quant_max)


def clamped_and_converted(x: Tensor, num_bits: int = 8) -> QParams:
    check_finite(x, "x")
    quant_max = (1 << (num_bits - 1)) - 1
    quant_min = ~quant_max
    low, high = x.flatten().sort().values[[0, -1]]
    low, high = torch.minimum(low, torch.zeros(())), torch.maximum(high, torch.zeros(()))
    scale = torch.where(low == high, torch.ones(()), high / (2**num_bits - 1) - low / (2**num_bits - 1))
    return QParams(scale, (quant_min - low / scale).round().to(torch.int32), quant_min, quant_max)
