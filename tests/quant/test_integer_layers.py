"""Int8 layers and operators: they round as the formula says, on every path, and refuse what they cannot do."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frugal.kernels import available
from frugal.quant.affine import QParams, choose_qparams, dequantize, quantize
from frugal.quant.config import QuantSpec
from frugal.quant.granularity import PerChannel, PerGroup
from frugal.quant.integer import RELU, RELU6, Int8Conv2d, Int8Linear
from frugal.quant.integer.operator import clamp_codes
from frugal.quant.integer.operators import Add, AveragePool2d, Concat, Flatten, MaxPool2d, Multiply, Pad, Table

CONVS = [
    {"in_channels": 3, "out_channels": 16, "kernel_size": 3, "padding": 1},
    {"in_channels": 16, "out_channels": 17, "kernel_size": 3, "stride": 2, "padding": 1},
    {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "padding": 1, "groups": 16},
    {"in_channels": 65, "out_channels": 8, "kernel_size": 1},
    {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "dilation": 2, "groups": 4},
    {"in_channels": 5, "out_channels": 4, "kernel_size": (1, 3), "padding": "same"},
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def unsigned(x: torch.Tensor) -> QParams:
    return choose_qparams(x.detach(), signed=False)


def by_the_formula(layer, x, residual=None):
    """[19] equation (7) in float64, with the last factor as one float32 number."""
    x_q, y_q = layer.input(), layer.output()
    centred = (x.double() - x_q.zero_point).permute(0, 3, 1, 2) if x.ndim == 4 else x.double() - x_q.zero_point
    if isinstance(layer, Int8Conv2d):
        move = layer.stride, layer.padding, layer.dilation, layer.groups
        acc = F.conv2d(centred, layer.weight.double(), layer.bias.double(), *move).permute(0, 2, 3, 1)
    else:
        acc = F.linear(centred, layer.weight.double(), layer.bias.double())
    steps = acc.float() * (x_q.scale.double() * layer.weight_scale.double() / y_q.scale.double()).float()
    if residual is not None:
        r_q = layer.residual()
        factor = (r_q.scale.double() / y_q.scale.double()).float()
        steps = steps + (residual.int() - r_q.zero_point).float() * factor
    low, high = clamp_codes(y_q, layer.clamp)
    return (torch.round(steps) + y_q.zero_point).clamp(low, high).to(y_q.dtype)


@pytest.mark.parametrize("isa", available())
@pytest.mark.parametrize("clamp", [(None, None), RELU, RELU6])
@pytest.mark.parametrize("arguments", CONVS, ids=range(len(CONVS)))
def test_a_convolution_gives_the_codes_of_the_formula_on_every_path(arguments, clamp, isa):
    conv = nn.Conv2d(**arguments)
    x = 3 * torch.randn(2, conv.in_channels, 9, 7)
    y = 9 * conv(x)  # a range wider than 6, so that ReLU6 cuts
    layer = Int8Conv2d.from_float(conv, unsigned(x), unsigned(y), clamp=clamp)
    layer.use_isa(isa)
    codes = quantize(x, layer.input()).permute(0, 2, 3, 1).contiguous()
    assert torch.equal(layer(codes), by_the_formula(layer, codes))
    assert torch.equal(layer.exact(codes), by_the_formula(layer, codes))


@pytest.mark.parametrize("isa", available())
@pytest.mark.parametrize("shape", [(1, 1), (3, 63), (2, 5, 65)])
def test_a_linear_layer_gives_the_codes_of_the_formula_on_every_path(shape, isa):
    linear = nn.Linear(shape[-1], 17)
    x = torch.randn(shape)
    layer = Int8Linear.from_float(linear, unsigned(x), unsigned(linear(x)))
    layer.use_isa(isa)
    codes = quantize(x, layer.input())
    assert torch.equal(layer(codes), by_the_formula(layer, codes))


@pytest.mark.parametrize("isa", available())
def test_a_residual_is_added_before_the_clamp_and_rounded_once(isa):
    conv = nn.Conv2d(16, 24, 3, padding=1)
    x, r = torch.randn(2, 16, 8, 8), torch.randn(2, 24, 8, 8)
    y = (conv(x) + r).relu()
    layer = Int8Conv2d.from_float(conv, unsigned(x), unsigned(y), clamp=RELU, residual=unsigned(r))
    layer.use_isa(isa)
    x_codes = quantize(x, layer.input()).permute(0, 2, 3, 1).contiguous()
    r_codes = quantize(r, layer.residual()).permute(0, 2, 3, 1).contiguous()
    codes = layer(x_codes, r_codes)
    assert torch.equal(codes, by_the_formula(layer, x_codes, r_codes))
    reals = dequantize(codes, layer.output()).permute(0, 3, 1, 2)
    real_weight = dequantize(layer.weight, QParams(layer.weight_scale, torch.zeros(24, dtype=torch.int32), -127, 127,
                                                   PerChannel(0)))  # fmt: skip
    x_real, r_real = dequantize(quantize(x, layer.input()), layer.input()), dequantize(
        quantize(r, layer.residual()), layer.residual())  # fmt: skip
    float_y = (F.conv2d(x_real, real_weight, conv.bias, padding=1) + r_real).relu()
    bias_step = (layer.input().scale * layer.weight_scale).max() / 2
    assert (reals - float_y).abs().max() <= layer.output().scale / 2 + bias_step + 1e-5


def test_relu6_ends_at_the_code_of_six():
    qparams = QParams(torch.tensor(0.1), torch.tensor(10, dtype=torch.int32), 0, 255)
    assert clamp_codes(qparams, RELU6) == (10, 70)
    clipped = QParams(torch.tensor(0.01), torch.tensor(10, dtype=torch.int32), 0, 255)
    assert clamp_codes(clipped, RELU6) == (10, 255)  # 6 lies outside its range: the last code is smaller


def test_an_output_of_reals_is_the_sum_times_its_scale():
    linear = nn.Linear(20, 4)
    x = torch.randn(3, 20)
    layer = Int8Linear.from_float(linear, unsigned(x), None)
    codes = quantize(x, layer.input())
    real = dequantize(codes, layer.input())
    error = (layer(codes) - F.linear(real, layer.real_weight(), layer.real_bias)).abs().max()
    assert error <= 20 * torch.finfo(torch.float32).eps * layer(codes).abs().max() * 20


def test_a_dead_channel_with_a_large_bias_keeps_its_bias():
    conv = nn.Conv2d(4, 2, 1)
    with torch.no_grad():
        conv.weight[0] = 1e-12
        conv.bias[0] = 5.0
    x = torch.rand(1, 4, 3, 3)
    layer = Int8Conv2d.from_float(conv, unsigned(x), None)
    y = layer(quantize(x, layer.input()).permute(0, 2, 3, 1).contiguous())
    assert (y[:, 0] - 5.0).abs().max() < 1e-6


def test_signed_activations_give_the_same_reals_as_unsigned_ones():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    x = torch.randn(1, 8, 6, 6)
    results = []
    for signed in (False, True):
        x_q, y_q = choose_qparams(x, signed=signed), choose_qparams(conv(x).detach(), signed=signed)
        layer = Int8Conv2d.from_float(conv, x_q, y_q)
        results.append(dequantize(layer(quantize(x, x_q).permute(0, 2, 3, 1).contiguous()), y_q))
    assert torch.equal(*results)


@pytest.mark.parametrize("isa", [None, "reference"])
def test_pooling_and_addition_round_as_their_float_forms_but_for_ties(isa):
    x, y = torch.randn(2, 5, 9, 9), 2 * torch.randn(2, 5, 9, 9)
    x_q, y_q = unsigned(x), unsigned(y)
    x_codes, y_codes = (quantize(v, q).permute(0, 2, 3, 1).contiguous() for v, q in ((x, x_q), (y, y_q)))
    x_real, y_real = (dequantize(quantize(v, q), q) for v, q in ((x, x_q), (y, y_q)))
    window = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1)}
    cases = [
        (MaxPool2d(input=x_q, **window), (x_codes,), (x_real,), 0),
        (AveragePool2d(input=x_q, output=unsigned(x / 3), **window), (x_codes,), (x_real,), 1),
        (AveragePool2d(input=x_q, output=unsigned(x / 3), count_border=False, **window), (x_codes,), (x_real,), 1),
        (AveragePool2d(input=x_q, output=unsigned(x / 9)), (x_codes,), (x_real,), 1),
        (Add(first=x_q, second=y_q, output=unsigned(x + y), clamp=RELU), (x_codes, y_codes), (x_real, y_real), 1),
        (Multiply(first=x_q, second=y_q, output=unsigned(x * y)), (x_codes, y_codes), (x_real, y_real), 1),
    ]
    for operator, codes, reals, most in cases:
        operator.use_isa(isa)
        made = operator(*codes)
        expected = quantize(operator.real(*reals), operator.output_qparams()).permute(0, 2, 3, 1)
        difference = (made.int() - expected.int()).abs()
        assert difference.max() <= most, type(operator).__name__
        steps = (operator.real(*reals) / operator.output_qparams().scale).permute(0, 2, 3, 1)
        from_tie = (steps - steps.floor() - 0.5).abs()
        float_slack = 4 * torch.finfo(torch.float32).eps * 256  # a code has up to 8 bits before the point
        assert (from_tie[difference > 0] <= float_slack).all(), type(operator).__name__
        assert torch.equal(made, operator.exact(*codes))


@pytest.mark.parametrize("function", ["hardswish", "sigmoid", "gelu", "relu"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_table_holds_the_code_of_the_function_for_every_code(function, signed):
    x = torch.linspace(-4, 5, 300)
    x_q = choose_qparams(x, signed=signed)
    reals = {"hardswish": F.hardswish, "sigmoid": torch.sigmoid, "gelu": F.gelu, "relu": F.relu}[function](x)
    table = Table(input=x_q, output=choose_qparams(reals, signed=signed), function=function)
    codes = torch.arange(x_q.quant_min, x_q.quant_max + 1).to(x_q.dtype).view(1, 16, 16)
    expected = quantize(table.real(dequantize(codes, x_q)), table.output())
    assert torch.equal(table(codes), expected)
    assert torch.equal(table(codes, out=torch.zeros_like(codes)), expected)


def test_padding_channels_adds_real_zeros_and_keeps_every_second_pixel():
    x = torch.randn(2, 4, 6, 6) + 1
    x_q = unsigned(x)
    pad = Pad(input=x_q, step=(2, 2, 1), before=(0, 0, 2), after=(0, 0, 3))
    codes = quantize(x, x_q)
    made = pad(codes.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2)
    assert torch.equal(made[:, 2:6], codes[:, :, ::2, ::2])
    assert (torch.cat([made[:, :2], made[:, 6:]], 1) == x_q.zero_point).all()
    assert torch.equal(dequantize(made, x_q), pad.real(dequantize(codes, x_q)))


def test_joined_tensors_are_brought_to_one_scale():
    x, y = torch.randn(2, 3, 4, 4), 5 * torch.randn(2, 2, 4, 4)
    q = [unsigned(x), unsigned(y)]
    joined = Concat(*q, output=unsigned(torch.cat([x, y], 1)), axis=3)
    codes = [quantize(v, each).permute(0, 2, 3, 1).contiguous() for v, each in zip((x, y), q, strict=True)]
    reals = [dequantize(quantize(v, each), each) for v, each in zip((x, y), q, strict=True)]
    assert torch.equal(joined(*codes).permute(0, 3, 1, 2), quantize(torch.cat(reals, 1), joined.output()))


def test_flattening_keeps_the_order_of_torch():
    x = torch.randn(2, 3, 4, 5)
    x_q = unsigned(x)
    codes = quantize(x, x_q)
    assert torch.equal(Flatten(input=x_q)(codes.permute(0, 2, 3, 1).contiguous()), codes.flatten(1))


@pytest.mark.parametrize("codes, message", [
    (torch.zeros(1, 4, 4, 3), "uint8"),
    (torch.zeros(1, 4, 4, 3, dtype=torch.int8), "uint8"),
    (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), r"\[1, 3, 4, 4\]"),
    (torch.zeros(4, 4, 3, dtype=torch.uint8), r"\[4, 4, 3\]"),
    (torch.zeros(0, 4, 4, 3, dtype=torch.uint8), "empty"),
    (torch.zeros(1, 1, 1, 3, dtype=torch.uint8), "does not fit"),
])  # fmt: skip
@pytest.mark.parametrize("isa", [None, "reference"])
def test_a_convolution_refuses_what_are_no_codes_in_nhwc(codes, message, isa):
    x = torch.randn(1, 3, 4, 4)
    conv = nn.Conv2d(3, 4, 3)
    layer = Int8Conv2d.from_float(conv, unsigned(x), unsigned(conv(x)))
    layer.use_isa(isa)
    with pytest.raises((TypeError, ValueError), match=message):
        layer(codes)


def test_a_layer_refuses_parameters_that_no_kernel_has():
    conv, x_q = nn.Conv2d(3, 4, 3), unsigned(torch.randn(1, 3, 4, 4))
    with pytest.raises(ValueError, match="one scale per tensor"):
        Int8Conv2d.from_float(conv, choose_qparams(torch.randn(3, 4), granularity=PerChannel(0), signed=False), x_q)
    with pytest.raises(ValueError, match="per output channel"):
        Int8Conv2d.from_float(conv, x_q, x_q, weight=QuantSpec(granularity=PerGroup(3)))
    with pytest.raises(ValueError, match="symmetric"):
        Int8Conv2d.from_float(conv, x_q, x_q, weight=QuantSpec(symmetric=False, granularity=PerChannel(0)))
    with pytest.raises(ValueError, match="padding_mode='reflect'"):
        Int8Conv2d.from_float(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), x_q, x_q)
    with pytest.raises(ValueError, match="one type"):
        Int8Conv2d.from_float(conv, x_q, x_q, residual=choose_qparams(torch.randn(4)))
    with pytest.raises(ValueError, match="reals has no clamp"):
        Int8Conv2d.from_float(conv, x_q, None, clamp=RELU)
    with pytest.raises(ValueError, match="no path of this machine"):
        Int8Conv2d.from_float(conv, x_q, x_q).use_isa("abacus")
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="weight must be finite"):
        Int8Conv2d.from_float(conv, x_q, x_q)


def test_a_state_dict_carries_codes_and_parameters():
    linear, other = nn.Linear(4, 3), nn.Linear(4, 3)
    x = torch.randn(5, 4)
    layer = Int8Linear.from_float(linear, unsigned(x), unsigned(linear(x)))
    twin = Int8Linear.from_float(other, unsigned(2 * x), unsigned(x))
    twin.load_state_dict(layer.state_dict())
    codes = quantize(x, layer.input())
    assert torch.equal(twin(codes), layer(codes))
