"""Round the weights of a small language model to 4 and 3 bits by several methods, and measure what it forgets.

    FRUGAL_DATA=FOLDER python benchmarks/language.py [--json FILE]

The model is stories260K of llama2.c: 260,032 parameters that write children's stories. Every linear layer is rounded,
the embedding is not. The methods that look at activations see 16 stories that the model wrote itself; nll is measured
on five others, in nats for each token.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
import torch
from torch import Tensor, nn
from tqdm import tqdm

from frugal.core.errors import MissingData
from frugal.core.seed import generator
from frugal.data.stories import BEGIN, MODEL, published, sample_stories
from frugal.measure.record import record, save
from frugal.measure.results import lay_out
from frugal.nets.llama import Llama, load_llama2c, nll
from frugal.quant.affine import QParams, choose_qparams
from frugal.quant.granularity import PerChannel, PerGroup
from frugal.quant.methods.awq import scale_salient, shrunken_qparams
from frugal.quant.methods.gptq import gptq
from frugal.quant.methods.hadamard import rotate
from frugal.quant.methods.hqq import hqq
from frugal.quant.rounding import LayerInputs, round_nearest
from frugal.quant.sequential import round_layers

GROUP = 16
Same = Callable[[Llama, list[Tensor]], Llama]
RoundLayer = Callable[[nn.Module, LayerInputs], Tensor]


@dataclass(frozen=True)
class Method:
    """What is done before rounding (the function stays), and how a layer is rounded."""

    name: str
    before: Same
    round_layer: RoundLayer


def group_of(layer: nn.Module) -> int:
    """16 weights share a scale; 4 where 16 does not divide the layer's inputs (172 of them)."""
    return math.gcd(GROUP, layer.in_features)


def methods(bits: int, groups: bool) -> Iterator[Method]:
    def qparams(layer: nn.Module) -> QParams:
        granularity = PerGroup(group_of(layer)) if groups else PerChannel(0)
        return choose_qparams(layer.weight, bits, granularity=granularity)

    def unchanged(model: Llama, batches: list[Tensor]) -> Llama:
        return model

    def nearest(layer: nn.Module, inputs: LayerInputs) -> Tensor:
        return round_nearest(layer.weight, qparams(layer))

    yield Method("round to nearest", unchanged, nearest)
    yield Method("GPTQ", unchanged, lambda layer, inputs: gptq(layer.weight, qparams(layer), inputs))
    yield Method(
        "GPTQ, act order", unchanged, lambda layer, inputs: gptq(layer.weight, qparams(layer), inputs, act_order=True)
    )
    yield Method("Hadamard, then nearest", lambda model, batches: rotate(model), nearest)
    if not groups:
        return

    def salient(model: Llama, batches: list[Tensor]) -> Llama:
        return scale_salient(model, batches, bits, group_size=math.gcd(GROUP, model.shape.hidden))

    def clipped(layer: nn.Module, inputs: LayerInputs) -> Tensor:
        chosen = shrunken_qparams(layer.weight, inputs.x[0], bits, group_size=group_of(layer))
        return round_nearest(layer.weight, chosen)

    yield Method("AWQ scales", salient, nearest)
    yield Method("AWQ scales and clipping", salient, clipped)
    yield Method(
        "HQQ", unchanged, lambda layer, inputs: hqq(layer.weight, bits, group_size=group_of(layer)).dequantize()
    )


@torch.no_grad()
def own_stories(model: Llama, count: int = 16, length: int = 200) -> Tensor:
    """Stories that the model writes itself, [count, length]: calibration without anybody's text."""
    rng = generator("own stories")
    rows = torch.full((count, 1), BEGIN)
    for _ in range(length - 1):
        chances = model(rows)[:, -1].softmax(dim=-1)
        rows = torch.cat([rows, torch.multinomial(chances, 1, generator=rng)], dim=1)
    return rows


def measure() -> list[dict]:
    model, texts = load_llama2c(published(MODEL)), sample_stories()
    batches = [own_stories(model)]
    rows: list[dict] = [{"bits": 32, "scales": "", "method": "float32", "nll": round(nll(model, texts), 4)}]
    for bits in (8, 4, 3):
        for groups in (False, True):
            scales = f"groups of {GROUP}" if groups else "per channel"
            for method in tqdm(list(methods(bits, groups)), desc=f"{bits} bits, {scales}", file=sys.stderr):
                prepared = method.before(model, batches)
                rounded = round_layers(prepared, method.round_layer, batches)
                rows.append(
                    {"bits": bits, "scales": scales, "method": method.name, "nll": round(nll(rounded, texts), 4)}
                )
    return rows


def summarize(rows: list[dict]) -> dict[str, float]:
    """Quote four bits in groups, where all methods meet."""
    four = {row["method"]: row["nll"] for row in rows if row["bits"] == 4 and row["scales"].startswith("groups")}
    return {"float32": rows[0]["nll"], **four}


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
def main(file: str | None) -> None:
    try:
        rows = measure()
    except MissingData as error:
        raise click.ClickException(str(error)) from error
    click.echo(lay_out(("bits", "scales", "method", "nll"), [tuple(map(str, row.values())) for row in rows]))
    if file:
        save(record(rows, summarize(rows)), file)


if __name__ == "__main__":
    main()
