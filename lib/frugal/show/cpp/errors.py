"""What can go wrong with a kernel, told in a few lines: no frames of ours around them in a notebook."""

from __future__ import annotations

from frugal.core.errors import FrugalError


class CppError(FrugalError):
    """Anything about C++ in a cell that a student should read."""

    def _render_traceback_(self) -> list[str]:
        """Give IPython the message alone."""
        return str(self).splitlines()


class NoCompiler(CppError, RuntimeError):
    """There is no C++ compiler on this machine, or none that this package can drive."""


class CompileFailed(CppError, ValueError):
    """The compiler refuses the text; the message has the line."""


class KernelFailed(CppError, RuntimeError):
    """The kernel crashed, did not end, or touched memory that is not its own."""


class KernelStopped(KernelFailed):
    """The kernel did not come back."""
