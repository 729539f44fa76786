"""Quantize the published CIFAR-10 networks to 8, 6 and 4 bits, without training, and measure what is left.

    FRUGAL_DATA=FOLDER python benchmarks/ptq.py [--json FILE] [--images N] [--networks resnet20,resnet56] [--from FILE]

First round to nearest, batch norm folded, weights over all their values, every layer quantized unless said otherwise,
activations calibrated on 512 images of training batch 1. Then the recipes of ``quant/recipe``: what is known better,
from 1,024 unlabelled images of training batch 1, and without any image. Accuracy on the test images.

The file is written after every row. ``--from FILE`` takes the rows that an earlier run has measured; several networks
can so be measured beside each other and put together.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn
from tqdm import tqdm

from frugal.core.errors import MissingData
from frugal.data import cifar10
from frugal.data.calibration import calibration_batches
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.measure.record import record, save
from frugal.measure.results import lay_out, read
from frugal.nets.resnet import load_published, resnet20_cifar, resnet56_cifar
from frugal.quant.config import QuantConfig, weights_and_activations
from frugal.quant.convert import quantize_model, weight_bytes
from frugal.quant.recipe import KNOWN, Recipe, quantize, step
from frugal.quant.recipe.known import at

NETWORKS = {
    "resnet20": (resnet20_cifar, "resnet20-12fca82f.th"),
    "resnet56": (resnet56_cifar, "resnet56-4bfd9763.th"),
}
BITS = (8, 6, 4)
NEAREST = "round to nearest"
IMAGES = 1024
OF_A_ROW = ("network", "bits", "method", "weights", "activations", "first_last_bits", "range")
Row = dict[str, Any]


def recipes() -> Iterator[tuple[Row, Recipe]]:
    """Yield each recipe with the words that name it in the table."""
    fitted, learned = KNOWN["omse_bias_w4a4"], KNOWN["adaround_w4a4"]
    learned = replace(learned, rounding=step("adaround", steps=400, rows=10_000))
    without_ends: dict[str, Any] = {"allocation": ()}
    drawn = replace(KNOWN["zeroq_w8a8"], data=step("distilled", count=32, steps=100))
    ends, all_four = {"bits": "W4A4", "first_last_bits": 8}, {"bits": "W4A4", "first_last_bits": 4}
    eight = {"bits": "W8A8", "first_last_bits": 8}
    yield {**ends, "method": "AdaRound, bias"}, learned
    yield {**all_four, "method": "AdaRound, bias"}, replace(learned, **without_ends)
    yield {**eight, "method": "no image: DFQ"}, KNOWN["dfq_w8a8"]
    yield {**eight, "method": "no image: input scales, after SPIQ"}, KNOWN["spiq_w8a8"]
    yield {**ends, "method": "least squares, bias"}, fitted
    yield {**ends, "method": "GPTQ, bias"}, KNOWN["gptq_w4a4"]
    for method, recipe in (("AdaRound, bias", learned), ("GPTQ, bias", KNOWN["gptq_w4a4"])):
        yield {"bits": "W6A6", "first_last_bits": 6, "method": method}, at(replace(recipe, **without_ends), 6)
    yield {**all_four, "method": "least squares, bias"}, replace(fitted, **without_ends)
    yield {**eight, "method": "no image: ranges on distilled ones, ZeroQ"}, drawn


def choices() -> Iterator[tuple[dict[str, object], QuantConfig]]:
    """Yield each configuration with the words that name it in the table."""
    for bits in BITS:
        for per_channel in (False, True):
            for symmetric in (True, False):
                yield choice(bits, per_channel=per_channel, symmetric_activations=symmetric)
    for observer in ("minmax", "percentile", "kl", "mse"):
        yield choice(4, per_channel=True, symmetric_activations=False, first_last_bits=8, observer=observer)


def choice(
    bits: int,
    *,
    per_channel: bool,
    symmetric_activations: bool,
    first_last_bits: int | None = None,
    observer: str = "minmax",
) -> tuple[dict[str, object], QuantConfig]:
    words = {
        "bits": f"W{bits}A{bits}",
        "method": f"{NEAREST}, {observer}",
        "weights": "per channel" if per_channel else "per tensor",
        "activations": "symmetric" if symmetric_activations else "affine",
        "first_last_bits": first_last_bits or bits,
        "range": observer,
    }
    config = weights_and_activations(
        bits,
        bits,
        per_channel=per_channel,
        symmetric_activations=symmetric_activations,
        first_last_bits=first_last_bits,
        observer=observer,
    )
    return words, config


def load(name: str, folder: Path) -> nn.Module:
    make, file = NETWORKS[name]
    return load_published(make(), folder / "resnet_cifar10" / file).eval()


class Table:
    """The rows, measured or taken from earlier runs, and the file that they go to."""

    def __init__(self, earlier: list[dict[str, Any]], images: int, file: str | None, only: str = "") -> None:
        self.known = {identity(row): row for result in earlier for row in result["rows"]}
        runs = (run for result in earlier for run in result.get("runs", result["command"].split(" && ")))
        self.runs = list(dict.fromkeys(runs))
        self.rows: list[Row] = []
        self.images, self.file, self.only = images, file, only

    def lacks(self, words: Row) -> bool:
        """Take the row over if it is known; say whether it must be measured."""
        if identity(words) in self.known:
            self.rows.append({**words, **self.known[identity(words)], **words})  # the first for the order of keys
            return False
        return self.only in words.get("method", "")

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.write()

    def result(self) -> dict[str, Any]:
        result = record(self.rows, {"test_images": self.images, **summarize(self.rows)})
        if self.runs:
            result["runs"] = [*self.runs, result["command"]]
            result["command"] = (
                f"python benchmarks/ptq.py --json ptq.json, in {len(result['runs'])} runs joined by --from"
            )
        return result

    def write(self) -> None:
        if self.file:
            save(self.result(), self.file)


def identity(row: Row) -> tuple[Any, ...]:
    """What tells a row from the others; before there were recipes, rows had a range and no method."""
    method = {"method": f"{NEAREST}, {row['range']}"} if "range" in row else {}
    return tuple({**row, **method}.get(word) for word in OF_A_ROW)


def measure(name: str, folder: Path, images: Tensor, labels: Tensor, calibration: list[Tensor], table: Table) -> None:
    model = load(name, folder)
    folded = fold_batchnorm(model)
    whole: Row = {"network": name, "bits": "fp32"}
    if table.lacks(whole):
        percent = round(accuracy(model, images, labels, batch_size=100), 2)
        table.add({**whole, "accuracy_percent": percent, "size_bytes": weight_bytes(folded)})
    plain = torch.cat(calibration)[:512].split(128)
    for words, config in tqdm(list(choices()), desc=f"{name}, to nearest", file=sys.stderr):
        if table.lacks(row := {"network": name, **words}):
            network = quantize_model(folded, config, plain)
            percent = round(accuracy(network, images, labels, batch_size=100), 2)
            table.add({**row, "accuracy_percent": percent, "size_bytes": weight_bytes(network)})
    for words, recipe in tqdm(list(recipes()), desc=f"{name}, recipes", file=sys.stderr):
        if table.lacks(row := {"network": name, **words}):
            made = quantize(model, recipe, calibration)
            percent = round(accuracy(made.network, images, labels, batch_size=100), 2)
            size, seconds = made.report.size_bytes, round(made.report.seconds, 1)
            table.add({**row, "accuracy_percent": percent, "size_bytes": size, "seconds": seconds})


def summarize(rows: list[Row]) -> dict[str, float]:
    """Quote for each network float32, W8A8 as plain as it gets, and the best of each other kind that was measured.

    w8a8:              round to nearest, per channel, affine, min-max.
    w6a6, w4a4_all:    every layer at that width.
    w4a4:              the first and the last layer at 8 bits.
    datafree_w8a8:     no image at all.
    """
    summary: dict[str, float] = {}
    for name in dict.fromkeys(row["network"] for row in rows):
        of_this = [row for row in rows if row["network"] == name]
        kinds = {
            "fp32": [row for row in of_this if row["bits"] == "fp32"],
            "w8a8": [
                row
                for row in of_this
                if (row["bits"], row.get("weights"), row.get("activations")) == ("W8A8", "per channel", "affine")
            ],
            "w6a6": [row for row in of_this if row["bits"] == "W6A6"],
            "w4a4": [row for row in of_this if (row["bits"], row.get("first_last_bits")) == ("W4A4", 8)],
            "w4a4_all": [row for row in of_this if (row["bits"], row.get("first_last_bits")) == ("W4A4", 4)],
            "datafree_w8a8": [row for row in of_this if row.get("method", "").startswith("no image")],
        }
        summary |= {
            f"{name}_{kind}": max(row["accuracy_percent"] for row in found) for kind, found in kinds.items() if found
        }
    return summary


def print_table(rows: list[Row]) -> None:
    columns = ("network", "bits", "method", "weights", "activations", "first_last_bits", "range", "accuracy_percent")
    click.echo(lay_out(columns, [tuple(str(row.get(column, "")) for column in columns) for row in rows]))


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
@click.option("--images", type=click.IntRange(1, 10_000), default=10_000, show_default=True, help="test images")
@click.option("--networks", default=",".join(NETWORKS), show_default=True, help="which, separated by commas")
@click.option("--only", default="", help="measure only methods whose name has this in it; known rows are kept")
@click.option("--from", "earlier", multiple=True, type=click.Path(exists=True), help="rows measured before; repeatable")
def main(file: str | None, images: int, networks: str, only: str, earlier: tuple[str, ...]) -> None:
    names = networks.split(",")
    if unknown := [name for name in names if name not in NETWORKS]:
        raise click.BadParameter(
            f"unknown: {', '.join(unknown)}; there are {', '.join(NETWORKS)}", param_hint="--networks"
        )
    measured = [read(each) for each in earlier]
    if (others := {result["summary"].get("test_images") for result in measured}) - {images}:
        raise click.BadParameter(f"measured on {others} images, not on {images}", param_hint="--from")
    try:
        test_images, labels = cifar10.load("test")
        train_images, _ = cifar10.load("train_1")
    except MissingData as error:
        raise click.ClickException(str(error)) from None
    x = cifar10.normalise(test_images[:images])
    calibration = calibration_batches(cifar10.normalise(train_images), IMAGES)
    table = Table(measured, images, file, only)
    for name in names:
        measure(name, Path(os.environ["FRUGAL_DATA"]), x, labels[:images], calibration, table)
    print_table(table.rows)
    for key, value in table.result()["summary"].items():
        click.echo(f"{key}: {value}")
    table.write()


if __name__ == "__main__":
    main()
