"""A compiled kernel in a process of its own; host.cpp is the other side and draws the picture.

    with Child(library, signature, [arguments]) as child:
        child.run(times=100)          # seconds, taken here: what the kernel itself says is not asked
        y, = child.outputs()

Every tensor gets pages of its own, shared by both processes, between walls that nothing may touch. A crash, a store
outside a buffer, a store into an input, an endless loop and an exit become a ``KernelFailed`` that says so.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frugal.show.cpp import compiler
from frugal.show.cpp.errors import KernelFailed, KernelStopped
from frugal.show.cpp.prototype import Prototype

LIMIT_S = 3.0  # one answer from the child; a lab's kernels take milliseconds
BUFFERS, SETS, PARAMETERS, MESSAGE = 32, 4, 12, 512  # as in host.cpp
PAGE = mmap.PAGESIZE
LEAD_BYTE = 0xA5  # fills what lies in front of a buffer
PRINTED = 2000  # characters of what a kernel printed that are kept
# Linked whether the host needs them or not: a kernel that does finds them open, and needs no file.
LIBRARIES = ("-Wl,--no-as-needed", "-lstdc++", "-lm", "-ldl") if sys.platform.startswith("linux") else ()
STARTING, READY, RUNNING, NOT_LOADED = range(4)


class _Buffer(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("offset", "bytes", "lead", "writable")]


class _Control(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("buffers", "sets", "parameters", "repeats", "state", "signal")],
        *[(name, ctypes.c_int64) for name in ("buffer", "place", "has_place")],
        ("buffer_at", _Buffer * BUFFERS),
        ("index", ctypes.c_int64 * PARAMETERS * SETS),
        ("number", ctypes.c_double * PARAMETERS),
        ("message", ctypes.c_char * MESSAGE),
    ]


class Child:
    """A process with one kernel and its arguments.

    Args:
        library: what ``compiler.build`` made, with ``frugal_call`` in it.
        signature: of the kernel.
        calls: one list of arguments, or several that differ in their tensors' values only; calls take turns among
            them. A tensor that is the same object in several lists is shared.
        limit_s: how long one ``run`` may take; ``LIMIT_S`` when it is None.
    """

    def __init__(
        self, library: Path, signature: Prototype, calls: Sequence[Sequence[Any]], *, limit_s: float | None = None
    ) -> None:
        self.signature, self.calls = signature, calls
        self.limit_s = LIMIT_S if limit_s is None else limit_s
        host = compiler.build(_host_text(), ("-std=c++20", "-O2"), LIBRARIES)
        self.tensors: list[Tensor] = []
        self.places: list[tuple[int, str, int]] = []  # of each buffer: set, name of the parameter, offset of its bytes
        numbers: dict[int, int] = {}
        index = [[self._number_of(s, p, numbers) for p in range(len(call))] for s, call in enumerate(calls)]
        self._share(index)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the child
        self._process = subprocess.Popen(
            [str(host), str(library), str(self._file), str(self._output.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            pass_fds=(self._file, self._output.fileno()),
            bufsize=0,
        )
        os.close(self._file)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *about: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._output):
            if stream is not None:
                stream.close()

    def run(self, times: int = 1) -> float:
        """Call the kernel, and return the seconds that it took in all.

        Raises:
            KernelFailed: it did not come back, or stored outside its buffers.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._control.repeats = times
        began = time.perf_counter()
        try:
            self._process.stdin.write(b"g")
        except BrokenPipeError:
            raise self._why() from None
        ready, _, _ = select.select([self._process.stdout], [], [], self.limit_s)
        if not ready:
            self._process.kill()
            raise KernelStopped(
                f"{self.signature.name} was stopped after {self.limit_s:g} s; a right answer takes milliseconds: "
                f"look for a loop that does not end{self.printed()}"
            )
        answer = self._process.stdout.read(1)
        seconds = time.perf_counter() - began
        if not answer:
            raise self._why()
        self._check_leads()
        return seconds

    def processor_run(self, times: int) -> float:
        """Call the kernel; the processor seconds of its process, or seconds of the clock where they are not told."""
        before = self._processor_s()
        seconds = self.run(times)
        after = self._processor_s()
        return seconds if before is None or after is None else max(after - before, 1e-9)

    def _processor_s(self) -> float | None:
        if not sys.platform.startswith("linux"):
            return None
        try:
            return time.clock_gettime(~self._process.pid << 3 | 2)  # what clock_getcpuclockid(pid) answers
        except OSError:
            return None

    def outputs(self, call: int = 0) -> tuple[Tensor, ...]:
        """Copies of what the kernel wrote, in the order of its parameters."""
        return tuple(
            self._view(number).clone()
            for number, (s, name, _) in enumerate(self.places)
            if s == call and self._parameter(name).writable
        )

    def fill(self, call: int, name: str, values: Tensor) -> None:
        """Put other values into a tensor before the next run."""
        for number, (s, of, _) in enumerate(self.places):
            if (s, of) == (call, name):
                self._view(number).copy_(values)

    def printed(self) -> str:
        """What the kernel printed, as an addition to a message; empty where it printed nothing."""
        self._output.seek(0)
        text = self._output.read(4 * PRINTED).decode(errors="replace").strip()
        return f"\nit printed: {text[:PRINTED]}" if text else ""

    # ---- before the first call -------------------------------------------------------------------------------------

    def _number_of(self, s: int, p: int, numbers: dict[int, int]) -> int:
        """The number of a tensor's buffer; a new one for a tensor not seen before. -1 for a number."""
        parameter, value = self.signature.parameters[p], self.calls[s][p]
        if parameter.dtype is None:
            return -1
        if not isinstance(value, Tensor) or value.dtype != parameter.dtype or value.numel() == 0:
            got = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{self.signature.name} takes {parameter.text}: a {parameter.dtype} tensor, got {got}")
        if id(value) not in numbers or parameter.writable:
            numbers[id(value)] = len(self.tensors)
            self.tensors.append(value.detach().contiguous())
            self.places.append((s, parameter.name, 0))
        return numbers[id(value)]

    def _share(self, index: list[list[int]]) -> None:
        """Lay control page and buffers into a file that both sides map."""
        if len(self.tensors) > BUFFERS or len(index) > SETS or len(index[0]) > PARAMETERS:
            raise ValueError(f"at most {BUFFERS} tensors, {SETS} calls and {PARAMETERS} parameters")
        sizes = [tensor.numel() * tensor.element_size() for tensor in self.tensors]
        spans = [_whole_pages(size) for size in sizes]
        first = _whole_pages(ctypes.sizeof(_Control))
        self._file = _anonymous_file()
        os.ftruncate(self._file, first + sum(spans))
        self._map = mmap.mmap(self._file, first + sum(spans))
        control = self._control = _Control.from_buffer(self._map)
        control.buffers, control.sets, control.parameters = len(sizes), len(index), len(index[0])
        offset = first
        for number, (size, span) in enumerate(zip(sizes, spans, strict=True)):
            s, name, _ = self.places[number]
            writable = self._parameter(name).writable
            control.buffer_at[number] = _Buffer(offset, span, span - size, writable)
            self._map[offset : offset + span - size] = bytes([LEAD_BYTE]) * (span - size)
            self.places[number] = (s, name, offset + span - size)
            self._view(number).copy_(self.tensors[number])
            offset += span
        for s, row in enumerate(index):
            for p, number in enumerate(row):
                control.index[s][p] = number
        for p, parameter in enumerate(self.signature.parameters):
            if parameter.dtype is None:
                control.number[p] = self.calls[0][p]

    def _parameter(self, name: str) -> Any:
        return next(each for each in self.signature.parameters if each.name == name)

    def _view(self, number: int) -> Tensor:
        """The shared bytes of a buffer as a tensor."""
        like = self.tensors[number]
        flat = torch.frombuffer(self._map, dtype=torch.uint8, count=like.numel() * like.element_size(),
                                offset=self.places[number][2])  # fmt: skip
        return flat.view(like.dtype).view(like.shape)

    # ---- after something went wrong --------------------------------------------------------------------------------

    def _check_leads(self) -> None:
        for number, (_, name, place) in enumerate(self.places):
            first = self._control.buffer_at[number].offset
            lead = self._map[first:place]
            if lead.count(LEAD_BYTE) != len(lead):
                last = max(i for i, byte in enumerate(lead) if byte != LEAD_BYTE)
                step = self.tensors[number].element_size()
                before = (place - first - last - 1) // step + 1
                raise KernelFailed(f"{self.signature.name} wrote {name}[-{before}], before the first value of {name}")

    def _why(self) -> KernelFailed:
        """Say why the child is gone."""
        status, control, name = self._process.wait(), self._control, self.signature.name
        if control.state == NOT_LOADED:
            reason = " ".join(control.message.decode(errors="replace").split(": ")[1:])  # less the name of the file
            return KernelFailed(f"{name} was compiled and cannot be loaded: {reason}")
        if control.state == STARTING and not control.signal:
            return KernelFailed(f"the process for {name} could not start (exit status {status}){self.printed()}")
        if not control.signal:
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else "ended its process"
            return KernelFailed(f"{name} {how}; a kernel returns to its caller{self.printed()}")
        return KernelFailed(f"{name} {self._crash()}{self.printed()}")

    def _crash(self) -> str:
        control = self._control
        if control.signal in (signal.SIGSEGV, signal.SIGBUS):
            return self._wild_access()
        told = {
            signal.SIGFPE: "divided an integer by zero",
            signal.SIGILL: "ran into an instruction that this processor does not have, or into the end of a function "
            "that returns nothing",
            signal.SIGABRT: "overran one of its own arrays, or called abort",
            signal.SIGXFSZ: "printed more than 64 kB",
        }
        return told.get(control.signal, f"was ended by {signal.Signals(control.signal).name}")

    def _wild_access(self) -> str:
        control = self._control
        if not control.has_place:
            return "used a null pointer, or an aligned load at an address that is not aligned; memcpy loads from any"
        if not 0 <= control.buffer < len(self.places):
            return "used an address that belongs to none of its tensors"
        _, name, _ = self.places[control.buffer]
        tensor, parameter = self.tensors[control.buffer], self._parameter(name)
        at, size = control.place // tensor.element_size(), tensor.numel()
        if 0 <= at < size and not parameter.writable:
            return f"wrote {name}[{at}], but {name} is an input ({parameter.text})"
        what = "read or wrote" if parameter.writable else "read"
        return f"{what} {name}[{at}]; {name} holds {size:,} values, {name}[0] to {name}[{size - 1}]"


def _whole_pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _anonymous_file() -> int:
    """A file without a name, in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("frugal-kernel")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@cache
def _host_text() -> str:
    return "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("confine.h", "host.cpp"))
