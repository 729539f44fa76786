"""Which layers are raced: the matrix shapes and the convolutions of ResNet, MobileNetV2 and a small vision transformer.

A matrix is written m,n,k: m rows of k activations times k x n weights.
A convolution is written batch,size,channels,outputs,kernel,stride,padding,groups; images and kernels are square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Gemm:
    """``[m, k] · [k, n] → [m, n]``."""

    m: int
    n: int
    k: int

    def __str__(self) -> str:
        return ",".join(map(str, astuple(self)))

    @property
    def macs(self) -> int:
        return self.m * self.n * self.k


@dataclass(frozen=True)
class Conv:
    """A square convolution over a square image."""

    batch: int
    size: int
    channels: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    groups: int

    def __str__(self) -> str:
        return ",".join(map(str, astuple(self)))

    @property
    def out_size(self) -> int:
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def macs(self) -> int:
        per_output = self.kernel**2 * self.channels // self.groups
        return self.batch * self.out_size**2 * self.outputs * per_output


Shape = Gemm | Conv

#: ResNet-50 as matrices, batch 1 and 32, layer by layer.
_RESNET = (
    "12544,64,147 3136,64,64 3136,256,64 3136,64,576 784,512,128 784,128,1152 196,1024,256 196,256,2304 49,2048,512 "
    "49,512,2048 49,512,4608 1,1000,2048 100352,64,576 25088,128,1152 6272,256,2304 1568,512,4608 6272,1024,256 "
    "32,1000,2048"
)
_MOBILENET = "12544,96,16 3136,144,24 784,192,32 196,576,96 49,320,960 49,1280,320"
_TRANSFORMER = "197,1152,384 197,384,384 197,1536,384 197,384,1536 6304,1536,384 6304,384,1536"  # ViT-S, batch 1 and 32
_SQUARES_AND_VECTORS = "1024,1024,1024 4096,4096,4096 1,1024,1024 1,4096,4096"

_RESNET_CONVS = (
    "1,224,3,64,7,2,3,1 1,56,64,64,3,1,1,1 1,56,128,128,3,2,1,1 1,28,128,128,3,1,1,1 1,28,256,256,3,2,1,1 "
    "1,14,256,256,3,1,1,1 1,14,512,512,3,2,1,1 1,7,512,512,3,1,1,1"
)
_MOBILENET_CONVS = (
    "1,112,32,16,1,1,0,1 1,112,16,96,1,1,0,1 1,56,24,144,1,1,0,1 1,28,192,32,1,1,0,1 1,14,96,576,1,1,0,1 "
    "1,14,576,96,1,1,0,1 1,7,160,960,1,1,0,1 1,7,960,320,1,1,0,1 1,7,320,1280,1,1,0,1"
)
_DEPTHWISE = (
    "1,112,32,32,3,1,1,32 1,112,96,96,3,2,1,96 1,56,144,144,3,1,1,144 1,28,192,192,3,1,1,192 "
    "1,14,576,576,3,1,1,576 1,7,960,960,3,1,1,960"
)


def parse_gemm(text: str) -> Gemm:
    """Read ``m,n,k``.

    >>> parse_gemm("1,1000,2048").macs
    2048000
    """
    return Gemm(*_numbers(text, "m,n,k"))


def parse_conv(text: str) -> Conv:
    """Read ``batch,size,channels,outputs,kernel,stride,padding,groups``.

    >>> parse_conv("1,7,512,512,3,1,1,1").out_size
    7
    """
    form = "batch,size,channels,outputs,kernel,stride,padding,groups"
    conv = Conv(*_numbers(text, form, may_be_zero=("padding",)))
    if conv.channels % conv.groups or conv.outputs % conv.groups:
        raise ValueError(f"{text}: groups must divide channels and outputs, got {conv.groups} groups")
    if conv.size + 2 * conv.padding < conv.kernel:
        raise ValueError(f"{text}: a kernel of {conv.kernel} does not fit into {conv.size} + 2 · {conv.padding} pixels")
    return conv


def _numbers(text: str, form: str, may_be_zero: Sequence[str] = ()) -> list[int]:
    names = form.split(",")
    words = text.strip().split(",")
    if len(words) != len(names) or not all(word.strip().isdecimal() for word in words):
        raise ValueError(f"a shape is written {form}, in whole numbers; got {text!r}")
    numbers = [int(word) for word in words]
    for name, number in zip(names, numbers, strict=True):
        if number == 0 and name not in may_be_zero:
            raise ValueError(f"{name} must be 1 or more, got {text!r}")
    return numbers


GEMMS: tuple[Gemm, ...] = tuple(
    map(parse_gemm, f"{_RESNET} {_MOBILENET} {_TRANSFORMER} {_SQUARES_AND_VECTORS}".split())
)
CONVS: tuple[Conv, ...] = tuple(map(parse_conv, f"{_RESNET_CONVS} {_MOBILENET_CONVS} {_DEPTHWISE}".split()))

#: Enough to see the order of things in half a minute.
QUICK_GEMMS: tuple[Gemm, ...] = tuple(map(parse_gemm, "3136,64,64 196,256,2304 49,512,2048 1,1000,2048".split()))
QUICK_CONVS: tuple[Conv, ...] = tuple(
    map(parse_conv, "1,56,64,64,3,1,1,1 1,14,256,256,3,1,1,1 1,14,96,576,1,1,0,1 1,14,576,576,3,1,1,576".split())
)
