"""Top-1 accuracy in per cent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frugal.core.check import describe


def accuracy(model: nn.Module, x: Tensor, y: Tensor, batch_size: int = 500) -> float:
    """Count how often the largest logit is the label; the model's mode (train or eval) is as before afterwards.

    Args:
        model: takes ``x[i:j]`` and returns logits [n, classes]; it runs in eval mode, without gradients.
        x: inputs, one or more.
        y: int64 labels, one per input.
        batch_size: inputs per call; the result does not depend on it.

    Returns:
        Per cent, 0 to 100. Its standard error is ``sqrt(p (100 - p) / n)``: 0.5 points for 94 % on 2,000 inputs.

    Raises:
        ValueError: nothing to measure, sizes that do not fit, or logits that are not finite.
    """
    if len(x) == 0 or y.shape != x.shape[:1]:
        raise ValueError(f"accuracy needs one label per input and at least one, got {describe(x)} and {describe(y)}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        right = 0
        with torch.no_grad():
            for inputs, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
                right += _right(model(inputs), labels)
    finally:
        for module, training in modes.items():
            module.training = training
    return 100 * right / len(x)


def _right(logits: Tensor, labels: Tensor) -> int:
    if logits.ndim != 2 or len(logits) != len(labels):
        raise ValueError(f"the model must return [{len(labels)}, classes], got {describe(logits)}")
    if not torch.isfinite(logits).all():
        raise ValueError(f"the model's logits must be finite, got {describe(logits)}")
    return int((logits.argmax(dim=1) == labels).sum())
