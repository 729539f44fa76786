"""How a sparse matrix is stored: single values, two of every four, or blocks that fill a register.

Papers:  Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021, 2104.08378 (2:4);
         Narang, Undersander, Diamos, "Block-Sparse Recurrent Neural Networks", 2017, 1711.02782 (blocks).
Learn:   course/5_pruning

    W          5 · · 3      csr         values 5 3 1 2    columns 0 3 2 3    starts 0 2 4
               · · 1 2      two_four    values 5 3 1 2    places  0 3 2 3    (2 bits each)
                            blocks      a column of 16 outputs, and which input it reads

    bytes for a kept float32:   csr 4 + 2     two_four 4 + 1/4     blocks 4 + 1/8

The arrays are what csrc/sparse.h describes, and every constructor checks that they are: C reads wherever they point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from frugal.core.check import check_finite, describe
from frugal.kernels.memory import LARGEST_INT, check_input

PANEL, WORD = 16, 32  # outputs that a block holds; columns that a word of places speaks of, see sparse.h
MOST_INPUTS = 1 << 15  # a column is an int16
TILE = 192  # columns of 48 rows of x that the nearest cache holds: 36 KiB
LEAST_IN_TILE = 48  # values of a row: with fewer, going from tile to tile costs more than it saves


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """W [out, in], of which only some values are stored. One of ``Csr``, ``TwoFour``, ``Blocks``.

    values: float32, what is stored.
    out, in_features: the size of W.
    """

    values: Tensor
    out: int
    in_features: int

    kind: ClassVar[int]

    def __post_init__(self) -> None:
        _check_size(self.out, self.in_features)
        if (
            not isinstance(self.values, Tensor)
            or self.values.dtype != torch.float32
            or self.values.device.type != "cpu"
        ):
            raise TypeError(f"values must be float32 in main memory, got {describe(self.values)}")
        if not self.values.is_contiguous():
            raise ValueError("values must be contiguous; from_dense makes such")

    @classmethod
    def from_dense(cls, weight: Tensor) -> Self:
        """Store what is not 0 of a weight [out, in]."""
        raise NotImplementedError

    def rows(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The columns (int64) and the values that are stored of each output."""
        raise NotImplementedError

    def arrays(self) -> dict[str, Tensor]:
        """What the matrix consists of, by field name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: each for name, each in named.items() if isinstance(each, Tensor)}

    def tiled(self) -> tuple[int, dict[str, Tensor]]:
        """How many columns a kernel reads together, and the arrays that it is given."""
        return TILE, self.arrays()

    def to_dense(self) -> Tensor:
        """Return W as float32 [out, in]."""
        dense = torch.zeros(self.out, self.in_features)
        for row, (columns, values) in zip(dense, self.rows(), strict=True):
            row.index_add_(0, columns, values)
        return dense

    @property
    def stored(self) -> float:
        """The share of W's values that are stored, zeros among them included; 1 is a dense matrix."""
        return self.values.numel() / (self.out * self.in_features)

    @property
    def size_bytes(self) -> int:
        """What the matrix takes; dense float32 takes 4 · out · in."""
        return sum(each.numel() * each.element_size() for each in self.arrays().values())


@dataclass(frozen=True, eq=False)
class Csr(SparseMatrix):
    """Compressed sparse rows: any pattern.

    values:  float32 [kept], row after row.
    columns: int16 [kept], the column of each.
    starts:  int32 [out + 1], where each row starts in them.

    >>> matrix = Csr.from_dense(torch.tensor([[0.0, 5.0, 0.0], [7.0, 0.0, 8.0]]))
    >>> matrix.values.tolist(), matrix.columns.tolist(), matrix.starts.tolist()
    ([5.0, 7.0, 8.0], [1, 0, 2], [0, 1, 3])
    """

    columns: Tensor
    starts: Tensor

    kind: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values.ndim != 1:
            raise ValueError(f"values must be [kept], got {describe(self.values)}")
        _check_columns(self.columns, self.starts, len(self.values), self.out, self.in_features)
        falls = (self.columns.diff() <= 0).nonzero().flatten() + 1
        if not torch.isin(falls, self.starts).all():
            raise ValueError("columns must rise within each row; from_dense makes such")

    def tiled(self) -> tuple[int, dict[str, Tensor]]:
        """The same, with the places where tiles start in each row; sparse rows are one tile."""
        if self.in_features <= TILE or self.stored * TILE < LEAST_IN_TILE:
            return filled_up(self.in_features), self.arrays()
        return TILE, self.arrays() | {"starts": self._tile_starts}

    @cached_property
    def _tile_starts(self) -> Tensor:
        """int32 [out · tiles + 1]"""
        tiles = -(-self.in_features // TILE)
        row = torch.repeat_interleave(torch.arange(self.out), self.starts.diff().long())
        return _starts(torch.bincount(row * tiles + self.columns // TILE, minlength=self.out * tiles))

    @classmethod
    def from_dense(cls, weight: Tensor) -> Self:
        """Store what is not 0 of a weight [out, in]."""
        weight = _checked(weight)
        keep = weight != 0
        columns = keep.nonzero()[:, 1].to(torch.int16)
        return cls(weight[keep], weight.shape[0], weight.shape[1], columns, _starts(keep.sum(1)))

    def rows(self) -> Iterator[tuple[Tensor, Tensor]]:
        for first, last in zip(self.starts.tolist(), self.starts[1:].tolist(), strict=False):
            yield self.columns[first:last].long(), self.values[first:last]


@dataclass(frozen=True, eq=False)
class TwoFour(SparseMatrix):
    """Two of every four neighbours; a group with fewer that are not 0 stores zeros.

    values: float32 [out, words, 16], words = ceil(in / 32).
    places: int32 [out, words]: bits 2 i and 2 i + 1 of a word say where value i stands among the four of group i // 2.

    >>> matrix = TwoFour.from_dense(torch.tensor([[0.9, 0.0, 0.0, 0.7]]))
    >>> [round(v, 1) for v in matrix.values[0, 0, :2].tolist()], bin(matrix.places[0, 0].item())  # places 3 and 0
    ([0.9, 0.7], '0b1100')
    """

    places: Tensor

    kind: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        words = -(-self.in_features // WORD)
        if self.values.shape != (self.out, words, WORD // 2):
            raise ValueError(f"values must be {[self.out, words, WORD // 2]}, got {describe(self.values)}")
        check_array(self.places, torch.int32, (self.out, words), "places")
        if self.in_features % 4 or (self.values.flatten(1)[:, self.in_features // 2 :] != 0).any():
            raise ValueError(
                f"2:4 needs inputs in fours, and zeros past the last, got {self.in_features}; from_dense makes such"
            )

    @classmethod
    def from_dense(cls, weight: Tensor) -> Self:
        """Store two of every four neighbours of a weight [out, in].

        Raises:
            ValueError: four neighbours have more than two values that are not 0; prune to the pattern first.
        """
        weight = _checked(weight)
        out, depth = weight.shape
        if depth % 4:
            raise ValueError(f"2:4 needs inputs in groups of 4, got {depth}; use Csr, or leave this layer dense")
        groups = weight.view(out, -1, 4)
        full = (groups != 0).sum(-1) > 2
        if full.any():
            row, group = full.nonzero()[0].tolist()
            raise ValueError(
                f"inputs {4 * group} to {4 * group + 3} of output {row} have more than two values that are not 0; "
                "prune.methods.two_four prunes to the pattern"
            )
        first = (
            (groups == 0).to(torch.uint8).argsort(dim=-1, stable=True)[..., :2].sort(dim=-1).values
        )  # [out, groups, 2]
        words = -(-depth // WORD)
        places = torch.zeros(out, words * WORD // 2, dtype=torch.int64)
        values = torch.zeros(out, words * WORD // 2)
        places[:, : depth // 2] = first.flatten(1)
        values[:, : depth // 2] = groups.gather(-1, first).flatten(1)
        word = (places.view(out, words, -1) << 2 * torch.arange(WORD // 2)).sum(-1)
        word = torch.where(word >= 1 << 31, word - (1 << 32), word).to(torch.int32)  # the top bit is int32's sign
        return cls(values.view(out, words, -1), out, depth, word)

    def rows(self) -> Iterator[tuple[Tensor, Tensor]]:
        places = self.places[:, :, None] >> 2 * torch.arange(WORD // 2) & 3  # [out, words, 16]
        columns = places.flatten(1)[:, : self.in_features // 2] + torch.arange(self.in_features // 2) // 2 * 4
        return zip(columns, self.values.flatten(1)[:, : self.in_features // 2], strict=True)


@dataclass(frozen=True, eq=False)
class Blocks(SparseMatrix):
    """Blocks of 16 outputs and one input: ``masks.keep_blocks(scores, sparsity, (16, 1))`` makes such patterns.

    values:  float32 [blocks, 16], panel after panel of 16 outputs; outputs that fill the last panel up are 0.
    columns: int16 [blocks], the input that a block reads.
    starts:  int32 [panels + 1], where each panel starts in them.

    >>> weight = torch.zeros(32, 5)
    >>> weight[:16, 3] = 1
    >>> matrix = Blocks.from_dense(weight)
    >>> matrix.columns.tolist(), matrix.starts.tolist()
    ([3], [0, 1, 1])
    """

    columns: Tensor
    starts: Tensor

    kind: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values.ndim != 2 or self.values.shape[1] != PANEL:
            raise ValueError(f"values must be [blocks, {PANEL}], got {describe(self.values)}")
        _check_columns(self.columns, self.starts, len(self.values), -(-self.out // PANEL), self.in_features)

    @classmethod
    def from_dense(cls, weight: Tensor) -> Self:
        """Store every block of a weight [out, in] that has a value other than 0."""
        weight = _checked(weight)
        panels = _in_panels(weight)  # [panels, 16, in]
        keep = (panels != 0).any(1)
        columns = keep.nonzero()[:, 1].to(torch.int16)
        values = panels.transpose(1, 2)[keep].contiguous()  # [blocks, 16]
        return cls(values, weight.shape[0], weight.shape[1], columns, _starts(keep.sum(1)))

    def rows(self) -> Iterator[tuple[Tensor, Tensor]]:
        for output in range(self.out):
            first, last = self.starts[output // PANEL : output // PANEL + 2].tolist()
            yield self.columns[first:last].long(), self.values[first:last, output % PANEL]


FORMATS: dict[str, type[SparseMatrix]] = {"csr": Csr, "two_four": TwoFour, "blocks": Blocks}


def _checked(weight: Tensor) -> Tensor:
    """The weight as a contiguous float32 matrix."""
    check_finite(weight, "weight")
    if weight.ndim != 2:
        raise ValueError(f"weight must be [out, in], got {describe(weight)}; flatten(1) makes a matrix of it")
    _check_size(*weight.shape)
    check_input(weight, torch.float32, "weight")
    return weight.detach().contiguous()


def _check_size(out: int, in_features: int) -> None:
    if not 1 <= in_features <= MOST_INPUTS or not 1 <= out <= LARGEST_INT // max(in_features, PANEL) - PANEL:
        raise ValueError(
            f"a sparse matrix has 1 to {MOST_INPUTS:,} inputs and int32 counts, got [{out}, {in_features}]"
        )


def check_array(x: object, dtype: torch.dtype, shape: tuple[int, ...], name: str) -> None:
    """Refuse what is not a contiguous tensor of this type and shape in main memory."""
    if not isinstance(x, Tensor) or x.dtype != dtype or x.device.type != "cpu":
        raise TypeError(f"{name} must be {dtype} in main memory, got {describe(x)}")
    if tuple(x.shape) != shape or not x.is_contiguous():
        raise ValueError(f"{name} must be contiguous {list(shape)}, got {describe(x)}")


def _check_columns(columns: Tensor, starts: Tensor, count: int, lines: int, in_features: int) -> None:
    """Columns that exist, and starts that divide them into lines: C reads wherever they point."""
    check_array(columns, torch.int16, (count,), "columns")
    check_array(starts, torch.int32, (lines + 1,), "starts")
    if count and (int(columns.min()) < 0 or int(columns.max()) >= in_features):
        raise ValueError(f"columns must be from 0 to {in_features - 1}, got {columns.min()} to {columns.max()}")
    if starts[0] != 0 or starts[-1] != count or (starts.diff() < 0).any():
        raise ValueError(f"starts must rise from 0 to {count}, the number of columns; from_dense makes such")


def filled_up(count: int) -> int:
    """The next multiple of a word."""
    return -(-count // WORD) * WORD


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.int32)


def _in_panels(weight: Tensor) -> Tensor:
    """[out, in] -> [panels, 16, in]; outputs that fill the last panel up are zeros."""
    padded = torch.zeros(-(-len(weight) // PANEL) * PANEL, weight.shape[1])
    padded[: len(weight)] = weight
    return padded.view(-1, PANEL, weight.shape[1])
