"""Hadamard rotations: turn the residual stream so that no feature stands out, and turn it back in the weights.

Paper:   Ashkboos et al., "QuaRot", NeurIPS 2024, 2404.00456; Chee et al. 2023; Sylvester 1867, Paley 1933.
Formula: Q = diag(±1) · H / sqrt(n),   H Hᵀ = n I with entries ±1:  Q is orthogonal
         readers W Q,   writers Qᵀ W,   embedding E Q:   rms(x Q) = rms(x), so norms without weights do not notice
         max|x Q| ≤ sqrt(2 ln 2n) · rms(x) with high probability, however large the largest feature was
Learn:   course/4_quantization/4_10_language_models.ipynb

A vector with one feature of 100 and many of 1 has a step of 100 / 127 for all. Turned, each of n features holds
100 / sqrt(n) of it, up to its sign. Rotations cost nothing at run time: they disappear into the weights.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from frugal.core.check import check_float
from frugal.core.seed import generator
from frugal.nets.llama import Llama, norms_and_readers, writers


def hadamard(n: int) -> Tensor:
    """Return a Hadamard matrix: entries ±1, rows orthogonal.  float64 [n, n]

    It is built from Sylvester's doubling and Paley's two constructions over prime fields.

    Raises:
        ValueError: none of this size is reached; sizes are 1, 2 and some multiples of 4.

    >>> hadamard(2)
    tensor([[ 1.,  1.],
            [ 1., -1.]], dtype=torch.float64)
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    matrix = torch.ones(1, 1, dtype=torch.float64)
    core, doublings = n, 0
    power_of_two = n & (n - 1) == 0
    while core % 2 == 0 and (power_of_two or _paley(core) is None):
        core, doublings = core // 2, doublings + 1
    if core > 1:
        small = _paley(core)
        if small is None:
            raise ValueError(
                f"no Hadamard matrix of size {n} is built here; try {1 << (n - 1).bit_length()}, a power of two"
            )
        matrix = small
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    for _ in range(doublings):
        matrix = torch.kron(two, matrix)
    return matrix


def _paley(n: int) -> Tensor | None:
    """Paley's matrix of size n, from squares modulo a prime: n = q + 1 with q ≡ 3 mod 4, or 2 (q + 1) with q ≡ 1."""
    if n % 4 == 0 and _is_prime(n - 1):
        core = _jacobsthal(n - 1)
        skew = torch.zeros(n, n, dtype=torch.float64)
        skew[0, 1:], skew[1:, 0], skew[1:, 1:] = 1, -1, core
        return skew + torch.eye(n, dtype=torch.float64)
    if n % 4 == 0 and _is_prime(n // 2 - 1) and (n // 2 - 1) % 4 == 1:
        half = n // 2
        conference = torch.zeros(half, half, dtype=torch.float64)
        conference[0, 1:], conference[1:, 0], conference[1:, 1:] = 1, 1, _jacobsthal(half - 1)
        one = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
        other = torch.tensor([[1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
        return torch.kron(conference, one) + torch.kron(torch.eye(half, dtype=torch.float64), other)
    return None


def _jacobsthal(q: int) -> Tensor:
    """+1 where the difference of row and column is a square modulo q, -1 where it is not, 0 on the diagonal."""
    squares = {i * i % q for i in range(1, q)}
    kind = torch.tensor([0.0, *(1.0 if i in squares else -1.0 for i in range(1, q))], dtype=torch.float64)
    at = torch.arange(q)
    return kind[(at[:, None] - at[None, :]) % q]


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))


def fast_hadamard(x: Tensor) -> Tensor:
    """Multiply the last axis by Sylvester's matrix / sqrt(n) in n log n additions; twice gives ``x`` again.

    Args:
        x: [..., n], n a power of two.
    """
    check_float(x, "x")
    n = x.shape[-1]
    if n & (n - 1) or n == 0:
        raise ValueError(f"the last axis must be a power of two long, got {n}; multiply by hadamard({n}) instead")
    y, width = x, 1
    while width < n:
        a, b = y.unflatten(-1, (-1, 2, width)).unbind(-2)
        y = torch.stack([a + b, a - b], dim=-2).flatten(-3)
        width *= 2
    return y / math.sqrt(n)


def random_rotation(n: int, seed: int = 0) -> Tensor:
    """Return Q = diag(±1) · H / sqrt(n), orthogonal.  float64 [n, n]"""
    signs = torch.randint(0, 2, (n,), generator=generator("rotation", seed)).double() * 2 - 1
    return signs[:, None] * hadamard(n) / math.sqrt(n)


@torch.no_grad()
def rotate(model: Llama, seed: int = 0) -> Llama:
    """Return a copy that computes the same on a turned residual stream.

    The weight of each norm goes into the layers that read it, then every reader, writer and the embedding is turned.

    >>> from frugal.nets.pretrained import load
    >>> model = load("llama_drawn")
    >>> tokens = torch.zeros(1, 3, dtype=torch.int64)
    >>> bool(torch.allclose(rotate(model)(tokens), model(tokens), atol=1e-4))
    True
    """
    turned = copy.deepcopy(model)
    q = random_rotation(model.shape.dim, seed)
    for norm, readers in norms_and_readers(turned):
        for reader in readers:
            reader.weight.copy_((reader.weight * norm.weight).double() @ q)
        norm.weight.fill_(1)
    for writer in writers(turned):
        writer.weight.copy_(q.T @ writer.weight.double())
    turned.embedding.weight.copy_(turned.embedding.weight.double() @ q)
    return turned
