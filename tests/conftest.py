"""What every test may ask for: the real data, a browser, a quiet machine.

FRUGAL_DATA  folder with cifar-10-batches-bin/ and resnet_cifar10/; tests marked ``real_data`` are skipped without it.
"""

import os
import shutil
from pathlib import Path

# Several workers share the cores: one thread each, set before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the project: the folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images and networks, or a skip that says why."""
    named = os.environ.get("FRUGAL_DATA")
    if not named:
        pytest.skip("FRUGAL_DATA is not set: no real data on this machine")
    folder = Path(named)
    if not (folder / "cifar-10-batches-bin" / "test_batch.bin").is_file():
        pytest.skip(f"FRUGAL_DATA={named} holds no cifar-10-batches-bin/test_batch.bin")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium or Chrome on this machine, or a skip that says why."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: `make system` says how to get it")
    return found
