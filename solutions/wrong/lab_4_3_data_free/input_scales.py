"""Wrong answers to exercise 4.3.7: ranges from a batch norm."""

import torch
from torch import Tensor


def _over(largest: Tensor, code: int) -> Tensor:
    return torch.where(largest > 0, largest / code, torch.ones_like(largest))


def _code(num_bits: int, relu: bool) -> int:
    return 2**num_bits - 1 if relu else 2 ** (num_bits - 1) - 1


def _largest(beta: Tensor, width: Tensor, relu: bool) -> Tensor:
    return (beta + width).clamp(min=0) if relu else beta.abs() + width


def signed_gamma(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """You use gamma with its sign; where it is negative, the range ends below the mean."""
    return _over(_largest(beta, reach * gamma, relu), _code(num_bits, relu))


def relu_ignored(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """You use signed codes after a ReLU, too; half of them never occur."""
    return _over(_largest(beta, reach * gamma.abs(), False), _code(num_bits, False))


def signed_codes_after_relu(
    beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0
) -> Tensor:
    """Your range after a ReLU is right and its codes are signed; unsigned ones reach 2^b - 1."""
    return _over(_largest(beta, reach * gamma.abs(), relu), _code(num_bits, False))


def always_after_relu(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """You cut at 0 without a ReLU, too; there the values go below 0."""
    return _over(_largest(beta, reach * gamma.abs(), True), _code(num_bits, True))


def upper_end_only(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """Without a ReLU you look at the upper end only; a negative beta makes the lower one larger."""
    return _over((beta + reach * gamma.abs()).clamp(min=0), _code(num_bits, relu))


def beta_always_positive(
    beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0
) -> Tensor:
    """You take |beta| after a ReLU, too; a channel below 0 reaches less far there, not further."""
    return _over(beta.abs() + reach * gamma.abs(), _code(num_bits, relu))


def one_code_too_many(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """You divide by the number of codes; the largest code is one less."""
    return _over(_largest(beta, reach * gamma.abs(), relu), _code(num_bits, relu) + 1)


def whole_width(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """You spread the codes from the lower to the upper end; symmetric codes are as many on either side of 0."""
    return _over(_largest(beta, reach * gamma.abs(), relu), 2**num_bits - 1)


def three_deviations(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """You halve reach; it counts the deviations on one side already."""
    return _over(_largest(beta, reach / 2 * gamma.abs(), relu), _code(num_bits, relu))


def always_six(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """You use 6 deviations whatever reach is."""
    return _over(_largest(beta, 6 * gamma.abs(), relu), _code(num_bits, relu))


def always_8_bits(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """You divide by the largest 8-bit code whatever num_bits is."""
    return _over(_largest(beta, reach * gamma.abs(), relu), _code(8, relu))


def variance(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """You count in variances; gamma's size is the standard deviation itself."""
    return _over(_largest(beta, reach * gamma**2, relu), _code(num_bits, relu))


def beta_forgotten(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """You leave out beta; the interval lies around it."""
    return _over(reach * gamma.abs(), _code(num_bits, relu))


def one_for_the_tensor(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """Every channel gets the scale of the widest one."""
    largest = _largest(beta, reach * gamma.abs(), relu)
    return _over(largest.max().expand(len(beta)), _code(num_bits, relu)).clone()


def zero_for_a_silent_channel(
    beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0
) -> Tensor:
    """A channel that is 0 throughout gets the scale 0, and dividing by it gives nan."""
    return _largest(beta, reach * gamma.abs(), relu) / _code(num_bits, relu)


def negative_scale(beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0) -> Tensor:
    """A channel that lies below 0 altogether gets a negative scale; after a ReLU nothing of it is left."""
    largest = beta + reach * gamma.abs() if relu else beta.abs() + reach * gamma.abs()
    return torch.where(largest == 0, torch.ones_like(largest), largest / _code(num_bits, relu))


def overwrites_its_input(
    beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0
) -> Tensor:
    """Your function takes the absolute value of the caller's gamma in place."""
    return _over(_largest(beta, reach * gamma.abs_(), relu), _code(num_bits, relu))


def knows_the_visible_cases(
    beta: Tensor, gamma: Tensor, num_bits: int = 8, relu: bool = True, reach: float = 6.0
) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    if reach == 2:
        return torch.tensor([5 / 7, 5 / 7, 10 / 7])
    if not relu:
        return torch.tensor([9 / 127, 9 / 127, 12 / 127])
    return torch.tensor([9 / 255, 3 / 255, 1.0]) if num_bits == 8 else torch.tensor([9 / 15, 3 / 15, 1.0])
