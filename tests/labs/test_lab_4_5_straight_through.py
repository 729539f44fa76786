"""Lab 4.5: its own functions are the library's, and its examples run.

Fairness of the marking (wrong answers lose, right ones keep their points) is what ``frugal labs verify`` holds.
"""

import doctest

import pytest
import torch

from frugal.kernels.bits import Bits, Linear1, pack
from frugal.quant import fake, ste
from frugal.quant.affine import QParams
from frugal.quant.granularity import PerChannel
from frugal.quant.methods import lsq, twn
from frugal.quant.methods.binary_connect import BinaryConnect

LAB = "lab_4_5_straight_through"


@pytest.fixture(scope="module", params=[(7,), (3, 5), (4, 3, 2, 2)], ids=str)
def x(request):
    return torch.randn(request.param, generator=torch.Generator().manual_seed(7)) * 3


def gradients(function, *leaves):
    """The value of ``function`` at fresh copies of ``leaves``, and the gradient of its sum of squares at each."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    y = function(*leaves)
    return y.detach(), *torch.autograd.grad(y.square().sum(), leaves, allow_unused=True)


def test_round_through_is_the_librarys(lab, x):
    for mine, theirs in zip(gradients(lab["round_through"], x), gradients(ste.round_through, x), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("gradient", fake.GRADIENTS)
def test_fake_quantize_is_the_librarys(lab, x, gradient):
    qparams = QParams(torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), -4, 3)
    mine = gradients(lambda x: lab["fake_quantize"](x, torch.tensor(0.5), -4, 3, gradient), x)
    theirs = gradients(lambda x: fake.fake_quantize(x, qparams, gradient), x)
    assert all(map(torch.equal, mine, theirs))


def test_lsq_gradients_are_the_librarys(lab, x):
    mine, theirs = lab["lsq_gradients"](x, torch.tensor(0.7), -2, 1), lsq.lsq_gradients(x, torch.tensor(0.7), -2, 1)
    assert all(map(torch.equal, mine, theirs))


@pytest.mark.parametrize("ends", [(-8, 7), (-2, 1), (0, 15)], ids=str)
def test_lsq_quantize_is_the_librarys(lab, x, ends):
    step = torch.tensor(0.7)
    mine = gradients(lambda x, step: lab["lsq_quantize"](x, step, *ends, 0.25), x, step)
    theirs = gradients(lambda x, step: lsq.lsq_quantize(x, step, *ends, 0.25), x, step)
    for a, b in zip(mine, theirs, strict=True):
        rounding = 64 * torch.finfo(torch.float32).eps * max(1.0, b.abs().max().item())
        assert (a - b).abs().max() <= rounding


def test_ternarize_is_the_librarys(lab):
    for shape in ((5, 8), (4, 3, 3, 3)):
        w = torch.randn(shape, generator=torch.Generator().manual_seed(3))
        w[1] = 0
        for factor in (0.2, 0.7):
            codes, scale = lab["ternarize"](w, factor)
            theirs = twn.ternarize(w, factor, PerChannel(0))
            assert torch.equal(codes, theirs.codes)
            assert (scale - theirs.scale).abs().max() <= 8 * torch.finfo(torch.float32).eps * theirs.scale.max()


def test_binary_connect_steps_as_the_librarys_quantizer_does(lab):
    rng = torch.Generator().manual_seed(5)
    target, start = torch.randn(20, generator=rng), torch.rand(20, generator=rng) * 2 - 1
    mine = lab["binary_connect"](start, lambda signs: signs - target, 0.3, 7)
    latent, quantizer = torch.nn.Parameter(start.clone()), BinaryConnect()
    stepper = torch.optim.SGD([latent], lr=0.3)
    for _ in range(7):
        stepper.zero_grad()
        (0.5 * (quantizer(latent) - target).square().sum()).backward()
        stepper.step()
        quantizer.settle_(latent)
    assert (mine - latent).abs().max() <= 7 * 4 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("k", [1, 63, 64, 65, 200])
def test_packed_products_are_the_librarys(lab, k):
    rng = torch.Generator().manual_seed(k)
    x, w = torch.randn(3, k, generator=rng), torch.randn(5, k, generator=rng)
    words = lab["pack_signs"](x)
    assert torch.equal(words, pack(x).words)
    assert torch.equal(lab["multiply_signs"](words, pack(w).words, k), Linear1(w)(Bits(words, k)))


def test_every_example_in_the_stubs_runs(lab, cells):
    runner = doctest.DocTestRunner()
    for cell in cells:
        if cell.role == "solution":
            text = lab[cell.exercise].__doc__
            example = doctest.DocTestParser().get_doctest(text, dict(lab), cell.exercise, None, 0)
            assert example.examples, f"{cell.exercise} has no example"
            runner.run(example)
    assert runner.failures == 0
