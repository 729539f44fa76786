"""Surgery: take channels out of a network, so that it has fewer parameters, fewer bytes and fewer products.

Lecture: equation (5), slide 28: a neuron's row, bias and column go; what it still emitted goes into the next bias.
Formula: W1 without row i,  b1 without i,  W2 without column i,  b2 + W2[:, i] · c_i
         c_i = σ(b1_i) where row i is zero;  in general the mean of what neuron i emits on some batches
Learn:   course/5_pruning

Coupled channels (graph.channels) go together: through a residual sum all layers that write to it lose the same places.
Zero padding needs care: around the input of a padded convolution there is 0, not c_i; a constant in the bias would be
wrong in the outermost pixels. ``ConvWithConstants`` adds what the constant inputs would have added, border included.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.graph.channels import Channels
from frugal.graph.names import CONVS, Slot


class ConvWithConstants(nn.Conv2d):
    """A convolution some of whose inputs are constants: they take no channel, only a picture that is computed once.

    weight_of_constants: [out, 1, kh, kw], the removed inputs' weights times their constants, summed.
    """

    weight_of_constants: Tensor

    def __init__(self, conv: nn.Conv2d, weight_of_constants: Tensor) -> None:
        nn.Module.__init__(self)
        self.__dict__.update({name: value for name, value in vars(conv).items() if name not in vars(self)})
        self.weight, self.bias = conv.weight, conv.bias
        self.register_buffer("weight_of_constants", weight_of_constants)
        self.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x, [n, in, h, w], and add the picture of the constants, [1, out, h', w']."""
        ones = torch.ones(1, 1, x.shape[2], x.shape[3], dtype=x.dtype, device=x.device)
        picture = F.conv2d(ones, self.weight_of_constants, None, self.stride, self.padding, self.dilation)
        return super().forward(x) + picture


def remove_channels(
    model: nn.Module,
    channels: Channels,
    groups: Iterable[int],
    *,
    batches: Iterable[Tensor] | None = None,
) -> nn.Module:
    """Return a smaller copy without the channels of ``groups``.

    Args:
        model: stays as it was.
        channels: of this model, from ``find_channels``.
        groups: numbers of groups, see ``channels.families()``.
        batches: inputs of the model. With them, what the removed channels emitted on average goes into the layers that
            read them; exact for channels that emit constants, padded borders included. Without, it is dropped.

    Raises:
        ValueError: a group does not exist or is frozen (the message says why), or a layer would lose all its channels.

    >>> from frugal.graph.channels import find_channels
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    >>> smaller = remove_channels(net, find_channels(net, (3, 8, 8)), [1, 2])
    >>> smaller[0].weight.shape, smaller[2].weight.shape
    (torch.Size([2, 3, 3, 3]), torch.Size([2, 2, 3, 3]))
    """
    chosen = torch.tensor(sorted(set(groups)), dtype=torch.int64)
    _check_groups(channels, chosen)
    gone = {id(slot): torch.isin(channels.groups_of(slot), chosen) for slot in channels.slots}
    smaller = copy.deepcopy(model)
    if batches is not None:
        _absorb_(smaller, channels, gone, batches)
    for slot in channels.slots:
        drop = gone[id(slot)]
        if drop.any():
            if drop.all():
                raise ValueError(f"{slot.module or 'the network'} would lose all of its {len(drop)} channels; keep one")
            _narrow_(smaller.get_submodule(slot.module), slot, ~drop)
    _narrow_absorbed_(smaller, channels, gone)
    for module in smaller.modules():
        _update_sizes_(module)
    return smaller


def _check_groups(channels: Channels, chosen: Tensor) -> None:
    count = int(channels.group.max()) + 1 if len(channels.group) else 0
    outside = chosen[(chosen < 0) | (chosen >= count)].tolist()
    if outside:
        raise ValueError(f"there is no group {outside[0]}; this network has groups 0 to {count - 1}")
    for group in chosen.tolist():
        if group in channels.frozen:
            raise ValueError(f"group {group} cannot be removed: {channels.frozen[group]}")


def _narrow_(module: nn.Module, slot: Slot, keep: Tensor) -> None:
    """Keep some places of one axis of one parameter."""
    old: Any = getattr(module, slot.parameter)
    new = old.detach().index_select(slot.axis, keep.nonzero().flatten().to(old.device)).clone()
    if isinstance(old, nn.Parameter):
        setattr(module, slot.parameter, nn.Parameter(new, requires_grad=old.requires_grad))
    else:
        module.register_buffer(slot.parameter, new)


def _narrow_absorbed_(smaller: nn.Module, channels: Channels, gone: dict[int, Tensor]) -> None:
    """Let what layers absorbed, now or in an earlier surgery, follow their rows: it has no slot of its own."""
    named = {(slot.module, slot.parameter) for slot in channels.slots}
    for slot in channels.slots:
        if slot.role == "out" and slot.parameter == "weight" and gone[id(slot)].any():
            layer = smaller.get_submodule(slot.module)
            for parameter in ("bias", "weight_of_constants"):
                if getattr(layer, parameter, None) is not None and (slot.module, parameter) not in named:
                    _narrow_(layer, replace(slot, parameter=parameter, axis=0), ~gone[id(slot)])


def _update_sizes_(module: Any) -> None:
    """Let the numbers that a module keeps about itself agree with its parameters."""
    if isinstance(module, CONVS):
        per_group = module.weight.shape[1]
        if module.groups == module.in_channels and per_group == 1 and module.groups > 1:
            multiplier = module.out_channels // module.in_channels
            module.groups = module.weight.shape[0] // multiplier
        module.out_channels, module.in_channels = module.weight.shape[0], per_group * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
        module.num_features = len(module.running_mean)
    elif isinstance(module, nn.LayerNorm) and module.weight is not None and module.weight.ndim == 1:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.GroupNorm) and module.weight is not None:
        module.num_channels = len(module.weight)


@torch.no_grad()
def _absorb_(model: nn.Module, channels: Channels, gone: dict[int, Tensor], batches: Iterable[Tensor]) -> None:
    """Put what the removed inputs of each layer are on average into the layer itself."""
    readers = [slot for slot in channels.slots if slot.role == "in" and gone[id(slot)].any()]
    means = _input_means(model, [slot.module for slot in readers], batches)
    for slot in readers:
        layer: Any = model.get_submodule(slot.module)
        drop, mean = gone[id(slot)], means[slot.module]
        if isinstance(layer, nn.Linear):
            _add_to_bias_(layer, layer.weight[:, drop] @ mean[drop].to(layer.weight.dtype))
            continue
        if layer.groups > 1 or not isinstance(layer, nn.Conv2d):
            continue  # these lose their constants; fine-tuning has to make up for it
        constants = torch.where(drop, mean, 0).to(layer.weight.dtype)
        weights = (layer.weight * constants.view(1, -1, 1, 1)).sum(dim=1, keepdim=True)  # [out, 1, kh, kw]
        if not weights.any():
            continue
        if set(_pairs(layer.padding)) == {0} or layer.kernel_size == (1, 1):
            _add_to_bias_(layer, weights.sum(dim=(1, 2, 3)))
        elif isinstance(layer, ConvWithConstants):  # from an earlier surgery
            layer.weight_of_constants = layer.weight_of_constants + weights
        else:
            parent, _, name = slot.module.rpartition(".")
            setattr(model.get_submodule(parent), name, ConvWithConstants(layer, weights))


def _input_means(model: nn.Module, names: list[str], batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """The mean of each input channel of each layer: axis 1 of pictures, the last of anything else.  float64"""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name: str, layer: nn.Module) -> Any:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].detach().double()
            by_channel = x.flatten(0, -2) if isinstance(layer, nn.Linear) else x.movedim(1, -1).flatten(0, -2)
            sums[name] = sums.get(name, 0) + by_channel.sum(dim=0)
            counts[name] = counts.get(name, 0) + len(by_channel)

        return layer.register_forward_pre_hook(hook)

    hooks = [watch(name, model.get_submodule(name)) for name in dict.fromkeys(names)]
    was_training = model.training
    model.eval()
    try:
        for batch in [batches] if isinstance(batches, Tensor) else batches:
            model(batch)
    finally:
        for each in hooks:
            each.remove()
        model.train(was_training)
    missed = [name for name in names if name not in counts]
    if missed:
        raise ValueError(f"no batch reached {missed[0]}; give at least one batch of the model's inputs")
    return {name: total / counts[name] for name, total in sums.items()}


def _add_to_bias_(layer: Any, shift: Tensor) -> None:
    if layer.bias is None:
        layer.bias = nn.Parameter(shift.clone(), requires_grad=layer.weight.requires_grad)
    else:
        layer.bias.add_(shift)


def _pairs(padding: Any) -> tuple[Any, ...]:
    return padding if isinstance(padding, tuple) else (padding,)
