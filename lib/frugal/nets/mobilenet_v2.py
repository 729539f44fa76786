"""MobileNetV2: inverted residuals with linear bottlenecks.

Paper:   Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018, tables 1 and 2.
Formula: y = project(dw(expand(x))) (+ x where the shapes agree); ReLU6 after expand and dw, nothing after project
Names:   as torchvision's ``mobilenet_v2``, so that its weights load as they are.
Learn:   course/3_compact_architectures
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from frugal.nets.blocks import initialise_convs_, round_channels


class Stage(NamedTuple):
    """One row of the paper's table 2: ``blocks`` inverted residuals, the first of them with the stride."""

    expansion: int
    channels: int
    blocks: int
    stride: int


IMAGENET_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
SMALL_STAGES = (Stage(1, 16, 1, 1), Stage(4, 24, 2, 2), Stage(4, 32, 2, 2), Stage(4, 48, 1, 1))


class InvertedResidual(nn.Module):
    """Widen with 1 x 1, filter each channel with 3 x 3, narrow with 1 x 1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [conv_bn_relu6(in_channels, hidden, kernel=1)]
        layers += [
            conv_bn_relu6(hidden, hidden, kernel=3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),  # no activation: the narrow space would lose what ReLU cuts
        ]
        self.conv = nn.Sequential(*layers)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.is_residual else self.conv(x)


def conv_bn_relu6(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU6(inplace=True))


class MobileNetV2(nn.Module):
    """Stem, stages of inverted residuals, a 1 x 1 head, one linear layer.

    Args:
        num_classes: outputs.
        width: multiplies every channel count; the results are rounded to multiples of 8.
        stages: the body, one ``Stage`` per row.
        stem: channels and stride of the first convolution.
        head: channels before the classifier; a width below 1 leaves them as they are.
        dropout: before the classifier.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width: float = 1.0,
        stages: Sequence[Stage] = IMAGENET_STAGES,
        stem: tuple[int, int] = (32, 2),
        head: int = 1280,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        channels = round_channels(stem[0] * width)
        layers: list[nn.Module] = [conv_bn_relu6(3, channels, kernel=3, stride=stem[1])]
        for expansion, stage_channels, blocks, stage_stride in stages:
            out_channels = round_channels(stage_channels * width)
            for position in range(blocks):
                stride = stage_stride if position == 0 else 1
                layers.append(InvertedResidual(channels, out_channels, stride, expansion))
                channels = out_channels
        last = round_channels(head * max(1.0, width))
        layers.append(conv_bn_relu6(channels, last, kernel=1))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        linear = nn.Linear(last, num_classes)
        self.classifier = nn.Sequential(nn.Dropout(dropout), linear)
        initialise_convs_(self)
        nn.init.normal_(linear.weight, 0, 0.01)
        nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


def mobilenet_v2(num_classes: int = 1000, width: float = 1.0) -> MobileNetV2:
    """The paper's network: 3,504,872 parameters at width 1 for 1000 classes."""
    return MobileNetV2(num_classes, width)


def mobilenet_v2_small(
    num_classes: int = 10, width: float = 1.0, stages: Sequence[Stage] = SMALL_STAGES
) -> MobileNetV2:
    """A variant for 32 x 32 pictures: the stem keeps the resolution, and two stages halve it."""
    return MobileNetV2(num_classes, width, stages, stem=(16, 1), head=128, dropout=0.0)
