"""Compare an answer with what was expected: type, dtype, shape, values, in this order; the first difference is told.

Integers are compared exactly. Floats may differ by a few units in the last place (ulps) of the largest expected
value: the room that rounding needs when one formula is written in two ways.

    tolerance = ulps · eps(dtype) · max |expected|

Types are compared before values, by ``type(x) is``: a subclass could redefine ``==`` and agree with everything.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frugal.show.words import count, in_words, two_numbers, type_name

ULPS = 8.0  # one formula written in two ways differs by 1 to 3; the smallest of our wrong answers by thousands


@dataclass(frozen=True)
class Tolerance:
    """How far floats may be off.

    ulps: in units of the last place of the largest expected value.
    atol: in real units; replaces ``ulps`` when given.
    """

    ulps: float = ULPS
    atol: float | None = None

    def of(self, dtype: torch.dtype, largest: float) -> float:
        """The allowed difference, in real units."""
        return self.atol if self.atol is not None else self.ulps * torch.finfo(dtype).eps * largest


@dataclass(frozen=True)
class Difference:
    """The first thing that is not as expected: its status (see CheckFailed) and one line that tells it."""

    status: str
    text: str


def compare(got: Any, expected: Any, tolerance: Tolerance | None = None, path: str = "") -> Difference | None:
    """Find the first difference, or None. ``path`` names the part that is compared, such as ``scale`` or ``[1]``."""
    tolerance = tolerance or Tolerance()
    if type(got) is not type(expected):
        return _wrong_type(got, expected, path)
    if isinstance(expected, np.ndarray):
        return _compare_tensors(torch.as_tensor(got), torch.as_tensor(expected), tolerance, path)
    if isinstance(expected, Tensor):
        return _compare_tensors(got, expected, tolerance, path)
    if dataclasses.is_dataclass(expected) and not isinstance(expected, type):
        names = [field.name for field in dataclasses.fields(expected)]
        parts = [(f"{path}.{name}" if path else name, getattr(got, name), getattr(expected, name)) for name in names]
        return _first_difference(parts, tolerance)
    if isinstance(expected, (tuple, list)):
        if len(got) != len(expected):
            return _wrong_form(path, f"{len(got)} items", f"{len(expected)}")
        parts = [(f"{path}[{index}]", *pair) for index, pair in enumerate(zip(got, expected, strict=True))]
        return _first_difference(parts, tolerance)
    if isinstance(expected, dict):
        if got.keys() != expected.keys():
            return _wrong_form(path, f"the keys {in_words(list(got))}", in_words(list(expected)))
        return _first_difference([(f"{path}[{key!r}]", got[key], expected[key]) for key in expected], tolerance)
    if isinstance(expected, float):
        return _compare_floats(got, expected, tolerance, path)
    if bool(got == expected):
        return None
    far = _how_far(got - expected, "") if type(expected) is int else ""
    return Difference("wrong value", f"{_at(path)}got {in_words(got)}, expected {in_words(expected)}{far}")


def _first_difference(parts: list[tuple[str, Any, Any]], tolerance: Tolerance) -> Difference | None:
    found = (compare(got, expected, tolerance, path) for path, got, expected in parts)
    return next((difference for difference in found if difference), None)


def _wrong_type(got: Any, expected: Any, path: str) -> Difference:
    found = _wrong_form(path, type_name(got), type_name(expected))
    if got is None:
        return Difference(found.status, f"{found.text}; does the function end in return?")
    if type(got).__name__ == type(expected).__name__:
        return Difference(found.status, f"{found.text} of another definition; run the cell that defines it once more")
    return found


def _wrong_form(path: str, got: str, expected: str) -> Difference:
    return Difference("wrong type or shape", f"{_at(path)}got {got}, expected {expected}")


def _compare_tensors(got: Tensor, expected: Tensor, tolerance: Tolerance, path: str) -> Difference | None:
    for word in ("dtype", "layout", "device"):
        if getattr(got, word) != getattr(expected, word):
            mine, theirs = (str(getattr(x, word)).removeprefix("torch.") for x in (got, expected))
            return _wrong_form(path, f"{word} {mine}", theirs)
    if got.shape != expected.shape:
        return _wrong_form(path, f"shape {list(got.shape)}", f"{list(expected.shape)}")
    if expected.numel() == 0:
        return None
    if expected.is_complex():
        return _compare_tensors(torch.view_as_real(got), torch.view_as_real(expected), tolerance, path)

    a, b, allowed = got.detach(), expected.detach(), 0.0
    if expected.is_floating_point():
        a, b = a.double(), b.double()
        finite = b[torch.isfinite(b)]
        allowed = tolerance.of(expected.dtype, finite.abs().max().item() if finite.numel() else 0.0)
        same = (
            (a == b) | (a.isnan() & b.isnan()) | ((a - b).abs() <= allowed)
        )  # inf - inf is nan, and nan <= x is False
    else:
        same = a == b
    if bool(same.all()):
        return None
    return Difference("wrong value", _tell_values(a, b, same, allowed, path))


def _tell_values(a: Tensor, b: Tensor, same: Tensor, allowed: float, path: str) -> str:
    """Tell the first differing value, how far off it is, and how many differ."""
    index = (~same).nonzero()[0].tolist()
    got, expected = a[tuple(index)].item(), b[tuple(index)].item()
    where = f"{path or 'value'} {index}" if index else path
    unit = " step" if b.dtype in (torch.int8, torch.uint8) else ""
    far = "" if isinstance(expected, bool) else _how_far(got - expected, unit, allowed)
    first, second = two_numbers(got, expected)
    wrong, total = int((~same).sum()), same.numel()
    many = f"; {wrong} of {count(total, 'value')} differ" if total > 1 else ""
    return f"{_at(where)}got {first}, expected {second}{far}{many}"


def _compare_floats(got: float, expected: float, tolerance: Tolerance, path: str) -> Difference | None:
    """Python floats come out of float32 tensors, as a rule: they are held to float32's last place."""
    allowed = tolerance.of(torch.float32, abs(expected) if math.isfinite(expected) else 0.0)
    if got == expected or (math.isnan(got) and math.isnan(expected)) or abs(got - expected) <= allowed:
        return None
    first, second = two_numbers(got, expected)
    return Difference(
        "wrong value", f"{_at(path)}got {first}, expected {second}{_how_far(got - expected, '', allowed)}"
    )


def _how_far(off: float, unit: str, allowed: float = 0.0) -> str:
    """`` (2 steps too high)``; nothing where a distance makes no sense."""
    if not math.isfinite(off):
        return ""
    size = abs(off)
    words = f"{size:.3g}" if isinstance(off, float) else str(size)
    plural = "s" if unit and size != 1 else ""
    room = f", {allowed:.2g} allowed" if allowed else ""
    return f" ({words}{unit}{plural} too {'high' if off > 0 else 'low'}{room})"


def _at(path: str) -> str:
    return f"{path}: " if path else ""
