"""A small language model of today's shape: RMSNorm, rotary positions, grouped queries, SwiGLU.

Papers:  Touvron et al., 2302.13971 (Llama); Zhang & Sennrich 2019 (RMSNorm); Su et al., 2104.09864 (rotary positions);
         Shazeer, 2002.05202 (SwiGLU); Ainslie et al., 2305.13245 (grouped queries).
Formula: x += wo · attention(rope(wq · n), rope(wk · n), wv · n),   n = attention_norm(x)
         x += w2 · (silu(w1 · n) ⊙ w3 · n),                         n = ffn_norm(x)
Learn:   course/4_quantization

Each layer reads the residual stream through a norm and adds its answer to it. That is all that the quantization
methods for language models need to know: a factor taken out of a norm can be put into the linear layers behind it, and
a rotation of the whole stream can be undone by whoever reads it.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention, silu

from frugal.core.errors import FrugalError
from frugal.nets.blocks import load_exactly_


class DamagedModel(FrugalError, ValueError):
    """A file of weights has the wrong size or a header that makes no sense."""


@dataclass(frozen=True)
class LlamaShape:
    """The sizes of a model.

    dim:        width of the residual stream.
    hidden:     width inside a feed-forward layer.
    layers:     how many of each.
    heads:      query heads; ``dim / heads`` numbers each, an even count.
    kv_heads:   key and value heads, each shared by ``heads / kv_heads`` query heads.
    vocabulary: how many tokens there are.
    context:    the longest sequence.
    """

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1, got {getattr(self, field.name)}")
        if self.dim % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError(
                f"dim must be a multiple of 2 · heads and heads of kv_heads, got dim {self.dim}, heads {self.heads}, "
                f"kv_heads {self.kv_heads}"
            )


class RMSNorm(nn.Module):
    """``x / rms(x) · weight`` along the last axis; a ``weight`` of ones commutes with any rotation of ``x``."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.eps) * self.weight


class Attention(nn.Module):
    """Causal attention with rotary positions and grouped queries."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.head_dim = shape.dim // shape.heads
        narrow = shape.kv_heads * self.head_dim
        self.wq = nn.Linear(shape.dim, shape.dim, bias=False)
        self.wk = nn.Linear(shape.dim, narrow, bias=False)
        self.wv = nn.Linear(shape.dim, narrow, bias=False)
        self.wo = nn.Linear(shape.dim, shape.dim, bias=False)

    def forward(self, x: Tensor, turn: Tensor) -> Tensor:
        q, k, v = (self._heads(linear(x)) for linear in (self.wq, self.wk, self.wv))  # [n, heads, t, head_dim]
        q, k = rotate_pairs(q, turn), rotate_pairs(k, turn)
        groups = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(y.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class FeedForward(nn.Module):
    """SwiGLU: one linear layer opens and closes the gates of another."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.w1 = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.w2 = nn.Linear(shape.hidden, shape.dim, bias=False)
        self.w3 = nn.Linear(shape.dim, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to the stream."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(shape.dim)
        self.attention = Attention(shape)
        self.ffn_norm = RMSNorm(shape.dim)
        self.ffn = FeedForward(shape)

    def forward(self, x: Tensor, turn: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), turn)
        return x + self.ffn(self.ffn_norm(x))


class Llama(nn.Module):
    """Tokens in, logits of the next token out.

    ``head`` holds its own weight, also where the file shares it with ``embedding``: a method may then change one of
    them alone.
    """

    turn: Tensor  # complex64 [context, head_dim / 2]: how far each pair turns at each position

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.dim)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.dim)
        self.head = nn.Linear(shape.dim, shape.vocabulary, bias=False)
        self.register_buffer("turn", turns(shape.context, shape.dim // shape.heads), persistent=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Read tokens, int64 [n, t] with t up to ``shape.context``, and return logits [n, t, vocabulary]."""
        if tokens.ndim != 2 or not 1 <= tokens.shape[1] <= self.shape.context:
            raise ValueError(f"tokens must be [n, t] with t from 1 to {self.shape.context}, got {list(tokens.shape)}")
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.turn[: tokens.shape[1]])
        return self.head(self.norm(x))


class NextToken(nn.Module):
    """A language model as a classifier: tokens [n, t] to logits [n, vocabulary, t - 1] for all tokens but the first."""

    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens[:, :-1]).transpose(1, 2)


def norms_and_readers(model: Llama) -> list[tuple[RMSNorm, list[nn.Linear]]]:
    """Return each norm with the linear layers that read its output and nothing else, in the order of the data."""
    pairs: list[tuple[RMSNorm, list[nn.Linear]]] = []
    for block in blocks_of(model):
        pairs.append((block.attention_norm, [block.attention.wq, block.attention.wk, block.attention.wv]))
        pairs.append((block.ffn_norm, [block.ffn.w1, block.ffn.w3]))
    return [*pairs, (model.norm, [model.head])]


def writers(model: Llama) -> list[nn.Linear]:
    """Return the linear layers that add to the residual stream."""
    return [linear for block in blocks_of(model) for linear in (block.attention.wo, block.ffn.w2)]


def blocks_of(model: Llama) -> list[Block]:
    """Return the layers, in order."""
    return [block for block in model.blocks if isinstance(block, Block)]


@torch.no_grad()
def stand_out(model: Llama, features: Sequence[int], factor: float) -> Llama:
    """Return a copy that computes the same while some features of every norm's output are ``factor`` times as large.

    Large models grow such features by themselves (Dettmers et al., 2208.07339); small ones do not, so we make them.
    """
    if factor <= 0 or any(not 0 <= feature < model.shape.dim for feature in features):
        raise ValueError(f"features must be from 0 to {model.shape.dim - 1}, factor above 0: got {features}, {factor}")
    twin = copy.deepcopy(model)
    for norm, readers in norms_and_readers(twin):
        norm.weight[list(features)] *= factor
        for reader in readers:
            reader.weight[:, list(features)] /= factor
    return twin


def turns(context: int, head_dim: int, base: float = 10_000.0) -> Tensor:
    """Return exp(i · position · base^(-2j / head_dim)) for each position and each pair j."""
    speed = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.outer(torch.arange(context, dtype=torch.float64), speed)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def rotate_pairs(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the pairs (0, 1), (2, 3), ... of the last axis, [n, heads, t, head_dim], each by its angle."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


@torch.no_grad()
def nll(model: nn.Module, texts: Iterable[Tensor]) -> float:
    """Return the mean negative log-likelihood of each token after a text's first, in nats; its exp is the perplexity.

    Args:
        model: takes tokens [n, t] and returns logits [n, t, vocabulary].
        texts: int64 [t] or [n, t] each, t of at least 2; a long text weighs as much as it has tokens.
    """
    total, count = 0.0, 0
    for text in texts:
        tokens = text if text.ndim == 2 else text[None]
        if tokens.ndim != 2 or tokens.shape[1] < 2:
            raise ValueError(f"a text must be [t] or [n, t] with at least 2 tokens, got {list(text.shape)}")
        logits = model(tokens[:, :-1]).flatten(0, 1).double()
        total += cross_entropy(logits, tokens[:, 1:].flatten(), reduction="sum").item()
        count += tokens[:, 1:].numel()
    if not count:
        raise ValueError("nll needs at least one text, got none")
    return total / count


@torch.no_grad()
def next_token_accuracy(model: nn.Module, tokens: Tensor, batch_size: int = 100) -> float:
    """Return how many of the tokens after the first, of [n, t], get the largest logit, in per cent."""
    right = sum(int((model(rows[:, :-1]).argmax(dim=-1) == rows[:, 1:]).sum()) for rows in tokens.split(batch_size))
    return 100 * right / tokens[:, 1:].numel()


def load_llama2c(path: str | Path) -> Llama:
    """Read a model in the first format of llama2.c: seven int32 sizes, then float32 weights, layer by layer.

    A negative vocabulary in the header says that the last matrix is stored on its own; otherwise it is the embedding.

    Raises:
        DamagedModel: the header makes no sense, or the file is longer or shorter than it says.
    """
    content = Path(path).read_bytes()
    if len(content) < 28:
        raise DamagedModel(f"{path} has {len(content)} bytes, but its header alone takes 28")
    dim, hidden, layers, heads, kv_heads, vocabulary, context = struct.unpack("<7i", content[:28])
    try:
        shape = LlamaShape(dim, hidden, layers, heads, kv_heads, abs(vocabulary), context)
    except ValueError as error:
        raise DamagedModel(f"{path} is no model of llama2.c: {error}") from error
    stored = _stored_tensors(shape, own_head=vocabulary < 0)
    wanted = 28 + 4 * sum(torch.Size(size).numel() for _, size in stored)
    if len(content) != wanted:
        raise DamagedModel(f"{path} has {len(content):,} bytes; {shape} takes {wanted:,}. Fetch it again")
    numbers = torch.frombuffer(bytearray(content[28:]), dtype=torch.float32)
    state: dict[str, Tensor] = {}
    for name, size in stored:
        part, numbers = numbers[: torch.Size(size).numel()].view(size), numbers[torch.Size(size).numel() :]
        if "*" in name:
            state.update({name.replace("*", str(layer)): part[layer] for layer in range(layers)})
        elif name:
            state[name] = part
    state.setdefault("head.weight", state["embedding.weight"])
    model = Llama(shape)
    load_exactly_(model, {name: value.clone() for name, value in state.items()}, source=str(path))
    return model.eval()


def _stored_tensors(shape: LlamaShape, own_head: bool) -> list[tuple[str, tuple[int, ...]]]:
    """The tensors of a file in their order; "*" stands for the layer, an empty name for what is not needed."""
    dim, hidden, layers = shape.dim, shape.hidden, shape.layers
    head_dim = dim // shape.heads
    narrow = shape.kv_heads * head_dim
    tensors = [
        ("embedding.weight", (shape.vocabulary, dim)),
        ("blocks.*.attention_norm.weight", (layers, dim)),
        ("blocks.*.attention.wq.weight", (layers, dim, dim)),
        ("blocks.*.attention.wk.weight", (layers, narrow, dim)),
        ("blocks.*.attention.wv.weight", (layers, narrow, dim)),
        ("blocks.*.attention.wo.weight", (layers, dim, dim)),
        ("blocks.*.ffn_norm.weight", (layers, dim)),
        ("blocks.*.ffn.w1.weight", (layers, hidden, dim)),
        ("blocks.*.ffn.w2.weight", (layers, dim, hidden)),
        ("blocks.*.ffn.w3.weight", (layers, hidden, dim)),
        ("norm.weight", (dim,)),
        ("", (2, shape.context, head_dim // 2)),  # cosines and sines, which ``turns`` computes
    ]
    return [*tensors, ("head.weight", (shape.vocabulary, dim))] if own_head else tensors
