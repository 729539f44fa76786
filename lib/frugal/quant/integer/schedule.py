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
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from frugal.core.check import check_finite
from frugal.kernels.program import INPUT as PROGRAM_INPUT
from frugal.kernels.program import OUTPUT, Call, Place, Program
from frugal.quant.integer.operator import Operator
from frugal.quant.integer.operators import Flatten
from frugal.quant.integer.phases import Phase, choose_phases, weight_bytes_of

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
    """Calls [first, last) of the program, of one phase."""

    first: int
    last: int
    phase: Phase


class Schedule:
    """What a network does for inputs of one shape. One thread at a time: the runs share memory.

    Args:
        steps: of the network.
        output: the number of the step whose result is the network's.
        x: a contiguous input of this shape.
        made: what every step gave for it; only shape and type are used.
        phases: how many images at once; everything at once when nothing is said.
    """

    def __init__(
        self, steps: Sequence[Step], output: int, x: Tensor, made: Sequence[Any], phases: Sequence[Phase] | None = None
    ) -> None:
        self.stamp = Operator.changes
        self.steps, self.output, self.batch = steps, output, len(x)
        phases = phases or [Phase(0, len(steps), self.batch)]
        self.phase_of = [phase for phase in phases for _ in range(phase.first, phase.last)]
        self.made = [each.to("meta") if isinstance(each, Tensor) else each for each in made]
        last = last_readers(steps, output)
        self.crosses = [self.phase_of[min(last[n], len(steps) - 1)] != phase for n, phase in enumerate(self.phase_of)]
        with torch.inference_mode(False):  # so that calls in and out of it may write
            self.memory = self._planned(last)
            self.result = _room_for(made[output])
        self.known: list[Any] = [None] * len(steps)  # the values that lie at the same place in every run
        self.places: list[Place] = []  # of the tensors in calls that do not
        self.parts: list[Native | int] = []  # an int is the number of a step that runs in Python
        calls: list[Call] = []
        for number in range(len(steps)):
            self._add(number, x, calls)
        self.program = Program(calls, self.places)
        self.gives_result = self.result is not None and any(place.end == OUTPUT for place in self.places)

    @property
    def is_native(self) -> bool:
        """Whether nothing runs in Python."""
        return all(isinstance(part, Native) for part in self.parts)

    def in_phases(self, x: Tensor) -> Schedule:
        """The same with few images at once where the caches ask for it; only what is native can be split."""
        if not self.is_native or self.batch == 1 or any(len(each) != self.batch for each in self.made):
            return self
        sizes = [each.numel() * each.element_size() // self.batch for each in self.made]
        x_bytes = x.numel() * x.element_size() // self.batch
        image_bytes = [
            sizes[n] + sum(x_bytes if source == INPUT else sizes[source] for source in step.inputs)
            for n, step in enumerate(self.steps)
        ]
        weight_bytes = [weight_bytes_of(step.operator) for step in self.steps]
        phases = choose_phases(self.batch, image_bytes, weight_bytes, torch.get_num_threads())
        if all(phase.images == self.batch for phase in phases):
            return self
        made = Schedule(self.steps, self.output, x, self.made, phases)
        return made if made.is_native else self

    def run(self, x: Tensor) -> Any:
        """Run the network on a contiguous input."""
        y = torch.empty_like(self.result) if self.gives_result and self.result is not None else x
        values = self.known if self.is_native else list(self.known)
        for part in self.parts:
            if isinstance(part, Native):
                rounds = self.batch // part.phase.images
                if not self.program.run(part.first, part.last, x, y, rounds):
                    check_finite(x, "x")
            else:
                values[part] = self._run_in_python(part, x, values)
        return y if self.gives_result else values[self.output]

    def _planned(self, last: list[int]) -> Memory:
        """Memory for all codes: of one round for those that stay in their phase, whole for the others.

        While one round reads a whole value, another still writes it: it lives as long as the phases that it crosses.
        """
        sizes, dtypes, first = {}, {}, list(range(len(last)))
        last = _through_views(self.steps, last)
        for n, step in enumerate(self.steps):
            value = self.made[n]
            if n == self.output or not _may_be_placed(step.operator, value):
                continue
            sizes[n], dtypes[n] = value.shape, value.dtype
            if self.crosses[n]:
                first[n] = self.phase_of[n].first
                last[n] = self.phase_of[min(last[n], len(last) - 1)].last - 1
            elif self.phase_of[n].images < self.batch:
                sizes[n] = torch.Size((self.phase_of[n].images, *value.shape[1:]))
        return place(sizes, last, dtypes, first)

    def _add(self, number: int, x: Tensor, calls: list[Call]) -> None:
        """Put a step into the program if its operands lie at known places, else on the list for Python."""
        step, phase = self.steps[number], self.phase_of[number]
        operands = [self._operand(source, phase, x) for source in step.inputs]
        inputs = [each for each in operands if each is not None]
        is_known = len(inputs) == len(operands)
        if is_known and isinstance(step.operator, Flatten) and number != self.output:
            view = step.operator(*inputs)
            if view.data_ptr() == inputs[0].data_ptr() and not self.crosses[number]:
                self.known[number] = view
                self.places += [replace(each, tensor=view) for each in self.places if each.tensor is inputs[0]]
                return
        room = self.memory.views.get(number)
        if number != self.output:
            self.known[number] = room
        y = self._moving(self.result, phase, OUTPUT) if number == self.output else self._operand(number, phase, x)
        call = step.operator.call(inputs, y) if is_known and y is not None else None
        if call is None:
            self.parts.append(number)
            self.places = [each for each in self.places if each.tensor is not y]
            return
        calls.append(call)
        before = self.parts[-1] if self.parts else None
        if isinstance(before, Native) and before.phase == phase:
            self.parts[-1] = replace(before, last=len(calls))
        else:
            self.parts.append(Native(len(calls) - 1, len(calls), phase))

    def _operand(self, source: int, phase: Phase, x: Tensor) -> Tensor | None:
        """A value as the calls of a phase see it: the images of one round."""
        if source == INPUT:
            return self._moving(x, phase, PROGRAM_INPUT)
        value = self.known[source]
        return self._moving(value, phase, 0) if self.crosses[source] else value

    def _moving(self, whole: Tensor | None, phase: Phase, end: int) -> Tensor | None:
        if whole is None:
            return None
        one_round = whole[: phase.images] if phase.images < self.batch else whole
        step = one_round.numel() * one_round.element_size()
        self.places.append(Place(one_round, end, step))
        return one_round

    def _run_in_python(self, number: int, x: Tensor, values: list[Any]) -> Any:
        step = self.steps[number]
        inputs = [x if source == INPUT else values[source] for source in step.inputs]
        room = self.memory.views.get(number)
        return step.operator(*inputs) if room is None else step.operator(*inputs, out=room)


def place(
    sizes: dict[int, torch.Size],
    last_reader: Sequence[int],
    dtypes: dict[int, torch.dtype],
    first_writer: Sequence[int] | None = None,
) -> Memory:
    """Place values in one block: the largest first, each at the lowest offset that is free while it is alive.

    Args:
        sizes: the shape of each value, by the number of the step that makes it.
        last_reader: the step that reads a value last.
        dtypes: one byte wide.
        first_writer: the step from which on a value needs its place; its own when nothing is said.
    """
    first = range(len(last_reader)) if first_writer is None else first_writer
    offsets: dict[int, int] = {}
    lengths = {n: -(-size.numel() // ALIGNMENT) * ALIGNMENT for n, size in sizes.items()}
    for number in sorted(sizes, key=lambda n: -lengths[n]):
        alive_together = sorted(
            (offsets[other], offsets[other] + lengths[other])
            for other in offsets
            if first[other] <= last_reader[number] and first[number] <= last_reader[other]
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


def _room_for(value: object) -> Tensor | None:
    return torch.empty(value.shape, dtype=value.dtype) if isinstance(value, Tensor) else None


def _may_be_placed(operator: Operator, value: object) -> bool:
    """Whether a step's result may lie in the block: codes that nobody but our own operators ever sees."""
    return isinstance(value, Tensor) and operator.output_qparams() is not None and operator.writes_out
