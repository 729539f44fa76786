"""int8 matrix multiplication with everything that follows it: the linear layer of an int8 network.

Formula: y = output(Σ_k (x[m, k] - x_zero_point) · w[n, k] + bias[n]), see output.py
Learn:   course/4_quantization

    x codes [m, in]  ->  products and sums, int32  ->  scale, round, clamp  ->  y codes [m, out]
                         one pass over packed weights   while the sums are still in registers or the nearest cache
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugal.kernels import binding, ops, reference
from frugal.kernels.bound import Bound, bind_python
from frugal.kernels.memory import check_apart, check_input, check_residual, output_tensor
from frugal.kernels.output import Output, sums
from frugal.kernels.pack import Packed, column_sums, fold_zero_point, pack, unpack
from frugal.kernels.plan import Plan, check_x_dtype, copy_to, is_watched


class Linear8(Plan):
    """A linear layer, prepared: call it with codes.

    Args:
        weight: int8 [out, in]; or what ``pack`` made of it.
        bias: int32 [out], in steps of the sum; or None.
        x_dtype: uint8 or int8, the type of the activations.
        x_zero_point: their code of real 0.
        output: what becomes of a sum; ``output.sums()`` when nothing is said.

    Raises:
        ValueError: among others, when these weights could overflow an int32 sum.

    >>> layer = Linear8(torch.tensor([[1, 2], [3, -4]], dtype=torch.int8))
    >>> layer(torch.tensor([[10, 20]], dtype=torch.uint8))
    tensor([[ 50, -50]], dtype=torch.int32)
    """

    def __init__(
        self,
        weight: Tensor | Packed,
        bias: Tensor | None = None,
        *,
        x_dtype: torch.dtype = torch.uint8,
        x_zero_point: int = 0,
        output: Output | None = None,
    ) -> None:
        super().__init__()
        check_x_dtype(x_dtype)
        self.packed = weight if isinstance(weight, Packed) else pack(weight)
        if self.packed.taps != 1 or self.packed.groups != 1:
            raise ValueError(f"a matrix has one tap and one group, got {self.packed.taps} and {self.packed.groups}")
        self.bias = fold_zero_point(unpack(self.packed), bias, x_dtype, x_zero_point)
        self.column_sums = column_sums(self.packed)
        self.x_dtype, self.output = x_dtype, (output or sums()).expanded(self.packed.out)
        self._layer = binding.Layer(
            *(self.packed.data, self.column_sums, self.bias, self.output),
            x_dtype=x_dtype,
            out=self.packed.out,
            taps=1,
            depth=self.packed.depth,
        )

    def __call__(
        self, x: Tensor, residual: Tensor | None = None, *, out: Tensor | None = None, isa: str | None = None
    ) -> Tensor:
        """Multiply.

        Args:
            x: codes [..., in]; a matrix may have any distance between its rows, other shapes are contiguous.
            residual: codes of the output's shape and type, where the output was made with one.
            out: where to write; a fresh tensor when it is None.
            isa: a path of ``available()``; None for the one chosen when the layer was prepared.
        """
        if is_watched(x):
            return copy_to(out, ops.linear(self, x, residual, isa))
        return self._run(x, residual, out, isa)

    def bind(
        self, x: Tensor, residual: Tensor | None = None, *, out: Tensor | None = None, isa: str | None = None
    ) -> Bound:
        """Fix the tensors of a call that will be repeated: see ``Bound``. The arguments are those of a call.

        >>> x = torch.tensor([[10, 20]], dtype=torch.uint8)
        >>> double = Linear8(torch.tensor([[2, 0], [0, 2]], dtype=torch.int8)).bind(x)
        >>> double().tolist(), x.fill_(3).tolist(), double().tolist()
        ([[20, 40]], [[3, 3]], [[6, 6]])
        """
        path = self.path(isa)
        if path is None:
            y = self._reference(x, residual, out)
            return bind_python(lambda: self._reference(x, residual, y), y, x, residual)
        return binding.bind_gemm(path, self._layer, x, residual, out)

    def _run(self, x: Tensor, residual: Tensor | None, out: Tensor | None, isa: str | None) -> Tensor:
        path = self.path(isa)
        if path is None:
            return self._reference(x, residual, out)
        return binding.gemm(path, self._layer, x, residual, out)

    def _reference(self, x: Tensor, residual: Tensor | None, out: Tensor | None) -> Tensor:
        check_input(x, self.x_dtype, "x")
        if x.shape[-1] != self.packed.depth:
            raise ValueError(f"x must have {self.packed.depth} values in its last dimension, got {list(x.shape)}")
        shape = (*x.shape[:-1], self.packed.out)
        check_residual(residual, self.output, shape)
        if out is not None:
            check_apart(output_tensor(shape, self.output.dtype, out), x, residual)
        return copy_to(out, reference.gemm(x, unpack(self.packed)[:, 0], self.bias, 0, self.output, residual))
