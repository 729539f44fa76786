"""Wrong answers to exercise 4.5.4: learn the step."""

import torch
from torch import Tensor


def _slope(step: Tensor, factor: float) -> Tensor:
    """The same value with another slope."""
    return step.detach() + (step - step.detach()) * factor


def _through(v: Tensor) -> Tensor:
    return v + (torch.round(v) - v).detach()


def factor_forgotten(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """You leave gradient_scale out: the step gets the whole sum."""
    return _through((x / step).clamp(quant_min, quant_max)) * step


def factor_on_everything(
    x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0
) -> Tensor:
    """gradient_scale multiplies the gradient of x as well; it is for the step alone."""
    y = _through((x / step).clamp(quant_min, quant_max)) * step
    return y.detach() + (y - y.detach()) * gradient_scale


def factor_on_the_value(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """gradient_scale changes your values; it is for the way back only."""
    step = step * gradient_scale
    return _through((x / step).clamp(quant_min, quant_max)) * step


def factor_on_the_output(
    x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0
) -> Tensor:
    """You multiply the output by gradient_scale; the values stay, only the step's gradient is scaled."""
    return gradient_scale * _through((x / step).clamp(quant_min, quant_max)) * step


def factor_on_one_term(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """gradient_scale reaches only one of the two places where the step occurs."""
    return _through((x / step).clamp(quant_min, quant_max)) * _slope(step, gradient_scale)


def divided_by_the_factor(
    x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0
) -> Tensor:
    """You divide by gradient_scale; the gradient is multiplied by it."""
    step = _slope(step, 1 / gradient_scale)
    return _through((x / step).clamp(quant_min, quant_max)) * step


def detached_codes(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """The step inside round gets no gradient: your codes are a constant to it."""
    step = _slope(step, gradient_scale)
    v = (x / step.detach()).clamp(quant_min, quant_max)
    return _through(v) * step


def torch_round_alone(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """Your round lets no gradient pass, so x gets none and the step only one of its two terms."""
    step = _slope(step, gradient_scale)
    return torch.round((x / step).clamp(quant_min, quant_max)) * step + 0 * x


def step_is_a_constant(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """No gradient reaches your step: it is detached everywhere."""
    constant = step.detach()
    return _through((x / constant).clamp(quant_min, quant_max)) * constant + 0 * step


def step_outside_only_detached(
    x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0
) -> Tensor:
    """The step in front of round gets no gradient: only the second term is left."""
    step = _slope(step, gradient_scale)
    return _through((x / step).clamp(quant_min, quant_max)) * step.detach()


def rounds_then_clamps(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """You round before you clamp, so the rounded code decides what is outside; LSQ looks at x / step.

    torch's own learnable quantizer does the same, and its step gets another gradient.
    """
    step = _slope(step, gradient_scale)
    return _through(x / step).clamp(quant_min, quant_max) * step


def never_clipped(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """Your gradient to x passes also where values saturate."""
    step = _slope(step, gradient_scale)
    v = x / step
    code = torch.round(v.clamp(quant_min, quant_max))
    return (v + (code - v).detach()) * step


def saturates_nowhere(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """Your codes leave the range: nothing clamps them."""
    step = _slope(step, gradient_scale)
    return _through(x / step) * step


def codes_come_back(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """You return codes; what they stand for is asked, so multiply by the step."""
    return _through((x / _slope(step, gradient_scale)).clamp(quant_min, quant_max))


def cuts_towards_zero(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """Your codes are cut towards zero instead of rounded to the nearest."""
    step = _slope(step, gradient_scale)
    v = (x / step).clamp(quant_min, quant_max)
    return (v + (torch.trunc(v) - v).detach()) * step


def mean_instead_of_sum(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """The gradient of your step is a mean over the values that share it; it is their sum."""
    step = _slope(step, gradient_scale * step.numel() / x.numel())
    return _through((x / step).clamp(quant_min, quant_max)) * step


def one_step_for_all(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """You use the mean of all steps; each channel has its own."""
    step = _slope(step, gradient_scale).mean()
    return _through((x / step).clamp(quant_min, quant_max)) * step


def mirrored_end(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient_scale: float = 1.0) -> Tensor:
    """You take -quant_max for the lower end; the ends need not mirror each other."""
    step = _slope(step, gradient_scale)
    return _through((x / step).clamp(-quant_max, quant_max)) * step
