"""Fetch CIFAR-10 through torchvision, and lay it out as the binary files that ``data.cifar10`` reads.

torchvision fetches the Python version of the dataset, checks its MD5, and unpacks it; the pictures are the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from frugal.core.errors import MissingData
from frugal.data.cifar10 import FOLDER, PER_FILE, SHAPE, SPLITS


class Pictures(Protocol):
    """What is used of ``torchvision.datasets.CIFAR10``: the pictures [n, 32, 32, 3] in file order, and their labels."""

    data: Any
    targets: list[int]


def fetch_cifar10(folder: Path, source: Callable[[Path, bool], Pictures] | None = None) -> list[Path]:
    """Download the training and the test pictures and write the six binary files.

    Args:
        folder: ``cifar-10-batches-bin/`` is made in it.
        source: called with (folder, is_train); by default torchvision's CIFAR10 with ``download=True``.

    Returns:
        The files written.

    Raises:
        MissingData: the download failed; the message says why.
    """
    source = source or _torchvision
    written = []
    for is_train, names in ((False, SPLITS["test"]), (True, SPLITS["train"])):
        try:
            pictures = source(folder, is_train)
        except (OSError, RuntimeError) as error:  # torchvision raises both: no network, or a file that fails its MD5
            raise MissingData(f"the download of CIFAR-10 into {folder} failed: {error}") from error
        images = torch.as_tensor(pictures.data).permute(0, 3, 1, 2)  # [n, 3, 32, 32]
        labels = torch.as_tensor(pictures.targets, dtype=torch.uint8)
        written += write_batches(images, labels, [folder / FOLDER / name for name in names])
    return written


def write_batches(images: Tensor, labels: Tensor, paths: list[Path]) -> list[Path]:
    """Write pictures and labels as binary files of 10,000; a file appears only when it is whole."""
    if images.shape != (PER_FILE * len(paths), *SHAPE) or len(labels) != len(images):
        raise ValueError(f"{len(paths)} files take {PER_FILE * len(paths):,} pictures, got {list(images.shape)}")
    records = torch.cat([labels[:, None].to(torch.uint8), images.reshape(len(images), -1).to(torch.uint8)], dim=1)
    for path, part in zip(paths, records.split(PER_FILE), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(part.contiguous().numpy().tobytes())
        partial.replace(path)
    return paths


def _torchvision(folder: Path, is_train: bool) -> Pictures:
    from torchvision.datasets import CIFAR10

    folder.mkdir(parents=True, exist_ok=True)
    return CIFAR10(str(folder), train=is_train, download=True)
