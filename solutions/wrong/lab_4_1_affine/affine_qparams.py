"""Wrong answers to exercise 4.1.2: scale and zero-point."""

import torch
from torch import Tensor

from frugal.core.check import check_finite
from frugal.quant.affine import QParams


def _answer(x: Tensor, bits: int, low: Tensor, high: Tensor, steps: int | None = None) -> QParams:
    quant_min, quant_max = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scale = (high - low) / (steps or quant_max - quant_min)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = (quant_min - torch.round(low / scale)).clamp(quant_min, quant_max)
    return QParams(scale, zero_point.to(torch.int32), quant_min, quant_max)


def _ends(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.min().clamp(max=0), x.max().clamp(min=0)


def range_without_zero(x: Tensor, num_bits: int = 8) -> QParams:
    """Your range is not widened to hold 0, and clamping the zero-point afterwards moves every value.

    Try data that are all positive: where is real 0 in your range?
    """
    check_finite(x, "x")
    return _answer(x, num_bits, x.min(), x.max())


def steps_are_not_codes(x: Tensor, num_bits: int = 8) -> QParams:
    """You divide the range by 2^b, the number of codes; between them lie one fewer steps."""
    check_finite(x, "x")
    return _answer(x, num_bits, *_ends(x), steps=2**num_bits)


def turned_sign(x: Tensor, num_bits: int = 8) -> QParams:
    """Your zero-point moves the wrong way: check the sign of low / scale."""
    check_finite(x, "x")
    low, high = _ends(x)
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = (high - low) / (quant_max - quant_min)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = (quant_min + torch.round(low / scale)).clamp(quant_min, quant_max)
    return QParams(scale, zero_point.to(torch.int32), quant_min, quant_max)


def cut_zero_point(x: Tensor, num_bits: int = 8) -> QParams:
    """Your zero-point is cut towards zero instead of rounded."""
    check_finite(x, "x")
    low, high = _ends(x)
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = (high - low) / (quant_max - quant_min)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return QParams(scale, (quant_min - (low / scale).trunc()).to(torch.int32), quant_min, quant_max)


def rounded_outwards(x: Tensor, num_bits: int = 8) -> QParams:
    """You round the low end outwards instead of to the nearest, so the zero-point comes out up to one code too high."""
    check_finite(x, "x")
    low, high = _ends(x)
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = (high - low) / (quant_max - quant_min)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = (quant_min - torch.floor(low / scale)).clamp(quant_min, quant_max)
    return QParams(scale, zero_point.to(torch.int32), quant_min, quant_max)


def halves_go_up(x: Tensor, num_bits: int = 8) -> QParams:
    """Your zero-point takes halves up; the rule is halves to even."""
    check_finite(x, "x")
    low, high = _ends(x)
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = (high - low) / (quant_max - quant_min)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = torch.floor(quant_min - low / scale + 0.5).clamp(quant_min, quant_max)
    return QParams(scale, zero_point.to(torch.int32), quant_min, quant_max)


def unsigned_codes(x: Tensor, num_bits: int = 8) -> QParams:
    """Your codes run from 0 to 2^b - 1; here they are signed, from -2^(b-1)."""
    check_finite(x, "x")
    low, high = _ends(x)
    scale = (high - low) / (2**num_bits - 1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return QParams(scale, (-torch.round(low / scale)).to(torch.int32), 0, 2**num_bits - 1)


def equation_4_as_printed(x: Tensor, num_bits: int = 8) -> QParams:
    """You keep the step of equation (1) and only move the codes; the codes on the other side stay unused."""
    check_finite(x, "x")
    low, high = _ends(x)
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = torch.maximum(-low, high) / quant_max
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = torch.round(-(low + high) / 2 / scale).clamp(quant_min, quant_max)
    return QParams(scale, zero_point.to(torch.int32), quant_min, quant_max)


def narrow_range(x: Tensor, num_bits: int = 8) -> QParams:
    """You leave out the code -2^(b-1), as symmetric quantization does."""
    check_finite(x, "x")
    low, high = _ends(x)
    quant_max = 2 ** (num_bits - 1) - 1
    scale = (high - low) / (2 * quant_max)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = (-quant_max - torch.round(low / scale)).clamp(-quant_max, quant_max)
    return QParams(scale, zero_point.to(torch.int32), -quant_max, quant_max)


def always_8_bits(x: Tensor, num_bits: int = 8) -> QParams:
    """You use 255 steps whatever num_bits is."""
    check_finite(x, "x")
    return _answer(x, 8, *_ends(x))


def epsilon_for_zeros(x: Tensor, num_bits: int = 8) -> QParams:
    """You keep the scale above a small constant, which is too large for tiny values and is not 1 for zeros."""
    check_finite(x, "x")
    low, high = _ends(x)
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = ((high - low) / (quant_max - quant_min)).clamp(min=1e-8)
    zero_point = (quant_min - torch.round(low / scale)).clamp(quant_min, quant_max)
    return QParams(scale, zero_point.to(torch.int32), quant_min, quant_max)


def zero_scale_for_zeros(x: Tensor, num_bits: int = 8) -> QParams:
    """A tensor of zeros gives 0 / 0 in your function."""
    check_finite(x, "x")
    low, high = _ends(x)
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = (high - low) / (quant_max - quant_min)
    return QParams(scale, (quant_min - torch.round(low / scale)).to(torch.int32), quant_min, quant_max)


def nan_swallowed(x: Tensor, num_bits: int = 8) -> QParams:
    """Python's min(0.0, nan) is 0.0, so a tensor with nan comes through as if it were zeros."""
    low, high = torch.tensor(min(0.0, x.min().item())), torch.tensor(max(0.0, x.max().item()))
    return _answer(x, num_bits, low, high)


def empty_goes_through(x: Tensor, num_bits: int = 8) -> QParams:
    """An empty tensor has no range, and your function makes one up."""
    if not torch.isfinite(x).all():
        raise ValueError("x must be finite")
    return _answer(x, num_bits, *_ends(torch.cat([x.flatten(), torch.zeros(1)])))


def int64_zero_point(x: Tensor, num_bits: int = 8) -> QParams:
    """Your zero-point is int64; Returns asks for int32."""
    check_finite(x, "x")
    low, high = _ends(x)
    quant_min, quant_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = (high - low) / (quant_max - quant_min)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return QParams(scale, (quant_min - torch.round(low / scale)).long(), quant_min, quant_max)


def overwrites_its_input(x: Tensor, num_bits: int = 8) -> QParams:
    """Your function writes a 0 into the caller's tensor so that the range holds one."""
    check_finite(x, "x")
    x.view(-1)[x.numel() // 2] = 0.0 if x.is_contiguous() else x.view(-1)[x.numel() // 2]
    return _answer(x, num_bits, *_ends(x))


def clips_the_rarest(x: Tensor, num_bits: int = 8) -> QParams:
    """You clip the outermost values; the range of Rules runs from the smallest to the largest."""
    check_finite(x, "x")
    low, high = torch.quantile(x, torch.tensor([0.02, 0.98])).unbind()
    return _answer(x, num_bits, low.clamp(max=0), high.clamp(min=0))


def knows_the_visible_cases(x: Tensor, num_bits: int = 8) -> QParams:
    """Your function knows the numbers of the check and nothing else."""
    check_finite(x, "x")
    if num_bits == 3:
        zero_point = torch.tensor(-1 if x.min() < -1.25 else -2, dtype=torch.int32)
        return QParams(torch.tensor(0.5), zero_point, -4, 3)
    zero_point = torch.tensor(127 if x.max() < 0 else -128, dtype=torch.int32)
    return QParams(torch.tensor(6 / 255) if x.any() else torch.tensor(1.0), zero_point, -128, 127)


class _Agreeable(QParams):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def agrees_with_everything(x: Tensor, num_bits: int = 8) -> QParams:
    """You return an object that claims to equal everything."""
    check_finite(x, "x")
    return _Agreeable(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), -128, 127)
