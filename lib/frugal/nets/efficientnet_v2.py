"""EfficientNetV2: fused blocks first, inverted residuals with squeeze-and-excitation later, SiLU throughout.

Paper:   [31] Tan & Le, "EfficientNetV2: smaller models and faster training", ICML 2021, table 4. Lecture: slides 4, 15.
Formula: MBConv        y = project(se(dw(expand(x))))     expand and project 1 x 1, dw one filter for each channel
         Fused-MBConv  y = project(conv3x3_expand(x))     one dense 3 x 3 in place of expand and dw: more products, but
                                                           on early, narrow layers faster on most hardware
Names:   as torchvision's ``efficientnet_v2_s`` and so on, so that its weights load as they are.
Learn:   course/3_compact_architectures
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from frugal.nets.blocks import SqueezeExcitation, initialise_convs_

EPS = 1e-3  # of every batch norm, as in the authors' TensorFlow code


class Stage(NamedTuple):
    """One row of the paper's table 4.

    fused:     Fused-MBConv, or MBConv with squeeze-and-excitation.
    expansion: hidden channels by input channels.
    channels:  outputs of each block.
    blocks:    how many; the first one has the stride.
    """

    fused: bool
    expansion: int
    channels: int
    blocks: int
    stride: int


S_STAGES = (
    Stage(True, 1, 24, 2, 1),
    Stage(True, 4, 48, 4, 2),
    Stage(True, 4, 64, 4, 2),
    Stage(False, 4, 128, 6, 2),
    Stage(False, 6, 160, 9, 1),
    Stage(False, 6, 256, 15, 2),
)
M_STAGES = (
    Stage(True, 1, 24, 3, 1),
    Stage(True, 4, 48, 5, 2),
    Stage(True, 4, 80, 5, 2),
    Stage(False, 4, 160, 7, 2),
    Stage(False, 6, 176, 14, 1),
    Stage(False, 6, 304, 18, 2),
    Stage(False, 6, 512, 5, 1),
)
L_STAGES = (
    Stage(True, 1, 32, 4, 1),
    Stage(True, 4, 64, 7, 2),
    Stage(True, 4, 96, 7, 2),
    Stage(False, 4, 192, 10, 2),
    Stage(False, 6, 224, 19, 1),
    Stage(False, 6, 384, 25, 2),
    Stage(False, 6, 640, 7, 1),
)
SMALL_STAGES = (
    Stage(True, 1, 16, 1, 1),
    Stage(True, 4, 24, 1, 2),
    Stage(False, 4, 32, 2, 2),
    Stage(False, 4, 48, 1, 1),
)


class ResidualDrop(nn.Module):
    """In training, leave out a block's answer for some pictures of a batch (stochastic depth, Huang et al. 2016)."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        if not 0 <= chance < 1:
            raise ValueError(f"chance must be from 0 to below 1, got {chance}")
        self.chance = chance

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.chance:
            return x
        keep = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.chance
        return x * keep / (1 - self.chance)


class Block(nn.Module):
    """MBConv or Fused-MBConv; the input is added where the shapes agree."""

    def __init__(self, stage: Stage, in_channels: int, stride: int, drop: float) -> None:
        super().__init__()
        hidden, out = in_channels * stage.expansion, stage.channels
        layers: list[nn.Module] = []
        if stage.fused:
            layers.append(conv_bn(in_channels, out if stage.expansion == 1 else hidden, 3, stride))
        else:
            if stage.expansion > 1:
                layers.append(conv_bn(in_channels, hidden, 1))
            layers += [
                conv_bn(hidden, hidden, 3, stride, groups=hidden),
                SqueezeExcitation(hidden, max(1, in_channels // 4), nn.SiLU),
            ]
        if not (stage.fused and stage.expansion == 1):
            layers.append(conv_bn(hidden, out, 1, activation=False))
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = ResidualDrop(drop)
        self.is_residual = stride == 1 and in_channels == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stochastic_depth(self.block(x)) if self.is_residual else self.block(x)


def conv_bn(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, *, activation: bool = True
) -> nn.Sequential:
    """Convolution, batch norm, and SiLU unless the result goes into a sum."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(out_channels, eps=EPS)]
    return nn.Sequential(*layers, nn.SiLU(inplace=True)) if activation else nn.Sequential(*layers)


class EfficientNetV2(nn.Module):
    """Stem, stages, a 1 x 1 head, one linear layer.

    Args:
        stages: the body.
        num_classes: outputs.
        stem_stride: 2, or 1 for small pictures.
        head: channels before the classifier.
        dropout: before the classifier.
        drop: the last block's chance of being left out in training; earlier blocks have less, in proportion.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        num_classes: int = 1000,
        *,
        stem_stride: int = 2,
        head: int = 1280,
        dropout: float = 0.2,
        drop: float = 0.2,
    ) -> None:
        super().__init__()
        channels = stages[0].channels
        layers: list[nn.Module] = [conv_bn(3, channels, 3, stem_stride)]
        total, position = sum(stage.blocks for stage in stages), 0
        for stage in stages:
            blocks: list[nn.Module] = []
            for first in [True] + [False] * (stage.blocks - 1):
                blocks.append(Block(stage, channels, stage.stride if first else 1, drop * position / total))
                channels, position = stage.channels, position + 1
            layers.append(nn.Sequential(*blocks))
        layers.append(conv_bn(channels, head, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        linear = nn.Linear(head, num_classes)
        self.classifier = nn.Sequential(nn.Dropout(dropout), linear)
        initialise_convs_(self)
        nn.init.uniform_(linear.weight, -(num_classes**-0.5), num_classes**-0.5)
        nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def efficientnet_v2_s(num_classes: int = 1000) -> EfficientNetV2:
    """The paper's S: 21,458,488 parameters for 1000 classes."""
    return EfficientNetV2(S_STAGES, num_classes, dropout=0.2)


def efficientnet_v2_m(num_classes: int = 1000) -> EfficientNetV2:
    """The paper's M: 54,139,356 parameters for 1000 classes."""
    return EfficientNetV2(M_STAGES, num_classes, dropout=0.3)


def efficientnet_v2_l(num_classes: int = 1000) -> EfficientNetV2:
    """The paper's L: 118,515,272 parameters for 1000 classes."""
    return EfficientNetV2(L_STAGES, num_classes, dropout=0.4)


def efficientnet_v2_small(num_classes: int = 10, stages: Sequence[Stage] = SMALL_STAGES) -> EfficientNetV2:
    """A variant for 32 x 32 pictures: the stem keeps the resolution, and two stages halve it."""
    return EfficientNetV2(stages, num_classes, stem_stride=1, head=128, dropout=0.0, drop=0.0)
