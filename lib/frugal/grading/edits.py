"""In-place changes that a student's function makes to its arguments: seen over there, made here as well.

there  a tensor that came in lies in its message, so one comparison of bytes says whether any value changed;
       ``picture`` is what else could have: shapes, memory, and what lists and dicts hold
here   ``apply`` makes the same changes to the judge's own arguments; an Ellipsis is an object that did not cross
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

_FIXED = frozenset({type(None), bool, int, float, complex, str, bytes})


def picture(value: Any) -> Any:
    """Return what stays equal as long as nothing but the values of tensors changes."""
    kind = type(value)
    if kind in _FIXED:
        return kind, value
    if isinstance(value, torch.Tensor):
        return id(value), value.data_ptr(), value.shape, value.stride(), value.dtype
    if isinstance(value, np.ndarray):
        return id(value), value.shape, value.ctypes.data
    if isinstance(value, (list, tuple, set, frozenset)):
        return kind, [picture(each) for each in value]
    if isinstance(value, dict):
        return kind, [(picture(key), picture(each)) for key, each in value.items()]
    if dataclasses.is_dataclass(value):
        return kind, [picture(getattr(value, field.name)) for field in dataclasses.fields(value)]
    return None  # stays where it is


def apply(original: Any, changed: Any) -> None:
    """Make the changes of a student's function to its arguments here as well."""
    if isinstance(original, torch.Tensor):
        if type(changed) not in (torch.Tensor, torch.nn.Parameter) or changed.dtype != original.dtype:
            raise TypeError("a tensor became something else")
        if changed.shape != original.shape:
            raise ValueError("a tensor changed its shape")
        if not torch.equal(_raw(original), _raw(changed)):
            with torch.no_grad():
                original.copy_(changed)
    elif isinstance(original, np.ndarray):
        if not isinstance(changed, np.ndarray) or changed.shape != original.shape:
            raise TypeError("an array became something else")
        original[...] = changed
    elif isinstance(original, list) and isinstance(changed, list):
        if len(original) == len(changed):
            for place, (old, new) in enumerate(zip(original, changed, strict=True)):
                if _fixed(old):
                    original[place] = _data(new)
                else:
                    apply(old, new)
        else:
            original[:] = [_data(new) for new in changed]
    elif isinstance(original, dict) and isinstance(changed, dict):
        for key in [key for key in original if key not in changed]:
            del original[key]
        for key, new in changed.items():
            if key in original and not _fixed(original[key]):
                apply(original[key], new)
            else:
                original[key] = _data(new)
    elif isinstance(original, tuple) and isinstance(changed, tuple):
        for old, new in zip(original, changed, strict=True):
            apply(old, new)
    elif dataclasses.is_dataclass(original) and type(original) is type(changed):
        for field in dataclasses.fields(original):
            apply(getattr(original, field.name), getattr(changed, field.name))


def _data(value: Any) -> Any:
    if value is Ellipsis:
        raise TypeError("an object that is no data was put into a list or a dict")
    return value


def _raw(x: torch.Tensor) -> torch.Tensor:
    return x.detach().contiguous().reshape(-1).view(torch.uint8) if x.numel() else x


def _fixed(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, bytes, complex))
