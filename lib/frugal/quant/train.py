"""Quantization-aware training from a checkpoint: quantizers are swapped in, and the weights learn to live with them.

Papers:  [19] section 3, [20] section 3.2 (start from float, freeze late); Hinton et al. 2015 (distillation).
Lecture: slide 25. Learn: course/4_quantization/4_7_straight_through.ipynb, lab 4.5

    swap_in          every layer gets a quantizer for its weight and one for its input; float weights stay behind them
    train_through_   the loop: cross entropy, or the float network's answers, plus what the quantizers ask for
    finetune         both, from a float network that stays as it is
    finish           float weights become integer codes where the quantizers say what their codes stand for

Batch norm is folded before training (``fold=True``), which is static folding: the layer that is trained is the layer
that runs; or kept (``fold=False``), which binary and ternary weights need. A kept one costs an integer network no
float product: its factor per channel multiplies the scale of the sums, its shift is a bias.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from frugal.core.check import describe
from frugal.core.seed import generator
from frugal.graph.fold import NORMS, fold_batchnorm
from frugal.nets.train import SCHEDULES, rate
from frugal.quant.affine import QParams
from frugal.quant.granularity import PerChannel
from frugal.quant.layers import (
    MappedLayer,
    QuantizedLayer,
    map_layers,
    quantizable_layers,
    replace_modules,
    weight_granularity,
    weight_of,
)
from frugal.quant.trainable import FollowedRange, RangeOfWeights, Trainable

Maker = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Operands:
    """What a layer's two operands pass through; a maker gets the float layer and returns a quantizer for it.

    weight, activation: makers, or None to leave the operand in float.
    """

    weight: Maker | None = None
    activation: Maker | None = None


def min_max(weight_bits: int | None = 8, activation_bits: int | None = 8) -> Operands:
    """Return the plain choice: weights per output channel over their present range, activations over a followed one."""
    weight = activation = None
    if weight_bits is not None:

        def weight(layer: nn.Module) -> nn.Module:
            return RangeOfWeights(weight_bits, weight_granularity(layer, PerChannel(0)))

    if activation_bits is not None:

        def activation(layer: nn.Module) -> nn.Module:
            return FollowedRange(activation_bits)

    return Operands(weight, activation)


@dataclass(frozen=True)
class TrainingPlan:
    """How a quantized network is trained.

    epochs:       passes over the data; a fraction stops early.
    lr:           the largest learning rate; it falls to 0 along ``schedule``.
    batch_size:   pictures per step.
    weight_decay: on weights; never on what a quantizer learns, nor on biases and batch norm.
    optimizer:    "sgd" (Nesterov momentum 0.9) or "adam".
    schedule:     "cosine", or "one-cycle", which rises first.
    freeze_after: share of the steps after which ranges and batch norm's statistics stay.
    distillation: share of the loss that follows the float network's answers rather than the labels, 0 to 1.
    temperature:  what the logits are divided by for that share; its gradient grows with it, and wants a smaller ``lr``.
    seed:         of the shuffling.
    """

    epochs: float = 2.0
    lr: float = 0.01
    batch_size: int = 128
    weight_decay: float = 1e-4
    optimizer: str = "sgd"
    schedule: str = "cosine"
    freeze_after: float = 0.8
    distillation: float = 0.0
    temperature: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        positive = {name: getattr(self, name) for name in ("epochs", "lr", "batch_size", "temperature")}
        if wrong := {name: value for name, value in positive.items() if not value > 0}:
            raise ValueError(f"these must be above 0: {wrong}")
        shares = {name: getattr(self, name) for name in ("freeze_after", "distillation")}
        if wrong := {name: value for name, value in shares.items() if not 0 <= value <= 1}:
            raise ValueError(f"these are shares from 0 to 1: {wrong}")
        if self.optimizer not in ("sgd", "adam"):
            raise ValueError(f"optimizer must be sgd or adam, got {self.optimizer!r}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")


@dataclass(frozen=True)
class Training:
    """What a training took and gave.

    losses:  the mean loss of each epoch.
    epochs, steps: how long it was.
    seconds: wall time of the loop.
    processor_seconds: time that processors spent on it, all threads together; it hardly depends on who else is there.
    """

    losses: tuple[float, ...]
    epochs: float
    steps: int
    seconds: float
    processor_seconds: float


@dataclass(frozen=True)
class Finetuned:
    """A network with quantizers, trained, in eval mode; and how."""

    model: nn.Module
    training: Training


def swap_in(model: nn.Module, inner: Operands | Maker, ends: Operands | None = None, *, fold: bool = True) -> nn.Module:
    """Return a copy of a float network whose layers hold quantizers, ready to be trained.

    Args:
        model: any network of convolutions and linear layers.
        inner: for all layers but the first and the last; or a maker of whole layers, such as ``WrapLayer``.
        ends: for these two; ``min_max(8, 8)`` by default, as published figures have it.
        fold: fold batch norm into the layers first; otherwise it stays, and learns too.
    """
    ends = ends or min_max(8, 8)
    names = list(quantizable_layers(model))
    outer = {names[0], names[-1]}

    def swapped(name: str, layer: nn.Module) -> nn.Module:
        choice = ends if name in outer else inner
        if not isinstance(choice, Operands):
            return choice(layer)
        return MappedLayer(
            layer,
            None if choice.weight is None else choice.weight(layer),
            None if choice.activation is None else choice.activation(layer),
        )

    return map_layers(fold_batchnorm(model) if fold else model, swapped)


def train_through_(
    model: nn.Module, x: Tensor, y: Tensor, plan: TrainingPlan | None = None, *, teacher: nn.Module | None = None
) -> Training:
    """Train a network with quantizers in place, and leave it in eval mode.

    Args:
        model: what ``swap_in`` returned.
        x, y: inputs and int64 labels, as many of each.
        plan: how; ``TrainingPlan()`` by default.
        teacher: the float network to follow, where the plan has a share of distillation.

    Raises:
        ValueError: sizes that do not fit, no teacher for distillation, or a loss that is no longer finite.
    """
    plan = plan or TrainingPlan()
    _check(x, y, plan, teacher)
    quantizers = [module for module in model.modules() if isinstance(module, Trainable)]
    size = min(plan.batch_size, len(x))
    per_epoch = len(x) // size
    steps = max(1, round(plan.epochs * per_epoch))
    model.train()
    _start(model, x[:size])
    stepper = _optimizer(model, plan)
    rng = generator("quantization-aware", plan.seed)
    losses: list[list[float]] = []
    began, began_on_processor = time.perf_counter(), time.process_time()
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(x), generator=rng)
            losses.append([])
        if step == round(plan.freeze_after * steps):
            _freeze(model, quantizers)
        rows = order[step % per_epoch * size :][:size]
        for group in stepper.param_groups:
            group["lr"] = plan.lr * rate(step / steps, plan.schedule)
        loss = _loss(model, x[rows], y[rows], plan, teacher)
        for quantizer in quantizers:
            penalty = quantizer.penalty()
            loss = loss if penalty is None else loss + penalty
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss became {loss.item()} at step {step} of {steps}; try a smaller lr than {plan.lr}"
            )
        stepper.zero_grad(set_to_none=True)
        loss.backward()
        stepper.step()
        _settle_(model)
        losses[-1].append(loss.item())
    seconds, processor_seconds = time.perf_counter() - began, time.process_time() - began_on_processor
    model.eval()
    means = tuple(sum(each) / len(each) for each in losses)
    return Training(means, plan.epochs, steps, seconds, processor_seconds)


def finetune(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    inner: Operands | Maker,
    ends: Operands | None = None,
    *,
    plan: TrainingPlan | None = None,
    fold: bool = True,
) -> Finetuned:
    """Quantize a float network and train it on; the network itself stays as it is, and is the teacher if one is asked.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> x = torch.randn(64, 4)
    >>> made = finetune(net, x, (x[:, 0] > 0).long(), min_max(4, 4), plan=TrainingPlan(epochs=2, batch_size=16))
    >>> made.training.steps
    8
    """
    plan = plan or TrainingPlan()
    trained = swap_in(model, inner, ends, fold=fold)
    teacher = copy.deepcopy(model).eval() if plan.distillation > 0 else None
    return Finetuned(trained, train_through_(trained, x, y, plan, teacher=teacher))


def finish(model: nn.Module) -> nn.Module:
    """Return a copy, in eval mode, that holds integer codes wherever the quantizers name an affine grid.

    An operand on no such grid stays a quantizer over its float weight. The outputs are those of ``model``, but for
    the rounding of float sums.

    Raises:
        ValueError: there is no quantizer in it.
    """
    model = copy.deepcopy(model).eval()
    mapped = [module for module in model.modules() if isinstance(module, MappedLayer)]
    if not mapped:
        raise ValueError("this model has no quantizers; call swap_in and train it before finish")
    return replace_modules(model, {id(layer): _finished_(layer) for layer in mapped})


@torch.no_grad()
def _finished_(mapped: MappedLayer) -> nn.Module:
    weight, activation = mapped.weight_map, mapped.activation_map
    weight_parameters, activation_parameters = _parameters(weight), _parameters(activation)
    if (weight is not None and weight_parameters is None) or (activation is not None and activation_parameters is None):
        return mapped
    if isinstance(weight, nn.Module):
        latent = weight_of(mapped.layer)
        latent.copy_(weight(latent))  # ternary codes are not the nearest ones: take what the quantizer chose
        weight_parameters = _parameters(weight)  # of the values it chose last
    return QuantizedLayer(mapped.layer, weight_parameters, activation_parameters)


def _parameters(quantizer: object) -> QParams | None:
    return quantizer.qparams() if isinstance(quantizer, Trainable) else None


@torch.no_grad()
def _start(model: nn.Module, batch: Tensor) -> None:
    """One pass in training mode, after which every quantizer has its first range; batch norm's statistics stay.

    Batch norm takes those of the batch: binary weights are far larger than the ones its own statistics are of.
    """
    norms = {module: module.momentum for module in model.modules() if isinstance(module, NORMS)}
    for norm in norms:
        norm.momentum = 0.0
    model(batch)
    for norm, momentum in norms.items():
        norm.momentum = momentum


def _optimizer(model: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    learned = {id(each) for module in model.modules() if isinstance(module, Trainable) for each in module.parameters()}
    decays = [each for each in trained if each.ndim > 1 and id(each) not in learned]
    kept = [each for each in trained if each.ndim <= 1 or id(each) in learned]
    groups = [{"params": decays, "weight_decay": plan.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if plan.optimizer == "adam":
        return torch.optim.Adam(groups, lr=plan.lr)
    return torch.optim.SGD(groups, lr=plan.lr, momentum=0.9, nesterov=True)


def _freeze(model: nn.Module, quantizers: list[Trainable]) -> None:
    for quantizer in quantizers:
        quantizer.freeze()
    for module in model.modules():
        if isinstance(module, NORMS):
            module.eval()  # the statistics that will be used are those it now trains with


def _loss(model: nn.Module, x: Tensor, y: Tensor, plan: TrainingPlan, teacher: nn.Module | None) -> Tensor:
    logits = model(x)
    loss = cross_entropy(logits, y) if plan.distillation < 1 else logits.new_zeros(())
    if teacher is None or plan.distillation == 0:
        return loss
    with torch.no_grad():
        wanted = log_softmax(teacher(x) / plan.temperature, dim=1)
    told = log_softmax(logits / plan.temperature, dim=1)
    follow = kl_div(told, wanted, reduction="batchmean", log_target=True) * plan.temperature**2
    return (1 - plan.distillation) * loss + plan.distillation * follow


def _settle_(model: nn.Module) -> None:
    behind = {
        id(layer.weight_map): weight_of(layer.layer) for layer in model.modules() if isinstance(layer, MappedLayer)
    }
    for module in model.modules():
        if isinstance(module, Trainable):
            module.settle_(behind.get(id(module)))


def _check(x: Tensor, y: Tensor, plan: TrainingPlan, teacher: nn.Module | None) -> None:
    if len(x) == 0 or y.shape != x.shape[:1]:
        raise ValueError(f"training needs one label per input, got {describe(x)} and {describe(y)}")
    if y.dtype != torch.int64:
        raise ValueError(f"labels must be int64, got {describe(y)}")
    if plan.distillation > 0 and teacher is None:
        raise ValueError(f"distillation {plan.distillation} needs teacher=, the float network to follow")
    if not math.isfinite(plan.lr):
        raise ValueError(f"lr must be finite, got {plan.lr}")
