"""Small trained networks that ship with frugal, so that no lab waits for training.

Each is two files in ``frugal/checkpoints/``: the weights (safetensors) and a card (toml) that says which command made
them, when, and how accurate they are. The weights are loaded only if they are, bit for bit, the ones the card is about.
Learn:   course/0_start
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from torch import nn

from frugal.core.errors import CheckpointMismatch
from frugal.nets.blocks import load_exactly_
from frugal.nets.efficientnet_v2 import efficientnet_v2_small
from frugal.nets.llama import Llama, LlamaShape
from frugal.nets.mobilenet_v2 import mobilenet_v2_small
from frugal.nets.resnet import resnet8_cifar

FOLDER = Path(__file__).resolve().parents[1] / "checkpoints"


def llama_small() -> nn.Module:
    """A language model for drawn stories: 3 layers of width 48."""
    return Llama(LlamaShape(dim=48, hidden=128, layers=3, heads=4, kv_heads=2, vocabulary=71, context=96))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet8_drawn": resnet8_cifar,
    "mobilenet_drawn": mobilenet_v2_small,
    "efficientnet_drawn": efficientnet_v2_small,
    "llama_drawn": llama_small,
}
READ_STORIES = ("llama_drawn",)


@dataclass(frozen=True)
class Card:
    """Where a checkpoint comes from, and what it does.

    command:                 what made it.
    seed:                    of first weights, training inputs and shuffling.
    threads:                 torch's threads during training; another number rounds differently.
    date, torch:             day and version of torch.
    parameters:              how many numbers were trained.
    accuracy_percent:        top-1 on the first ``test_inputs`` pictures of ``data.drawn``'s test split, seed 0; of a
                             language model, next words guessed right in so many rows of ``data.stories``.
    quick_accuracy_percent:  the same on the first ``quick_inputs`` of them, for those in a hurry.
    sha256:                  of the safetensors file.
    """

    command: str
    seed: int
    threads: int
    date: str
    torch: str
    parameters: int
    accuracy_percent: float
    test_inputs: int
    quick_accuracy_percent: float
    quick_inputs: int
    sha256: str


def names() -> tuple[str, ...]:
    """The checkpoints there are: three classify drawn pictures, one continues drawn stories.

    >>> names()
    ('resnet8_drawn', 'mobilenet_drawn', 'efficientnet_drawn', 'llama_drawn')
    """
    return tuple(NETWORKS)


def classifiers() -> tuple[str, ...]:
    """The checkpoints that take drawn pictures.

    >>> classifiers()
    ('resnet8_drawn', 'mobilenet_drawn', 'efficientnet_drawn')
    """
    return tuple(name for name in NETWORKS if name not in READ_STORIES)


def build(name: str) -> nn.Module:
    """The network of a checkpoint with fresh random weights."""
    if name not in NETWORKS:
        raise ValueError(f"there is no checkpoint {name!r}; there are {', '.join(names())}")
    return NETWORKS[name]()


def load(name: str, folder: Path | None = None) -> nn.Module:
    """Load a checkpoint and return it in eval mode.

    Args:
        name: one of ``names()``.
        folder: where it lies; by default inside this package.

    Raises:
        ValueError: there is no such checkpoint.
        CheckpointMismatch: weights or card are missing or damaged, or do not belong together.

    >>> model = load("resnet8_drawn")
    >>> model.training
    False
    """
    from safetensors.torch import load as parse

    model, made = build(name), card(name, folder)
    path = weights_path(name, folder)
    if not path.is_file():
        raise CheckpointMismatch(f"the weights {path} are missing; make them again: {made.command}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != made.sha256:
        raise CheckpointMismatch(
            f"{path} has sha256 {found}, its card says {made.sha256}: the file was changed or cut short. "
            f"Restore it from the repository, or make it again: {made.command}"
        )
    load_exactly_(model, parse(content), source=str(path))
    return model.eval()


def card(name: str, folder: Path | None = None) -> Card:
    """Read the card that lies beside a checkpoint."""
    build_names = names()
    if name not in build_names:
        raise ValueError(f"there is no checkpoint {name!r}; there are {', '.join(build_names)}")
    path = (folder or FOLDER) / f"{name}.toml"
    try:
        stored = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CheckpointMismatch(f"the card {path} cannot be read: {error}; restore it from the repository") from error
    wanted = {field.name for field in fields(Card)}
    if set(stored) != wanted:
        raise CheckpointMismatch(f"the card {path} holds {sorted(stored)}; a card holds {sorted(wanted)}")
    return Card(**stored)


def weights_path(name: str, folder: Path | None = None) -> Path:
    """Where a checkpoint's weights lie."""
    return (folder or FOLDER) / f"{name}.safetensors"


def save_weights(model: nn.Module, name: str, folder: Path) -> str:
    """Write the weights of ``model`` and return the file's sha256, which its card has to hold."""
    from safetensors.torch import save

    content = save({key: value.detach().contiguous() for key, value in model.state_dict().items()})
    folder.mkdir(parents=True, exist_ok=True)
    weights_path(name, folder).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def save_card(made: Card, name: str, folder: Path) -> Path:
    """Write a card as toml."""
    lines = [f"{key} = {_toml(value)}" for key, value in asdict(made).items()]
    path = folder / f"{name}.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _toml(value: str | int | float) -> str:
    if not isinstance(value, str):
        return repr(value)
    if any(character in value for character in '"\\\n'):
        raise ValueError(f"a card holds plain text, got {value!r}")
    return f'"{value}"'
