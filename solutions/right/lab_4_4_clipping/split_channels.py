"""Right answers to exercise 4.4.6, each written differently."""

import torch
from torch import Tensor


def list_of_channels(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    channels, origins = list(w.unbind(1)), list(range(w.shape[1]))
    for _ in range(count):
        sizes = [each.abs().max().item() for each in channels]
        k = sizes.index(max(sizes))
        upper = channels[k] / 2 + scale / 4
        channels[k] = channels[k] / 2 - scale / 4
        channels.append(upper)
        origins.append(origins[k])
    return torch.stack(channels, dim=1), torch.tensor(origins)


def room_from_the_start(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    inputs = w.shape[1]
    weight = torch.zeros(w.shape[0], inputs + count, *w.shape[2:])
    weight[:, :inputs] = w
    index = torch.arange(inputs + count)
    for place in range(inputs, inputs + count):
        axes = [axis for axis in range(w.ndim) if axis != 1]
        channel = weight[:, :place].abs().amax(dim=axes).argmax()
        weight[:, place] = (weight[:, channel] + scale / 2) / 2
        weight[:, channel] = weight[:, place] - scale / 2
        index[place] = index[channel]
    return weight, index


def again_and_again(w: Tensor, count: int, scale: float) -> tuple[Tensor, Tensor]:
    weight, index = w.clone(), torch.arange(w.shape[1])
    for _ in range(count):
        k = weight.movedim(1, 0).reshape(weight.shape[1], -1).abs().max(dim=1).values.argmax()
        lower, upper = (weight[:, k] - scale / 2) / 2, (weight[:, k] + scale / 2) / 2
        weight = torch.cat([weight[:, :k], lower[:, None], weight[:, k + 1 :], upper[:, None]], dim=1)
        index = torch.cat([index, index[k : k + 1]])
    return weight, index
