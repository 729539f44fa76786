"""Wrong answers to exercise 4.4.8: the piecewise grid."""

import torch
from torch import Tensor


def _lay(value: Tensor, w: Tensor) -> Tensor:
    return value.view(-1, *[1] * (w.ndim - 1))


def _bent(w: Tensor, p: Tensor, m: Tensor, last: float, tail_last: float | None = None) -> Tensor:
    """The piecewise grid with ``last`` steps in the centre and ``tail_last`` in each tail."""
    tail_last = last if tail_last is None else tail_last
    size = w.abs()
    centre = (size / p * last).round() * (p / last)
    tail = p + ((size - p) / (m - p) * tail_last).round().clamp(max=tail_last) * ((m - p) / tail_last)
    return torch.sign(w) * torch.where(size <= p, centre, tail)


def equal_steps(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your steps are the same everywhere; the grid has a bend at p."""
    last, m = 2 ** (num_bits - 1) - 1, _lay(m, w)
    return (w / m * last).round().clamp(-last, last) * (m / last)


def levels_instead_of_steps(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """You lay 2^(b-1) steps over a piece; its 2^(b-1) levels have one step less between them."""
    return _bent(w, _lay(p, w), _lay(m, w), 2 ** (num_bits - 1))


def all_bits_for_one_side(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """You lay 2^b - 1 steps over a piece; one bit is the sign's."""
    return _bent(w, _lay(p, w), _lay(m, w), 2**num_bits - 1)


def tail_from_zero(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your tail's levels begin at 0: add the breakpoint again."""
    last, p, m = 2 ** (num_bits - 1) - 1, _lay(p, w), _lay(m, w)
    size = w.abs()
    centre = (size / p * last).round() * (p / last)
    tail = ((size - p) / (m - p) * last).round().clamp(max=last) * ((m - p) / last)
    return torch.sign(w) * torch.where(size <= p, centre, tail)


def tail_over_the_whole_range(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your coarse levels lie over [0, m]; they belong to [p, m]."""
    last, p, m = 2 ** (num_bits - 1) - 1, _lay(p, w), _lay(m, w)
    size = w.abs()
    centre = (size / p * last).round() * (p / last)
    coarse = (size / m * last).round().clamp(max=last) * (m / last)
    return torch.sign(w) * torch.where(size <= p, centre, coarse)


def tail_step_m(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your tail's step is m / (2^(b-1) - 1); the piece is only m - p long."""
    last, p, m = 2 ** (num_bits - 1) - 1, _lay(p, w), _lay(m, w)
    size = w.abs()
    centre = (size / p * last).round() * (p / last)
    tail = p + ((size - p) / m * last).round() * (m / last)
    return torch.sign(w) * torch.where(size <= p, centre, torch.minimum(tail, m))


def pieces_exchanged(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """You use the tail's rule inside the breakpoint and the centre's outside."""
    last, p, m = 2 ** (num_bits - 1) - 1, _lay(p, w), _lay(m, w)
    size = w.abs()
    centre = (size / p * last).round() * (p / last)
    tail = p + ((size - p) / (m - p) * last).round().clamp(max=last) * ((m - p) / last)
    return torch.sign(w) * torch.where(size > p, centre, tail)


def signed_choice(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """You compare w with the breakpoint; for weights below 0 the magnitude decides."""
    last, size, p, m = 2 ** (num_bits - 1) - 1, w.abs(), _lay(p, w), _lay(m, w)
    centre = (size / p * last).round() * (p / last)
    tail = p + ((size - p) / (m - p) * last).round().clamp(max=last) * ((m - p) / last)
    return torch.sign(w) * torch.where(w <= p, centre, tail)


def signs_lost(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your result has lost the signs."""
    return _bent(w, _lay(p, w), _lay(m, w), 2 ** (num_bits - 1) - 1).abs()


def negative_tails_shifted(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """You add the breakpoint to negative tails, too; below 0 it is taken away."""
    last, p, m = 2 ** (num_bits - 1) - 1, _lay(p, w), _lay(m, w)
    size = w.abs()
    centre = (w / p * last).round() * (p / last)
    tail = ((size - p) / (m - p) * last).round().clamp(max=last) * ((m - p) / last)
    return torch.where(size <= p, centre, p + torch.sign(w) * tail)


def without_the_end(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Weights beyond m get levels beyond m; the grid ends there."""
    last, p, m = 2 ** (num_bits - 1) - 1, _lay(p, w), _lay(m, w)
    size = w.abs()
    centre = (size / p * last).round() * (p / last)
    tail = p + ((size - p) / (m - p) * last).round() * ((m - p) / last)
    return torch.sign(w) * torch.where(size <= p, centre, tail)


def clipped_at_the_breakpoint(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """You clip at p; between p and m lie the coarse levels."""
    last, p = 2 ** (num_bits - 1) - 1, _lay(p, w)
    return (w / p * last).round().clamp(-last, last) * (p / last)


def rounded_down(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """You round towards 0; the nearest level is asked for."""
    last, p, m = 2 ** (num_bits - 1) - 1, _lay(p, w), _lay(m, w)
    size = w.abs()
    centre = (size / p * last).floor() * (p / last)
    tail = p + ((size - p) / (m - p) * last).floor().clamp(max=last) * ((m - p) / last)
    return torch.sign(w) * torch.where(size <= p, centre, tail)


def one_breakpoint_for_all(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """You use the first channel's breakpoint and end for all of them."""
    return _bent(w, p[0], m[0], 2 ** (num_bits - 1) - 1)


def along_the_last_axis(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your breakpoints broadcast along the last axis; output channels lie on axis 0."""
    if w.shape[-1] == len(p):
        return _bent(w, p, m, 2 ** (num_bits - 1) - 1)
    return _bent(w, _lay(p, w), _lay(m, w), 2 ** (num_bits - 1) - 1)


def matrices_only(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """You lay p out for two axes; a convolution has four."""
    return _bent(w, p[:, None], m[:, None], 2 ** (num_bits - 1) - 1)


def fixed_breakpoint(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your breakpoint is always half of the range; it is given as p."""
    return _bent(w, _lay(m / 2, w), _lay(m, w), 2 ** (num_bits - 1) - 1)


def coarse_tails(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your tails have one bit less than the centre; both pieces have 2^(b-1) levels."""
    last = 2 ** (num_bits - 1) - 1
    return _bent(w, _lay(p, w), _lay(m, w), last, max(1, 2 ** (num_bits - 2) - 1))


def always_4_bits(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """You lay the levels of 4 bits whatever num_bits is."""
    return _bent(w, _lay(p, w), _lay(m, w), 7)


def middles_of_bins(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your levels are the middles of bins; Rules say that both ends of a piece are levels."""
    count, p, m = 2 ** (num_bits - 1), _lay(p, w), _lay(m, w)
    size = w.abs()
    centre = ((size / p * count).floor().clamp(max=count - 1) + 0.5) * (p / count)
    tail = p + (((size - p) / (m - p) * count).floor().clamp(max=count - 1) + 0.5) * ((m - p) / count)
    return torch.sign(w) * torch.where(size <= p, centre, tail)


def end_of_the_data(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your range ends at the largest weight; it is given as m, which may lie below."""
    return _bent(w, _lay(p, w), _lay(w.flatten(1).abs().amax(dim=1) + 1e-6, w), 2 ** (num_bits - 1) - 1)


def overwrites_its_input(w: Tensor, p: Tensor, m: Tensor, num_bits: int) -> Tensor:
    """Your function writes the levels over the caller's weights."""
    return w.copy_(_bent(w, _lay(p, w), _lay(m, w), 2 ** (num_bits - 1) - 1))
