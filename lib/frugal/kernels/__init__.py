"""int8 on the processor: what it can do, and the native code that does it.

Without a compiler the native library is missing; ``frugal.kernels.native.status()`` says so, and everything works
more slowly.
"""

from frugal.kernels.cpu import cpu_features

__all__ = ["cpu_features"]
