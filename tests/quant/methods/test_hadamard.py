"""Hadamard rotations: orthogonal, cheap, unnoticed by the model, and hard on outliers."""

import math

import pytest
import torch

from frugal.data.stories import draw_stories
from frugal.nets import pretrained
from frugal.nets.llama import norms_and_readers
from frugal.quant.methods.hadamard import fast_hadamard, hadamard, random_rotation, rotate

SIZES = [1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 56, 60, 64, 96, 108, 140, 144]


@pytest.mark.parametrize("n", SIZES)
def test_entries_are_signs_and_rows_are_orthogonal(n):
    h = hadamard(n)
    assert set(h.unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(h @ h.T, n * torch.eye(n, dtype=torch.float64))


@pytest.mark.parametrize("n", [3, 6, 22, 52])
def test_sizes_without_a_construction_are_refused_with_one_that_has(n):
    with pytest.raises(ValueError, match=f"try {1 << (n - 1).bit_length()}"):
        hadamard(n)


@pytest.mark.parametrize("n", [1, 2, 16, 256])
def test_the_fast_transform_is_the_matrix_and_its_own_inverse(n):
    x = torch.randn(3, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(fast_hadamard(x), x @ hadamard(n) / math.sqrt(n), rtol=0, atol=1e-12)
    torch.testing.assert_close(fast_hadamard(fast_hadamard(x)), x, rtol=0, atol=1e-12)


def test_a_rotation_keeps_lengths_and_spreads_an_outlier():
    n = 256
    q = random_rotation(n, seed=1)
    torch.testing.assert_close(q @ q.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-12)
    x = torch.randn(50, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 7] += 100
    peak = lambda v: (v.abs().amax(1) / v.square().mean(1).sqrt()).max().item()  # noqa: E731
    assert peak(x) > 10
    assert peak(x @ q) < math.sqrt(2 * math.log(2 * n)) + 1


def test_the_model_computes_the_same_on_a_turned_stream():
    model, rows = pretrained.load("llama_drawn"), draw_stories(8, split="test")
    turned = rotate(model, seed=2)
    torch.testing.assert_close(turned(rows), model(rows), rtol=1e-4, atol=1e-4)
    assert all((norm.weight == 1).all() for norm, _ in norms_and_readers(turned))
    assert not torch.allclose(turned.embedding.weight, model.embedding.weight, atol=0.1)


def test_in_float64_nothing_but_rounding_is_lost():
    model, rows = pretrained.load("llama_drawn").double(), draw_stories(4, split="test")
    torch.testing.assert_close(rotate(model)(rows), model(rows), rtol=0, atol=1e-5)  # positions turn in float32


def test_a_length_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match=r"hadamard\(12\)"):
        fast_hadamard(torch.ones(12))
