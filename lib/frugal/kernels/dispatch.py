"""Which of our ways to multiply bytes runs: the ladder of instruction sets, and how to choose a rung.

    amx_int8 -> avx512_vnni -> avx_vnni -> avx2 -> scalar      x86
    i8mm -> dotprod -> scalar                                  arm64
    reference                                                  plain torch, everywhere

All give the same numbers, bit for bit. The widest that this processor runs is taken, unless a call says ``isa=`` or the
environment says ``FRUGAL_ISA``, which is read when a layer is prepared.
"""

from __future__ import annotations

import os
from functools import cache

from frugal.kernels import native

REFERENCE = "reference"
VARIABLE = "FRUGAL_ISA"


def available() -> tuple[str, ...]:
    """The paths that run on this machine, the widest first; the last is ``reference``.

    >>> available()[-1]
    'reference'
    """
    return (*_native_paths(), REFERENCE)


def forced() -> str | None:
    """The path that ``FRUGAL_ISA`` asks for, or None."""
    return os.environ.get(VARIABLE) or None


def choose(isa: str | None = None) -> int | None:
    """The number of a path for the native library; None for the reference.

    Args:
        isa: a name of ``available()``; None takes ``FRUGAL_ISA``, or the widest.

    Raises:
        ValueError: this machine does not run that path.
    """
    paths = _native_paths()
    name, asked_by = (isa, f"isa={isa!r}") if isa is not None else (forced(), f"{VARIABLE}={forced()}")
    if name is None:
        return next(iter(paths.values()), None)
    if name == REFERENCE:
        return None
    if name not in paths:
        missing = "" if paths else f" {native.status()}"
        raise ValueError(f"{asked_by} is no path of this machine, which runs {', '.join(available())}.{missing}")
    return paths[name]


@cache
def _native_paths() -> dict[str, int]:
    """The paths of the native library that this processor runs, with their numbers."""
    return {name: number for number, name in enumerate(native.path_names()) if native.path_available(number)}
