"""BRECQ and QDrop: round the weights of a whole block together, so that what the block puts out stays the same.

Papers:  Li et al., "BRECQ", ICLR 2021, sections 3 and 4; Wei et al., "QDrop", ICLR 2022, section 4. Beyond the lecture.
Formula: min E[(z - ẑ)ᵀ F (z - ẑ)] + λ Σ (1 - |2h - 1|^β)          z: output of a block; h: up or down, as in AdaRound
         F = diag(g²), g the gradient of the loss at z ("fisher"), or the identity ("mse")
         activations: the step is learned too, with the straight-through gradient of LSQ
         QDrop: while learning, each activation stays float with probability p, each input comes from either network
Lesson:  layers of a block repair each other's errors; a whole network has too few pictures to say how. In between
         lies the residual block.
Learn:   course/4_quantization/4_5_post_training.ipynb

A block of one layer, without quantized activations, is AdaRound on random batches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frugal.core.seed import generator
from frugal.graph.fold import fold_batchnorm
from frugal.quant.affine import QParams
from frugal.quant.config import LayerConfig, QuantConfig
from frugal.quant.granularity import PerTensor
from frugal.quant.layers import QuantizedLayer, map_layers, quantizable_layers, weight_granularity, weight_of
from frugal.quant.observers import MSE
from frugal.quant.rounding import SoftRounding, beta_at
from frugal.quant.statistics import watch_inputs
from frugal.quant.ste import clamp_through, round_through


@dataclass(frozen=True)
class Schedule:
    """How long and how hard each block is fitted.

    steps:           of Adam, for each block.
    batch_size:      pictures per step, drawn anew each time.
    rounding_rate:   learning rate of what rounds up or down.
    step_rate:       learning rate of the activations' steps, relative to each step.
    bias_rate:       learning rate of the biases; 0 leaves them alone, as the paper does.
    strength:        λ.
    drop:            p of QDrop; 0 for BRECQ.
    warm_up:         share of the steps before the regulariser sets in.
    seed:            of all draws.
    """

    steps: int = 1000
    batch_size: int = 32
    rounding_rate: float = 1e-2
    step_rate: float = 1e-3
    bias_rate: float = 0.0
    strength: float = 0.01
    drop: float = 0.5
    warm_up: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps and batch_size must be at least 1, got {self.steps} and {self.batch_size}")
        if not (0 <= self.drop < 1 and 0 <= self.warm_up < 1):
            raise ValueError(f"drop and warm_up must be from 0 to below 1, got {self.drop} and {self.warm_up}")


class LearnedInput(nn.Module):
    """Fake-quantizes a layer's input with a step that is learned; the zero-point keeps its code.

    drop: the share of values that stay float in training mode.
    """

    def __init__(self, qparams: QParams) -> None:
        super().__init__()
        if not isinstance(qparams.granularity, PerTensor):
            raise ValueError(f"activations need one scale per tensor, got {qparams.granularity}")
        self.scale = nn.Parameter(qparams.scale.clone())
        self.zero_point = qparams.zero_point
        self.quant_min, self.quant_max = qparams.quant_min, qparams.quant_max
        self.drop = 0.0
        self.rng: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        low, high = float(self.quant_min - self.zero_point), float(self.quant_max - self.zero_point)
        y = round_through(clamp_through(x / self.scale, low, high)) * self.scale
        if self.drop > 0 and self.training:
            y = torch.where(torch.rand(x.shape, generator=self.rng) < self.drop, x, y)
        return y

    def qparams(self) -> QParams:
        """The parameters that were learned."""
        return QParams(self.scale.detach().clone(), self.zero_point, self.quant_min, self.quant_max)


class LearningLayer(nn.Module):
    """A layer on its way to codes: float until it has quantizers, then soft, then hard."""

    def __init__(self, layer: nn.Module, choice: LayerConfig | None) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.choice = choice
        self.weight_rounding: SoftRounding | None = None
        self.input_quantizer: LearnedInput | None = None
        self.weight_qparams: QParams | None = None
        self.is_hard = False

    def forward(self, x: Tensor) -> Tensor:
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        if self.weight_rounding is None:
            return self.layer(x)
        weight = self.weight_rounding.hard() if self.is_hard else self.weight_rounding()
        return torch.func.functional_call(self.layer, {"weight": weight}, (x,))

    def start(self, seen: Tensor) -> None:
        """Choose the grids, from the weight and from what reaches the layer."""
        if self.choice is None:
            return
        weight = weight_of(self.layer).detach()
        if self.choice.weight is not None:
            spec = self.choice.weight
            granularity = weight_granularity(self.layer, spec.granularity)
            observer = MSE(spec.num_bits, symmetric=spec.symmetric, granularity=granularity, signed=spec.signed)
            observer.observe(weight)
            self.weight_qparams = observer.qparams()
            self.weight_rounding = SoftRounding(weight, self.weight_qparams)
        if self.choice.activation is not None:
            watcher = self.choice.activation.new_observer(PerTensor())
            watcher.observe(seen)
            self.input_quantizer = LearnedInput(watcher.qparams())

    def harden(self, is_hard: bool = True) -> None:
        """Let every weight take the side it is on, or hang between the codes again."""
        self.is_hard = is_hard

    def converted(self) -> nn.Module:
        """The layer of integer codes."""
        if self.choice is None:
            return self.layer
        if self.weight_rounding is not None:
            with torch.no_grad():
                weight_of(self.layer).copy_(self.weight_rounding.hard())
        inputs = None if self.input_quantizer is None else self.input_quantizer.qparams()
        return QuantizedLayer(self.layer, self.weight_qparams, inputs)


def find_blocks(model: nn.Module) -> list[str]:
    """Name the blocks in order: the outermost modules, other than containers, that hold layers; else single layers.

    >>> from frugal.nets.resnet import resnet8_cifar
    >>> find_blocks(resnet8_cifar())
    ['conv1', 'layer1.0', 'layer2.0', 'layer3.0', 'linear']
    """
    layers = set(quantizable_layers(model).values())

    def inside(name: str, module: nn.Module) -> list[str]:
        if module in layers:
            return [name]
        if name and not isinstance(module, (nn.Sequential, nn.ModuleList)):
            return [name] if any(m in layers for m in module.modules()) else []
        return [
            found for child, m in module.named_children() for found in inside(f"{name}.{child}" if name else child, m)
        ]

    return inside("", model)


def output_loss(output: Tensor, target: Tensor, fisher: Tensor | None = None) -> Tensor:
    """Mean over the batch and pixels of Σ over channels (ẑ - z)² · F; F = 1 without ``fisher``."""
    error = (output - target).pow(2)
    if fisher is not None:
        error = error * fisher
    return error.sum(1).mean()


def reconstruct(
    model: nn.Module,
    config: QuantConfig,
    batches: Iterable[Tensor],
    *,
    schedule: Schedule | None = None,
    blocks: Sequence[str] | None = None,
    metric: str = "mse",
    watch: Callable[[str, float, float], None] | None = None,
) -> nn.Module:
    """Quantize a network block after block, each fitted to the outputs of the float one.

    Args:
        model: float; batch norms are folded.
        config: bits and granularity of every layer; the grids of weights are those of least squared error.
        batches: unlabelled pictures, 1,024 are usual; a tensor counts as one batch.
        schedule: how long and how hard; by default with QDrop.
        blocks: names of modules that together hold all layers, in order; ``find_blocks`` by default. A block that comes
            out worse than rounded to the nearest stays rounded to the nearest.
        metric: ``"mse"``, or ``"fisher"``, which weights each output by the squared gradient of the divergence between
            the network's class probabilities and the uniform ones.
        watch: called after each block with its name and its loss before and after.

    Returns:
        A copy in eval mode with layers of integer codes.
    """
    if metric not in ("mse", "fisher"):
        raise ValueError(f"metric must be mse or fisher, got {metric!r}")
    schedule = schedule or Schedule()
    teacher = fold_batchnorm(model).requires_grad_(False)
    pictures = batches if isinstance(batches, Tensor) else torch.cat(list(batches))
    choices = config.for_layers(list(quantizable_layers(teacher)))
    student = map_layers(teacher, lambda name, layer: LearningLayer(layer, choices[name])).eval()
    names = list(blocks) if blocks is not None else find_blocks(teacher)
    missing = [name for name in choices if not any(name == b or name.startswith(f"{b}.") for b in names)]
    if missing:
        raise ValueError(f"no block holds {', '.join(missing[:5])}; the blocks are {', '.join(names)}")
    for name in names:
        before, after = _fit_block(teacher, student, name, pictures, schedule, metric)
        if watch is not None:
            watch(name, before, after)
    learned = {id(module): module.converted() for module in student.modules() if isinstance(module, LearningLayer)}
    return copy.deepcopy(student, dict(learned)).eval()


def _fit_block(
    teacher: nn.Module, student: nn.Module, name: str, pictures: Tensor, schedule: Schedule, metric: str
) -> tuple[float, float]:
    """Learn the codes of one block; return its loss before and after."""
    whole, block = teacher.get_submodule(name), student.get_submodule(name)
    x_float, target = _inputs_and_outputs(teacher, name, pictures)
    x = _inputs_and_outputs(student, name, pictures)[0]
    layers = {n: m for n, m in block.named_modules() if isinstance(m, LearningLayer)}
    seen = watch_inputs(block, x.split(256), layers)
    for layer_name, layer in layers.items():
        layer.start(seen[layer_name])
    fisher = None if metric == "mse" else _fisher(teacher, whole, pictures)
    _harden(layers, True)
    before = _loss(block, x, target, fisher)
    start = copy.deepcopy(block.state_dict())
    _harden(layers, False)
    _learn(block, list(layers.values()), x, x_float, target, fisher, schedule, name)
    _harden(layers, True)
    after = _loss(block, x, target, fisher)
    if after > before:
        block.load_state_dict(start)
    return before, min(before, after)


def _harden(layers: dict[str, LearningLayer], is_hard: bool) -> None:
    for layer in layers.values():
        layer.harden(is_hard)


def _learn(
    block: nn.Module,
    layers: list[LearningLayer],
    x: Tensor,
    x_float: Tensor,
    target: Tensor,
    fisher: Tensor | None,
    schedule: Schedule,
    name: str,
) -> None:
    rng = generator("brecq", schedule.seed, name)
    roundings = [layer.weight_rounding for layer in layers if layer.weight_rounding is not None]
    inputs = [layer.input_quantizer for layer in layers if layer.input_quantizer is not None]
    for each in inputs:
        each.drop, each.rng = schedule.drop, rng
    groups: list[dict[str, Any]] = [{"params": [r.v for r in roundings], "lr": schedule.rounding_rate}]
    groups += [{"params": [each.scale], "lr": schedule.step_rate * each.scale.item()} for each in inputs]
    if schedule.bias_rate > 0:
        biases = [layer.layer.bias for layer in layers if isinstance(layer.layer.bias, nn.Parameter)]
        for bias in biases:
            bias.requires_grad_(True)
        groups.append({"params": biases, "lr": schedule.bias_rate})
    groups = [group for group in groups if group["params"]]
    if not groups:
        return
    optimizer = torch.optim.Adam(groups)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.steps)
    block.train()
    for step in range(schedule.steps):
        pick = torch.randint(len(x), (min(schedule.batch_size, len(x)),), generator=rng)
        batch = x[pick]
        if schedule.drop > 0:
            batch = torch.where(torch.rand(batch.shape, generator=rng) < schedule.drop, x_float[pick], batch)
        loss = output_loss(block(batch), target[pick], None if fisher is None else fisher[pick])
        beta = beta_at(step, schedule.steps, schedule.warm_up)
        if beta is not None and roundings:
            loss = loss + schedule.strength * torch.stack([r.indecision(beta) for r in roundings]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cosine.step()
        with torch.no_grad():
            for each in inputs:
                each.scale.abs_().clamp_(min=torch.finfo(each.scale.dtype).tiny)
    block.eval().requires_grad_(False)


@torch.no_grad()
def _inputs_and_outputs(model: nn.Module, name: str, pictures: Tensor) -> tuple[Tensor, Tensor]:
    outputs: list[Tensor] = []
    hook = model.get_submodule(name).register_forward_hook(lambda _module, _args, y: outputs.append(y))
    try:
        inputs = watch_inputs(model, pictures.split(256), [name])[name]
    finally:
        hook.remove()
    return inputs, torch.cat(outputs)


def _fisher(model: nn.Module, block: nn.Module, pictures: Tensor) -> Tensor:
    """g² at the block's output, for each picture, scaled to mean 1; g of KL(uniform | probabilities)."""
    squares: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_()
        leaf.register_hook(lambda gradient: squares.append(gradient.detach() ** 2))
        return leaf

    hook = block.register_forward_hook(keep)
    try:
        for batch in pictures.split(256):
            with torch.enable_grad():
                logits = model(batch)
                (-torch.log_softmax(logits, 1).mean(1)).sum().backward()
    finally:
        hook.remove()
    fisher = torch.cat(squares)
    return fisher / fisher.mean().clamp(min=1e-30)


@torch.no_grad()
def _loss(block: nn.Module, x: Tensor, target: Tensor, fisher: Tensor | None) -> float:
    """The loss over all pictures, in eval mode."""
    total = 0.0
    for start in range(0, len(x), 256):
        part = slice(start, start + 256)
        loss = output_loss(block(x[part]), target[part], None if fisher is None else fisher[part])
        total += loss.item() * len(x[part])
    return total / len(x)
