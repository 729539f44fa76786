"""Generators repeat for the same words and differ for others."""

import torch

from frugal.core.seed import generator


def draw(*words):
    return torch.rand(4, generator=generator(*words))


def test_the_same_words_give_the_same_numbers():
    assert torch.equal(draw(3, "train"), draw(3, "train"))


def test_other_words_give_other_numbers():
    streams = [draw(3, "train"), draw(3, "test"), draw(4, "train"), draw("3", "train"), draw(3), draw(3, "train", 0)]
    assert all(not torch.equal(a, b) for i, a in enumerate(streams) for b in streams[:i])


def test_the_global_state_is_left_alone():
    before = torch.random.get_rng_state()
    draw(1)
    assert torch.equal(before, torch.random.get_rng_state())
