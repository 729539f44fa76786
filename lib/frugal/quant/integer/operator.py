"""What every step of an int8 network is: a module that knows its integer form and the reals which that stands for.

    forward(codes, ...)   codes to codes, on the int8 kernels; pictures as NHWC
    real(reals, ...)      the same in float, in torch's NCHW, before the result is rounded to codes

An operator is made of named parts and nothing else: parameters of its codes, tensors, and plain numbers. That is what
is written to a file and read from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from frugal.core.check import describe
from frugal.kernels import dispatch, native
from frugal.kernels.program import Call
from frugal.quant.affine import QParams
from frugal.quant.granularity import PerTensor
from frugal.quant.layers import StoredQParams

Clamp = tuple[float | None, float | None]  # the smallest and the largest real; None: no end on this side
RELU: Clamp = (0.0, None)
RELU6: Clamp = (0.0, 6.0)


class Operator(nn.Module):
    """Base: one step. A subclass calls ``super().__init__`` with its parts, each a keyword.

    A ``QParams`` part and a tensor part become buffers, all else an attribute; ``parts`` gives them back.
    """

    REGISTRY: ClassVar[dict[str, type[Operator]]] = {}
    kernel: ClassVar[str] = "torch"  # who computes it: native, float, or torch
    changes: ClassVar[int] = 0  # counts how often any operator was made or changed: schedules compare it
    writes_out: ClassVar[bool] = True  # whether ``forward`` can write its codes to memory that it is given

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Operator.REGISTRY[cls.__name__] = cls

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        self.part_names = tuple(parts)
        self.isa: str | None = None  # a path of the kernels, or None for the widest there is
        for name, value in parts.items():
            if isinstance(value, QParams):
                check_per_tensor(value, name)
                self.add_module(name, StoredQParams(value))
            elif isinstance(value, Tensor):
                self.register_buffer(name, value.detach().contiguous())
            else:
                setattr(self, name, value)
        self.register_load_state_dict_post_hook(_prepare_again)
        self.prepare_()
        Operator.changes += 1

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "prepared"}  # it holds pointers

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.prepare_()
        Operator.changes += 1

    def parts(self) -> dict[str, Any]:
        """Return what the operator was made of, by the names of the constructor's arguments."""
        found = {name: getattr(self, name) for name in self.part_names}
        return {name: value() if isinstance(value, StoredQParams) else value for name, value in found.items()}

    def prepare_(self) -> None:
        """Derive from the parts what the kernels need; called again when new parts were loaded."""

    def use_isa(self, isa: str | None) -> None:
        """Take another path of the kernels from now on; None for the widest there is."""
        dispatch.choose(isa)  # refuses one that this machine lacks
        self.isa = isa
        Operator.changes += 1

    def call(self, inputs: Sequence[Tensor], out: Tensor) -> Call | None:
        """Prepare ``forward`` on these very tensors as a native call; None where there is none."""
        return None

    def output_qparams(self) -> QParams | None:
        """Say what the codes of the result stand for; None for a result of reals."""
        stored = getattr(self, "output", None)
        return stored() if isinstance(stored, StoredQParams) else None

    def exact(self, *inputs: Tensor) -> Tensor:
        """Compute the same as ``forward`` by the kernels' definition; they must agree bit for bit."""
        return self.forward(*inputs)

    def real(self, *reals: Tensor) -> Tensor:
        """Compute the same in float: reals in torch's layout, not yet rounded to codes."""
        raise NotImplementedError

    def path(self) -> str:
        """Name the code that does the work: an instruction set of the kernels, or torch."""
        if self.kernel != "native":
            return self.kernel
        return dispatch.REFERENCE if dispatch.choose(self.isa) is None else self.kernel


def _prepare_again(operator: Operator, incompatible: object) -> None:
    operator.prepare_()  # after a state dict was loaded, into the operator and into its stored parameters
    Operator.changes += 1


def copied(y: Tensor, out: Tensor | None) -> Tensor:
    """Return y, in ``out`` where that was given."""
    return y if out is None else out.copy_(y)


def check_per_tensor(qparams: QParams, name: str) -> None:
    """Refuse parameters of activations that are not one scale for the whole tensor."""
    if not isinstance(qparams.granularity, PerTensor):
        raise ValueError(
            f"{name} must have one scale per tensor, got {qparams.granularity}: a scale per input channel cannot be "
            "taken out of the sum of products"
        )


def check_codes(x: Tensor, qparams: QParams | StoredQParams, name: str = "x") -> None:
    """Refuse what is not a tensor of codes of this type, on the processor."""
    wanted = torch.int8 if qparams.quant_min < 0 else torch.uint8
    if not isinstance(x, Tensor) or x.dtype != wanted:
        raise TypeError(f"{name} must hold codes of dtype {wanted}, got {describe(x)}; quantize(x, qparams) makes them")
    if x.device.type != "cpu":
        raise ValueError(f"{name} must lie in main memory, got device {x.device}; {name}.cpu() copies it there")
    if x.numel() == 0:
        raise ValueError(f"{name} must hold at least one value, got {describe(x)}")


def numbers(qparams: QParams | StoredQParams) -> tuple[float, int]:
    """Return scale and zero-point of one tensor as plain numbers."""
    return float(qparams.scale), int(qparams.zero_point)


def clamp_codes(qparams: QParams, clamp: Clamp) -> tuple[int, int]:
    """Return the smallest and the largest code of a clamped result: ReLU is q >= zero_point, [19] section 2.4.

    >>> qparams = QParams(torch.tensor(0.1), torch.tensor(10, dtype=torch.int32), 0, 255)
    >>> clamp_codes(qparams, RELU), clamp_codes(qparams, RELU6)
    ((10, 255), (10, 70))
    """
    low, high = clamp
    scale, zero_point = numbers(qparams)

    def code(real: float) -> int:
        steps = round(real / scale)  # halves to even, as everywhere
        return min(max(steps + zero_point, qparams.quant_min), qparams.quant_max)

    return (qparams.quant_min if low is None else code(low)), (qparams.quant_max if high is None else code(high))


def clamp_reals(x: Tensor, clamp: Clamp) -> Tensor:
    """Clamp reals; no end given, no change."""
    return x if clamp == (None, None) else x.clamp(*clamp)


def path_name(number: int | None) -> str:
    """Name a path of the kernels by its number; None is the reference."""
    return dispatch.REFERENCE if number is None else native.path_names()[number]


def to_nhwc(x: Tensor) -> Tensor:
    """Give a picture the layout of the kernels; all else is the same in both."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def to_nchw(x: Tensor) -> Tensor:
    """Give a picture torch's layout; all else is the same in both."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x
