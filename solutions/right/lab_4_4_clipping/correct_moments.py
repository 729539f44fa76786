"""Right answers to exercise 4.4.4, each written differently."""

import torch
from torch import Tensor


def with_deviations(w: Tensor, quantized: Tensor) -> Tensor:
    axes = tuple(range(1, w.ndim))
    spread, spread_rounded = (each.std(dim=axes, keepdim=True, correction=0) for each in (w, quantized))
    same = quantized.amax(dim=axes, keepdim=True) == quantized.amin(dim=axes, keepdim=True)
    stretch = torch.where(same, torch.ones_like(spread), spread / spread_rounded)
    centred = quantized - quantized.mean(dim=axes, keepdim=True)
    return centred * stretch + w.mean(dim=axes, keepdim=True)


def channel_by_channel(w: Tensor, quantized: Tensor) -> Tensor:
    out = []
    for float_channel, channel in zip(w.double(), quantized.double(), strict=True):
        centred = channel - channel.mean()
        if (channel == channel.flatten()[0]).all():
            centred, stretch = torch.zeros_like(channel), 1.0
        else:
            stretch = (float_channel - float_channel.mean()).norm() / centred.norm()
        out.append(centred * stretch + float_channel.mean())
    return torch.stack(out).float()


def two_repairs(w: Tensor, quantized: Tensor) -> Tensor:
    rows, codes = w.reshape(len(w), -1).double(), quantized.reshape(len(w), -1).double()
    codes = codes - codes.mean(1, keepdim=True)
    length = codes.square().sum(1, keepdim=True).sqrt()
    wanted = (rows - rows.mean(1, keepdim=True)).square().sum(1, keepdim=True).sqrt()
    codes = codes * torch.where(length > 1e-12, wanted / length.clamp(min=1e-300), 1.0)
    return (codes + rows.mean(1, keepdim=True)).reshape(w.shape).float()


def slope_and_shift(w: Tensor, quantized: Tensor) -> Tensor:
    """As hardware would: one factor and one constant for each channel."""
    places = (-1, *[1] * (w.ndim - 1))
    rows, codes = w.flatten(1), quantized.flatten(1)
    constant = (codes == codes[:, :1]).all(dim=1)
    variance, variance_rounded = rows.var(dim=1, correction=0), codes.var(dim=1, correction=0)
    slope = torch.where(constant, 1.0, (variance / variance_rounded.clamp(min=1e-38)).sqrt())
    shift = rows.mean(dim=1) - slope * codes.mean(dim=1)
    return quantized * slope.view(places) + shift.view(places)
