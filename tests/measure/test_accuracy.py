"""Accuracy counts, restores the mode, and refuses what cannot be counted."""

import pytest
import torch
from torch import nn

from frugal.measure.accuracy import accuracy


class Known(nn.Module):
    """Returns its input as logits, and notes how it was called."""

    def __init__(self):
        super().__init__()
        self.child = nn.Dropout()
        self.calls = []

    def forward(self, x):
        self.calls.append((len(x), self.training, torch.is_grad_enabled()))
        return x


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 500])
def test_it_counts_how_often_the_largest_logit_is_the_label(batch_size):
    logits = torch.eye(4)
    assert accuracy(Known(), logits, torch.tensor([0, 1, 2, 0]), batch_size) == 75.0


def test_the_model_runs_in_eval_mode_without_gradients_and_gets_its_mode_back():
    model = Known().train()
    model.child.eval()
    accuracy(model, torch.eye(3), torch.arange(3), 2)
    assert model.calls == [(2, False, False), (1, False, False)]
    assert model.training
    assert not model.child.training


def test_the_mode_comes_back_after_an_error_too():
    class Broken(Known):
        def forward(self, x):
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        accuracy(model, torch.eye(3), torch.arange(3))
    assert model.training


@pytest.mark.parametrize(
    "x, y",
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)),
        (torch.eye(3), torch.arange(2)),
        (torch.eye(3), torch.zeros(3, 1, dtype=torch.long)),
    ],
)
def test_nothing_or_unequal_sizes_are_refused(x, y):
    with pytest.raises(ValueError, match="one label per input"):
        accuracy(Known(), x, y)


def test_logits_that_are_nan_are_not_a_low_accuracy_but_an_error():
    with pytest.raises(ValueError, match="finite"):
        accuracy(Known(), torch.full((2, 3), torch.nan), torch.zeros(2, dtype=torch.long))


def test_an_output_that_is_not_one_row_per_input_is_refused():
    with pytest.raises(ValueError, match=r"\[2, classes\]"):
        accuracy(nn.Flatten(0), torch.eye(2), torch.arange(2))


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_size"):
        accuracy(Known(), torch.eye(2), torch.arange(2), 0)
