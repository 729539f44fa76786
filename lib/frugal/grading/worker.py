"""The confined side of the wire: runs a student's cells, calls their functions, sends back plain data.

Requests, each answered by ["ok", value, edits] or ["error", builtin type names, text, line]:

    ["run", source, title]                    a cell
    ["kinds", [name, ...]]                    what a name stands for: missing, data, function, class, object, module
    ["call", target, args, kwargs, grad]      target: [name or handle, attribute, ...]
    ["get", target], ["set", target, attribute, value]
    ["backward", call, [gradient or None, ...]]
    ["return", value] or ["raise", type, text]   answers a ["callback", number, args, kwargs] of ours

Nothing here is trusted by the judge: a student may change all of it and can then only send other data.
"""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import importlib
import linecache
import os
import random
import socket
import sys
import traceback
import types
from collections import OrderedDict
from typing import Any

import torch

from frugal.grading.edits import picture
from frugal.grading.errors import WireError
from frugal.grading.limits import Limits
from frugal.grading.modules import load, rebuild, state_of
from frugal.grading.wire import Codec, Hooks, receive, send

MOST_HANDLES, MOST_GRAPHS, LONGEST_TEXT = 4096, 256, 2000


class _Wire(Hooks):
    """What a student's side passes on: plain data by value, everything else by handle."""

    believes = True

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.arguments: dict[int, int] = {}  # id of a tensor that came in -> its place
        self.came: list[torch.Tensor] = []
        self.leaves: list[torch.Tensor] = []
        self.outputs: list[torch.Tensor] = []

    def begin(self) -> None:
        self.arguments, self.came, self.leaves, self.outputs = {}, [], [], []

    def pack(self, value: Any, pack: Any) -> dict[str, Any] | None:
        if isinstance(value, torch.Tensor):
            return None
        if isinstance(value, _Callback):
            return {"C": value.number}
        if isinstance(value, torch.nn.Module):
            return {"M": [self.worker.handle(value), type(value).__name__]}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            if self.dataclass(f"{type(value).__module__}:{type(value).__qualname__}") is type(value):
                return None
        elif isinstance(value, (tuple, dict)):
            return None
        kind = "class" if isinstance(value, type) else "function" if callable(value) else "object"
        return {"H": [self.worker.handle(value), kind, type(value).__name__]}

    def unpack(self, tag: str, data: Any, open_: Any) -> Any:
        if tag == "h":
            return self.worker.find(data)
        if tag == "C":
            return _Callback(self.worker, data)
        if tag == "g":
            module, _, name = data.partition(":")
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
            return found
        if tag == "m":
            return rebuild(open_, data)
        if tag == "G":
            generator = torch.Generator()
            generator.set_state(open_(data))
            return generator
        return super().unpack(tag, data, open_)

    def note(self, tensor: torch.Tensor) -> Any:
        if id(tensor) in self.arguments:
            return ["a", self.arguments[id(tensor)]]
        if tensor.requires_grad:
            self.outputs.append(tensor)
            return ["o", len(self.outputs) - 1]
        return None

    def made(self, tensor: torch.Tensor, extra: Any) -> torch.Tensor:
        if extra in ("leaf", "inner"):
            tensor.requires_grad_()
            self.leaves.append(tensor)
            tensor = tensor if extra == "leaf" else tensor.view_as(tensor)
        self.arguments[id(tensor)] = len(self.came)
        self.came.append(tensor)
        return tensor

    def dataclass(self, name: str) -> type | None:
        return find_dataclass(name) if name in self.worker.dataclasses else None


class _Plain(_Wire):
    """The same without notes, for what a call made of its arguments; what is no data stays where it is."""

    def pack(self, value: Any, pack: Any) -> dict[str, Any] | None:
        if dataclasses.is_dataclass(value) or isinstance(value, (tuple, dict, torch.Tensor)):
            return None
        return {"e": 0}

    def note(self, tensor: torch.Tensor) -> Any:
        return None


class _Callback:
    """A function of a test, passed as an argument: calling it asks the judge."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker, self._number = worker, number
        self.__name__ = "given"

    @property
    def number(self) -> int:
        return self._number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._worker.ask(self._number, list(args), kwargs)


class Worker:
    """One submission's namespace and its end of the wire."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self.sock, self.limits = sock, limits
        self.hooks = _Wire(self)
        self.codec, self.plain = Codec(limits, self.hooks), Codec(limits, _Plain(self))
        self.dataclasses: frozenset[str] = frozenset()
        self.handles: dict[int, Any] = {}
        self.graphs: OrderedDict[int, tuple[list[torch.Tensor], list[torch.Tensor]]] = OrderedDict()
        self.calls = 0
        self.frame = bytearray()  # the request that is being answered; its tensors lie in it
        self.main = types.ModuleType("__main__")
        self.main.__dict__.update(__builtins__=builtins, display=lambda *values, **options: None)
        sys.modules["__main__"] = self.main

    @property
    def names(self) -> dict[str, Any]:
        return self.main.__dict__

    def begin(self, setup: dict[str, Any]) -> None:
        """Take what the judge says first: which dataclasses cross, and a seed."""
        self.dataclasses = frozenset(setup["dataclasses"])
        seed = setup["seed"]
        random.seed(seed)
        torch.manual_seed(seed)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed(seed % (1 << 32))

    def serve(self) -> None:
        """Answer requests until the judge hangs up."""
        while True:
            try:
                request = self._receive()
            except (EOFError, OSError):
                os._exit(0)
            self._answer(request)

    # ---- requests ----------------------------------------------------------------------------------------------------

    def _answer(self, request: list) -> None:
        try:
            reply = ["ok", *self._do(*request)]
        except BaseException as error:
            reply = _refusal(error)
        try:
            message = self.codec.encode(reply)
        except BaseException as error:
            message = self.codec.encode(["unsendable", f"{error}"[:LONGEST_TEXT]])
        if reply[0] == "ok" and self.hooks.outputs:
            self.graphs[self.calls] = (self.hooks.outputs, self.hooks.leaves)
            if len(self.graphs) > MOST_GRAPHS:
                self.graphs.popitem(last=False)
        send(self.sock, message)

    def _do(self, op: str, *given: Any) -> tuple[Any, Any]:
        if op == "run":
            self._run(*given)
            return None, None
        if op == "call":
            return self._call(*given)
        if op == "kinds":
            return {name: _kind(self.names[name]) if name in self.names else "missing" for name in given[0]}, None
        if op == "get":
            return self.find(given[0]), None
        if op == "set":
            setattr(self.find(given[0]), given[1], given[2])
            return None, None
        if op == "isinstance":
            return isinstance(self.find(given[0]), self.find(given[1])), None
        if op == "load":
            load(self.find(given[0]), *given[1:])
            return None, None
        if op == "state":
            return state_of(self.find(given[0])), None
        if op == "backward":
            return self._backward(*given), None
        if op == "begin":
            self.begin(given[0])
            return None, None
        raise WireError(f"unknown request {op!r}")

    def _run(self, source: str, title: str) -> None:
        filename = f"<{title}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        exec(compile(source, filename, "exec", dont_inherit=True), self.names)

    def _call(self, target: list, args: list, kwargs: dict, grad: bool) -> tuple[Any, Any]:
        self.calls += 1
        function = self.find(target)
        if isinstance(function, torch.nn.Module) and grad:
            self.hooks.leaves += [each for each in function.parameters() if each.requires_grad]
        frame, before = self.frame, (bytes(self.frame), picture([args, kwargs]))
        with torch.set_grad_enabled(grad):
            value = function(*args, **kwargs)
        with contextlib.suppress(WireError, RecursionError):
            if frame != before[0] or picture([args, kwargs]) != before[1]:
                return value, self.plain.encode([args, kwargs])
        return value, None

    def _backward(self, call: int, gradients: list) -> list:
        outputs, leaves = self.graphs[call]
        for leaf in leaves:
            leaf.grad = None
        pairs = [(out, gradient) for out, gradient in zip(outputs, gradients, strict=True) if gradient is not None]
        torch.autograd.backward([out for out, _ in pairs], [gradient for _, gradient in pairs], retain_graph=True)
        return [leaf.grad for leaf in leaves]

    # ---- handles and callbacks ---------------------------------------------------------------------------------------

    def handle(self, value: Any) -> int:
        if len(self.handles) >= MOST_HANDLES:
            raise WireError(f"more than {MOST_HANDLES} objects are in use")
        number = id(value)
        self.handles[number] = value
        return number

    def find(self, target: list) -> Any:
        first, *attributes = target
        found = self.handles[first] if type(first) is int else self.names[first]
        for attribute in attributes:
            found = getattr(found, attribute)
        return found

    def ask(self, number: int, args: list, kwargs: dict) -> Any:
        """Call a function of the judge's; meanwhile it may call us."""
        outer = self.hooks.arguments, self.hooks.came, self.hooks.leaves, self.hooks.outputs
        self.hooks.begin()
        send(self.sock, self.codec.encode(["callback", number, args, kwargs]))
        try:
            while True:
                request = self._receive()
                if request[0] == "return":
                    return request[1]
                if request[0] == "raise":
                    raise getattr(builtins, request[1], RuntimeError)(request[2])
                self._answer(request)
        finally:
            self.hooks.arguments, self.hooks.came, self.hooks.leaves, self.hooks.outputs = outer

    def _receive(self) -> list:
        self.frame = receive(self.sock, self.limits.frame_bytes)
        self.hooks.begin()
        return self.codec.decode(self.frame)


def find_dataclass(name: str) -> type | None:
    """Return a dataclass of a module that is imported already."""
    module, _, qualified = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and dataclasses.is_dataclass(found) else None


def _kind(value: Any) -> str:
    if isinstance(value, type):
        return "class"
    if isinstance(value, torch.nn.Module):
        return "module"
    return "function" if callable(value) else "data"


def _refusal(error: BaseException) -> list:
    """Say what was raised: the builtin types it belongs to, its words, and the line of the student's cell."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
    try:
        words = str(error)
    except BaseException:
        words = ""
    line = ""
    with contextlib.suppress(BaseException):
        for frame, number in traceback.walk_tb(error.__traceback__):
            if (name := frame.f_code.co_filename).startswith("<"):
                line = f"line {number}: {linecache.getline(name, number).strip()}"
    return ["error", kinds, type(error).__name__[:100], words[:LONGEST_TEXT], line[:300]]
