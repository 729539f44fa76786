"""A network at one input shape: where its codes lie, and which operators run without Python in between.

Memory is planned, not asked for: every step's codes have a place in one block of memory, which is used again once
nobody will read it.

    step        0   1   2   3   4   5
    values     [a   a   a]
                   [b   b]
                           [c   c]         c takes b's place: b's last reader is step 2

With all addresses known, neighbouring steps of our own kernels become a program (kernels/program.py): one call of the
native library for all of them. What runs in torch stands between programs as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frugal.core.check import check_finite
from frugal.kernels.program import Call, Program
from frugal.quant.integer.operator import Operator
from frugal.quant.integer.operators import Flatten

INPUT = -1  # the number under which a step reads the network's input
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


@dataclass(frozen=True)
class Native:
    """Calls [first, last) of the program."""

    first: int
    last: int


class Schedule:
    """What a network does for inputs of one shape. One thread at a time: the runs share memory.

    Args:
        steps: of the network.
        output: the number of the step whose result is the network's.
        x: an input of this shape.
        made: what every step gave for it; only shape and type are used.
    """

    def __init__(self, steps: Sequence[Step], output: int, x: Tensor, made: Sequence[Any]) -> None:
        self.stamp = Operator.changes
        self.steps, self.output = steps, output
        last = last_readers(steps, output)
        placed = {n: made[n] for n, step in enumerate(steps) if n != output and _may_be_placed(step.operator, made[n])}
        with torch.inference_mode(False):  # so that calls in and out of it may write
            self.memory = place(
                {n: value.shape for n, value in placed.items()},
                _through_views(steps, last),
                {n: value.dtype for n, value in placed.items()},
            )
            self.result = torch.empty_like(made[output]) if isinstance(made[output], Tensor) else None
        self.known: list[Any] = [None] * len(steps)  # the values that lie at the same place in every run
        self.parts: list[Native | int] = []  # an int is the number of a step that runs in Python
        calls: list[Call] = []
        for number in range(len(steps)):
            self._add(number, x, calls)
        sample = x if self.result is None else self.result
        self.program = Program(calls, input=x, output=sample)
        self.gives_result = self.result is not None and any(call.y is self.result for call in calls)

    def run(self, x: Tensor) -> Any:
        """Run the network on a contiguous input."""
        values = self.known
        y = torch.empty_like(self.result) if self.gives_result and self.result is not None else x
        if self.parts and not (len(self.parts) == 1 and self.gives_result):
            values = list(values)
        for part in self.parts:
            if isinstance(part, Native):
                if not self.program.run(part.first, part.last, x, y):
                    check_finite(x, "x")
            else:
                values[part] = self._run_in_python(part, x, values)
        return y if self.gives_result else values[self.output]

    def _add(self, number: int, x: Tensor, calls: list[Call]) -> None:
        """Put a step into the program if its operands lie at known places, else on the list for Python."""
        step = self.steps[number]
        inputs = [x if source == INPUT else self.known[source] for source in step.inputs]
        is_known = all(each is not None for each in inputs)
        if is_known and isinstance(step.operator, Flatten):
            view = step.operator(*inputs)
            if view.data_ptr() == inputs[0].data_ptr() and number != self.output:
                self.known[number] = view
                return
        place = self.result if number == self.output else self.memory.views.get(number)
        call = step.operator.call(inputs, place) if is_known and place is not None else None
        if number != self.output:
            self.known[number] = place
        if call is None:
            self.parts.append(number)
            return
        calls.append(call)
        before = self.parts[-1] if self.parts else None
        if isinstance(before, Native):
            self.parts[-1] = Native(before.first, len(calls))
        else:
            self.parts.append(Native(len(calls) - 1, len(calls)))

    def _run_in_python(self, number: int, x: Tensor, values: list[Any]) -> Any:
        step = self.steps[number]
        inputs = [x if source == INPUT else values[source] for source in step.inputs]
        place = self.memory.views.get(number)
        return step.operator(*inputs) if place is None else step.operator(*inputs, out=place)


def place(sizes: dict[int, torch.Size], last_reader: Sequence[int], dtypes: dict[int, torch.dtype]) -> Memory:
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


def last_readers(steps: Sequence[Step], output: int) -> list[int]:
    """The step that reads each value last; the network's output is read after all of them."""
    last = list(range(len(steps)))  # a value that nobody reads dies where it is made
    for number, step in enumerate(steps):
        for source in step.inputs:
            if source != INPUT:
                last[source] = number
    last[output] = len(steps)
    return last


def _through_views(steps: Sequence[Step], last_reader: list[int]) -> list[int]:
    """The last reader of each value, or of a view of it: flattening moves no codes."""
    last = list(last_reader)
    for number in reversed(range(len(steps))):
        if isinstance(steps[number].operator, Flatten) and steps[number].inputs[0] != INPUT:
            source = steps[number].inputs[0]
            last[source] = max(last[source], last[number])
    return last


def _may_be_placed(operator: Operator, value: object) -> bool:
    """Whether a step's result may lie in the block: codes that nobody but our own operators ever sees."""
    return isinstance(value, Tensor) and operator.output_qparams() is not None and operator.writes_out
