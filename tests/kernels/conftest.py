"""What the tests of the kernels share: random codes, and every path that this machine runs."""

from dataclasses import dataclass

import pytest
import torch

from frugal.kernels import available, native
from frugal.kernels import output as out
from frugal.kernels.output import CODES, Output, Residual

PATHS = available()[:-1]  # all but the reference, which the others are compared with


@dataclass
class Draw:
    """Random codes and constants from one seed."""

    generator: torch.Generator

    def integers(self, low, high, *shape, dtype=torch.int64):
        return torch.randint(low, high + 1, shape, generator=self.generator).to(dtype)

    def integer(self, low, high):
        return int(self.integers(low, high, 1))

    def codes(self, dtype, *shape):
        return self.integers(*CODES[dtype], *shape, dtype=dtype)

    def weights(self, *shape):
        return self.codes(torch.int8, *shape)

    def scales(self, size):
        return torch.rand(size, generator=self.generator) * 1e-3 + 1e-6

    def output(self, kind, size, dtype=torch.uint8):
        """One of the kinds of output, with random constants."""
        low, high = CODES[dtype]
        zero_point = self.integer(low, high)
        if kind == "sums":
            return out.sums()
        if kind == "reals":
            return out.reals(self.scales(size))
        if kind == "fixed point":
            return out.fixed_point(*out.to_fixed_point(self.scales(size)), dtype=dtype, zero_point=zero_point)
        residual = Residual(0.37, self.integer(low, high)) if kind == "residual" else None
        clamp = {"low": low + 3, "high": high - 9} if kind == "clamped" else {}
        return out.codes(self.scales(size), dtype=dtype, zero_point=zero_point, residual=residual, **clamp)

    def residual(self, output: Output, shape):
        return None if output.residual is None else self.codes(output.dtype, *shape)


KINDS = ("sums", "reals", "codes", "clamped", "residual", "fixed point")


@pytest.fixture
def draw():
    return Draw(torch.Generator().manual_seed(0))


@pytest.fixture(params=PATHS or ("none",))
def isa(request):
    """Each native path of this machine in turn."""
    if request.param == "none":
        pytest.skip(native.status())
    return request.param


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def three_threads():
    """Three threads while a test runs, whatever number was set before."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)
