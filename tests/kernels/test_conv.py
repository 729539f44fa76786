"""Convolutions: every path equals the reference bit for bit, and the reference equals torch's own convolution."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from frugal.kernels import available
from frugal.kernels import output as out
from frugal.kernels.conv import Conv8, Geometry, Tap, interleave, pack_conv, tap_for
from frugal.kernels.pack import unpack

U8, S8 = torch.uint8, torch.int8

# batch, h, w, in, out, kernel, stride, padding, dilation, groups
CASES = {
    "1x1": (2, 5, 7, 65, 17, 1, 1, 0, 1, 1),
    "1x1 stride 2": (1, 9, 8, 64, 33, 1, 2, 0, 1, 1),
    "3x3": (2, 9, 11, 64, 31, 3, 1, 1, 1, 1),
    "3x3 stride 2": (1, 9, 10, 33, 16, 3, 2, 1, 1, 1),
    "7x7 stride 2, few channels": (2, 23, 21, 3, 65, 7, 2, 3, 1, 1),
    "few channels, dilated rows": (1, 12, 9, 3, 5, 3, 1, 2, (2, 1), 1),
    "dilated": (1, 11, 12, 16, 15, 3, 1, 2, 2, 1),
    "stride 3, oblong": (1, 14, 13, 20, 33, (2, 5), (3, 1), (1, 2), 1, 1),
    "stride above the kernel": (1, 13, 13, 8, 8, 2, 3, 0, 1, 1),
    "large padding": (1, 3, 3, 5, 4, 3, 1, 3, 1, 1),
    "groups": (2, 7, 8, 12, 21, 3, 1, 1, 1, 3),
    "groups of 64": (1, 6, 6, 128, 32, 3, 2, 1, 1, 2),
    "1x1 groups": (1, 5, 5, 34, 6, 1, 1, 0, 1, 2),
    "one channel in, many out": (1, 8, 8, 1, 17, 3, 1, 1, 1, 1),
    "two outputs a channel": (1, 6, 7, 5, 10, 3, 1, 1, 1, 5),
    "depthwise 3x3": (2, 9, 10, 65, 65, 3, 1, 1, 1, 65),
    "depthwise 3x3 stride 2": (1, 9, 10, 130, 130, 3, 2, 1, 1, 130),
    "depthwise 3x3 stride 3": (1, 10, 11, 16, 16, 3, 3, 0, 1, 16),
    "depthwise 3x3 stride 4": (1, 13, 14, 64, 64, 3, 4, 1, 1, 64),
    "depthwise 3x3 dilated": (1, 9, 9, 17, 17, 3, 1, 2, 2, 17),
    "depthwise 5x5": (1, 8, 9, 63, 63, 5, 1, 2, 1, 63),
    "depthwise 7x7 stride 2": (1, 12, 9, 3, 3, 7, 2, 3, 1, 3),
    "as large as the image": (2, 5, 6, 9, 10, (5, 6), 1, 0, 1, 1),
}


def build(draw, case, kind="codes", x_dtype=U8, dtype=U8):
    batch, h, w, channels, outputs, kernel, stride, padding, dilation, groups = case
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    output = draw.output(kind, outputs, dtype)
    layer = Conv8(
        draw.weights(outputs, channels // groups, *kernel),
        draw.integers(-5000, 5000, outputs, dtype=torch.int32),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        x_dtype=x_dtype,
        x_zero_point=draw.integer(*out.CODES[x_dtype]),
        output=output,
    )
    x = draw.codes(x_dtype, batch, h, w, channels)
    size = layer.geometry.window(x, 0).out_size
    return layer, x, draw.residual(output, (batch, *size, outputs))


@pytest.mark.parametrize("x_dtype", [U8, S8], ids=["u8", "s8"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_path_equals_the_reference(draw, isa, case, x_dtype):
    layer, x, _ = build(draw, case, x_dtype=x_dtype)
    assert torch.equal(layer(x, isa=isa), layer(x, isa="reference"))


@pytest.mark.parametrize("name", ["3x3", "3x3 stride 2", "groups", "1x1", "depthwise 3x3", "depthwise 5x5"])
def test_every_kind_of_output_equals_the_reference(draw, isa, kind, name):
    for dtype in (U8, S8):
        layer, x, residual = build(draw, CASES[name], kind, dtype, dtype)
        assert torch.equal(layer(x, residual, isa=isa), layer(x, residual, isa="reference"))


@pytest.mark.parametrize("name", ["3x3", "7x7 stride 2, few channels", "groups", "depthwise 3x3", "depthwise 5x5"])
def test_threads_do_not_change_a_bit(draw, isa, name, three_threads):
    layer, x, _ = build(draw, CASES[name])
    parallel = layer(x, isa=isa)
    torch.set_num_threads(1)
    assert torch.equal(parallel, layer(x, isa=isa))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_reference_is_torchs_convolution_of_the_reals(draw, case):
    layer, x, _ = build(draw, case, "sums")
    *_, stride, padding, dilation, groups = case
    real = (x.double() - layer.x_zero_point).permute(0, 3, 1, 2)
    wanted = F.conv2d(real, layer.weight.double(), layer.bias.double(), stride, padding, dilation, groups)
    assert torch.equal(layer(x, isa="reference").double(), wanted.permute(0, 2, 3, 1))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 12)),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    window=st.tuples(*2 * [st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2))]),
    is_depthwise=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_window_equals_the_reference(draw, isa, sizes, channels, window, is_depthwise, seed):
    draw.generator.manual_seed(seed)
    (batch, h, w), (groups, c_in, c_out) = sizes, channels
    kernel, stride, padding, dilation = zip(*window, strict=True)
    h, w = h + dilation[0] * (kernel[0] - 1), w + dilation[1] * (kernel[1] - 1)
    c_in, c_out = groups * c_in, groups * c_out
    if is_depthwise:
        groups = c_out = c_in
    case = (batch, h, w, c_in, c_out, kernel, stride, padding, dilation, groups)
    dtype = S8 if seed % 2 else U8
    layer, x, residual = build(draw, case, "residual" if seed % 3 else "codes", dtype, dtype)
    assert torch.equal(layer(x, residual, isa=isa), layer(x, residual, isa="reference"))


def test_the_border_is_real_zero():
    """A constant image of the zero-point, padded, stays real 0 everywhere."""
    layer = Conv8(torch.ones(4, 2, 3, 3, dtype=S8), padding=1, x_zero_point=77)
    x = torch.full((1, 5, 5, 2), 77, dtype=U8)
    for isa in available():
        assert not layer(x, isa=isa).any()


def test_images_of_a_batch_are_independent(draw, isa):
    layer, x, _ = build(draw, CASES["3x3 stride 2"])
    x = torch.cat([x, x.flip(1), x.flip(2)])
    together = layer(x, isa=isa)
    assert torch.equal(together, torch.cat([layer(each[None].contiguous(), isa=isa) for each in x]))


def test_permuting_channels_commutes_with_the_layer(draw, isa):
    for groups in (1, 40):
        w, x, scale = draw.weights(40, 40 // groups, 3, 3), draw.codes(U8, 1, 6, 6, 40), draw.scales(40)
        y = Conv8(w, padding=1, groups=groups, output=out.codes(scale))(x, isa=isa)
        order = torch.randperm(40, generator=draw.generator)
        moved = w[order] if groups > 1 else w[:, order][order]
        layer = Conv8(moved.contiguous(), padding=1, groups=groups, output=out.codes(scale[order]))
        assert torch.equal(y[..., order], layer(x[..., order].contiguous(), isa=isa))


def test_moving_the_image_moves_the_result(draw, isa):
    layer = Conv8(draw.weights(9, 5, 3, 3), output=out.codes(1e-3))
    x = draw.codes(U8, 1, 12, 12, 5)
    assert torch.equal(layer(x, isa=isa)[:, 2:, 3:], layer(x[:, 2:, 3:].contiguous(), isa=isa))


def test_one_layer_takes_more_shapes_than_it_keeps_plans_for(draw):
    from frugal.kernels.conv import MOST_SHAPES

    layer = Conv8(draw.weights(4, 3, 3, 3), padding=1)
    for size in (*range(1, MOST_SHAPES + 5), 1, 2):
        x = draw.codes(U8, 1, size, 3, 3)
        assert torch.equal(layer(x), layer(x, isa="reference"))
    assert len(layer._plans) <= MOST_SHAPES


def test_all_taps_pack_the_same_weights(draw):
    w = draw.weights(5, 3, 2, 4)
    by_position, by_row, by_kernel = (pack_conv(w, 1, tap) for tap in Tap)
    assert (by_position.taps, by_position.depth) == (8, 3)
    assert (by_row.taps, by_row.depth) == (2, 12)
    assert (by_kernel.taps, by_kernel.depth) == (1, 24)
    assert torch.equal(unpack(by_row).flatten(1), unpack(by_position).flatten(1))
    assert torch.equal(unpack(by_kernel).flatten(1), unpack(by_position).flatten(1))


def test_a_tap_grows_as_channels_get_fewer():
    assert tap_for(64, Geometry((3, 3))) == Tap.POSITION
    assert tap_for(16, Geometry((3, 3))) == Tap.ROW
    assert tap_for(3, Geometry((3, 3))) == Tap.KERNEL
    assert tap_for(3, Geometry((1, 1))) == Tap.POSITION
    assert tap_for(3, Geometry((7, 7), groups=3)) == Tap.POSITION
    assert tap_for(3, Geometry((7, 7), dilation=(1, 2))) == Tap.POSITION


def test_interleaving_keeps_every_depthwise_weight(draw):
    w = draw.weights(70, 1, 3, 3)
    mixed, order = interleave(w)
    assert sorted(order.flatten().tolist()) == list(range(128))
    back = torch.zeros(128, 4, 3, dtype=S8)
    back[order] = mixed.permute(0, 2, 3, 4, 1)
    assert torch.equal(back[:70, :3], w[:, 0])
    assert not back[70:].any()
    assert not back[:, 3].any()
