"""Drawn pictures: seeded, balanced, different from split to split, and with figures that are what their name says."""

import math

import pytest
import torch

from frugal.data.drawn import BLOCK, CLASSES, SIZE, SPLITS, draw, sheet
from frugal.data.figures import FIGURES

N = 600  # more than two blocks


@pytest.fixture(scope="module")
def drawn():
    return draw(N)


def test_pictures_are_float32_from_0_to_1_with_int64_labels(drawn):
    images, labels = drawn
    assert images.shape == (N, 3, SIZE, SIZE)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.is_contiguous()


def test_every_block_holds_as_many_of_each_class(drawn):
    assert len(CLASSES) == 10
    for block in range(N // BLOCK):
        counts = drawn.labels[block * BLOCK : (block + 1) * BLOCK].bincount(minlength=10)
        assert counts.tolist() == [BLOCK // 10] * 10


def test_the_same_arguments_draw_the_same_pictures_and_leave_torch_alone(drawn):
    state = torch.get_rng_state()
    again = draw(N)
    assert torch.equal(again.images, drawn.images)
    assert torch.equal(again.labels, drawn.labels)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_fewer_pictures_are_the_beginning_of_more(drawn, count):
    few = draw(count)
    assert torch.equal(few.images, drawn.images[:count])
    assert torch.equal(few.labels, drawn.labels[:count])


def test_no_picture_is_in_two_splits_or_under_two_seeds():
    seen = [draw(BLOCK, seed=seed, split=split).images.flatten(1) for seed in (0, 1, 2, 3) for split in SPLITS]
    every = torch.cat(seen)
    assert len(every.unique(dim=0)) == len(every)


def test_the_number_of_threads_does_not_change_a_picture(drawn):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(draw(BLOCK).images, drawn.images[:BLOCK])
    finally:
        torch.set_num_threads(before)


def test_noise_makes_neighbouring_pixels_differ_more():
    def roughness(noise):
        images = draw(BLOCK, noise=noise).images
        return (images[..., 1:] - images[..., :-1]).square().mean()

    assert roughness(0.0) < roughness(0.1) < roughness(0.3)


def test_without_clutter_bar_texture_and_noise_a_figure_lies_on_one_colour():
    images, _ = draw(BLOCK, noise=0, clutter=0, occlusion=0, texture=0)
    corners = images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]  # [n, 3, 4]
    middle = corners.median(dim=2, keepdim=True).values
    same = (corners - middle).abs().amax(dim=1) < 1e-6  # [n, 4]
    assert same.sum(dim=1).float().mean() > 3.5  # a large figure reaches a corner now and then


def test_a_nearest_mean_classifier_fails_so_the_task_is_not_about_colour_or_place(drawn):
    means = torch.stack([drawn.images[drawn.labels == label].mean(dim=0) for label in range(10)]).flatten(1)
    images, labels = draw(1000, split="test")
    found = torch.cdist(images.flatten(1), means).argmin(dim=1)
    right = (found == labels).float().mean().item()
    chance, error = 0.1, math.sqrt(0.1 * 0.9 / 1000)
    assert right < chance + 10 * error


def polar_grid(points=801):
    line = torch.linspace(-1.5, 1.5, points)
    v, u = torch.meshgrid(line, line, indexing="ij")
    return u[None], v[None]


@pytest.mark.parametrize("detail", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("name", CLASSES)
def test_every_figure_is_inside_its_disc_and_neither_empty_nor_full(name, detail):
    u, v = polar_grid()
    inside = FIGURES[name](u, v, torch.full((1, 1, 1), detail)) < 0
    radius = torch.hypot(u, v)
    assert not inside[radius > 1.2].any()
    share = inside[radius < 1].float().mean()
    assert 0.15 < share < 0.95


TURNS = {"disc": 7, "ring": 7, "square": 4, "triangle": 3, "star": 5, "cross": 4}


@pytest.mark.parametrize("name, turns", TURNS.items())
def test_a_figure_looks_the_same_after_the_turns_that_its_name_promises(name, turns):
    u, v = polar_grid(201)
    detail = torch.full((1, 1, 1), 0.4)
    angle = torch.tensor(2 * math.pi / turns)
    turned_u, turned_v = angle.cos() * u - angle.sin() * v, angle.sin() * u + angle.cos() * v
    # float32 coordinates up to 1.5 pass through a handful of products: a few dozen roundings
    slack = 64 * torch.finfo(torch.float32).eps
    before, after = FIGURES[name](u, v, detail), FIGURES[name](turned_u, turned_v, detail)
    if name == "triangle":  # symmetric about the vertical; a third of a turn keeps its outline, not its far distances
        near = before.abs() < 0.2
        before, after = before[near], after[near]
    assert (before - after).abs().max() < slack


@pytest.mark.parametrize("name", CLASSES)
def test_a_signed_distance_grows_at_most_as_fast_as_the_way(name):
    """A slope above 1 would paint an edge harder than a pixel."""
    u, v = polar_grid(601)
    step = 3.0 / 600
    distance = FIGURES[name](u, v, torch.full((1, 1, 1), 0.5))
    ring = (torch.hypot(u, v) > 0.3) & (torch.hypot(u, v) < 1.2)  # a spiral turns fast at its centre
    slope = (distance[..., 1:] - distance[..., :-1]).abs() / step
    smooth = slope[ring[..., 1:] & ring[..., :-1]]
    jumps = (smooth > 1.2).float().mean()
    assert jumps < 0.02  # where a pattern changes from one bar or field to the next


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"count": 0}, "count must be 1 or more, got 0"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"split": "dev"}, "train, val, test, got 'dev'"),
        ({"noise": -0.1}, "noise and texture"),
        ({"noise": math.nan}, "noise and texture"),
        ({"clutter": -1}, "clutter must be 0 or more"),
        ({"occlusion": 1.5}, "from 0 to 1"),
        ({"contrast": math.nan}, "from 0 to 1"),
    ],
)
def test_an_argument_out_of_range_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        draw(**{"count": 1, **wrong})


def test_a_contact_sheet_has_a_row_per_class():
    pixels = sheet(3)
    images, labels = draw(BLOCK, split="val")
    assert pixels.shape == (3, 320, 96)
    first_star = images[labels == CLASSES.index("star")][0]
    row = CLASSES.index("star") * SIZE
    assert torch.equal(pixels[:, row : row + SIZE, :SIZE], first_star)
