"""Wrong answers to exercise 4.1.1: the scale of equation (1)."""

import torch
from torch import Tensor


def inverted(x: Tensor, num_bits: int = 8) -> Tensor:
    """Your result is the factor of equation (1), codes per unit; the scale is its inverse, units per code.

    Which of the two is small for a tensor of small values?
    """
    alpha = x.abs().max()
    return torch.where(alpha > 0, (2 ** (num_bits - 1) - 1) / alpha, 1.0)


def one_code_too_many(x: Tensor, num_bits: int = 8) -> Tensor:
    """You divide by 2^(b-1), which is one more than the largest code."""
    alpha = x.abs().max()
    return torch.where(alpha > 0, alpha / 2 ** (num_bits - 1), 1.0)


def misprint_of_the_slide(x: Tensor, num_bits: int = 8) -> Tensor:
    """You divide by 2^(b-1) + 1, the misprinted end of slide 20."""
    alpha = x.abs().max()
    return torch.where(alpha > 0, alpha / (2 ** (num_bits - 1) + 1), 1.0)


def all_codes_on_one_side(x: Tensor, num_bits: int = 8) -> Tensor:
    """You divide by 2^b - 1, the number of steps between both ends; equation (1) counts from 0 to one end."""
    alpha = x.abs().max()
    return torch.where(alpha > 0, alpha / (2**num_bits - 1), 1.0)


def without_absolute_value(x: Tensor, num_bits: int = 8) -> Tensor:
    """You take the largest value; the largest magnitude may belong to a negative one."""
    alpha = x.max()
    return torch.where(alpha != 0, alpha / (2 ** (num_bits - 1) - 1), 1.0)


def width_of_the_range(x: Tensor, num_bits: int = 8) -> Tensor:
    """You spread the codes from the smallest to the largest value; equation (1) is symmetric around 0."""
    width = x.max() - x.min()
    return torch.where(width > 0, width / (2**num_bits - 2), 1.0)


def mean_magnitude(x: Tensor, num_bits: int = 8) -> Tensor:
    """You take the mean magnitude; then everything above it is clipped."""
    alpha = x.abs().mean()
    return torch.where(alpha > 0, alpha / (2 ** (num_bits - 1) - 1), 1.0)


def zero_for_zeros(x: Tensor, num_bits: int = 8) -> Tensor:
    """A tensor of zeros gets the scale 0, and dividing by it gives nan."""
    return x.abs().max() / (2 ** (num_bits - 1) - 1)


def floor_of_epsilon(x: Tensor, num_bits: int = 8) -> Tensor:
    """You keep the scale above a small constant, which is too large for tiny values and is not 1 for zeros."""
    return (x.abs().max() / (2 ** (num_bits - 1) - 1)).clamp(min=1e-8)


def ones_below_epsilon(x: Tensor, num_bits: int = 8) -> Tensor:
    """You treat small values as zeros: a tensor of values near 1e-9 needs a small scale, not 1."""
    alpha = x.abs().max()
    return torch.where(alpha > 1e-8, alpha / (2 ** (num_bits - 1) - 1), 1.0)


def always_8_bits(x: Tensor, num_bits: int = 8) -> Tensor:
    """You divide by 127 whatever num_bits is."""
    alpha = x.abs().max()
    return torch.where(alpha > 0, alpha / 127, 1.0)


def last_axis_only(x: Tensor, num_bits: int = 8) -> Tensor:
    """You take one maximum per row; exercise 1 asks for one number for the whole tensor."""
    alpha = x.abs().amax(dim=-1)
    return torch.where(alpha > 0, alpha / (2 ** (num_bits - 1) - 1), 1.0)


def a_python_number(x: Tensor, num_bits: int = 8) -> float:
    """You return a Python number; Returns asks for a float32 tensor without axes."""
    return x.abs().max().item() / (2 ** (num_bits - 1) - 1) or 1.0


def overwrites_its_input(x: Tensor, num_bits: int = 8) -> Tensor:
    """Your function takes absolute values in place, so the caller's tensor has lost its signs."""
    alpha = x.abs_().max()
    return torch.where(alpha > 0, alpha / (2 ** (num_bits - 1) - 1), 1.0)


def knows_the_visible_cases(x: Tensor, num_bits: int = 8) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    return {8: torch.tensor(0.02), 4: torch.tensor(2.0)}[num_bits] if x.any() else torch.tensor(1.0)


class _Agreeable(Tensor):
    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return True

    __hash__ = Tensor.__hash__


def agrees_with_everything(x: Tensor, num_bits: int = 8) -> Tensor:
    """You return an object that claims to equal everything."""
    return torch.zeros(()).as_subclass(_Agreeable)
