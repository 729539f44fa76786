"""An int8 network in one file: safetensors for the tensors, json in its header for the rest.

    header   layout (its name and version), steps: name, operator, inputs, numbers; sha256 of all of it
    tensors  "12.weight": part ``weight`` of step 12, with the codes as they are

Nothing in the file is code. Reading refuses what is not, to the bit, what was written: a network with one wrong scale
still runs, and answers a little worse.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frugal.core.errors import CheckpointMismatch
from frugal.quant.affine import QParams
from frugal.quant.integer.infloat import InFloat
from frugal.quant.integer.network import Int8Network, Step
from frugal.quant.integer.operator import Operator

LAYOUT = "frugal int8 network, version 1"
KEY = "frugal"


def save_int8(network: Int8Network, path: str | Path) -> None:
    """Write a network to one file, whole or not at all.

    Raises:
        ValueError: a part of the network runs in float; only codes and their parameters can be written.
    """
    in_float = [step.name for step in network.steps if isinstance(step.operator, InFloat)]
    if in_float:
        raise ValueError(
            f"{len(in_float)} steps run in float ({', '.join(in_float[:5])}), and a file holds no code to run them; "
            "keep the float model and call to_int8 again, or pass strict=True to find out at once"
        )
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    steps = [_described(number, step, tensors) for number, step in enumerate(network.steps)]
    header = {"layout": LAYOUT, "input_shape": network.input_shape, "output": network.output, "steps": steps}
    text = json.dumps({**header, "sha256": _sha256(header, tensors)})
    beside = Path(f"{path}.part")
    beside.write_bytes(save(tensors, metadata={KEY: text}))
    os.replace(beside, path)


def load_int8(path: str | Path, *, isa: str | None = None) -> Int8Network:
    """Read a network that ``save_int8`` wrote; it gives identical codes.

    Raises:
        CheckpointMismatch: it is no such file, of another version, incomplete, or changed since.
        FileNotFoundError: there is no such file.
    """
    header, tensors = _read(Path(path))
    if not isinstance(header, dict) or header.get("layout") != LAYOUT:
        found = header.get("layout") if isinstance(header, dict) else header
        raise CheckpointMismatch(f"{path} has layout {found!r}, this library reads {LAYOUT!r}; save the network again")
    stored = header.pop("sha256", None)
    _check_tensors(path, header, tensors)
    if _sha256(header, tensors) != stored:
        raise CheckpointMismatch(f"{path} was changed after it was written: its sha256 differs; save the network again")
    steps = [_rebuilt(number, described, tensors) for number, described in enumerate(header["steps"])]
    return Int8Network(steps, header["output"], tuple(header["input_shape"]), ()).use_isa(isa)


def _read(path: Path) -> tuple[Any, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        header = json.loads(metadata[KEY])
    except KeyError as error:
        raise CheckpointMismatch(
            f"{path} is a safetensors file, but holds no int8 network; save_int8 makes one"
        ) from error
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointMismatch(f"{path} cannot be read ({error}); it is cut short, or no file of ours") from error
    return header, tensors


def _described(number: int, step: Step, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Describe a step in json, and put its tensors among the others."""
    parts: dict[str, Any] = {}
    for name, value in step.operator.parts().items():
        if isinstance(value, Tensor):
            tensors[f"{number}.{name}"] = value.contiguous()
            parts[name] = {"tensor": [str(value.dtype), list(value.shape)]}
        elif isinstance(value, QParams):
            numbers = [value.scale.item(), value.zero_point.item(), value.quant_min, value.quant_max]
            parts[name] = {"qparams": numbers}  # a float32 is exact as a json number
        else:
            parts[name] = {"value": value}
    return {"name": step.name, "operator": type(step.operator).__name__, "inputs": list(step.inputs), "parts": parts}


def _rebuilt(number: int, described: dict[str, Any], tensors: dict[str, Tensor]) -> Step:
    parts: dict[str, Any] = {}
    for name, part in described["parts"].items():
        if "tensor" in part:
            parts[name] = tensors[f"{number}.{name}"]
        elif "qparams" in part:
            scale, zero_point, quant_min, quant_max = part["qparams"]
            parts[name] = QParams(
                torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int32), quant_min, quant_max
            )
        else:
            parts[name] = tuple(part["value"]) if isinstance(part["value"], list) else part["value"]
    operator = Operator.REGISTRY[described["operator"]](**parts)
    return Step(described["name"], operator, tuple(described["inputs"]))


def _check_tensors(path: str | Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Refuse a file whose tensors are not those that its header speaks of."""
    expected = {
        f"{number}.{name}": part["tensor"]
        for number, step in enumerate(header["steps"])
        for name, part in step["parts"].items()
        if "tensor" in part
    }
    found = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        first = wrong[0]
        raise CheckpointMismatch(
            f"{path}: {len(wrong)} tensors are missing, unexpected or of another shape, such as {first!r}: "
            f"its header says {expected.get(first, 'nothing')}, the file holds {found.get(first, 'nothing')}"
        )


def _sha256(header: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
