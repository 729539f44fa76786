"""C++ in a cell: compiled in about half a second, called in a process of its own, timed.

    compiler.py    finds the compiler; text to library, cached
    prototype.py   the signature that a student reads, and what calls it
    kernel.py      text and signature to something that takes tensors
    child.py       the process in which it runs, and what is said when that ends; host.cpp is its other side
    confine.h      on Linux that process may read its libraries, and nothing else
    gemm.py        the kernels of lab 4.6 as functions of two matrices
    contest.py     their race
    magic.py       %%cpp

The same compiler makes the library's kernels. Without one everything here says so and nothing breaks.
"""

from frugal.show.cpp.compiler import available, status
from frugal.show.cpp.contest import Ladder, faster_than_scalar, ladder, library, onednn
from frugal.show.cpp.errors import CompileFailed, CppError, KernelFailed, NoCompiler
from frugal.show.cpp.gemm import Multiply, exact, fused, or_library, packed, plain
from frugal.show.cpp.kernel import Kernel, kernel
from frugal.show.cpp.magic import load

__all__ = [
    "CompileFailed",
    "CppError",
    "Kernel",
    "KernelFailed",
    "Ladder",
    "Multiply",
    "NoCompiler",
    "available",
    "exact",
    "faster_than_scalar",
    "fused",
    "kernel",
    "ladder",
    "library",
    "load",
    "onednn",
    "or_library",
    "packed",
    "plain",
    "status",
]
