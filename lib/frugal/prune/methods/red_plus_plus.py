"""RED++: hash, merge outputs, and compute each distinct product once; the rest is looking up and adding.

Paper:   after [38] Yvinec, Dapogny, Cord and Bailly, IEEE TPAMI 45(3), 2023. Only the abstract was at hand: its steps
         are hashing (prune.hashing), output merging (prune.redundancy) and the input splitting below. Whether the paper
         splits by kernels or by scalars we could not see; both are here, and no figure of the paper is claimed.
Formula: y_o = Σ_c x_c * W_oc = Σ_c z_[c, ρ(o,c)]          z_[c, j] = x_c * U_cj,   U_c: the distinct W_oc over all o
         products per pixel  Σ_c |U_c| k²  instead of  C O k²;  as many additions as before
         by scalars: U_c holds the distinct numbers of W_:c; z_[c, j] = x_c · U_cj is looked up for each place
Lesson:  after hashing, whole kernels hardly ever coincide but scalars do: a channel meets some tens of distinct numbers
         instead of O k². What is saved in products is paid in memory traffic, which is no bargain on every machine.
Learn:   course/5_pruning/5_3_similarity.ipynb; lab 5.2
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from frugal.core.check import check_finite
from frugal.prune.hashing import Rule, hash_network
from frugal.prune.redundancy import merge_outputs

GRANULARITIES = ("kernel", "scalar")
Pair = tuple[int, int]


def compress(
    model: nn.Module,
    shape: tuple[int, ...],
    *,
    bandwidth: float | Rule | None = None,
    alpha: float = 0.0,
    strategy: str = "block",
    granularity: str = "scalar",
) -> nn.Module:
    """Hash the weights, merge outputs that are alike, split the inputs of every layer.

    Args:
        model: traceable by torch.fx; batch norms are folded.
        shape: of one input, such as (3, 32, 32).
        bandwidth: of the hashing; see ``hashing.fit_codebook``.
        alpha, strategy: of the merging; see ``redundancy.layer_alphas``. 0 merges what is equal.
        granularity: ``"kernel"`` or ``"scalar"``.

    Returns:
        A smaller copy in eval mode.
    """
    _check_granularity(granularity)
    smaller = merge_outputs(hash_network(model, bandwidth), shape, alpha, strategy)
    return split_network(smaller, granularity)


class SplitLayer(nn.Module):
    """A convolution or linear layer that multiplies every input once by every distinct weight it meets.

    distinct:     the kernels or numbers of all inputs, one after the other: [Σ |U_c|, 1, kh, kw] or [Σ |U_c|, 1, 1, 1].
    which:        where each weight lies among them: int64 [out, in], or [out, in, kh, kw] for scalars.
    multiplicity: |U_c|, int64 [in].

    Args:
        layer: ``nn.Linear``, or ``nn.Conv2d`` without groups and padded with zeros. A linear layer is a 1 x 1
            convolution here, and both granularities are the same for it.
        granularity: ``"kernel"`` or ``"scalar"``.
    """

    which: Tensor
    multiplicity: Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear, granularity: str = "kernel") -> None:
        super().__init__()
        _check_granularity(granularity)
        if reason := _why_not(layer):
            raise ValueError(f"this layer cannot be split: {reason}")
        self.is_linear, self.granularity = isinstance(layer, nn.Linear), granularity
        weight = layer.weight.detach()
        check_finite(weight, "weight")
        weight = weight.view(*weight.shape, *[1] * (4 - weight.ndim))
        distinct, which, multiplicity = distinct_products(weight, granularity)
        self.distinct = nn.Parameter(distinct, requires_grad=layer.weight.requires_grad)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self.register_buffer("which", which)
        self.register_buffer("multiplicity", multiplicity)
        self.kernel_size: Pair = (1, 1)
        self.stride: Pair = (1, 1)
        self.dilation: Pair = (1, 1)
        self.borders = (0, 0, 0, 0)
        if isinstance(layer, nn.Conv2d):
            self.kernel_size, self.stride = _pair(layer.kernel_size), _pair(layer.stride)
            self.dilation = _pair(layer.dilation)
            left, right, top, bottom = layer._reversed_padding_repeated_twice
            self.borders = (left, right, top, bottom)
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        if self.is_linear:
            return self._sums(x.reshape(-1, x.shape[-1], 1, 1)).view(*x.shape[:-1], -1)
        return self._sums(x)

    def _sums(self, x: Tensor) -> Tensor:
        each = x.repeat_interleave(self.multiplicity, dim=1)
        if self.granularity == "kernel":
            each = F.pad(each, self.borders)
            z = F.conv2d(each, self.distinct, None, self.stride, 0, self.dilation, groups=len(self.distinct))
            y = _look_up(self.which, z)
        else:
            z = F.pad(F.conv2d(each, self.distinct, groups=len(self.distinct)), self.borders)
            y = self._shifted_sums(z)
        return y if self.bias is None else y + self.bias.view(1, -1, 1, 1)

    def _shifted_sums(self, z: Tensor) -> Tensor:
        """Products of pixels, [n, Σ |U_c|, h, w], looked up for each place of the kernel and added."""
        along = zip(z.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True)
        height, width = ((size - step * (k - 1) - 1) // stride + 1 for size, k, stride, step in along)
        total = None
        for i in range(self.kernel_size[0]):
            for j in range(self.kernel_size[1]):
                top, left = i * self.dilation[0], j * self.dilation[1]
                seen = z[:, :, top :: self.stride[0], left :: self.stride[1]][:, :, :height, :width]
                part = _look_up(self.which[:, :, i, j].contiguous(), seen)
                total = part if total is None else total + part
        assert total is not None
        return total

    def dense_weight(self) -> Tensor:
        """The weight of the layer that this one equals."""
        if self.granularity == "kernel":
            weight = self.distinct[self.which].squeeze(2)  # [out, in, kh, kw]
        else:
            weight = self.distinct.flatten()[self.which]
        return weight.flatten(1) if self.is_linear else weight

    @property
    def products_per_pixel(self) -> int:
        """Σ_c |U_c| k² for each pixel of the output, or Σ_c |U_c| for each pixel of the input if split by scalars."""
        return self.distinct.numel()

    @property
    def dense_products_per_pixel(self) -> int:
        """C O k²."""
        return self.which.numel() * (self.distinct[0].numel() if self.granularity == "kernel" else 1)

    def extra_repr(self) -> str:
        return f"{self.which.shape[1]}, {self.which.shape[0]}, {len(self.distinct)} distinct by {self.granularity}"


def distinct_products(weight: Tensor, granularity: str) -> tuple[Tensor, Tensor, Tensor]:
    """Find for each input the distinct kernels or numbers that it is multiplied with.

    Args:
        weight: [out, in, kh, kw].
        granularity: ``"kernel"`` or ``"scalar"``.

    Returns:
        distinct, which, multiplicity: see ``SplitLayer``.

    >>> distinct, which, multiplicity = distinct_products(torch.tensor([1.0, 2.0, 1.0]).view(3, 1, 1, 1), "scalar")
    >>> distinct.flatten(), which.flatten(), multiplicity
    (tensor([1., 2.]), tensor([0, 1, 0]), tensor([2]))
    """
    out, inputs, *kernel = weight.shape
    found, where = [], []
    for c in range(inputs):
        items = weight[:, c].flatten(1) if granularity == "kernel" else weight[:, c].reshape(-1, 1)
        values, inverse = items.unique(dim=0, return_inverse=True)
        found.append(values)
        where.append(inverse)
    multiplicity = torch.tensor([len(values) for values in found])
    first = multiplicity.cumsum(0) - multiplicity
    which = torch.stack([inverse + start for inverse, start in zip(where, first, strict=True)], dim=1)  # [items, in]
    if granularity == "scalar":
        which = which.view(out, *kernel, inputs).movedim(-1, 1)
    shape = kernel if granularity == "kernel" else [1, 1]
    return torch.cat(found).view(-1, 1, *shape), which.contiguous(), multiplicity


def split(layer: nn.Conv2d | nn.Linear, granularity: str = "kernel") -> SplitLayer:
    """Split the inputs of a layer; the result equals the layer."""
    return SplitLayer(layer, granularity)


def split_network(model: nn.Module, granularity: str = "scalar") -> nn.Module:
    """Return a copy whose layers are split; convolutions with groups stay, each of their inputs meets few weights."""
    _check_granularity(granularity)
    made = copy.deepcopy(model)
    for name, module in list(made.named_modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not _why_not(module):
            parent, _, own = name.rpartition(".")
            setattr(made.get_submodule(parent), own, SplitLayer(module, granularity))
    return made


def count_products(model: nn.Module, x: Tensor) -> int:
    """Count the multiplications of one pass by watching torch's operators: convolutions and matrix products.

    Looking up and adding, as in ``SplitLayer``, has none.
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() // 2


def _look_up(which: Tensor, z: Tensor) -> Tensor:
    """Sum for each output the planes that it asks for: which [out, in], z [n, planes, h, w] -> [n, out, h, w]."""
    rows = z.transpose(0, 1).flatten(1)
    sums = F.embedding_bag(which, rows, mode="sum")
    return sums.unflatten(1, (len(z), *z.shape[2:])).transpose(0, 1)


def _pair(value: Any) -> Pair:
    first, second = value
    return int(first), int(second)


def _why_not(layer: Any) -> str:
    if type(layer) is nn.Linear:
        return ""
    if type(layer) is not nn.Conv2d:
        return f"a {type(layer).__name__} is neither nn.Conv2d nor nn.Linear"
    if layer.groups != 1:
        return f"it has {layer.groups} groups; each input meets {layer.out_channels // layer.groups} kernels only"
    if layer.padding_mode != "zeros":
        return f"its padding is {layer.padding_mode!r}; only zeros are supported"
    return ""


def _check_granularity(granularity: str) -> None:
    if granularity not in GRANULARITIES:
        raise ValueError(f"granularity must be 'kernel' or 'scalar', got {granularity!r}")
