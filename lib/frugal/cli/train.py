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
    from torch import Tensor, nn

    from frugal.nets.pretrained import Card

TEST_INPUTS = 10_000
QUICK_INPUTS = 2_000


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint is trained.

    images: drawn training pictures, or rows of drawn stories.
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
    "efficientnet_drawn": Recipe(images=40_000, epochs=6, lr=0.1, weight_decay=5e-4),
    "llama_drawn": Recipe(images=16_000, epochs=1, lr=4e-3, weight_decay=0.1, batch_size=16, optimizer="adamw"),
}


@click.command()
@click.argument("name", type=click.Choice(list(RECIPES)))
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the two files."
)
@click.option("--seed", default=0, show_default=True, help="Of first weights, inputs and shuffling.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="torch's threads.")
@click.option("--images", type=click.IntRange(250), help="Training inputs; fewer than the recipe's for a quick try.")
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
    click.echo(f"{path}: {made.accuracy_percent:.2f} % on {made.test_inputs:,} test inputs")


def run(name: str, recipe: Recipe, seed: int, threads: int) -> nn.Module:
    """Train the network called ``name`` by ``recipe``; torch's random state and threads are as before afterwards."""
    import torch

    from frugal.nets import pretrained
    from frugal.nets.train import fit

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = pretrained.build(name).to(memory_format=torch.channels_last)  # a fifth faster on a CPU
        x, y = _material(name, recipe.images, seed)
        losses = fit(
            _classifier(name, model),
            x,
            y,
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


def _material(name: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """What a network learns from: pictures and their classes, or rows of words and the words that follow."""
    import torch

    from frugal.data.drawn import draw
    from frugal.data.stories import draw_stories
    from frugal.nets import pretrained

    if name in pretrained.READ_STORIES:
        rows = draw_stories(count, seed=seed)
        return rows, rows[:, 1:].contiguous()
    images, labels = draw(count, seed=seed, split="train")
    return images.contiguous(memory_format=torch.channels_last), labels


def _classifier(name: str, model: nn.Module) -> nn.Module:
    from frugal.nets import pretrained
    from frugal.nets.llama import Llama, NextToken

    if name not in pretrained.READ_STORIES:
        return model
    assert isinstance(model, Llama)
    return NextToken(model)


def _accuracy(name: str, model: nn.Module, count: int) -> float:
    """Top-1 on the first ``count`` test inputs, in per cent."""
    from frugal.data.drawn import draw
    from frugal.data.stories import draw_stories
    from frugal.measure.accuracy import accuracy
    from frugal.nets import pretrained
    from frugal.nets.llama import next_token_accuracy

    if name in pretrained.READ_STORIES:
        return next_token_accuracy(model, draw_stories(count, split="test"))
    return accuracy(model, *draw(count, split="test"))


def make_card(model: nn.Module, name: str, out: Path, command: str, seed: int, threads: int) -> Card:
    """Write the weights and measure what the card will say about them."""
    from datetime import UTC, datetime

    import torch

    from frugal.nets import pretrained

    return pretrained.Card(
        command=command,
        seed=seed,
        threads=threads,
        date=datetime.now(UTC).date().isoformat(),
        torch=torch.__version__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        accuracy_percent=round(_accuracy(name, model, TEST_INPUTS), 2),
        test_inputs=TEST_INPUTS,
        quick_accuracy_percent=round(_accuracy(name, model, QUICK_INPUTS), 2),
        quick_inputs=QUICK_INPUTS,
        sha256=pretrained.save_weights(model, name, out),
    )
