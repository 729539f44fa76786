"""For torch.compile, torch.export and the counter of operations the layers are operators of torch.library."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from frugal.kernels import ops
from frugal.kernels.conv import Conv8
from frugal.kernels.gemm import Linear8

U8 = torch.uint8


class Network(nn.Module):
    """A convolution with a residual, then a linear layer on every pixel."""

    def __init__(self, draw):
        super().__init__()
        self.conv = Conv8(draw.weights(8, 8, 3, 3), padding=1, x_zero_point=9, output=draw.output("residual", 8))
        self.linear = Linear8(draw.weights(5, 8), output=draw.output("reals", 5))

    def forward(self, x):
        return self.linear(self.conv(x, x)) + 1.0


@pytest.fixture
def case(draw):
    return Network(draw), draw.codes(U8, 2, 6, 7, 8)


def test_a_compiled_network_gives_the_same_bits_without_a_break(case):
    network, x = case
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), network(x))


def test_an_exported_network_gives_the_same_bits(case):
    network, x = case
    exported = torch.export.export(network, (x,))
    names = {str(node.target) for node in exported.graph.nodes}
    assert {"frugal.conv8.default", "frugal.linear8.default"} <= names
    assert torch.equal(exported.module()(x), network(x))


def test_the_counter_counts_two_operations_for_each_product(case):
    network, x = case
    with FlopCounterMode(display=False) as counter:
        network(x)
    pixels = 2 * 6 * 7
    assert counter.get_total_flops() == 2 * pixels * (8 * 8 * 9 + 8 * 5)


def test_depthwise_products_are_counted_once_for_each_channel(draw):
    layer, x = Conv8(draw.weights(8, 1, 3, 3), padding=1, groups=8), draw.codes(U8, 1, 4, 4, 8)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() == 2 * 16 * 8 * 9


def test_fake_tensors_have_the_shapes_of_real_ones(case):
    network, x = case
    wanted = network(x)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = network(mode.from_tensor(x))
    assert (fake.shape, fake.dtype) == (wanted.shape, wanted.dtype)


def test_torch_finds_nothing_wrong_with_the_operators(draw):
    linear, x = Linear8(draw.weights(5, 8), output=draw.output("residual", 5)), draw.codes(U8, 3, 8)
    o = linear.output
    tensors = (x, linear.packed.data, linear.bias, o.scale, None, None, draw.codes(U8, 3, 5))
    numbers = [o.zero_point, o.low, o.high, o.residual.zero_point]
    torch.library.opcheck(ops.linear8, (*tensors, 5, 8, U8, numbers, o.residual.scale, None))
    conv, x = Conv8(draw.weights(5, 8, 3, 3)), draw.codes(U8, 1, 5, 6, 8)
    moves = [1, 1, 0, 0, 1, 1, 1, 0]
    tensors = (x, conv.weight, None, None, None, None, None)
    torch.library.opcheck(ops.conv8, (*tensors, moves, torch.int32, [0, 0, 0, 0], None, "reference"))


def test_an_operator_prepares_its_layer_once_and_sees_new_weights(draw):
    layer, x = Conv8(draw.weights(8, 8, 3, 3), padding=1, output=draw.output("codes", 8)), draw.codes(U8, 1, 5, 5, 8)
    ops._layers.clear()
    with FlopCounterMode(display=False):
        first = layer(x)
        assert torch.equal(layer(x), first)
        assert len(ops._layers) == 1
        layer.weight.zero_()  # written: the layer that was prepared no longer counts
        changed = layer(x)
    assert len(ops._layers) == 2
    assert torch.equal(changed, Conv8(layer.weight, padding=1, output=layer.output)(x))
    assert not torch.equal(changed, first)


def test_no_more_layers_are_kept_than_is_said(draw, monkeypatch):
    monkeypatch.setattr(ops, "MOST_LAYERS", 2)
    x = draw.codes(U8, 3, 8)
    with FlopCounterMode(display=False):
        for _ in range(4):
            Linear8(draw.weights(5, 8), output=draw.output("codes", 5))(x)
    assert len(ops._layers) == 2
