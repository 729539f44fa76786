"""Go on past an unanswered exercise: the lab continues with the library's function.

    quantize = go_on(quantize, "frugal.quant.affine:quantize")

An exercise as it was handed out ends in ``raise NotImplementedError``. Whether yours still does is read from its
compiled code, so nothing is called: a function that raises NotImplementedError and has no way to return is unanswered.

What ``go_on`` returns in its place is marked, so that neither a check nor ``go_on`` takes it for yours later.
"""

from __future__ import annotations

import dis
import functools
import importlib
import inspect
import weakref
from collections.abc import Callable
from types import CodeType
from typing import Any

from frugal.show.words import name_of

STANDS_IN_FOR = "_frugal_stands_in_for"  # on a fallback: the exercise that it was put in the place of
_failed: weakref.WeakSet[Callable] = weakref.WeakSet()  # answers whose last check in this kernel failed


def go_on(function: Callable, reference: str | None = None, *, fallback: Callable | None = None) -> Callable:
    """Return the student's function, or a working one where the exercise is unanswered, and say which.

    Args:
        function: the exercise: a function, or a class of which every method must be answered.
        reference: the library's version, as ``"package.module:name"``.
        fallback: instead of ``reference``, a function that the lab itself defines.

    Raises:
        TypeError: not exactly one of ``reference`` and ``fallback`` is given.
        ValueError: ``reference`` leads nowhere.
    """
    if (reference is None) == (fallback is None):
        raise TypeError('go_on needs one of reference="package.module:name" and fallback=function')
    if exercise := fallback_for(function):
        print(
            f"{exercise}: still open; the lab goes on with the library's version. To answer, run your own cell again."
        )
        return function
    name = name_of(function)
    if not is_unanswered(function):
        print(f"{name}: the lab goes on with yours{', although its check fails' if _has_failed(function) else ''}.")
        return function
    if fallback is None:
        assert reference is not None
        fallback = _find(reference)
    print(f"{name}: not answered yet; the lab goes on with the library's version.")
    return _stand_in(fallback, name)


def fallback_for(function: Any) -> str:
    """Name the exercise that ``go_on`` put this function in the place of; empty for any other function."""
    return getattr(function, "__dict__", {}).get(STANDS_IN_FOR, "")


def remember(function: Callable, passed: bool) -> None:
    """Keep in mind, for ``go_on``, how the check of this very function ended."""
    try:
        (_failed.discard if passed else _failed.add)(function)
    except TypeError:  # it cannot be hashed or weakly referred to: then nothing is known about it
        return


def _has_failed(function: Callable) -> bool:
    try:
        return function in _failed
    except TypeError:
        return False


def _stand_in(fallback: Callable, exercise: str) -> Callable:
    """Wrap a fallback: it works as before, carries the exercise's name, and is known as borrowed."""
    if inspect.isclass(fallback):
        about = {"__doc__": fallback.__doc__, "__module__": fallback.__module__, STANDS_IN_FOR: exercise}
        return type(exercise, (fallback,), about)

    @functools.wraps(fallback)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        return fallback(*args, **kwargs)

    stand_in.__name__ = stand_in.__qualname__ = exercise
    setattr(stand_in, STANDS_IN_FOR, exercise)
    return stand_in


def is_unanswered(function: Callable) -> bool:
    """Tell whether an exercise still stands as it was handed out, without calling it.

    >>> def todo(x):
    ...     raise NotImplementedError("exercise 1.1")
    >>> is_unanswered(todo), is_unanswered(lambda x: x)
    (True, False)
    """
    if inspect.isclass(function):
        return any(is_unanswered(method) for method in vars(function).values() if _code(method) is not None)
    code = _code(function)
    return code is not None and "NotImplementedError" in code.co_names and not _may_return(code)


def _code(function: Any) -> CodeType | None:
    """The compiled body, seen through decorators, partials and methods; None for what is not written in Python."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, property):
            function = function.fget
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, (staticmethod, classmethod)) or inspect.ismethod(function):
            function = function.__func__
        else:
            return getattr(function, "__code__", None)


def _may_return(code: CodeType) -> bool:
    """The compiler drops what stands after a ``raise``, so a body that only raises has no return instruction."""
    return any(step.opname.startswith(("RETURN_VALUE", "RETURN_CONST", "YIELD")) for step in dis.get_instructions(code))


def _find(reference: str) -> Callable:
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"reference must be 'package.module:name', got {reference!r}: {error}") from error
