"""Which known mistake is it? A failed answer and the catalogue of wrong ones meet the same inputs.

The inputs are those on which the lab's own tests call the instructor's answer, gradients included. Every catalogued
wrong answer is run on them once, here, when the referee starts. A student's answer that gives the same on all of them
makes the same mistake, and the catalogue's sentence about it is told.
"""

from __future__ import annotations

import ast
import contextlib
import io
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from frugal.core.digest import digest
from frugal.grading import cells as text
from frugal.grading.lab import Lab

FIRST_PROBES, MOST_PROBES = 10, 24
SECONDS = 2.0  # one catalogued answer on all probes
SIGNIFICANT_BITS = 12  # one mistake written in two ways differs in the last bits only
_LONGEST = 1 << 20  # values of one probe


@dataclass(frozen=True)
class Probe:
    """One call of an answer."""

    args: tuple
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Known:
    """What is known about the mistakes of one exercise.

    name:     what its answer is called.
    right:    what the instructor's answer gives on every probe.
    mistakes: what the student is told, and what the mistake gives on every probe.
    """

    name: str
    probes: tuple[Probe, ...]
    right: tuple[str, ...]
    mistakes: tuple[tuple[str, tuple[str, ...]], ...]


def study(lab: Lab, names: dict[str, Any]) -> dict[str, Known]:
    """Run the lab's tests on the instructor's answers, then its catalogues on the inputs met."""
    lab_names = dict(names)
    calls = _recorded(lab, lab_names)
    found = {}
    for exercise, path in lab.catalogues.items():
        name = _bound(lab, exercise)
        answer = getattr(lab_names.get(name), "__wrapped__", None)
        if answer is None or not calls.get(name):
            continue
        catalogue = list(_catalogued(path.read_text(encoding="utf-8"), lab_names))
        probes = _chosen(calls[name], answer, [function for _, function in catalogue])
        mistakes = tuple((says, came) for says, function in catalogue if (came := _timed(function, probes)))
        found[exercise] = Known(name, probes, outcomes(answer, probes), mistakes)
    return found


def named(known: Known, function: Callable) -> str | None:
    """Return the sentences of the mistakes that give what ``function`` gives, None where there is none."""
    came: list[str] = []
    for probe in known.probes:
        came.append(outcome(function, probe))
        if not any(tuple(came) == mistake[: len(came)] for _, mistake in known.mistakes):
            return None
    if tuple(came) == known.right:
        return None
    says = dict.fromkeys(says for says, mistake in known.mistakes if mistake == tuple(came))
    return " Or: ".join(list(says)[:2]) or None


def outcomes(function: Callable, probes: tuple[Probe, ...]) -> tuple[str, ...]:
    return tuple(outcome(function, probe) for probe in probes)


def outcome(function: Callable, probe: Probe) -> str:
    """Name all that one call does: its value, its gradients, its changes to the arguments, or what it raised."""
    args, kwargs = _copy(probe.args), _copy(probe.kwargs)
    try:
        value = function(*args, **kwargs)
        gradients = _gradients(value, [*args, *kwargs.values()])
        return digest([value, gradients, [args, kwargs]], significant_bits=SIGNIFICANT_BITS)
    except Exception as error:
        return type(error).__name__


def _gradients(value: Any, arguments: list) -> list:
    asked = [each for each in arguments if isinstance(each, torch.Tensor) and each.requires_grad]
    if not asked or not isinstance(value, torch.Tensor) or not value.requires_grad:
        return []
    value.backward(torch.linspace(0.5, 1.5, value.numel()).reshape(value.shape).to(value.dtype))
    return [each.grad for each in asked]


# ---- inputs ----------------------------------------------------------------------------------------------------------


def _recorded(lab: Lab, names: dict[str, Any]) -> dict[str, list[Probe]]:
    """Run the answers and the tests of the lab; return the calls of each answer."""
    calls: dict[str, list[Probe]] = {}
    own = [text.Names(cell.names.binds - lab.asked, cell.names.uses) for cell in lab.cells]
    wanted = text.needed(own, {index: index for index, cell in enumerate(lab.cells) if cell.role == "test"})
    for index, cell in enumerate(lab.cells):
        if cell.role not in ("answer", "test") and not (cell.role == "plain" and index in wanted):
            continue
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            exec(compile(text.plain(cell.source), f"<{cell.id}>", "exec", dont_inherit=True), names)
        for name in lab.answers.get(cell.id, ()):
            if callable(names.get(name)) and not isinstance(names[name], type):
                names[name] = _recorder(names[name], calls.setdefault(name, []))
    return calls


def _recorder(function: Callable, calls: list[Probe]) -> Callable:
    def recording(*args: Any, **kwargs: Any) -> Any:
        if len(calls) < 10_000 and _size([args, kwargs]) <= _LONGEST:
            with contextlib.suppress(Exception):
                calls.append(Probe(_copy(args), _copy(kwargs)))
        return function(*args, **kwargs)

    recording.__name__ = recording.__qualname__ = getattr(function, "__name__", "answer")
    recording.__doc__ = function.__doc__
    recording.__dict__["__wrapped__"] = function
    return recording


def _chosen(calls: list[Probe], answer: Callable, mistakes: list[Callable]) -> tuple[Probe, ...]:
    """Choose calls spread over all of them, and for each mistake that looks right on these, one more that shows it."""
    different = list({digest([probe.args, probe.kwargs]): probe for probe in calls}.values())
    places = {round(i * (len(different) - 1) / (FIRST_PROBES - 1)) for i in range(FIRST_PROBES)}
    chosen = [different[place] for place in sorted(places)]
    right = {id(probe): outcome(answer, probe) for probe in different}
    for mistake in mistakes:
        _within(SECONDS, lambda mistake=mistake: _show(mistake, right, different, chosen))  # type: ignore[misc]
    return tuple(chosen)


def _show(mistake: Callable, right: dict[int, str], probes: list[Probe], chosen: list[Probe]) -> None:
    if any(outcome(mistake, probe) != right[id(probe)] for probe in chosen) or len(chosen) >= MOST_PROBES:
        return
    for probe in probes:
        if outcome(mistake, probe) != right[id(probe)]:
            chosen.append(probe)
            return


def _timed(function: Callable, probes: tuple[Probe, ...]) -> tuple[str, ...]:
    return _within(SECONDS, lambda: outcomes(function, probes)) or ()


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if type(value) in (list, tuple):
        return type(value)(_copy(each) for each in value)
    if type(value) is dict:
        return {key: _copy(each) for key, each in value.items()}
    return value


def _size(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel()
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    return sum(map(_size, value.values())) if isinstance(value, dict) else 1


# ---- the catalogue ---------------------------------------------------------------------------------------------------


def _bound(lab: Lab, exercise: str) -> str:
    """The name of an exercise's answer: the exercise's own, or that of its last definition."""
    names = lab.answers[exercise]
    return exercise if exercise in names or not names else names[-1]


def _catalogued(source: str, names: dict[str, Any]) -> Iterator[tuple[str, Callable]]:
    """Yield each wrong answer with the first paragraph of its docstring."""
    own = dict(names)
    exec(compile(source, "<catalogue>", "exec", dont_inherit=True), own)
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            says = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            if says:
                yield says, own[node.name]


class _Late(BaseException):
    pass


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """Call, or return None where it takes too long: a catalogue may hold an answer without end."""

    def ring(*_: Any) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return call()
    except (_Late, Exception):
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
