"""Wrong answers to exercise 4.5.2: fake quantization."""

import torch
from torch import Tensor


def _with(x: Tensor, value: Tensor, passes: Tensor) -> Tensor:
    """These values, and the gradient where ``passes``."""
    return value.detach() + (x - x.detach()) * passes.to(x.dtype).detach()


def _codes(x: Tensor, step: Tensor) -> Tensor:
    return torch.round(x.detach() / step.detach())


def _mask(x: Tensor, step: Tensor, low: int, high: int, gradient: str) -> Tensor:
    code = _codes(x, step)
    return torch.ones_like(code) if gradient == "identity" else ((code >= low) & (code <= high)).to(x.dtype)


def no_gradient(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """No gradient passes: round stands in its way."""
    return torch.round(x / step.detach()).clamp(quant_min, quant_max) * step.detach()


def never_clipped(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your gradient passes also where values saturate."""
    return _with(x, _codes(x, step).clamp(quant_min, quant_max) * step, torch.ones_like(x))


def mask_of_clamped_codes(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your mask looks at codes that are clamped already; none of them is outside."""
    kept = _codes(x, step).clamp(quant_min, quant_max)
    return _with(x, kept * step, (kept >= quant_min) & (kept <= quant_max))


def always_clipped(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """You clip the gradient whatever is asked for; "identity" never does."""
    return _with(
        x,
        _codes(x, step).clamp(quant_min, quant_max) * step,
        _mask(x, step, quant_min, quant_max, "clipped"),
    )


def mask_of_values(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your mask looks at x / step; half a step beyond the end still rounds to the end."""
    v = x.detach() / step.detach()
    passes = torch.ones_like(v) if gradient == "identity" else ((v >= quant_min) & (v <= quant_max)).to(x.dtype)
    return _with(x, _codes(x, step).clamp(quant_min, quant_max) * step, passes)


def clamp_then_round(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your gradient is that of a clamp before the rounding; it stops half a step too early."""
    if gradient == "identity":
        return _with(x, _codes(x, step).clamp(quant_min, quant_max) * step, torch.ones_like(x))
    inside = (x / step.detach()).clamp(quant_min, quant_max)
    return (inside + (torch.round(inside) - inside).detach()) * step.detach()


def ends_left_out(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your gradient stops at the first and the last code; they are codes like the others."""
    code = _codes(x, step)
    passes = torch.ones_like(code) if gradient == "identity" else ((code > quant_min) & (code < quant_max)).to(x.dtype)
    return _with(x, code.clamp(quant_min, quant_max) * step, passes)


def clipped_above_only(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your gradient stops above the range and passes below it."""
    code = _codes(x, step)
    passes = torch.ones_like(code) if gradient == "identity" else (code <= quant_max).to(x.dtype)
    return _with(x, code.clamp(quant_min, quant_max) * step, passes)


def inverted_mask(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your gradient passes where values saturate and stops where they do not."""
    passes = 1 - _mask(x, step, quant_min, quant_max, "clipped") if gradient == "clipped" else torch.ones_like(x)
    return _with(x, _codes(x, step).clamp(quant_min, quant_max) * step, passes)


def codes_come_back(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """You return codes; what they stand for is asked, so multiply by the step."""
    return _with(x, _codes(x, step).clamp(quant_min, quant_max), _mask(x, step, quant_min, quant_max, gradient))


def saturates_nowhere(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your codes leave the range: nothing clamps them."""
    return _with(x, _codes(x, step) * step, _mask(x, step, quant_min, quant_max, gradient))


def cuts_towards_zero(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your codes are cut towards zero instead of rounded to the nearest."""
    kept = torch.trunc(x.detach() / step.detach()).clamp(quant_min, quant_max)
    return _with(x, kept * step, _mask(x, step, quant_min, quant_max, gradient))


def slope_of_the_code(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your gradient is divided by the step: it is that of the code, not of the value."""
    value = _codes(x, step).clamp(quant_min, quant_max) * step
    return _with(x, value, _mask(x, step, quant_min, quant_max, gradient) / step.detach())


def leaks_into_the_step(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """A gradient flows into step; here it is a constant."""
    kept = _codes(x, step).clamp(quant_min, quant_max)
    return kept * step + (x - x.detach()) * _mask(x, step, quant_min, quant_max, gradient)


def one_step_for_all(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """You use the largest step for every channel; step broadcasts against x."""
    step = step.detach().max()
    value = _codes(x, step).clamp(quant_min, quant_max) * step
    return _with(x, value, _mask(x, step, quant_min, quant_max, gradient))


def ones_go_out(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "clipped") -> Tensor:
    """Your way back returns the mask itself; the gradient that comes in has to be multiplied by it."""
    mask = _mask(x, step, quant_min, quant_max, gradient)
    y = _with(x, _codes(x, step).clamp(quant_min, quant_max) * step, mask)
    if y.requires_grad:
        y.register_hook(lambda grad: torch.ones_like(grad))
    return y


def identity_by_default(x: Tensor, step: Tensor, quant_min: int, quant_max: int, gradient: str = "identity") -> Tensor:
    """Without a word about the gradient yours is the identity; the signature says "clipped"."""
    return _with(
        x,
        _codes(x, step).clamp(quant_min, quant_max) * step,
        _mask(x, step, quant_min, quant_max, gradient),
    )
