"""Measure the lecture's two tables (slide 26) at laptop scale: what quantization keeps, without and with training.

    python benchmarks/tables.py [--json FILE] [--seeds N] [--images N] [--epochs E]

Three small networks stand for the lecture's: a residual one for ResNet-50, one of depthwise layers for MobileNetV2,
one with squeeze-and-excitation and SiLU for EfficientNet. First and last layers at 8 bits. Without training: rounded to
nearest per channel, ranges of least squared error, mean errors corrected on 256 pictures. With training: from the
checkpoint, min-max at 8 bits, learned steps at 4, ternary and binary weights with 8-bit activations.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass

import click
import torch
from torch import nn
from tqdm import tqdm

from frugal.data.calibration import calibration_batches
from frugal.data.drawn import DrawnImages, draw
from frugal.graph.fold import fold_batchnorm
from frugal.measure.accuracy import accuracy
from frugal.measure.record import record, save
from frugal.measure.results import lay_out
from frugal.nets import pretrained
from frugal.quant.config import weights_and_activations
from frugal.quant.convert import quantize_model
from frugal.quant.layers import map_layers, quantizable_layers, weight_of
from frugal.quant.methods.dfq import correct_biases
from frugal.quant.methods.lsq import learned_steps
from frugal.quant.methods.twn import TernaryWeight, ternarize
from frugal.quant.methods.xnor_net import BinaryWeight, binary_weights
from frugal.quant.train import Operands, TrainingPlan, min_max, swap_in, train_through_

TEST_IMAGES = 1_000
FORMATS = ("W8A8", "W4A4", "ternary", "binary")


@dataclass(frozen=True)
class Training:
    """How one format is trained; learning rates as in benchmarks/qat.py."""

    inner: Operands
    optimizer: str
    lr: float


def activations8(layer: nn.Module) -> nn.Module:
    """An 8-bit quantizer for what a ternary or binary layer reads."""
    make = min_max(8, 8).activation
    assert make is not None
    return make(layer)


TRAININGS = {
    "W8A8": Training(min_max(8, 8), "sgd", 3e-3),
    "W4A4": Training(learned_steps(4, 4), "sgd", 1e-2),
    "ternary": Training(Operands(lambda layer: TernaryWeight(), activations8), "adam", 3e-3),
    "binary": Training(Operands(lambda layer: BinaryWeight(), activations8), "adam", 3e-3),
}


def without_training(model: nn.Module, form: str, seed: int) -> nn.Module:
    """Round the network with 256 unlabelled pictures."""
    folded = fold_batchnorm(model)
    pictures = torch.cat(calibration_batches(draw(2_000, seed=seed).images, 256, seed=seed))
    if form.startswith("W"):
        bits = int(form[1])
        config = weights_and_activations(bits, bits, observer="mse", first_last_bits=8)
        rounded = quantize_model(folded, config, [pictures])
    else:
        names = list(quantizable_layers(folded))
        few = (lambda w: ternarize(w).values) if form == "ternary" else binary_weights

        def simplified(name: str, layer: nn.Module) -> nn.Module:
            if name not in (names[0], names[-1]):
                weight_of(layer).data.copy_(few(weight_of(layer).detach()))
            return layer

        ends = weights_and_activations(None, 8)
        rounded = quantize_model(map_layers(folded, simplified), ends, [pictures])
    return correct_biases(folded, rounded, [pictures])


def with_training(model: nn.Module, form: str, train: DrawnImages, epochs: float, seed: int) -> nn.Module:
    training = TRAININGS[form]
    quantized = swap_in(model, training.inner, fold=False)
    plan = TrainingPlan(epochs=epochs, lr=training.lr, optimizer=training.optimizer, seed=seed)
    train_through_(quantized, train.images, train.labels, plan)
    return quantized


def measure(seeds: int, images: int, epochs: float) -> list[dict]:
    test = draw(TEST_IMAGES, split="test")
    rows: list[dict] = []
    for name in pretrained.classifiers():
        model = pretrained.load(name)
        full = accuracy(model, *test)
        for seed in range(1, seeds + 1):  # the checkpoints were trained on seed 0
            train = draw(images, seed=seed)
            for form in tqdm(FORMATS, desc=f"{name}, seed {seed}", file=sys.stderr):
                for way in ("without training", "with training"):
                    if way == "without training":
                        network = without_training(model, form, seed)
                    else:
                        network = with_training(model, form, train, epochs, seed)
                    percent = accuracy(network, *test)
                    rows.append(
                        {
                            "network": name,
                            "format": form,
                            "way": way,
                            "seed": seed,
                            "float_percent": round(full, 2),
                            "accuracy_percent": round(percent, 2),
                            "kept_percent": round(100 * percent / full, 2),
                        }
                    )
    return rows


def summarize(rows: list[dict]) -> dict[str, float]:
    """Mean and standard deviation over the seeds of what is kept, in per cent of float32."""
    summary = {}
    for key in dict.fromkeys((row["network"], row["format"], row["way"]) for row in rows):
        kept = [row["kept_percent"] for row in rows if (row["network"], row["format"], row["way"]) == key]
        summary[f"{', '.join(key)}: mean"] = round(statistics.fmean(kept), 1)
        if len(kept) > 1:
            summary[f"{', '.join(key)}: standard deviation"] = round(statistics.stdev(kept), 1)
    return summary


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--images", type=click.IntRange(512), default=2_500, show_default=True, help="training pictures")
@click.option("--epochs", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def main(file: str | None, seeds: int, images: int, epochs: float, threads: int) -> None:
    torch.set_num_threads(threads)
    rows = measure(seeds, images, epochs)
    summary = summarize(rows)
    means = [
        (name.removesuffix(": mean"), f"{value:.1f} %") for name, value in summary.items() if name.endswith("mean")
    ]
    click.echo(lay_out(("network, format, way", "kept of float32"), means))
    if file:
        circumstances = {"test_images": TEST_IMAGES, "train_images": images, "epochs": epochs, "seeds": seeds}
        save(record(rows, {**circumstances, **summary}), file)


if __name__ == "__main__":
    main()
