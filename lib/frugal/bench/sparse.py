"""From which share of zeros on does a sparse product beat a dense one? Every format beside torch's, in one race.

    dense     torch fp32, and our int8 kernels on codes (quantizing x is not in their time)
    ours      csr, blocks of 16 outputs x 1 input, 2:4 (at one half only)
    torch     torch.sparse CSR, and BSR in 16 x 16 blocks, each given x the way it likes it: transposed, in one piece

Zeros are drawn at random, in the pattern that each format needs, and equally many for all; sparse_report.py finds the
break-even.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from frugal.bench import ours, problem
from frugal.bench.contest import Timing, compare
from frugal.bench.peer import Entry, Kept, Unsupported, first_line
from frugal.bench.session import threads_of_torch
from frugal.bench.shapes import Gemm, parse_gemm
from frugal.core.seed import generator
from frugal.kernels import sparse
from frugal.measure.latency import Estimate, Noise, pinned, race, system_load
from frugal.prune.masks import keep_blocks, keep_largest, keep_n_of_m

SPARSITIES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
QUICK_SPARSITIES = (0.5, 0.8, 0.95)
SHAPES: tuple[Gemm, ...] = tuple(
    map(parse_gemm, "1,1024,1024 1,4096,4096 16,1024,1024 196,1024,1024 784,128,1152 197,1536,384".split())
)
QUICK_SHAPES: tuple[Gemm, ...] = tuple(map(parse_gemm, "1,512,512 64,256,256".split()))
FP32, INT8 = "torch fp32 dense", "ours int8 dense"


@dataclass(frozen=True)
class SparseProblem:
    """A product with so many zeros.

    shape:    x [m, k] times W [n, k] transposed.
    sparsity: the share of W's values that are 0.
    x, w:     float32, drawn; no value of them is 0.
    draws:    what decides where the zeros are, [n, k].
    """

    shape: Gemm
    sparsity: float
    x: Tensor
    w: Tensor
    draws: Tensor

    @cached_property
    def single(self) -> Tensor:
        """W with zeros anywhere."""
        return self.w * keep_largest(self.draws, self.sparsity)

    def blocks(self, rows: int, columns: int) -> Tensor:
        """W with zeros in whole blocks."""
        if self.shape.n % rows or self.shape.k % columns:
            raise Unsupported(f"{rows} x {columns} blocks do not divide {self.shape.n} x {self.shape.k}")
        return self.w * keep_blocks(self.draws, self.sparsity, (rows, columns))

    def two_four(self) -> Tensor:
        """W with two zeros in every four."""
        if self.sparsity != 0.5 or self.shape.k % 4:
            raise Unsupported("2:4 has one half of zeros, and inputs in fours")
        return self.w * keep_n_of_m(self.draws, 2, 4)

    def entry(self, compute: Callable[[], Tensor], weight: Tensor) -> Entry:
        """An entry whose result may differ from float64's by what rounding explains: (k + 2) · eps · Σ |x w|."""
        exact = self.x.double() @ weight.double().T
        sizes = self.x.double().abs() @ weight.double().abs().T
        allowed = (self.shape.k + 2) * torch.finfo(torch.float32).eps * float(sizes.max())
        run = Kept(compute)
        return Entry(run, lambda: run.result().double(), exact, allowed)


def make(shape: Gemm, sparsity: float, seed: int = 0) -> SparseProblem:
    """Draw a problem; the same values at every sparsity, and zeros of more sparsity where those of less were."""
    rng = generator("bench sparse", seed)
    x, w = (torch.randn(size, shape.k, generator=rng) for size in (shape.m, shape.n))
    return SparseProblem(shape, sparsity, x, w, torch.rand(shape.n, shape.k, generator=rng))


def _dense(p: SparseProblem) -> Entry:
    w = p.single
    return p.entry(lambda: F.linear(p.x, w), w)


def _dense_int8(p: SparseProblem) -> Entry:
    peer = next(peer for peer in ours.gemm() if peer.output == "u8")
    return peer.prepare(problem.make(p.shape), torch.get_num_threads())


def _ours(format: str, weight_of: Callable[[SparseProblem], Tensor]) -> Callable[[SparseProblem], Entry]:
    def prepare(p: SparseProblem) -> Entry:
        w = weight_of(p)
        layer = sparse.SparseLinear(sparse.FORMATS[format].from_dense(w))
        return p.entry(lambda: layer(p.x), w)

    return prepare


def _torch(convert: Callable[[Tensor], Tensor], weight_of: Callable[[SparseProblem], Tensor]) -> Any:
    def prepare(p: SparseProblem) -> Entry:
        w, columns = weight_of(p), p.x.T.contiguous()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls its sparse layouts beta
            matrix = convert(w)
        entry = p.entry(lambda: matrix @ columns, w)
        return replace(entry, expected=entry.expected.T)

    return prepare


ENTRANTS: dict[str, Callable[[SparseProblem], Entry]] = {
    FP32: _dense,
    INT8: _dense_int8,
    "ours csr": _ours("csr", lambda p: p.single),
    "ours blocks": _ours("blocks", lambda p: p.blocks(16, 1)),
    "ours 2:4": _ours("two_four", lambda p: p.two_four()),
    "torch csr": _torch(lambda w: w.to_sparse_csr(), lambda p: p.single),
    "torch bsr 16x16": _torch(lambda w: w.to_sparse_bsr((16, 16)), lambda p: p.blocks(16, 16)),
}


@dataclass(frozen=True)
class Point:
    """One entrant at one shape and sparsity.

    latency:  seconds; None where it was not timed.
    speedups: by dense entrant, its time over this one's, round by round; above 1, this one is faster.
    wrong, unsupported: why it was not timed; empty otherwise.
    """

    shape: str
    sparsity: float
    name: str
    latency: Estimate | None = None
    speedups: Mapping[str, Estimate] | None = None
    wrong: str = ""
    unsupported: str = ""


def compete(p: SparseProblem, timing: Timing) -> tuple[list[Point], Noise | None]:
    """Let all entrants do one product: compare with float64, then time those who are right."""
    points, entries = {}, {}
    for name, prepare in ENTRANTS.items():
        points[name] = Point(str(p.shape), p.sparsity, name)
        try:
            entry = prepare(p)
            entry.run()
            _, wrong = compare(entry.result(), entry)
        except Unsupported as reason:
            points[name] = replace(points[name], unsupported=str(reason))
            continue
        except Exception as error:  # what torch's sparse layouts raise is their own business; the race goes on
            points[name] = replace(points[name], unsupported=f"{type(error).__name__}: {first_line(error)}")
            continue
        if wrong:
            points[name] = replace(points[name], wrong=wrong)
        else:
            entries[name] = entry
    if FP32 not in entries:
        return list(points.values()), None
    settings = {name: getattr(timing, name) for name in ("rounds", "turn_s", "warm_up_s", "silence_s", "threads")}
    measured = race({name: entry.run for name, entry in entries.items()}, **settings, load=lambda: timing.load)
    for name in entries:
        speedups = {dense: measured.ratio(dense, to=name) for dense in (FP32, INT8) if dense in entries}
        points[name] = replace(points[name], latency=measured.latency(name), speedups=speedups)
    return list(points.values()), measured.noise


def measure(
    shapes: Sequence[Gemm],
    timing: Timing,
    *,
    isa: str | None = None,
    sparsities: Sequence[float] = SPARSITIES,
    announce: Callable[[Gemm, Sequence[Point]], None] = lambda shape, points: None,
) -> tuple[list[Point], list[Noise]]:
    """Race all shapes at all sparsities; ``announce`` hears of each shape when it is done."""
    timing = replace(timing, load=system_load())
    found: list[Point] = []
    noises: list[Noise] = []
    with ours.forced(isa), threads_of_torch(timing.threads), pinned(timing.threads):
        for shape in shapes:
            of_shape: list[Point] = []
            for sparsity in sparsities:
                points, noise = compete(make(shape, sparsity), timing)
                of_shape += points
                noises += [] if noise is None else [noise]
            announce(shape, of_shape)
            found += of_shape
    return found, noises
