"""2:4: keep two of every four neighbours, a pattern so regular that hardware can skip the zeros.

Papers:  Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021, 2104.08378 (the pattern);
         Pool & Yu, "Channel Permutations for N:M Sparsity", NeurIPS 2021 (the order of the inputs).
Formula: of |w_4g|, |w_4g+1|, |w_4g+2|, |w_4g+3| the two largest stay; neighbours are inputs of one output and one tap
         stored: the kept values and 2 bits for each, 0.5 + 1 / (bits per value) of the dense size
         y = Σ_j w_j x_j = Σ_j w_π(j) x_π(j):  any order π of the inputs gives the same layer
Learn:   course/5_pruning

    dense     0.9 -0.1  0.2  0.7 |  0.1  0.0 -0.5  0.4
    pattern   0.9   ·    ·   0.7 |   ·    ·  -0.5  0.4
    packed    0.9  0.7  -0.5 0.4     places 0 3 2 3        kernels.sparse.TwoFour

Four large weights that happen to be neighbours lose two of them. Moving inputs between groups spreads the large ones;
the layer before has to emit its outputs in the same order, which costs nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.check import check_finite, describe
from frugal.prune.masks import Pruned, keep_n_of_m, masked
from frugal.prune.second_order import check_amount, choose_layers


def two_four_mask(weight: Tensor, n: int = 2, m: int = 4) -> Tensor:
    """Keep the n largest magnitudes of every m inputs; of equal ones the first.

    Args:
        weight: [out, in, ...], in a multiple of m.

    >>> two_four_mask(torch.tensor([[0.9, -0.1, 0.2, 0.7]])).tolist()
    [[True, False, False, True]]
    """
    check_finite(weight, "weight")
    if weight.ndim < 2:
        raise ValueError(f"weight must be [out, in, ...], got {describe(weight)}")
    check_amount((n, m), weight)
    return keep_n_of_m(weight.detach().abs(), n, m)


def two_four(model: nn.Module, n: int = 2, m: int = 4, *, names: Sequence[str] | None = None) -> Pruned:
    """Prune a network to the pattern, without data.

    Args:
        model: stays as it was.
        names: see ``second_order.choose_layers``; layers whose inputs m does not divide stay dense by default.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> sorted(two_four(net).masks)
    ['2.weight']
    """
    layers = choose_layers(model, names, (n, m))
    masks = {
        f"{name}.weight" if name else "weight": two_four_mask(layer.weight, n, m) for name, layer in layers.items()
    }
    return Pruned(masked(model, masks), masks)


def kept_energy(weight: Tensor, keep: Tensor) -> float:
    """The share of Σ w² that stays.

    >>> w = torch.tensor([[2.0, 1.0, 0.0, 1.0]])
    >>> round(kept_energy(w, two_four_mask(w)), 3)
    0.833
    """
    energy = weight.detach().double().square()
    total = energy.sum()
    return float((energy * keep).sum() / total) if total else 1.0


def better_order(weight: Tensor, n: int = 2, m: int = 4, *, sweeps: int = 10) -> Tensor:
    """Find an order of the inputs in which the pattern keeps more energy, by exchanging inputs between groups.

    Every pair of groups makes the exchange that gains most, until none gains or ``sweeps`` are over. The search is
    greedy: it never keeps less than the given order, and may miss the best one.

    Args:
        weight: [out, in] of a linear layer, or of a 1×1 convolution with its taps left out.

    Returns:
        int64 [in]: ``weight[:, order]`` is what to prune.
    """
    check_finite(weight, "weight")
    if weight.ndim != 2:
        raise ValueError(f"weight must be [out, in], got {describe(weight)}; flatten(1) of a 1×1 convolution is")
    check_amount((n, m), weight)
    energy = weight.detach().double().square()
    groups = torch.arange(weight.shape[1]).view(-1, m)
    for _ in range(sweeps):
        gained = False
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                gained |= _exchange_(groups, a, b, energy, n)
        if not gained:
            break
    return groups.flatten()


def _exchange_(groups: Tensor, a: int, b: int, energy: Tensor, n: int) -> bool:
    """Make the best of the m² exchanges between two groups, if one gains anything."""
    m = groups.shape[1]
    pair = torch.stack([groups[a], groups[b]])  # [2, m]
    tries = pair.expand(m * m, 2, m).clone()
    i, j = (each.flatten() for each in torch.meshgrid(torch.arange(m), torch.arange(m), indexing="ij"))
    each = torch.arange(m * m)
    tries[each, 0, i], tries[each, 1, j] = pair[1, j], pair[0, i]
    all_tries = torch.cat([pair[None], tries])  # the first is no exchange
    kept = energy[:, all_tries].topk(n, dim=-1).values.sum(dim=(0, 2, 3))
    best = int(kept.argmax())
    if kept[best] <= kept[0] * (1 + 1e-12):  # rounding of sums is no gain
        return False
    groups[a], groups[b] = all_tries[best]
    return True


def reorder(first: nn.Module, second: nn.Module, order: Tensor) -> tuple[nn.Module, nn.Module]:
    """Emit a layer's outputs in another order, and read them in it: the pair computes what it did.

    Args:
        first, second: linear layers or convolutions without groups; between them only what treats channels alike.
        order: int64, a permutation of the second layer's inputs.

    Returns:
        Copies of both.

    >>> a, b = nn.Linear(3, 4), nn.Linear(4, 2)
    >>> x, order = torch.rand(5, 3), torch.tensor([2, 0, 3, 1])
    >>> c, d = reorder(a, b, order)
    >>> torch.allclose(d(c(x).relu()), b(a(x).relu()), atol=1e-6)
    True
    """
    for layer in (first, second):
        if not isinstance(layer, (nn.Linear, nn.Conv2d)) or getattr(layer, "groups", 1) != 1:
            raise TypeError(f"reorder takes linear layers and convolutions without groups, got {layer}")
    new_first: Any = copy.deepcopy(first)
    new_second: Any = copy.deepcopy(second)
    count = new_second.weight.shape[1]
    if (
        new_first.weight.shape[0] != count
        or order.shape != (count,)
        or not order.sort().values.equal(torch.arange(count))
    ):
        raise ValueError(
            f"order must be a permutation of {count} channels that the first layer emits, got {describe(order)} "
            f"for {new_first.weight.shape[0]} outputs and {count} inputs"
        )
    with torch.no_grad():
        new_first.weight.copy_(new_first.weight[order].clone())
        if new_first.bias is not None:
            new_first.bias.copy_(new_first.bias[order].clone())
        new_second.weight.copy_(new_second.weight[:, order].clone())
    return new_first, new_second
