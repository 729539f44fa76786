"""Whole networks on int8 codes: equal on every path, close to the float network, saved, loaded, and refused."""

import copy
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from frugal.core.errors import CheckpointMismatch, UnsupportedModel
from frugal.data import cifar10
from frugal.kernels import available, dispatch
from frugal.measure.accuracy import accuracy
from frugal.nets.mobilenet_v2 import MobileNetV2, Stage, mobilenet_v2_small
from frugal.nets.resnet import Bottleneck, ResNet, load_published, resnet8_cifar, resnet20_cifar
from frugal.quant.affine import quantize
from frugal.quant.config import QuantConfig, QuantSpec, weights_and_activations
from frugal.quant.convert import prepare, quantize_model
from frugal.quant.granularity import PerChannel
from frugal.quant.integer import (
    Int8Conv2d,
    Int8Linear,
    Int8Network,
    agreement,
    load_int8,
    phases,
    save_int8,
    schedule,
    to_int8,
)
from frugal.quant.integer.file import LAYOUT
from frugal.quant.integer.operators import Add, Concat, Pad, Table
from frugal.quant.integer.phases import Phase
from frugal.quant.integer.schedule import place


def with_statistics(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """Give batch norm something to fold: the statistics of a few batches."""
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(x)
    return model.eval()


class Branches(nn.Module):
    """What torchvision's networks do beside residual blocks: joining, gates, functions, in-place writing, views."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left, self.right = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)  # follows no layer: it cannot be folded
        self.gate = nn.Conv2d(12, 12, 1)
        self.act = nn.Hardswish()
        self.head = nn.Linear(12 * 4, 5)

    def forward(self, x):
        x = F.relu(self.stem(x), inplace=True)
        x += self.left(x)
        x = F.max_pool2d(x, 2)
        x = F.relu6(self.norm(torch.cat([x, self.right(x)], 1)))
        x = self.act(x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1))))
        x = F.avg_pool2d(x, 4)
        return self.head(x.view(x.size(0), -1))


class Attention(nn.Module):
    """One block of a vision transformer, with linear layers as layers."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v))
        x = x + self.mlp(self.norm2(x))
        return self.head(x.mean(1))


NETWORKS = {
    "resnet8": resnet8_cifar,  # shortcuts that pad channels
    "bottleneck": lambda: ResNet(Bottleneck, (1, 1, 1, 1), 10),  # shortcuts that convolve with stride 2
    "mobilenet": mobilenet_v2_small,
    "mobilenet_stride": lambda: MobileNetV2(10, 1.0, (Stage(1, 16, 1, 1), Stage(6, 24, 2, 2)), head=64),
    "branches": Branches,
}


@pytest.fixture
def three_threads():
    """Three threads while a test runs, whatever number was set before."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def networks(images) -> dict[str, tuple[nn.Module, Int8Network]]:
    made = {}
    for name, build in NETWORKS.items():
        torch.manual_seed(0)
        model = with_statistics(build(), images)
        made[name] = model, to_int8(model, images, strict=True)
    return made


@pytest.mark.parametrize("name", NETWORKS)
def test_every_path_gives_the_same_codes(networks, images, name):
    network = copy.deepcopy(networks[name][1])
    expected = network.use_isa("reference").values(images[:3])
    for isa in available():
        made = network.use_isa(isa).values(images[:3])
        assert all(torch.equal(a, b) for a, b in zip(made, expected, strict=True)), isa


@pytest.mark.parametrize("name", NETWORKS)
def test_codes_agree_with_fake_quantization_but_for_ties(networks, images, name):
    found = agreement(networks[name][1], images)
    assert found.inexact == 0
    assert found.largest_alone <= 1
    assert found.differing_alone <= found.values / 1000
    assert found.output.largest_alone <= 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_the_output_is_close_to_the_float_network(networks, images, name):
    model, network = networks[name]
    y, expected = network(images), model(images)
    signal_to_noise = (expected.square().sum() / (y - expected).square().sum()).log10() * 10
    assert signal_to_noise > 20  # a wrong zero-point, scale or axis gives less than 5 dB


@pytest.mark.parametrize("name", NETWORKS)
def test_any_batch_size_gives_each_image_its_own_result(networks, images, name):
    network = networks[name][1]
    together = network(images)
    assert torch.equal(network(images[:1]), together[:1])
    assert torch.equal(network(images[2:5]), together[2:5])
    assert torch.equal(network(images), together)  # planned memory gives what fresh memory gave
    assert together.data_ptr() != network(images).data_ptr()  # a result is not written over by the next call


def test_conv_residual_and_relu_become_one_step(networks):
    steps = networks["resnet8"][1].steps
    assert not any(isinstance(step.operator, (Add, Table)) for step in steps)
    assert sum(step.operator.residual is not None for step in steps if isinstance(step.operator, Int8Conv2d)) == 3
    assert sum(isinstance(step.operator, Pad) for step in steps) == 2  # slicing and padding are one


def test_the_table_of_a_network_names_every_step_and_its_path(networks):
    network = networks["resnet8"][1]
    lines = repr(network).splitlines()
    assert len(lines) == len(network.steps) + 2
    assert "layer2.0.conv2" in repr(network)
    assert lines[3].endswith(dispatch.forced() or available()[0])


def test_the_given_model_is_unchanged(images):
    model = resnet8_cifar().train()
    before = copy.deepcopy(model.state_dict())
    to_int8(model, images)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_value_read_after_it_was_written_over_is_the_new_one():
    class Sneaky(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.next = nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.conv(x)
            y = self.next(self.relu(x))  # from here on x is the output of relu
            return y + x

    torch.manual_seed(0)
    model, x = Sneaky().eval(), torch.randn(4, 3, 5, 5)
    error = (to_int8(model, x)(x) - model(x)).abs().max()
    assert error < 0.05 * model(x).abs().max()


def test_a_transformers_linear_layers_run_on_codes_and_the_rest_is_reported(images):
    torch.manual_seed(0)
    model = Attention().eval()
    network = to_int8(model, images)
    linear = [step.name for step in network.steps if isinstance(step.operator, Int8Linear)]
    assert linear == ["qkv", "proj", "mlp.0", "mlp.3", "head"]
    assert any(isinstance(step.operator, Table) for step in network.steps)  # GELU stays on codes
    assert any("norm1: LayerNorm" in line for line in network.report)
    assert any("scaled_dot_product_attention" in line for line in network.report)
    assert "in float: norm1" in repr(network)
    assert (network(images) - model(images)).abs().max() < 0.1 * model(images).abs().max()
    with pytest.raises(UnsupportedModel, match="norm1"):
        to_int8(model, images, strict=True)
    with pytest.raises(ValueError, match="run in float"):
        save_int8(network, "never.safetensors")


def test_an_observer_and_a_signed_type_can_be_chosen(images):
    torch.manual_seed(0)
    model = with_statistics(resnet8_cifar(), images)
    spec = QuantSpec(symmetric=False, signed=True, observer="percentile")
    network = to_int8(model, images, activation=spec, weight=QuantSpec(4))
    codes = network.values(images)[1]
    assert codes.dtype == torch.int8
    assert network.steps[1].operator.weight.abs().max() == 7
    assert agreement(network, images[:2]).inexact == 0


def test_a_converted_fake_quantized_model_keeps_its_codes(images):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3)
    ).eval()
    converted = quantize_model(model, weights_and_activations(8, 8), [images])
    network = to_int8(converted, images)
    convs = [step.operator for step in network.steps if isinstance(step.operator, (Int8Conv2d, Int8Linear))]
    layers = [converted[0], converted[3], converted[6]]
    for made, layer in zip(convs, layers, strict=True):
        assert torch.equal(made.weight, layer.codes)
        assert torch.equal(made.input.scale, layer.activation_qparams.scale)
        assert made.input.zero_point == layer.activation_qparams.zero_point + 128  # int8 codes became uint8
    difference = (network(images) - converted(images)).abs().max()
    step = convs[-1].input.scale * convs[-1].real_weight().abs().max()  # one code of the last input, through one weight
    assert difference <= 4 * step


def test_a_prepared_model_must_be_converted_first(images):
    prepared = prepare(resnet8_cifar().eval(), QuantConfig())
    with pytest.raises(UnsupportedModel, match=r"conv1 is prepared.*convert"):
        to_int8(prepared, images)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loaded_network_gives_identical_results(networks, images, name, tmp_path):
    network = networks[name][1]
    save_int8(network, tmp_path / "net.safetensors")
    loaded = load_int8(tmp_path / "net.safetensors")
    assert torch.equal(loaded(images), network(images))
    assert all(torch.equal(a, b) for a, b in zip(loaded.values(images), network.values(images), strict=True))
    assert loaded.table() == network.table()
    save_int8(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()


def _edit(path, tensors=None, **replaced):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        text = opened.metadata()["frugal"]
    for old, new in replaced.values():
        assert old in text
        text = text.replace(old, new, 1)
    save_file(tensors if tensors is not None else load_file(path), path, metadata={"frugal": text})


def test_a_file_that_was_changed_is_refused(networks, tmp_path):
    path = tmp_path / "net.safetensors"

    def fresh():
        save_int8(networks["resnet8"][1], path)
        return load_file(path)

    tensors = fresh()
    _edit(path, layout=(LAYOUT, "frugal int8 network, version 0"))
    with pytest.raises(CheckpointMismatch, match="version 0"):
        load_int8(path)
    fresh()
    _edit(path, tensors={name: t for name, t in tensors.items() if name != "1.weight"})
    with pytest.raises(CheckpointMismatch, match=r"1\.weight"):
        load_int8(path)
    fresh()
    _edit(path, tensors={**tensors, "1.bias": tensors["1.bias"][:3].contiguous()})
    with pytest.raises(CheckpointMismatch, match=r"1\.bias"):
        load_int8(path)
    fresh()
    _edit(path, tensors={**tensors, "1.bias": tensors["1.bias"] + 1})
    with pytest.raises(CheckpointMismatch, match="sha256"):
        load_int8(path)
    fresh()
    _edit(path, stride=('"stride": {"value": [2, 2]}', '"stride": {"value": [1, 1]}'))
    with pytest.raises(CheckpointMismatch, match="sha256"):
        load_int8(path)
    save_file(tensors, path)
    with pytest.raises(CheckpointMismatch, match="no int8 network"):
        load_int8(path)
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(CheckpointMismatch, match="cannot be read"):
        load_int8(path)
    with pytest.raises(FileNotFoundError):
        load_int8(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    "x, error, message",
    [
        (torch.randn(2, 3, 16, 16).double(), TypeError, "float32"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), TypeError, "float32"),
        ([[1.0]], TypeError, "list"),
        (torch.randn(2, 4, 16, 16), ValueError, r"\[n, 3, 16, 16\]"),
        (torch.randn(3, 16, 16), ValueError, r"\[n, 3, 16, 16\]"),
        (torch.randn(0, 3, 16, 16), ValueError, "at least one image"),
        (torch.full((1, 3, 16, 16), float("nan")), ValueError, "finite"),
        (torch.full((1, 3, 16, 16), float("inf")), ValueError, "finite"),
    ],
    ids=["double", "uint8", "list", "channels", "no batch", "empty", "nan", "infinity"],
)
def test_a_bad_input_is_refused(networks, images, x, error, message):
    network = networks["resnet8"][1]
    with pytest.raises(error, match=message):
        network(x)
    assert torch.equal(network(images), network(images))  # and it goes on working


def test_bad_calibration_is_refused(images):
    model = resnet8_cifar().eval()
    with pytest.raises(ValueError, match="at least one calibration batch"):
        to_int8(model, [])
    with pytest.raises(ValueError, match="finite"):
        to_int8(model, torch.full((1, 3, 16, 16), float("nan")))
    with pytest.raises(ValueError, match="at least one value"):
        to_int8(model, images[:0])
    with pytest.raises(ValueError, match="one scale per tensor"):
        to_int8(model, images, activation=QuantSpec(granularity=PerChannel(1)))
    with pytest.raises(ValueError, match="no path of this machine"):
        to_int8(model, images, isa="abacus")
    with pytest.raises(UnsupportedModel, match="no convolution or linear layer"):
        to_int8(nn.Sequential(nn.ReLU()), images)


def test_a_network_with_several_inputs_or_outputs_is_refused(images):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x, y):
            return self.conv(x) + y

    class Pair(Two):
        def forward(self, x):
            return self.conv(x), x

    with pytest.raises(UnsupportedModel, match="several inputs"):
        to_int8(Two(), images)
    with pytest.raises(UnsupportedModel, match="must return one tensor"):
        to_int8(Pair(), images)


def test_threads_share_a_network_but_no_memory(networks, images):
    network = networks["mobilenet"][1]
    expected = [network(image[None]) for image in images]
    wrong = []

    def work(i):
        for _ in range(10):
            if not torch.equal(network(images[i : i + 1]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_values_alive_at_the_same_time_never_overlap_and_memory_is_used_again():
    sizes = {n: torch.Size([size]) for n, size in enumerate((100, 7, 300, 64, 65, 1, 200))}
    last_reader = [2, 1, 3, 6, 5, 6, 7]
    memory = place(sizes, last_reader, dict.fromkeys(sizes, torch.uint8))
    start = memory.block.data_ptr()
    ends = {n: (v.data_ptr() - start, v.data_ptr() - start + v.numel()) for n, v in memory.views.items()}
    for n in sizes:
        for m in range(n):
            if n <= last_reader[m]:  # m is still to be read when n is written
                assert ends[n][1] <= ends[m][0] or ends[m][1] <= ends[n][0], (m, n)
    assert memory.block.numel() < sum(size.numel() for size in sizes.values())


def test_the_hot_path_writes_into_planned_memory(networks, images):
    network = copy.deepcopy(networks["resnet8"][1])
    network(images)
    memory = network.schedules.kept[(*images.shape, torch.get_num_threads())].memory
    codes = [n for n, q in enumerate(network.qparams) if q is not None]
    assert len(memory.views) > len(codes) / 2
    last = network.last_reader
    alive = [sum(v.numel() for n, v in memory.views.items() if n <= now <= last[n]) for now in range(len(last))]
    assert memory.block.numel() <= 1.1 * max(alive)  # little more than what must be there at the same time
    assert memory.block.numel() < sum(view.numel() for view in memory.views.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_images_in_groups_give_what_all_at_once_give(networks, images, name, monkeypatch):
    network, x = copy.deepcopy(networks[name][1]), images.repeat(2, 1, 1, 1)
    expected, steps = network(x), len(network.steps)
    split = 0
    for cut in range(1, steps):
        chosen = [Phase(0, cut, 2), Phase(cut, min(cut + 2, steps), 3), Phase(min(cut + 2, steps), steps, 12)]
        monkeypatch.setattr(schedule, "choose_phases", lambda *_, chosen=chosen: chosen)
        network.use_isa(None)  # forgets its schedules
        assert torch.equal(network(x), expected)  # step by step
        assert torch.equal(network(x), expected), chosen
        split += len(network.schedules.kept[(*x.shape, torch.get_num_threads())].parts) > 1
    assert split > steps / 2


def test_several_threads_give_the_same_codes_in_groups(networks, images, three_threads):
    network, x = networks["mobilenet"][1], images.repeat(4, 1, 1, 1)
    expected = network(x)
    assert torch.equal(network(x), expected)


def test_large_pictures_go_few_at_once_and_large_weights_wait_for_many():
    found = phases.choose_phases(12, [900_000, 300_000, 300_000, 100_000], [1_000, 1_000, 1_000, 2_000_000])
    assert found == [Phase(0, 1, 1), Phase(1, 3, 3), Phase(3, 4, 6)]
    assert phases.choose_phases(12, [400_000], [9_000_000]) == [Phase(0, 1, 12)]
    assert phases.choose_phases(12, [900_000], [1_000], threads=4) == [Phase(0, 1, 4)]


def test_a_concatenation_is_made_of_codes(networks):
    assert any(isinstance(step.operator, Concat) for step in networks["branches"][1].steps)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "densenet121", "efficientnet_b0"])
def test_torchvisions_networks_run_on_codes_from_end_to_end(name):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    x = torch.randn(2, 3, 32, 32)
    model = with_statistics(getattr(models, name)(weights=None, num_classes=10), torch.randn(8, 3, 32, 32))
    network = to_int8(model, x, strict=True)  # strict: nothing is left in float
    found = agreement(network, x)
    assert found.inexact == 0
    assert found.largest_alone <= 1


def test_a_vision_transformer_of_torchvision_keeps_only_its_attention_in_float():
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 16)
    vit = models.VisionTransformer(16, 4, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5).eval()
    nn.init.normal_(vit.heads[0].weight)  # torchvision starts it at zero
    network = to_int8(vit, x)
    layers = [step.name.split(".")[-1] for step in network.steps if isinstance(step.operator, (Int8Linear, Int8Conv2d))]
    assert layers == ["conv_proj", "0", "3", "head"]
    assert any("MultiheadAttention" in line for line in network.report)
    assert (network(x) - vit(x)).abs().max() < 0.1 * vit(x).abs().max()


@pytest.mark.real_data
def test_resnet20_on_codes_loses_less_than_a_point_and_a_half(real_data):
    model = load_published(resnet20_cifar(), real_data / "resnet_cifar10" / "resnet20-12fca82f.th")
    images, labels = cifar10.load("test", root=real_data)
    x, y = cifar10.normalise(images[:500]), labels[:500]
    train, _ = cifar10.load("train_1", root=real_data)
    network = to_int8(model, cifar10.normalise(train[:256]), strict=True)
    assert accuracy(network, x, y) >= accuracy(model, x, y) - 1.5
    found = agreement(network, x[:64])
    print(found)
    assert found.inexact == 0
    assert found.largest_alone <= 1
    assert found.differing <= found.values / 100


def test_quantized_input_is_what_affine_quantize_gives(networks, images):
    network = networks["resnet8"][1]
    expected = quantize(images, network.qparams[0]).permute(0, 2, 3, 1)
    assert torch.equal(network.values(images)[0], expected)
