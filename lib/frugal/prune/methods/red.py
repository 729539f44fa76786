"""RED: a network without redundant neurons and kernels, made without any data.

Paper:   after [39] Yvinec, Dapogny, Cord and Bailly, NeurIPS 2021. Only the abstract was at hand. Its three steps are
         hashing (prune.hashing), merging (prune.redundancy), and the uneven depthwise separation below; how each is
         done in detail is a reconstruction, and no figure of the paper is claimed.
Formula: y_o = Σ_c x_c * W_oc = Σ_c a_oc (x_c * B_c,ρ(o,c))        W_oc = a_oc B_c,ρ(o,c): collinear kernels share B
         products per output pixel:  Σ_c (k² r_c + O)  instead of  k² C O,    r_c: how many kernels input c keeps
         it pays where the mean of r_c is below O (1 - 1/k²)
Lesson:  a depthwise separable convolution has r_c = 1 for all c; a dense one has up to r_c = O. Between them lies an
         uneven one, as many kernels for each input as it needs.
Learn:   course/5_pruning/5_3_similarity.ipynb; lab 5.2

    x_c ─┬─ * B_c,0 ──┬── a_0c ──► y_0          three outputs, two kernels: outputs 0 and 2 see the same picture,
         │            └── a_2c ──► y_2          each at its own strength
         └─ * B_c,1 ───── a_1c ──► y_1
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.core.check import check_finite, describe
from frugal.prune.hashing import Rule, hash_network
from frugal.prune.redundancy import merge_outputs


def compress(
    model: nn.Module,
    shape: tuple[int, ...],
    *,
    bandwidth: float | Rule | None = None,
    alpha: float = 0.0,
    strategy: str = "block",
    tolerance: float | None = 0.0,
) -> nn.Module:
    """Hash the weights, merge outputs that are alike, separate the convolutions where that saves products.

    Args:
        model: traceable by torch.fx; batch norms are folded.
        shape: of one input, such as (3, 32, 32).
        bandwidth: of the hashing; see ``hashing.fit_codebook``.
        alpha, strategy: of the merging; see ``redundancy.layer_alphas``. 0 merges what is equal.
        tolerance: of the separation; see ``separate``. None leaves it out.

    Returns:
        A smaller copy in eval mode.
    """
    smaller = merge_outputs(hash_network(model, bandwidth), shape, alpha, strategy)
    return smaller if tolerance is None else separate_network(smaller, tolerance)


class UnevenSeparation(nn.Module):
    """A convolution as a depthwise one with r_c kernels for input c, and a sum in which each output picks one of them.

    kernels:      of all inputs, one after the other, [Σ r_c, 1, kh, kw].
    coefficients: a_oc, [out, in].
    which:        the number of the kernel that output o takes from input c, int64 [out, in].
    """

    which: Tensor
    multiplicity: Tensor

    def __init__(self, conv: nn.Conv2d, tolerance: float = 0.0) -> None:
        super().__init__()
        _check_conv(conv)
        kernels, coefficients, which, multiplicity = collinear_kernels(conv.weight, tolerance)
        self.kernels, self.coefficients = nn.Parameter(kernels), nn.Parameter(coefficients)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())
        self.register_buffer("which", which)
        self.register_buffer("multiplicity", multiplicity)  # r_c, int64 [in]
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation
        self.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        each = x.repeat_interleave(self.multiplicity, dim=1)
        z = F.conv2d(each, self.kernels, None, self.stride, self.padding, self.dilation, groups=len(self.kernels))  # type: ignore[arg-type]
        rows = z.transpose(0, 1).flatten(1)  # [Σ r_c, n · h · w]: output o is a weighted sum of C of them
        y = F.embedding_bag(self.which, rows, mode="sum", per_sample_weights=self.coefficients)
        y = y.unflatten(1, (len(x), *z.shape[2:])).transpose(0, 1)
        return y if self.bias is None else y + self.bias.view(1, -1, 1, 1)

    def dense_weight(self) -> Tensor:
        """The weight of the convolution that this layer equals, [out, in, kh, kw]."""
        return self.kernels[self.which].squeeze(2) * self.coefficients[..., None, None]

    @property
    def products_per_pixel(self) -> int:
        """Σ_c (k² r_c + O)."""
        return self.kernels.numel() + self.coefficients.numel()

    @property
    def dense_products_per_pixel(self) -> int:
        """k² C O."""
        return self.coefficients.numel() * self.kernels[0].numel()

    def extra_repr(self) -> str:
        out, inputs = self.coefficients.shape
        return f"{inputs}, {out}, kernels={len(self.kernels)} of {inputs * out}, stride={self.stride}"


def collinear_kernels(weight: Tensor, tolerance: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find for each input the kernels that all others are multiples of.

    For each input, the first kernel that has no partner yet becomes one of the kept; every kernel W whose distance from
    its line is at most ``tolerance`` · ||W|| becomes a multiple of it. Signs do not matter.

    Args:
        weight: [out, in, kh, kw].
        tolerance: 0 asks for equality up to rounding.

    Returns:
        kernels [Σ r, 1, kh, kw], coefficients [out, in], which [out, in] and r [in].
    """
    check_finite(weight, "weight")
    if weight.ndim != 4:
        raise ValueError(f"weight must be [out, in, kh, kw], got {describe(weight)}")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be from 0 to below 1, got {tolerance}")
    w = weight.detach().double().flatten(2).transpose(0, 1)  # [in, out, k²]
    length = w.norm(dim=2)
    slack = max(tolerance, 8 * torch.finfo(weight.dtype).eps)
    inputs = torch.arange(len(w))
    which, coefficients = torch.zeros(w.shape[:2], dtype=torch.int64), torch.zeros(w.shape[:2], dtype=torch.float64)
    free = length > 0
    kept: list[tuple[Tensor, Tensor]] = []  # (inputs that keep one more kernel, these kernels)
    while free.any():
        active = free.any(dim=1)
        first = free.int().argmax(dim=1)
        base = w[inputs, first]  # [in, k²]: the first that is free
        size = base.norm(dim=1, keepdim=True).clamp(min=torch.finfo(base.dtype).tiny)
        along = (w @ (base / size)[:, :, None]).squeeze(2) / size  # W is about along · base
        apart = (w - along[..., None] * base[:, None]).norm(dim=2)
        taken = free & (apart <= slack * length)
        taken[inputs[active], first[active]] = True  # whatever rounding says: each turn ends with fewer free ones
        which[taken], coefficients[taken] = len(kept), along[taken]
        free = free & ~taken
        kept.append((inputs[active], base[active]))
    kernels, start, r = _by_input(kept, len(w), w.shape[2])
    shape = (-1, 1, *weight.shape[2:])
    which = which + start[:, None]
    return kernels.view(shape).to(weight.dtype), coefficients.T.contiguous().to(weight.dtype), which.T.contiguous(), r


def _by_input(kept: list[tuple[Tensor, Tensor]], inputs: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sort the kept kernels by their input; an input that needs none keeps one of zeros."""
    r = torch.bincount(torch.cat([each for each, _ in kept]), minlength=inputs) if kept else torch.zeros(inputs).long()
    r = r.clamp(min=1)
    first = r.cumsum(0) - r
    kernels = torch.zeros(int(r.sum()), size, dtype=torch.float64)
    for turn, (which, base) in enumerate(kept):
        kernels[first[which] + turn] = base
    return kernels, first, r


def separate(conv: nn.Conv2d, tolerance: float = 0.0) -> nn.Module:
    """Separate a convolution where that takes fewer products, or return a copy of it.

    Args:
        conv: without groups, zero padding.
        tolerance: how far a kernel may be from a multiple of another, in units of its own length. Above 0 the layer
            computes nearly the same.
    """
    separated = UnevenSeparation(conv, tolerance)
    pays = separated.products_per_pixel < separated.dense_products_per_pixel
    return separated if pays else copy.deepcopy(conv)


def separate_network(model: nn.Module, tolerance: float = 0.0) -> nn.Module:
    """Return a copy whose convolutions are separated where it pays; 1 x 1 and grouped ones stay as they are."""
    separated = copy.deepcopy(model)
    for name, module in list(separated.named_modules()):
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1) and not _why_not(module):
            parent, _, own = name.rpartition(".")
            setattr(separated.get_submodule(parent), own, separate(module, tolerance))
    return separated


def _why_not(conv: Any) -> str:
    if type(conv) is not nn.Conv2d:
        return f"a {type(conv).__name__} is not an nn.Conv2d"
    if conv.groups != 1:
        return f"it has {conv.groups} groups, so its kernels are separate already"
    if conv.padding_mode != "zeros":
        return f"its padding is {conv.padding_mode!r}; only zeros are supported"
    return ""


def _check_conv(conv: Any) -> None:
    if reason := _why_not(conv):
        raise ValueError(f"this layer cannot be separated: {reason}")
