"""Wrong answers to exercise 4.1.5: a scale per channel."""

import torch
from torch import Tensor


def _others(w: Tensor, axis: int) -> list[int]:
    return [dim for dim in range(w.ndim) if dim != axis % w.ndim]


def _scale(alpha: Tensor, divisor: float) -> Tensor:
    return torch.where(alpha > 0, alpha / divisor, 1.0)


def no_axes_kept(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """Your scales have the shape [out], which broadcasts along the last axis instead of the channels."""
    return _scale(w.abs().amax(dim=_others(w, axis)), 2 ** (num_bits - 1) - 1)


def one_for_the_tensor(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """Every channel gets the scale of the whole tensor."""
    alpha = w.abs().max().expand([w.shape[dim] if dim == axis % w.ndim else 1 for dim in range(w.ndim)])
    return _scale(alpha, 2 ** (num_bits - 1) - 1)


def always_axis_0(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """Your channels are always on axis 0; in transposed convolutions they are on axis 1."""
    return _scale(w.abs().amax(dim=_others(w, 0), keepdim=True), 2 ** (num_bits - 1) - 1)


def over_the_channels(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """You reduce over the axis of the channels; it is the one axis that has to stay."""
    return _scale(w.abs().amax(dim=axis, keepdim=True), 2 ** (num_bits - 1) - 1)


def negative_axis_is_no_axis(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """A negative axis equals none of 0, 1, 2 in your loop, so every axis is reduced."""
    others = [dim for dim in range(w.ndim) if dim != axis]
    return _scale(w.abs().amax(dim=others, keepdim=True), 2 ** (num_bits - 1) - 1)


def shaped_for_axis_0(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """Your numbers are right and their shape is that of axis 0, whatever axis is."""
    alpha = w.abs().amax(dim=_others(w, axis)).reshape(-1, *[1] * (w.ndim - 1))
    return _scale(alpha, 2 ** (num_bits - 1) - 1)


def without_absolute_value(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """You take the largest weight of a channel; the largest magnitude may belong to a negative one."""
    alpha = w.amax(dim=_others(w, axis), keepdim=True)
    return torch.where(alpha != 0, alpha / (2 ** (num_bits - 1) - 1), 1.0)


def one_code_too_many(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """You divide by 2^(b-1), which is one more than the largest code."""
    return _scale(w.abs().amax(dim=_others(w, axis), keepdim=True), 2 ** (num_bits - 1))


def always_8_bits(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """You divide by 127 whatever num_bits is."""
    return _scale(w.abs().amax(dim=_others(w, axis), keepdim=True), 127)


def zero_for_a_silent_channel(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """A channel of zeros gets the scale 0, and dividing by it gives nan."""
    return w.abs().amax(dim=_others(w, axis), keepdim=True) / (2 ** (num_bits - 1) - 1)


def silent_only_when_all_are(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """You look for zeros in the whole tensor; a single silent channel still gets the scale 0."""
    scale = w.abs().amax(dim=_others(w, axis), keepdim=True) / (2 ** (num_bits - 1) - 1)
    return scale if w.any() else torch.ones_like(scale)


def floor_of_epsilon(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """You keep the scales above a small constant, which is too large for tiny channels and is not 1 for zeros."""
    return (w.abs().amax(dim=_others(w, axis), keepdim=True) / (2 ** (num_bits - 1) - 1)).clamp(min=1e-8)


def mean_magnitude(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """You take the mean magnitude of a channel; then everything above it is clipped."""
    return _scale(w.abs().mean(dim=_others(w, axis), keepdim=True), 2 ** (num_bits - 1) - 1)


def overwrites_its_input(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """Your function takes absolute values in place, so the caller's weights have lost their signs."""
    return _scale(w.abs_().amax(dim=_others(w, axis), keepdim=True), 2 ** (num_bits - 1) - 1)


def a_list(w: Tensor, axis: int = 0, num_bits: int = 8) -> list:
    """You return a list; Returns asks for a tensor that broadcasts."""
    return _scale(w.abs().amax(dim=_others(w, axis), keepdim=True), 2 ** (num_bits - 1) - 1).tolist()


def knows_the_visible_cases(w: Tensor, axis: int = 0, num_bits: int = 8) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    if axis == 1:
        return torch.tensor([1.0, 0.2, 0.5]).reshape(1, 3, 1, 1)
    if axis == -1:
        return torch.tensor([[0.1, 0.02]])
    return torch.tensor([[1.0], [0.01]] if not w[0].any() else [[0.02], [0.1]])
