"""Bound calls: the same numbers as a call, into the same tensor each time, and no way to pull the memory away."""

import gc
import threading

import pytest
import torch

from frugal.kernels import available, binding
from frugal.kernels import output as out
from frugal.kernels.conv import Conv8
from frugal.kernels.gemm import Linear8

U8 = torch.uint8


@pytest.mark.parametrize("path", available())
def test_a_bound_layer_computes_what_its_input_holds_now(draw, kind, path):
    output = draw.output(kind, 33)
    layer = Linear8(draw.weights(33, 70), x_zero_point=5, output=output)
    x, residual = draw.codes(U8, 19, 70), draw.residual(output, (19, 33))
    bound = layer.bind(x, residual, isa=path)
    for _ in range(3):
        assert torch.equal(bound(), layer(x, residual, isa="reference"))
        x.copy_(draw.codes(U8, 19, 70))
        if residual is not None:
            residual.copy_(draw.codes(U8, 19, 33))


@pytest.mark.parametrize("path", available())
def test_a_bound_layer_writes_where_it_was_told(draw, path):
    layer, x = Linear8(draw.weights(20, 30), output=draw.output("codes", 20)), draw.codes(U8, 10, 30)
    room = torch.full((10, 40), 77, dtype=U8)
    bound = layer.bind(x, out=room[:, 10:30], isa=path)
    assert bound() is bound.out
    assert torch.equal(room[:, 10:30], layer(x, isa="reference"))
    assert (room[:, :10] == 77).all()
    assert (room[:, 30:] == 77).all()


def test_binding_checks_what_a_call_checks(draw, isa):
    layer, x = Linear8(draw.weights(20, 30), output=draw.output("codes", 20)), draw.codes(U8, 10, 30)
    with pytest.raises(ValueError, match="30 values in its last dimension"):
        layer.bind(draw.codes(U8, 10, 29), isa=isa)
    with pytest.raises(ValueError, match="has no residual"):
        layer.bind(x, draw.codes(U8, 10, 20), isa=isa)
    with pytest.raises(ValueError, match="must not share memory"):
        layer.bind(x, out=x[:, :20], isa=isa)


def test_bound_tensors_live_on_and_keep_their_size(draw, isa):
    layer = Linear8(draw.weights(20, 30))
    x = draw.codes(U8, 10, 30)
    expected = layer(x, isa="reference")
    bound = layer.bind(x, isa=isa)
    with pytest.raises(RuntimeError, match="not resizable"):
        x.resize_(1000, 1000)
    del layer, x
    gc.collect()
    assert torch.equal(bound(), expected)


def test_different_bound_calls_run_at_once(draw, isa):
    layer = Linear8(draw.weights(64, 96), output=out.codes(draw.scales(64)))
    inputs = [draw.codes(U8, 50, 96) for _ in range(4)]
    calls = [layer.bind(x, isa=isa) for x in inputs]
    threads = [threading.Thread(target=lambda call=call: [call() for _ in range(200)]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, call in zip(inputs, calls, strict=True):
        assert torch.equal(call.out, layer(x, isa="reference"))


@pytest.mark.parametrize("channels, groups", [(5, 1), (64, 64)])
def test_convolutions_can_be_bound(draw, isa, channels, groups):
    conv = Conv8(draw.weights(channels, channels // groups, 3, 3), padding=1, groups=groups, output=out.codes(1e-3))
    x = draw.codes(U8, 2, 9, 8, channels)
    expected = conv(x, isa="reference")
    path, plan = conv.path(isa), conv._plan(x)
    bind = binding.bind_conv if groups == 1 else binding.bind_depthwise
    bound = bind(path, conv._layer, plan, x, None, None)
    if groups == 1 or not binding.wants_interleaved(path, conv._layer, plan):
        assert torch.equal(bound(), expected)


@pytest.mark.parametrize("path", available())
@pytest.mark.parametrize("groups", [1, 24])
def test_a_bound_convolution_computes_what_its_input_holds_now(draw, groups, path):
    output = draw.output("residual", 24)
    layer = Conv8(draw.weights(24, 24 // groups, 3, 3), stride=2, padding=1, groups=groups, output=output)
    x, residual = draw.codes(U8, 2, 9, 8, 24), draw.residual(output, (2, 5, 4, 24))
    bound = layer.bind(x, residual, isa=path)
    for _ in range(3):
        assert torch.equal(bound(), layer(x, residual, isa="reference"))
        x.copy_(draw.codes(U8, 2, 9, 8, 24))
    with pytest.raises(ValueError, match="batch, height, width, 24"):
        layer.bind(draw.codes(U8, 2, 9, 8, 23), isa=path)
