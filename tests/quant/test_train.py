"""Training through the rounding: from a float network to integer codes, with a record of what it took."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from frugal.core.seed import generator
from frugal.quant.layers import MappedLayer, QuantizedLayer
from frugal.quant.methods.binary_connect import BinaryConnect
from frugal.quant.methods.lsq import LearnedStep, learned_steps
from frugal.quant.methods.pact import Pact
from frugal.quant.methods.ttq import TrainedTernary
from frugal.quant.methods.twn import TernaryWeight
from frugal.quant.methods.wrapnet import WrapLayer, emulate_
from frugal.quant.methods.xnor_net import BinaryWeight
from frugal.quant.train import Operands, TrainingPlan, finetune, finish, min_max, swap_in, train_through_
from frugal.quant.trainable import FollowedRange, RangeOfWeights

QUICK = TrainingPlan(epochs=2, lr=0.02, batch_size=32)
KINDS = {
    "min-max": min_max(4, 4),
    "lsq": learned_steps(3, 4),
    "twn": Operands(lambda layer: TernaryWeight()),
    "ttq": Operands(lambda layer: TrainedTernary()),
    "bwn": Operands(lambda layer: BinaryWeight()),
    "binary connect": Operands(lambda layer: BinaryConnect(), lambda layer: FollowedRange(8)),
    "pact": Operands(lambda layer: RangeOfWeights(4), lambda layer: Pact(4)),
}


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def data():
    """Three classes: which of two channels is brighter, or neither."""
    rng = generator(0, "quantization-aware training")
    y = torch.randint(3, (256,), generator=rng)
    level = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])[y]
    return level[:, :, None, None] + 0.3 * torch.randn(256, 2, 6, 6, generator=rng), y


@pytest.fixture(scope="module")
def float_network(data):
    model, (x, y) = network(), data
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def accuracy(model, data):
    x, y = data
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_from_the_checkpoint_and_leaves_it_as_it_was(kind, float_network, data):
    before = {name: value.clone() for name, value in float_network.state_dict().items()}
    made = finetune(float_network, *data, KINDS[kind], plan=QUICK, fold=False)
    assert accuracy(float_network, data) > 0.95
    assert accuracy(made.model, data) > 0.85
    assert not made.model.training
    assert all(torch.equal(value, before[name]) for name, value in float_network.state_dict().items())
    assert (made.training.steps, made.training.epochs) == (16, 2)
    assert len(made.training.losses) == 2
    assert made.training.seconds > 0
    assert made.training.processor_seconds > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_finished_network_answers_as_the_trained_one(kind, float_network, data):
    made = finetune(float_network, *data, KINDS[kind], plan=replace(QUICK, epochs=1), fold=False)
    done = finish(made.model)
    with torch.no_grad():
        assert torch.allclose(done(data[0]), made.model(data[0]), atol=1e-4)
    layers = [module for module in done.modules() if isinstance(module, QuantizedLayer)]
    assert len(layers) == (2 if kind == "ttq" else 3)  # two values of its own lie on no affine grid
    ternary = {"twn": 3, "bwn": 2, "binary connect": 2}
    if kind in ternary:
        assert len(done[3].codes.unique()) == ternary[kind]


def test_folding_leaves_no_batch_norm_and_keeping_leaves_both(float_network):
    folded, kept = (swap_in(float_network, min_max(), fold=fold) for fold in (True, False))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in kept.modules()) == 2


def test_the_first_and_the_last_layer_have_8_bits_unless_said_otherwise(float_network):
    maps = [m for m in swap_in(float_network, min_max(2, 3)).modules() if isinstance(m, MappedLayer)]
    assert [m.weight_map.num_bits for m in maps] == [8, 2, 8]
    assert [m.activation_map.num_bits for m in maps] == [8, 3, 8]
    maps = [m for m in swap_in(float_network, min_max(2, 3), min_max(4, None)).modules() if isinstance(m, MappedLayer)]
    assert [m.weight_map.num_bits for m in maps] == [4, 2, 4]
    assert [m.activation_map is None for m in maps] == [True, False, True]


def test_the_same_seed_gives_the_same_weights(float_network, data):
    a, b = (finetune(float_network, *data, learned_steps(3, 3), plan=QUICK).model.state_dict() for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_late_in_training_ranges_and_batch_norm_stand_still(float_network, data):
    """With nothing left to learn (lr almost 0) the frozen state is what the first batches left."""
    plan = replace(QUICK, lr=1e-12, freeze_after=0.0)
    model = swap_in(float_network, min_max(8, 8), fold=False)
    train_through_(model, *data, plan)
    assert torch.equal(model[1].running_mean, float_network[1].running_mean)
    first = data[0][:32].aminmax()
    assert (model[0].activation_map.low, model[0].activation_map.high) == first


def test_starting_a_binary_network_measures_ranges_with_the_statistics_of_the_batch(float_network, data):
    """In eval mode batch norm would divide sums of ±1 by the spread of small weights: the last range would be huge."""
    model = swap_in(float_network, Operands(lambda layer: BinaryConnect()), fold=False)
    train_through_(model, *data, replace(QUICK, lr=1e-9, epochs=0.2))
    assert model[8].activation_map.high < 5


def test_distillation_follows_the_float_network_without_any_label(float_network, data):
    x, y = data
    wrong = (y + 1) % 3
    plan = replace(QUICK, distillation=1.0)
    made = finetune(float_network, x, wrong, learned_steps(2, 3), plan=plan)
    assert accuracy(made.model, data) > 0.9
    labelled = finetune(float_network, x, wrong, learned_steps(2, 3), plan=replace(plan, distillation=0.0, epochs=4))
    assert accuracy(labelled.model, data) < 0.5


def test_the_distilled_loss_is_its_formula(float_network, data):
    (x, y), share, heat = data, 0.7, 3.0
    plan = TrainingPlan(epochs=1, lr=1e-12, batch_size=len(x), distillation=share, temperature=heat)
    model = swap_in(float_network, learned_steps(2, 2))
    loss = train_through_(model, x, y, plan, teacher=float_network).losses[0]
    with torch.no_grad():
        student, teacher = model.train()(x), float_network(x)
    p, q = (torch.softmax(logits / heat, dim=1) for logits in (teacher, student))
    divergence = (p * (p / q).log()).sum(1).mean()
    wanted = (1 - share) * nn.functional.cross_entropy(student, y) + share * heat**2 * divergence
    assert loss == pytest.approx(wanted.item(), rel=1e-4)
    assert share * heat**2 * divergence > 0.01 * loss  # a hundred times what the comparison allows


def test_penalties_join_the_loss(float_network, data):
    plan = replace(QUICK, lr=1e-12, epochs=1)
    light, heavy = (
        finetune(float_network, *data, Operands(None, lambda layer, d=d: Pact(8, alpha=10.0, decay=d)), plan=plan)
        for d in (0.0, 0.01)
    )
    assert heavy.training.losses[0] - light.training.losses[0] == pytest.approx(0.01 * 100, abs=1e-3)


def test_what_a_quantizer_learns_is_not_decayed(float_network, data):
    plan = replace(QUICK, weight_decay=50.0, lr=1e-4, epochs=1)
    model = swap_in(float_network, Operands(None, lambda layer: Pact(8, alpha=1000.0, decay=0.0)))
    train_through_(model, *data, plan)
    alphas = [module.alpha.item() for module in model.modules() if isinstance(module, Pact)]
    assert alphas == [1000.0]


def test_steps_stay_above_0_even_at_a_wild_learning_rate(float_network, data):
    model = swap_in(float_network, learned_steps(2, 2))
    train_through_(model, *data, replace(QUICK, lr=0.3, optimizer="adam", epochs=1))
    steps = [module.step for module in model.modules() if isinstance(module, LearnedStep)]
    assert steps
    assert all((step > 0).all() for step in steps)


def test_the_weights_behind_signs_are_brought_back_within_1_after_every_step(float_network, data):
    plan = replace(QUICK, optimizer="adam", lr=0.5, epochs=1)
    made = finetune(float_network, *data, Operands(lambda layer: BinaryConnect()), plan=plan, fold=False)
    assert made.model[3].layer.weight.abs().max() == 1  # without settling they would be at 2 or 3


def test_a_maker_may_replace_whole_layers(float_network, data):
    model = swap_in(
        float_network, lambda layer: WrapLayer(layer, RangeOfWeights(3), FollowedRange(3), num_bits=12), fold=False
    )
    train_through_(model, *data, QUICK)
    emulate_(model, True)
    assert isinstance(model[3], WrapLayer)
    assert accuracy(model, data) > 0.85


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"epochs": 0}, "above 0"),
        ({"lr": float("nan")}, "above 0"),
        ({"freeze_after": 1.5}, "shares from 0 to 1"),
        ({"distillation": -0.1}, "shares from 0 to 1"),
        ({"optimizer": "adagrad"}, "sgd or adam"),
        ({"schedule": "step"}, "cosine, one-cycle"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        TrainingPlan(**wrong)


def test_bad_data_is_refused(float_network, data):
    x, y = data
    model = swap_in(float_network, min_max())
    for wrong in ((x[:0], y[:0]), (x, y[:5]), (x, y.float())):
        with pytest.raises(ValueError, match="label"):
            train_through_(model, *wrong)
    with pytest.raises(ValueError, match="needs teacher="):
        train_through_(model, x, y, TrainingPlan(distillation=0.5))
    with pytest.raises(ValueError, match="finite"):
        train_through_(model, x * float("nan"), y)
    with pytest.raises(ValueError, match="no quantizers"):
        finish(float_network)
