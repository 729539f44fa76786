"""Wrong answers to exercise 4.2.7: saturate, with ReLU for nothing."""

import torch
from torch import Tensor

from frugal.quant.affine import QParams


def _ends(y: QParams, activation: str) -> tuple[int, int, int]:
    zero = int(y.zero_point)
    low = y.quant_min if activation == "none" else zero
    high = min(y.quant_max, zero + round(6 / float(y.scale))) if activation == "relu6" else y.quant_max
    return zero, low, high


def relu_at_code_0(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Your ReLU ends at code 0; real 0 has the code zero_point."""
    zero, low, high = _ends(y, activation)
    low = low if activation == "none" else max(y.quant_min, 0)
    return (steps + zero).clamp(low, high).to(y.dtype)


def relu_before_the_zero_point(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Your ReLU ends at code 0; real 0 has the code zero_point."""
    zero, _, high = _ends(y, activation)
    codes = (steps + zero).clamp(y.quant_min, high)
    return (codes if activation == "none" else codes.relu()).to(y.dtype)


def no_activation(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """You ignore the activation."""
    return (steps + int(y.zero_point)).clamp(y.quant_min, y.quant_max).to(y.dtype)


def relu6_is_relu(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Your ReLU6 is a ReLU: it has no upper end."""
    zero, low, _ = _ends(y, activation)
    return (steps + zero).clamp(low, y.quant_max).to(y.dtype)


def relu6_ends_at_code_6(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Your ReLU6 ends 6 codes above real 0; it ends at the code of real 6."""
    zero, low, high = _ends(y, activation)
    high = min(y.quant_max, zero + 6) if activation == "relu6" else high
    return (steps + zero).clamp(low, high).to(y.dtype)


def relu6_without_zero_point(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Your ReLU6 ends at the code 6 / scale and forgets the zero-point."""
    zero, low, high = _ends(y, activation)
    high = min(y.quant_max, round(6 / float(y.scale))) if activation == "relu6" else high
    return (steps + zero).clamp(low, max(low, high)).to(y.dtype)


def relu6_cut(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """You cut 6 / scale; it is rounded to the nearest."""
    zero, low, high = _ends(y, activation)
    high = min(y.quant_max, zero + int(6 / float(y.scale))) if activation == "relu6" else high
    return (steps + zero).clamp(low, high).to(y.dtype)


def relu6_beyond_the_codes(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Your ReLU6 ends at real 6 even where no code reaches so far, and the cast wraps around."""
    zero, low, high = _ends(y, activation)
    high = zero + round(6 / float(y.scale)) if activation == "relu6" else high
    return (steps + zero).clamp(low, high).to(y.dtype)


def relu6_below_too(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Your ReLU6 has no lower end."""
    zero, low, high = _ends(y, activation)
    return (steps + zero).clamp(y.quant_min if activation == "relu6" else low, high).to(y.dtype)


def zero_point_forgotten(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Your codes do not know the zero-point."""
    _, low, high = _ends(y, activation)
    return steps.clamp(low, high).to(y.dtype)


def zero_point_subtracted(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """You subtract the zero-point; it is the code of real 0, so it is added."""
    zero, low, high = _ends(y, activation)
    return (steps - zero).clamp(low, high).to(y.dtype)


def zero_point_last(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """You hold the ends first and add the zero-point afterwards, which leads out again."""
    zero, low, high = _ends(y, activation)
    return (steps.clamp(low, high) + zero).to(y.dtype)


def cast_first(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """You cast before you hold the ends: what does not fit wraps around."""
    zero, low, high = _ends(y, activation)
    return (steps + zero).to(y.dtype).clamp(low, high)


def int32_first(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """You cast to int32 before you hold the ends: very large steps wrap around."""
    zero, low, high = _ends(y, activation)
    return (steps.to(torch.int32) + zero).clamp(low, high).to(y.dtype)


def ends_of_the_dtype(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """You hold the ends of the dtype; codes of fewer bits have nearer ends."""
    zero, low, high = _ends(y, activation)
    ends = torch.iinfo(y.dtype)
    low = ends.min if activation == "none" else low
    high = high if activation == "relu6" else ends.max
    return (steps + zero).clamp(low, high).to(y.dtype)


def always_int8(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Your codes are int8 also where the parameters ask for uint8."""
    zero, low, high = _ends(y, activation)
    return (steps + zero).clamp(low, high).clamp(-128, 127).to(torch.int8)


def int64_codes(steps: Tensor, y: QParams, activation: str = "none") -> Tensor:
    """Your codes are int64; Returns asks for y.dtype."""
    zero, low, high = _ends(y, activation)
    return (steps + zero).clamp(low, high)
