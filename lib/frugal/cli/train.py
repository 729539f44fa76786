"""``python -m frugal train``: make a checkpoint from nothing but a seed.

The recipes are the values below. A checkpoint's card records the command; running it again on the same number of
threads gives a network of the same accuracy, and on the same machine the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from torch import nn

    from frugal.nets.pretrained import Card

TEST_IMAGES = 10_000
QUICK_IMAGES = 2_000


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint is trained.

    images: drawn training pictures.
    epochs: passes over them.
    lr, batch_size, weight_decay, optimizer, schedule: see ``nets.train.fit``.
    """

    images: int
    epochs: int
    lr: float
    weight_decay: float
    batch_size: int = 128
    optimizer: str = "sgd"
    schedule: str = "one-cycle"


RECIPES: dict[str, Recipe] = {
    "resnet8_drawn": Recipe(images=40_000, epochs=8, lr=0.1, weight_decay=1e-3),
    "mobilenet_drawn": Recipe(images=40_000, epochs=6, lr=0.1, weight_decay=5e-4),
}


@click.command()
@click.argument("name", type=click.Choice(list(RECIPES)))
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the two files."
)
@click.option("--seed", default=0, show_default=True, help="Of first weights, pictures and shuffling.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="torch's threads.")
@click.option("--images", type=click.IntRange(250), help="Training pictures; fewer than the recipe's for a quick try.")
@click.option("--epochs", type=click.IntRange(1), help="Passes; fewer than the recipe's for a quick try.")
def train(name: str, out: Path, seed: int, threads: int, images: int | None, epochs: int | None) -> None:
    """Train one of the small networks that ship with the course.

    Writes NAME.safetensors and NAME.toml into the folder.
    """
    from dataclasses import replace

    from frugal.nets import pretrained

    recipe = RECIPES[name]
    recipe = replace(recipe, images=images or recipe.images, epochs=epochs or recipe.epochs)
    command = f"python -m frugal train {name} --out {out.as_posix()} --seed {seed} --threads {threads}"
    command += f" --images {images}" * (images is not None) + f" --epochs {epochs}" * (epochs is not None)
    model = run(name, recipe, seed, threads)
    made = make_card(model, name, out, command, seed, threads)
    path = pretrained.save_card(made, name, out)
    click.echo(f"{path}: {made.accuracy_percent:.2f} % on {made.test_images:,} test pictures")


def run(name: str, recipe: Recipe, seed: int, threads: int) -> nn.Module:
    """Train the network called ``name`` by ``recipe``; torch's random state and threads are as before afterwards."""
    import torch

    from frugal.data.drawn import draw
    from frugal.nets import pretrained
    from frugal.nets.train import fit

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = pretrained.build(name).to(memory_format=torch.channels_last)  # a fifth faster on a CPU
        images, labels = draw(recipe.images, seed=seed, split="train")
        losses = fit(
            model,
            images.contiguous(memory_format=torch.channels_last),
            labels,
            epochs=recipe.epochs,
            lr=recipe.lr,
            batch_size=recipe.batch_size,
            seed=seed,
            optimizer=recipe.optimizer,
            schedule=recipe.schedule,
            weight_decay=recipe.weight_decay,
        )
    finally:
        torch.set_num_threads(before)
    click.echo("loss per epoch: " + " ".join(f"{loss:.3f}" for loss in losses))
    return model.to(memory_format=torch.contiguous_format)


def make_card(model: nn.Module, name: str, out: Path, command: str, seed: int, threads: int) -> Card:
    """Write the weights and measure what the card will say about them."""
    from datetime import UTC, datetime

    import torch

    from frugal.data.drawn import draw
    from frugal.measure.accuracy import accuracy
    from frugal.nets import pretrained

    test = draw(TEST_IMAGES, split="test")
    return pretrained.Card(
        command=command,
        seed=seed,
        threads=threads,
        date=datetime.now(UTC).date().isoformat(),
        torch=torch.__version__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        accuracy_percent=round(accuracy(model, test.images, test.labels), 2),
        test_images=TEST_IMAGES,
        quick_accuracy_percent=round(accuracy(model, test.images[:QUICK_IMAGES], test.labels[:QUICK_IMAGES]), 2),
        quick_images=QUICK_IMAGES,
        sha256=pretrained.save_weights(model, name, out),
    )
