"""Lab 4.6: its Python functions are the library's, and its kernels give the library's numbers.

Fairness of the marking (wrong answers lose, right ones keep their points) is what ``frugal labs verify`` holds.
"""

import pytest
import torch

from frugal.kernels import output, reference
from frugal.kernels.gemm import Linear8
from frugal.kernels.pack import fold_zero_point, pack
from frugal.show import cpp

LAB = "lab_4_6_race"
needs_compiler = pytest.mark.skipif(not cpp.available(), reason=cpp.status())


@pytest.fixture(params=[(1, 1, 1), (5, 17, 65), (4, 48, 128), (3, 7, 300)], ids=str)
def matrices(request):
    m, n, k = request.param
    draw = torch.Generator().manual_seed(m)
    x = torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=draw)
    return x, torch.randint(-128, 128, (n, k), dtype=torch.int8, generator=draw)


def test_correct_sums_agrees_with_the_library_folding_the_zero_point_into_the_bias(lab, matrices):
    x, w = matrices
    bias = torch.arange(len(w), dtype=torch.int32) * 37
    raw = (x.long() @ w.long().T).int() + bias
    folded = (x.long() @ w.long().T).int() + fold_zero_point(w, bias, torch.uint8, 99)
    assert torch.equal(lab["correct_sums"](raw, x, w, 99, 0), folded)


@pytest.mark.parametrize("zero_point, low, high", [(0, 0, 255), (7, 7, 200), (255, 0, 255)])
def test_requantize_is_the_librarys(lab, zero_point, low, high):
    draw = torch.Generator().manual_seed(5)
    acc = torch.randint(-(2**31), 2**31 - 1, (64, 9), generator=draw).int()
    for scale in (torch.rand(9, generator=draw) * 1e-7, torch.full((9,), 0.5)):
        expected = reference.finish(acc.long(), output.codes(scale, zero_point=zero_point, low=low, high=high))
        assert torch.equal(lab["requantize"](acc, scale, zero_point, low, high), expected)


def test_pack_weights_is_the_librarys(lab, matrices):
    assert torch.equal(lab["pack_weights"](matrices[1]), pack(matrices[1]).data[:, 0])


@needs_compiler
def test_every_kernel_gives_the_librarys_sums(lab, matrices):
    x, w = matrices
    expected = Linear8(w)(x)
    assert torch.equal(cpp.plain(lab["naive_gemm"])(x, w), expected)
    for name in ("blocked_gemm", "vector_gemm"):
        assert torch.equal(cpp.packed(lab[name], order=lab["pack_weights"])(x, w), expected), name


@needs_compiler
def test_the_fused_layer_gives_the_librarys_codes(lab, matrices):
    x, w = matrices
    bias, scale = torch.arange(len(w), dtype=torch.int32) * 900, torch.linspace(1e-4, 2e-3, len(w))
    finish = output.codes(scale, zero_point=9, low=3, high=250)
    expected = Linear8(w, bias, output=finish)(x)
    assert torch.equal(cpp.fused(lab["fused_layer"])(x, w, bias, scale, 9, 3, 250), expected)


@needs_compiler
@pytest.mark.parametrize("path", ["scalar", "avx2"])
def test_the_solved_kernels_are_right_on_a_lesser_machine(lab, matrices, path, monkeypatch):
    import platform

    if path == "avx2" and platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("avx2 is of another family of processors")
    from frugal.kernels import available

    if path not in available():
        pytest.skip(f"{path} is no path of this machine")
    monkeypatch.setenv("FRUGAL_ISA", path)
    x, w = matrices
    assert torch.equal(cpp.packed(lab["vector_gemm"])(x, w).long(), x.long() @ w.long().T)
