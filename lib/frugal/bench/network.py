"""A whole network as a problem: drawn weights, drawn images, and the float32 logits that everybody is compared with.

What a network costs does not depend on what it knows. Batch norm takes its statistics from drawn images, so that
activations have sensible ranges. Everybody gets the same float32 NCHW tensor: quantizing it, and changing its layout,
is in the time.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from frugal.bench.peer import Entry
from frugal.core.seed import generator
from frugal.nets.mobilenet_v2 import mobilenet_v2
from frugal.nets.resnet import resnet18, resnet50

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
}
IMAGE = (3, 224, 224)
CALIBRATION_IMAGES = 16
OUTPUT = "logits"

#: What a precision must reach to count as the same network, in dB: half of the signal for int8, and what their formats
#: leave after fifty layers for the others.
LEAST_SQNR_DB = {"float32": 60.0, "bfloat16": 15.0, "int8": 6.0}


@dataclass(frozen=True)
class Network:
    """A network at one batch size."""

    name: str
    batch: int

    def __str__(self) -> str:
        return f"{self.name},{self.batch}"

    @property
    def macs(self) -> int:
        return self.batch * _macs(self.name)


@dataclass(frozen=True)
class NetworkProblem:
    """What everybody gets.

    shape:       which network, how many images.
    model:       in eval mode.
    x:           float32 [batch, 3, 224, 224].
    calibration: images for those who choose ranges, float32 [n, 3, 224, 224].
    """

    shape: Network
    model: nn.Module
    x: Tensor
    calibration: Tensor

    @cached_property
    def expected(self) -> Tensor:
        """torch's float32 logits."""
        with torch.no_grad():
            return self.model(self.x)

    def fresh_model(self) -> nn.Module:
        """A copy, for those who change it."""
        return copy.deepcopy(self.model)

    def calibration_batches(self) -> list[Tensor]:
        """The calibration images in batches of the size that is timed, which some runtimes fix."""
        rounds = -(-self.shape.batch // len(self.calibration))
        images = self.calibration.repeat(rounds, 1, 1, 1)
        return list(images[: len(images) // self.shape.batch * self.shape.batch].split(self.shape.batch))

    @cached_property
    def onnx(self) -> bytes:
        """The network as an ONNX model, for the runtimes that read such."""
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's exporter speaks of its own plans
            file = Path(folder) / "network.onnx"
            torch.onnx.export(
                self.model, (self.x,), file, dynamo=False, opset_version=17, input_names=["x"], output_names=["y"]
            )
            return file.read_bytes()

    def entry(self, run: Callable[[], object], result: Callable[[], Tensor], precision: str, note: str = "") -> Entry:
        """An entry whose logits are compared by their SQNR."""
        return Entry(run, result, self.expected, 0, note, LEAST_SQNR_DB[precision])


def parse_network(text: str) -> Network:
    """Read ``name,batch``.

    >>> parse_network("resnet18,8")
    Network(name='resnet18', batch=8)
    """
    name, _, batch = text.strip().partition(",")
    if name not in NETWORKS or not batch.isdecimal() or int(batch) < 1:
        raise ValueError(f"a network is written name,batch with a name of {', '.join(NETWORKS)}; got {text!r}")
    return Network(name, int(batch))


ALL = tuple(Network(name, batch) for batch in (1, 8) for name in NETWORKS)
QUICK = (Network("resnet18", 1),)


def make(shape: Network, seed: int = 0) -> NetworkProblem:
    """Draw a network's weights, its calibration images and its input; torch's random state is as before afterwards."""
    draw = generator(seed)
    calibration = torch.randn(CALIBRATION_IMAGES, *IMAGE, generator=draw)
    model = _drawn(shape.name, seed)
    with torch.no_grad():
        model.train()
        model(calibration)
    return NetworkProblem(shape, model.eval(), torch.randn(shape.batch, *IMAGE, generator=draw), calibration)


def _drawn(name: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NETWORKS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean of what it sees
    return model


@cache
def _macs(name: str) -> int:
    counter = FlopCounterMode(display=False)
    with torch.device("meta"):
        model = NETWORKS[name]().eval()
        with counter, torch.no_grad():
            model(torch.empty(1, *IMAGE))
    return counter.get_total_flops() // 2
