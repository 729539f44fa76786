"""Training a pruned network: masked weights stay 0, and masks may change on the way.

Papers:  Han et al., NeurIPS 2015 (prune, then fine-tune); Zhu and Gupta 2017 (while training); [40] (entwined).
Lecture: slide 31. Learn: course/5_pruning/5_5_fine_tuning.ipynb

    finetune               masks stay                       ▪▪▪ prune ─────── train ───────────────►
    prune_while_training   masks follow a schedule          ─ train ▪ train ▪ train ▪ train ───────►
    entwine                channels go, a slice at a time   ▪ remove ─ train ─ ▪ remove ─ train ───►

A step is one batch. Which pictures a step sees depends on the seed and its number alone, so a training that starts
again at step k (rewinding) sees the same ones.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from frugal.core.check import describe
from frugal.core.seed import generator
from frugal.nets.train import rate
from frugal.prune.masks import HeldMasks, Masks, Pruned, check_sparsity
from frugal.prune.schedule import Schedule
from frugal.prune.scores import Loss

OPTIMIZERS = ("sgd", "adam")
CURVES = ("cosine", "one-cycle", "constant")


@dataclass(frozen=True)
class TuningPlan:
    """How a network is trained.

    steps:        batches in all.
    lr:           the largest learning rate.
    batch_size:   pictures per step.
    momentum:     of SGD.
    weight_decay: on every parameter.
    optimizer:    "sgd" or "adam".
    curve:        of the learning rate: "cosine" falls from ``lr`` to 0, "one-cycle" rises first, "constant" stays.
    seed:         of the shuffling.
    """

    steps: int = 200
    lr: float = 0.01
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    optimizer: str = "sgd"
    curve: str = "cosine"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps and batch_size must be 1 or more, got {self.steps} and {self.batch_size}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be above 0 and finite, got {self.lr}")
        if not 0 <= self.momentum < 1 or not self.weight_decay >= 0:
            raise ValueError(
                f"momentum must be from 0 to below 1 and weight_decay 0 or more, got {self.momentum} "
                f"and {self.weight_decay}"
            )
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        if self.curve not in CURVES:
            raise ValueError(f"curve must be one of {', '.join(CURVES)}, got {self.curve!r}")

    def rate(self, step: int) -> float:
        """The learning rate at a step, as a share of the largest."""
        return 1.0 if self.curve == "constant" else rate(step / self.steps, self.curve)

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer that the plan names, for these parameters."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if self.optimizer == "adam":
            return torch.optim.Adam(trained, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(trained, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Tuning:
    """What a training took and gave.

    losses:  of each step.
    seconds: wall time of the loop.
    """

    losses: tuple[float, ...]
    seconds: float


def train_(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    plan: TuningPlan | None = None,
    *,
    masks: Mapping[str, Tensor] | None = None,
    begin: int = 0,
    end: int | None = None,
    before_step: Callable[[int], Masks | None] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    loss: Loss = cross_entropy,
    optimizer: torch.optim.Optimizer | None = None,
) -> Tuning:
    """Train a network in place, and leave it in eval mode.

    Args:
        model: takes ``x[i:j]``.
        x, y: inputs and labels, as many of each.
        plan: how; ``TuningPlan()`` by default.
        masks: weights that are 0 before the first step and stay so, the optimizer's memory of them included.
        begin, end: train only these steps of the plan; all by default.
        before_step: called with each step's number; masks that it returns are held from then on.
        penalty: is added to the loss.
        loss: of outputs and labels, the mean over the batch.
        optimizer: in the place of the plan's; its learning rates are the largest ones.

    Raises:
        ValueError: sizes that do not fit, or a loss that is no longer finite.
    """
    plan = plan or TuningPlan()
    end = plan.steps if end is None else end
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(f"training needs one label per input, got {describe(x)} and {describe(y)}")
    if not 0 <= begin <= end <= plan.steps:
        raise ValueError(f"steps {begin} to {end} are not within the plan's 0 to {plan.steps}")
    stepper = optimizer or plan.make_optimizer(model.parameters())
    highest = [group["lr"] for group in stepper.param_groups]
    size = min(plan.batch_size, len(x))
    losses: list[float] = []
    began = time.perf_counter()
    model.train()
    with HeldMasks(model, masks or {}, stepper) as held:
        for step in range(begin, end):
            changed = before_step(step) if before_step else None
            if changed is not None:
                held.change_(changed)
            for group, lr in zip(stepper.param_groups, highest, strict=True):
                group["lr"] = lr * plan.rate(step)
            rows = batch_at(step, len(x), size, plan.seed)
            value = loss(model(x[rows]), y[rows])
            if penalty is not None:
                value = value + penalty()
            if not torch.isfinite(value):
                raise ValueError(f"the loss became {value.item()} at step {step}; try a smaller lr than {plan.lr}")
            stepper.zero_grad(set_to_none=True)
            value.backward()
            stepper.step()
            losses.append(value.item())
    model.eval()
    return Tuning(tuple(losses), time.perf_counter() - began)


def batch_at(step: int, count: int, size: int, seed: int = 0) -> Tensor:
    """The rows that a step sees: each pass over the data has an order of its own; what is left of a pass is left out.

    >>> a, b = batch_at(0, 5, 2), batch_at(1, 5, 2)
    >>> len(set(a.tolist()) | set(b.tolist()))
    4
    """
    per_pass = count // size
    order = torch.randperm(count, generator=generator("fine-tuning", seed, step // per_pass))
    return order[step % per_pass * size :][:size]


def finetune(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    plan: TuningPlan | None = None,
    *,
    masks: Mapping[str, Tensor] | None = None,
    loss: Loss = cross_entropy,
) -> nn.Module:
    """Return a trained copy, in eval mode; masked weights are exactly 0.

    >>> net = nn.Linear(3, 2)
    >>> x, y = torch.randn(64, 3), torch.randint(2, (64,))
    >>> tuned = finetune(net, x, y, TuningPlan(steps=5), masks={"weight": torch.tensor([[True, True, False]] * 2)})
    >>> tuned.weight[:, 2].tolist()
    [0.0, 0.0]
    """
    tuned = copy.deepcopy(model)
    train_(tuned, x, y, plan, masks=masks, loss=loss)
    return tuned


def prune_while_training(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    choose: Callable[[nn.Module, float], Masks],
    schedule: Schedule,
    plan: TuningPlan | None = None,
    *,
    loss: Loss = cross_entropy,
) -> Pruned:
    """Train a copy whose masks follow a schedule.

    Args:
        model: stays as it is.
        x, y: inputs and labels.
        choose: masks for the model as it is now, at a sparsity. Weights that went are 0 in it.
        schedule: when masks are chosen, and how sparse they are.
        plan: how to train; its steps must reach beyond the schedule's last update.
        loss: of outputs and labels.
    """
    plan = plan or TuningPlan()
    if schedule.last >= plan.steps:
        raise ValueError(
            f"the last masks are chosen at step {schedule.last}, but training ends after {plan.steps} steps; "
            "some must follow"
        )
    trained = copy.deepcopy(model)
    masks: Masks = {}

    def update(step: int) -> Masks | None:
        nonlocal masks
        if not schedule.updates(step):
            return None
        masks = choose(trained, schedule.sparsity(step))
        return masks

    train_(trained, x, y, plan, before_step=update, loss=loss)
    return Pruned(trained, masks)


def entwine(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    prune: Callable[[nn.Module, float], nn.Module],
    sparsities: Iterable[float],
    plan: TuningPlan | None = None,
    *,
    loss: Loss = cross_entropy,
) -> nn.Module:
    """Remove a slice of the channels, train for the plan's steps, remove the next slice: scores are always fresh.

    Args:
        model: stays as it is.
        x, y: inputs and labels.
        prune: returns a smaller network than the one it is given, by a share of the channels that this one has.
        sparsities: ascending shares of the first network's channels, such as 0.2, 0.4, 0.6.
        plan: the training after each slice.
        loss: of outputs and labels.
    """
    model, reached = copy.deepcopy(model), 0.0
    for target in sparsities:
        check_sparsity(target)
        if target < reached:
            raise ValueError(f"sparsities must ascend, got {target} after {reached}")
        model = finetune(prune(model, 1 - (1 - target) / (1 - reached)), x, y, plan, loss=loss)
        reached = target
    return model
