"""A plain training loop: shuffled batches, cross entropy, one learning-rate curve.

The same model, data, seed and number of threads give the same weights.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from frugal.core.check import describe
from frugal.core.seed import generator

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "one-cycle")


def fit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: float,
    lr: float,
    batch_size: int = 128,
    seed: int = 0,
    optimizer: str = "sgd",
    schedule: str = "one-cycle",
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.0,
    progress: bool = False,
) -> list[float]:
    """Train ``model`` in place and leave it in eval mode.

    Args:
        model: takes ``x[i:j]`` and returns logits [n, classes], or [n, classes, t] for rows of t labels.
        x, y: inputs and int64 labels, [n] or [n, t], as many of each.
        epochs: passes over the data; a fraction stops early, and the learning rate still ends at 0.
        lr: the largest learning rate.
        batch_size: inputs per step; a last batch that is smaller is left out of its epoch.
        seed: of the shuffling; it touches no global random state.
        optimizer: "sgd" (Nesterov momentum 0.9) or "adamw".
        schedule: "cosine" falls from ``lr`` to 0; "one-cycle" rises over the first fifth of the steps, then falls.
        weight_decay: on every parameter, batch norm's included, as He et al. have it.
        label_smoothing: 0 to 1.
        progress: show a bar.

    Returns:
        The mean loss of each epoch.

    Raises:
        ValueError: sizes that do not fit, an unknown optimizer or schedule, or a loss that is no longer finite.
    """
    _check_fit(x, y, epochs, lr, batch_size, optimizer, schedule)
    batch_size = min(batch_size, len(x))
    per_epoch = len(x) // batch_size
    steps = max(1, round(epochs * per_epoch))
    stepper = _optimizer(model, optimizer, lr, weight_decay)
    rng = generator("fit", seed)
    model.train()
    sums, counts = [0.0] * math.ceil(steps / per_epoch), [0] * math.ceil(steps / per_epoch)
    for step in _counter(steps, progress):
        if step % per_epoch == 0:
            order = torch.randperm(len(x), generator=rng)
        rows = order[step % per_epoch * batch_size :][:batch_size]
        for group in stepper.param_groups:
            group["lr"] = lr * rate(step / steps, schedule)
        loss = cross_entropy(model(x[rows]), y[rows], label_smoothing=label_smoothing)
        if not torch.isfinite(loss):
            raise ValueError(f"the loss became {loss.item()} at step {step} of {steps}; try a smaller lr than {lr}")
        stepper.zero_grad(set_to_none=True)
        loss.backward()
        stepper.step()
        sums[step // per_epoch] += loss.item()
        counts[step // per_epoch] += 1
    model.eval()
    return [total / count for total, count in zip(sums, counts, strict=True)]


def rate(done: float, schedule: str = "one-cycle") -> float:
    """The learning rate as a share of its largest value, when ``done`` (0 to 1) of the steps are over.

    >>> [round(rate(t), 2) for t in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    warm = 0.2 if schedule == "one-cycle" else 0.0
    if done < warm:
        return 0.04 + 0.96 * done / warm
    return (1 + math.cos(math.pi * (done - warm) / (1 - warm))) / 2


def _optimizer(model: nn.Module, name: str, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "adamw":
        return torch.optim.AdamW(trained, lr=lr, weight_decay=weight_decay)
    return torch.optim.SGD(trained, lr=lr, momentum=0.9, nesterov=True, weight_decay=weight_decay)


def _counter(steps: int, progress: bool) -> Iterable[int]:
    """0, 1, ... with a bar on stdout or in the notebook, where tqdm is installed."""
    if not progress:
        return range(steps)
    try:
        from tqdm.auto import trange  # type: ignore[import-untyped]
    except ImportError:
        return range(steps)
    return trange(steps, leave=False, file=sys.stdout)


def _check_fit(x: Tensor, y: Tensor, epochs: float, lr: float, batch_size: int, optimizer: str, schedule: str) -> None:
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(f"fit needs one label, or one row of them, per input, got {describe(x)} and {describe(y)}")
    if y.dtype != torch.int64:
        raise ValueError(f"labels must be int64, got {describe(y)}")
    if not (epochs > 0 and lr > 0 and batch_size > 0):
        raise ValueError(f"epochs, lr and batch_size must be above 0, got {epochs}, {lr} and {batch_size}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
