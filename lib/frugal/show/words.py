"""Values in words: how a check names what went in and what came out, short and the same on every run."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import torch
from torch import Tensor

from frugal.core.check import describe

SHOWN = 16  # values of a tensor that are printed one by one
WIDTH = 120  # characters of anything else


def in_words(value: Any) -> str:
    """Say what a value is, in one short line.

    >>> in_words(torch.tensor([0.5, 2.0]))
    'float32 [0.5, 2]'
    >>> in_words((1, torch.zeros(3, 64, dtype=torch.int8)))
    '(1, int8 of shape 3 × 64)'
    """
    if isinstance(value, Tensor):
        return _tensor(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value) if field.repr]
        told = (f"{name}={in_words(each)}" for name, each in fields if not _is_usual(value, name, each))
        return f"{type(value).__name__}({', '.join(told)})"
    if type(value) is tuple:
        return f"({', '.join(map(in_words, value))}{',' if len(value) == 1 else ''})"
    if type(value) is list:
        return f"[{', '.join(map(in_words, value))}]"
    if type(value) is dict:
        return "{" + ", ".join(f"{in_words(key)}: {in_words(each)}" for key, each in value.items()) + "}"
    if isinstance(value, float):
        return number(value)
    if value is None or isinstance(value, (bool, int, str, torch.dtype, torch.Size)):
        return shorten(repr(value).removeprefix("torch."))
    return getattr(value, "__name__", None) or f"a {type(value).__name__}"


def number(value: Any) -> str:
    """Write a number with at most six digits, as the lecture would."""
    return f"{value + 0.0:.6g}" if isinstance(value, float) else str(value)  # -0.0 + 0.0 is 0.0


def two_numbers(first: Any, second: Any) -> tuple[str, str]:
    """Write two numbers with as many digits as it takes to tell them apart."""
    for digits in (6, 9, 17):
        words = tuple(f"{each + 0.0:.{digits}g}" if isinstance(each, float) else str(each) for each in (first, second))
        if words[0] != words[1]:
            break
    return words[0], words[1]


def type_name(value: Any) -> str:
    """Name the type of a value as a student would write it: ``None``, ``a tensor``, ``an int``."""
    if value is None:
        return "None"
    name = "tensor" if type(value) is Tensor else type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


def name_of(function: Any) -> str:
    """Name a function as its cell does; one without a name of its own is "your answer"."""
    name = getattr(function, "__name__", type(function).__name__)
    return "your answer" if name == "<lambda>" else name


def shorten(text: str, width: int = WIDTH) -> str:
    """Cut to one line, and hide memory addresses, which change from run to run."""
    text = re.sub(r"0x[0-9a-fA-F]{6,}", "0x…", " ".join(text.split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def count(many: int, noun: str) -> str:
    """``1 case``, ``6 cases``."""
    return f"{many} {noun}" if many == 1 else f"{many} {noun}s"


def _is_usual(value: Any, name: str, each: Any) -> bool:
    """Whether a field of a dataclass holds its default, which need not be said; tensors are never usual."""
    field = next(field for field in dataclasses.fields(value) if field.name == name)
    usual = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return type(usual) is type(each) and not isinstance(each, Tensor) and repr(usual) == repr(each)


def _tensor(x: Tensor) -> str:
    dtype = str(x.dtype).removeprefix("torch.")
    shape = f"{dtype} of shape {' × '.join(map(str, x.shape)) or '[]'}"
    if x.device.type == "meta" or x.layout != torch.strided:  # no values to look at, or none that lie side by side
        return f"{shape} ({'without values' if x.device.type == 'meta' else str(x.layout).removeprefix('torch.')})"
    if x.ndim == 0:
        return number(x.item())
    if 0 < x.numel() <= SHOWN:
        return f"{dtype} {_nested(x.tolist())}"
    _, comma, odd = describe(x.detach()).partition("], ")  # "empty", "2 of 192 values not finite"
    return f"{shape} ({odd})" if comma else shape


def _nested(values: Any) -> str:
    return f"[{', '.join(map(_nested, values))}]" if isinstance(values, list) else number(values)
