"""Residual networks: CIFAR's thin ones, and ImageNet's ResNet-18 and ResNet-50.

Paper:   He et al., "Deep residual learning for image recognition", CVPR 2016, sections 3.4, 4.1 and 4.2.
Formula: y = relu(f(x) + shortcut(x))
Names:   the CIFAR networks name their parameters as github.com/akamaster/pytorch_resnet_cifar10 does, the ImageNet
         ones as torchvision does, so that the weights published for either load as they are.
Learn:   course/3_compact_architectures
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from frugal.core.errors import CheckpointMismatch
from frugal.nets.blocks import conv3x3, initialise_convs_, load_exactly_


class PadShortcut(nn.Module):
    """Option A: skip every second row and column, fill the new channels with zeros. It has no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        before = self.extra // 2
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.extra - before))


class CifarBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        changes = stride != 1 or in_channels != out_channels
        self.shortcut = PadShortcut(in_channels, out_channels, stride) if changes else nn.Sequential()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(out)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """Section 4.2 of the paper: 6n + 2 layers, three stages on 32, 16 and 8 pixels.

    Args:
        blocks_per_stage: n; 3 makes ResNet-20.
        widths: channels of the three stages.
        num_classes: outputs.
    """

    def __init__(
        self, blocks_per_stage: int, widths: tuple[int, int, int] = (16, 32, 64), num_classes: int = 10
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, widths[0])
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.layer1 = _cifar_stage(widths[0], widths[0], blocks_per_stage, stride=1)
        self.layer2 = _cifar_stage(widths[0], widths[1], blocks_per_stage, stride=2)
        self.layer3 = _cifar_stage(widths[1], widths[2], blocks_per_stage, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(widths[2], num_classes)
        initialise_convs_(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.pool(x).flatten(1))


def _cifar_stage(in_channels: int, out_channels: int, count: int, stride: int) -> nn.Sequential:
    blocks = [CifarBlock(in_channels, out_channels, stride)]
    blocks += [CifarBlock(out_channels, out_channels, 1) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


def resnet8_cifar(num_classes: int = 10) -> CifarResNet:
    """8 layers, 77,754 parameters."""
    return CifarResNet(1, num_classes=num_classes)


def resnet20_cifar(num_classes: int = 10) -> CifarResNet:
    """20 layers, 269,722 parameters."""
    return CifarResNet(3, num_classes=num_classes)


def resnet56_cifar(num_classes: int = 10) -> CifarResNet:
    """56 layers, 853,018 parameters."""
    return CifarResNet(9, num_classes=num_classes)


class BasicBlock(nn.Module):
    """ResNet-18's block: two 3 x 3 convolutions; the shortcut projects where the shape changes."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _projection(in_channels, width, stride)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu2(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """ResNet-50's block: 1 x 1 down, 3 x 3 (it has the stride, as in torchvision), 1 x 1 up to four times the width."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = _projection(in_channels, width * self.expansion, stride)
        self.relu3 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu3(out + (x if self.downsample is None else self.downsample(x)))


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class ResNet(nn.Module):
    """Table 1 of the paper: a 7 x 7 stem, four stages, one linear layer.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        counts: blocks in each of the four stages; (2, 2, 2, 2) makes ResNet-18.
        num_classes: outputs.
    """

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], counts: tuple[int, int, int, int], num_classes: int = 1000
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        grown = block.expansion
        self.layer1 = _imagenet_stage(block, 64, 64, counts[0], stride=1)
        self.layer2 = _imagenet_stage(block, 64 * grown, 128, counts[1], stride=2)
        self.layer3 = _imagenet_stage(block, 128 * grown, 256, counts[2], stride=2)
        self.layer4 = _imagenet_stage(block, 256 * grown, 512, counts[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * grown, num_classes)
        initialise_convs_(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _imagenet_stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, width: int, count: int, stride: int
) -> nn.Sequential:
    first = block(in_channels, width, stride)
    return nn.Sequential(first, *[block(width * block.expansion, width, 1) for _ in range(count - 1)])


def resnet18(num_classes: int = 1000) -> ResNet:
    """18 layers, 11,689,512 parameters for 1000 classes."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes)


def resnet50(num_classes: int = 1000) -> ResNet:
    """50 layers, 25,557,032 parameters for 1000 classes."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes)


def load_published(model: nn.Module, path: str | Path) -> nn.Module:
    """Load weights published for a CIFAR ResNet, and put the model in eval mode.

    The file is what ``torch.save`` wrote: a state dict, or a dictionary that holds one under ``state_dict``; a
    ``module.`` in front of the names is taken off. Only tensors are read from it, no code.

    Raises:
        CheckpointMismatch: names or shapes differ. The message lists them, and the model is as it was.
        FileNotFoundError: there is no such file.

    >>> load_published(resnet20_cifar(), "resnet20-12fca82f.th")  # doctest: +SKIP
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises its own, pickle's and zipfile's, all for "not such a file"
        raise CheckpointMismatch(f"{path} is not a file of tensors written by torch.save: {error}") from error
    state = stored.get("state_dict", stored) if isinstance(stored, dict) else stored
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointMismatch(f"{path} holds a {type(state).__name__}, not a dictionary of tensors")
    load_exactly_(model, {name.removeprefix("module."): value for name, value in state.items()}, source=str(path))
    return model.eval()
