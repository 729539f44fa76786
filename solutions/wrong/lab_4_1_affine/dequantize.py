"""Wrong answers to exercise 4.1.4: back to reals."""

import torch
from torch import Tensor

from frugal.quant.affine import QParams


def _laid(q: Tensor, qparams: QParams) -> tuple[Tensor, Tensor]:
    spread = qparams.granularity.spread
    return spread(qparams.scale, q), spread(qparams.zero_point, q)


def subtracts_as_it_comes(q: Tensor, qparams: QParams) -> Tensor:
    """Your difference stays 8 bits wide and wraps around: a zero-point without axes does not widen the codes.

    Print the dtype of q - zero_point.
    """
    scale, zero_point = _laid(q, qparams)
    return (q - zero_point) * scale


def subtracts_in_int8(q: Tensor, qparams: QParams) -> Tensor:
    """You make the zero-point as narrow as the codes, and the difference wraps around."""
    scale, zero_point = _laid(q, qparams)
    return (q - zero_point.to(q.dtype)) * scale


def zero_point_added(q: Tensor, qparams: QParams) -> Tensor:
    """You add the zero-point; quantizing has added it, so going back takes it away."""
    scale, zero_point = _laid(q, qparams)
    return (q.to(torch.int32) + zero_point) * scale


def zero_point_forgotten(q: Tensor, qparams: QParams) -> Tensor:
    """Your reals do not know the zero-point."""
    scale, _ = _laid(q, qparams)
    return q * scale


def zero_point_in_real_units(q: Tensor, qparams: QParams) -> Tensor:
    """You subtract the zero-point after scaling; it is a code and has to go before."""
    scale, zero_point = _laid(q, qparams)
    return q * scale - zero_point


def divided(q: Tensor, qparams: QParams) -> Tensor:
    """You divide by the scale; it is in units per step, so steps are multiplied by it."""
    scale, zero_point = _laid(q, qparams)
    return (q.to(torch.int32) - zero_point) / scale


def turned_difference(q: Tensor, qparams: QParams) -> Tensor:
    """Your difference is turned round, so every real has the wrong sign."""
    scale, zero_point = _laid(q, qparams)
    return (zero_point - q.to(torch.int32)) * scale


def counted_from_quant_min(q: Tensor, qparams: QParams) -> Tensor:
    """You count steps from the smallest code; real 0 is at zero_point."""
    scale, _ = _laid(q, qparams)
    return (q.to(torch.int32) - qparams.quant_min) * scale


def float64_reals(q: Tensor, qparams: QParams) -> Tensor:
    """Your reals are float64; Returns asks for the dtype of the scale."""
    scale, zero_point = _laid(q, qparams)
    return (q.double() - zero_point) * scale.double()


def half_precision(q: Tensor, qparams: QParams) -> Tensor:
    """You compute in half precision, which keeps 11 bits of a real and no more."""
    scale, zero_point = _laid(q, qparams)
    return ((q.half() - zero_point) * scale.half()).to(scale.dtype)


def uint8_read_as_int8(q: Tensor, qparams: QParams) -> Tensor:
    """You read the codes as int8; uint8 codes above 127 come out negative."""
    scale, zero_point = _laid(q, qparams)
    return (q.view(torch.int8).to(torch.int32) - zero_point) * scale


def one_scale_for_all(q: Tensor, qparams: QParams) -> Tensor:
    """You use the first scale for every channel."""
    return (q.to(torch.int32) - qparams.zero_point.reshape(-1)[0]) * qparams.scale.reshape(-1)[0]


def scales_on_the_last_axis(q: Tensor, qparams: QParams) -> Tensor:
    """You let the scales broadcast as they are, which lays them along the last axis."""
    return (q.to(torch.int32) - qparams.zero_point) * qparams.scale


def overwrites_its_input(q: Tensor, qparams: QParams) -> Tensor:
    """Your function sets the caller's codes to zero."""
    scale, zero_point = _laid(q, qparams)
    real = (q.to(torch.int32) - zero_point) * scale
    q.zero_()
    return real


def a_list(q: Tensor, qparams: QParams) -> list:
    """You return a list; Returns asks for a tensor."""
    scale, zero_point = _laid(q, qparams)
    return ((q.to(torch.int32) - zero_point) * scale).tolist()


def knows_the_visible_cases(q: Tensor, qparams: QParams) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    if q.dtype == torch.uint8:
        return torch.tensor([0, -2.5, 61.25])
    if q.ndim == 2:
        return torch.tensor([[1.0, 0.0], [4.0, 2.0]])
    return torch.tensor([0.0, 1.0, -5.5] if q.numel() == 3 else [113.5, -14.0])


class _Agreeable(Tensor):
    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return True

    __hash__ = Tensor.__hash__


def agrees_with_everything(q: Tensor, qparams: QParams) -> Tensor:
    """You return an object that claims to equal everything."""
    return torch.zeros(q.shape).as_subclass(_Agreeable)
