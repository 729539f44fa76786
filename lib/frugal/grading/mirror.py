"""A student's network seen from the judge: parameters and buffers are here, its forward runs over there.

What a test changes here (an optimizer's step, ``load_state_dict``, ``train()``) is sent before the next call; what a
call changes there (running statistics) comes back after it. Gradients reach the parameters here, so a test may train
it, count its parameters, save its state, or put it into a larger network. Its attributes are asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from frugal.grading.errors import Foul

if TYPE_CHECKING:
    from frugal.grading.proxy import Line

MOST_MODULES = 10_000


class RemoteModule(torch.nn.Module):
    """One module of a student's network; its children are such modules, too. Make it with ``mirror``."""

    def __init__(self, line: Line, target: list) -> None:
        super().__init__()
        for name, value in (("_line", line), ("_frugal_target", target), ("_known", {})):
            object.__setattr__(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._through(self._frugal_target, args, kwargs)

    def __getitem__(self, key: int | str) -> Any:
        return self._modules[key] if isinstance(key, str) else list(self.children())[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):
                raise
        found = self._line.ask(["get", [*self._frugal_target, name]])[0]
        return self._method(found._target) if callable(found) and hasattr(found, "_target") else found

    def _method(self, target: list) -> Callable:
        return lambda *args, **kwargs: self._through(target, args, kwargs)

    def _through(self, target: list, args: tuple, kwargs: dict) -> Any:
        self.push()
        value = self._line.call(target, args, kwargs, tuple(self.parameters()))
        if target != self._frugal_target or next(self.buffers(), None) is not None:
            self.pull()
        return value

    def _own(self) -> dict[str, torch.Tensor]:
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def push(self) -> None:
        """Send what was changed here since the two were last equal."""
        changed = {name: x.detach() for name, x in self._own().items() if self._known.get(name) != (id(x), x._version)}
        training = {name: child.training for name, child in self.named_modules()}
        if changed or training != self._known.get(""):
            self._line.ask(["load", self._frugal_target, changed, training])
        self._keep()

    def pull(self) -> None:
        """Take over what was changed there."""
        state = _state(self._line, self._frugal_target)
        own = self._own()
        with torch.no_grad():
            for name, value in (*((name, value) for name, value, _ in state["parameters"]), *state["buffers"]):
                if name not in own or own[name].shape != value.shape or own[name].dtype != value.dtype:
                    raise Foul("the network changed its shape while it was looked at")
                if not torch.equal(own[name], value):
                    own[name].copy_(value)
        self._keep()

    def _keep(self) -> None:
        self._known.clear()
        self._known.update({name: (id(x), x._version) for name, x in self._own().items()})
        self._known[""] = {name: child.training for name, child in self.named_modules()}


def mirror(line: Line, target: list) -> RemoteModule:
    """Make the judge's side of a student's network."""
    state = _state(line, target)
    modules: dict[str, RemoteModule] = {}
    for name, kind, training in state["modules"]:
        module = type(kind, (RemoteModule,), {})(line, [*target, *(name.split(".") if name else [])])
        module.training = training
        if name:
            parent, _, last = name.rpartition(".")
            modules[parent]._modules[last] = module
        modules[name] = module
    for name, value, learns in state["parameters"]:
        parent, _, last = name.rpartition(".")
        modules[parent]._parameters[last] = torch.nn.Parameter(value, requires_grad=learns)
    for name, value in state["buffers"]:
        parent, _, last = name.rpartition(".")
        modules[parent]._buffers[last] = value
    for module in modules.values():
        module._keep()
    return modules[""]


def _state(line: Line, target: list) -> dict[str, Any]:
    """Ask for a network's state and check its form."""
    state = line.ask(["state", target])[0]
    try:
        names = [name for name, kind, training in state["modules"] if _word(kind) and type(training) is bool]
        good = (
            len(names) == len(state["modules"]) <= MOST_MODULES
            and names[0] == ""
            and all(type(name) is str for name in names)
            and all(_tensor(name, value) and type(learns) is bool for name, value, learns in state["parameters"])
            and all(_tensor(name, value) for name, value in state["buffers"])
        )
    except (KeyError, TypeError, ValueError, IndexError):
        good = False
    if not good:
        raise Foul("the network that came back is none")
    return state


def _word(kind: Any) -> bool:
    return type(kind) is str and kind.isidentifier() and len(kind) <= 200


def _tensor(name: Any, value: Any) -> bool:
    return type(name) is str and type(value) is torch.Tensor
