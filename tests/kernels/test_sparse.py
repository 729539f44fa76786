"""Sparse products: every format on every path equals the dense product, exactly where sums are whole numbers."""

import copy
import io
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frugal.kernels import native, sparse
from frugal.kernels.sparse import FORMATS, Blocks, Csr, SparseLinear, TwoFour, multiply
from frugal.prune.masks import keep_blocks, keep_largest, keep_n_of_m

PATHS = sparse.available()
ROWS = (1, 2, 3, 4, 5, 15, 16, 17, 47, 48, 49, 97)  # around single rows, a register and a strip of three
OUTPUTS = (1, 15, 16, 17, 33)
DEPTHS = (4, 28, 32, 36, 64, 100)


@pytest.fixture(params=PATHS)
def isa(request):
    return request.param


@pytest.fixture(params=list(FORMATS))
def format(request):
    return request.param


def pattern(format, scores, sparsity):
    """A mask that the format can store."""
    if format == "two_four":
        return keep_n_of_m(scores, 2, 4)
    return keep_blocks(scores, sparsity, (16, 1)) if format == "blocks" else keep_largest(scores, sparsity)


def whole(*shape, seed):
    """Whole numbers from -8 to 8: products and sums of thousands of them are exact in float32."""
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(seed)).float()


def problem(format, rows, out, depth, *, sparsity=0.7, seed=0):
    scores = torch.rand(out, depth, generator=torch.Generator().manual_seed(seed))
    weight = whole(out, depth, seed=seed + 1) * pattern(format, scores, sparsity)
    return whole(rows, depth, seed=seed + 2), weight, whole(out, seed=seed + 3)


def exact(x, weight, bias):
    return (x.double() @ weight.double().T + bias.double()).float()


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("out", OUTPUTS)
def test_every_format_equals_the_dense_product_around_every_edge(isa, format, rows, out):
    for depth in DEPTHS:
        x, weight, bias = problem(format, rows, out, depth, seed=depth)
        assert torch.equal(multiply(FORMATS[format].from_dense(weight), x, bias, isa=isa), exact(x, weight, bias))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.floats(0, 0.99), st.integers(0, 9))
def test_any_shape_agrees_on_every_path(rows, out, fours, sparsity, seed):
    for format in FORMATS:
        x, weight, bias = problem(format, rows, out, 4 * fours, sparsity=sparsity, seed=seed)
        matrix = FORMATS[format].from_dense(weight)
        for isa in PATHS:
            assert torch.equal(multiply(matrix, x, bias, isa=isa), exact(x, weight, bias))


@pytest.mark.parametrize("rows", [1, 60])
def test_reals_differ_by_no_more_than_rounding_explains(isa, format, rows):
    rng = torch.Generator().manual_seed(1)
    x, weight = torch.randn(rows, 300, generator=rng), torch.randn(50, 300, generator=rng)
    weight = weight * pattern(format, torch.rand(50, 300, generator=rng), 0.8)
    y = multiply(FORMATS[format].from_dense(weight), x, isa=isa)
    sizes = x.double().abs() @ weight.double().abs().T
    bound = (300 + 2) * torch.finfo(torch.float32).eps * sizes  # each product and each sum is rounded once
    assert ((y.double() - x.double() @ weight.double().T).abs() <= bound).all()


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.99])
def test_packing_and_unpacking_give_the_weight_back(format, sparsity):
    for out, depth in ((1, 4), (16, 32), (17, 36), (40, 100)):
        _, weight, _ = problem(format, 1, out, depth, sparsity=sparsity)
        assert torch.equal(FORMATS[format].from_dense(weight).to_dense(), weight)


def test_a_weight_of_zeros_leaves_the_bias(isa, format):
    bias = whole(5, seed=1)
    for rows in (1, 20):
        y = multiply(FORMATS[format].from_dense(torch.zeros(5, 8)), torch.ones(rows, 8), bias, isa=isa)
        assert torch.equal(y, bias.expand(rows, 5))


def test_sizes_are_what_the_formats_promise():
    weight = torch.randn(64, 128)
    scores = torch.rand(64, 128)
    csr = Csr.from_dense(weight * keep_largest(scores, 0.9))
    assert csr.values.numel() == 819
    assert csr.size_bytes == 819 * 6 + 65 * 4
    blocks = Blocks.from_dense(weight * keep_blocks(scores, 0.75, (16, 1)))
    assert blocks.stored == 0.25
    assert blocks.size_bytes == 64 * 128 // 4 * 4 + 128 * 2 + 5 * 4
    two_four = TwoFour.from_dense(weight * keep_n_of_m(scores, 2, 4))
    assert two_four.size_bytes == 64 * 128 * 4 * 17 // 32


def test_2_of_4_takes_groups_with_fewer_than_two():
    weight = torch.tensor([[0.0, 0, 0, 0, 0, 0, 0, 5], [1, 2, 0, 0, 0, 3, 0, 0]])
    assert torch.equal(TwoFour.from_dense(weight).to_dense(), weight)


def test_the_last_place_of_a_word_does_not_stop_at_the_sign():
    weight = torch.zeros(1, 32)
    weight[0, 30:] = torch.tensor([2.0, 3.0])  # bits 28 to 31 are 10 and 11
    matrix = TwoFour.from_dense(weight)
    assert matrix.places.item() < 0
    assert torch.equal(matrix.to_dense(), weight)


def test_rows_with_gaps_between_them_and_turned_matrices_give_the_same(isa, format):
    x, weight, bias = problem(format, 20, 17, 36)
    matrix, expected = FORMATS[format].from_dense(weight), exact(x, weight, bias)
    wide = torch.full((20, 50), torch.nan)
    wide[:, :36] = x
    turned = x.T.contiguous().T
    assert torch.equal(multiply(matrix, wide[:, :36], bias, isa=isa), expected)
    assert torch.equal(multiply(matrix, turned, bias, isa=isa), expected)
    assert torch.equal(multiply(matrix, x.view(4, 5, 36), bias, isa=isa), expected.view(4, 5, 17))
    assert torch.equal(multiply(matrix, x[3], bias, isa=isa), expected[3])
    assert torch.equal(multiply(matrix, x[:1].expand(9, 36), bias, isa=isa), expected[:1].expand(9, 17))


def test_threads_change_nothing(isa, format):
    x, weight, bias = problem(format, 300, 90, 64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for rows in (1, 60, 300):
            y = multiply(FORMATS[format].from_dense(weight), x[:rows], bias, isa=isa)
            assert torch.equal(y, exact(x[:rows], weight, bias))
    finally:
        torch.set_num_threads(before)


def test_more_rows_than_are_laid_out_together(isa, format):
    for rows in (479, 480, 481, 963, 1000):
        x, weight, bias = problem(format, rows, 17, 36)
        assert torch.equal(multiply(FORMATS[format].from_dense(weight), x, bias, isa=isa), exact(x, weight, bias))


@pytest.mark.parametrize("depth", [188, 192, 196, 384, 500])
@pytest.mark.parametrize("sparsity", [0.2, 0.95])
def test_columns_are_read_tile_by_tile_where_rows_are_full_enough(isa, format, depth, sparsity):
    for rows in (1, 4, 50):
        x, weight, bias = problem(format, rows, 35, depth, sparsity=sparsity)
        assert torch.equal(multiply(FORMATS[format].from_dense(weight), x, bias, isa=isa), exact(x, weight, bias))


def test_tiles_start_where_the_columns_say():
    matrix = Csr.from_dense(problem("csr", 1, 5, 500, sparsity=0.5)[1])
    tile, arrays = matrix.tiled()
    starts = arrays["starts"].tolist()
    assert (tile, len(starts)) == (192, 5 * 3 + 1)
    for place, (first, last) in enumerate(itertools.pairwise(starts)):
        assert (matrix.columns[first:last] // 192 == place % 3).all()
    assert starts[::3] == matrix.starts.tolist()
    sparser = Csr.from_dense(problem("csr", 1, 5, 500, sparsity=0.9)[1])
    assert sparser.tiled()[0] >= 500
    assert "starts" in matrix.arrays()
    assert len(matrix.arrays()["starts"]) == 6


def test_infinity_reaches_only_the_outputs_that_read_it(isa):
    matrix = Csr.from_dense(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
    for rows in (1, 5):
        x = torch.tensor([[1.0, torch.inf, torch.nan]]).expand(rows, 3)
        assert multiply(matrix, x, isa=isa).tolist() == [[1.0, torch.inf]] * rows


# ---- the module ------------------------------------------------------------------------------------------------------


def test_a_layer_is_made_of_a_linear_one_and_turned_back(format):
    linear = nn.Linear(36, 20)
    with torch.no_grad():
        linear.weight.mul_(pattern(format, torch.rand(20, 36), 0.5))
    layer = SparseLinear.from_linear(linear, format)
    x = torch.rand(7, 36)
    torch.testing.assert_close(layer(x), linear(x).detach(), rtol=1e-5, atol=1e-6)
    assert torch.equal(layer.dense().weight, linear.weight)
    assert torch.equal(layer.dense().bias, linear.bias)
    assert not list(layer.parameters())
    assert f"36, 20, {type(layer.matrix).__name__}" in repr(layer)


def test_a_state_is_saved_loaded_and_copied(format):
    _, weight, bias = problem(format, 1, 20, 36)
    layer = SparseLinear(FORMATS[format].from_dense(weight), bias)
    file = io.BytesIO()
    torch.save(nn.Sequential(layer).state_dict(), file)
    file.seek(0)
    other = nn.Sequential(SparseLinear(Csr.from_dense(torch.eye(3))))
    other.load_state_dict(torch.load(file, weights_only=True))
    x = whole(5, 36, seed=4)
    for each in (other[0], copy.deepcopy(layer)):
        assert torch.equal(each(x), exact(x, weight, bias))


def test_a_state_whose_columns_lie_outside_is_refused():
    layer = SparseLinear(Csr.from_dense(torch.eye(3)))
    state = layer.state_dict()
    state["_extra_state"]["columns"] = torch.tensor([0, 1, 3], dtype=torch.int16)
    with pytest.raises(ValueError, match="columns must be from 0 to 2, got 0 to 3"):
        layer.load_state_dict(state)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x, error, said",
    [
        (torch.ones(2, 4), ValueError, "8 values in its last dimension"),
        (torch.ones(2, 8, dtype=torch.float64), TypeError, "float32"),
        (torch.ones(0, 8), ValueError, "at least one value"),
        (torch.tensor(1.0), ValueError, "at least one dimension"),
        (torch.ones(2, 8, requires_grad=True), ValueError, "pass no gradient"),
        (torch.eye(8).to_sparse(), ValueError, "dense tensor"),
        ("x", TypeError, "must be a tensor"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x, error, said):
    with pytest.raises(error, match=said):
        multiply(Csr.from_dense(torch.ones(3, 8)), x)


@pytest.mark.parametrize(
    "weight, error, said",
    [
        (torch.ones(3), ValueError, r"\[out, in\]"),
        (torch.ones(3, 0), ValueError, "at least one value"),
        (torch.ones(3, 4, dtype=torch.float64), TypeError, "float32"),
        (torch.ones(3, 4, dtype=torch.int8), TypeError, "float dtype"),
        (torch.full((3, 4), torch.nan), ValueError, "finite"),
        (torch.ones(1, 40000), ValueError, "32,768 inputs"),
    ],
)
def test_weights_that_no_format_stores_are_refused(format, weight, error, said):
    with pytest.raises(error, match=said):
        FORMATS[format].from_dense(weight)


def test_what_is_not_2_of_4_is_refused_where_it_stands():
    weight = torch.zeros(3, 12)
    weight[1, 4:7] = 1
    with pytest.raises(ValueError, match="inputs 4 to 7 of output 1"):
        TwoFour.from_dense(weight)
    with pytest.raises(ValueError, match="groups of 4, got 6"):
        TwoFour.from_dense(torch.zeros(3, 6))


def ints(*values, dtype):
    return torch.tensor(values, dtype=dtype)


def test_arrays_that_would_make_c_read_elsewhere_are_refused():
    i16, i32 = torch.int16, torch.int32
    two = torch.ones(2)
    with pytest.raises(ValueError, match="columns must be from 0 to 2"):
        Csr(two, 2, 3, ints(0, -1, dtype=i16), ints(0, 1, 2, dtype=i32))
    with pytest.raises(ValueError, match="starts must rise from 0 to 2"):
        Csr(two, 2, 3, ints(0, 1, dtype=i16), ints(0, 5, 2, dtype=i32))
    with pytest.raises(ValueError, match="starts must rise from 0 to 2"):
        Csr(two, 2, 3, ints(0, 1, dtype=i16), ints(0, 1, 3, dtype=i32))
    with pytest.raises(ValueError, match="columns must rise within each row"):
        Csr(two, 2, 3, ints(1, 0, dtype=i16), ints(0, 2, 2, dtype=i32))
    with pytest.raises(ValueError, match=r"starts must be contiguous \[3\]"):
        Csr(two, 2, 3, ints(0, 1, dtype=i16), ints(0, 2, dtype=i32))
    with pytest.raises(TypeError, match=r"columns must be torch\.int16"):
        Csr(two, 2, 3, ints(0, 1, dtype=i32), ints(0, 1, 2, dtype=i32))
    with pytest.raises(ValueError, match=r"values must be \[blocks, 16\]"):
        Blocks(torch.ones(2, 8), 2, 3, ints(0, 1, dtype=i16), ints(0, 2, dtype=i32))
    with pytest.raises(ValueError, match=r"values must be \[2, 1, 16\]"):
        TwoFour(torch.ones(2, 1, 8), 2, 4, torch.zeros(2, 1, dtype=i32))
    with pytest.raises(ValueError, match="zeros past the last"):
        TwoFour(torch.ones(2, 1, 16), 2, 4, torch.zeros(2, 1, dtype=i32))
    with pytest.raises(ValueError, match="contiguous"):
        Csr(torch.ones(4)[::2], 2, 3, ints(0, 1, dtype=i16), ints(0, 1, 2, dtype=i32))
    with pytest.raises(TypeError, match="values must be float32"):
        Csr(two.double(), 2, 3, ints(0, 1, dtype=i16), ints(0, 1, 2, dtype=i32))


def test_a_bias_a_format_or_a_path_that_do_not_fit_are_refused():
    matrix = Csr.from_dense(torch.eye(3))
    with pytest.raises(ValueError, match=r"bias must be contiguous \[3\]"):
        multiply(matrix, torch.ones(1, 3), torch.ones(4))
    with pytest.raises(TypeError, match=r"bias must be torch\.float32"):
        SparseLinear(matrix, torch.ones(3, dtype=torch.int32))
    with pytest.raises(ValueError, match="csr, two_four, blocks, got 'coo'"):
        SparseLinear.from_linear(nn.Linear(3, 3), "coo")
    with pytest.raises(TypeError, match=r"takes nn\.Linear"):
        SparseLinear.from_linear(nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match="isa='mmx' multiplies nothing"):
        multiply(matrix, torch.ones(1, 3), isa="mmx")


# ---- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forced, allowed", [("reference", {"reference"}), ("scalar", {"scalar"}), ("avx2", {"avx2"})])
def test_frugal_isa_is_understood(monkeypatch, forced, allowed):
    from frugal.kernels import dispatch

    if forced not in dispatch.available() or not allowed & set(PATHS):
        pytest.skip(f"this machine has no path {forced}")
    monkeypatch.setenv("FRUGAL_ISA", forced)
    assert sparse.chosen() in allowed


def test_without_the_native_library_torch_multiplies(monkeypatch, format):
    monkeypatch.setattr(sparse, "_paths", dict)
    x, weight, bias = problem(format, 5, 17, 36)
    assert sparse.available() == ("reference",)
    assert torch.equal(multiply(FORMATS[format].from_dense(weight), x, bias), exact(x, weight, bias))


def test_a_library_built_before_the_sparse_products_leaves_them_to_torch(monkeypatch):
    monkeypatch.setattr(native, "library", lambda: object())
    sparse._open.cache_clear()
    try:
        assert sparse._open() is None
    finally:
        sparse._open.cache_clear()
