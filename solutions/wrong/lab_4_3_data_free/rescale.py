"""Wrong answers to exercise 4.3.2: move the factors."""

import torch
from torch import Tensor

Three = tuple[Tensor, Tensor, Tensor]


def _rows(s: Tensor, w: Tensor) -> Tensor:
    return s.reshape(-1, *[1] * (w.ndim - 1))


def _columns(s: Tensor, w: Tensor, depthwise: bool = False) -> Tensor:
    return s.reshape(*([-1, 1] if depthwise else [1, -1]), *[1] * (w.ndim - 2))


def turned_round(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """You multiply first and divide afterwards: the function stays, but the ranges move the wrong way."""
    return w1 * _rows(s, w1), b1 * s, w2 / _columns(s, w2, depthwise)


def bias_forgotten(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """Your bias stays as it was; it lies before the ReLU, so it has to shrink with its channel."""
    return w1 / _rows(s, w1), b1.clone(), w2 * _columns(s, w2, depthwise)


def bias_multiplied(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """You multiply the bias; it is divided, as its channel is."""
    return w1 / _rows(s, w1), b1 * s, w2 * _columns(s, w2, depthwise)


def second_forgotten(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """Your second weight does not undo what the first did, so the function changes."""
    return w1 / _rows(s, w1), b1 / s, w2.clone()


def both_divided(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """You divide in both layers; the second has to undo what the first does."""
    return w1 / _rows(s, w1), b1 / s, w2 / _columns(s, w2, depthwise)


def outputs_of_the_second(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """You multiply the second weight by output channel; the shared channels are its inputs."""
    return w1 / _rows(s, w1), b1 / s, w2 * _rows(s, w2)


def last_axis(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """You leave the axis to broadcasting, which puts s on the last axis of both weights."""
    return w1 / s, b1 / s, w2 * s


def inputs_of_the_first(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """You divide the first weight by input channel; the shared channels are its outputs."""
    return w1 / _columns(s, w1), b1 / s, w2 * _columns(s, w2, depthwise)


def depthwise_ignored(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """You put s on axis 1 of a depthwise weight too, which has one entry there and is blown up to [c, c, ...]."""
    return w1 / _rows(s, w1), b1 / s, w2 * _columns(s, w2)


def depthwise_only_when_it_looks_so(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """You guess from the shape that a layer is depthwise; one with a single output channel looks no different."""
    return w1 / _rows(s, w1), b1 / s, w2 * _columns(s, w2, w2.shape[0] == len(s))


def matrices_only(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """Your code gives s two axes; a convolution's weight has four."""
    return w1 / s[:, None], b1 / s, w2 * (s[:, None] if depthwise else s[None, :])


def convolutions_only(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """Your code gives s four axes; a linear layer's weight has two."""
    shape = (-1, 1, 1, 1) if depthwise else (1, -1, 1, 1)
    return w1 / s.reshape(-1, 1, 1, 1), b1 / s, w2 * s.reshape(shape)


def root_of_the_factors(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """You take the root of the factors once more; they hold it already."""
    s = s.sqrt()
    return w1 / _rows(s, w1), b1 / s, w2 * _columns(s, w2, depthwise)


def in_single_precision(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """Your results are float32 whatever came in; float64 shows that the function stays to the last digit."""
    w1, b1, w2, s = (each.float() for each in (w1, b1, w2, s))
    return w1 / _rows(s, w1), b1 / s, w2 * _columns(s, w2, depthwise)


def in_place(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """Your function rescales the caller's tensors; the caller still needs them."""
    w1.div_(_rows(s, w1))
    b1.div_(s)
    w2.mul_(_columns(s, w2, depthwise))
    return w1, b1, w2


def without_the_bias(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> tuple[Tensor, Tensor]:
    """You return two tensors; three were asked for."""
    return w1 / _rows(s, w1), w2 * _columns(s, w2, depthwise)


def knows_the_visible_cases(w1: Tensor, b1: Tensor, w2: Tensor, s: Tensor, depthwise: bool = False) -> Three:
    """Your function knows the numbers of the check and nothing else."""
    new = torch.tensor([0.5, 1.0, 6.0, 8.0]).reshape(w1.shape) if w1.numel() == 4 else w1
    if w2.ndim == 2:
        return new, torch.tensor([3.0, -2.0]), torch.tensor([[2.0, 1.0], [6.0, 2.0]])
    shape = (2, 1, 1, 2) if depthwise else (1, 2, 1, 2)
    filters = torch.tensor([2.0, 2.0, 0.5, 0.5]).reshape(shape)
    return new, torch.tensor([3.0, -2.0]), filters if depthwise else filters.repeat(3, 1, 1, 1)
