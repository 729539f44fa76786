"""Trade-offs: a card is complete and can be read back, one choice apart is one difference, bits can be learned."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from frugal.quant.config import QuantConfig, weights_and_activations
from frugal.quant.methods import tradeoffs


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))


def card(config=None, model=None, **more):
    stated = {"calibration_source": "train_1", "calibration_images": 512, **more}
    return tradeoffs.card_of(model or net(), config or weights_and_activations(4, 4, first_last_bits=8), **stated)


def test_a_card_states_every_choice_and_is_read_back():
    mine = card()
    assert tradeoffs.Card.from_json(mine.to_json()) == mine
    assert set(json.loads(mine.to_json())) == {field.name for field in dataclasses.fields(tradeoffs.Card)}


def test_a_card_says_what_the_configuration_does():
    mine = card()
    assert mine.weight_bits == mine.activation_bits == (8, 4, 8)
    assert (mine.weight_granularity, mine.activation_granularity) == ("per channel", "per tensor")
    assert mine.first_last_exempt
    assert not card(weights_and_activations(4, 4)).first_last_exempt
    assert card(weights_and_activations(4, None)).activation_bits == (32, 32, 32)
    assert card(weights_and_activations(4, 4, per_channel=False, observer="mse")).activation_range == "mse"


def test_the_maximum_of_activation_bits_is_at_least_their_mean():
    mine = card()
    assert mine.max_activation_bits == 8
    assert mine.mean_activation_bits == pytest.approx((8 + 4 + 8) / 3)


def test_cards_differ_in_what_differs():
    assert tradeoffs.differences(card(), card()) == {}
    other = card(model=net(seed=1))
    assert list(tradeoffs.differences(card(), other)) == ["checkpoint"]
    assert tradeoffs.differences(card(), card(calibration_images=1))["calibration_images"] == (512, 1)


def test_the_fingerprint_follows_every_weight():
    model = net()
    before = tradeoffs.fingerprint(model)
    with torch.no_grad():
        model[2].weight[0, 0, 0, 0] += 1e-3
    assert tradeoffs.fingerprint(model) != before == tradeoffs.fingerprint(net())


def test_each_confounder_changes_what_its_name_says_and_no_more():
    for config in (weights_and_activations(4, 4), weights_and_activations(8, 8, per_channel=False, first_last_bits=8)):
        stated = card(config)
        allowed = {"weight_granularity", "weight_symmetric", "activation_symmetric"}
        for name, variation in tradeoffs.confounders(config).items():
            changed = set(tradeoffs.differences(stated, card(variation)))
            if name == "as stated" or (config.first_last_bits == 8 and name.startswith("first")):
                assert changed == set()  # the ends have 8 bits like the others
            elif name.startswith("first"):
                assert changed == {"weight_bits", "activation_bits", "first_last_exempt"}
            else:
                assert len(changed) == 1
                assert changed <= allowed


def test_the_penalty_counts_what_exceeds_the_targets():
    bits = [torch.tensor(4.0), torch.tensor(8.0)]
    targets = {"weights": 5.0, "activations": 7.0}
    assert tradeoffs.excess_bits(bits, bits, targets).item() == 2 * (6 - 5)


def test_bits_learn_to_fall_under_the_penalty_and_to_rise_for_the_error():
    x = torch.linspace(-1, 1, 500)

    def train(factor):
        quantizer = tradeoffs.LearnedBits(-1.0, 1.0, 5.0)
        optimizer = torch.optim.Adam([quantizer.log_bits], lr=0.05)
        for _ in range(60):
            error = (quantizer(x) - x).pow(2).mean() * 1e4
            loss = error + tradeoffs.excess_bits(
                [quantizer.bits()], [quantizer.bits()], {"weights": 2, "activations": 2}, factor
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return quantizer.bits().item()

    assert train(factor=1000.0) < 5 < train(factor=0.0)


@pytest.mark.parametrize("num_bits", [2, 3, 8])
def test_learned_bits_round_to_their_levels(num_bits):
    quantizer = tradeoffs.LearnedBits(-1.0, 2.0, num_bits + 0.3)
    x = torch.linspace(-2, 3, 4001)
    y = quantizer(x).detach()
    assert y.unique().numel() == 2**num_bits
    inside = x.clamp(-1, 2)
    assert (y - inside).abs().max() <= 3 / (2**num_bits - 1) / 2 + 1e-5


def test_bad_input():
    with pytest.raises(ValueError, match="bits of every layer"):
        dataclasses.replace(card(), weight_bits=())
    with pytest.raises(ValueError, match="calibration_images"):
        card(calibration_images=-1)
    with pytest.raises(ValueError, match="a card states"):
        tradeoffs.Card.from_json("{}")
    with pytest.raises(ValueError, match="weights and activations"):
        tradeoffs.confounders(weights_and_activations(4, None))
    with pytest.raises(ValueError, match="low must be below high"):
        tradeoffs.LearnedBits(1.0, 1.0)
    with pytest.raises(ValueError, match="num_bits"):
        tradeoffs.LearnedBits(0.0, 1.0, 0.5)
    with pytest.raises(ValueError, match="targets"):
        tradeoffs.excess_bits([torch.tensor(1.0)], [torch.tensor(1.0)], {"weights": 1})
    assert card(QuantConfig()).weight_bits == (8, 8, 8)
