"""Network slimming: batch norm's factors are pushed towards 0 in training, and channels with a small one leave.

Paper:   Liu, Li, Shen, Huang, Yan and Zhang, ICCV 2017. Beyond the lecture's list.
Formula: L = Σ l(f(x), y) + λ Σ |γ|        subgradient λ sign(γ), 0 at 0
         score of a channel |γ|, one threshold for all layers
         γ = 0:  the channel is σ(β), a constant; it moves into the next bias, exactly
Learn:   course/5_pruning/5_5_fine_tuning.ipynb, lab 5.3

Train with SGD: Adam divides every gradient by its size, λ included, and fewer factors come to rest at 0.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from frugal.graph.channels import Channels, find_channels
from frugal.graph.names import BATCH_NORMS, Slot
from frugal.prune.absorb import remove_silent
from frugal.prune.scores import channel_scores, choose_groups
from frugal.prune.training import TuningPlan, train_


def factors(model: nn.Module) -> dict[str, nn.Parameter]:
    """γ of every batch norm that has one, by parameter name."""
    return {
        f"{name}.weight" if name else "weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, BATCH_NORMS) and module.weight is not None
    }


def pull(model: nn.Module, strength: float) -> Tensor:
    """λ Σ |γ|, to be added to the loss; its gradient in γ is λ sign(γ).

    >>> norm = nn.BatchNorm2d(2)
    >>> norm.weight.data = torch.tensor([-3.0, 0.0])
    >>> pull(norm, 0.1).backward()
    >>> norm.weight.grad.tolist()
    [-0.10000000149011612, 0.0]
    """
    if not strength >= 0:
        raise ValueError(f"strength must be 0 or more, got {strength}")
    found = factors(model)
    if not found:
        raise ValueError("this network has no batch norm with factors to slim; see methods.l1_filters for one without")
    return strength * torch.stack([gamma.abs().sum() for gamma in found.values()]).sum()


def train_slim(
    model: nn.Module, x: Tensor, y: Tensor, *, strength: float = 1e-3, plan: TuningPlan | None = None
) -> nn.Module:
    """Return a copy trained with the pull on γ; weight decay is left out, so that λ alone acts on γ.

    Args:
        model: with batch norm.
        x, y: inputs and labels.
        strength: λ. The larger, the more factors end near 0, and the less accurate the network.
        plan: how to train; "sgd" is meant.
    """
    plan = plan or TuningPlan()
    slim = copy.deepcopy(model)
    gammas = {id(gamma) for gamma in factors(slim).values()}
    optimizer = plan.make_optimizer(parameter for parameter in slim.parameters() if id(parameter) not in gammas)
    optimizer.add_param_group({"params": list(factors(slim).values()), "weight_decay": 0.0})
    train_(slim, x, y, plan, penalty=lambda: pull(slim, strength), optimizer=optimizer)
    return slim


def slimming_scores(model: nn.Module, channels: Channels) -> Tensor:
    """Σ |γ| over the batch norms that a group of channels passes, [groups]; infinity where it passes none."""
    scores = {name: gamma.detach().abs() for name, gamma in factors(model).items()}
    if not scores:
        raise ValueError("this network has no batch norm with factors to compare; see methods.l1_filters")
    return channel_scores(scores, channels, within="sum", across="sum", roles=("along",))


def prune_slim(
    model: nn.Module, shape: tuple[int, ...], sparsity: float, *, scope: str = "global", multiple: int = 1
) -> nn.Module:
    """Return a smaller network without the channels of smallest |γ|; what they emit at γ = 0 is absorbed.

    Args:
        model: traceable by torch.fx, trained by ``train_slim``.
        shape: of one input, without the batch.
        sparsity: share of the channels that may go.
        scope: "global" for one threshold, as the paper has it; "local" for the same share in each layer.
        multiple: channels per layer that kernels like.
    """
    channels = find_channels(model, shape)
    scores = slimming_scores(model, channels)
    groups = choose_groups(scores, channels, sparsity, scope=scope, relative=False, multiple=multiple)
    norms = set(factors(model))

    def is_factor(slot: Slot) -> bool:
        return slot.role == "along" and slot.parameter == "weight" and f"{slot.module}.{slot.parameter}" in norms

    return remove_silent(model, channels, groups, shape, of=is_factor)
