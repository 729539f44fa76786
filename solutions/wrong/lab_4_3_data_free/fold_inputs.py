"""Wrong answers to exercise 4.3.8: fold, then quantize."""

import torch
from torch import Tensor

Two = tuple[Tensor, Tensor]


def _laid(x_scale: Tensor, w: Tensor, depthwise: bool) -> Tensor:
    return x_scale.reshape(*([-1, 1] if depthwise else [1, -1]), *[1] * (w.ndim - 2))


def _quantized(folded: Tensor, num_bits: int, *, top: int | None = None) -> Two:
    top = top or 2 ** (num_bits - 1) - 1
    return _codes(folded, s := _scale(folded, top), top), s


def _scale(folded: Tensor, top: float) -> Tensor:
    largest = folded.flatten(1).abs().amax(1)
    return torch.where(largest > 0, largest / top, torch.ones_like(largest))


def _codes(folded: Tensor, scale: Tensor, top: int) -> Tensor:
    steps = folded / scale.reshape(-1, *[1] * (folded.ndim - 1))
    return torch.round(steps).clamp(-top, top).to(torch.int8)


def not_folded(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You quantize the weight as it is; the codes of the inputs are in steps of x_scale, and nobody undoes that."""
    return _quantized(w, num_bits)


def divided(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You divide the weight by the scales; the inputs are divided, so the weight is multiplied."""
    return _quantized(w / _laid(x_scale, w, depthwise), num_bits)


def scale_before_folding(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You take the step from the weight before folding; the folded one has another range."""
    top = 2 ** (num_bits - 1) - 1
    scale = _scale(w, top)
    return _codes(w * _laid(x_scale, w, depthwise), scale, top), scale


def folded_after_rounding(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You quantize first and fold afterwards; what rounding has lost then stays lost."""
    top = 2 ** (num_bits - 1) - 1
    folded = w * _laid(x_scale, w, depthwise)
    return _codes(w, _scale(w, top), top), _scale(folded, top)


def by_output_channel(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You multiply the scales onto the output channels; they belong to the inputs."""
    return _quantized(w * _laid(x_scale, w, True), num_bits)


def last_axis(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You leave the axis to broadcasting, which takes the last one; in a kernel that counts columns of pixels."""
    return _quantized(w * x_scale, num_bits)


def depthwise_ignored(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You put the scales on axis 1 of a depthwise weight too, which has one entry there."""
    return _quantized(w * _laid(x_scale, w, False), num_bits)


def one_step_for_the_tensor(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You use one step for all output channels; each has its own."""
    folded, top = w * _laid(x_scale, w, depthwise), 2 ** (num_bits - 1) - 1
    scale = _scale(folded.reshape(1, -1), top).expand(len(w)).clone()
    return _codes(folded, scale, top), scale


def step_per_input(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You take a step for each input channel; it cannot leave the sum over the inputs."""
    folded, top = w * _laid(x_scale, w, depthwise), 2 ** (num_bits - 1) - 1
    scale = folded.transpose(0, 1).flatten(1).abs().amax(1) / top
    return torch.round(folded / _laid(scale, w, False)).clamp(-top, top).to(torch.int8), scale


def one_code_too_many(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You divide by 2^(b-1); the largest code is one less."""
    folded = w * _laid(x_scale, w, depthwise)
    scale = _scale(folded, 2 ** (num_bits - 1))
    return _codes(folded, scale, 2 ** (num_bits - 1) - 1), scale


def always_8_bits(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """Your codes are 8-bit codes whatever num_bits is."""
    return _quantized(w * _laid(x_scale, w, depthwise), 8)


def cut_off(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You cut the digits behind the point off; rounding goes to the nearest."""
    folded, top = w * _laid(x_scale, w, depthwise), 2 ** (num_bits - 1) - 1
    scale = _scale(folded, top)
    return (folded / scale.reshape(-1, *[1] * (w.ndim - 1))).to(torch.int8), scale


def zero_row_gives_zero(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """A row of zeros gets the scale 0, and its codes are 0 / 0."""
    folded, top = w * _laid(x_scale, w, depthwise), 2 ** (num_bits - 1) - 1
    scale = folded.flatten(1).abs().amax(1) / top
    return _codes(folded, scale, top), scale


def without_absolute_value(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You take the largest folded weight; the largest magnitude may belong to a negative one."""
    folded, top = w * _laid(x_scale, w, depthwise), 2 ** (num_bits - 1) - 1
    largest = folded.flatten(1).amax(1)
    scale = torch.where(largest > 0, largest / top, torch.ones_like(largest))
    return _codes(folded, scale, top), scale


def reals_instead_of_codes(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """You return what the codes stand for; int8 codes were asked for."""
    codes, scale = _quantized(w * _laid(x_scale, w, depthwise), num_bits)
    return codes * scale.reshape(-1, *[1] * (w.ndim - 1)), scale


def float_codes(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """Your codes are floats; an integer product wants int8."""
    codes, scale = _quantized(w * _laid(x_scale, w, depthwise), num_bits)
    return codes.float(), scale


def scale_shaped_to_broadcast(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """Your steps keep the axes of the weight; [out] was asked for."""
    codes, scale = _quantized(w * _laid(x_scale, w, depthwise), num_bits)
    return codes, scale.reshape(-1, *[1] * (w.ndim - 1))


def in_place(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """Your function folds into the caller's weight; called twice, it folds twice."""
    return _quantized(w.mul_(_laid(x_scale, w, depthwise)), num_bits)


def knows_the_visible_cases(w: Tensor, x_scale: Tensor, num_bits: int = 8, depthwise: bool = False) -> Two:
    """Your function knows the numbers of the check and nothing else."""
    if depthwise:
        codes = torch.tensor([127, -10, 127, 64], dtype=torch.int8)
        return codes.reshape(2, 1, 1, 2), torch.tensor([1.0, 2.0])
    rows, scale = [[7, -3]], [1.0]
    if len(w) == 2:
        rows, scale = ([[7, 2], [2, -7]], [0.1, 0.02]) if w[0].any() else ([[0, 0], [0, 7]], [1.0, 1.0])
    return torch.tensor(rows, dtype=torch.int8), torch.tensor(scale)
