"""Wrong answers to exercise 4.2.2: all that is known beforehand."""

import torch
from torch import Tensor


def _terms(q_w: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    rows = q_w.flatten(1).long()
    return rows.shape[1] * x_zero_point * w_zero_point.long() - x_zero_point * rows.sum(1)


def _int32(total: Tensor) -> Tensor:
    if ((total < -(2**31)) | (total > 2**31 - 1)).any():
        raise ValueError("an entry does not fit int32")
    return total.to(torch.int32)


def correction_added(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """You add the correction for the zero-point of the input; equation (7) takes it away."""
    rows = q_w.flatten(1).long()
    constant = rows.shape[1] * x_zero_point * w_zero_point.long()
    return _int32(torch.round(bias.double() / step) + x_zero_point * rows.sum(1) + constant)


def correction_forgotten(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """The correction for the zero-point of the input is missing."""
    constant = q_w[0].numel() * x_zero_point * w_zero_point.long()
    return _int32(torch.round(bias.double() / step) + constant)


def constant_forgotten(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """The last term is missing: N times both zero-points."""
    return _int32(torch.round(bias.double() / step) - x_zero_point * q_w.flatten(1).long().sum(1))


def constant_subtracted(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """You take the last term away; equation (7) adds it."""
    rows = q_w.flatten(1).long()
    constant = rows.shape[1] * x_zero_point * w_zero_point.long()
    return _int32(torch.round(bias.double() / step) - x_zero_point * rows.sum(1) - constant)


def n_counts_channels(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """Your N counts the output channels; it counts the products of one sum."""
    rows = q_w.flatten(1).long()
    constant = len(rows) * x_zero_point * w_zero_point.long()
    return _int32(torch.round(bias.double() / step) - x_zero_point * rows.sum(1) + constant)


def n_counts_the_second_axis(
    bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor
) -> Tensor:
    """Your N counts the second axis; a convolution has more products in a sum."""
    constant = q_w.shape[1] * x_zero_point * w_zero_point.long()
    return _int32(torch.round(bias.double() / step) - x_zero_point * q_w.flatten(1).long().sum(1) + constant)


def int8_sums(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """Your sum of weights has 8 bits and wraps around."""
    total = q_w.flatten(1).sum(1, dtype=torch.int8).long()
    constant = q_w[0].numel() * x_zero_point * w_zero_point.long()
    return _int32(torch.round(bias.double() / step) - x_zero_point * total + constant)


def bias_in_real_units(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """You add the bias in real units; the sum counts steps."""
    return _int32(torch.round(bias.double()) + _terms(q_w, x_zero_point, w_zero_point))


def bias_multiplied(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """You multiply the bias by the step; real units become steps by a division."""
    return _int32(torch.round(bias.double() * step) + _terms(q_w, x_zero_point, w_zero_point))


def bias_forgotten(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """The bias is missing."""
    return _int32(_terms(q_w, x_zero_point, w_zero_point))


def bias_cut(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """You cut the bias towards zero; Rules ask for the nearest whole step."""
    return _int32(torch.trunc(bias.double() / step) + _terms(q_w, x_zero_point, w_zero_point))


def bias_rounded_down(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """You round the bias down; Rules ask for the nearest whole step."""
    return _int32(torch.floor(bias.double() / step) + _terms(q_w, x_zero_point, w_zero_point))


def halves_up(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """Your halves go up; Rules send them to the even neighbour."""
    return _int32(torch.floor(bias.double() / step + 0.5) + _terms(q_w, x_zero_point, w_zero_point))


def in_float32(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """You divide in float32, which cannot count above 2^24 one by one."""
    whole = torch.round(bias / step.float()).double()
    return _int32(whole + _terms(q_w, x_zero_point, w_zero_point))


def wraps(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """A bias that does not fit wraps around to another sign; Raises asks for a ValueError."""
    whole = torch.round(bias.double() / step).long()
    return (whole + _terms(q_w, x_zero_point, w_zero_point)).to(torch.int32)


def saturates(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """A bias that does not fit ends at the largest int32; Raises asks for a ValueError."""
    total = torch.round(bias.double() / step) + _terms(q_w, x_zero_point, w_zero_point)
    return total.clamp(-(2**31), 2**31 - 1).to(torch.int32)


def refused_before_the_correction(
    bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor
) -> Tensor:
    """You look whether the bias fits before you correct it; what counts is the sum of all."""
    whole = _int32(torch.round(bias.double() / step)).long()
    return _int32(whole + _terms(q_w, x_zero_point, w_zero_point))


def zero_points_swapped(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """You correct with the zero-point of the weights; the sum of weights goes with that of the input."""
    rows = q_w.flatten(1).long()
    constant = rows.shape[1] * x_zero_point * w_zero_point.long()
    return _int32(torch.round(bias.double() / step) - w_zero_point * rows.sum(1) + constant)


def one_sum_for_all(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """You sum the weights of all channels; each output channel has its own sum."""
    rows = q_w.flatten(1).long()
    constant = rows.shape[1] * x_zero_point * w_zero_point.long()
    return _int32(torch.round(bias.double() / step) - x_zero_point * rows.sum() + constant)


def int64_result(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """Your result is int64; Returns asks for int32."""
    return _int32(torch.round(bias.double() / step) + _terms(q_w, x_zero_point, w_zero_point)).long()


def int8_products(bias: Tensor, q_w: Tensor, step: Tensor, x_zero_point: int, w_zero_point: Tensor) -> Tensor:
    """You multiply int8 codes by the zero-point in 8 bits; widen first."""
    terms = (x_zero_point * q_w.flatten(1).long()).to(torch.int8).long().sum(1)
    constant = q_w[0].numel() * x_zero_point * w_zero_point.long()
    return _int32(torch.round(bias.double() / step) - terms + constant)
