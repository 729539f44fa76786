"""Call an answer without letting it disturb anything: the same seeds, a time limit, no warnings, errors kept.

An answer may crash, loop for ever, draw random numbers or warn. After ``attempt`` the global random states are as they
were before, so that running a check twice gives the same verdict and changes nothing in the cells below it.
"""

from __future__ import annotations

import contextlib
import linecache
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

import torch

LIMIT_S = 10.0  # one case of a check; a right answer takes milliseconds
SEED = 0


class TooSlow(BaseException):
    """The call ran past its limit. Not an Exception: an answer's own ``except Exception`` must not swallow it."""


@dataclass(frozen=True)
class Attempt:
    """What came of one call.

    value: what it returned, if it returned.
    error: what it raised, else None.
    """

    value: Any = None
    error: BaseException | None = None

    @property
    def returned(self) -> bool:
        return self.error is None


def attempt(call: Callable[[], Any], limit_s: float | None = None) -> Attempt:
    """Call and keep what came of it: a value, or the error.

    Raises:
        KeyboardInterrupt: somebody pressed stop; that is not the answer's failure.
    """
    limit_s = LIMIT_S if limit_s is None else limit_s
    with _same_randomness(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Attempt(value=_call_within(limit_s, call))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit and TooSlow as well
            return Attempt(error=error)


def line_of(error: BaseException, function: Callable) -> str:
    """Name the innermost line that ran in the cell or file of ``function``: ``line 3: y = x / 0``, or nothing."""
    code = getattr(function, "__code__", None)
    if code is None or error.__traceback__ is None:
        return ""
    steps = traceback.walk_tb(error.__traceback__)
    numbers = [number for frame, number in steps if frame.f_code.co_filename == code.co_filename]
    text = linecache.getline(code.co_filename, numbers[-1]).strip() if numbers else ""
    return f"line {numbers[-1]}: {text}" if text else ""


@contextlib.contextmanager
def _same_randomness() -> Iterator[None]:
    """Seed Python, NumPy and torch alike for the call, and put their states back after it."""
    python, torch_state = random.getstate(), torch.get_rng_state()
    numpy: Any = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    random.seed(SEED)
    torch.default_generator.manual_seed(SEED)
    if numpy:
        numpy.random.seed(SEED)
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(torch_state)
        if numpy:
            numpy.random.set_state(numpy_state)


def _call_within(limit_s: float, call: Callable[[], Any]) -> Any:
    on_main = threading.current_thread() is threading.main_thread()
    return (_call_with_alarm if on_main and hasattr(signal, "setitimer") else _call_in_thread)(limit_s, call)


def _call_with_alarm(limit_s: float, call: Callable[[], Any]) -> Any:
    """Let a timer interrupt the call. An alarm that somebody else had set goes on with what was left of it."""

    def ring(signum: int, frame: FrameType | None) -> None:
        raise TooSlow

    started = time.monotonic()
    outer_handler = signal.signal(signal.SIGALRM, ring)
    outer_left, outer_interval = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, outer_handler)
        if outer_left:
            left = max(outer_left - (time.monotonic() - started), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, outer_interval)


def _call_in_thread(limit_s: float, call: Callable[[], Any]) -> Any:
    """Where no timer can interrupt (Windows, a worker thread): wait for a thread, and leave it when it is late."""
    box: list[Any] = []
    errors: list[tuple[BaseException, TracebackType | None]] = []

    def work() -> None:
        try:
            box.append(call())
        except BaseException as error:
            errors.append((error, error.__traceback__))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise TooSlow
    if errors:
        raise errors[0][0]
    return box[0]
