"""Networks on the wire: a judge's network as data for a student, a student's network as its state for a judge.

to a student     class names, plain attributes, parameters and buffers; rebuilt there without calling a constructor
from a student   names, parameters and buffers; the network itself stays where it is (frugal.grading.proxy)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

from frugal.grading.errors import WireError

OURS = ("torch.nn.", "frugal.")
_OWN = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "training")


def take_apart(module: torch.nn.Module, pack: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a network as data. Only classes of torch.nn and of the course can be rebuilt."""
    kind = type(module)
    if not kind.__module__.startswith(OURS):
        raise WireError(f"cannot pass on a {kind.__name__}: only networks of torch.nn and of the course cross")
    attributes = {
        name: value
        for name, value in vars(module).items()
        if name not in _OWN
        and not name.endswith("_hooks")
        and not name.startswith(("_backward", "_forward", "_state", "_load"))
    }
    return {
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "training": module.training,
        "attributes": [[name, pack(value)] for name, value in attributes.items()],
        "parameters": [[name, pack(value)] for name, value in module._parameters.items()],
        "buffers": [[name, pack(value)] for name, value in module._buffers.items()],
        "transient": sorted(module._non_persistent_buffers_set),
        "modules": [[name, child and take_apart(child, pack)] for name, child in module._modules.items()],
    }


def rebuild(open_: Callable[[Any], Any], data: dict[str, Any]) -> torch.nn.Module:
    """Build the network that ``take_apart`` described."""
    place, _, qualified = data["class"].partition(":")
    if not f"{place}.".startswith(OURS):
        raise WireError("a network of an unknown class")
    kind: Any = importlib.import_module(place)
    for part in qualified.split("."):
        kind = getattr(kind, part)
    module = kind.__new__(kind)
    torch.nn.Module.__init__(module)
    for name, node in data["attributes"]:
        object.__setattr__(module, name, open_(node))
    for name, node in data["parameters"]:
        module._parameters[name] = open_(node)
    for name, node in data["buffers"]:
        module._buffers[name] = open_(node)
    module._non_persistent_buffers_set = set(data["transient"])
    for name, child in data["modules"]:
        module._modules[name] = child and rebuild(open_, child)
    module.training = data["training"]
    return module


def load(module: torch.nn.Module, tensors: dict[str, torch.Tensor], training: dict[str, bool]) -> None:
    """Take over what a judge changed in its mirror of a student's network."""
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)
    for name, child in module.named_modules():
        child.training = training.get(name, child.training)


def state_of(module: torch.nn.Module) -> dict[str, Any]:
    """Return what a judge mirrors of a student's network."""
    return {
        "parameters": [[name, value.detach(), value.requires_grad] for name, value in module.named_parameters()],
        "buffers": [[name, value.detach()] for name, value in module.named_buffers()],
        "modules": [[name, type(child).__name__, child.training] for name, child in module.named_modules()],
    }
