"""Grids: every value stands for itself, every real gets its nearest, and known float formats come out."""

import pytest
import torch

from frugal.quant.affine import choose_qparams
from frugal.quant.grids import FloatGrid, UniformGrid, ValueGrid, squared_error

E4M3 = FloatGrid(4, 3, largest=448.0)
E5M2 = FloatGrid(5, 2, largest=57344.0)
E2M1 = FloatGrid(2, 1)
BARE = FloatGrid(4, 3, denormals=False)


def drawn(count=10_000, scale=1.0):
    return scale * torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    "grid", [E4M3, E5M2, E2M1, BARE, ValueGrid(torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64))]
)
def test_values_stand_for_themselves(grid):
    assert torch.equal(grid.quantize(grid.values()), grid.values())


@pytest.mark.parametrize("grid", [E4M3, E5M2, E2M1])
def test_every_real_gets_a_nearest_value(grid):
    x = drawn(2000, scale=grid.max_value / 3)
    nearest = (x[:, None] - grid.values()).abs().amin(1)
    assert torch.equal((grid.quantize(x) - x).abs(), nearest)


@pytest.mark.parametrize("grid, count, smallest", [(E4M3, 127, 2**-9), (E5M2, 124, 2**-16), (E2M1, 8, 0.5)])
def test_known_formats_have_their_values(grid, count, smallest):
    values = grid.values()
    assert (values >= 0).sum() == count
    assert values[values > 0].min() == smallest


@pytest.mark.parametrize("grid, dtype", [(E4M3, torch.float8_e4m3fn), (E5M2, torch.float8_e5m2)])
def test_small_floats_are_torchs_own(grid, dtype):
    x = drawn(200_000).float() * torch.exp2(torch.randint(-14, 8, (200_000,)))
    x = x.clamp(-grid.max_value, grid.max_value)  # beyond it versions of torch differ
    assert torch.equal(grid.quantize(x), x.to(dtype).float())


def test_float16_without_its_denormals_agrees_on_normals():
    x = drawn(50_000).float()
    x = x[x.abs() >= 2**-14]
    assert torch.equal(FloatGrid(5, 10, denormals=False).quantize(x), x.half().float())


def test_without_denormals_what_is_small_is_zero():
    assert BARE.quantize(torch.tensor([2**-6 * 0.99, 2**-6])).tolist() == [0.0, 2**-6]


def test_the_uniform_grid_is_affine_quantization():
    x = drawn()
    grid = UniformGrid(choose_qparams(x, 4))
    assert grid.quantize(x).unique().numel() <= 16
    assert torch.isin(grid.quantize(x), grid.values()).all()
    assert squared_error(x, grid) <= grid.qparams.scale.item() ** 2 / 4


def test_bad_grids_are_refused():
    with pytest.raises(ValueError, match="ascending"):
        ValueGrid(torch.tensor([1.0, 1.0]))
    with pytest.raises(ValueError, match="exponent bits"):
        FloatGrid(0, 3)
    with pytest.raises(ValueError, match="ties"):
        FloatGrid(4, 3, ties="odd")
    with pytest.raises(ValueError, match="finite"):
        E4M3.quantize(torch.tensor([float("nan")]))
