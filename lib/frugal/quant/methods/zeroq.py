"""ZeroQ: pictures made from batch norms, and bits given to the layers that need them.

Paper:   [3] Cai, Yao, Dong, Gholami, Mahoney and Keutzer, CVPR 2020, sections 3.1 to 3.3.
Formula: pictures      min over x of Σ_i |mean_i(x) - mean_i|² + |std_i(x) - std_i|²         i: inputs of batch norms
         sensitivity   Ω_i(k) = mean of KL(M(x) | M with only layer i at k bits (x))
         bits          min Σ Ω_i(k_i)  so that  Σ P_i k_i ≤ size                              P_i: weights of layer i
Lesson:  a batch norm remembers what it was trained on, well enough to draw calibration data; and if the damage of
         layers adds up, the best bits of all layers are a knapsack that dynamic programming solves exactly.
Learn:   course/4_quantization/4_6_no_data.ipynb

The pictures themselves count as one more input, with mean 0 and variance 1 unless ``pixels`` says otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.core.check import check_num_bits
from frugal.core.seed import generator
from frugal.graph.fold import NORMS, fold_batchnorm
from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel
from frugal.quant.layers import quantizable_layers, weight_granularity, weight_of
from frugal.quant.statistics import Moments, normal

EPS = 1e-6  # inside the root of a measured variance, so that its gradient stays finite


@dataclass(frozen=True, eq=False)
class Distilled:
    """Pictures drawn from a network's memory.

    images: [count, ...].
    losses: of each step, from the first to the last; the pictures are those of the smallest.
    """

    images: Tensor
    losses: tuple[float, ...]


def distil(
    model: nn.Module,
    shape: tuple[int, ...],
    count: int = 64,
    *,
    steps: int = 300,
    learning_rate: float = 0.1,
    pixels: Moments | None = None,
    start: Tensor | None = None,
    seed: int = 0,
) -> Distilled:
    """Change random pictures until every batch norm meets the statistics that it has stored.

    Args:
        model: with batch norms in place; it is not changed.
        shape: of one picture, (3, 32, 32).
        count: pictures, made together; the statistics are those of the batch.
        steps, learning_rate: of Adam; the rate falls to zero along a cosine.
        pixels: mean and variance that the pictures should have, per channel; by default 0 and 1.
        start: pictures to start from, instead of noise of these moments.
        seed: of the noise.

    Raises:
        ValueError: there is no batch norm with stored statistics.
    """
    if steps < 1 or count < 2:
        raise ValueError(f"distil needs at least one step and two pictures, got {steps} and {count}")
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    norms = [m for m in twin.modules() if isinstance(m, NORMS) and m.running_mean is not None]
    if not norms:
        raise ValueError("the network has no batch norm with stored statistics; distil before fold_batchnorm")
    pixels = pixels or normal(torch.zeros(shape[0]), 1.0)
    view = (1, -1, *[1] * (len(shape) - 1))
    mean, std = pixels.mean.float().view(view), pixels.std.float().view(view)
    noise = torch.randn(count, *shape, generator=generator("distil", seed))
    x = (mean + std * noise if start is None else start.detach().clone()).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses: list[float] = []
    best = x.detach().clone()
    for _ in range(steps):
        loss = statistics_loss(twin, norms, x, pixels)
        if not losses or loss.item() < min(losses):
            best = x.detach().clone()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Distilled(best, tuple(losses))


def statistics_loss(model: nn.Module, norms: Sequence[nn.Module], x: Tensor, pixels: Moments) -> Tensor:
    """Σ |mean - stored mean|² + |std - stored std|² over the inputs of ``norms`` and over ``x`` itself."""
    terms = [_distance(x, pixels.mean.to(x.dtype), pixels.std.to(x.dtype))]

    def watch(norm: Any, args: tuple[Tensor, ...]) -> None:
        terms.append(_distance(args[0], norm.running_mean, (norm.running_var + EPS).sqrt()))

    hooks = [norm.register_forward_pre_hook(watch) for norm in norms]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(terms).sum()


def _distance(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    rest = [dim for dim in range(x.ndim) if dim != 1]
    measured = (x.var(rest, unbiased=False) + EPS).sqrt()
    return (x.mean(rest) - mean).pow(2).sum() + (measured - std).pow(2).sum()


Sensitivity = Mapping[str, Mapping[int, float]]


@torch.no_grad()
def sensitivity(model: nn.Module, batches: Iterable[Tensor], choices: Sequence[int] = (2, 4, 8)) -> Sensitivity:
    """Measure Ω_i(k): how far the class probabilities move when only the weight of layer i has k bits.

    Args:
        model: float, returns logits [n, classes]; fold batch norm before.
        batches: pictures, real or distilled, without labels. A tensor counts as one batch.
        choices: widths to try, 2 to 8.

    Returns:
        Layer name -> bits -> mean divergence, 0 or more.
    """
    for bits in choices:
        check_num_bits(bits)
    data = [batches] if isinstance(batches, Tensor) else list(batches)
    if not data:
        raise ValueError("sensitivity needs at least one batch, got none")
    twin = copy.deepcopy(model).eval()
    reference = [F.log_softmax(twin(x).double(), dim=1) for x in data]
    found: dict[str, dict[int, float]] = {}
    for name, layer in quantizable_layers(twin).items():
        weight = weight_of(layer)
        kept = weight.detach().clone()
        found[name] = {}
        for bits in choices:
            granularity = weight_granularity(layer, PerChannel(0))
            qparams = choose_qparams(kept, bits, symmetric=True, granularity=granularity)
            weight.copy_(dequantize(quantize(kept, qparams), qparams))
            found[name][bits] = _divergence(twin, data, reference)
        weight.copy_(kept)
    return found


def _divergence(model: nn.Module, data: list[Tensor], reference: list[Tensor]) -> float:
    """Mean over all pictures of KL(reference | model)."""
    total = 0.0
    for x, expected in zip(data, reference, strict=True):
        got = F.log_softmax(model(x).double(), dim=1)
        total += F.kl_div(got, expected, reduction="sum", log_target=True).item()
    return max(total / sum(len(x) for x in data), 0.0)


@dataclass(frozen=True)
class Choice:
    """One way to give bits to layers.

    bits:   of each layer, in the order of the sensitivities.
    size:   Σ weights · bits.
    damage: Σ Ω_i(bits_i).
    """

    bits: tuple[int, ...]
    size: int
    damage: float


def pareto_front(damages: Sequence[Mapping[int, float]], sizes: Sequence[int]) -> list[Choice]:
    """Find every choice that no other beats in both size and damage, by dynamic programming over the layers.

    After each layer only the choices survive that nothing smaller equals: whatever the later layers add, they add the
    same to both.

    Args:
        damages: of each layer, bits -> Ω_i(bits).
        sizes: weights of each layer.

    Returns:
        From the smallest to the largest, damage falling.

    >>> [each.bits for each in pareto_front([{2: 1.0, 8: 0.0}, {2: 0.1, 8: 0.0}], [10, 10])]
    [(2, 2), (8, 2), (8, 8)]
    """
    if len(damages) != len(sizes) or not damages:
        raise ValueError(f"there must be one size per layer and at least one, got {len(damages)} and {len(sizes)}")
    front = [Choice((), 0, 0.0)]
    for damage, size in zip(damages, sizes, strict=True):
        options = [
            Choice((*each.bits, bits), each.size + size * bits, each.damage + cost)
            for each in front
            for bits, cost in damage.items()
        ]
        front = _undominated(options)
    return front


def _undominated(options: list[Choice]) -> list[Choice]:
    kept: list[Choice] = []
    for each in sorted(options, key=lambda choice: (choice.size, choice.damage)):
        if not kept or each.damage < kept[-1].damage:
            kept.append(each)
    return kept


def allocate_bits(
    model: nn.Module, batches: Iterable[Tensor], budget: float, *, choices: Sequence[int] = (2, 4, 8)
) -> dict[str, int]:
    """Give every layer its bits so that the weights take at most ``budget`` bits on average, with the least damage.

    Args:
        model: float, with or without batch norms; they are folded.
        batches: pictures, real or from ``distil``.
        budget: mean bits per weight.
        choices: widths to choose from.

    Raises:
        ValueError: even the fewest bits everywhere exceed the budget.
    """
    if budget < min(choices):
        raise ValueError(f"budget must be at least the smallest choice, {min(choices)} bits, got {budget}")
    folded = fold_batchnorm(model)
    measured = sensitivity(folded, batches, choices)
    sizes = {name: weight_of(layer).numel() for name, layer in quantizable_layers(folded).items()}
    front = pareto_front(list(measured.values()), [sizes[name] for name in measured])
    room = budget * sum(sizes.values())
    best = [choice for choice in front if choice.size <= room][-1]
    return dict(zip(measured, best.bits, strict=True))
