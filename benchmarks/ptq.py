"""Round the published CIFAR-10 networks to 8, 6 and 4 bits, without training, and measure what is left.

    FRUGAL_DATA=FOLDER python benchmarks/ptq.py [--json FILE] [--images N] [--networks resnet20,resnet56]

Round to nearest, batch norm folded, weights over all their values, every layer quantized unless said otherwise,
activations calibrated on 512 images of training batch 1, accuracy on the test images.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from torch import Tensor, nn
from tqdm import tqdm

from frugal.core.errors import MissingData
from frugal.data import cifar10
from frugal.data.calibration import calibration_batches
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.measure.record import record, save
from frugal.nets.resnet import load_published, resnet20_cifar, resnet56_cifar
from frugal.quant.config import QuantConfig, weights_and_activations
from frugal.quant.convert import quantize_model, weight_bytes

NETWORKS = {
    "resnet20": (resnet20_cifar, "resnet20-12fca82f.th"),
    "resnet56": (resnet56_cifar, "resnet56-4bfd9763.th"),
}
BITS = (8, 6, 4)


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


def measure(name: str, folder: Path, images: Tensor, labels: Tensor, calibration: list[Tensor]) -> list[dict]:
    model = load(name, folder)
    full = accuracy(model, images, labels)
    folded = fold_batchnorm(model)
    rows = [{"network": name, "bits": "fp32", "accuracy_percent": round(full, 2), "size_bytes": weight_bytes(folded)}]
    for words, config in tqdm(list(choices()), desc=name, file=sys.stderr):
        quantized = quantize_model(folded, config, calibration)
        percent = accuracy(quantized, images, labels)
        rows.append(
            {"network": name, **words, "accuracy_percent": round(percent, 2), "size_bytes": weight_bytes(quantized)}
        )
    return rows


def summarize(rows: list[dict]) -> dict[str, float]:
    """Quote the best W4A4 of each network with its first and last layers at 8 bits, and W8A8 per channel, affine."""
    summary = {}
    for name in dict.fromkeys(row["network"] for row in rows):
        of_this = [row for row in rows if row["network"] == name]
        summary[f"{name}_fp32"] = of_this[0]["accuracy_percent"]
        for bits in ("W8A8", "W6A6"):
            summary[f"{name}_{bits.lower()}"] = next(
                row["accuracy_percent"]
                for row in of_this
                if (row["bits"], row.get("weights"), row.get("activations")) == (bits, "per channel", "affine")
            )
        summary[f"{name}_w4a4"] = max(
            row["accuracy_percent"] for row in of_this if (row["bits"], row.get("first_last_bits")) == ("W4A4", 8)
        )
    return summary


def print_table(rows: list[dict]) -> None:
    columns = ("network", "bits", "weights", "activations", "first_last_bits", "range", "accuracy_percent")
    table = [columns, *(tuple(str(row.get(column, "")) for column in columns) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        click.echo("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
@click.option("--images", type=click.IntRange(1, 10_000), default=10_000, show_default=True, help="test images")
@click.option("--networks", default=",".join(NETWORKS), show_default=True, help="which, separated by commas")
def main(file: str | None, images: int, networks: str) -> None:
    names = networks.split(",")
    if unknown := [name for name in names if name not in NETWORKS]:
        raise click.BadParameter(
            f"unknown: {', '.join(unknown)}; there are {', '.join(NETWORKS)}", param_hint="--networks"
        )
    try:
        test_images, labels = cifar10.load("test")
        train_images, _ = cifar10.load("train_1")
    except MissingData as error:
        raise click.ClickException(str(error)) from None
    x = cifar10.normalise(test_images[:images])
    calibration = calibration_batches(cifar10.normalise(train_images), 512)
    folder = Path(os.environ["FRUGAL_DATA"])
    rows = [row for name in names for row in measure(name, folder, x, labels[:images], calibration)]
    print_table(rows)
    result = record(rows, {"test_images": images, **summarize(rows)})
    for key, value in result["summary"].items():
        click.echo(f"{key}: {value}")
    if file:
        save(result, file)


if __name__ == "__main__":
    main()
