"""Calibration pictures are different ones, picked by a seed."""

import pytest
import torch

from frugal.data.calibration import calibration_batches


def test_pictures_are_picked_without_replacement():
    picked = torch.cat(calibration_batches(torch.arange(100.0)[:, None], 64, batch_size=10))
    assert len(picked) == len(picked.unique()) == 64


def test_the_seed_decides_which():
    images = torch.arange(100.0)[:, None]
    first, again, other = (torch.cat(calibration_batches(images, 20, seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("count", [0, 11])
def test_more_than_there_are_is_refused(count):
    with pytest.raises(ValueError, match=f"got {count}"):
        calibration_batches(torch.zeros(10, 3), count)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="batch_size"):
        calibration_batches(torch.zeros(10, 3), 5, batch_size=0)
