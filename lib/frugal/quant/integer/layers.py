"""Convolution and linear layers on integer codes, with ReLU and residual addition done while the sum is at hand.

Paper:   [19] Jacob et al., CVPR 2018, section 2.2 to 2.4.
Formula: y = clamp(round(M · (Σ (x - x_zero) · w + bias) + R · (r - r_zero)) + y_zero, low, high)
         M = x_scale · w_scale / y_scale per output channel,  R = r_scale / y_scale
         bias = round(b / (x_scale · w_scale)), an int32 like the sum
Learn:   course/4_quantization

Weights are symmetric, so that only the zero-point of x is left in the sum: the kernels take Σ x_zero · w, a constant,
into the bias. ``r`` is the residual, ``low`` and ``high`` are ReLU and ReLU6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frugal.core.check import check_finite, describe
from frugal.kernels import program, reference
from frugal.kernels.conv import Conv8
from frugal.kernels.gemm import Linear8
from frugal.kernels.output import Output, Residual, codes, reals
from frugal.quant.affine import QParams, choose_qparams, dequantize, quantize
from frugal.quant.config import QuantSpec
from frugal.quant.granularity import PerChannel, PerTensor
from frugal.quant.integer.operator import (
    Clamp,
    Operator,
    check_per_tensor,
    clamp_codes,
    clamp_reals,
    numbers,
    path_name,
    to_nchw,
)
from frugal.quant.layers import StoredQParams, weight_of

LARGEST_BIAS = 2**30  # half of what int32 holds; the other half is for the products


class Int8Layer(Operator):
    """What convolution and linear layers share: weights, bias and what becomes of the sum.

    Args:
        weight: int8 codes, [out, in, ...].
        weight_scale: real units per step of an output channel's weights, float32 [out].
        bias: in units of ``input.scale · weight_scale``, int32 [out].
        input: what the input's codes stand for, one scale per tensor.
        output: the same of the output; None for an output of reals (float32), which has no clamp and no residual.
        clamp: the smallest and the largest real of the output: ``RELU``, ``RELU6``, or any other.
        residual: what the codes that are added stand for; of the output's integer type.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor
    input: StoredQParams
    output: StoredQParams | None
    residual: StoredQParams | None
    clamp: Clamp
    epilogue: Output  # what becomes of a sum

    def __init__(
        self,
        weight: Tensor,
        weight_scale: Tensor,
        bias: Tensor,
        *,
        input: QParams,
        output: QParams | None,
        clamp: Clamp = (None, None),
        residual: QParams | None = None,
        **geometry: Any,
    ) -> None:
        _check_weights(weight, weight_scale, bias)
        if output is None and (clamp != (None, None) or residual is not None):
            raise ValueError("an output of reals has no clamp and no residual; give output=QParams(...)")
        if output is not None and residual is not None and output.dtype != residual.dtype:
            raise ValueError(
                f"residual and output must have codes of one type, got {residual.dtype} and {output.dtype}"
            )
        parts = {"input": input, "output": output, "clamp": tuple(clamp), "residual": residual}
        super().__init__(weight=weight, weight_scale=weight_scale, bias=bias, **parts, **geometry)

    def prepare_(self) -> None:
        x_scale, self.x_zero = numbers(self.input)
        real_scale = x_scale * self.weight_scale.double()  # [out]: of the sum and of the bias
        self.real_bias = (self.bias.double() * real_scale).float()
        if self.output is None:
            self.epilogue = reals(real_scale.float())
        else:
            y_scale, y_zero = numbers(self.output)
            low, high = clamp_codes(self.output(), self.clamp)
            added = None
            if self.residual is not None:
                r_scale, r_zero = numbers(self.residual)
                added = Residual(r_scale / y_scale, r_zero)
            self.epilogue = codes(
                (real_scale / y_scale).float(),
                dtype=self.output().dtype,
                zero_point=y_zero,
                low=low,
                high=high,
                residual=added,
            )
        self.prepared = self._prepare()

    def _prepare(self) -> Linear8 | Conv8:
        raise NotImplementedError

    def path(self) -> str:
        return path_name(self.prepared.path(self.isa))

    def real_weight(self) -> Tensor:
        """Return the weight that the codes stand for, float32 [out, in, ...]."""
        return dequantize(self.weight, _weight_qparams(self.weight_scale))

    def real(self, *inputs: Tensor) -> Tensor:
        y = self._real_product(inputs[0])
        return clamp_reals(y if self.residual is None else y + inputs[1], self.clamp)

    def _real_product(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Int8Linear(Int8Layer):
    """A linear layer on codes: [..., in] to [..., out].

    >>> linear = nn.Linear(3, 2)
    >>> x, y = torch.randn(8, 3), linear(torch.randn(8, 3))
    >>> layer = Int8Linear.from_float(linear, choose_qparams(x, signed=False), choose_qparams(y, signed=False))
    >>> layer(quantize(x, layer.input())).dtype
    torch.uint8
    """

    @classmethod
    def from_float(
        cls,
        layer: nn.Linear,
        input: QParams,
        output: QParams | None,
        *,
        clamp: Clamp = (None, None),
        residual: QParams | None = None,
        weight: QParams | QuantSpec | None = None,
    ) -> Int8Linear:
        """Quantize a float layer; ``weight`` says how, by default 8 bits, symmetric, per output channel.

        Raises:
            ValueError: a weight or bias is not finite, or ``weight`` is not symmetric per tensor or output channel.
        """
        return cls(*integer_weights(layer, input, weight), input=input, output=output, clamp=clamp, residual=residual)

    def forward(self, x: Tensor, residual: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Multiply codes x [..., in]; ``residual`` and ``out`` have the shape of the result."""
        return self.prepared(x, residual, out=out, isa=self.isa)

    def call(self, inputs: Sequence[Tensor], out: Tensor) -> program.Call | None:
        assert isinstance(self.prepared, Linear8)
        return program.linear(self.prepared, *_with_residual(inputs), out, self.isa)

    def _prepare(self) -> Linear8:
        return Linear8(
            self.weight, self.bias, x_dtype=self.input().dtype, x_zero_point=self.x_zero, output=self.epilogue
        )

    def exact(self, *inputs: Tensor) -> Tensor:
        x, residual = _with_residual(inputs)
        return reference.gemm(x, self.weight, self.bias, self.x_zero, self.epilogue, residual)

    def _real_product(self, x: Tensor) -> Tensor:
        return F.linear(x, self.real_weight(), self.real_bias)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]} to {self.weight.shape[0]}"


class Int8Conv2d(Int8Layer):
    """A 2-d convolution on codes, NHWC: [n, h, w, in] to [n, out_h, out_w, out]. The border holds real 0.

    An output of reals has torch's layout, [n, out, out_h, out_w].

    Args:
        stride, padding, dilation: down and across.
        groups: equal to the input channels for a depthwise convolution.
        The others: as in ``Int8Layer``.
    """

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def __init__(
        self,
        weight: Tensor,
        weight_scale: Tensor,
        bias: Tensor,
        *,
        input: QParams,
        output: QParams | None,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        clamp: Clamp = (None, None),
        residual: QParams | None = None,
    ) -> None:
        geometry = {"stride": stride, "padding": padding, "dilation": dilation}
        pairs = {name: _pair(value, name) for name, value in geometry.items()}
        super().__init__(
            weight,
            weight_scale,
            bias,
            input=input,
            output=output,
            clamp=clamp,
            residual=residual,
            **pairs,
            groups=groups,
        )

    @classmethod
    def from_float(
        cls,
        layer: nn.Conv2d,
        input: QParams,
        output: QParams | None,
        *,
        clamp: Clamp = (None, None),
        residual: QParams | None = None,
        weight: QParams | QuantSpec | None = None,
    ) -> Int8Conv2d:
        """Quantize a float layer; ``weight`` says how, by default 8 bits, symmetric, per output channel.

        Raises:
            ValueError: the layer pads with something else than zeros, a weight or bias is not finite, or ``weight`` is
                not symmetric per tensor or output channel.
        """
        reason = conv_refusal(layer)
        if reason:
            raise ValueError(f"Int8Conv2d cannot take over this layer: {reason}")
        return cls(
            *integer_weights(layer, input, weight),
            input=input,
            output=output,
            stride=_two(layer.stride),
            padding=conv_padding(layer),
            dilation=_two(layer.dilation),
            groups=layer.groups,
            clamp=clamp,
            residual=residual,
        )

    def forward(self, x: Tensor, residual: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Convolve codes x [n, h, w, in]; ``residual`` and ``out`` have the shape of the result."""
        y = self.prepared(x, residual, out=out, isa=self.isa)
        return y if self.output is not None else to_nchw(y)

    def call(self, inputs: Sequence[Tensor], out: Tensor) -> program.Call | None:
        if self.output is None:  # reals leave in torch's layout
            return None
        assert isinstance(self.prepared, Conv8)
        return program.conv(self.prepared, *_with_residual(inputs), out, self.isa)

    def _prepare(self) -> Conv8:
        return Conv8(
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            x_dtype=self.input().dtype,
            x_zero_point=self.x_zero,
            output=self.epilogue,
        )

    def exact(self, *inputs: Tensor) -> Tensor:
        x, residual = _with_residual(inputs)
        y = reference.conv2d(
            x,
            self.weight,
            self.bias,
            self.x_zero,
            self.epilogue,
            residual,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return y if self.output is not None else to_nchw(y)

    def _real_product(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.real_weight(), self.real_bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        out, channels, height, width = self.weight.shape
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return f"{channels * self.groups} to {out}, {height} x {width}, stride {self.stride[0]}{groups}"


def _with_residual(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    return inputs[0], inputs[1] if len(inputs) > 1 else None


def integer_weights(
    layer: nn.Module, input: QParams, weight: QParams | QuantSpec | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Quantize weight and bias of a float layer: codes [out, in, ...], their scale [out], the int32 bias [out].

    A channel whose weights are tiny beside its bias gets a coarser scale than they ask for, so that its bias fits the
    int32 sum; dead channels after batch norm folding are like that.
    """
    check_per_tensor(input, "input")
    real = weight_of(layer).detach().float()
    check_finite(real, "weight")
    bias = getattr(layer, "bias", None)
    real_bias = torch.zeros(len(real)) if bias is None else bias.detach().float()
    check_finite(real_bias, "bias")
    x_scale, _ = numbers(input)
    chosen = weight if isinstance(weight, QParams) else _choose_weight_qparams(real, weight)
    if chosen.zero_point.any() or chosen.quant_min < -127 or chosen.quant_min >= 0:
        raise ValueError("weights must be symmetric, with codes from -127 to 127; use QuantSpec(symmetric=True)")
    scale = chosen.scale.double().expand(len(real))
    scale = torch.maximum(scale, real_bias.double().abs() / (x_scale * LARGEST_BIAS)).float()
    weight_codes = quantize(real, replace(chosen, **_per_channel(scale)))
    code_bias = torch.round(real_bias.double() / (x_scale * scale.double()))
    return weight_codes, scale, code_bias.to(torch.int32)


def conv_refusal(layer: nn.Conv2d) -> str:
    """Say what about a convolution the kernels cannot do, or nothing."""
    if layer.padding_mode != "zeros":
        return f"it pads with padding_mode={layer.padding_mode!r}, not with zeros"
    if layer.padding == "same" and any(
        d * (k - 1) % 2 for d, k in zip(_two(layer.dilation), layer.kernel_size, strict=True)
    ):
        return "its padding 'same' is not the same on both sides"
    return ""


def conv_padding(layer: nn.Conv2d) -> tuple[int, int]:
    """Return the padding in numbers, which may have been given as a word."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        down, across = (d * (k - 1) // 2 for d, k in zip(_two(layer.dilation), layer.kernel_size, strict=True))
        return down, across
    return _two(layer.padding)


def _choose_weight_qparams(real: Tensor, spec: QuantSpec | None) -> QParams:
    if spec is None:
        return choose_qparams(real, symmetric=True, granularity=PerChannel(0))
    if not isinstance(spec.granularity, PerTensor) and spec.granularity != PerChannel(0):
        raise ValueError(f"weights must have one scale per tensor or per output channel, got {spec.granularity}")
    observer = spec.new_observer()
    observer.observe(real)
    return observer.qparams()


def _weight_qparams(scale: Tensor) -> QParams:
    return QParams(quant_min=-127, quant_max=127, **_per_channel(scale))


def _per_channel(scale: Tensor) -> dict[str, Any]:
    return {"scale": scale, "zero_point": torch.zeros_like(scale, dtype=torch.int32), "granularity": PerChannel(0)}


def _check_weights(weight: Tensor, weight_scale: Tensor, bias: Tensor) -> None:
    if not isinstance(weight, Tensor) or weight.dtype != torch.int8 or weight.ndim < 2 or weight.numel() == 0:
        raise TypeError(f"weight must hold int8 codes [out, in, ...], got {describe(weight)}")
    if (weight == -128).any():
        raise ValueError("weight codes must be from -127 to 127, got -128; symmetric parameters never give it")
    check_finite(weight_scale, "weight_scale")
    if weight_scale.shape != weight.shape[:1] or not (weight_scale > 0).all():
        raise ValueError(f"weight_scale must be above zero, [{len(weight)}], got {describe(weight_scale)}")
    if not isinstance(bias, Tensor) or bias.dtype != torch.int32 or bias.shape != weight.shape[:1]:
        raise TypeError(f"bias must be int32 [{len(weight)}], got {describe(bias)}")


def _pair(value: tuple[int, int], name: str) -> tuple[int, int]:
    pair = tuple(value)
    if len(pair) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in pair):
        raise ValueError(f"{name} must be two whole numbers, down and across, got {value!r}")
    return pair


def _two(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
