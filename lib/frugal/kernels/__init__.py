"""int8 on the processor: what it can do, and the native code that does it.

available()          the instruction sets that run here, the widest first
gemm.Linear8         a prepared linear layer
conv.Conv8           a prepared convolution
output               what becomes of their sums: codes, real numbers, the sums themselves
pointwise            quantize, add, pooling
bits                 products of signs, 64 to a word
sparse.SparseLinear  a prepared linear layer whose zeros take no room
pack                 the order in which the kernels read weights
reference            the definition of all of it, in plain torch

Without a compiler the native library is missing; ``frugal.kernels.native.status()`` says so, and everything works
more slowly, with the same results bit for bit.
"""

from frugal.kernels.cpu import cpu_features
from frugal.kernels.dispatch import available

__all__ = ["available", "cpu_features"]
