"""ResNet-20 on int8 codes against the same network in float: accuracy, codes that differ, images per second.

    FRUGAL_DATA=FOLDER python benchmarks/int8_resnet20.py [--json FILE] [--images N] [--threads N] [--rounds N]

The published CIFAR-10 network, batch norm folded, made integer by ``to_int8`` with the min-max ranges of 512 images of
training batch 1. Fake quantization computes with the same parameters in float32. Codes are compared on 128 test
images. Float32 is torch's own, folded too; the two take turns (``measure.latency.race``).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import torch
from torch import Tensor, nn
from tqdm import tqdm

from frugal.core.errors import MissingData
from frugal.data import cifar10
from frugal.data.calibration import calibration_batches
from frugal.graph.fold import fold_batchnorm
from frugal.kernels import dispatch
from frugal.measure.accuracy import accuracy
from frugal.measure.latency import MIN_ROUNDS, pinned, race
from frugal.measure.record import record, save
from frugal.nets.resnet import load_published, resnet20_cifar
from frugal.quant.affine import dequantize, quantize
from frugal.quant.integer import Int8Network, agreement, to_int8
from frugal.quant.integer.network import INPUT

WEIGHTS = "resnet20-12fca82f.th"
BATCHES = (1, 128)
COMPARED = 128  # images whose codes are compared


class FakeQuantized(nn.Module):
    """An int8 network in float arithmetic: every step in reals, rounded to those that codes stand for."""

    def __init__(self, network: Int8Network) -> None:
        super().__init__()
        self.network = network

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        values: list[Tensor] = []
        for step, qparams in zip(self.network.steps, self.network.qparams, strict=True):
            real = step.operator.real(*(x if source == INPUT else values[source] for source in step.inputs))
            values.append(real if qparams is None else dequantize(quantize(real, qparams), qparams))
        return values[self.network.output]


def measure_accuracy(forms: dict[str, nn.Module], x: Tensor, labels: Tensor) -> list[dict]:
    bar = tqdm(forms.items(), desc="accuracy", file=sys.stderr)
    return [{"form": name, "accuracy_percent": round(accuracy(form, x, labels), 2)} for name, form in bar]


def measure_codes(network: Int8Network, x: Tensor) -> dict[str, float]:
    """Count the codes that fake quantization would have rounded otherwise; see ``quant.integer.compare``."""
    found = agreement(network, x)
    return {
        "codes": found.values,
        "differing_codes": found.differing,
        "differing_permille": round(1e3 * found.differing / found.values, 3),
        "largest_difference": found.largest,
        "differing_codes_given_the_same_input": found.differing_alone,
        "largest_difference_given_the_same_input": found.largest_alone,
        "codes_off_the_definition": found.inexact,
    }


def measure_speed(network: Int8Network, model: nn.Module, x: Tensor, threads: int, rounds: int) -> list[dict]:
    """Race int8 and float32 on batches of the same images."""
    rows = []
    for batch in BATCHES:
        images = x[:batch].contiguous()
        with torch.inference_mode():
            runners = {"int8": lambda: network(images), "fp32": lambda: model(images)}  # noqa: B023 - raced at once
            race_ = race(runners, rounds=rounds, turn_s=0.05, warm_up_s=0.02, threads=threads)
        ratio = race_.ratio("fp32", to="int8")
        row = {"batch": batch, "threads": threads, "path": dispatch.available()[0], "noisy": race_.noise.noisy}
        for name in runners:
            row[f"{name}_images_per_second"] = round(batch / race_.latency(name).value)
        row |= {
            "speedup": round(ratio.value, 2),
            "speedup_low": round(ratio.low, 2),
            "speedup_high": round(ratio.high, 2),
        }
        rows.append(row)
    return rows


def summarize(rows: list[dict]) -> dict[str, float]:
    """The figures to quote: accuracies in percent, codes, and how many times faster int8 is at each batch size."""
    summary = {f"{row['form']}_percent": row["accuracy_percent"] for row in rows if "form" in row}
    for row in rows:
        if "batch" in row:
            summary[f"speedup_batch_{row['batch']}"] = row["speedup"]
        elif "codes" in row:
            summary["differing_permille"] = row["differing_permille"]
    return summary


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
@click.option("--images", type=click.IntRange(COMPARED, 10_000), default=10_000, show_default=True, help="test images")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="of both")
@click.option("--rounds", type=click.IntRange(MIN_ROUNDS), default=15, show_default=True, help="turns for each")
def main(file: str | None, images: int, threads: int, rounds: int) -> None:
    try:
        test_images, labels = cifar10.load("test")
        train_images, _ = cifar10.load("train_1")
    except MissingData as error:
        raise click.ClickException(str(error)) from None
    x = cifar10.normalise(test_images[:images])
    published = Path(os.environ["FRUGAL_DATA"]) / "resnet_cifar10" / WEIGHTS
    model = fold_batchnorm(load_published(resnet20_cifar(), published).eval())
    network = to_int8(model, calibration_batches(cifar10.normalise(train_images), 512), strict=True)
    torch.set_num_threads(threads)
    with pinned(threads):
        rows = measure_speed(network, model, x, threads, rounds)
        rows += measure_accuracy(
            {"fp32": model, "fake_quantized": FakeQuantized(network), "int8": network}, x, labels[:images]
        )
        rows.append(measure_codes(network, x[:COMPARED]))
    result = record(rows, {"test_images": images, **summarize(rows)})
    for row in rows:
        click.echo("  ".join(f"{key} {value}" for key, value in row.items()))
    if file:
        save(result, file)


if __name__ == "__main__":
    main()
