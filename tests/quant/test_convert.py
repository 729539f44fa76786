"""Whole networks: what prepare, calibrate and convert promise of each other and of the float network."""

import copy

import pytest
import torch
from torch import nn

from frugal.quant.affine import choose_qparams, dequantize, quantize
from frugal.quant.config import LayerConfig, QuantConfig, QuantSpec, weights_and_activations
from frugal.quant.convert import calibrate, convert, prepare, quantize_model, weight_bytes
from frugal.quant.granularity import PerChannel, PerGroup, PerToken
from frugal.quant.layers import QuantizedLayer, map_tensors, quantizable_layers


class Small(nn.Module):
    """A bit of everything: groups, depthwise, transposed, linear, and one convolution used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = self.twice(self.twice(self.first(x).relu()).relu()).relu()
        return self.head(self.up(x).mean((2, 3)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture
def batch():
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))


ALL_CONFIGS = [
    weights_and_activations(8, 8),
    weights_and_activations(4, 4, per_channel=False, symmetric_activations=True),
    weights_and_activations(4, None),
    weights_and_activations(None, 4),
    weights_and_activations(3, 3, observer="mse", first_last_bits=8),
]


@pytest.mark.parametrize("config", ALL_CONFIGS)
def test_a_converted_network_computes_what_the_prepared_one_does(model, batch, config):
    prepared = calibrate(prepare(model, config), [batch])
    assert torch.equal(convert(prepared)(batch), prepared(batch))


@pytest.mark.parametrize("config", ALL_CONFIGS)
def test_the_float_network_is_left_unchanged(model, batch, config):
    before, y = copy.deepcopy(model.state_dict()), model(batch)
    quantize_model(model, config, [batch])
    assert torch.equal(model(batch), y)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_weights_are_stored_as_int8_codes_and_no_float_weight_is_left(model, batch):
    quantized = quantize_model(model, weights_and_activations(8, 8), [batch])
    layers = [m for m in quantized.modules() if isinstance(m, QuantizedLayer)]
    assert len(layers) == 4  # one of them stands in two places of forward
    assert all(layer.codes.dtype == torch.int8 for layer in layers)
    assert not any(name.endswith("weight") for name, _ in quantized.named_parameters())
    assert any(name.endswith("codes") for name in quantized.state_dict())


def test_each_weight_has_the_codes_that_choose_qparams_gives(model, batch):
    quantized = quantize_model(model, weights_and_activations(4, 8), [batch])
    for name, axis in (("first", 0), ("twice", 0), ("up", 1), ("head", 0)):  # transposed: output channels on axis 1
        weight = getattr(model, name).weight
        expected = quantize(weight, choose_qparams(weight, 4, symmetric=True, granularity=PerChannel(axis)))
        assert torch.equal(getattr(quantized, name).codes, expected), name


def test_the_input_range_is_the_one_of_all_calibration_batches(model, batch):
    quantized = quantize_model(model, weights_and_activations(8, 8), batch.split(4))
    assert quantized.first.activation_qparams() == pytest.approx(choose_qparams(batch))


def test_outputs_come_closer_with_every_bit(model, batch):
    y = model(batch)
    errors = [
        (quantize_model(model, weights_and_activations(bits, bits), [batch])(batch) - y).norm().item()
        for bits in (2, 4, 6, 8)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02 * y.norm()


def test_first_and_last_layer_can_have_their_own_width(model, batch):
    quantized = quantize_model(model, weights_and_activations(4, 4, first_last_bits=8), [batch])
    widths = [quantized.get_submodule(name).weight_qparams.quant_max for name in ("first", "twice", "up", "head")]
    assert widths == [127, 7, 7, 127]


def test_a_layer_can_be_left_in_float_or_given_its_own_choice(model, batch):
    own = LayerConfig(weight=QuantSpec(2), activation=None)
    config = QuantConfig(per_layer={"head": None, "t*": own})
    quantized = quantize_model(model, config, [batch])
    assert type(quantized.head) is nn.Linear
    assert quantized.twice.weight_qparams.quant_max == 1
    assert quantized.twice.activation_qparams is None
    assert quantized.up.weight_qparams.quant_max == 127


def test_a_network_of_one_layer_is_quantized(batch):
    layer = nn.Conv2d(3, 2, 1)
    assert isinstance(quantize_model(layer, QuantConfig(), [batch]), QuantizedLayer)


def test_per_group_weights_and_per_token_activations_work_in_linear_layers():
    net = nn.Sequential(nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 4))
    x = torch.randn(2, 5, 16)
    config = QuantConfig(LayerConfig(QuantSpec(4, granularity=PerGroup(4)), QuantSpec(granularity=PerToken())))
    quantized = quantize_model(net, config, [x])
    assert quantized[0].weight_qparams.scale.shape == (8, 4)
    other = 100 * torch.randn(3, 7, 16)  # other tokens, other range: a dynamic quantizer follows
    relative = (quantized(other) - net(other)).norm() / net(other).norm()
    assert relative < 0.2


def test_a_prepared_network_can_be_trained(model, batch):
    prepared = calibrate(prepare(model, weights_and_activations(3, 3)), [batch])
    target = torch.arange(16) % 5
    optimizer = torch.optim.SGD(prepared.parameters(), lr=0.1)
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(prepared(batch), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in prepared.parameters())


def test_saved_codes_load_into_a_network_of_the_same_kind(model, batch):
    quantized = quantize_model(model, weights_and_activations(8, 8), [batch])
    other = quantize_model(Small().eval(), weights_and_activations(8, 8), [torch.randn(2, 3, 8, 8)])
    assert not torch.equal(other(batch), quantized(batch))
    other.load_state_dict(quantized.state_dict())
    assert torch.equal(other(batch), quantized(batch))


def test_four_bit_weights_count_half_the_bytes_of_eight_bit_ones(model, batch):
    weights = sum(layer.weight.numel() for layer in quantizable_layers(model).values())
    eight, four = (weight_bytes(quantize_model(model, weights_and_activations(b, 8), [batch])) for b in (8, 4))
    assert eight - four == weights / 2
    assert weight_bytes(model) == 4 * sum(p.numel() for p in model.parameters())


def test_map_tensors_runs_the_functions_it_is_given(model, batch):
    def through_codes(x):
        qparams = choose_qparams(x, 8, symmetric=True)
        return dequantize(quantize(x, qparams), qparams)

    by_hand = map_tensors(model, weight=through_codes, activation=None)
    expected = quantize_model(model, weights_and_activations(8, None, per_channel=False), [batch])
    assert torch.equal(by_hand(batch), expected(batch))


def test_attention_projections_that_are_not_called_as_layers_are_left_alone(batch):
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    assert list(quantizable_layers(net)) == ["linear1", "linear2"]


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="nothing can be quantized"):
        prepare(nn.ReLU(), QuantConfig())


def test_a_pattern_that_matches_nothing_is_refused_with_the_layers_there_are(model):
    with pytest.raises(ValueError, match="'frist' matches no layer; the layers are first, twice, up, head"):
        prepare(model, QuantConfig(per_layer={"frist": None}))


def test_steps_out_of_order_are_refused(model, batch):
    prepared = prepare(model, QuantConfig())
    with pytest.raises(RuntimeError, match="call calibrate"):
        prepared(batch)
    with pytest.raises(RuntimeError, match="call calibrate"):
        convert(prepared)
    for step in (convert, lambda m: calibrate(m, [batch])):
        with pytest.raises(ValueError, match="call prepare"):
            step(model)


def test_calibration_without_batches_is_refused_and_leaves_the_model_uncalibrated(model, batch):
    prepared = prepare(model, QuantConfig())
    with pytest.raises(ValueError, match="at least one batch"):
        calibrate(prepared, [])
    with pytest.raises(RuntimeError):
        prepared(batch)


def test_a_batch_with_nan_is_refused_and_stops_watching(model, batch):
    prepared = prepare(model, QuantConfig())
    with pytest.raises(ValueError, match="not finite"):
        calibrate(prepared, [batch, batch * float("nan")])
    assert calibrate(prepared, [batch])(batch).isfinite().all()


def test_a_layer_that_no_batch_reaches_is_named(model, batch):
    model.spare = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="reached spare"):
        quantize_model(model, QuantConfig(), [batch])
