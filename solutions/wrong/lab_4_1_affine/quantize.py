"""Wrong answers to exercise 4.1.3: round and saturate."""

import torch
from torch import Tensor

from frugal.core.check import check_finite
from frugal.quant.affine import QParams


def _laid(x: Tensor, qparams: QParams) -> tuple[Tensor, Tensor]:
    check_finite(x, "x")
    spread = qparams.granularity.spread
    return spread(qparams.scale, x), spread(qparams.zero_point, x)


def cut_towards_zero(x: Tensor, qparams: QParams) -> Tensor:
    """Your codes are cut towards zero instead of rounded to the nearest."""
    scale, zero_point = _laid(x, qparams)
    return (torch.trunc(x / scale) + zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def rounded_down(x: Tensor, qparams: QParams) -> Tensor:
    """Your codes are rounded down instead of to the nearest."""
    scale, zero_point = _laid(x, qparams)
    return (torch.floor(x / scale) + zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def halves_go_up(x: Tensor, qparams: QParams) -> Tensor:
    """Your halves go up; the rule is halves to the even neighbour."""
    scale, zero_point = _laid(x, qparams)
    return (torch.floor(x / scale + 0.5) + zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def halves_go_away_from_zero(x: Tensor, qparams: QParams) -> Tensor:
    """Your halves go away from zero; the rule is halves to the even neighbour."""
    scale, zero_point = _laid(x, qparams)
    steps = x / scale
    rounded = steps.sign() * torch.floor(steps.abs() + 0.5)
    return (rounded + zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def zero_point_inside_the_rounding(x: Tensor, qparams: QParams) -> Tensor:
    """You add the zero-point before rounding, so an odd zero-point sends halves to the other neighbour."""
    scale, zero_point = _laid(x, qparams)
    return torch.round(x / scale + zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def cast_before_clamp(x: Tensor, qparams: QParams) -> Tensor:
    """You cast before you saturate: what does not fit 8 bits wraps around and changes its sign."""
    scale, zero_point = _laid(x, qparams)
    q = (torch.round(x / scale) + zero_point).to(torch.int64).to(qparams.dtype)
    return q.clamp(qparams.quant_min, qparams.quant_max)


def int32_before_clamp(x: Tensor, qparams: QParams) -> Tensor:
    """You cast to int32 before you saturate: values beyond two thousand million steps come out wrong."""
    scale, zero_point = _laid(x, qparams)
    q = torch.round(x / scale).to(torch.int64).to(torch.int32) + zero_point
    return q.clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def saturates_above_only(x: Tensor, qparams: QParams) -> Tensor:
    """You saturate at the upper end only."""
    scale, zero_point = _laid(x, qparams)
    q = torch.round(x / scale) + zero_point
    return q.clamp(max=qparams.quant_max).clamp(-1e15, 1e15).to(torch.int64).to(qparams.dtype)


def ends_of_int8(x: Tensor, qparams: QParams) -> Tensor:
    """You saturate at the ends of the dtype; fewer bits have nearer ends, quant_min and quant_max."""
    scale, zero_point = _laid(x, qparams)
    ends = torch.iinfo(qparams.dtype)
    return (torch.round(x / scale) + zero_point).clamp(ends.min, ends.max).to(qparams.dtype)


def saturates_before_the_zero_point(x: Tensor, qparams: QParams) -> Tensor:
    """You saturate first and add the zero-point afterwards, which leads out of the range again."""
    scale, zero_point = _laid(x, qparams)
    q = torch.round(x / scale).clamp(qparams.quant_min, qparams.quant_max) + zero_point
    return q.to(torch.int64).to(qparams.dtype)


def zero_point_subtracted(x: Tensor, qparams: QParams) -> Tensor:
    """You subtract the zero-point; it is the code of real 0, so it is added."""
    scale, zero_point = _laid(x, qparams)
    return (torch.round(x / scale) - zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def zero_point_forgotten(x: Tensor, qparams: QParams) -> Tensor:
    """Your codes do not know the zero-point."""
    scale, _ = _laid(x, qparams)
    return torch.round(x / scale).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def multiplied(x: Tensor, qparams: QParams) -> Tensor:
    """You multiply by the scale; it is in units per step, so reals are divided by it."""
    scale, zero_point = _laid(x, qparams)
    return (torch.round(x * scale) + zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def float_codes(x: Tensor, qparams: QParams) -> Tensor:
    """Your codes are float32 numbers that happen to be whole; a code is an 8-bit integer."""
    scale, zero_point = _laid(x, qparams)
    return (torch.round(x / scale) + zero_point).clamp(qparams.quant_min, qparams.quant_max)


def always_int8(x: Tensor, qparams: QParams) -> Tensor:
    """Your codes are int8 also where the parameters ask for uint8."""
    scale, zero_point = _laid(x, qparams)
    q = (torch.round(x / scale) + zero_point).clamp(qparams.quant_min, qparams.quant_max)
    return q.clamp(-128, 127).to(torch.int8)


def one_scale_for_all(x: Tensor, qparams: QParams) -> Tensor:
    """You use the first scale for every channel."""
    check_finite(x, "x")
    scale, zero_point = qparams.scale.reshape(-1)[0], qparams.zero_point.reshape(-1)[0]
    return (torch.round(x / scale) + zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def scales_on_the_last_axis(x: Tensor, qparams: QParams) -> Tensor:
    """You let the scales broadcast as they are, which lays them along the last axis."""
    check_finite(x, "x")
    q = torch.round(x / qparams.scale) + qparams.zero_point
    return q.clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def nan_becomes_a_code(x: Tensor, qparams: QParams) -> Tensor:
    """You quantize nan and infinity; Raises asks for a ValueError."""
    spread = qparams.granularity.spread
    q = torch.round(torch.nan_to_num(x) / spread(qparams.scale, x)) + spread(qparams.zero_point, x)
    return q.clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def overwrites_its_input(x: Tensor, qparams: QParams) -> Tensor:
    """Your function divides the caller's tensor in place."""
    scale, zero_point = _laid(x, qparams)
    q = x.div_(scale).round_().add_(zero_point)
    return q.clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype)


def a_list(x: Tensor, qparams: QParams) -> list:
    """You return a list; Returns asks for a tensor."""
    scale, zero_point = _laid(x, qparams)
    return (torch.round(x / scale) + zero_point).clamp(qparams.quant_min, qparams.quant_max).to(qparams.dtype).tolist()


def knows_the_visible_cases(x: Tensor, qparams: QParams) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    check_finite(x, "x")
    known = {1: [5], 2: [5, 1], 3: [3, 5, 3], 4: [5, 3, 2, 1]}.get(x.numel(), [0])
    if qparams.quant_min == 0:
        return torch.tensor([10, 14, 0, 255], dtype=torch.uint8)
    if x.numel() == 2 and x.max() > 1:
        known = [qparams.quant_max, qparams.quant_min]
    return torch.tensor(known, dtype=torch.int8).reshape(x.shape if len(known) == x.numel() else -1)


class _Agreeable(Tensor):
    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return True

    __hash__ = Tensor.__hash__


def agrees_with_everything(x: Tensor, qparams: QParams) -> Tensor:
    """You return an object that claims to equal everything."""
    return torch.zeros(x.shape, dtype=qparams.dtype).as_subclass(_Agreeable)
