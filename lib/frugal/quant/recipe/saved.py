"""A quantized network in one file: safetensors for the tensors, json in its header for the rest.

    header   layout, recipe, what every layer is, the report, class and shapes of the float network, sha256 of it all
    tensors  the network's state dict: codes, scales, biases, and what was not quantized

The file holds no code: ``load`` is given the float network (any weights), does to its shape what the recipe did, and
fills it. What does not match is refused with the first thing that differs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.errors import CheckpointMismatch
from frugal.quant.affine import QParams
from frugal.quant.config import QuantSpec
from frugal.quant.granularity import Granularity, PerChannel, PerGroup, PerTensor, PerToken
from frugal.quant.layers import QuantizedLayer, StoredQParams, quantizable_layers, replace_modules, weight_of
from frugal.quant.recipe.card import Recipe
from frugal.quant.recipe.fit import CodesInput, DynamicInput, Input, as_module
from frugal.quant.recipe.grids import GridInput, GridLayer
from frugal.quant.recipe.report import LayerReport, Quantized, Report
from frugal.quant.recipe.tables import TRANSFORMS

LAYOUT = "frugal quantized network, version 1"
KEY = "frugal"
SHARING: dict[str, Any] = {each.__name__: each for each in (PerTensor, PerChannel, PerGroup, PerToken)}


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Class and shapes of a float network, by which a file knows it again."""
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    return {"class": type(model).__name__, "shapes": shapes}


def save(quantized: Quantized, path: str | Path) -> None:
    """Write a quantized network to one file, whole or not at all."""
    from safetensors.torch import save as to_bytes

    network = quantized.network
    tensors = {name: value.detach().contiguous().clone() for name, value in network.state_dict().items()}
    layers = {
        name: _described(layer)
        for name, layer in network.named_modules()
        if isinstance(layer, (QuantizedLayer, GridLayer))
    }
    header = {
        "layout": LAYOUT,
        "versions": {"torch": version("torch")},
        "recipe": quantized.recipe.to_json(),
        "source": quantized.source,
        "layers": layers,
        "report": asdict(quantized.report),
        "tensors": {name: [str(value.dtype), list(value.shape)] for name, value in tensors.items()},
    }
    text = json.dumps({**header, "sha256": _sha256(header, tensors)})
    beside = Path(f"{path}.part")
    beside.write_bytes(to_bytes(tensors, metadata={KEY: text}))
    os.replace(beside, path)


def load(path: str | Path, model: nn.Module) -> Quantized:
    """Read what ``save`` wrote; it computes the same to the bit.

    Args:
        path: of the file.
        model: the float network that was quantized, with any weights; it stays as it was.

    Raises:
        CheckpointMismatch: it is no such file, of another version, changed since, or made from another network.
        FileNotFoundError: there is no such file.
    """
    header, tensors = _read(Path(path))
    if header.get("layout") != LAYOUT:
        raise CheckpointMismatch(
            f"{path} has layout {header.get('layout')!r}, this library reads {LAYOUT!r}; save the network again"
        )
    if _sha256({k: v for k, v in header.items() if k != "sha256"}, tensors) != header.get("sha256"):
        raise CheckpointMismatch(f"{path} was changed after it was written: its sha256 differs; save the network again")
    _check_source(path, header["source"], describe_model(model))
    recipe = Recipe.from_json(header["recipe"])
    network = model
    for each in recipe.transforms:
        if TRANSFORMS[each.name].reshapes:
            network = TRANSFORMS[each.name].run(network, None, **each.options)
    network = _with_places(network, header["layers"], tensors)
    expected = {name: list(value.shape) for name, value in network.state_dict().items()}
    found = {name: list(value.shape) for name, value in tensors.items()}
    _refuse_difference(path, "the file's tensors", found, "the network's", expected)
    network.load_state_dict(tensors)
    report = header["report"]
    report["layers"] = tuple(LayerReport(**each) for each in report["layers"])
    return Quantized(network.requires_grad_(False).eval(), recipe, Report(**report), header["source"])


def _described(layer: QuantizedLayer | GridLayer) -> dict[str, Any]:
    if isinstance(layer, GridLayer):
        return {"kind": "grid", "bits": layer.bits, "input": _described_input(layer.activation_map)}
    chosen: Any = layer.activation_qparams or layer.dynamic_activation
    return {
        "kind": "codes",
        "weight": None if layer.weight_qparams is None else _described_codes(layer.weight_qparams),
        "input": _described_input(chosen),
    }


def _described_codes(codes: StoredQParams | QParams) -> dict[str, Any]:
    return {
        "quant_min": codes.quant_min,
        "quant_max": codes.quant_max,
        "granularity": {type(codes.granularity).__name__: vars(codes.granularity)},
        "shape": list(codes.scale.shape),
    }


def _described_input(chosen: Any) -> dict[str, Any] | None:
    if chosen is None:
        return None
    if isinstance(chosen, CodesInput):
        chosen = chosen.stored
    if isinstance(chosen, DynamicInput):
        chosen = chosen.spec
    if isinstance(chosen, StoredQParams):
        return {"codes": _described_codes(chosen)}
    if isinstance(chosen, QuantSpec):
        granularity = {type(chosen.granularity).__name__: vars(chosen.granularity)}
        return {"dynamic": [chosen.num_bits, chosen.symmetric, granularity, chosen.observer, chosen.signed]}
    assert isinstance(chosen, GridInput)
    return {"grid": [chosen.grid, chosen.options, chosen.num_bits]}


def _with_places(network: nn.Module, layers: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy with empty layers of codes where the file has them; a float layer may have got a bias meanwhile."""
    places = quantizable_layers(network)
    if missing := sorted(set(layers) - set(places)):
        raise CheckpointMismatch(f"the file has a layer {missing[0]}, the network has none; is it the same network?")
    new: dict[int, nn.Module] = {}
    for name, described in layers.items():
        layer, inside = places[name], "layer" if described["kind"] == "grid" else "operation"
        new[id(layer)] = _place(layer, described, f"{name}.{inside}.bias" in tensors)
    return replace_modules(network, new)


def _place(layer: nn.Module, described: Mapping[str, Any], has_bias: bool) -> nn.Module:
    empty: Any = copy.deepcopy(layer)
    empty.weight = nn.Parameter(torch.zeros_like(weight_of(layer)), requires_grad=False)
    if has_bias and empty.bias is None:
        axis = 1 if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)) else 0
        empty.bias = nn.Parameter(torch.zeros(empty.weight.shape[axis]), requires_grad=False)
    chosen = _input(described["input"])
    if described["kind"] == "grid":
        return GridLayer(empty, empty.weight, described["bits"], as_module(chosen))
    weight = None if described["weight"] is None else _codes(described["weight"])
    assert not isinstance(chosen, GridInput)
    return QuantizedLayer(empty, weight, chosen)


def _codes(described: Mapping[str, Any]) -> QParams:
    """Parameters of the right shape; their numbers come with the state dict."""
    shape, low, high = described["shape"], described["quant_min"], described["quant_max"]
    zero = torch.full(shape, max(low, 0), dtype=torch.int32)
    return QParams(torch.ones(shape), zero, low, high, _granularity(described["granularity"]))


def _granularity(described: Mapping[str, Any]) -> Granularity:
    ((name, options),) = described.items()
    found: Granularity = SHARING[name](**options)
    return found


def _input(described: Mapping[str, Any] | None) -> Input:
    if described is None:
        return None
    if "codes" in described:
        return _codes(described["codes"])
    if "dynamic" in described:
        bits, symmetric, granularity, observer, signed = described["dynamic"]
        return QuantSpec(bits, symmetric, _granularity(granularity), observer, signed)
    grid, options, bits = described["grid"]
    return GridInput(grid, options, bits, torch.ones(()))


def _check_source(path: str | Path, stored: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    if stored["class"] != found["class"]:
        raise CheckpointMismatch(f"{path} was made from a {stored['class']}, the network given is a {found['class']}")
    _refuse_difference(path, "the quantized network's", stored["shapes"], "the one's given", found["shapes"])


def _refuse_difference(path: str | Path, whose: str, a: Mapping[str, Any], other: str, b: Mapping[str, Any]) -> None:
    different = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    if different:
        first = different[0]
        raise CheckpointMismatch(
            f"{path}: {len(different)} tensors differ, such as {first!r}: {whose} {a.get(first, 'none')}, "
            f"{other} {b.get(first, 'none')}"
        )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        header = json.loads(metadata[KEY])
    except KeyError as error:
        raise CheckpointMismatch(f"{path} is a safetensors file, but no quantized network; save makes one") from error
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointMismatch(f"{path} cannot be read ({error}); it is cut short, or no file of ours") from error
    if not isinstance(header, dict):
        raise CheckpointMismatch(f"{path} holds no header of ours; save makes one")
    return header, tensors


def _sha256(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
