"""GPTQ: round a weight column by column, and let the columns that are still free make up for each error.

Paper:   Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ", ICLR 2023, 2210.17323, section 3 and algorithm 1; after
         Hassibi & Stork 1993 (optimal brain surgeon) and Frantar & Alistarh 2022.
Formula: H = XᵀX + λ I,   U = upper Cholesky factor of H⁻¹
         for each column i:   q = round(w_i)      e = (w_i - q) / U_ii      w_j -= e U_ij  for all j > i
         Σ e² = ‖X (W - Q)ᵀ‖²  where λ = 0: what the steps lose is exactly what the layer's output loses
Learn:   course/4_quantization/4_10_language_models.ipynb

A weight that was rounded up leaves its product too large. If the next input tends to move with this one, its weight can
be made a little smaller before it is rounded itself. H says which inputs move together; where none do (H = I), GPTQ is
rounding to nearest.

    columns   rounded   rounded   ►now◄   free   free
                                  e ─────►  ─────►       corrected by U
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from frugal.core.check import check_finite, describe
from frugal.quant.affine import QParams, choose_qparams, dequantize, quantize
from frugal.quant.granularity import PerChannel, PerGroup
from frugal.quant.rounding import LayerInputs

RoundBlock = Callable[[int, Tensor], Callable[[int, Tensor], Tensor]]


def gptq(
    weight: Tensor,
    qparams: QParams,
    inputs: LayerInputs,
    *,
    damping: float = 0.01,
    block_size: int = 128,
    act_order: bool = False,
) -> Tensor:
    """Round a weight so that the layer's outputs on ``inputs`` move as little as a greedy pass can make them.

    Args:
        weight: [out, in, ...], of a linear layer or a convolution.
        qparams: the grid, chosen before; per tensor, per output channel or in groups.
        inputs: what the layer multiplies the weight with, see ``rounding.layer_inputs``.
        damping: λ as a share of the mean of H's diagonal.
        block_size: columns whose later corrections are applied at once; the result does not depend on it.
        act_order: take the columns with the largest inputs first.

    Returns:
        The weight that the codes stand for, in the shape and dtype of ``weight``.

    Raises:
        ValueError: the inputs do not fit the weight, or without damping H has no inverse.

    >>> layer_in = LayerInputs(torch.eye(4)[None], torch.eye(4)[None])  # inputs that never move together
    >>> w = torch.tensor([[0.3, -1.0, 0.7, 0.2]])
    >>> grid = choose_qparams(w, 3, symmetric=True)
    >>> bool((gptq(w, grid, layer_in) == dequantize(quantize(w, grid), grid)).all())
    True
    """
    check_finite(weight, "weight")
    rows = weight.detach().flatten(1).double()
    scale = qparams.granularity.spread(qparams.scale, weight).expand(weight.shape).flatten(1).double()
    zero_point = qparams.granularity.spread(qparams.zero_point, weight).expand(weight.shape).flatten(1)
    rounded = torch.empty_like(rows)
    for part, x in _by_group(rows, inputs):
        hessian = _hessian(x, damping)
        order = hessian.diagonal().argsort(descending=True, stable=True) if act_order else torch.arange(len(hessian))
        s, z = scale[part][:, order], zero_point[part][:, order]

        def round_column(i: int, column: Tensor, s: Tensor = s, z: Tensor = z) -> Tensor:
            q = (torch.round(column / s[:, i]) + z[:, i]).clamp(qparams.quant_min, qparams.quant_max)
            return (q - z[:, i]) * s[:, i]

        free = _without_dead(rows[part], x)[:, order]
        fixed = _grid_for_all(round_column)
        q, _ = compensate(free, hessian[order][:, order], fixed, block_size)
        rounded[part] = q[:, order.argsort()]
    return rounded.view_as(weight).to(weight.dtype)


def gptq_groups(
    weight: Tensor,
    inputs: LayerInputs,
    num_bits: int = 4,
    *,
    group_size: int = 128,
    symmetric: bool = False,
    damping: float = 0.01,
) -> tuple[Tensor, QParams]:
    """The same with one scale for each ``group_size`` columns, chosen when the pass reaches them.

    The columns have changed by then, and so has the range that they need.

    Returns:
        The weight that the codes stand for, and the parameters of its groups, ``PerGroup(group_size)``.
    """
    check_finite(weight, "weight")
    if weight.ndim != 2 or len(inputs.x) != 1:
        raise ValueError(f"groups of columns need the weight of a linear layer, [out, in], got {describe(weight)}")
    PerGroup(group_size).blocks(weight)  # refuses a size that does not divide
    x = inputs.x[0].double()
    chosen: list[QParams] = []

    def choose(start: int, left: Tensor) -> Callable[[int, Tensor], Tensor]:
        block = left[:, :group_size].to(weight.dtype)
        qparams = choose_qparams(block, num_bits, symmetric=symmetric, granularity=PerChannel(0))
        chosen.append(qparams)
        exact = replace(qparams, scale=qparams.scale.double())
        return lambda i, column: dequantize(quantize(column[:, None], exact), exact)[:, 0]

    free = _without_dead(weight.detach().double(), x)
    q, _ = compensate(free, _hessian(x, damping), choose, group_size)
    together = replace(
        chosen[0],
        scale=torch.stack([each.scale for each in chosen], dim=1),
        zero_point=torch.stack([each.zero_point for each in chosen], dim=1),
        granularity=PerGroup(group_size),
    )
    return q.to(weight.dtype), together


def compensate(weight: Tensor, hessian: Tensor, choose: RoundBlock, block_size: int) -> tuple[Tensor, float]:
    """The pass itself.

    Args:
        weight: [out, in] float64.
        hessian: [in, in], positive definite.
        choose: called with the first column of each block and the columns that are left, [out, in - start]; returns
            the function (column number, column [out]) -> rounded column.
        block_size: columns per block. Inside a block each error moves the block's own columns at once; all later
            columns are moved at its end, by one matrix product.

    Returns:
        The rounded weight and Σ e².
    """
    upper = _upper_factor(hessian)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    loss = 0.0
    for start in range(0, weight.shape[1], block_size):
        stop = min(start + block_size, weight.shape[1])
        round_column = choose(start, weight[:, start:])
        errors = weight.new_empty(len(weight), stop - start)
        for i in range(start, stop):
            column = weight[:, i].clone()
            rounded[:, i] = round_column(i, column)
            error = (column - rounded[:, i]) / upper[i, i]
            weight[:, i:stop] -= torch.outer(error, upper[i, i:stop])
            errors[:, i - start] = error
        weight[:, stop:] -= errors @ upper[start:stop, stop:]
        loss += errors.square().sum().item()
    return rounded, loss


def _grid_for_all(round_column: Callable[[int, Tensor], Tensor]) -> RoundBlock:
    """A grid that was chosen before: every block rounds with it."""
    return lambda start, left: round_column


def _hessian(x: Tensor, damping: float) -> Tensor:
    """XᵀX with λ on its diagonal, and 1 for inputs that are always 0.  [in, in]"""
    if damping < 0:
        raise ValueError(f"damping must be 0 or more, got {damping}")
    hessian = x.double().T @ x.double()
    diagonal = hessian.diagonal()
    diagonal += damping * diagonal.mean()
    diagonal[~x.any(dim=0)] += 1
    return hessian


def _without_dead(rows: Tensor, x: Tensor) -> Tensor:
    """Weights of inputs that are always 0 carry nothing; at 0 they cost nothing."""
    return rows * x.any(dim=0)


def _upper_factor(hessian: Tensor) -> Tensor:
    """U with H⁻¹ = UᵀU."""
    lower, problem = torch.linalg.cholesky_ex(hessian)
    if problem.item():
        raise ValueError(
            f"H of {len(hessian)} inputs is not positive definite: some inputs always move together; "
            "use more calibration rows or a damping above 0"
        )
    return torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)


def _by_group(rows: Tensor, inputs: LayerInputs) -> list[tuple[slice, Tensor]]:
    """The output channels of each group of a convolution, with the inputs that they see."""
    groups, _, depth = inputs.x.shape
    if depth != rows.shape[1] or len(rows) % groups:
        raise ValueError(
            f"inputs {describe(inputs.x)} do not fit a weight of {len(rows)} outputs x {rows.shape[1]} inputs; "
            "layer_inputs(layer, x) makes them"
        )
    per_group = len(rows) // groups
    return [(slice(g * per_group, (g + 1) * per_group), inputs.x[g]) for g in range(groups)]
