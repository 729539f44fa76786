"""The exact answers are exact, and the shapes are those of the networks."""

import pytest
import torch

from frugal.bench.problem import make
from frugal.bench.shapes import CONVS, GEMMS, Conv, Gemm, parse_conv, parse_gemm


def test_the_sums_of_a_matrix_are_those_of_int64():
    problem = make(Gemm(17, 5, 300))
    x = problem.x.long() - problem.x_zero_point
    assert torch.equal(problem.sums.long(), x @ problem.w.long().t())
    assert torch.equal(problem.expected_sums().long(), problem.x.long() @ problem.w.long().t())
    assert torch.equal(problem.expected_sums(signed=True).long(), problem.x_signed.long() @ problem.w.long().t())


def test_the_signed_codes_are_the_same_ones_128_lower():
    problem = make(Gemm(17, 5, 33))
    assert torch.equal(problem.x_signed.int() + 128, problem.x.int())


@pytest.mark.parametrize(
    "shape", [Conv(2, 6, 4, 3, 3, 2, 1, 1), Conv(1, 5, 4, 4, 3, 1, 1, 4), Conv(1, 4, 6, 4, 1, 1, 0, 2)]
)
def test_the_sums_of_a_convolution_are_those_of_its_definition(shape):
    problem = make(shape)
    padded = torch.full(
        (shape.batch, shape.size + 2 * shape.padding, shape.size + 2 * shape.padding, shape.channels), 7
    )
    inside = slice(shape.padding, shape.padding + shape.size)
    padded[:, inside, inside] = problem.x.long()  # the border holds the zero-point, real 0
    per_group, out_per_group = shape.channels // shape.groups, shape.outputs // shape.groups
    for o in range(shape.outputs):
        group = o // out_per_group * per_group
        for i in range(shape.out_size):
            for j in range(shape.out_size):
                top, left = i * shape.stride, j * shape.stride
                window = padded[:, top : top + shape.kernel, left : left + shape.kernel, group : group + per_group]
                weights = problem.w[o].permute(1, 2, 0).long()
                assert torch.equal(problem.sums[:, i, j, o].long(), ((window - 7) * weights).sum(dim=(1, 2, 3)))


@pytest.mark.parametrize("shape", [Gemm(64, 64, 64), Conv(1, 14, 64, 64, 3, 1, 1, 1)])
def test_outputs_use_their_codes_and_seldom_the_ends(shape):
    codes = make(shape).expected()
    assert codes.unique().numel() > 200
    assert ((codes == 0) | (codes == 255)).float().mean() < 0.05


def test_narrow_weights_keep_sums_of_two_products_in_16_bits():
    problem = make(Gemm(8, 8, 64), largest_weight=63)
    assert problem.w.abs().max() == 63
    assert 2 * 255 * 63 < 2**15 <= 2 * 255 * 65
    assert problem.expected().unique().numel() > 30
    with pytest.raises(ValueError, match="1 to 127, got 128"):
        make(Gemm(1, 1, 1), largest_weight=128)


def test_the_same_seed_gives_the_same_data():
    assert torch.equal(make(Gemm(4, 4, 4), seed=1).x, make(Gemm(4, 4, 4), seed=1).x)
    assert not torch.equal(make(Gemm(4, 4, 4), seed=1).x, make(Gemm(4, 4, 4), seed=2).x)


def test_there_are_34_matrices_and_23_convolutions_all_different():
    assert len(set(GEMMS)) == 34
    assert len(set(CONVS)) == 23


def test_a_shape_is_written_as_it_is_read():
    assert all(parse_gemm(str(shape)) == shape for shape in GEMMS)
    assert all(parse_conv(str(shape)) == shape for shape in CONVS)


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "1,2,x", "1,-2,3", "0,1,1", "1.5,1,1"])
def test_what_is_not_a_matrix_is_refused(text):
    with pytest.raises(ValueError, match="got"):
        parse_gemm(text)


@pytest.mark.parametrize(
    "text, word",
    [
        ("1,7,6,6,3,1,1,4", "groups must divide"),
        ("1,2,4,4,5,1,1,1", "does not fit"),
        ("1,7,4,4,3,0,1,1", "stride must be 1"),
        ("1,7,4", "a shape is written"),
    ],
)
def test_what_is_not_a_convolution_is_refused(text, word):
    with pytest.raises(ValueError, match=word):
        parse_conv(text)
