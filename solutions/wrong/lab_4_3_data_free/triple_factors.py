"""Wrong answers to exercise 4.3.3: three layers at once."""

import torch
from torch import Tensor

Two = tuple[Tensor, Tensor]


def _where(r1: Tensor, r2: Tensor, r3: Tensor, s12: Tensor, s23: Tensor) -> Two:
    alive, one = (r1 > 0) & (r2 > 0) & (r3 > 0), torch.ones_like(r1)
    return torch.where(alive, s12, one), torch.where(alive, s23, one)


def _common(r1: Tensor, r2: Tensor, r3: Tensor) -> Tensor:
    return (r1 * r2 * r3) ** (1 / 3)


def two_pairs_alone(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You treat two pairs, each as if the other did not exist; both factors act on the middle layer."""
    return _where(r1, r2, r3, torch.sqrt(r1 / r2), torch.sqrt(r2 / r3))


def one_after_the_other(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You equalise the first pair and then the second, which spoils the first again; once round is not enough."""
    s12 = torch.sqrt(r1 / r2)
    return _where(r1, r2, r3, s12, torch.sqrt(r2 * s12 / r3))


def three_rounds(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You go round the pairs three times; the ranges are nearly equal then, and not equal."""
    s12, s23 = torch.ones_like(r1), torch.ones_like(r1)
    for _ in range(3):
        s12 = s12 * torch.sqrt((r1 / s12) / (r2 * s12 / s23))
        s23 = s23 * torch.sqrt((r2 * s12 / s23) / (r3 * s23))
    return _where(r1, r2, r3, s12, s23)


def square_root(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You take the square root of a product of three; their geometric mean is its cube root."""
    c = torch.sqrt(r1 * r2 * r3)
    return _where(r1, r2, r3, r1 / c, c / r3)


def no_root(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You compare with the product of the three ranges instead of its cube root."""
    c = r1 * r2 * r3
    return _where(r1, r2, r3, r1 / c, c / r3)


def arithmetic_mean(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You aim at the arithmetic mean; factors keep the product of the ranges, not their sum."""
    c = (r1 + r2 + r3) / 3
    return _where(r1, r2, r3, r1 / c, c / r3)


def to_the_largest(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You aim at the largest of the three ranges; the product of the ranges does not allow it."""
    c = torch.maximum(torch.maximum(r1, r2), r3)
    return _where(r1, r2, r3, r1 / c, c / r3)


def ends_only(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You make the outer two layers equal and leave the middle one where it is."""
    s = torch.sqrt(r1 / r3)
    return _where(r1, r2, r3, s, s)


def swapped(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """Your two factors are right and in the wrong order."""
    c = _common(r1, r2, r3)
    return _where(r1, r2, r3, c / r3, r1 / c)


def second_upside_down(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """Your second factor is upside down: the third layer is multiplied by it."""
    c = _common(r1, r2, r3)
    return _where(r1, r2, r3, r1 / c, r3 / c)


def first_upside_down(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """Your first factor is upside down: the first layer is divided by it."""
    c = _common(r1, r2, r3)
    return _where(r1, r2, r3, c / r1, c / r3)


def second_from_the_middle(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You find the second factor from the middle range as it was before the first factor moved it."""
    c = _common(r1, r2, r3)
    return _where(r1, r2, r3, r1 / c, r2 / c)


def one_for_all(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You mix the channels: each one has a common range of its own."""
    c = _common(r1.max(), r2.max(), r3.max())
    return _where(r1, r2, r3, r1 / c, c / r3)


def silent_gives_nan(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """A channel with a range of 0 gets 0, infinity or nan; it should be left alone."""
    c = _common(r1, r2, r3)
    return r1 / c, c / r3


def silent_in_its_own_pair(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You look for a 0 only in the two ranges next to a factor; one range of 0 stops both factors."""
    c, one = _common(r1, r2, r3), torch.ones_like(r1)
    return torch.where(r1 * r2 > 0, r1 / c, one), torch.where(r2 * r3 > 0, c / r3, one)


def the_common_range(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """You return the range that is reached, not the factors that lead there."""
    c = _common(r1, r2, r3)
    return _where(r1, r2, r3, c, c)


def overwrites_its_input(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """Your function computes in the caller's tensors."""
    c, alive = _common(r1, r2, r3), (r1 > 0) & (r2 > 0) & (r3 > 0)
    r1.div_(c)
    s23 = torch.where(alive, c / r3, torch.ones_like(c))
    return torch.where(alive, r1, torch.ones_like(c)), s23


def knows_the_visible_cases(r1: Tensor, r2: Tensor, r3: Tensor) -> Two:
    """Your function knows the numbers of the check and nothing else."""
    if len(r1) == 2:
        return torch.tensor([1.0, 4.0]), torch.tensor([1.0, 2.0])
    known = {(8, 1, 1): (4.0, 2.0), (1, 1, 8): (0.5, 0.25), (1, 64, 1): (0.25, 4.0)}
    s12, s23 = known.get(tuple(int(each.flatten()[0]) for each in (r1, r2, r3)), (1.0, 1.0))
    return torch.full_like(r1, s12), torch.full_like(r1, s23)
