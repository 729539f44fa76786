"""Weights in the order in which the kernels read them: one layout for every instruction set.

    [out, k] int8                      panel 0: outputs 0..15              panel 1 ...
                                       k = 0..3              k = 4..7
    w[0,0] w[0,1] w[0,2] ...    ->     [c0: k0 k1 k2 k3][c1: k0..k3]...[c15: k0..k3] ...
    w[1,0] ...
                                       one quad row of 64 bytes is one operand of vpdpbusd, four of SDOT;
                                       16 quad rows, 64 x 16 weights, are one AMX tile

k is filled up with zeros to a multiple of 64 and outputs to a multiple of 16. A convolution is a sum over taps
(kernel positions), each with its own k. Packing costs a pass over the weights, once; the kernels then read memory in
one direction only. csrc/format.h says the same to the C++ side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frugal.core.check import describe

PANEL, DEPTH, QUAD = 16, 64, 4
LAYOUT = f"frugal int8 weights: panels of {PANEL}, k in quads, blocks of {DEPTH}; version 1"
LARGEST_SUM = 2**31 - 1
LARGEST_CODE = {torch.uint8: 255, torch.int8: 128}


@dataclass(frozen=True, eq=False)
class Packed:
    """Weights, packed.

    data:   int8 [groups · panels, taps, k / 4, 16, 4].
    out:    outputs of all groups together.
    taps:   kernel positions, 1 for a matrix.
    depth:  k of one tap, before it is filled up.
    groups: convolution groups; each starts a panel of its own.
    layout: names the order; a pack in another order is refused.
    """

    data: Tensor
    out: int
    taps: int
    depth: int
    groups: int = 1
    layout: str = LAYOUT

    def __post_init__(self) -> None:
        if self.layout != LAYOUT:
            raise ValueError(
                f"these weights are packed as {self.layout!r}, this library reads {LAYOUT!r}; "
                "pack the original weights again with frugal.kernels.pack.pack"
            )
        if min(self.out, self.taps, self.depth, self.groups) < 1 or self.out % self.groups:
            raise ValueError(
                f"out, taps, depth and groups must be at least 1, and groups divide out; "
                f"got {self.out}, {self.taps}, {self.depth}, {self.groups}"
            )
        panels = self.groups * (round_up(self.out // self.groups, PANEL) // PANEL)
        shape = [panels, self.taps, round_up(self.depth, DEPTH) // QUAD, PANEL, QUAD]
        data = self.data
        if data.dtype != torch.int8 or list(data.shape) != shape or not data.is_contiguous():
            raise ValueError(f"packed weights must be int8 {shape}, contiguous, got {describe(data)}")

    def state(self) -> dict[str, Tensor | int | str]:
        """Everything that ``restore`` needs."""
        names = ("data", "out", "taps", "depth", "groups", "layout")
        return {name: getattr(self, name) for name in names}


def pack(weight: Tensor, groups: int = 1) -> Packed:
    """Pack weights.

    Args:
        weight: int8 [out, in] of a matrix, or [out, taps, depth] of a convolution.
        groups: convolution groups.

    Returns:
        The packed copy.

    >>> packed = pack(torch.ones(3, 5, dtype=torch.int8))
    >>> list(packed.data.shape), torch.equal(unpack(packed)[:, 0], torch.ones(3, 5, dtype=torch.int8))
    ([1, 1, 16, 16, 4], True)
    """
    check_weight(weight, (2, 3))
    if not isinstance(groups, int) or groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"groups must divide the {weight.shape[0]} outputs, got {groups!r}")
    w = weight if weight.ndim == 3 else weight[:, None]
    out, taps, depth = w.shape
    size, panels = out // groups, round_up(out // groups, PANEL) // PANEL
    room = torch.zeros(groups, panels * PANEL, taps, round_up(depth, DEPTH), dtype=torch.int8)
    room[:, :size, :, :depth] = w.reshape(groups, size, taps, depth)
    room = room.reshape(groups * panels, PANEL, taps, -1, QUAD)  # [panel, 16 outputs, tap, quad, 4]
    return Packed(room.permute(0, 2, 3, 1, 4).contiguous(), out, taps, depth, groups)


def unpack(packed: Packed) -> Tensor:
    """Return the weights that were packed, int8 [out, taps, depth]."""
    room, size = _rows(packed), packed.out // packed.groups
    return room[:, :size, :, : packed.depth].reshape(packed.out, packed.taps, packed.depth).contiguous()


def restore(state: dict[str, Tensor | int | str]) -> Packed:
    """Build a pack from ``Packed.state()``, for example one that was read from a file, and check all of it."""
    missing = {"data", "out", "taps", "depth", "groups", "layout"} - set(state)
    if missing:
        raise ValueError(f"a pack needs {sorted(missing)} too; Packed.state() gives everything")
    packed = Packed(**state)  # type: ignore[arg-type]  # Packed checks every field
    if int(packed.data.abs().ne(0).sum()) != int(unpack(packed).ne(0).sum()):
        raise ValueError("packed weights are damaged: their filling, beyond out and depth, must be 0; pack them again")
    return packed


def column_sums(packed: Packed) -> Tensor:
    """Σ w of every output, int32 [out]: what a zero-point of the activations multiplies."""
    return unpack(packed).sum((1, 2), dtype=torch.int64).to(torch.int32)


def fold_zero_point(weight: Tensor, bias: Tensor | None, x_dtype: torch.dtype, x_zero_point: int) -> Tensor:
    """Take the zero-point of the activations into the bias: Σ (x - z) w + b = Σ x w + (b - z Σ w).

    Args:
        weight: int8 [out, ...].
        bias: int32 [out], in steps of the sum; or None.
        x_dtype: uint8 or int8, the activations' type.
        x_zero_point: their code of real 0.

    Returns:
        int32 [out], b - z Σ w.

    Raises:
        ValueError: with these weights some activations would overflow an int32 sum.
    """
    first, last = (0, 255) if x_dtype == torch.uint8 else (-128, 127)
    if not first <= x_zero_point <= last:
        raise ValueError(f"x_zero_point must be a code of {x_dtype}, {first} to {last}, got {x_zero_point}")
    w = weight.flatten(1).to(torch.int64)
    folded = -x_zero_point * w.sum(1)
    if bias is not None:
        if not isinstance(bias, Tensor) or bias.dtype != torch.int32 or list(bias.shape) != [len(w)]:
            raise ValueError(f"bias must be int32 [{len(w)}], in steps of the sum, got {describe(bias)}")
        folded = folded + bias
    worst = LARGEST_CODE[x_dtype] * w.abs().sum(1) + folded.abs()
    if worst.max() > LARGEST_SUM:
        at = int(worst.argmax())
        raise ValueError(
            f"output {at} may reach {worst[at].item():,} in size ({w.shape[1]:,} products of weights that add up to "
            f"{w[at].abs().sum().item():,}, bias {folded[at].item():,}), but int32 ends at {LARGEST_SUM:,}; "
            "split k into parts, or use smaller weights"
        )
    return folded.to(torch.int32)


def check_weight(weight: object, ndims: tuple[int, ...]) -> None:
    """Refuse what is not a tensor of int8 weights in main memory."""
    if not isinstance(weight, Tensor) or weight.dtype != torch.int8:
        raise TypeError(f"weight must be a tensor of int8 codes, got {describe(weight)}; quantize it first")
    if weight.ndim not in ndims or weight.numel() == 0:
        wanted = " or ".join(map(str, ndims))
        raise ValueError(f"weight must have {wanted} dimensions, none of them empty, got {describe(weight)}")
    if weight.device.type != "cpu":
        raise ValueError(f"weight must lie in main memory, got device {weight.device}; weight.cpu() copies it there")


def round_up(x: int, multiple: int) -> int:
    """The next multiple.

    >>> round_up(65, 64), round_up(64, 64)
    (128, 64)
    """
    return -(-x // multiple) * multiple


def _rows(packed: Packed) -> Tensor:
    room = packed.data.permute(0, 3, 1, 2, 4)  # [panel, 16 outputs, tap, quad, 4]
    return room.reshape(packed.groups, -1, packed.taps, round_up(packed.depth, DEPTH))
