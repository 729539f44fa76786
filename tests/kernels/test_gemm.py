"""Matrix products: every path equals the reference bit for bit, and has the properties of a product."""

from itertools import product

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frugal.kernels import available, reference
from frugal.kernels import output as out
from frugal.kernels.gemm import Linear8
from frugal.kernels.pack import unpack

U8, S8 = torch.uint8, torch.int8
EDGES = (1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129)  # one below, at and above each block
BOTH = pytest.mark.parametrize("x_dtype", [U8, S8], ids=["u8", "s8"])


def check(layer, x, residual=None, isa=None):
    """A path equals the reference, which takes the zero-point out in another way."""
    assert torch.equal(layer(x, residual, isa=isa), layer(x, residual, isa="reference"))


@BOTH
@pytest.mark.parametrize("edge", EDGES)
def test_every_path_equals_the_reference_around_each_block_edge(draw, isa, x_dtype, edge):
    for m, n, k in ((edge, 33, 65), (33, edge, 65), (33, 65, edge)):
        x, w = draw.codes(x_dtype, m, k), draw.weights(n, k)
        bias = draw.integers(-(2**20), 2**20, n, dtype=torch.int32)
        layer = Linear8(w, bias, x_dtype=x_dtype, x_zero_point=draw.integer(*out.CODES[x_dtype]))
        check(layer, x, isa=isa)


@BOTH
def test_every_kind_of_output_equals_the_reference(draw, isa, kind, x_dtype):
    for dtype, (m, n, k) in product((U8, S8), ((1, 65, 127), (7, 17, 64), (34, 97, 33))):
        output = draw.output(kind, n, dtype)
        layer = Linear8(draw.weights(n, k), x_dtype=x_dtype, x_zero_point=3, output=output)
        check(layer, draw.codes(x_dtype, m, k), draw.residual(output, (m, n)), isa)


def test_threads_do_not_change_a_bit(draw, isa, kind, three_threads):
    output = draw.output(kind, 80)
    layer = Linear8(draw.weights(80, 70), output=output)
    x, residual = draw.codes(U8, 150, 70), draw.residual(output, (150, 80))
    parallel = layer(x, residual, isa=isa)
    torch.set_num_threads(1)
    assert torch.equal(parallel, layer(x, residual, isa=isa))
    assert torch.equal(parallel, layer(x, residual, isa="reference"))


def test_one_large_product_equals_the_reference(draw, isa, three_threads):
    layer = Linear8(draw.weights(520, 1100), output=draw.output("codes", 520))
    check(layer, draw.codes(U8, 300, 1100), isa=isa)


@pytest.mark.parametrize("m, n, k", [(70, 70, 1000), (70, 70, 2304), (99, 81, 3000), (65, 600, 2304), (65, 40, 4096)])
def test_long_rows_equal_the_reference(draw, isa, kind, m, n, k):
    """Where rows outgrow the nearest cache, k is cut: at none, one and several places, and not above 512 columns."""
    output = draw.output(kind, n)
    layer = Linear8(draw.weights(n, k), x_zero_point=9, output=output)
    check(layer, draw.codes(U8, m, k), draw.residual(output, (m, n)), isa)


@BOTH
def test_the_largest_codes_and_weights_do_not_saturate_on_the_way(isa, x_dtype):
    """vpmaddubsw would: 2 · 255 · 127 does not fit int16."""
    low, high = out.CODES[x_dtype]
    for x_value, w_value in product((low, high), (-128, 127)):
        x, w = torch.full((5, 4096), x_value, dtype=x_dtype), torch.full((17, 4096), w_value, dtype=S8)
        y = Linear8(w, x_dtype=x_dtype)(x, isa=isa)
        assert torch.equal(y, torch.full((5, 17), 4096 * x_value * w_value, dtype=torch.int32))


def test_sums_reach_the_ends_of_int32(isa):
    """The largest k that these weights allow, and a bias that fills what is left."""
    k = (2**31 - 1) // (255 * 127)
    w = torch.full((1, k), 127, dtype=S8)
    bias = torch.tensor([2**31 - 1 - 255 * 127 * k], dtype=torch.int32)
    y = Linear8(w, bias)(torch.full((2, k), 255, dtype=U8), isa=isa)
    assert y.tolist() == [[2**31 - 1]] * 2
    y = Linear8(-w, -bias)(torch.full((2, k), 255, dtype=U8), isa=isa)
    assert y.tolist() == [[-(2**31) + 1]] * 2


def test_halves_round_to_the_even_code_on_every_path():
    w, x = torch.ones(1, 1, dtype=S8), torch.arange(9, dtype=U8)[:, None]
    layer = Linear8(w, output=out.codes(0.5))
    for isa in available():
        assert layer(x, isa=isa).flatten().tolist() == [0, 0, 1, 2, 2, 2, 3, 4, 4]  # 0 .5 1 1.5 2 2.5 3 3.5 4


def test_fixed_point_rounds_halves_up_on_every_path():
    w, x = torch.ones(1, 1, dtype=S8), torch.arange(-4, 5, dtype=S8)[:, None]
    layer = Linear8(w, x_dtype=S8, output=out.fixed_point(*out.to_fixed_point(0.5), dtype=S8))
    for isa in available():
        assert layer(x, isa=isa).flatten().tolist() == [-2, -1, -1, 0, 0, 1, 1, 2, 2]


def test_a_scale_that_overflows_float32_gives_the_ends_of_the_codes():
    w, x = torch.tensor([[1], [-1]], dtype=S8), torch.tensor([[0], [255]], dtype=U8)
    layer = Linear8(w, output=out.codes(3e38, zero_point=7))
    for isa in available():
        assert layer(x, isa=isa).tolist() == [[7, 7], [255, 0]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(*3 * [st.integers(1, 80)]),
    signed=st.booleans(),
    zero_point=st.integers(0, 127),
    seed=st.integers(0, 2**32),
    kind_number=st.integers(0, 5),
)
def test_any_shape_and_zero_point_equals_the_reference(draw, isa, shape, signed, zero_point, seed, kind_number):
    kinds = ("sums", "reals", "codes", "clamped", "residual", "fixed point")
    draw.generator.manual_seed(seed)
    (m, n, k), x_dtype = shape, S8 if signed else U8
    output = draw.output(kinds[kind_number], n, S8 if seed % 2 else U8)
    layer = Linear8(draw.weights(n, k), x_dtype=x_dtype, x_zero_point=zero_point, output=output)
    check(layer, draw.codes(x_dtype, m, k), draw.residual(output, (m, n)), isa)


def test_rows_are_independent(draw, isa):
    """Linear in rows: a stack of inputs gives the stack of outputs."""
    layer = Linear8(draw.weights(40, 90), output=draw.output("codes", 40))
    x = draw.codes(U8, 37, 90)
    together = layer(x, isa=isa)
    assert torch.equal(together, torch.cat([layer(row[None], isa=isa) for row in x]))


def test_sums_are_linear(draw, isa):
    layer = Linear8(draw.weights(33, 50))
    a, b = draw.integers(0, 100, 20, 50, dtype=U8), draw.integers(0, 155, 20, 50, dtype=U8)
    assert torch.equal(layer(a, isa=isa) + layer(b, isa=isa), layer(a + b, isa=isa))


def test_permuting_outputs_or_inputs_commutes_with_the_layer(draw, isa):
    w, x, scale = draw.weights(50, 70), draw.codes(U8, 9, 70), draw.scales(50)
    y = Linear8(w, output=out.codes(scale))(x, isa=isa)
    outputs, inputs = torch.randperm(50, generator=draw.generator), torch.randperm(70, generator=draw.generator)
    assert torch.equal(y[:, outputs], Linear8(w[outputs], output=out.codes(scale[outputs]))(x, isa=isa))
    assert torch.equal(
        y, Linear8(w[:, inputs].contiguous(), output=out.codes(scale))(x[:, inputs].contiguous(), isa=isa)
    )


def test_a_zero_point_is_the_same_as_moving_every_code(draw, isa):
    w, x = draw.weights(20, 30), draw.codes(S8, 6, 30)
    moved = (x.to(torch.int16) + 128).to(U8)
    signed = Linear8(w, x_dtype=S8, x_zero_point=-100)(x, isa=isa)
    assert torch.equal(signed, Linear8(w, x_zero_point=28)(moved, isa=isa))


def test_rows_may_lie_apart_and_batches_have_any_shape(draw, isa):
    layer = Linear8(draw.weights(20, 30), output=draw.output("residual", 20))
    wide = draw.codes(U8, 10, 64)
    x, residual = wide[:, 5:35], draw.codes(U8, 10, 20)
    assert torch.equal(layer(x, residual, isa=isa), layer(x.contiguous(), residual, isa="reference"))
    same_row = wide[:1, :30].expand(10, 30)
    assert torch.equal(layer(same_row, residual, isa=isa), layer(same_row.contiguous(), residual, isa="reference"))
    cube = wide[:, :30].reshape(2, 5, 30).contiguous()
    assert layer(cube, residual.view(2, 5, 20), isa=isa).shape == (2, 5, 20)


def test_out_is_written_in_place_and_nothing_beside_it(draw, isa):
    layer, x = Linear8(draw.weights(20, 30), output=draw.output("codes", 20)), draw.codes(U8, 10, 30)
    room = torch.full((10, 40), 77, dtype=U8)
    y = layer(x, out=room[:, 10:30], isa=isa)
    assert y.data_ptr() == room[:, 10:30].data_ptr()
    assert torch.equal(room[:, 10:30], layer(x, isa="reference"))
    assert (room[:, :10] == 77).all()
    assert (room[:, 30:] == 77).all()


def test_memory_at_any_address_will_do(draw, isa):
    """Activations need no alignment; packed weights that came unaligned, as from a file, are copied."""
    from frugal.kernels.pack import Packed, pack

    packed = pack(draw.weights(20, 30))
    room = torch.empty(packed.data.numel() + 1, dtype=S8)
    unaligned = room[1:].view(packed.data.shape).copy_(packed.data)
    layer = Linear8(Packed(unaligned, 20, 1, 30))
    x = draw.codes(U8, 10 * 30 + 3)[3:].view(10, 30)
    check(layer, x, isa=isa)


def test_the_reference_equals_sums_done_one_by_one(draw):
    x, w, bias = draw.codes(U8, 4, 9), draw.weights(3, 9), draw.integers(-50, 50, 3, dtype=torch.int32)
    y = reference.gemm(x, w, bias, 11, out.sums())
    for i, n in product(range(4), range(3)):
        wanted = sum((int(x[i, k]) - 11) * int(w[n, k]) for k in range(9)) + int(bias[n])
        assert y[i, n] == wanted


def test_a_layer_made_from_a_pack_is_the_layer_made_from_its_weights(draw):
    w = draw.weights(20, 30)
    layer = Linear8(w)
    assert torch.equal(unpack(layer.packed)[:, 0], w)
    x = draw.codes(U8, 3, 30)
    assert torch.equal(Linear8(layer.packed)(x), layer(x))
