"""Wrong answers to exercise 4.4.6: split the input channel with the largest weight."""

import torch
from torch import Tensor


def _size(weight: Tensor) -> Tensor:
    """The largest magnitude of each input channel, [in]."""
    return weight.transpose(0, 1).flatten(1).abs().amax(dim=1)


def _split(w: Tensor, count: int, scale: float, size=_size, low=0.5, high=0.5, part=0.5) -> tuple[Tensor, Tensor]:
    weight, index = w.clone(), list(range(w.shape[1]))
    for _ in range(count):
        channel = int(size(weight).argmax())
        whole = weight[:, channel].clone()
        weight[:, channel] = (whole - scale * low) * part
        weight = torch.cat([weight, ((whole + scale * high) * part).unsqueeze(1)], dim=1)
        index.append(index[channel])
    return weight, torch.tensor(index)


def equal_halves(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Your halves are equal: rounded, they err alike, and the errors add up."""
    return _split(w, count, 0.0)


def a_whole_step(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Your halves are a whole step apart: move w by half a step before halving it."""
    return _split(w, count, scale, low=1.0, high=1.0)


def a_quarter_step(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Your halves are a quarter of a step apart; half a step is what the identity needs."""
    return _split(w, count, scale, low=0.25, high=0.25)


def half_a_unit(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """You move by 0.5, which is half a step only where the step is 1."""
    return _split(w, count, 1.0 if scale else 0.0)


def both_lower(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Both halves are lower halves: together they are a step too small."""
    return _split(w, count, scale, high=-0.5)


def upper_in_place(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """The upper half stays and the lower goes to the end; Rules say the other way round."""
    return _split(w, count, scale, low=-0.5, high=-0.5)


def copies_of_the_whole(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """You double the channel without halving its weights."""
    return _split(w, count, scale, part=1.0)


def largest_value(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """You look for the largest value; the largest magnitude may be negative."""
    return _split(w, count, scale, size=lambda weight: weight.transpose(0, 1).flatten(1).amax(dim=1))


def largest_norm(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """You split the channel with the largest norm; the range is set by the largest magnitude."""
    return _split(w, count, scale, size=lambda weight: weight.transpose(0, 1).flatten(1).norm(dim=1))


def first_output_only(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """You look at the first output channel only; the largest weight may stand in any."""
    return _split(w, count, scale, size=lambda weight: _size(weight[:1]))


def last_of_equals(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Of equally large channels you take the last; Rules say the first."""
    weight, index = w.clone(), list(range(w.shape[1]))
    for _ in range(count):
        sizes = _size(weight).tolist()
        channel = len(sizes) - 1 - sizes[::-1].index(max(sizes))
        whole = weight[:, channel].clone()
        weight[:, channel] = (whole - scale / 2) / 2
        weight = torch.cat([weight, ((whole + scale / 2) / 2).unsqueeze(1)], dim=1)
        index.append(index[channel])
    return weight, torch.tensor(index)


def chosen_once(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """You choose all channels at the start; after a split another one may be the largest."""
    weight, index = w.clone(), list(range(w.shape[1]))
    order = _size(w).argsort(descending=True, stable=True).tolist()
    for channel in (order * (count + 1))[:count]:
        whole = weight[:, channel].clone()
        weight[:, channel] = (whole - scale / 2) / 2
        weight = torch.cat([weight, ((whole + scale / 2) / 2).unsqueeze(1)], dim=1)
        index.append(channel)
    return weight, torch.tensor(index)


def originals_only(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """You never split a copy; it may be the largest by then."""
    inputs = w.shape[1]
    return _split(w, count, scale, size=lambda weight: _size(weight)[:inputs])


def place_instead_of_origin(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Your index names the place of the channel that was split; for a copy that is no input of w. Name its origin."""
    weight, index = w.clone(), list(range(w.shape[1]))
    for _ in range(count):
        channel = int(_size(weight).argmax())
        whole = weight[:, channel].clone()
        weight[:, channel] = (whole - scale / 2) / 2
        weight = torch.cat([weight, ((whole + scale / 2) / 2).unsqueeze(1)], dim=1)
        index.append(channel)
    return weight, torch.tensor(index)


def counted_on(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Your index counts the new channels on; it must say what each was made of."""
    weight, _ = _split(w, count, scale)
    return weight, torch.arange(weight.shape[1])


def the_view_overwritten(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Your slice is a view: the lower half is written over it before the upper one is made."""
    weight, index = w.clone(), list(range(w.shape[1]))
    for _ in range(count):
        channel = int(_size(weight).argmax())
        whole = weight[:, channel]
        weight[:, channel] = (whole - scale / 2) / 2
        weight = torch.cat([weight, ((whole + scale / 2) / 2).unsqueeze(1)], dim=1)
        index.append(index[channel])
    return weight, torch.tensor(index)


def output_channels(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """You split output channels; input channels lie on axis 1."""
    weight, index = _split(w.transpose(0, 1), count, scale)
    return weight.transpose(0, 1), index


def one_split_only(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """You split once, whatever count says."""
    return _split(w, min(count, 1), scale)


def halves_side_by_side(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """You put the upper half next to the lower one; Rules put it at the end."""
    weight, index = w.clone(), list(range(w.shape[1]))
    for _ in range(count):
        channel = int(_size(weight).argmax())
        whole = weight[:, channel : channel + 1].clone()
        halves = [(whole - scale / 2) / 2, (whole + scale / 2) / 2]
        weight = torch.cat([weight[:, :channel], *halves, weight[:, channel + 1 :]], dim=1)
        index.insert(channel + 1, index[channel])
    return weight, torch.tensor(index)


def index_as_a_list(w: Tensor, count: int, scale: float) -> tuple[Tensor, list]:
    """Your index is a list; Returns asks for an int64 tensor."""
    weight, index = _split(w, count, scale)
    return weight, index.tolist()


def narrow_index(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Your index is int32; Returns asks for int64."""
    weight, index = _split(w, count, scale)
    return weight, index.int()


def matrices_only(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Your function takes the largest over axis 0 alone; a convolution has more axes to look over."""
    return _split(w, count, scale, size=lambda weight: weight.flatten(2).abs().amax(dim=0)[:, 0]
                  if weight.ndim > 2 else weight.abs().amax(dim=0))  # fmt: skip


def overwrites_its_input(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Your function halves the caller's weights in place."""
    weight, index = _split(w, count, scale)
    w.copy_(weight[:, : w.shape[1]])
    return weight, index
