"""A call with its tensors fixed: what a network repeats for every input, at the price of one step into C.

    bound = layer.bind(x)       every check, every address, once
    x.copy_(next_input)         new values go into the same tensor
    y = bound()                 about half a microsecond more than the kernel; y is bound.out, always the same tensor

A call of ``layer(x)`` looks at its tensors anew each time, because they may be other tensors each time. Where the same
memory serves again and again that is several microseconds for nothing, more than a small layer takes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

NO_MEMORY, NOT_FINITE = 1, 2


class Bound:
    """A prepared layer, bound to an input and an output. Made by ``bind`` of a layer.

    Writing new values into the input is what it is for. The tensors are kept alive; their storage can no longer be
    resized, which torch itself then refuses. The number of threads is that of the moment of binding. Calls go straight
    to the native library: torch.compile and counters do not see them.

    Several may run at once, each in a thread of its own. Two threads must not run the same one: it has one output.

    out: the output, overwritten by every call.
    """

    __slots__ = ("__weakref__", "_keep", "_run", "out")

    def __init__(self, run: Callable[[], int], out: Tensor, keep: tuple[object, ...]) -> None:
        self._run, self.out, self._keep = run, out, keep
        for each in (out, *keep):
            if isinstance(each, Tensor):
                each.detach().numpy()  # a tensor whose memory numpy has seen refuses resize_()

    def __call__(self) -> Tensor:
        """Compute ``out`` from what the bound tensors hold now, and return it."""
        status = self._run()
        if status:
            check_status(status)
        return self.out


def bind_python(run: Callable[[], object], out: Tensor, *keep: object) -> Bound:
    """A bound call where there is no native one: ``run`` writes into ``out``."""

    def run_and_succeed() -> int:
        run()
        return 0

    return Bound(run_and_succeed, out, keep)


def check_status(status: int) -> None:
    """Raise what a status of the native library means; 0 is success."""
    if status == NOT_FINITE:
        raise ValueError("x must be finite, got nan or infinity; there is no code for them")
    if status:
        raise MemoryError("the native library ran out of memory; split the batch")
