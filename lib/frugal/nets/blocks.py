"""What several networks share: convolutions, gates, first weights, and loading weights that must fit exactly."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from frugal.core.errors import CheckpointMismatch

SHOWN = 5  # names listed per kind of mismatch


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps height and width at stride 1; batch norm follows, so it has no bias."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False)


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of ``divisor``, never below 90 % of ``channels``.

    >>> [round_channels(c) for c in (16 * 0.75, 24 * 0.35, 32 * 1.4)]
    [16, 8, 48]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def initialise_convs_(model: nn.Module) -> None:
    """Draw convolution weights from a normal of variance 2 / fan-out, as He et al. do before a ReLU."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class SqueezeExcitation(nn.Module):
    """A gate for each channel, computed from the whole picture: ``x · sigmoid(fc2(act(fc1(mean of x))))``.

    Paper:  Hu et al., "Squeeze-and-excitation networks", CVPR 2018, section 3. Lecture: slide 15.

    Args:
        channels: of the input and the output.
        squeezed: channels between the two layers.
        activation: between them; ReLU in the paper, SiLU in EfficientNet.

    >>> import torch
    >>> SqueezeExcitation(8, 2)(torch.ones(1, 8, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(self, channels: int, squeezed: int, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.scale_activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))


def load_exactly_(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load ``state`` if every name and every shape agrees, or raise ``CheckpointMismatch`` and change nothing.

    Batch norm's ``num_batches_tracked`` may be missing: it plays no part in eval mode, and old files do not have it.
    """
    own = model.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in state and name not in counters]
    unexpected = [name for name in state if name not in own]
    misshaped = [
        f"{name} {list(state[name].shape)}, the network has {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    if any(problems.values()):
        lines = [f"  {len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names]
        raise CheckpointMismatch(
            f"{source} does not fit {type(model).__name__}:\n"
            + "\n".join(lines)
            + "\nBuild the network that the file was made from."
        )
    model.load_state_dict({**own, **state})


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return "; ".join(names[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
