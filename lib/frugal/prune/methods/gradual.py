"""Gradual pruning: the network trains on while more and more of its smallest weights are taken away.

Paper:   Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017.
         Lecture: slide 31.
Formula: s_t = s_f + (s_i - s_f) (1 - (t - t0) / (n Δt))³      every Δt steps the smallest |w| of each layer go
Learn:   course/5_pruning/5_5_fine_tuning.ipynb

Much goes at first, while the network has much to spare, and less and less towards the end. A weight that went stays 0:
masks lie within one another.
"""

from __future__ import annotations

from torch import Tensor, nn

from frugal.prune.masks import Pruned, keep
from frugal.prune.schedule import Cubic, Schedule
from frugal.prune.scores import magnitudes
from frugal.prune.training import TuningPlan, prune_while_training


def prune_gradually(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    sparsity: float,
    *,
    plan: TuningPlan | None = None,
    schedule: Schedule | None = None,
    scope: str = "local",
) -> Pruned:
    """Return a copy that was trained while its smallest weights went.

    Args:
        model: stays as it is; trained or not.
        x, y: inputs and labels.
        sparsity: at the end, from 0 to below 1.
        plan: how to train.
        schedule: by default cubic, in ten updates over the first three quarters of the steps.
        scope: "local", as in the paper, or "global".

    >>> import torch
    >>> x, y = torch.randn(64, 8), torch.randint(2, (64,))
    >>> pruned = prune_gradually(nn.Linear(8, 2), x, y, 0.75, plan=TuningPlan(steps=20))
    >>> int((pruned.model.weight == 0).sum())
    12
    """
    plan = plan or TuningPlan()
    schedule = schedule or cubic_within(sparsity, plan.steps)
    if schedule.sparsity(schedule.last) != sparsity:
        raise ValueError(f"the schedule ends at {schedule.sparsity(schedule.last)}, but sparsity {sparsity} is asked")
    return prune_while_training(model, x, y, lambda now, share: keep(magnitudes(now), share, scope), schedule, plan)


def cubic_within(sparsity: float, steps: int) -> Cubic:
    """Up to ten updates over the first three quarters of so many steps.

    >>> cubic_within(0.9, 400).last
    300
    """
    span = 3 * steps // 4
    if span < 1:
        raise ValueError(f"{steps} steps are too few to prune gradually; 2 is the least")
    count = min(10, span)
    return Cubic(sparsity, every=span // count, count=count)
