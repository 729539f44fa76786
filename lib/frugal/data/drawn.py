"""Drawn images: ten classes of 32 x 32 colour pictures, made on the spot from a seed.

Every picture holds one figure, drawn from its signed distance (negative inside, positive outside) at a random place,
size, angle and stretch, in a random colour. Below it lies a textured background with small clutter; above it,
sometimes, a bar; then comes noise.

    coverage = clamp(1/2 - distance in pixels, 0, 1)          soft edge, one pixel wide
    picture  = background · (1 - coverage) + figure · coverage

Learn:   course/0_start
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from frugal.core.seed import generator
from frugal.data.figures import FIGURES

SIZE = 32
BLOCK = 250  # pictures drawn at a time: draw(100) is the beginning of draw(1000)
SPLITS = ("train", "val", "test")
CLASSES = tuple(FIGURES)


class DrawnImages(NamedTuple):
    """Pictures and what they show.

    images: float32 [n, 3, 32, 32], pixels from 0 to 1; the networks of this project take them as they are.
    labels: int64 [n], positions in ``CLASSES``.
    """

    images: Tensor
    labels: Tensor


class Pose(NamedTuple):
    """Where a figure stands: all [n, 1, 1], lengths in pixels, angles in radians."""

    x: Tensor
    y: Tensor
    radius: Tensor
    angle: Tensor
    stretch: Tensor


class Dice:
    """Uniform random numbers of one stream, shaped [n, ...]."""

    def __init__(self, seed: int, split: str) -> None:
        self.rng = generator("drawn", split, seed)

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.rng) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.rng)

    def labels(self, count: int) -> Tensor:
        """As many of each class as can be, in random order."""
        return torch.randperm(count, generator=self.rng) % len(CLASSES)


def _pose(dice: Dice, count: int, radius: tuple[float, float], margin: float) -> Pose:
    shape = (count, 1, 1)
    return Pose(
        x=dice.between(margin, SIZE - margin, *shape),
        y=dice.between(margin, SIZE - margin, *shape),
        radius=dice.between(*radius, *shape),
        angle=dice.between(0, 2 * math.pi, *shape),
        stretch=dice.between(0.85, 1.18, *shape),
    )


def _coverage(labels: Tensor, pose: Pose, detail: Tensor) -> Tensor:
    """How much of each pixel the figure covers, 0 to 1.  [n, 32, 32]"""
    pixel = torch.arange(SIZE) + 0.5
    dx, dy = pixel[None, None, :] - pose.x, pixel[None, :, None] - pose.y
    cos, sin = pose.angle.cos(), pose.angle.sin()
    u = (cos * dx + sin * dy) / (pose.radius * pose.stretch)
    v = (cos * dy - sin * dx) / (pose.radius / pose.stretch)
    distance = torch.empty(u.shape)
    for label, figure in enumerate(FIGURES.values()):
        rows = (labels == label).nonzero().flatten()
        distance[rows] = figure(u[rows], v[rows], detail[rows])
    return (0.5 - distance * pose.radius).clamp(0, 1)


def _colour_beside(dice: Dice, colour: Tensor, low: float, high: float) -> Tensor:
    """Of eight random colours, the one whose distance from ``colour`` [n, 3] is nearest to a wish from low to high."""
    choices = dice.between(0, 1, colour.shape[0], 8, 3)
    wish = dice.between(low, high, colour.shape[0], 1)
    miss = ((choices - colour[:, None]).norm(dim=2) - wish).abs()  # [n, 8]
    return choices[torch.arange(colour.shape[0]), miss.argmin(dim=1)]


def _over(below: Tensor, colour: Tensor, coverage: Tensor) -> Tensor:
    """Paint ``colour`` [n, 3] or [n, 3, 32, 32] where ``coverage`` [n, 32, 32] says so."""
    if colour.ndim == 2:
        colour = colour[:, :, None, None]
    return torch.lerp(below, colour, coverage[:, None])


def _ramp(dice: Dice, count: int) -> Tensor:
    """A linear ramp from about -1 to 1 across the picture, in a random direction.  [n, 32, 32]"""
    angle = dice.between(0, 2 * math.pi, count, 1, 1)
    pixel = torch.linspace(-1, 1, SIZE)
    return angle.cos() * pixel[None, None, :] + angle.sin() * pixel[None, :, None]


def _background(dice: Dice, colour: Tensor, texture: float) -> Tensor:
    """A colour with a ramp, soft clouds and a fine grating on it.  [n, 3, 32, 32]"""
    count = colour.shape[0]
    tint = dice.between(-1, 1, count, 3, 1, 1)
    clouds = interpolate(dice.normal(count, 3, 6, 6), size=SIZE, mode="bicubic", align_corners=True)
    grating = torch.sin(_ramp(dice, count) * dice.between(4, 24, count, 1, 1) + dice.between(0, 6.28, count, 1, 1))
    strength = dice.between(0, texture, count, 3, 1, 1)  # of ramp, clouds and grating
    return (
        colour[:, :, None, None]
        + 1.5 * strength[:, :1] * tint * _ramp(dice, count)[:, None]
        + 0.7 * strength[:, 1:2] * clouds
        + 0.7 * strength[:, 2:] * tint * grating[:, None]
    )


def _bar(dice: Dice, pose: Pose, probability: float) -> Tensor:
    """A bar that crosses the figure off its centre, in some of the pictures.  [n, 32, 32]"""
    count = pose.x.shape[0]
    angle = dice.between(0, 2 * math.pi, count, 1, 1)
    offset = dice.between(0.1, 0.7, count, 1, 1) * pose.radius
    half_width = dice.between(0.8, 2.2, count, 1, 1)
    there = dice.between(0, 1, count, 1, 1) < probability
    pixel = torch.arange(SIZE) + 0.5
    across = angle.cos() * (pixel[None, None, :] - pose.x) + angle.sin() * (pixel[None, :, None] - pose.y)
    return (0.5 + half_width - (across - offset).abs()).clamp(0, 1) * there


def _draw_block(
    dice: Dice, noise: float, clutter: int, occlusion: float, contrast: float, texture: float
) -> DrawnImages:
    labels = dice.labels(BLOCK)
    ground = dice.between(0.15, 0.85, BLOCK, 3)
    picture = _background(dice, ground, texture)
    for _ in range(clutter):
        others = (dice.between(0, len(CLASSES), BLOCK)).long()
        small = _coverage(others, _pose(dice, BLOCK, (1.5, 3.5), margin=0.0), dice.between(0, 1, BLOCK, 1, 1))
        there = dice.between(0, 1, BLOCK, 1, 1) < 0.6
        picture = _over(picture, _colour_beside(dice, ground, 0.15, 0.8), small * there)
    pose = _pose(dice, BLOCK, (5.5, 12.0), margin=11.0)
    figure = _colour_beside(dice, ground, contrast, 1.0)[:, :, None, None] + 0.12 * _ramp(dice, BLOCK)[:, None]
    picture = _over(picture, figure, _coverage(labels, pose, dice.between(0, 1, BLOCK, 1, 1)))
    picture = _over(picture, dice.between(0, 1, BLOCK, 3), _bar(dice, pose, occlusion))
    grain = dice.between(0, noise, BLOCK, 1, 1, 1) * dice.normal(BLOCK, 3, SIZE, SIZE)
    return DrawnImages((picture + grain).clamp(0, 1), labels)


def draw(
    count: int,
    *,
    seed: int = 0,
    split: str = "train",
    noise: float = 0.15,
    clutter: int = 4,
    occlusion: float = 0.5,
    contrast: float = 0.25,
    texture: float = 0.15,
) -> DrawnImages:
    """Draw ``count`` pictures; the same arguments give the same pictures, and fewer pictures are the beginning of more.

    Args:
        count: how many pictures, 1 or more. Every 250 of them hold 25 of each class.
        seed: 0 or more. Each pair of seed and split has a random stream of its own.
        split: "train", "val" or "test".
        noise: largest standard deviation of the grain, 0 or more; each picture has its own between 0 and this.
        clutter: how many small figures may lie behind the large one.
        occlusion: how often a bar crosses the figure, 0 to 1.
        contrast: smallest colour distance that is asked for between figure and background, 0 to 1.
        texture: how strong the background's ramp, clouds and grating may be, 0 or more.

    Returns:
        Images and labels.

    Raises:
        ValueError: an argument out of its range.

    >>> images, labels = draw(6, split="val")
    >>> images.shape, [CLASSES[label] for label in labels[:2]]
    (torch.Size([6, 3, 32, 32]), ['checker', 'triangle'])
    """
    _check_arguments(count, seed, split, noise, clutter, occlusion, contrast, texture)
    dice = Dice(seed, split)
    blocks = [_draw_block(dice, noise, clutter, occlusion, contrast, texture) for _ in range(math.ceil(count / BLOCK))]
    return DrawnImages(torch.cat([b.images for b in blocks])[:count], torch.cat([b.labels for b in blocks])[:count])


def _check_arguments(
    count: int, seed: int, split: str, noise: float, clutter: int, occlusion: float, contrast: float, texture: float
) -> None:
    if count < 1:
        raise ValueError(f"count must be 1 or more, got {count}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if not (math.isfinite(noise) and noise >= 0 and math.isfinite(texture) and texture >= 0):
        raise ValueError(f"noise and texture must be finite and 0 or more, got {noise} and {texture}")
    if clutter < 0:
        raise ValueError(f"clutter must be 0 or more small figures, got {clutter}")
    if not (0 <= occlusion <= 1 and 0 <= contrast <= 1):
        raise ValueError(f"occlusion and contrast must be from 0 to 1, got {occlusion} and {contrast}")


def sheet(columns: int = 16, *, seed: int = 0, split: str = "val") -> Tensor:
    """Lay pictures out as a contact sheet, one row per class.  [3, 320, 32 · columns]"""
    if columns < 1:
        raise ValueError(f"columns must be 1 or more, got {columns}")
    images, labels = draw(BLOCK * math.ceil(columns * len(CLASSES) / BLOCK), seed=seed, split=split)
    rows = [torch.cat(list(images[labels == label][:columns]), dim=2) for label in range(len(CLASSES))]
    return torch.cat(rows, dim=1)
