"""CIFAR-10: the real pictures, read from the binary files that their author publishes.

Source:  A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009. No licence is stated for the
         pictures: do not redistribute them.
Format:  per picture 1 byte label (0 to 9), then 3 · 32 · 32 bytes: the red, the green, the blue plane, row by row.

They are looked for in ``cifar-10-batches-bin/`` inside the folder that the environment variable FRUGAL_DATA names.
``python -m frugal data --download`` fetches them through torchvision and writes them there.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from frugal.core.check import describe
from frugal.core.errors import FrugalError, MissingData

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-bin"
SPLITS = {
    "test": ("test_batch.bin",),
    "train_1": ("data_batch_1.bin",),
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
}
SHAPE = (3, 32, 32)
PER_FILE = 10_000
RECORD = 1 + 3 * 32 * 32  # bytes of one picture with its label

# What the published networks subtract and divide by: ImageNet's statistics, not CIFAR-10's own.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class DamagedData(FrugalError, ValueError):
    """A file of the dataset has the wrong size or holds what it cannot hold."""


def load(split: str = "test", root: str | Path | None = None, *, download: bool = False) -> tuple[Tensor, Tensor]:
    """Read one split.

    Args:
        split: "test" (10,000 pictures), "train_1" (the first 10,000 for training) or "train" (all 50,000).
        root: the folder that holds ``cifar-10-batches-bin/``; by default what FRUGAL_DATA names.
        download: fetch what is missing through torchvision (163 MiB, from the author's site).

    Returns:
        Pictures, uint8 [n, 3, 32, 32], and labels, int64 [n].

    Raises:
        MissingData: the files are not there; the message says how to get them.
        DamagedData: a file is truncated, too long, or holds labels above 9.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    folder = data_folder(root)
    if download and (folder is None or missing(split, folder)):
        from frugal.data.download import fetch_cifar10

        if folder is None:
            raise MissingData("a download needs a folder: pass root=, or set FRUGAL_DATA to one")
        fetch_cifar10(folder)
    if folder is None or missing(split, folder):
        raise MissingData(_how_to_get(split, folder))
    parts = [read_batch(folder / FOLDER / name) for name in SPLITS[split]]
    return torch.cat([pictures for pictures, _ in parts]), torch.cat([labels for _, labels in parts])


def data_folder(root: str | Path | None = None) -> Path | None:
    """``root``, or the folder that FRUGAL_DATA names, or None."""
    named = root if root is not None else os.environ.get("FRUGAL_DATA")
    return Path(named).expanduser() if named else None


def missing(split: str, folder: Path) -> list[str]:
    """The files of ``split`` that are not in ``folder``."""
    return [name for name in SPLITS[split] if not (folder / FOLDER / name).is_file()]


def read_batch(path: Path, count: int = PER_FILE) -> tuple[Tensor, Tensor]:
    """Read one binary file of ``count`` pictures, after checking its size and its labels."""
    size = path.stat().st_size
    if size != count * RECORD:
        raise DamagedData(
            f"{path} has {size:,} bytes; {count:,} pictures take {count * RECORD:,}. Delete it and fetch it again: "
            "python -m frugal data --download"
        )
    records = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).view(count, RECORD)
    labels = records[:, 0].long()
    if int(labels.max()) >= len(CLASSES):
        first = int((labels >= len(CLASSES)).nonzero()[0])
        raise DamagedData(
            f"{path}: picture {first} has label {int(labels[first])}, but labels are 0 to {len(CLASSES) - 1}; "
            "this is not CIFAR-10's binary version"
        )
    return records[:, 1:].reshape(count, *SHAPE).contiguous(), labels


def normalise(images: Tensor) -> Tensor:
    """Turn bytes into what the published CIFAR-10 networks take: ``(x / 255 - mean) / std`` per colour.

    Args:
        images: uint8 [n, 3, h, w].

    Returns:
        float32 of the same shape.

    >>> normalise(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten().tolist()
    [2.248..., 2.428..., 2.640...]
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"normalise takes bytes, uint8 [n, 3, h, w], got {describe(images)}")
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return (images.float() / 255 - mean) / std


def _how_to_get(split: str, folder: Path | None) -> str:
    where = (
        "FRUGAL_DATA is not set" if folder is None else f"{folder / FOLDER} lacks {', '.join(missing(split, folder))}"
    )
    return (
        f"CIFAR-10 ({split}) is not here: {where}. Run `python -m frugal data --download --to FOLDER`, then "
        "`export FRUGAL_DATA=FOLDER`. Without it, frugal.data.drawn needs no download."
    )
