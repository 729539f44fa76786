"""Wrong answers to exercise 4.4.1: rounding and overload."""

from torch import Tensor


def _overload(x: Tensor, density: Tensor, alpha: float) -> float:
    return ((x.abs() - alpha).clamp(min=0).square() * density).sum().item() * (x[1] - x[0]).item()


def steps_instead_of_bins(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You divide the range by 2^b - 1 steps; the formula lays 2^b bins over it."""
    return (2 * alpha / (2**num_bits - 1)) ** 2 / 12, _overload(x, density, alpha)


def half_a_range(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """Your bins lie over [0, alpha]; the range runs from -alpha to alpha."""
    return (alpha / 2**num_bits) ** 2 / 12, _overload(x, density, alpha)


def worst_instead_of_mean(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """Your rounding error is the square of half a bin, the worst case; the mean over a bin is a third of it."""
    return (alpha / 2**num_bits) ** 2, _overload(x, density, alpha)


def without_the_square(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """Your rounding error grows with the width of a bin; it grows with its square."""
    return 2 * alpha / 2**num_bits / 12, _overload(x, density, alpha)


def one_bin_too_wide(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You count 2^(b-1) bins; one bit too many went to the sign."""
    return (2 * alpha / 2 ** (num_bits - 1)) ** 2 / 12, _overload(x, density, alpha)


def rounding_of_unclipped_only(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You weigh rounding by the share of values inside; the first term of the formula counts every value."""
    inside = (density * (x.abs() <= alpha)).sum().item() * (x[1] - x[0]).item()
    return inside * (2 * alpha / 2**num_bits) ** 2 / 12, _overload(x, density, alpha)


def right_tail_only(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You integrate one tail only: values below -alpha are clipped as well."""
    overload = ((x - alpha).clamp(min=0).square() * density).sum() * (x[1] - x[0])
    return (2 * alpha / 2**num_bits) ** 2 / 12, overload.item()


def one_tail_doubled(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You double the right tail; a density need not be symmetric, and neither need ``x``."""
    overload = 2 * ((x - alpha).clamp(min=0).square() * density).sum() * (x[1] - x[0])
    return (2 * alpha / 2**num_bits) ** 2 / 12, overload.item()


def distance_to_the_wrong_end(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You measure the distance of values below -alpha to +alpha; they are clipped to the near end."""
    beyond = (x - alpha).square() * (x.abs() > alpha)
    return (2 * alpha / 2**num_bits) ** 2 / 12, ((beyond * density).sum() * (x[1] - x[0])).item()


def energy_of_the_tails(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You integrate x² over the tails, as if clipped values became 0; they become alpha."""
    overload = (x.square() * (x.abs() > alpha) * density).sum() * (x[1] - x[0])
    return (2 * alpha / 2**num_bits) ** 2 / 12, overload.item()


def absolute_distance(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """Your overload adds up distances; the formula squares them."""
    overload = ((x.abs() - alpha).clamp(min=0) * density).sum() * (x[1] - x[0])
    return (2 * alpha / 2**num_bits) ** 2 / 12, overload.item()


def without_the_spacing(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """Your sum is no integral yet: it grows with the number of points. Multiply by their spacing."""
    overload = ((x.abs() - alpha).clamp(min=0).square() * density).sum()
    return (2 * alpha / 2**num_bits) ** 2 / 12, overload.item()


def mean_over_points(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You take the mean over the points; the integral is their sum times the spacing."""
    overload = ((x.abs() - alpha).clamp(min=0).square() * density).mean()
    return (2 * alpha / 2**num_bits) ** 2 / 12, overload.item()


def normalised(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You divide by the sum of the density; the formula takes the density as it is."""
    overload = ((x.abs() - alpha).clamp(min=0).square() * density).sum() / density.sum()
    return (2 * alpha / 2**num_bits) ** 2 / 12, overload.item()


def swapped(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You return overload first; see Returns."""
    return _overload(x, density, alpha), (2 * alpha / 2**num_bits) ** 2 / 12


def added_up(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> float:
    """You return the sum of both errors; Returns asks for the two of them."""
    return _overload(x, density, alpha) + (2 * alpha / 2**num_bits) ** 2 / 12


def a_tensor_among_them(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple:
    """Your overload is a tensor; Returns asks for Python floats."""
    overload = ((x.abs() - alpha).clamp(min=0).square() * density).sum() * (x[1] - x[0])
    return (2 * alpha / 2**num_bits) ** 2 / 12, overload


def overwrites_its_input(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """Your function takes magnitudes in place, so the caller's points have lost their signs."""
    spacing = (x[1] - x[0]).item()
    overload = ((x.abs_() - alpha).clamp(min=0).square() * density).sum().item() * spacing
    return (2 * alpha / 2**num_bits) ** 2 / 12, overload


def always_4_bits(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You count 16 bins whatever num_bits is."""
    return (2 * alpha / 16) ** 2 / 12, _overload(x, density, alpha)


def a_laplace_density(x: Tensor, density: Tensor, alpha: float, num_bits: int) -> tuple[float, float]:
    """You return the overload of a Laplace density; here any density may come."""
    return (2 * alpha / 2**num_bits) ** 2 / 12, 2 * 2.718281828459045**-alpha
