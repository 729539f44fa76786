"""Saved networks come back to the bit, and what does not match is refused with what differs."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from frugal.core.errors import CheckpointMismatch, UnsupportedModel
from frugal.nets.llama import Llama, LlamaShape
from frugal.quant.integer import agreement
from frugal.quant.recipe import Operand, Recipe, load, quantize, save, step


def net(width=8):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 6, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4, bias=False),
        ).eval()  # fmt: skip


def pictures(n=8):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


RECIPES = {
    "codes": Recipe(corrections="bias"),
    "per tensor": Recipe(Operand(4), Operand(4, symmetric=False), ("without_relu6", "fold_batchnorm")),
    "weights alone": Recipe(activations=None),
    "activations alone": Recipe(weights=None),
    "groups": Recipe(Operand(4, granularity=step("per_group", group_size=4), symmetric=False), Operand(8)),
    "input channels": Recipe(activations=Operand(8, granularity="per_channel")),
    "split": Recipe(transforms=("fold_batchnorm", step("split_channels", ratio=0.1))),
    "uneven": Recipe(Operand(4, grid="pwlq"), Operand(8, grid=step("fp8", form="e5m2")), corrections="bias"),
    "uneven weights": Recipe(Operand(4, grid="mx"), Operand(8, symmetric=False), transforms=()),
    "float layer": Recipe(allocation=step("per_layer", patterns={"0": None})),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_saved_network_comes_back_to_the_bit(name, tmp_path):
    made = quantize(net(), RECIPES[name], pictures())
    save(made, tmp_path / "net.safetensors")
    other = net()
    for parameter in other.parameters():
        nn.init.normal_(parameter)  # the weights of the network that is given do not matter
    again = load(tmp_path / "net.safetensors", other)
    x = pictures(5)
    assert torch.equal(again(x), made(x))
    assert (again.recipe, again.report) == (made.recipe, made.report)


def test_inputs_quantized_anew_come_back_too(tmp_path):
    model = Llama(LlamaShape(dim=16, hidden=32, layers=1, heads=2, kv_heads=1, vocabulary=20, context=12)).eval()
    tokens = torch.arange(20).view(2, 10)
    made = quantize(model, Recipe(activations=Operand(8, granularity="per_token"), transforms="smooth"), tokens)
    save(made, tmp_path / "net.safetensors")
    assert torch.equal(load(tmp_path / "net.safetensors", model)(tokens), made(tokens))


def test_another_network_is_refused(tmp_path):
    file = tmp_path / "net.safetensors"
    save(quantize(net(), Recipe(), pictures()), file)
    with pytest.raises(CheckpointMismatch, match=r"tensors differ, such as '0.weight'.*\[8, 3, 3, 3\].*\[9, 3, 3, 3\]"):
        load(file, net(9))
    with pytest.raises(CheckpointMismatch, match="made from a Sequential, the network given is a Linear"):
        load(file, nn.Linear(2, 2))


def test_what_is_no_file_of_ours_or_was_changed_is_refused(tmp_path):
    file = tmp_path / "net.safetensors"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(file, net())
    save(quantize(net(), Recipe(), pictures()), file)
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    with pytest.raises(CheckpointMismatch, match="cannot be read"):
        load(file, net())
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointMismatch, match="changed after it was written"):
        load(file, net())
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(CheckpointMismatch, match="no quantized network"):
        load(file, net())


def test_another_layout_is_refused(tmp_path):
    file = tmp_path / "net.safetensors"
    save(quantize(net(), Recipe(), pictures()), file)
    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["frugal"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(tensors, file, metadata={"frugal": json.dumps({**header, "layout": "version 9"})})
    with pytest.raises(CheckpointMismatch, match="'version 9', this library reads"):
        load(file, net())


def test_eight_bits_run_on_the_kernels_with_the_codes_that_were_chosen():
    made = quantize(net(), Recipe(corrections="bias"), pictures())
    on_codes = made.to_int8(pictures())
    counted = agreement(on_codes, pictures(4))
    assert counted.inexact == 0
    assert counted.largest_alone <= 1
    x = pictures(4)
    spread = made(x).std()
    assert (on_codes(x) - made(x)).abs().max() < 0.1 * spread
    layers = {each.name: each.operator.parts() for each in on_codes.steps}
    for name in ("0", "3", "7"):
        mine = made.network.get_submodule(name)
        assert torch.equal(layers[name]["weight"], mine.codes)
        assert torch.equal(layers[name]["weight_scale"], mine.weight_qparams.scale)
        assert torch.equal(layers[name]["input"].scale, mine.activation_qparams.scale)


def test_what_has_no_codes_is_refused_by_the_kernels():
    made = quantize(net(), RECIPES["uneven"], pictures())
    with pytest.raises(UnsupportedModel, match=r"3 layers have no uniform codes .*\(0, 3, 7\)"):
        made.to_int8(pictures())
    with pytest.raises(UnsupportedModel, match=r"1 layers .*\(0\)"):
        quantize(net(), RECIPES["float layer"], pictures()).to_int8(pictures())


@pytest.mark.real_data
def test_resnet20_without_an_image_runs_on_the_kernels(real_data):
    """DFQ's eight bits, and the codes that the int8 kernels make of them: all are those of the definition."""
    from frugal.data import cifar10
    from frugal.measure.accuracy import accuracy
    from frugal.nets.resnet import load_published, resnet20_cifar
    from frugal.quant.recipe import KNOWN

    model = load_published(resnet20_cifar(), real_data / "resnet_cifar10" / "resnet20-12fca82f.th").eval()
    images, labels = cifar10.load("test")
    x, labels = cifar10.normalise(images[:300]), labels[:300]
    made = quantize(model, KNOWN["dfq_w8a8"], score=lambda network: accuracy(network, x, labels))
    assert abs(made.report.score - accuracy(model, x, labels)) < 2
    on_codes = made.to_int8(x[:100])
    counted = agreement(on_codes, x[:4])
    assert counted.inexact == 0
    assert counted.largest_alone <= 1
    assert (on_codes(x).argmax(1) == made(x).argmax(1)).double().mean() > 0.97
