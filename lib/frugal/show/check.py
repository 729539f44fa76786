"""Check an answer: every case in one table, the smallest failing one explained, a known mistake called by its name.

    check(
        quantize,
        case("one value", torch.tensor([0.5]), qparams, expect=torch.tensor([1], dtype=torch.int8)),
        case("nan is refused", torch.tensor([torch.nan]), qparams, expect=raises(ValueError)),
        holds("order is kept", lambda: monotone(quantize), tell="compare the codes of two neighbours"),
    )

A wrong answer of the catalogue is recognised by the digest of all it returned, and where nobody returned the same, by
that of its first failing case. ``misconceptions.json``, beside the lab, holds both:

    {"quantize": {"<digest>": {"name": ..., "says": ..., "hint": ...},
                  "first_failing": {"<case name>:<digest>": {...}}}}
"""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frugal.core.digest import digest
from frugal.show.attempt import LIMIT_S, Attempt, TooSlow, attempt, line_of
from frugal.show.compare import ULPS, Tolerance, compare
from frugal.show.unblock import fallback_for, is_unanswered, remember
from frugal.show.verdict import Row, Verdict
from frugal.show.words import in_words, name_of, number, shorten

MISCONCEPTIONS = Path("misconceptions.json")  # in the folder that the lab runs in
SIGNIFICANT_BITS = 12  # one mistake written in two ways differs in the last bits only
NOT_ATTEMPTED, CRASHED = "not attempted", "crashed"
BORROWED = "this is the library's version: your exercise is still open; run your own cell again"


@dataclass(frozen=True)
class Raises:
    """The expectation that a call is refused. Make it with ``raises``."""

    errors: tuple[type[BaseException], ...]

    def __str__(self) -> str:
        return " or ".join(error.__name__ for error in self.errors)


@dataclass(frozen=True)
class Case:
    """One call and what it must return. Make it with ``case``."""

    name: str
    args: tuple
    kwargs: Mapping[str, Any]
    expect: Any
    tolerance: Tolerance


@dataclass(frozen=True)
class Property:
    """Something that must be true of the answer. Make it with ``holds``."""

    name: str
    thunk: Callable[[], Any]
    tell: str


def raises(*errors: type[BaseException]) -> Raises:
    """Expect that the call is refused with one of ``errors``."""
    if not errors or not all(isinstance(error, type) and issubclass(error, BaseException) for error in errors):
        raise TypeError(f"raises needs exception classes such as ValueError, got {in_words(errors)}")
    return Raises(errors)


def case(name: str, /, *args: Any, expect: Any, ulps: float = ULPS, atol: float | None = None, **kwargs: Any) -> Case:
    """Describe one call of the function under check.

    Args:
        name: what the case shows, such as ``"ties go to the even code"``.
        args, kwargs: what the function gets; a fresh deep copy on every run.
        expect: the value it must return (tensors, numbers, tuples, dicts, dataclasses of them), or ``raises(...)``.
        ulps: how many units in the last place of the largest expected value a float may be off.
        atol: instead of ``ulps``, how far a float may be off in real units.
    """
    return Case(name, clone(args), clone(kwargs), clone(expect), Tolerance(ulps, atol))


def holds(name: str, thunk: Callable[[], Any], tell: str = "") -> Property:
    """Describe a property: ``thunk`` returns True or False, or raises an AssertionError that says what is wrong.

    ``tell`` is what the student should look at next.
    """
    if not callable(thunk):
        raise TypeError(f"holds needs a function without arguments, such as lambda: ..., got {in_words(thunk)}")
    return Property(name, thunk, tell)


def check(function: Callable, *cases: Case | Property, title: str | None = None) -> None:
    """Run every case, show the verdict, and stop the cell where something is wrong.

    Args:
        function: the answer.
        cases: made with ``case`` and ``holds``, from small to large.
        title: what the verdict and the catalogue call the exercise; the function's name by default.

    Raises:
        CheckFailed: with ``status`` and ``digest``; its message is two or three lines.
    """
    verdict = examine(function, *cases, title=title)
    remember(function, verdict.passed)
    drawn = _show(verdict)
    if not verdict.passed:
        raise verdict.error(drawn=drawn) from None


def examine(function: Callable, *cases: Case | Property, title: str | None = None) -> Verdict:
    """Run every case and return the verdict: ``check`` without showing or raising anything."""
    if not callable(function):
        raise TypeError(f"check needs a function first, got {in_words(function)}")
    if not cases or not all(isinstance(each, (Case, Property)) for each in cases):
        raise TypeError(f"check needs cases made with case(...) or holds(...), got {in_words(cases)}")
    name = name_of(function)
    if exercise := fallback_for(function):
        rows = [Row(each.name, NOT_ATTEMPTED, (BORROWED,)) for each in cases]
        return Verdict(title or exercise, tuple(rows), digest(BORROWED))
    rows = []
    outputs: list[str] = []
    for each in cases:
        if rows and rows[-1].status == "too slow":
            rows.append(Row(each.name, "too slow", ("not run: the case above took too long",)))
            continue
        row, output = _run_case(function, each) if isinstance(each, Case) else _run_property(function, each)
        rows.append(row)
        outputs.append(digest(output, significant_bits=SIGNIFICANT_BITS))  # now: a later call may reuse its memory
    fingerprint = digest(outputs)
    failed = next((index for index, row in enumerate(rows) if not row.passed), None)
    first = ""
    if failed is not None and isinstance(cases[failed], Case):  # a property returns one bit, which names no mistake
        first = f"{cases[failed].name}:{outputs[failed]}"
    verdict = Verdict(title or name, tuple(rows), fingerprint, first_failing=first)
    if verdict.status in ("pass", NOT_ATTEMPTED):
        return verdict
    return dataclasses.replace(verdict, diagnosis=_diagnose(fingerprint, first, verdict.title, name))


def clone(value: Any) -> Any:
    """Copy deeply, tensors with their strides and ``requires_grad``; what cannot be copied is passed on as it is."""
    if isinstance(value, Tensor):
        return copy.deepcopy(value.detach()).requires_grad_(value.requires_grad)
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if type(value) in (tuple, list):
        return type(value)(clone(each) for each in value)
    if type(value) is dict:
        return {key: clone(each) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        twin = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(twin, field.name, clone(getattr(value, field.name)))  # frozen ones as well
        return twin
    try:
        return copy.deepcopy(value)
    except Exception:  # a generator, a lock, a tensor inside that torch will not copy
        return value


def _run_case(function: Callable, case: Case) -> tuple[Row, Any]:
    """Run one case: its row, and what goes into the digest."""
    args, kwargs = clone(case.args), clone(case.kwargs)
    came = attempt(lambda: function(*args, **kwargs))
    changed = digest((args, kwargs)) != digest((case.args, dict(case.kwargs)))
    output = (came.value if came.returned else _refusal(came.error), changed)
    called = f"input: {shorten(_call_in_words(function, case), 200)}"
    if not came.returned:
        return _row_of_error(function, case.name, came, called, case.expect), output
    if isinstance(case.expect, Raises):
        told = f"got {shorten(in_words(came.value))}, expected {case.expect}"
        return Row(case.name, "wrong value", (told, called)), output
    difference = compare(came.value, clone(case.expect), case.tolerance)
    if difference:
        return Row(case.name, difference.status, (difference.text, called)), output
    if changed:
        told = "the result is right, but an argument was changed; work on a copy, as in x = x.clone()"
        return Row(case.name, "changed its input", (told, called)), output
    return Row(case.name, "pass"), output


def _run_property(function: Callable, prop: Property) -> tuple[Row, Any]:
    came = attempt(prop.thunk)
    look = (f"look at: {prop.tell}",) if prop.tell else ()
    if isinstance(came.error, AssertionError):
        return Row(prop.name, "wrong value", (shorten(str(came.error) or "this does not hold", 300), *look)), False
    if not came.returned:
        return _row_of_error(function, prop.name, came, *look), _refusal(came.error)
    truth = came.value.item() if type(came.value) is Tensor and came.value.numel() == 1 else came.value
    if truth is True:
        return Row(prop.name, "pass"), True
    if truth is False:
        return Row(prop.name, "wrong value", ("this does not hold", *look)), False
    return Row(prop.name, "wrong type or shape", (f"got {in_words(came.value)}, expected True or False", *look)), truth


def _refusal(error: BaseException | None) -> tuple[BaseException | None, str]:
    """What an error counts by: its type and its words, less the numbers and addresses, which differ from run to run.

    The type alone would make "zero_point must be int32, got float32" and "... got int64" one mistake.
    """
    words = " ".join(str(error).split())
    return error, re.sub(r"0x[0-9a-fA-F]+|(?<![A-Za-z_0-9])[-+]?[0-9][0-9.e+-]*", "#", words)


def _row_of_error(function: Callable, name: str, came: Attempt, about: str = "", expect: Any = None) -> Row:
    """Tell an error apart: not answered, too slow, the refusal that was expected, or a crash."""
    error = came.error
    more = (about,) if about else ()
    if isinstance(error, TooSlow):
        return Row(name, "too slow", (f"stopped after {number(LIMIT_S)} s; a right answer takes milliseconds", *more))
    wanted = expect.errors if isinstance(expect, Raises) else ()
    if isinstance(error, NotImplementedError) and NotImplementedError not in wanted:
        return Row(name, NOT_ATTEMPTED, (_tell_open(function, error),))
    if isinstance(error, wanted):
        return Row(name, "pass")
    crash = shorten(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, 200)
    line = line_of(error, function) if error else ""
    refused = f", expected {expect}" if isinstance(expect, Raises) else ""
    return Row(name, CRASHED, (crash + refused, *((line,) if line else ()), *more))


def _tell_open(function: Callable, error: BaseException) -> str:
    if is_unanswered(function):
        return "write the body in place of `raise NotImplementedError`, then run this cell again"
    line = line_of(error, function)
    where = f" ({line})" if line else ""
    return f"it still raises NotImplementedError{where}: remove that line, or answer the exercise that it belongs to"


def _call_in_words(function: Callable, case: Case) -> str:
    arguments = [in_words(each) for each in case.args]
    arguments += [f"{name}={in_words(each)}" for name, each in case.kwargs.items()]
    return f"{name_of(function)}({', '.join(arguments)})"


def _diagnose(fingerprint: str, first: str, *names: str) -> tuple[str, ...]:
    """Look the digests up in the lab's catalogue of wrong answers; a broken catalogue is a note, never a failure."""
    opening = "One mistake that gives exactly these results:"
    try:
        catalogue = json.loads(MISCONCEPTIONS.read_text(encoding="utf-8"))
        known = next((catalogue[name][fingerprint] for name in names if fingerprint in catalogue.get(name, {})), None)
        if known is None:
            opening = "Possibly:"
            alike = [catalogue.get(name, {}).get("first_failing", {}) for name in names]
            known = next((mistakes[first] for mistakes in alike if first in mistakes), None)
        if known is None:
            return ()
        says, hint = str(known["says"]).strip(), str(known.get("hint") or "").strip()
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return (f"({MISCONCEPTIONS.name} could not be read, so known mistakes are not named: {type(error).__name__})",)
    told = f"{opening} {says}"
    return (told, f"Hint: {hint}") if hint else (told,)


def _show(verdict: Verdict) -> bool:
    """Draw a table where there is a notebook, print lines where there is none; tell whether it was drawn."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        print(verdict)
        return False
    if get_ipython() is None:
        print(verdict)
        return False
    display(verdict)
    return True
