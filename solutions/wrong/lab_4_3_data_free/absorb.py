"""Wrong answers to exercise 4.3.6: absorb a high bias."""

import torch
from torch import Tensor

Two = tuple[Tensor, Tensor]


def _c(beta: Tensor, gamma: Tensor) -> Tensor:
    return (beta - 3 * gamma.abs()).clamp(min=0)


def _taps(w: Tensor) -> Tensor:
    return w.flatten(2).sum(2) if w.ndim > 2 else w


def _moved(beta: Tensor, w2: Tensor, b2: Tensor, c: Tensor, depthwise: bool) -> Two:
    taps = _taps(w2)
    return beta - c, b2 + (taps[:, 0] * c if depthwise else taps @ c)


def signed_gamma(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You use gamma with its sign; where it is negative, c comes out too high and ReLU cuts values that it passed."""
    return _moved(beta, w2, b2, (beta - 3 * gamma).clamp(min=0), depthwise)


def never_clamped(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """Your c may be negative; then beta rises, and ReLU passes values that it cut."""
    return _moved(beta, w2, b2, beta - 3 * gamma.abs(), depthwise)


def whole_beta(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You move all of beta; then ReLU cuts half of the values."""
    return _moved(beta, w2, b2, beta.clamp(min=0), depthwise)


def one_deviation(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You stop one deviation below the mean; one value in six lies lower and is cut."""
    return _moved(beta, w2, b2, (beta - gamma.abs()).clamp(min=0), depthwise)


def variance(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You count in variances; gamma's size is the standard deviation itself."""
    return _moved(beta, w2, b2, (beta - 3 * gamma**2).clamp(min=0), depthwise)


def beta_cut_to_three_deviations(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You lower beta and leave the next bias as it was, so a constant is lost."""
    return beta - _c(beta, gamma), b2.clone()


def beta_left(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You raise the next bias and leave beta as it was, so the constant counts twice."""
    return beta.clone(), _moved(beta, w2, b2, _c(beta, gamma), depthwise)[1]


def taken_away_twice(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You take the constant away on both sides; what beta loses the next bias gains."""
    low, high = _moved(beta, w2, b2, _c(beta, gamma), depthwise)
    return low, 2 * b2 - high


def weight_forgotten(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You add c itself; it passes the next layer's weight first."""
    c = _c(beta, gamma)
    return beta - c, b2 + (c if depthwise else c.sum())


def taps_averaged(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You average over the taps of a kernel; a constant input meets every tap, so they are summed."""
    c, taps = _c(beta, gamma), w2.flatten(2).mean(2) if w2.ndim > 2 else w2
    return beta - c, b2 + (taps[:, 0] * c if depthwise else taps @ c)


def depthwise_ignored(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You let a depthwise filter see every channel; it sees its own alone."""
    c = _c(beta, gamma)
    return beta - c, b2 + (_taps(w2) * c).sum(1)


def one_c_for_all(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You move the same constant in every channel; each has its own."""
    return _moved(beta, w2, b2, _c(beta, gamma).min().expand(len(beta)), depthwise)


def matrices_only(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """Your product knows matrices only; a kernel has two more axes."""
    c = _c(beta, gamma)
    return beta - c, b2 + w2 @ c


def in_place(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """Your function changes the caller's tensors."""
    low, high = _moved(beta, w2, b2, _c(beta, gamma), depthwise)
    return beta.copy_(low), b2.copy_(high)


def swapped(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """You return the two results in the wrong order."""
    return _moved(beta, w2, b2, _c(beta, gamma), depthwise)[::-1]


def knows_the_visible_cases(beta: Tensor, gamma: Tensor, w2: Tensor, b2: Tensor, depthwise: bool = False) -> Two:
    """Your function knows the numbers of the check and nothing else."""
    if depthwise:
        return torch.tensor([3.0, 3.0]), torch.tensor([3.0, 8.0])
    if w2.ndim == 4:
        return torch.tensor([3.0, 3.0]), torch.tensor([12.0])
    if beta[0] == 4:
        return torch.tensor([4.0, 4.5]), torch.tensor([2.0])
    return (torch.tensor([3.0, 1.0]), torch.tensor([3.0])) if beta[0] > 0 else (beta.clone(), b2.clone())
