"""A network on codes: a list of steps, each an operator and the steps that it reads.

Memory is planned, not asked for: the first call with a shape notes how large every step's codes are, and from then on
the steps write into one block of memory, in which a place is used again once nobody will read it.

    step        0   1   2   3   4   5
    values     [a   a   a]
                   [b   b]
                           [c   c]         c takes b's place: b's last reader is step 2
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frugal.core.check import describe
from frugal.core.units import format_bytes
from frugal.quant.integer.operator import Operator, numbers
from frugal.quant.integer.operators import Flatten

if TYPE_CHECKING:
    from frugal.quant.integer.compare import Agreement

INPUT = -1  # the number under which a step reads the network's input
KEPT_SHAPES = 4  # per thread: the blocks of memory for the last few input shapes
ALIGNMENT = 64  # bytes, a cache line


@dataclass(frozen=True)
class Step:
    """One operator of the network.

    name:     of the module or function that it came from.
    operator: what it does.
    inputs:   the numbers of the steps that it reads, or ``INPUT``.
    """

    name: str
    operator: Operator
    inputs: tuple[int, ...]


@dataclass
class Memory:
    """One block of memory for the codes of a network, at one input shape.

    block: the memory itself.
    views: of the steps whose results lie in it, by their numbers.
    """

    block: Tensor
    views: dict[int, Tensor]


class Int8Network(nn.Module):
    """A float tensor in, a float tensor out, codes in between. ``to_int8`` makes it; ``save_int8`` writes it.

    It may be called from several threads at once, with any batch size: each thread has memory of its own. The kernels
    use ``torch.get_num_threads()`` threads.

    Args:
        steps: in the order of execution.
        output: the number of the step whose result is the network's.
        input_shape: of the calibration data, [n, ...]; inputs must have as many dimensions and as many channels.
        report: one line for each part that runs in float.
    """

    def __init__(self, steps: list[Step], output: int, input_shape: tuple[int, ...], report: tuple[str, ...]) -> None:
        super().__init__()
        self.steps = tuple(steps)
        self.operators = nn.ModuleList(step.operator for step in steps)  # so that torch sees their buffers
        self.output = output
        self.input_shape = input_shape
        self.report = report
        self.qparams = [step.operator.output_qparams() for step in steps]  # None: the step makes reals
        self.last_reader = _last_readers(self.steps, output)
        self.memories = threading.local()
        self.eval()

    def use_isa(self, isa: str | None) -> Int8Network:
        """Take another path of the kernels from now on; None for the widest there is."""
        for step in self.steps:
            step.operator.use_isa(isa)
        return self

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Run the network.

        Args:
            x: float32, of the shape of the calibration data but for the batch size.
        """
        self._check_input(x)
        memory = self._memory(tuple(x.shape))
        values: list[Any] = [None] * len(self.steps)
        sizes: dict[int, torch.Size] = {}
        for number, step in enumerate(self.steps):
            inputs = [x if source == INPUT else values[source] for source in step.inputs]
            out = None if memory is None else memory.views.get(number)
            values[number] = step.operator(*inputs, out=out) if out is not None else step.operator(*inputs)
            if memory is None and self._may_be_placed(number):
                sizes[number] = values[number].shape
            for source in step.inputs:
                if source != INPUT and self.last_reader[source] == number and source != self.output:
                    values[source] = None
        if memory is None:
            self._remember(tuple(x.shape), self._place(sizes))
        return values[self.output]

    @torch.no_grad()
    def values(self, x: Tensor) -> list[Any]:
        """Run the network and return what every step made: codes in NHWC, or reals."""
        self._check_input(x)
        values: list[Any] = []
        for step in self.steps:
            made = step.operator(*(x if source == INPUT else values[source] for source in step.inputs))
            values.append(made)
        return values

    def agreement(self, x: Tensor) -> Agreement:
        """Compare every step with fake quantization and with the kernels' definition; see ``compare.agreement``."""
        from frugal.quant.integer.compare import agreement  # which knows this class

        return agreement(self, x)

    def table(self) -> str:
        """Write the network as a table: each step, what its codes stand for, and the path of its kernel."""
        rows = [("", "step", "operator", "reads", "scale", "zero-point", "path")]
        for number, step in enumerate(self.steps):
            output = self.qparams[number]
            scale, zero_point = (
                ("reals", "") if output is None else (f"{numbers(output)[0]:.6g}", str(numbers(output)[1]))
            )
            reads = ", ".join("input" if source == INPUT else str(source) for source in step.inputs)
            words = step.operator.extra_repr()
            kind = type(step.operator).__name__ + (f" {words}" if words else "")
            rows.append((str(number), step.name, kind, reads, scale, zero_point, step.operator.path()))
        return aligned(rows)

    def __repr__(self) -> str:
        size = sum(b.numel() * b.element_size() for b in self.buffers())
        lines = [
            f"Int8Network: {len(self.steps)} steps, {format_bytes(size)}, input {list(self.input_shape[1:])} per image"
        ]
        lines += [self.table()]
        lines += [f"in float: {line}" for line in self.report]
        return "\n".join(lines)

    def _check_input(self, x: Tensor) -> None:
        wanted = f"float32 [n, {', '.join(map(str, self.input_shape[1:]))}]"
        if not isinstance(x, Tensor) or x.dtype != torch.float32:
            raise TypeError(f"x must be {wanted}, got {describe(x)}")
        channels_at = 1 if x.ndim == 4 else -1
        if x.ndim != len(self.input_shape) or x.shape[channels_at] != self.input_shape[channels_at]:
            raise ValueError(f"x must be {wanted}, got {describe(x)}")
        if x.numel() == 0:
            raise ValueError(f"x must hold at least one image, got {describe(x)}")
        if x.device.type != "cpu":
            raise ValueError(f"x must lie in main memory, got device {x.device}; x.cpu() copies it there")

    def _may_be_placed(self, number: int) -> bool:
        """Whether a step's result may lie in the block: codes that nobody but our own operators ever sees."""
        operator = self.steps[number].operator
        return number != self.output and self.qparams[number] is not None and operator.writes_out

    def _place(self, sizes: dict[int, torch.Size]) -> Memory:
        """Give every step's codes a place in one block, so that values alive at the same time do not overlap."""
        return place(sizes, self._last_readers_through_views(), {n: self._dtype(n) for n in sizes})

    def _dtype(self, number: int) -> torch.dtype:
        output = self.qparams[number]
        assert output is not None
        return output.dtype

    def _last_readers_through_views(self) -> list[int]:
        """The last reader of each value, or of a view of it: flattening moves no codes."""
        last = list(self.last_reader)
        for number in reversed(range(len(self.steps))):
            if isinstance(self.steps[number].operator, Flatten) and self.steps[number].inputs[0] != INPUT:
                source = self.steps[number].inputs[0]
                last[source] = max(last[source], last[number])
        return last

    def _memory(self, shape: tuple[int, ...]) -> Memory | None:
        kept: OrderedDict[tuple[int, ...], Memory] | None = getattr(self.memories, "kept", None)
        if kept is None or shape not in kept:
            return None
        kept.move_to_end(shape)
        return kept[shape]

    def _remember(self, shape: tuple[int, ...], memory: Memory) -> None:
        if not hasattr(self.memories, "kept"):
            self.memories.kept = OrderedDict[tuple[int, ...], Memory]()
        self.memories.kept[shape] = memory
        while len(self.memories.kept) > KEPT_SHAPES:
            self.memories.kept.popitem(last=False)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "memories"}  # a copy plans its own

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.memories = threading.local()


def place(sizes: dict[int, torch.Size], last_reader: list[int], dtypes: dict[int, torch.dtype]) -> Memory:
    """Place values in one block: the largest first, each at the lowest offset that is free while it is alive.

    Args:
        sizes: the shape of each value, by the number of the step that makes it.
        last_reader: the step that reads a value last.
        dtypes: one byte wide.
    """
    offsets: dict[int, int] = {}
    lengths = {n: -(-size.numel() // ALIGNMENT) * ALIGNMENT for n, size in sizes.items()}
    for number in sorted(sizes, key=lambda n: -lengths[n]):
        alive_together = sorted(
            (offsets[other], offsets[other] + lengths[other])
            for other in offsets
            if other <= last_reader[number] and number <= last_reader[other]
        )
        offset = 0
        for start, end in alive_together:
            if offset + lengths[number] <= start:
                break
            offset = max(offset, end)
        offsets[number] = offset
    block = torch.empty(max((offsets[n] + lengths[n] for n in sizes), default=0), dtype=torch.uint8)
    views = {n: block[offsets[n] : offsets[n] + size.numel()].view(dtypes[n]).view(size) for n, size in sizes.items()}
    return Memory(block, views)


def _last_readers(steps: tuple[Step, ...], output: int) -> list[int]:
    last = list(range(len(steps)))  # a value that nobody reads dies where it is made
    for number, step in enumerate(steps):
        for source in step.inputs:
            if source != INPUT:
                last[source] = number
    last[output] = len(steps)
    return last


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Write rows of words in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
