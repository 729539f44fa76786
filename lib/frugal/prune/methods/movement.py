"""Movement pruning: weights that move away from zero while they train are kept, large or not.

Paper:   Sanh, Wolf and Rush, "Movement pruning: adaptive sparsity by fine-tuning", NeurIPS 2020. Beyond the
         lecture's list.
Formula: W' = W ⊙ M,  M = top-v(S)  (hard)   or   M = [sigmoid(S) > τ], with λ · mean sigmoid(S) in the loss  (soft)
         straight through:  ∂L/∂S = ∂L/∂W' ⊙ W      so after SGD   S = -η Σ_t g_t w_t
         g w < 0: the step makes |w| larger, and S grows
Learn:   course/5_pruning/5_5_fine_tuning.ipynb

Magnitude asks where a weight is, movement where it is going: the better question when fine-tuning a network that was
trained on something else. The soft penalty is a mean here, so that λ does not depend on the size of the network.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from frugal.prune.masks import Masks, Pruned, check_sparsity, keep_largest, weights_of
from frugal.prune.schedule import Schedule
from frugal.prune.training import TuningPlan, train_


class _Through(torch.autograd.Function):
    """A mask on the way forward; on the way back its gradient goes to the scores as it is."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, keep: Tensor) -> Tensor:
        return keep.to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        return grad_output, None


class Movement(nn.Module):
    """W' = W ⊙ M(S), to be put on a weight by ``torch.nn.utils.parametrize``.

    Args:
        weight: in whose shape the scores are; they start at 0.
        threshold: τ of soft movement, between 0 and 1 / 2; None for top-v.
    """

    def __init__(self, weight: Tensor, threshold: float | None = None) -> None:
        super().__init__()
        if threshold is not None and not 0 < threshold < 0.5:
            raise ValueError(f"threshold must lie between 0 and 0.5, the sigmoid of the first scores, got {threshold}")
        self.scores = nn.Parameter(torch.zeros_like(weight))
        self.threshold = threshold
        self.sparsity = 0.0

    def keep(self) -> Tensor:
        """The present mask, True = kept."""
        if self.threshold is None:
            return keep_largest(self.scores, self.sparsity)
        return self.scores.detach() > math.log(self.threshold / (1 - self.threshold))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * _Through.apply(self.scores, self.keep())


def prune_by_movement(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    schedule: Schedule,
    plan: TuningPlan | None = None,
    *,
    score_lr: float | None = None,
) -> Pruned:
    """Return a copy, trained with scores that choose its weights, the same share in each layer.

    Args:
        model: trained on something; it stays as it is.
        x, y: inputs and labels.
        schedule: the sparsity at each step; it should begin at 0, for scores that know nothing yet.
        plan: how to train; its steps must reach beyond the schedule's last update.
        score_lr: largest learning rate of the scores; the plan's by default.
    """
    plan = plan or TuningPlan()
    if schedule.last >= plan.steps:
        raise ValueError(f"the schedule's last update is at step {schedule.last} of {plan.steps}; some must follow")
    moving = _with_scores(model, None)

    def set_sparsity(step: int) -> None:
        for each in _movements(moving):
            each.sparsity = schedule.sparsity(step)

    check_sparsity(schedule.sparsity(schedule.last))
    train_(moving, x, y, plan, before_step=set_sparsity, optimizer=_optimizer(moving, plan, score_lr))
    return _finished(moving)


def prune_by_soft_movement(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    strength: float,
    plan: TuningPlan | None = None,
    *,
    threshold: float = 0.1,
    score_lr: float | None = None,
) -> Pruned:
    """Return a copy that found its own sparsity in each layer: a penalty lowers scores that the loss does not hold up.

    Args:
        model, x, y, plan, score_lr: see ``prune_by_movement``.
        strength: λ of the penalty; the larger, the sparser.
        threshold: τ.
    """
    if not strength >= 0:
        raise ValueError(f"strength must be 0 or more, got {strength}")
    plan = plan or TuningPlan()
    moving = _with_scores(model, threshold)
    count = sum(each.scores.numel() for each in _movements(moving))

    def penalty() -> Tensor:
        return strength * torch.stack([each.scores.sigmoid().sum() for each in _movements(moving)]).sum() / count

    train_(moving, x, y, plan, penalty=penalty, optimizer=_optimizer(moving, plan, score_lr))
    return _finished(moving)


def _with_scores(model: nn.Module, threshold: float | None) -> nn.Module:
    moving = copy.deepcopy(model)
    weights = weights_of(moving)
    if not weights:
        raise ValueError("this network has no convolution or linear layer to prune")
    for name, weight in weights.items():
        layer = moving.get_submodule(name.rpartition(".")[0])
        parametrize.register_parametrization(layer, "weight", Movement(weight.detach(), threshold))
    return moving


def _movements(model: nn.Module) -> Iterator[Movement]:
    return (module for module in model.modules() if isinstance(module, Movement))


def _optimizer(model: nn.Module, plan: TuningPlan, score_lr: float | None) -> torch.optim.Optimizer:
    """The plan's, with a group of its own for the scores: no weight decay, which would pull them to 0."""
    if score_lr is not None and not (math.isfinite(score_lr) and score_lr > 0):
        raise ValueError(f"score_lr must be above 0 and finite, got {score_lr}")
    scores = [each.scores for each in _movements(model)]
    known = {id(each) for each in scores}
    optimizer = plan.make_optimizer(each for each in model.parameters() if id(each) not in known)
    optimizer.add_param_group({"params": scores, "lr": plan.lr if score_lr is None else score_lr, "weight_decay": 0.0})
    return optimizer


def _finished(model: nn.Module) -> Pruned:
    """The network with plain weights, W ⊙ M."""
    masks: Masks = {}
    for name, module in list(model.named_modules()):
        if parametrize.is_parametrized(module, "weight"):
            movement: Any = module.parametrizations.weight[0]  # type: ignore[union-attr, index]
            masks[f"{name}.weight" if name else "weight"] = movement.keep()
            parametrize.remove_parametrizations(module, "weight")
    return Pruned(model, masks)
