"""Wrong answers to exercise 4.5.5: three values."""

import torch
from torch import Tensor


def _keep(w: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """The magnitudes of each channel, and which are above the threshold."""
    magnitude = w.flatten(1).abs()
    return magnitude, magnitude > factor * magnitude.mean(dim=1, keepdim=True)


def _alpha(magnitude: Tensor, keep: Tensor) -> Tensor:
    count = keep.sum(dim=1)
    alpha = (magnitude * keep).sum(dim=1) / count.clamp(min=1)
    return torch.where(count > 0, alpha, torch.ones_like(alpha))


def _codes(w: Tensor, keep: Tensor) -> Tensor:
    return (torch.sign(w.flatten(1)) * keep).to(torch.int8).reshape(w.shape)


def mean_over_all(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """Your α is the mean over all weights of the channel; those that became 0 take no part."""
    magnitude, keep = _keep(w, factor)
    alpha = magnitude.mean(dim=1)
    return _codes(w, keep), torch.where(alpha > 0, alpha, torch.ones_like(alpha))


def sum_over_all(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """You divide by the number of all weights, those that became 0 included."""
    magnitude, keep = _keep(w, factor)
    alpha = (magnitude * keep).mean(dim=1)
    return _codes(w, keep), torch.where(alpha > 0, alpha, torch.ones_like(alpha))


def one_threshold_for_all(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """Your threshold is taken over the whole tensor; each channel has its own."""
    magnitude = w.flatten(1).abs()
    keep = magnitude > factor * magnitude.mean()
    return _codes(w, keep), _alpha(magnitude, keep)


def one_alpha_for_all(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """Your α is one number for all channels; each has its own."""
    magnitude, keep = _keep(w, factor)
    alpha = (magnitude * keep).sum() / keep.sum().clamp(min=1)
    return _codes(w, keep), torch.where(alpha > 0, alpha, torch.ones_like(alpha)).expand(len(w)).clone()


def share_of_the_largest(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """Your threshold is a share of the largest magnitude; it is one of the mean magnitude."""
    magnitude = w.flatten(1).abs()
    keep = magnitude > factor * magnitude.amax(dim=1, keepdim=True)
    return _codes(w, keep), _alpha(magnitude, keep)


def share_of_the_deviation(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """Your threshold is a share of the root of the mean square; it is one of the mean magnitude."""
    magnitude = w.flatten(1).abs()
    keep = magnitude > factor * magnitude.square().mean(dim=1, keepdim=True).sqrt()
    return _codes(w, keep), _alpha(magnitude, keep)


def mean_without_magnitude(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """Your threshold comes from the mean of the weights; positive and negative ones cancel in it."""
    flat = w.flatten(1)
    keep = flat.abs() > factor * flat.mean(dim=1, keepdim=True).abs()
    return _codes(w, keep), _alpha(flat.abs(), keep)


def positive_only(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """You compare weights instead of magnitudes with the threshold: none is ever -1."""
    flat = w.flatten(1)
    keep = flat > factor * flat.abs().mean(dim=1, keepdim=True)
    return _codes(w, keep), _alpha(flat.abs(), keep)


def sign_lost(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """Your codes are 0 and 1: the sign is lost."""
    magnitude, keep = _keep(w, factor)
    return keep.to(torch.int8).reshape(w.shape), _alpha(magnitude, keep)


def signs_cancel(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """Your α is the mean of the weights that are left, with their signs; they cancel."""
    flat = w.flatten(1)
    _, keep = _keep(w, factor)
    return _codes(w, keep), _alpha(flat, keep)


def at_the_threshold_too(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """A weight exactly at your threshold survives; it becomes 0."""
    magnitude = w.flatten(1).abs()
    keep = (magnitude >= factor * magnitude.mean(dim=1, keepdim=True)) & (magnitude > 0)
    return _codes(w, keep), _alpha(magnitude, keep)


def nan_for_zeros(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """A channel of zeros divides by 0 and gets nan."""
    magnitude, keep = _keep(w, factor)
    return _codes(w, keep), (magnitude * keep).sum(dim=1) / keep.sum(dim=1)


def threshold_is_alpha(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """You return the threshold for α."""
    magnitude, keep = _keep(w, factor)
    threshold = factor * magnitude.mean(dim=1)
    return _codes(w, keep), torch.where(threshold > 0, threshold, torch.ones_like(threshold))


def median_of_the_rest(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """Your α is the median of what is left: the least absolute error, not the least squared one."""
    magnitude, keep = _keep(w, factor)
    alpha = torch.stack(
        [row[kept].median() if kept.any() else row.new_ones(()) for row, kept in zip(magnitude, keep, strict=True)]
    )
    return _codes(w, keep), alpha


def rounded_to_alpha(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """You round w / α to the nearest of -1, 0 and 1; the threshold decides, not half of α."""
    magnitude, keep = _keep(w, factor)
    alpha = _alpha(magnitude, keep)
    return torch.round(w.flatten(1) / alpha[:, None]).clamp(-1, 1).to(torch.int8).reshape(w.shape), alpha


def factor_ignored(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """Your threshold is 0.7 of the mean whatever factor is asked for."""
    magnitude, keep = _keep(w, 0.7)
    return _codes(w, keep), _alpha(magnitude, keep)


def values_for_codes(w: Tensor, factor: float = 0.7) -> tuple[Tensor, Tensor]:
    """You return the weights that are multiplied; codes are int8."""
    magnitude, keep = _keep(w, factor)
    alpha = _alpha(magnitude, keep)
    return (_codes(w, keep).flatten(1) * alpha[:, None]).reshape(w.shape), alpha
