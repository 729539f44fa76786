"""Optimal brain damage: the loss, to second order, with everything but the diagonal of its Hessian left out.

Paper:   LeCun, Denker, Solla, "Optimal Brain Damage", NeurIPS 1989 (1990).
Formula: L(w + δ) - L(w) ≈ Σ g δ + ½ Σ H_qq δ_q² + ½ Σ_{p≠q} H_pq δ_p δ_q
         g ≈ 0: the network is trained        the last sum ≈ 0: weights do not act together
         score of w_q:  ½ H_qq w_q²            what is left when δ_q = -w_q
Learn:   course/5_pruning

A large weight in a flat direction may go, a small one in a steep direction may not. Where H is diagonal the score is
exactly what the loss rises by.

Two ways to the diagonal, neither of which ever holds H:

    Hutchinson     v of random signs:     E[v ⊙ H v] = diag(H)          exact with one v where H is diagonal
    Gauss-Newton   y drawn from the network's own answer, s_i a random sign for each sample i:
                   E[(Σ_i s_i ∂ℓ(x_i, y_i)/∂w)²] = Σ_i E[(∂ℓ/∂w)²]      never below 0; it needs no labels

LeCun passes second derivatives backwards and drops the term that could make them negative; that is Gauss-Newton's H.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.core.check import describe
from frugal.core.seed import generator
from frugal.prune.masks import Masks, Pruned, keep, masked, weights_of
from frugal.prune.second_order import as_batches


def obd_scores(weights: Mapping[str, Tensor], diagonal: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """½ H_qq w_q² of every weight.

    Args:
        weights: by name.
        diagonal: of the Hessian, by the same names; see ``gauss_newton_diagonal`` and ``hessian_diagonal``.

    >>> obd_scores({"w": torch.tensor([2.0, -1.0])}, {"w": torch.tensor([1.0, 6.0])})["w"].tolist()
    [2.0, 3.0]
    """
    scores = {}
    for name, weight in weights.items():
        if name not in diagonal or diagonal[name].shape != weight.shape:
            raise ValueError(
                f"the diagonal has no {name} {list(weight.shape)}; it has {', '.join(diagonal) or 'nothing'}"
            )
        scores[name] = diagonal[name] * weight.detach().square() / 2
    return scores


def hessian_diagonal(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], *, probes: int = 1, seed: int = 0
) -> list[Tensor]:
    """Estimate the diagonal of the loss's Hessian with random signs.

    Args:
        loss: computes the loss from the parameters, anew for each call.
        parameters: leaves that require gradients.
        probes: how many vectors of signs to average over; each takes two backward passes.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> hessian_diagonal(lambda: (torch.tensor([3.0, 5.0]) * w**2).sum() / 2, [w])[0].tolist()
    [3.0, 5.0]
    """
    _check_probes(probes)
    rng = generator("hutchinson", seed)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for _ in range(probes):
        value = loss()
        if value.ndim:
            raise ValueError(f"loss must return one number, got {describe(value)}")
        slopes = torch.autograd.grad(value, parameters, create_graph=True)
        signs = [_signs(parameter, rng) for parameter in parameters]
        along = torch.stack([(slope * sign).sum() for slope, sign in zip(slopes, signs, strict=True)]).sum()
        products = torch.autograd.grad(along, parameters, allow_unused=True)
        for sum_, sign, product in zip(total, signs, products, strict=True):
            if product is not None:  # None: this parameter's slope does not depend on any parameter
                sum_ += sign * product / probes
    return total


def gauss_newton_diagonal(
    model: nn.Module, batches: Iterable[Tensor] | Tensor, *, probes: int = 8, seed: int = 0
) -> dict[str, Tensor]:
    """Estimate the Gauss-Newton diagonal of the mean cross-entropy, for every weight that can be masked.

    Args:
        model: returns logits [n, classes]; runs in eval mode, where samples do not see each other.
        batches: inputs; labels are drawn from the network's own answers.
        probes: draws of labels and signs to average over; each is one backward pass over all batches.

    Returns:
        By the names of ``masks.weights_of``.
    """
    _check_probes(probes)
    weights = weights_of(model)
    rng = generator("gauss newton", seed)
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    modes = [module.training for module in model.modules()]
    model.eval()
    count = 0
    try:
        for batch in as_batches(batches):
            count += len(batch)
            for _ in range(probes):
                for name, slope in zip(weights, _slopes(model, batch, list(weights.values()), rng), strict=True):
                    total[name] += slope.square()
    finally:
        for module, training in zip(model.modules(), modes, strict=True):
            module.training = training
    if not count:
        raise ValueError("the diagonal needs at least one batch of inputs, got none")
    return {name: each / (count * probes) for name, each in total.items()}


def obd(
    model: nn.Module,
    batches: Iterable[Tensor] | Tensor,
    sparsity: float = 0.5,
    *,
    probes: int = 8,
    seed: int = 0,
    scope: str = "global",
) -> Pruned:
    """Remove the weights whose ½ H_qq w_q² is smallest.

    Args:
        model: returns logits; stays as it was.
        batches: inputs of the model; labels are not needed.
        sparsity: the share of zeros.
        probes, seed: see ``gauss_newton_diagonal``.
        scope: "global" compares the weights of all layers, which one loss makes comparable; "local" those of each.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> pruned = obd(net, torch.rand(32, 4), 0.5)
    >>> sum(int(keep.sum()) for keep in pruned.masks.values())  # of 32 + 24
    28
    """
    diagonal = gauss_newton_diagonal(model, batches, probes=probes, seed=seed)
    masks: Masks = keep(obd_scores(weights_of(model), diagonal), sparsity, scope)
    return Pruned(masked(model, masks), masks)


def _slopes(model: nn.Module, batch: Tensor, weights: list[Tensor], rng: torch.Generator) -> Sequence[Tensor]:
    """One draw of labels and signs: the gradient of Σ_i s_i ℓ(x_i, y_i)."""
    with torch.enable_grad():
        logits = model(batch)
        if logits.ndim != 2:
            raise ValueError(f"the model must return logits [n, classes], got {describe(logits)}")
        answers = torch.multinomial(logits.detach().softmax(1), 1, generator=rng)[:, 0]
        losses = F.cross_entropy(logits, answers, reduction="none")
        return torch.autograd.grad((_signs(losses, rng) * losses).sum(), weights, materialize_grads=True)


def _signs(like: Tensor, rng: torch.Generator) -> Tensor:
    """-1 or +1, each with probability ½."""
    return torch.where(torch.rand(like.shape, generator=rng) < 0.5, -1.0, 1.0).to(like.dtype)


def _check_probes(probes: int) -> None:
    if isinstance(probes, bool) or not isinstance(probes, int) or probes < 1:
        raise ValueError(f"probes must be a whole number from 1, got {probes!r}")
