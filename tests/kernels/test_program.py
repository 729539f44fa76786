"""Programs: operators prepared on their tensors give what the same operators give one by one."""

import pytest
import torch

from frugal.kernels import native, pointwise, program
from frugal.kernels.conv import Conv8, Geometry
from frugal.kernels.gemm import Linear8
from frugal.kernels.output import Residual, codes, reals
from frugal.kernels.program import INPUT, OUTPUT, Place, Program

ENDS = (0, 255)


@pytest.fixture
def chain(draw, isa):
    """Every kind of call, each reading what the one before wrote; and the same one by one."""
    n, h, w, c = 2, 9, 10, 24
    output = codes(draw.scales(c) * 40, zero_point=7)
    first = Conv8(draw.weights(c, 3, 3, 3), padding=1, output=output, x_zero_point=12)
    second = Conv8(draw.weights(c, 1, 3, 3), groups=c, stride=2, padding=1, x_zero_point=7, output=output)
    with_residual = codes(draw.scales(c) * 40, zero_point=7, residual=Residual(0.4, 7))
    third = Conv8(draw.weights(c, c, 1, 1), x_zero_point=7, output=with_residual)
    last = Linear8(draw.weights(5, c), x_zero_point=7, output=reals(draw.scales(5)))
    entries = draw.codes(torch.uint8, 256)
    x = torch.randn(n, 3, h, w, generator=draw.generator)

    def steps(x):
        v = [pointwise.quantize(x, 0.03, 12)]
        v += [first(v[0], isa=isa)]
        v += [second(v[1], isa=isa)]
        v += [third(v[2], v[2], isa=isa)]
        v += [pointwise.add(v[2], v[3], 0.6, 0.7, zero_point_a=7, zero_point_b=7, zero_point=3)]
        v += [pointwise.max_pool(v[4], 3, 2, 1)]
        v += [entries[v[5].long()]]
        v += [pointwise.global_average_pool(v[6], scale=1.5, x_zero_point=3, zero_point=7)]
        product = (v[6].int() - 3) * (v[7].int() - 7)
        v += [(product.float() * torch.tensor(0.01)).round().add(5).clamp(0, 255).to(torch.uint8)]
        v += [pointwise.global_average_pool(v[8], scale=1.0, x_zero_point=5, zero_point=7)]
        return [*v, last(v[9].flatten(1), isa=isa)]

    v = [torch.full_like(each, 99) for each in steps(x)]
    whole = Geometry((v[6].shape[1], v[6].shape[2]))
    calls = [
        program.quantize(x, v[0], 0.03, 12, ENDS),
        program.conv(first, v[0], None, v[1], isa),
        program.conv(second, v[1], None, v[2], isa),
        program.conv(third, v[2], v[2], v[3], isa),
        program.add(v[2], v[3], v[4], (0.6, 0.7), (7, 7, 3), ENDS),
        program.max_pool(Geometry((3, 3), (2, 2), (1, 1)).window(v[4], 0), v[4], v[5]),
        program.table(entries, v[5], v[6]),
        program.average_pool(whole.window(v[6], 3), v[6], v[7], 1.5, 7, ENDS, border=True),
        program.multiply(v[6], v[7], v[8], 0.01, (3, 7, 5), ENDS),
        program.average_pool(whole.window(v[8], 5), v[8], v[9], 1.0, 7, ENDS, border=True),
        program.linear(last, v[9].flatten(1), None, v[10], isa),
    ]
    return calls, v, steps, x


def test_a_program_gives_what_its_operators_give_one_by_one(chain, draw):
    calls, values, steps, x = chain
    made = Program(calls, [Place(x, INPUT), Place(values[-1], OUTPUT)])
    for _ in range(2):
        other, result = torch.randn(x.shape, generator=draw.generator), torch.empty_like(values[-1])
        assert made.run(0, len(calls), other, result)
        expected = steps(other)
        assert torch.equal(result, expected[-1])
        assert all(torch.equal(a, b) for a, b in zip(values[:-1], expected, strict=False))


def test_a_part_of_a_program_can_be_run(chain):
    calls, values, steps, x = chain
    made = Program(calls, [Place(x, INPUT), Place(values[-1], OUTPUT)])
    assert made.run(0, 2, x, values[-1])
    assert torch.equal(values[1], steps(x)[1])
    assert (values[2] == 99).all()


def test_an_input_that_is_not_finite_is_told(chain):
    calls, values, _, x = chain
    x = x.clone()
    x[0, 0, 0, 0] = torch.nan
    made = Program(calls[:1], [Place(calls[0].a, INPUT)])
    assert not made.run(0, 1, x, values[-1])


@pytest.mark.skipif(native.library() is None, reason="needs the native library")
def test_a_call_refuses_what_its_operator_refuses(draw):
    layer = Conv8(draw.weights(4, 3, 3, 3), output=codes(0.01))
    x, y = draw.codes(torch.uint8, 1, 8, 8, 3), torch.empty(1, 6, 6, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"y must be \[1, 6, 6, 4\]"):
        program.conv(layer, x, None, y[:, :5])
    with pytest.raises(TypeError, match=r"torch\.uint8"):
        program.conv(layer, x.to(torch.int8), None, y)
    with pytest.raises(ValueError, match="must not share memory"):
        program.add(x, x, x, (1.0, 1.0), (0, 0, 0), ENDS)
    assert program.multiply(x, x[:, :1], x, 1.0, (0, 0, 0), ENDS) is None


def test_rounds_take_the_next_images_each_time(draw, isa):
    layer = Conv8(draw.weights(8, 3, 3, 3), padding=1, output=codes(draw.scales(8) * 40))
    x, quantized = torch.rand(6, 3, 5, 5, generator=draw.generator), torch.empty(2, 5, 5, 3, dtype=torch.uint8)
    y = torch.empty(6, 5, 5, 8, dtype=torch.uint8)
    two, first_two = x[:2], y[:2]
    calls = [program.quantize(two, quantized, 0.01, 0, ENDS), program.conv(layer, quantized, None, first_two, isa)]
    places = [Place(two, INPUT, two.numel() * 4), Place(first_two, OUTPUT, first_two.numel())]
    assert Program(calls, places).run(0, 2, x, y, rounds=3)
    assert torch.equal(y, layer(pointwise.quantize(x, 0.01), isa="reference"))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8])
def test_padding_keeps_every_so_many_pixels_and_channels(draw, dtype):
    if native.library() is None:
        pytest.skip(native.status())
    x = draw.codes(dtype, 2, 5, 6, 7)
    for step, before, after in (((2, 2, 1), (0, 0, 4), (0, 0, 4)), ((1, 3, 2), (1, 0, 3), (2, 1, 0))):
        kept = x[:, :: step[0], :: step[1], :: step[2]]
        borders = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
        zero_point = -5 if dtype == torch.int8 else 5
        expected = torch.nn.functional.pad(kept, borders, value=zero_point)
        y = torch.empty_like(expected)
        assert Program([program.pad(x, y, step, before, after, zero_point)], []).run(0, 1, x, y)
        assert torch.equal(y, expected)
