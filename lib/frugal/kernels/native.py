"""Finds the native library, opens it, and asks what it holds; binding.py calls its kernels.

The library (built from csrc/) lies beside this file. It is opened on first use. Where it is missing, or was built from
older sources, nothing here raises: ``library()`` is None, ``status()`` says why and what to do, and callers take the
Python path.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Signatures = dict[str, tuple[object, list[object]]]

INTERFACE = 3  # what frugal_interface() in csrc/cpu.cpp must answer
_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


@dataclass(frozen=True)
class Loaded:
    """The outcome of opening the library.

    library: the open library, or None.
    reason:  one sentence on why it is None; empty when it is there.
    """

    library: ctypes.CDLL | None
    reason: str = ""


def path() -> Path:
    """Where the library is looked for."""
    return Path(__file__).with_name(f"libfrugal_native{_SUFFIX}")


def load(file: Path) -> Loaded:
    """Open one library file and check that it speaks our interface; never raises."""
    if not file.is_file():
        return Loaded(None, f"The native library is missing ({file.name} was not built).")
    try:
        library = ctypes.CDLL(str(file))
        answer = int(library.frugal_interface())
    except (OSError, AttributeError) as error:
        return Loaded(None, f"The native library cannot be opened ({error}).")
    if answer != INTERFACE:
        return Loaded(None, f"The native library is of another version (interface {answer}, not {INTERFACE}).")
    library.frugal_cpu_feature_name.restype = ctypes.c_char_p
    library.frugal_compiler.restype = ctypes.c_char_p
    library.frugal_path_name.restype = ctypes.c_char_p
    return Loaded(library)


@cache
def _loaded() -> Loaded:
    return load(path())


def library() -> ctypes.CDLL | None:
    """The native library, opened once, or None where it is missing."""
    return _loaded().library


def status() -> str:
    """Say in a sentence whether native code is there; where it is not, what that costs and what to do.

    >>> status().startswith("The native library")
    True
    """
    found = _loaded()
    if found.library is not None:
        return f"The native library is loaded, built by {compiler()}."
    return (
        f"{found.reason} Everything works without it, int8 arithmetic more slowly. "
        "To build it, install a C++ compiler and run `make setup`."
    )


def compiler() -> str | None:
    """The compiler that built the library (``gcc 12.2.0``), or None where there is no library."""
    opened = library()
    return None if opened is None else opened.frugal_compiler().decode()


def cpu_features() -> dict[str, bool] | None:
    """Ask the library what this processor can do, feature by feature; None where there is no library."""
    opened = library()
    if opened is None:
        return None
    count = opened.frugal_cpu_feature_count()
    return {opened.frugal_cpu_feature_name(i).decode(): opened.frugal_cpu_has(i) == 1 for i in range(count)}


def path_names() -> list[str]:
    """The instruction sets that the library was built with, the widest first; none where there is no library."""
    opened = library()
    names: list[str] = []
    while opened is not None and (name := opened.frugal_path_name(len(names))):
        names.append(name.decode())
    return names


def path_available(number: int) -> bool:
    """Whether processor and operating system allow a path, counted as in ``path_names``."""
    opened = library()
    return opened is not None and opened.frugal_path_available(number) == 1


def declared(signatures: Signatures) -> ctypes.CDLL | None:
    """Return the library with these functions declared; None where it is absent, or older than one of them.

    Args:
        signatures: function name: (type of the result, types of the arguments).
    """
    found = library()
    if found is None or not all(hasattr(found, name) for name in signatures):
        return None
    for name, (result, arguments) in signatures.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


def paths_of(found: ctypes.CDLL | None, prefix: str) -> dict[str, int]:
    """Return the paths of ``prefix_path_name`` that this processor has, with their numbers, the widest first."""
    if found is None:
        return {}
    names: list[str] = []
    while name := getattr(found, f"{prefix}_path_name")(len(names)):
        names.append(name.decode())
    has = getattr(found, f"{prefix}_path_available")
    return {name: number for number, name in enumerate(names) if has(number) == 1}
