"""Lottery tickets: a small network that trains as well as the large one lies within it, with its first weights.

Papers:  Frankle and Carbin, ICLR 2019 (reset to the first weights); Frankle, Dziugaite, Roy and Carbin, ICML 2020
         (rewind to step k). Lecture: slide 31, "several full trainings".
Formula: θ_0 ── train k steps ──► θ_k ── train ──► θ_T ;   m_1 = the largest |θ_T|
         then rounds:  m_r ⊙ θ_k ── train ──► θ_T^(r) ,   m_{r+1} within m_r takes the same share of what is left
Learn:   course/5_pruning/5_5_fine_tuning.ipynb

The mask is found by training, but trains from the old weights: bit for bit m ⊙ θ_k, batch norm's statistics those of
step k. Two controls tell what is in the ticket: the same mask with new weights, and a random mask with the same counts.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugal.prune.masks import Masks, keep, keep_largest, masked
from frugal.prune.schedule import Geometric
from frugal.prune.scores import magnitudes, random_scores
from frugal.prune.training import TuningPlan, train_


@dataclass(frozen=True, eq=False)
class Ticket:
    """A sparse network, before and after its training.

    start:      weights of step k, masked.
    trained:    ``start`` after the remaining steps.
    masks:      True where kept.
    sparsities: after each round.
    rewound_to: k.
    """

    start: nn.Module
    trained: nn.Module
    masks: Masks
    sparsities: tuple[float, ...]
    rewound_to: int


def find_ticket(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    schedule: Geometric,
    plan: TuningPlan | None = None,
    *,
    rewind_to: int = 0,
    scope: str = "global",
) -> Ticket:
    """Train, prune, rewind; as many rounds as the schedule has, each with a whole training.

    Args:
        model: at initialisation; it stays as it is.
        x, y: inputs and labels.
        schedule: sparsity after each round; ``Geometric(0.9, rounds=1)`` is one-shot.
        plan: one training.
        rewind_to: step k whose weights the survivors go back to; 0 is the initialisation, above it is late rewinding.
        scope: "global" or "local".
    """
    plan = plan or TuningPlan()
    if not 0 <= rewind_to < plan.steps:
        raise ValueError(f"rewind_to must be a step from 0 to below {plan.steps}, got {rewind_to}")
    early = copy.deepcopy(model)
    train_(early, x, y, plan, end=rewind_to)
    start, trained = early, copy.deepcopy(early)
    train_(trained, x, y, plan, begin=rewind_to)
    masks: Masks = {}
    sparsities = tuple(schedule.sparsity(number * schedule.every) for number in range(1, schedule.rounds + 1))
    for sparsity in sparsities:
        masks = keep(_ranked(magnitudes(trained), masks), sparsity, scope)
        start = masked(early, masks)
        trained = copy.deepcopy(start)
        train_(trained, x, y, plan, masks=masks, begin=rewind_to)
    return Ticket(start, trained, masks, sparsities, rewind_to)


def _ranked(scores: dict[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    """The same scores, -1 for what already went: a kept weight that happens to be 0 still comes before it."""
    return {name: torch.where(masks[name], each, -1.0) if masks else each for name, each in scores.items()}


def with_new_weights(model: nn.Module, masks: Masks, seed: int = 0) -> nn.Module:
    """The first control: the same masks on weights drawn anew, as each module draws its own."""
    drawn = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in drawn.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return masked(drawn, masks)


def shuffled(model: nn.Module, masks: Masks, seed: int = 0) -> Masks:
    """The second control: in each layer as many weights as the mask keeps, anywhere."""
    scores = random_scores(model, seed)
    if missing := [name for name in masks if name not in scores]:
        raise ValueError(f"{missing[0]!r} is no weight of this model's convolutions or linear layers")
    return {
        name: keep_largest(scores[name], 1 - int(keep.sum()) / keep.numel()) if keep.any() else keep.clone()
        for name, keep in masks.items()
    }
