"""Prune the published CIFAR-10 networks without any image, and measure what is left.

    FRUGAL_DATA=FOLDER python benchmarks/prune_data_free.py [--json FILE] [--images N] [--networks resnet56]

Structured methods: channels go, the network is smaller. The channels of the residual streams of these networks are
frozen (their shortcuts pad with zeros), so that only the inner ones of each block can go: at most half of the
parameters. No fine-tuning. Products are counted by torch for one picture; accuracy is on the test images.

    smallest rows   the channels with the smallest L1 norms go (batch norm folded); the baseline
    similarity      equation (6): a share of each layer's channels is merged into those most like them
    RED, after [39]     weights hashed, then the channels closer than a percentile merged
    RED++, after [38]   the same, and inputs split by scalars: fewer products, the sums are looked up. The split network
                        equals the one before up to rounding, which is checked on a few pictures; accuracy is that one's
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn
from tqdm import tqdm

from frugal.core.errors import MissingData
from frugal.data import cifar10
from frugal.graph.channels import find_channels
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.measure.record import record, save
from frugal.measure.results import lay_out
from frugal.nets.resnet import load_published, resnet20_cifar, resnet56_cifar
from frugal.prune.hashing import hash_network, median_gap, range_over
from frugal.prune.methods.red_plus_plus import count_products, split_network
from frugal.prune.methods.similarity import merge_similar
from frugal.prune.redundancy import merge_outputs
from frugal.prune.scores import channel_norms, choose_groups
from frugal.prune.surgery import remove_channels

NETWORKS = {
    "resnet20": (resnet20_cifar, "resnet20-12fca82f.th"),
    "resnet56": (resnet56_cifar, "resnet56-4bfd9763.th"),
}
SHAPE = (3, 32, 32)
SHARES = (0.1, 0.25, 0.5)
THRESHOLDS = (0.5, 0.7, 0.9)
ALPHAS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)
COLUMNS = ("network", "method", "setting", "removed_percent", "products_percent", "accuracy_percent")
Row = dict[str, Any]
Method = tuple[str, str, Callable[[nn.Module], nn.Module]]


def methods() -> Iterator[Method]:
    """Yield method, setting, and how to get the smaller network from one whose batch norms are folded."""
    for share in SHARES:
        yield "smallest rows", f"{share:.0%} of each layer", lambda net, share=share: remove_smallest(net, share)
    for share in SHARES:
        for words, extra in (
            ("mean", {}),
            ("saliency", {"pivot": "saliency"}),
            ("multiples, saliency", {"multiples": True, "pivot": "saliency"}),
        ):
            yield (
                f"similarity, {words}",
                f"{share:.0%} of each layer",
                lambda net, share=share, extra=extra: merge_similar(net, SHAPE, share=share, **extra),
            )
    for threshold in THRESHOLDS:
        yield (
            "similarity, saliency, one threshold",
            f"threshold {threshold}",
            lambda net, threshold=threshold: merge_similar(net, SHAPE, threshold=threshold, pivot="saliency"),
        )
        yield (
            "similarity, multiples, one threshold",
            f"threshold {threshold}",
            lambda net, threshold=threshold: merge_similar(
                net, SHAPE, threshold=threshold, pivot="saliency", multiples=True
            ),
        )
    for name, rule in (("median gap", median_gap), ("range/1024", range_over(1024)), ("range/512", range_over(512))):
        yield "hashing", name, lambda net, rule=rule: hash_network(net, rule)
    for strategy in ("constant", "block", "descending"):
        for alpha in ALPHAS[1:]:
            yield (
                f"RED, after [39], {strategy}",
                f"range/1024, alpha {alpha}",
                lambda net, strategy=strategy, alpha=alpha: red(net, alpha, strategy),
            )
    for cells in (512, 1024, 2048):
        for alpha in ALPHAS[:2]:
            yield (
                "RED++, after [38], by scalars",
                f"range/{cells}, alpha {alpha}",
                lambda net, alpha=alpha, cells=cells: red(net, alpha, "constant", cells),
            )


def red(net: nn.Module, alpha: float, strategy: str, cells: int = 1024) -> nn.Module:
    return merge_outputs(hash_network(net, range_over(cells)), SHAPE, alpha, strategy)


def split(net: nn.Module, pictures: torch.Tensor) -> nn.Module:
    made = split_network(net, "scalar")
    with torch.no_grad():
        torch.testing.assert_close(made(pictures), net(pictures), rtol=1e-3, atol=1e-3)
    return made


def remove_smallest(net: nn.Module, share: float) -> nn.Module:
    channels = find_channels(net, SHAPE)
    return remove_channels(net, channels, choose_groups(channel_norms(net, channels, p=1), channels, share))


def numbers(net: nn.Module) -> int:
    """How many learned numbers a network has."""
    return sum(parameter.numel() for parameter in net.parameters())


def measure(name: str, net: nn.Module, x: torch.Tensor, labels: torch.Tensor, only: str) -> Iterator[Row]:
    whole, picture = numbers(net), x[:1]
    products = count_products(net, picture)

    def row(method: str, setting: str, made: nn.Module) -> Row:
        counted = split(made, x[:4]) if method.startswith("RED++") else made
        return {
            "network": name,
            "method": method,
            "setting": setting,
            "parameters": numbers(made),
            "removed_percent": round(100 - 100 * numbers(made) / whole, 2),
            "products_percent": round(100 * count_products(counted, picture) / products, 2),
            "accuracy_percent": round(accuracy(made, x, labels, batch_size=50), 2),
        }

    yield row("dense", "batch norm folded", net)
    for method, setting, make in tqdm(list(methods()), desc=name, file=sys.stderr):
        if only in method:
            yield row(method, setting, make(net))


def summarize(rows: list[Row]) -> dict[str, float]:
    """For each network: dense accuracy, and per method the largest share removed for at most 1 point."""
    summary: dict[str, float] = {}
    for name in dict.fromkeys(row["network"] for row in rows):
        of_this = [row for row in rows if row["network"] == name]
        dense = of_this[0]["accuracy_percent"]
        summary[f"{name}_dense"] = dense
        for method in dict.fromkeys(row["method"] for row in of_this[1:]):
            good = [r for r in of_this if r["method"] == method and r["accuracy_percent"] >= dense - 1]
            summary[f"{name}: {method}: removed_percent for 1 point"] = max(
                (row["removed_percent"] for row in good), default=0.0
            )
    return summary


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
@click.option("--images", type=click.IntRange(1, 10_000), default=10_000, show_default=True, help="test images")
@click.option("--networks", default="resnet56", show_default=True, help="which, separated by commas")
@click.option("--only", default="", help="measure only methods whose name has this in it")
def main(file: str | None, images: int, networks: str, only: str) -> None:
    names = networks.split(",")
    if unknown := [name for name in names if name not in NETWORKS]:
        raise click.BadParameter(
            f"unknown: {', '.join(unknown)}; there are {', '.join(NETWORKS)}", param_hint="--networks"
        )
    try:
        test_images, labels = cifar10.load("test")
    except MissingData as error:
        raise click.ClickException(str(error)) from None
    x = cifar10.normalise(test_images[:images])
    rows: list[Row] = []
    for name in names:
        make, weights = NETWORKS[name]
        path = Path(os.environ["FRUGAL_DATA"]) / "resnet_cifar10" / weights
        net = fold_batchnorm(load_published(make(), path).eval())
        for row in measure(name, net, x, labels[:images], only):
            rows.append(row)
            if file:
                save(record(rows, {"test_images": images, **summarize(rows)}), file)
    click.echo(lay_out(COLUMNS, [tuple(str(row[column]) for column in COLUMNS) for row in rows]))
    for key, value in summarize(rows).items():
        click.echo(f"{key}: {value}")


if __name__ == "__main__":
    main()
