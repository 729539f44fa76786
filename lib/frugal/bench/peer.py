"""What a peer is: a name, whether it is here, and how it takes on a layer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import Tensor

OURS = "ours"
ALLOWED_CODES = 1  # peers requantize with other roundings than ours: one code is their right


class Missing(Exception):
    """The peer is not on this machine; the message says why, and what to do."""


class Unsupported(Exception):
    """The peer is here and does not do this layer, or not in int8."""


@dataclass(frozen=True)
class Entry:
    """A peer, ready to run one layer.

    run:      does the work once; holds on to all it needs.
    result:   the output of the last run, as a tensor.
    expected: what that must be.
    allowed:  the largest difference that passes: 0, ``ALLOWED_CODES``, or a bound in real units for floats.
    note:     what a reader of the table must know ("no bias").
    least_sqnr_db: where this is given, results are compared by their SQNR instead, and this much passes.
    """

    run: Callable[[], object]
    result: Callable[[], Tensor]
    expected: Tensor
    allowed: float
    note: str = ""
    least_sqnr_db: float | None = None


@dataclass(frozen=True)
class Peer:
    """One row of the tables.

    name:    as printed.
    output:  ``"u8"`` (requantized), ``"s32"`` (raw sums), ``"logits"`` or ``"float"``: only equals are ranked.
    prepare: (problem, threads) → Entry; raises Unsupported.
    find:    returns the version; raises Missing.
    ranked:  False for float arithmetic: shown for context, never "the best peer".
    """

    name: str
    output: str
    prepare: Callable[[Any, int], Entry]
    find: Callable[[], str]
    ranked: bool = field(default=True)


class Kept:
    """A run of something that returns a fresh tensor; ``result`` is what the last run returned.

    A run lets go of the last tensor before it makes the next, so that the same memory serves again, as in a network.
    Holding both would time the fresh pages of a second one: 0.8 ms instead of 0.4 ms for 5 MB.
    """

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        self._compute = compute
        self._latest: list[Tensor] = []

    def __call__(self) -> None:
        self._latest.clear()
        self._latest.append(self._compute())

    def result(self) -> Tensor:
        return self._latest[0]


def installed(module: str, package: str | None = None) -> str:
    """Import a module and return its package's version.

    Raises:
        Missing: it is not installed, or its import fails.
    """
    package = package or module
    try:
        importlib.import_module(module)
        return version(package)
    except (ModuleNotFoundError, PackageNotFoundError):
        raise Missing(f"{package} is not installed: pip install 'frugal[peers]'") from None
    except (ImportError, OSError, RuntimeError) as error:
        raise Missing(f"{package} is installed and cannot be imported: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
