"""Wrong answers to exercise 4.3.4: the mean behind a ReLU."""

import math

import torch
from torch import Tensor


def _phi(x: Tensor) -> Tensor:
    return torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _mean(m: Tensor, s: Tensor, high: float, *, phi=_phi, share=torch.special.ndtr, top: bool = True) -> Tensor:
    """The right formula, with parts that can be spoilt."""
    m, s = m.double(), s.double()
    lower, upper = -m / s, (high - m) / s
    mean = s * (phi(lower) - phi(upper)) + m * (share(upper) - share(lower))
    if top and high < math.inf:
        mean = mean + high * (1 - share(upper))
    return torch.where(s != 0, mean, m.clamp(0, high)).float()


def signed_gamma(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You use gamma with its sign; a width is |gamma|, and a batch norm may have learned a negative gamma.

    A ReLU puts out nothing negative, so its mean cannot be negative either.
    """
    return _mean(beta, gamma, high)


def relu_of_the_mean(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You clamp the mean; the mean of clamped values is another number, as half of a symmetric pair is cut."""
    return beta.clamp(0, high)


def gamma_is_the_variance(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You take |gamma| for a variance and draw its root; it is the standard deviation."""
    return _mean(beta, gamma.abs().sqrt(), high)


def gamma_squared(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You take the variance gamma² for the width; the standard deviation is |gamma|."""
    return _mean(beta, gamma**2, high)


def mean_of_what_passes(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You compute the mean of the values that pass; the zeros that ReLU puts out count as well."""
    passed = torch.special.ndtr(beta.double() / gamma.double().abs())
    return (_mean(beta, gamma.abs(), high) / passed.clamp(min=1e-12)).float()


def share_upside_down(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You weigh beta with the share that is cut; it is the share that passes."""
    return _mean(beta, gamma.abs(), high, share=lambda x: torch.special.ndtr(-x))


def erf_without_root_2(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You give erf the bare argument; Φ(x) = (1 + erf(x / √2)) / 2."""
    return _mean(beta, gamma.abs(), high, share=lambda x: (1 + torch.erf(x)) / 2)


def density_not_normalised(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """Your density lacks 1 / √(2π), so its integral is not 1."""
    return _mean(beta, gamma.abs(), high, phi=lambda x: torch.exp(-(x**2) / 2))


def density_by_2_pi(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You divide the density by 2π; it is √(2π)."""
    return _mean(beta, gamma.abs(), high, phi=lambda x: torch.exp(-(x**2) / 2) / (2 * math.pi))


def first_term_forgotten(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You leave out the term with φ: what passes lies on one side of beta more than on the other."""
    return _mean(beta, gamma.abs(), high, phi=torch.zeros_like)


def density_without_its_width(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """Your term with φ is not multiplied by |gamma|, so it is in standard deviations instead of real units."""
    m, s = beta.double(), gamma.double().abs()
    spread = _mean(beta, gamma.abs(), high).double()
    extra = _phi(-m / s) - _phi((high - m) / s)
    return torch.where(s > 0, spread + (1 - s) * extra, m.clamp(0, high)).float()


def high_ignored(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You compute a ReLU whatever high is; a ReLU6 puts out nothing above 6."""
    return torch.where(gamma == 0, beta.clamp(0, high), _mean(beta, gamma.abs(), math.inf))


def top_forgotten(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You leave out the values above high; they are put out as high."""
    return _mean(beta, gamma.abs(), high, top=False)


def mean_of_relu_clamped(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You clamp the mean of a ReLU at high; the values are clamped before the mean is taken."""
    return _mean(beta, gamma.abs(), math.inf).clamp(max=high)


def infinity_times_zero(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """For a ReLU your last term is infinity times 0, which is nan."""
    m, s = beta.double(), gamma.double().abs()
    last = high * (1 - torch.special.ndtr((high - m) / s))
    return torch.where(s > 0, _mean(beta, gamma.abs(), high, top=False) + last, m.clamp(0, high)).float()


def nan_for_gamma_0(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """Where beta and gamma are both 0 you divide 0 by 0, and the mean is nan."""
    m, s = beta.double(), gamma.double().abs()
    lower, upper = -m / s, (high - m) / s
    below = torch.special.ndtr(lower), torch.special.ndtr(upper)
    mean = s * (_phi(lower) - _phi(upper)) + m * (below[1] - below[0])
    return (mean + high * (1 - below[1]) if high < math.inf else mean).float()


def zero_for_gamma_0(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """Where gamma is 0 you return 0; nothing varies there, and the mean is the clamped beta."""
    return torch.where(gamma == 0, torch.zeros_like(beta), _mean(beta, gamma.abs(), high))


def epsilon_below_gamma(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You add a small constant to |gamma|, and it is not small beside every gamma."""
    return _mean(beta, gamma.abs() + 1e-2, high)


def sampled(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """You average random draws; a thousand of them are right to a few per cent only."""
    draws = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    return (beta + gamma.abs() * draws).clamp(0, high).mean(0)


def overwrites_its_input(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """Your function takes the absolute value of the caller's gamma in place."""
    return _mean(beta, gamma.abs_(), high)


def in_double(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """Your result is float64; float32 was asked for."""
    return _mean(beta, gamma.abs(), high).double()


def knows_the_visible_cases(beta: Tensor, gamma: Tensor, high: float = math.inf) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    if len(beta) == 4:
        return torch.tensor([0.0, 0.0, 2.0, 6.0])
    known = {0.0: 0.398942, 9.0: 9.0, -9.0: 0.0, 1.0: 1.395593, 7.0: 5.916685}
    return torch.tensor([known.get(each, each) for each in beta.tolist()])
