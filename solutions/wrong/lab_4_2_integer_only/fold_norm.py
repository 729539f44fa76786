"""Wrong answers to exercise 4.2.1: fold batch norm."""

import torch
from torch import Tensor


def _along(factor: Tensor, weight: Tensor) -> Tensor:
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))


def eps_behind_the_root(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You add eps to the root; it belongs under it, beside the variance."""
    factor = gamma / (torch.sqrt(var) + eps)
    return _along(factor, weight), (bias - mean) * factor + beta


def eps_forgotten(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You leave eps out: a channel that never varied divides by 0."""
    factor = gamma / torch.sqrt(var)
    return _along(factor, weight), (bias - mean) * factor + beta


def root_forgotten(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You divide by the variance; batch norm divides by its root."""
    factor = gamma / (var + eps)
    return _along(factor, weight), (bias - mean) * factor + beta


def mean_added(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You add the mean; batch norm takes it away."""
    factor = gamma / torch.sqrt(var + eps)
    return _along(factor, weight), (bias + mean) * factor + beta


def mean_after_the_factor(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You take the mean away after multiplying; it goes first."""
    factor = gamma / torch.sqrt(var + eps)
    return _along(factor, weight), bias * factor - mean + beta


def bias_not_scaled(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You leave the bias of the layer as it is; it is multiplied as the products are."""
    factor = gamma / torch.sqrt(var + eps)
    return _along(factor, weight), bias - mean * factor + beta


def bias_lost(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You start from a bias of 0; the layer had one of its own."""
    factor = gamma / torch.sqrt(var + eps)
    return _along(factor, weight), beta - mean * factor


def beta_lost(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You leave beta out."""
    factor = gamma / torch.sqrt(var + eps)
    return _along(factor, weight), (bias - mean) * factor


def beta_multiplied(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You multiply beta as well; it is added last."""
    factor = gamma / torch.sqrt(var + eps)
    return _along(factor, weight), (bias - mean + beta) * factor


def gamma_lost(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You leave gamma out."""
    factor = 1 / torch.sqrt(var + eps)
    return _along(factor, weight), (bias - mean) * factor + beta


def gamma_without_its_sign(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """You use the magnitude of gamma; a negative one turns the channel round."""
    factor = gamma.abs() / torch.sqrt(var + eps)
    return _along(factor, weight), (bias - mean) * factor + beta


def weight_unchanged(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Your weight stays as it was."""
    factor = gamma / torch.sqrt(var + eps)
    return weight.clone(), (bias - mean) * factor + beta


def factor_on_the_last_axis(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Your factor lies along the last axis of the weight; output channels are the first."""
    factor = gamma / torch.sqrt(var + eps)
    folded = weight * factor if weight.shape[-1] in (1, len(factor)) else _along(factor, weight)
    return folded, (bias - mean) * factor + beta


def factor_on_the_inputs(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Your factor lies along the second axis, that of the inputs; output channels are the first."""
    factor = gamma / torch.sqrt(var + eps)
    fits = weight.shape[1] in (1, len(factor))
    folded = weight * factor.reshape(1, -1, *[1] * (weight.ndim - 2)) if fits else _along(factor, weight)
    return folded, (bias - mean) * factor + beta


def overwrites_its_input(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Your function multiplies the weight of the caller in place."""
    factor = gamma / torch.sqrt(var + eps)
    return weight.mul_(factor.reshape(-1, *[1] * (weight.ndim - 1))), (bias - mean) * factor + beta


def in_float64(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Your result is float64; Returns asks for float32."""
    factor = gamma.double() / torch.sqrt(var.double() + eps)
    return _along(factor, weight.double()), (bias.double() - mean) * factor + beta


def factor_on_two_axes(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Your factor has two axes; the weight of a convolution has more."""
    factor = gamma / torch.sqrt(var + eps)
    return weight * factor.reshape(-1, 1), (bias - mean) * factor + beta
