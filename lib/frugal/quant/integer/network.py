"""A network on codes: a list of steps, each an operator and the steps that it reads.

The first call with a shape of input runs step by step and notes what every step gave. From then on the network runs as
``schedule.py`` has it: in planned memory, and without Python between the steps.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frugal.core.check import describe
from frugal.core.units import format_bytes
from frugal.kernels.plan import is_watched
from frugal.quant.integer.operator import Operator, numbers
from frugal.quant.integer.schedule import INPUT, Schedule, Step, last_readers

if TYPE_CHECKING:
    from frugal.quant.integer.compare import Agreement

KEPT_SHAPES = 4  # per thread: the schedules for the last few input shapes


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
        self.last_reader = last_readers(self.steps, output)
        self.schedules = threading.local()
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
        if is_watched(x):
            return self._step_by_step(x)[self.output]
        key = (*x.shape, torch.get_num_threads())
        schedule = self._schedule(key)
        if schedule is not None:
            return schedule.run(x.contiguous())
        made = self._step_by_step(x)
        x = x.contiguous()
        self._remember(key, Schedule(self.steps, self.output, x, made).in_phases(x))
        return made[self.output]

    def _step_by_step(self, x: Tensor) -> list[Any]:
        """Run the network; what nobody will read is kept as shape and type alone."""
        values: list[Any] = [None] * len(self.steps)
        for number, step in enumerate(self.steps):
            values[number] = step.operator(*(x if source == INPUT else values[source] for source in step.inputs))
            for source in {*step.inputs} - {INPUT, self.output}:
                if self.last_reader[source] == number and isinstance(values[source], Tensor):
                    values[source] = values[source].to("meta")
        return values

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

    def _schedule(self, shape: tuple[int, ...]) -> Schedule | None:
        kept: OrderedDict[tuple[int, ...], Schedule] | None = getattr(self.schedules, "kept", None)
        if kept is None or shape not in kept:
            return None
        if kept[shape].stamp != Operator.changes:  # perhaps an operator of ours got other weights
            kept.clear()
            return None
        kept.move_to_end(shape)
        return kept[shape]

    def _remember(self, shape: tuple[int, ...], schedule: Schedule) -> None:
        if not hasattr(self.schedules, "kept"):
            self.schedules.kept = OrderedDict[tuple[int, ...], Schedule]()
        self.schedules.kept[shape] = schedule
        while len(self.schedules.kept) > KEPT_SHAPES:
            self.schedules.kept.popitem(last=False)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "schedules"}  # a copy makes its own

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.schedules = threading.local()


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Write rows of words in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
