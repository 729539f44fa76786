"""Batch norm folding: in eval mode a batch norm is an affine map per channel, and the layer before it can do that.

Paper:   [19] Jacob et al., CVPR 2018, section 3.2; [20] Krishnamoorthi, 2018.
Formula: y = gamma · (w x + b - mean) / sqrt(var + eps) + beta
           = (gamma / sqrt(var + eps)) w · x  +  (b - mean) gamma / sqrt(var + eps) + beta
Learn:   course/4_quantization

A batch norm is folded into a layer when the trace shows that it alone reads the layer's output, and that both run once.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from frugal.core.check import describe
from frugal.core.errors import UnsupportedModel
from frugal.graph.trace import Trace, trace

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (*CONVS, *TRANSPOSED, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class FoldPlan:
    """What can be folded, and what cannot.

    folds: batch norm → the layer that takes it in, by module names.
    left:  batch norm → the reason why it stays.
    """

    folds: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


def fold_batchnorm(model: nn.Module, *, strict: bool = False) -> nn.Module:
    """Return a copy in eval mode that computes the same with fewer modules: folded batch norms become ``nn.Identity``.

    Module names stay as they are, and ``model`` is unchanged. What cannot be folded stays in place; ``plan_folds``
    gives the reasons.

    Args:
        model: any network that torch.fx can trace.
        strict: refuse a network in which a batch norm would be left.

    Raises:
        UnsupportedModel: the network cannot be traced, or ``strict`` and a batch norm is left.
    """
    folded = copy.deepcopy(model).eval()
    plan = plan_folds(folded)
    if strict and plan.left:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in plan.left.items())
        raise UnsupportedModel(f"{len(plan.left)} batch norms cannot be folded:\n{reasons}")
    for norm_name, layer_name in plan.folds.items():
        norm, layer = folded.get_submodule(norm_name), folded.get_submodule(layer_name)
        fold_into_(layer, norm)
        _replace_(folded, norm, _stand_in(layer))
    return folded


def plan_folds(model: nn.Module) -> FoldPlan:
    """Decide for every batch norm which layer takes it in, or why none does; ``model`` is unchanged.

    >>> plan_folds(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8)))
    FoldPlan(folds={'1': '0'}, left={'3': 'it follows 2 (ReLU), not a convolution or a linear layer'})
    """
    plan = FoldPlan()
    norms = {name: module for name, module in model.named_modules() if isinstance(module, NORMS)}
    if not norms:
        return plan
    modes = {module: module.training for module in model.modules()}
    try:
        seen = trace(model.eval())
    finally:
        for module, training in modes.items():
            module.training = training
    for name, norm in norms.items():
        layer_name, reason = _layer_before(seen, norm)
        if reason:
            plan.left[name] = reason
        else:
            plan.folds[name] = layer_name
    return plan


def fold_into_(layer: Any, norm: Any) -> None:
    """Change ``layer``'s weight and bias so that it also does what ``norm`` did in eval mode; computed in float64."""
    weight: nn.Parameter = layer.weight
    bias: nn.Parameter | None = layer.bias
    factor, shift = _affine(norm)  # [out] each
    if isinstance(
        layer, TRANSPOSED
    ):  # weight [in, out / groups, ...]: group g of the inputs makes group g of the outputs
        grouped = weight.detach().double().unflatten(0, (layer.groups, -1))  # [groups, in / groups, out / groups, ...]
        scaled = (grouped * factor.view(layer.groups, 1, -1, *[1] * (weight.ndim - 2))).flatten(0, 1)
    else:  # weight [out, ...]
        scaled = weight.detach().double() * factor.view(-1, *[1] * (weight.ndim - 1))
    moved = shift if bias is None else bias.detach().double() * factor + shift
    layer.weight = nn.Parameter(scaled.to(weight.dtype), requires_grad=weight.requires_grad)
    layer.bias = nn.Parameter(moved.to(weight.dtype), requires_grad=weight.requires_grad)


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Factor and shift per channel of a batch norm in eval mode, float64."""
    mean, var = norm.running_mean.double(), norm.running_var.double()
    gamma = torch.ones_like(mean) if norm.weight is None else norm.weight.detach().double()
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().double()
    factor = gamma / torch.sqrt(var + norm.eps)
    return factor, beta - mean * factor


def _layer_before(seen: Trace, norm: Any) -> tuple[str, str]:
    """The name of the layer that can take ``norm`` in and no reason, or no name and the reason why there is none."""
    calls = seen.calls(norm)
    if len(calls) != 1:
        return "", f"it runs {len(calls)} times in one pass"
    if type(norm) not in NORMS:
        return "", f"it is a {type(norm).__name__}, which may compute something else than batch norm"
    if norm.running_mean is None or norm.running_var is None:
        return "", "it uses the statistics of each batch (track_running_stats=False)"
    node = seen.producer(calls[0])
    layer = seen.module(node) if node is not None else None
    if layer is not None and is_parametrized(layer):
        return "", f"the weight of {_words(seen, node)} is computed from other parameters"
    if node is None or layer is None or type(layer) not in LAYERS:
        return "", f"it follows {_words(seen, node)}, not a convolution or a linear layer"
    if len(seen.calls(layer)) != 1:
        return "", f"{node.target} runs {len(seen.calls(layer))} times in one pass"
    if not _leads_only_to(node, calls[0]):
        return "", f"the output of {node.target} goes elsewhere too"
    reason = _refusal(layer, norm, str(node.target))
    return ("", reason) if reason else (str(node.target), "")


def _refusal(layer: Any, norm: Any, name: str) -> str:
    """What about the layer itself forbids folding, or nothing."""
    if "weight" not in layer._parameters:
        return f"the weight of {name} is computed from other parameters"
    if any(m._forward_hooks or m._forward_pre_hooks for m in (layer, norm)):
        return f"{name} or its batch norm has forward hooks"
    if not layer.weight.is_floating_point():
        return f"the weight of {name} is {describe(layer.weight)}, not floating point"
    out_channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if out_channels != norm.num_features:
        return f"{name} makes {out_channels} channels, but it normalises {norm.num_features}"
    return ""


def _leads_only_to(node: fx.Node, last: fx.Node) -> bool:
    """Whether every value on the way from ``node`` to ``last`` has a single reader."""
    here: Any = last
    while here is not node:
        here = here.args[0]
        if len(here.users) != 1:
            return False
    return True


def _words(seen: Trace, node: fx.Node | None) -> str:
    if node is None or node.op == "placeholder":
        return "the input"
    module = seen.module(node)
    if module is not None:
        return f"{node.target} ({type(module).__name__})"
    return f"the function {getattr(node.target, '__name__', node.target)}"


def _replace_(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is registered, under every name it has."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent._modules[name] = new


def _stand_in(layer: nn.Module) -> nn.Identity:
    """The identity that takes the batch norm's place.

    Batch norm counts channels along dimension 1, a linear layer along the last one: for [n, length, features] they
    differ, and for an unbatched 1-d convolution too. A trace knows no shapes, so the identity refuses that case.
    """
    identity = nn.Identity().eval()
    dims = {nn.Linear: 2, nn.Conv1d: 3, nn.ConvTranspose1d: 3}.get(type(layer))
    if dims is not None:
        identity.register_forward_pre_hook(partial(_refuse_other_dims, dims=dims))
    return identity


def _refuse_other_dims(module: nn.Module, args: tuple[Any, ...], *, dims: int) -> None:
    if args[0].ndim != dims:
        raise ValueError(
            f"this batch norm was folded for inputs of {dims} dimensions, got {describe(args[0])}; there it would have "
            "normalised another axis than the layer's outputs: use the network without folding"
        )
