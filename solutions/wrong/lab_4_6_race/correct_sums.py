"""Wrong answers to exercise 4.6.1: settle the zero-points."""

import torch
from torch import Tensor


def _sums(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return x.sum(1, keepdim=True, dtype=torch.int32), w.sum(1, dtype=torch.int32)


def last_term_forgotten(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You leave out the last term, the product of both zero-points for each of the K terms."""
    rows, columns = _sums(x, w)
    return acc - x_zero_point * columns - w_zero_point * rows


def last_term_once(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You add the product of the zero-points once; it stands in each of the K terms."""
    rows, columns = _sums(x, w)
    return acc - x_zero_point * columns - w_zero_point * rows + x_zero_point * w_zero_point


def last_term_subtracted(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You subtract the last term; minus times minus is plus."""
    rows, columns = _sums(x, w)
    return acc - x_zero_point * columns - w_zero_point * rows - x.shape[1] * x_zero_point * w_zero_point


def sums_of_the_same_matrix(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You multiply each zero-point with the sums of its own matrix; it goes with those of the other one."""
    rows, columns = _sums(x, w)
    return acc - x_zero_point * rows - w_zero_point * columns + x.shape[1] * x_zero_point * w_zero_point


def added(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You add the two middle terms; zero-points are subtracted from codes."""
    rows, columns = _sums(x, w)
    return acc + x_zero_point * columns + w_zero_point * rows + x.shape[1] * x_zero_point * w_zero_point


def only_of_x(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You settle the zero-point of x and leave that of w."""
    return acc - x_zero_point * w.sum(1, dtype=torch.int32)


def sums_in_eight_bits(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You sum codes in their own 8 bits, where sums wrap around."""
    rows, columns = x.sum(1, keepdim=True, dtype=torch.uint8).int(), w.sum(1, dtype=torch.int8).int()
    return acc - x_zero_point * columns - w_zero_point * rows + x.shape[1] * x_zero_point * w_zero_point


def sums_in_sixteen_bits(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You sum codes in 16 bits, which a few hundred of them overflow."""
    rows, columns = x.sum(1, keepdim=True, dtype=torch.int16).int(), w.sum(1, dtype=torch.int16).int()
    return acc - x_zero_point * columns - w_zero_point * rows + x.shape[1] * x_zero_point * w_zero_point


def multiplied_again(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You multiply the matrices a second time and lose what acc holds besides."""
    return ((x.long() - x_zero_point) @ (w.long() - w_zero_point).T).int()


def int64_sums(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """Your sums are int64; Returns asks for int32."""
    rows, columns = x.long().sum(1, keepdim=True), w.long().sum(1)
    return acc - x_zero_point * columns - w_zero_point * rows + x.shape[1] * x_zero_point * w_zero_point


def in_float(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You compute in float32, which holds whole numbers up to 2^24 only."""
    rows, columns = x.float().sum(1, keepdim=True), w.float().sum(1)
    terms = x.shape[1] * x_zero_point * w_zero_point
    return (acc.float() - x_zero_point * columns - w_zero_point * rows + terms).int()


def in_place(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """Your function changes the caller's acc."""
    rows, columns = _sums(x, w)
    acc -= x_zero_point * columns + w_zero_point * rows
    acc += x.shape[1] * x_zero_point * w_zero_point
    return acc


def means_of_rows(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You take means where the formula has sums."""
    rows, columns = x.float().mean(1, keepdim=True), w.float().mean(1)
    terms = x.shape[1] * x_zero_point * w_zero_point
    return (acc - x_zero_point * columns - w_zero_point * rows + terms).int()


def unchanged(acc: Tensor, x: Tensor, w: Tensor, x_zero_point: int, w_zero_point: int) -> Tensor:
    """You return acc as it came."""
    return acc.clone()
