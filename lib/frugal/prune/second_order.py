"""Second order: what a layer's inputs say about the cost of changing its weights.

Papers:  LeCun, Denker, Solla 1990 (OBD); Hassibi & Stork 1993 (OBS); layer by layer after Frantar & Alistarh 2023.
Formula: L(w + δ) = L(w) + ½ δᵀ H δ     where w is a minimum of L
         of one layer, L = ½ ‖X (W' - W)ᵀ‖²:   H = XᵀX, the same for every row of W
Learn:   course/5_pruning

    X     a row for each input of a linear layer, or for each output pixel of a convolution (its im2col view);
          the columns of a convolution run over its taps, then over the channels: neighbours are channels of one tap
    XᵀX   diagonal: how large each input is      off the diagonal: which inputs move together

Wanda reads the diagonal, SparseGPT and OBS the whole matrix. It is added up batch by batch, so that X never has to fit
into memory at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.core.check import check_finite, check_float, describe
from frugal.prune.masks import Pruned, check_sparsity, count_dropped, keep_n_of_m

Amount = float | tuple[int, int]  # a share of zeros, or (n, m): keep n of every m neighbours
LayerPrune = Callable[[Tensor, "Gram", Amount], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Gram:
    """XᵀX of a layer's inputs.

    sums: float64 [groups, depth, depth], depth = kh · kw · in / groups, in the order of ``weight_rows``.
    rows: how many rows X has.
    """

    sums: Tensor
    rows: int

    def __post_init__(self) -> None:
        check_finite(self.sums, "sums")
        if self.sums.ndim != 3 or self.sums.shape[1] != self.sums.shape[2]:
            raise ValueError(f"sums must be [groups, depth, depth], got {describe(self.sums)}; layer_gram makes them")

    @property
    def norms(self) -> Tensor:
        """‖x_j‖₂ of every input over all rows.  [groups, depth]"""
        return self.sums.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()

    def parts(self, weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The output channels of each group, with the XᵀX of the inputs that they read."""
        groups, depth, _ = self.sums.shape
        if weight.ndim < 2 or weight[0].numel() != depth or len(weight) % groups:
            raise ValueError(
                f"XᵀX of {groups} groups x {depth} inputs does not fit the weight {describe(weight)}; "
                "layer_gram(layer, x) makes one that does"
            )
        per_group = len(weight) // groups
        for group in range(groups):
            yield slice(group * per_group, (group + 1) * per_group), self.sums[group]


def layer_gram(layer: nn.Module, x: Tensor) -> Gram:
    """Sum XᵀX over what reaches a layer.

    Args:
        layer: ``nn.Linear``, or an ``nn.Conv2d`` that pads with zeros.
        x: [..., in], or [n, in, h, w].

    >>> layer_gram(nn.Linear(2, 1), torch.tensor([[1.0, 2.0], [0.0, 1.0]])).sums.tolist()
    [[[1.0, 2.0], [2.0, 5.0]]]
    """
    rows = _rows(layer, x).double()
    return Gram(rows.transpose(1, 2) @ rows, rows.shape[1])


@torch.no_grad()
def watch_grams(model: nn.Module, batches: Iterable[Tensor] | Tensor, names: Sequence[str]) -> dict[str, Gram]:
    """Run batches through a network in eval mode and sum XᵀX at each of the named layers.

    Raises:
        ValueError: a layer is never reached.
    """
    found: dict[str, Gram] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            new, old = layer_gram(layer, args[0]), found.get(name)
            found[name] = new if old is None else Gram(old.sums + new.sums, old.rows + new.rows)

        return hook

    hooks = [model.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    was_training = [module.training for module in model.modules()]
    model.eval()
    try:
        for batch in as_batches(batches):
            model(batch)
    finally:
        for each in hooks:
            each.remove()
        for module, training in zip(model.modules(), was_training, strict=True):
            module.training = training
    missed = [name for name in names if name not in found]
    if missed:
        raise ValueError(f"no batch reached {', '.join(missed)}; give at least one batch, and only layers that run")
    return found


@torch.no_grad()
def prune_layers(
    model: nn.Module,
    prune: LayerPrune,
    batches: Iterable[Tensor] | Tensor,
    *,
    names: Sequence[str] | None = None,
    amount: Amount = 0.5,
) -> Pruned:
    """Prune layer after layer: each sees the inputs that the pruned layers before it produce.

    Args:
        model: stays as it was.
        prune: (weight, gram, amount) → (new weight, keep); of the weight's shape both.
        batches: inputs of the model, a tensor or several; they pass the network once for every layer.
        names, amount: see ``choose_layers``.
    """
    pruned, kept = copy.deepcopy(model), as_batches(batches)
    masks = {}
    for name, layer in choose_layers(pruned, names, amount).items():
        gram = watch_grams(pruned, kept, [name])[name]
        weight, keep = prune(layer.weight, gram, amount)
        layer.weight.copy_(weight)
        masks[f"{name}.weight" if name else "weight"] = keep
    return Pruned(pruned, masks)


def choose_layers(model: nn.Module, names: Sequence[str] | None, amount: Amount) -> dict[str, Any]:
    """The layers to prune, by name, in the order of ``named_modules``.

    Args:
        names: of linear layers or two-dimensional convolutions. None: all of them; with a pattern (n, m) all whose
            inputs m divides, and the others, such as a first layer of 3 colours, stay dense.
    """
    layers: dict[str, Any] = {
        name: module for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))
    }
    if names is not None:
        unknown = [name for name in names if name not in layers]
        if unknown:
            raise ValueError(f"there is no layer {', '.join(unknown)}; the layers are {', '.join(layers) or 'none'}")
        return {name: layers[name] for name in names}
    if isinstance(amount, tuple):
        layers = {name: layer for name, layer in layers.items() if layer.weight.shape[1] % amount[1] == 0}
    if not layers:
        raise ValueError(f"this network has no linear layer or convolution that could be pruned at {amount}")
    return layers


def as_batches(batches: Iterable[Tensor] | Tensor) -> list[Tensor]:
    """One tensor is one batch."""
    return [batches] if isinstance(batches, Tensor) else list(batches)


def damped(sums: Tensor, damping: float) -> Tensor:
    """H of one group: XᵀX with ``damping`` times its mean diagonal added, and 1 for inputs that are always 0."""
    if not 0 <= damping < float("inf"):
        raise ValueError(f"damping must be 0 or more, got {damping}")
    hessian = sums.double().clone()
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal += damping * diagonal.mean()
    diagonal[dead] += 1
    return hessian


def invert(hessian: Tensor) -> Tensor:
    """H⁻¹, or an error that says what to do where there is none."""
    lower, problem = torch.linalg.cholesky_ex(hessian)
    if problem.item():
        raise ValueError(
            f"H of {len(hessian)} inputs is not positive definite: some inputs always move together; "
            "use more calibration rows or a damping above 0"
        )
    return torch.cholesky_inverse(lower)


def weight_rows(weight: Tensor) -> Tensor:
    """A weight as the matrix that multiplies X: [out, in] as it is, [out, in, kh, kw] as [out, kh · kw · in].

    >>> weight_rows(torch.arange(8.0).view(1, 2, 2, 2)).tolist()
    [[0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]]
    """
    return weight.movedim(1, -1).flatten(1)


def weight_of_rows(rows: Tensor, like: Tensor) -> Tensor:
    """Turn ``weight_rows`` back: the matrix in the shape of ``like``."""
    moved = like.movedim(1, -1).shape
    return rows.view(moved).movedim(-1, 1).contiguous()


def keep_in_rows(scores: Tensor, amount: Amount) -> Tensor:
    """Compare the scores of each row [rows, columns] among themselves; of equal ones the earlier stays.

    >>> keep_in_rows(torch.tensor([[3.0, 1.0, 2.0, 1.0]]), 0.25).tolist()
    [[True, True, True, False]]
    """
    if isinstance(amount, tuple):
        return keep_n_of_m(scores, *amount)
    kept = scores.shape[1] - count_dropped(scores.shape[1], amount)
    best = scores.argsort(dim=1, descending=True, stable=True)[:, :kept]
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, best, True)


def check_amount(amount: Amount, weight: Tensor) -> None:
    """Refuse what is neither a share of zeros nor a pattern that fits this weight."""
    if not isinstance(amount, tuple):
        check_sparsity(amount)
        return
    n, m = amount
    if not (isinstance(n, int) and isinstance(m, int) and 1 <= n <= m):
        raise ValueError(f"a pattern keeps n of m with 1 ≤ n ≤ m, got {n} of {m}; (2, 4) is what GPUs run")
    if weight.shape[1] % m:
        raise ValueError(f"{n} of {m} needs inputs in groups of {m}, got {weight.shape[1]}; leave this layer dense")


def _rows(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer multiplies its weight with, [groups, rows, depth]."""
    check_float(x, "x")
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, layer.in_features)
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"layer must be nn.Linear or nn.Conv2d, got {type(layer).__name__}; other layers have no rows")
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ValueError(
            f"the convolution must pad with zeros by numbers, got {layer.padding_mode!r}, {layer.padding!r}"
        )
    patches = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # [n, in·kh·kw, pixels]
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    return patches.unflatten(1, (layer.groups, -1, taps)).permute(1, 0, 4, 3, 2).flatten(1, 2).flatten(2)
