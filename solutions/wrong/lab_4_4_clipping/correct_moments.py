"""Wrong answers to exercise 4.4.4: repair mean and spread of every output channel."""

import torch
from torch import Tensor


def _parts(w: Tensor, quantized: Tensor) -> tuple[Tensor, ...]:
    """Rows, their means, and the stretch, 1 for constant channels."""
    rows, rounded = w.flatten(1), quantized.flatten(1)
    mean, mean_rounded = rows.mean(dim=1, keepdim=True), rounded.mean(dim=1, keepdim=True)
    norm, norm_rounded = ((each - m).norm(dim=1, keepdim=True) for each, m in ((rows, mean), (rounded, mean_rounded)))
    flat = rounded.amin(dim=1, keepdim=True) == rounded.amax(dim=1, keepdim=True)
    return rows, rounded, mean, mean_rounded, torch.where(flat, 1.0, norm / norm_rounded)


def equation_13_as_printed(w: Tensor, quantized: Tensor) -> Tensor:
    """You stretch the mean as well, as equation 13 prints it: the mean becomes ξ times that of w."""
    _, rounded, mean, mean_rounded, stretch = _parts(w, quantized)
    return (stretch * (rounded + mean - mean_rounded)).view_as(w)


def mean_only(w: Tensor, quantized: Tensor) -> Tensor:
    """You repair the mean and leave the spread."""
    _, rounded, mean, mean_rounded, _ = _parts(w, quantized)
    return (rounded - mean_rounded + mean).view_as(w)


def spread_only(w: Tensor, quantized: Tensor) -> Tensor:
    """You repair the spread and leave the mean."""
    _, rounded, _, mean_rounded, stretch = _parts(w, quantized)
    return ((rounded - mean_rounded) * stretch + mean_rounded).view_as(w)


def inverse_stretch(w: Tensor, quantized: Tensor) -> Tensor:
    """Your stretch is upside down: a channel that lost spread must be stretched."""
    _, rounded, mean, mean_rounded, stretch = _parts(w, quantized)
    return ((rounded - mean_rounded) / stretch.clamp(min=1e-30) + mean).view_as(w)


def variance_for_norm(w: Tensor, quantized: Tensor) -> Tensor:
    """Your stretch is the ratio of the variances; take its root."""
    _, rounded, mean, mean_rounded, stretch = _parts(w, quantized)
    return ((rounded - mean_rounded) * stretch.square() + mean).view_as(w)


def norms_around_zero(w: Tensor, quantized: Tensor) -> Tensor:
    """Your norms are taken around 0; the formula takes them around each mean."""
    rows, rounded, mean, mean_rounded, _ = _parts(w, quantized)
    norm, norm_rounded = rows.norm(dim=1, keepdim=True), rounded.norm(dim=1, keepdim=True)
    stretch = torch.where(norm_rounded > 0, norm / norm_rounded, 1.0)
    return ((rounded - mean_rounded) * stretch + mean).view_as(w)


def ranges_for_norms(w: Tensor, quantized: Tensor) -> Tensor:
    """You match the ranges, largest less smallest; the formula matches norms."""
    rows, rounded, mean, mean_rounded, _ = _parts(w, quantized)
    width = rounded.amax(dim=1, keepdim=True) - rounded.amin(dim=1, keepdim=True)
    ratio = (rows.amax(dim=1, keepdim=True) - rows.amin(dim=1, keepdim=True)) / width
    return ((rounded - mean_rounded) * torch.where(width > 0, ratio, 1.0) + mean).view_as(w)


def mean_magnitudes(w: Tensor, quantized: Tensor) -> Tensor:
    """You match mean magnitudes around the mean; the formula matches norms."""
    rows, rounded, mean, mean_rounded, _ = _parts(w, quantized)
    deviation = (rounded - mean_rounded).abs().mean(dim=1, keepdim=True)
    ratio = (rows - mean).abs().mean(dim=1, keepdim=True) / deviation
    flat = rounded.amin(dim=1, keepdim=True) == rounded.amax(dim=1, keepdim=True)
    return ((rounded - mean_rounded) * torch.where(flat, 1.0, ratio) + mean).view_as(w)


def whole_tensor(w: Tensor, quantized: Tensor) -> Tensor:
    """You take one mean and one norm for the whole weight; each output channel has its own."""
    norm = (quantized - quantized.mean()).norm()
    ratio = (w - w.mean()).norm() / norm if norm > 0 else 1.0
    return (quantized - quantized.mean()) * ratio + w.mean()


def input_channels(w: Tensor, quantized: Tensor) -> Tensor:
    """You repair input channels; output channels lie on axis 0."""
    turned, codes = w.transpose(0, 1), quantized.transpose(0, 1)
    _, rounded, mean, mean_rounded, stretch = _parts(turned, codes)
    return ((rounded - mean_rounded) * stretch + mean).view(turned.shape).transpose(0, 1)


def last_axis(w: Tensor, quantized: Tensor) -> Tensor:
    """You take means over the last axis only; all axes but the first belong to the channel."""
    mean, mean_rounded = w.mean(dim=-1, keepdim=True), quantized.mean(dim=-1, keepdim=True)
    norm = (quantized - mean_rounded).norm(dim=-1, keepdim=True)
    ratio = torch.where(norm > 1e-6, (w - mean).norm(dim=-1, keepdim=True) / norm, 1.0)
    return (quantized - mean_rounded) * ratio + mean


def nan_for_constant_channels(w: Tensor, quantized: Tensor) -> Tensor:
    """A channel that was rounded to one value has norm 0, and you divide by it."""
    rows, rounded = w.flatten(1), quantized.flatten(1)
    mean, mean_rounded = rows.mean(dim=1, keepdim=True), rounded.mean(dim=1, keepdim=True)
    norm = (rounded - mean_rounded).norm(dim=1, keepdim=True)
    return ((rounded - mean_rounded) * ((rows - mean).norm(dim=1, keepdim=True) / norm) + mean).view_as(w)


def norm_compared_with_0(w: Tensor, quantized: Tensor) -> Tensor:
    """You ask whether a norm is 0; a float32 mean of equal values may miss them by a last digit. Compare the values."""
    rows, rounded = w.flatten(1), quantized.flatten(1)
    mean, mean_rounded = rows.mean(dim=1, keepdim=True), rounded.mean(dim=1, keepdim=True)
    norm = (rounded - mean_rounded).norm(dim=1, keepdim=True)
    stretch = torch.where(norm == 0, 1.0, (rows - mean).norm(dim=1, keepdim=True) / norm)
    return ((rounded - mean_rounded) * stretch + mean).view_as(w)


def constant_channels_left_alone(w: Tensor, quantized: Tensor) -> Tensor:
    """You leave a constant channel as it is; its mean must still be shifted."""
    _, rounded, mean, mean_rounded, stretch = _parts(w, quantized)
    flat = rounded.amin(dim=1, keepdim=True) == rounded.amax(dim=1, keepdim=True)
    return torch.where(flat, rounded, (rounded - mean_rounded) * stretch + mean).view_as(w)


def an_epsilon_below(w: Tensor, quantized: Tensor) -> Tensor:
    """You add a constant to the norm, which bends the spread of small weights."""
    rows, rounded, mean, mean_rounded, _ = _parts(w, quantized)
    norm = (rounded - mean_rounded).norm(dim=1, keepdim=True) + 1e-3
    return ((rounded - mean_rounded) * ((rows - mean).norm(dim=1, keepdim=True) / norm) + mean).view_as(w)


def the_float_weight(w: Tensor, quantized: Tensor) -> Tensor:
    """You return the float weight, whose moments are right, of course; but it lies on no grid."""
    return w.clone()


def roles_exchanged(w: Tensor, quantized: Tensor) -> Tensor:
    """You stretch and shift the float weight to the moments of the quantized one."""
    rows, rounded = w.flatten(1), quantized.flatten(1)
    _, _, mean, mean_rounded, stretch = _parts(quantized, w)
    return ((rows - mean_rounded) * stretch + mean).view_as(w) + 0 * rounded.view_as(w)


def mean_taken_away(w: Tensor, quantized: Tensor) -> Tensor:
    """You centre and stretch and forget to add the mean of w again."""
    _, rounded, _, mean_rounded, stretch = _parts(w, quantized)
    return ((rounded - mean_rounded) * stretch).view_as(w)


def rows_returned(w: Tensor, quantized: Tensor) -> Tensor:
    """Your result is flattened to [out, k]; it must have the shape of w."""
    _, rounded, mean, mean_rounded, stretch = _parts(w, quantized)
    return (rounded - mean_rounded) * stretch + mean


def overwrites_its_input(w: Tensor, quantized: Tensor) -> Tensor:
    """Your function repairs the caller's quantized weight in place."""
    _, rounded, mean, mean_rounded, stretch = _parts(w, quantized)
    return quantized.copy_(((rounded - mean_rounded) * stretch + mean).view_as(w))


def median_for_mean(w: Tensor, quantized: Tensor) -> Tensor:
    """You match medians; the formula matches means."""
    rows, rounded, _, mean_rounded, stretch = _parts(w, quantized)
    return ((rounded - mean_rounded) * stretch + rows.median(dim=1, keepdim=True).values).view_as(w)
