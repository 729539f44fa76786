"""The C++ exercises of lab 4.6 as functions of matrices, so that a check can call them like any other answer.

    plain(f)(x, w)      f reads w as it is, [n, k]
    packed(f)(x, w)     f reads w in the library's order, frugal/kernels/pack.py
    fused(f)(x, w, bias, scale, zero_point, low, high)      the same, and finishes the sums: codes come out

``f`` takes nothing and returns C++ text with the function ``gemm``, or ``layer`` where codes come out; x is uint8
[m, k], w is int8 [n, k]. Outputs start as rubbish, so a kernel that adds to what it finds is caught. ``SCALAR`` is the
reference that a race is told in multiples of.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from frugal.core.seed import generator
from frugal.kernels.gemm import Linear8
from frugal.kernels.pack import pack
from frugal.show.cpp.child import Child
from frugal.show.cpp.errors import CppError, KernelStopped, NoCompiler
from frugal.show.cpp.kernel import Kernel, of

SUMS = "void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k)"
CODES = (
    "void layer(const uint8_t* x, const int8_t* w, const int32_t* bias, const float* scale, uint8_t* y, "
    "int m, int n, int k, int zero_point, int low, int high)"
)
Order = Callable[[Tensor], Tensor]
RUBBISH = {torch.int32: -1_515_870_811, torch.uint8: 165}

SCALAR = """
void scalar(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      int32_t sum = 0;
      for (int p = 0; p < k; ++p) sum += x[i * k + p] * w[j * k + p];
      y[i * n + j] = sum;
    }
}
"""


class Multiply:
    """A function that returns C++ text, as a function of matrices. Made by ``plain``, ``packed`` and ``fused``.

    It carries the name of the function, and compiles on the first call.
    """

    def __init__(
        self, function: Callable[[], str], signature: str, *, order: Order | None = None, vectorise: bool = False
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = getattr(function, "__name__", "gemm")
        self.order, self.vectorise = order, vectorise
        self.signature, self.writes_codes = signature, signature == CODES
        self._function = function
        self._stopped: KernelStopped | None = None

    @functools.cached_property
    def kernel(self) -> Kernel:
        return of(self._function, self.signature, vectorise=self.vectorise)

    def __call__(self, x: Tensor, w: Tensor, *finish: Any) -> Tensor:
        """Multiply once; ``finish`` is bias, scale, zero_point, low and high where codes come out."""
        if self._stopped is not None:
            raise self._stopped
        with self.start([x], w, *finish) as child:
            try:
                child.run()
            except KernelStopped as error:
                self._stopped = error  # a check has many cases; one that does not end is waited for once
                raise
            return child.outputs()[0]

    def start(self, xs: Sequence[Tensor], w: Tensor, *finish: Any) -> Child:
        """Start a process that multiplies each of ``xs`` with ``w`` in turn."""
        kernel = self.kernel
        m, n, k = len(xs[0]), len(w), w.shape[1]
        weights = w.contiguous() if self.order is None else self.order(w)
        tensors, numbers = finish[:2], finish[2:]
        dtype = torch.uint8 if self.writes_codes else torch.int32
        y = [torch.full((m, n), RUBBISH[dtype], dtype=dtype) for _ in xs]
        return kernel.start([(x, weights, *tensors, out, m, n, k, *numbers) for x, out in zip(xs, y, strict=True)])


def plain(function: Callable[[], str], *, vectorise: bool = False) -> Multiply:
    """A kernel that reads both matrices row by row."""
    return Multiply(function, SUMS, vectorise=vectorise)


def packed(function: Callable[[], str], *, order: Order | None = None, vectorise: bool = False) -> Multiply:
    """A kernel that reads packed weights.

    Args:
        function: returns the C++ text.
        order: what packs the weights, [n, k] to [n / 16, k / 4, 16, 4]; the library's ``pack`` when it is None.
        vectorise: whether the compiler may make vector code out of plain loops.
    """
    return Multiply(function, SUMS, order=order or _library_order, vectorise=vectorise)


def fused(function: Callable[[], str]) -> Multiply:
    """A kernel that reads packed weights and writes codes."""
    return Multiply(function, CODES, order=_library_order)


def scalar() -> Multiply:
    """The reference: one product at a time."""
    return Multiply(lambda: SCALAR, SUMS.replace("gemm", "scalar"))


def or_library(multiply: Multiply) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a kernel that works: this one, or the library's where it is open, wrong or absent."""
    draw = generator(0)
    x = torch.randint(0, 256, (9, 70), dtype=torch.uint8, generator=draw)
    w = torch.randint(-127, 128, (17, 70), dtype=torch.int8, generator=draw)
    try:
        why = "" if torch.equal(multiply(x, w), exact(x, w)) else "its sums are wrong"
    except NotImplementedError:
        why = "not answered yet"
    except NoCompiler:
        why = "there is no C++ compiler"
    except CppError:
        why = "it fails its check"
    if not why:
        print(f"{multiply.name}: the lab goes on with yours.")
        return multiply
    print(f"{multiply.name}: {why}; the lab goes on with the library's kernel.")
    return lambda x, w: Linear8(w)(x)


def exact(x: Tensor, w: Tensor) -> Tensor:
    """The sums, int32 [m, n]: float64 holds every one of them."""
    return (x.double() @ w.double().T).to(torch.int32)


def _library_order(w: Tensor) -> Tensor:
    return pack(w).data
