"""torch on whole networks: eager in two layouts and two precisions, torch.compile, and PT2E int8 through torchao."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from frugal.bench.network import OUTPUT, NetworkProblem
from frugal.bench.peer import Entry, Kept, Peer, installed


def find() -> str:
    return installed("torch")


def find_torchao() -> str:
    with quietly():
        return installed("torchao")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the compilers' warnings and advice to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def entry(
    problem: NetworkProblem, model: Callable[[Tensor], Tensor], change: Callable[[Tensor], Tensor], precision: str
) -> Entry:
    """Run a model on ``change(x)``; what is done to x is part of the work."""

    def compute() -> Tensor:
        with torch.no_grad():
            return model(change(problem.x))

    run = Kept(compute)
    return problem.entry(run, lambda: run.result().float(), precision)


def unchanged(x: Tensor) -> Tensor:
    return x


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def prepare_eager(problem: NetworkProblem, threads: int) -> Entry:
    return entry(problem, problem.model, unchanged, "float32")


def prepare_channels_last(problem: NetworkProblem, threads: int) -> Entry:
    model = problem.fresh_model().to(memory_format=torch.channels_last)
    return entry(problem, model, channels_last, "float32")


def prepare_bfloat16(problem: NetworkProblem, threads: int) -> Entry:
    model = problem.fresh_model().to(torch.bfloat16).to(memory_format=torch.channels_last)
    return entry(problem, model, lambda x: channels_last(x.bfloat16()), "bfloat16")


def compiled(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """torch.compile with its constants frozen, which folds batch norm and packs weights; compiled here and now."""
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    with quietly(), inductor.patch(freezing=True), torch.no_grad():
        ready = torch.compile(model)
        ready(x)
    return ready


def prepare_compiled(problem: NetworkProblem, threads: int) -> Entry:
    model = compiled(problem.fresh_model().to(memory_format=torch.channels_last), channels_last(problem.x))
    return entry(problem, model, channels_last, "float32")


def prepare_pt2e(problem: NetworkProblem, threads: int) -> Entry:
    with quietly():
        from torchao.quantization.pt2e import move_exported_model_to_eval
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    with quietly(), torch.no_grad():
        exported = torch.export.export(problem.fresh_model(), (problem.x,)).module()
        prepared = prepare_pt2e(exported, quantizer)
        for batch in problem.calibration_batches():
            prepared(batch)
        converted = convert_pt2e(prepared)
        move_exported_model_to_eval(converted)
    model = compiled(converted, problem.x)
    return entry(problem, model, unchanged, "int8")


MODELS = (
    Peer("torch fp32", OUTPUT, prepare_eager, find),
    Peer("torch fp32 channels_last", OUTPUT, prepare_channels_last, find),
    Peer("torch bf16 channels_last", OUTPUT, prepare_bfloat16, find),
    Peer("torch.compile fp32", OUTPUT, prepare_compiled, find),
    Peer("torch.compile int8 (PT2E)", OUTPUT, prepare_pt2e, find_torchao),
)
