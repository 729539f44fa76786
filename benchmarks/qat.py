"""Train a network through its rounding, from its checkpoint: accuracy after n epochs, and the seconds.

    python benchmarks/qat.py [--json FILE] [--images N] [--epochs E] [--network NAME] [--seeds N] [--only BITS]
    FRUGAL_DATA=FOLDER python benchmarks/qat.py --network resnet20 [...]

First and last layers at 8 bits. "rounded" is the same quantizer without training (weights over all their values,
activations calibrated on 512 pictures, judged on 2,000 test pictures); "trained" starts from the checkpoint.

A shipped network sees drawn pictures that neither its checkpoint nor the test saw; accuracy is on the test split of
data.drawn. A published one sees the first 10,000 training pictures of CIFAR-10, shifted by up to four pixels and half
of them mirrored, anew in every copy; accuracy is on its test set.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import click
import torch
from ptq import NETWORKS as PUBLISHED
from ptq import load as load_published
from torch import Tensor, nn

from frugal.core.seed import generator
from frugal.data import cifar10
from frugal.data.drawn import draw
from frugal.measure.accuracy import accuracy
from frugal.measure.record import record, save
from frugal.measure.results import lay_out
from frugal.nets import pretrained
from frugal.quant.methods.binary_connect import BinaryConnect
from frugal.quant.methods.lsq import learned_steps
from frugal.quant.methods.ttq import TrainedTernary
from frugal.quant.methods.twn import TernaryWeight
from frugal.quant.methods.xnor_net import BinaryWeight
from frugal.quant.train import Operands, TrainingPlan, min_max, swap_in, train_through_

NETWORKS = (*pretrained.classifiers(), *PUBLISHED)
TEST_IMAGES = 10_000
QUICK_IMAGES = 2_000  # for what is only rounded
START = 512  # pictures whose ranges an untrained network uses


@dataclass(frozen=True)
class Case:
    """One way to train.

    bits, method: as in the table.
    inner: what the layers between the first and the last pass through.
    optimizer, lr: the better of two or three tries of one epoch, judged on 2,000 test pictures; not searched further.
    fold: whether batch norm is folded first.
    distillation: share of the loss that follows the float network.
    """

    bits: str
    method: str
    inner: Operands
    optimizer: str = "adam"
    lr: float = 3e-3
    fold: bool = False
    distillation: float = 0.0


CASES = (
    Case("W8A8", "min-max", min_max(8, 8), "sgd", 3e-3),
    Case("W4A4", "min-max", min_max(4, 4), "sgd", 1e-2),
    Case("W4A4", "min-max, batch norm folded", min_max(4, 4), "sgd", 1e-3, fold=True),
    Case("W4A4", "LSQ", learned_steps(4, 4), "sgd", 1e-2),
    Case("W2A4", "LSQ", learned_steps(2, 4), "sgd", 2e-2),
    Case("W2A4", "LSQ, distilled", learned_steps(2, 4), distillation=0.7),
    Case("ternary", "TWN", Operands(lambda layer: TernaryWeight())),
    Case("ternary", "TTQ", Operands(lambda layer: TrainedTernary())),
    Case("binary", "BWN", Operands(lambda layer: BinaryWeight())),
    Case("binary", "BinaryConnect", Operands(lambda layer: BinaryConnect())),
)


@dataclass(frozen=True)
class Pictures:
    """Pictures as a network takes them, and their labels."""

    images: Tensor
    labels: Tensor


def drawn_pictures(count: int, seed: int) -> Pictures:
    made = draw(count, seed=seed)  # the checkpoint was trained on seed 0
    return Pictures(made.images, made.labels)


def real_pictures(count: int, seed: int) -> Pictures:
    """Shifted and mirrored copies of the first training pictures, until there are as many as asked for."""
    images, labels = cifar10.load("train_1")
    rng = generator(seed)
    copies = math.ceil(count / len(images))
    made = torch.cat([moved(cifar10.normalise(images), rng) for _ in range(copies)])
    return Pictures(made[:count], labels.repeat(copies)[:count])


def moved(images: Tensor, rng: torch.Generator, most: int = 4) -> Tensor:
    """Shift each picture by up to ``most`` pixels, 0 coming in at the border, and mirror half of them."""
    side = images.shape[-1]
    padded = nn.functional.pad(images, (most,) * 4)
    places = torch.randint(0, 2 * most + 1, (len(images), 2), generator=rng).tolist()
    mirrored = torch.rand(len(images), generator=rng) < 0.5
    made = torch.stack([x[:, i : i + side, j : j + side] for x, (i, j) in zip(padded, places, strict=True)])
    made[mirrored] = made[mirrored].flip(-1)
    return made


def measure(model: nn.Module, case: Case, train: Pictures, test: Pictures, epochs: float, seed: int) -> dict:
    """Round, then train; the accuracy after each and the seconds of the training."""
    plan = TrainingPlan(epochs=epochs, lr=case.lr, optimizer=case.optimizer, distillation=case.distillation, seed=seed)
    quantized = swap_in(model, case.inner, fold=case.fold)
    rounded = accuracy(started(quantized, train.images), test.images[:QUICK_IMAGES], test.labels[:QUICK_IMAGES])
    quantized = swap_in(model, case.inner, fold=case.fold)
    made = train_through_(quantized, train.images, train.labels, plan, teacher=model if case.distillation else None)
    return {
        "bits": case.bits,
        "method": case.method,
        "seed": seed,
        "rounded_percent": round(rounded, 2),
        "trained_percent": round(accuracy(quantized, test.images, test.labels), 2),
        "epochs": epochs,
        "steps": made.steps,
        "seconds": round(made.seconds, 1),
        "processor_seconds": round(made.processor_seconds, 1),
        "optimizer": case.optimizer,
        "lr": case.lr,
        "last_loss": round(made.losses[-1], 4),
    }


def started(model: nn.Module, images: Tensor) -> nn.Module:
    """Give every quantizer its range, with batch norm as the checkpoint has it."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        model(images[:START])
    return model.eval()


def summarize(rows: list[dict], float_percent: float) -> dict[str, object]:
    """Mean, spread and seconds of each kind, over the seeds."""
    summary: dict[str, object] = {"float_percent": float_percent}
    for bits, method in dict.fromkeys((row["bits"], row["method"]) for row in rows):
        of_this = [row for row in rows if (row["bits"], row["method"]) == (bits, method)]
        trained = [row["trained_percent"] for row in of_this]
        name = f"{bits} {method}"
        summary[f"{name}: percent"] = round(statistics.fmean(trained), 2)
        if len(trained) > 1:
            summary[f"{name}: standard deviation"] = round(statistics.stdev(trained), 2)
        seconds = [row["processor_seconds"] for row in of_this]
        summary[f"{name}: processor seconds"] = round(statistics.fmean(seconds), 1)
    return summary


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
@click.option("--network", type=click.Choice(NETWORKS), default="resnet8_drawn", show_default=True)
@click.option("--images", type=click.IntRange(512), default=10_000, show_default=True, help="training pictures")
@click.option("--epochs", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="of shuffling and pictures")
@click.option("--only", multiple=True, help="only kinds with this in their name, as in the table; may be repeated")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def main(
    file: str | None, network: str, images: int, epochs: float, seeds: int, only: tuple[str, ...], threads: int
) -> None:
    torch.set_num_threads(threads)
    if network in PUBLISHED:
        model = load_published(network, cifar10.data_folder())
        images_of_test, labels = cifar10.load("test")
        pictures, test = real_pictures, Pictures(cifar10.normalise(images_of_test), labels)
    else:
        made = draw(TEST_IMAGES, split="test")
        model, pictures, test = pretrained.load(network), drawn_pictures, Pictures(made.images, made.labels)
    float_percent = accuracy(model, test.images, test.labels)
    click.echo(f"float: {float_percent:.2f} % on {TEST_IMAGES:,} pictures")
    cases = [case for case in CASES if not only or any(word in f"{case.bits} {case.method}" for word in only)]
    rows = []
    for seed in range(1, seeds + 1):
        train = pictures(images, seed)
        for case in cases:
            rows.append({"network": network, **measure(model, case, train, test, epochs, seed)})
            row = rows[-1]
            click.echo(
                f"{case.bits:8} {case.method:28} rounded {row['rounded_percent']:6.2f}  "
                f"trained {row['trained_percent']:6.2f}  {row['processor_seconds']:6.1f} s"
            )
    columns = ("bits", "method", "seed", "rounded_percent", "trained_percent", "steps", "processor_seconds")
    click.echo(lay_out(columns, [[row[column] for column in columns] for row in rows]))
    error = math.sqrt(float_percent * (100 - float_percent) / TEST_IMAGES)
    circumstances = {"train_images": images, "test_images": TEST_IMAGES, "standard_error_percent": round(error, 2)}
    result = record(rows, {**circumstances, **summarize(rows, round(float_percent, 2))})
    if file:
        save(result, file)


if __name__ == "__main__":
    main()
