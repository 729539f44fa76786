"""The trusted side of the wire: stand-ins for what a student defined, to be called like the real thing.

    function, class, object   a call is sent, run there, and its value, its error and its changes to arguments come back
    gradient                  a call is one node of the judge's autograd graph; its backward runs over there
    network                   an nn.Module here that mirrors parameters and buffers: frugal.grading.mirror

An error comes back as the builtin type that it belongs to, so ``pytest.raises(ValueError, match=...)`` works. What is
no answer at all (too late, dead, malformed, not data) is a ``Foul``, which no test takes for a refusal.
"""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import os
import select
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch

from frugal.grading.edits import apply
from frugal.grading.errors import Foul, WireError
from frugal.grading.limits import Limits
from frugal.grading.modules import take_apart
from frugal.grading.wire import Codec, Hooks, receive, send

GONE_SECONDS = 10.0  # a worker that hung or died is waited for, with all its processes
_NOT_MAPPED = (UnicodeError, BaseExceptionGroup, StopIteration, StopAsyncIteration)  # the last two would end a loop
ERRORS: dict[str, type[Exception]] = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _NOT_MAPPED)
}


class _Wire(Hooks):
    """What the judge passes on: data, its own networks as data, and its functions as numbers to call back."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.sent: list[torch.Tensor] = []
        self.inputs: list[torch.Tensor] = []
        self.outputs: dict[int, torch.Tensor] = {}

    def begin(self) -> None:
        self.sent, self.inputs, self.outputs = [], [], {}

    def pack(self, value: Any, pack: Callable[[Any], Any]) -> dict[str, Any] | None:
        if isinstance(value, _Stand):
            return {"h": value._target}
        if isinstance(value, torch.nn.Module):
            if target := vars(value).get("_frugal_target"):
                return {"h": target}
            return {"m": take_apart(value, pack)}
        if isinstance(value, torch.Generator):
            return {"G": pack(value.get_state())}
        if isinstance(value, torch.Tensor) or not callable(value):
            return None
        module, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", "<")
        if module.startswith("torch") and "<" not in name and not hasattr(value, "__self__"):
            return {"g": f"{module}:{name}"}
        if isinstance(value, type) and value in (int, float, bool, str, list, tuple, dict, *ERRORS.values()):
            return {"g": f"builtins:{value.__name__}"}
        self.line.given.append(value)
        return {"C": len(self.line.given) - 1}

    def unpack(self, tag: str, data: Any, open_: Callable[[Any], Any]) -> Any:
        if tag == "H":
            number, kind, name = data
            if type(number) is not int or type(name) is not str or not name.isidentifier():
                raise WireError("a message holds a handle that is none")
            return (RemoteObject if kind == "object" else RemoteFunction)(self.line, [number], name)
        if tag == "M":
            number, name = data
            if type(number) is not int or type(name) is not str or not name.isidentifier():
                raise WireError("a message holds a network that is none")
            return _Pending(number, name)
        if tag == "C":
            if type(data) is not int or not 0 <= data < len(self.line.given):
                raise WireError("a message names a function that was never given")
            return self.line.given[data]
        return super().unpack(tag, data, open_)

    def note(self, tensor: torch.Tensor) -> Any:
        self.sent.append(tensor)
        if not (tensor.requires_grad and torch.is_grad_enabled()):
            return None
        self.inputs.append(tensor)
        return "leaf" if tensor.is_leaf else "inner"

    def made(self, tensor: torch.Tensor, extra: Any) -> torch.Tensor:
        if type(extra) is list and len(extra) == 2 and type(extra[1]) is int:
            kind, place = extra
            if kind == "a" and 0 <= place < len(self.sent) and self.sent[place].shape == tensor.shape:
                return self.sent[place]
            if kind == "o" and place == len(self.outputs) and (tensor.is_floating_point() or tensor.is_complex()):
                self.outputs[place] = tensor
        return tensor

    def dataclass(self, name: str) -> type | None:
        return self.line.dataclasses.get(name)


@dataclasses.dataclass(frozen=True)
class _Pending:
    """A network that came in and is mirrored once the frame is read to its end."""

    number: int
    name: str


class Line:
    """The judge's end of one worker's wire."""

    def __init__(self, sock: socket.socket, leash: int, limits: Limits, dataclasses_: dict[str, type]) -> None:
        self.sock, self.leash, self.limits, self.dataclasses = sock, leash, limits, dataclasses_
        self.hooks = _Wire(self)
        self.codec = Codec(limits, self.hooks)
        self.given: list[Callable] = []
        self.dead = ""
        self.calls = 0
        self.last_error: tuple[str, str] = ("", "")  # what was raised last, and the line of the student's cell
        self.record: Callable[[list, tuple, dict], Any] | None = None

    def close(self, seconds: float = 0.0) -> None:
        """Let go of the worker: its keeper kills it. Wait up to ``seconds`` until all that it started is gone."""
        if self.leash < 0:
            return
        self.sock.close()
        if seconds:
            with contextlib.suppress(OSError):  # the keeper is gone already
                os.write(self.leash, b"end")
                gone = select.poll()
                gone.register(self.leash, 0)  # the other end closed
                gone.poll(seconds * 1000)
        os.close(self.leash)
        self.leash = -1

    def hello(self, seconds: float) -> list[str]:
        """Wait until the worker is confined; return what confines it."""
        reply = self._receive(time.monotonic() + seconds)
        if reply[0] != "hello":
            raise Foul(f"the student's process could not be started: {str(reply[1:])[:1500]}")
        return reply[1]

    def ask(self, request: list, seconds: float | None = None) -> tuple[Any, Any]:
        """Send a request and wait for its answer: the value, and what it changed of its arguments.

        Raises:
            Foul: there is no answer, or it is none.
            Exception: what the student's code raised, as the builtin type it belongs to.
        """
        if self.dead:
            raise Foul(self.dead)
        deadline = time.monotonic() + (seconds or self.limits.call_seconds)
        try:
            self.hooks.begin()
            message = self.codec.encode(request)
        except WireError as error:
            raise TypeError(f"the test cannot pass this on: {error}") from None
        try:
            send(self.sock, message, max(deadline - time.monotonic(), 0.01))
            reply = self._answer(deadline)
        except TimeoutError:
            self._fail(f"no answer within {seconds or self.limits.call_seconds:g} s")
        except (EOFError, OSError):
            self._fail("the process died: it ended itself, or used more memory than it may")
        except WireError as error:
            self._fail(f"what came back cannot be read: {error}")
        except BaseException:
            self.dead = "the call was stopped"  # an alarm of the test: the wire is out of step now
            self.close()
            raise
        return self._opened(reply)

    def _answer(self, deadline: float) -> list:
        while True:
            reply = self._receive(deadline)
            if reply[0] != "callback":
                return reply
            outer = self.hooks.sent, self.hooks.inputs
            _, number, args, kwargs = reply
            try:
                value = ["return", self.given[number](*args, **kwargs)]
            except Exception as error:
                value = [
                    "raise",
                    next(k.__name__ for k in type(error).__mro__ if k.__name__ in ERRORS),
                    str(error)[:2000],
                ]
            try:
                self.hooks.begin()
                message = self.codec.encode(value)
            except WireError as error:
                message = self.codec.encode(["raise", "TypeError", str(error)])
            self.hooks.sent, self.hooks.inputs = outer
            send(self.sock, message, max(deadline - time.monotonic(), 0.01))

    def _receive(self, deadline: float) -> list:
        reply = self.codec.decode(receive(self.sock, self.limits.frame_bytes, deadline))
        if type(reply) is not list or not reply or type(reply[0]) is not str:
            raise WireError("it is no answer")
        return reply

    def _opened(self, reply: list) -> tuple[Any, Any]:
        if reply[0] == "ok" and len(reply) == 3:
            return self._mirrored(reply[1]), reply[2]
        if reply[0] == "error" and len(reply) == 5 and type(reply[1]) is list:
            _, kinds, name, words, line = reply
            known = next((ERRORS[kind] for kind in kinds if type(kind) is str and kind in ERRORS), RuntimeError)
            self.last_error = (f"{name}: {words}"[:500], str(line)[:300])
            raise known(str(words)) from None
        if reply[0] == "unsendable" and len(reply) == 2:
            raise Foul(f"what the function returned cannot be looked at from outside: {str(reply[1])[:500]}")
        self._fail("what came back is no answer")
        raise AssertionError

    def _mirrored(self, value: Any) -> Any:
        """Put mirrors in the place of networks that came in."""
        if type(value) is _Pending:
            from frugal.grading.mirror import mirror

            return mirror(self, [value.number])
        if type(value) in (list, tuple):
            return type(value)(self._mirrored(each) for each in value)
        if type(value) in (dict, OrderedDict):
            return type(value)((key, self._mirrored(each)) for key, each in value.items())
        return value

    def _fail(self, reason: str) -> None:
        self.dead = reason
        self.close(GONE_SECONDS)  # the next worker shares the processors with what is left of this one
        raise Foul(reason)

    # ---- calls -------------------------------------------------------------------------------------------------------

    def call(self, target: list, args: tuple, kwargs: dict, weights: tuple[torch.Tensor, ...] = ()) -> Any:
        """Call a student's function, with gradients where an argument, or a weight of its network, asks for them."""
        tensors: list[torch.Tensor] = []
        networks: list[Any] = []
        _parts([args, kwargs], tensors, networks)
        for network in networks:
            network.push()
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*weights, *tensors)):
            return self._call_with_gradients(target, args, kwargs, weights)
        return self._call(target, args, kwargs)

    def _call(self, target: list, args: tuple, kwargs: dict) -> Any:
        self.calls += 1
        arguments = [list(args), kwargs]
        value, edits = self.ask(["call", target, *arguments, torch.is_grad_enabled()])
        if edits is not None:
            try:
                changed = self.codec.decode(edits) if type(edits) is bytes else None
                apply([*arguments], changed)
            except (WireError, TypeError, ValueError) as error:
                raise Foul(f"an argument was changed in a way that cannot be followed: {error}") from None
        return value

    def _call_with_gradients(self, target: list, args: tuple, kwargs: dict, weights: tuple[torch.Tensor, ...]) -> Any:
        inputs: list[torch.Tensor] = []
        seen: set[int] = set()
        tensors: list[torch.Tensor] = []
        _parts([args, kwargs], tensors, [])
        for tensor in tensors:
            if tensor.requires_grad and id(tensor) not in seen:
                seen.add(id(tensor))
                inputs.append(tensor)
        box: dict[str, Any] = {}
        box["weights"] = [tensor for tensor in weights if tensor.requires_grad]
        made = _Node.apply(self, target, args, kwargs, box, *inputs, *box["weights"])
        outputs = made if isinstance(made, tuple) else ()
        return _swap(box["value"], {id(old): new for old, new in zip(box["outputs"], outputs, strict=False)})


class _Node(torch.autograd.Function):
    """One call of a student's function in the judge's graph."""

    @staticmethod
    def forward(ctx: Any, line: Line, target: list, args: tuple, kwargs: dict, box: dict, *inputs: torch.Tensor) -> Any:
        with torch.enable_grad():
            box["value"] = line._call(target, args, kwargs)
        ctx.line, ctx.call = line, line.calls
        came = [*line.hooks.inputs, *box["weights"]]
        ctx.order = [next(i for i, tensor in enumerate(inputs) if tensor is each) for each in came]
        ctx.count = len(inputs)
        box["outputs"] = list(line.hooks.outputs.values())
        return tuple(box["outputs"]) or torch.zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        came, _ = ctx.line.ask(
            ["backward", ctx.call, [each if each is None else each.contiguous() for each in gradients]]
        )
        if type(came) is not list or len(came) != len(ctx.order):
            raise Foul("the gradients that came back are none")
        found: list[torch.Tensor | None] = [None] * ctx.count
        for place, gradient in zip(ctx.order, came, strict=True):
            if gradient is not None and type(gradient) is not torch.Tensor:
                raise Foul("the gradients that came back are none")
            if gradient is not None:
                found[place] = gradient if found[place] is None else found[place] + gradient
        return (None,) * 5 + tuple(found)


def _parts(value: Any, tensors: list[torch.Tensor], networks: list[Any]) -> None:
    """Find the tensors and the mirrors of networks among the arguments."""
    kind = type(value)
    if kind is int or kind is float or value is None:
        return
    if isinstance(value, torch.Tensor):
        tensors.append(value)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _parts(each, tensors, networks)
    elif isinstance(value, dict):
        for each in value.values():
            _parts(each, tensors, networks)
    elif isinstance(value, torch.nn.Module):
        if "_frugal_target" in vars(value):
            networks.append(value)
    elif dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            _parts(getattr(value, field.name), tensors, networks)


def _swap(value: Any, new: dict[int, torch.Tensor]) -> Any:
    """Put the tensors of the graph in the place of those that came over the wire."""
    if not new:
        return value
    if isinstance(value, torch.Tensor):
        return new.get(id(value), value)
    if type(value) in (list, tuple):
        return type(value)(_swap(each, new) for each in value)
    if type(value) in (dict, OrderedDict):
        return type(value)((key, _swap(each, new)) for key, each in value.items())
    return value


# ---- stand-ins -------------------------------------------------------------------------------------------------------


class _Stand:
    """Something of a student's that stays in their process."""

    def __init__(self, line: Line, target: list, name: str, says: str | None = None) -> None:
        self._line, self._target = line, target
        self.__name__ = self.__qualname__ = name
        self.__doc__ = says

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._line.ask(["get", [*self._target, name]])[0]

    def __deepcopy__(self, memo: dict) -> Any:
        return self

    def __repr__(self) -> str:
        return f"<{self.__name__} of a submission>"


class RemoteFunction(_Stand):
    """A function or a class: call it."""

    def __instancecheck__(self, instance: Any) -> bool:
        target = (
            vars(instance).get("_frugal_target") or vars(instance).get("_target")
            if hasattr(instance, "__dict__")
            else None
        )
        return bool(target) and self._line.ask(["isinstance", target, self._target])[0] is True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        line = self._line
        if line.record is None:
            return line.call(self._target, args, kwargs)
        return line.record(self._target, args, kwargs)


class RemoteObject(_Stand):
    """An object that is no plain data: read and set its attributes, call its methods."""

    def __len__(self) -> int:
        return self._line.call([*self._target, "__len__"], (), {})

    def __getitem__(self, key: Any) -> Any:
        return self._line.call([*self._target, "__getitem__"], (key,), {})

    def __eq__(self, other: object) -> bool:
        """Ask only about another of the student's objects: none equals the judge's data by its own word."""
        if self is other or not isinstance(other, RemoteObject):
            return self is other
        return self._line.call([*self._target, "__eq__"], (other,), {}) is True

    def __hash__(self) -> int:
        return id(self)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_line", "_target", "__name__", "__qualname__", "__doc__"):
            object.__setattr__(self, name, value)
        else:
            self._line.ask(["set", self._target, name, value])
