"""Wrong answers to exercise 4.6.3: pack."""

import torch
from torch import Tensor


def _room(w: Tensor, block: int = 64) -> Tensor:
    n, k = w.shape
    room = torch.zeros(-(-n // 16) * 16, -(-k // block) * block, dtype=torch.int8)
    room[:n, :k] = w
    return room


def _packed(room: Tensor) -> Tensor:
    return room.reshape(len(room) // 16, 16, -1, 4).permute(0, 2, 1, 3).contiguous()


def reshaped_only(w: Tensor) -> Tensor:
    """You reshape and move nothing: memory still holds one channel after the other."""
    room = _room(w)
    return room.reshape(len(room) // 16, room.shape[1] // 4, 16, 4)


def a_view(w: Tensor) -> Tensor:
    """Your axes are exchanged and memory is not: a kernel reads memory."""
    room = _room(w)
    return room.reshape(len(room) // 16, 16, -1, 4).permute(0, 2, 1, 3)


def quads_of_channels(w: Tensor) -> Tensor:
    """You put four channels beside each other; a quad is four neighbours along k."""
    room = _room(w)
    by_four = room.reshape(len(room) // 16, 4, 4, -1, 16)  # [panel, c / 4, c % 4, k / 16, k % 16]
    return by_four.permute(0, 3, 1, 4, 2).reshape(len(room) // 16, -1, 16, 4).contiguous()


def filled_to_a_quad(w: Tensor) -> Tensor:
    """You fill k up to a multiple of 4; a kernel counts panels in multiples of 64."""
    return _packed(_room(w, 4))


def not_filled(w: Tensor) -> Tensor:
    """You fill nothing up."""
    n, k = w.shape
    return w.reshape(n // 16, 16, k // 4, 4).permute(0, 2, 1, 3).contiguous()


def filled_with_the_last(w: Tensor) -> Tensor:
    """You fill up with ones; only zeros leave every sum as it is."""
    n, k = w.shape
    room = torch.ones(-(-n // 16) * 16, -(-k // 64) * 64, dtype=torch.int8)
    room[:n, :k] = w
    return _packed(room)


def always_one_more_panel(w: Tensor) -> Tensor:
    """You add a panel also where n is a multiple of 16 already."""
    n, k = w.shape
    room = torch.zeros((n // 16 + 1) * 16, (k // 64 + 1) * 64, dtype=torch.int8)
    room[:n, :k] = w
    return _packed(room)


def k_first(w: Tensor) -> Tensor:
    """You put the quads outside the panels; a panel comes whole, then the next."""
    room = _room(w)
    packed = room.reshape(len(room) // 16, 16, -1, 4).permute(2, 0, 1, 3)
    return packed.contiguous().reshape(len(room) // 16, -1, 16, 4)


def backwards(w: Tensor) -> Tensor:
    """You turn the order inside a quad around."""
    return _packed(_room(w)).flip(-1).contiguous()


def first_panel_only(w: Tensor) -> Tensor:
    """You pack the first sixteen channels again and again."""
    packed = _packed(_room(w))
    return packed[:1].expand_as(packed).contiguous()


def as_int32(w: Tensor) -> Tensor:
    """Your packed weights are int32: four times the memory, and no kernel reads them."""
    return _packed(_room(w)).int()


def transposed(w: Tensor) -> Tensor:
    """You pack the transposed matrix: panels of k, quads of channels."""
    n, k = w.shape
    room = torch.zeros(-(-n // 16) * 16, -(-k // 64) * 64, dtype=torch.int8)
    room[:n, :k] = w
    return room.T.contiguous().reshape(len(room) // 16, -1, 16, 4)


def unsigned(w: Tensor) -> Tensor:
    """You drop the sign of the weights."""
    return _packed(_room(w)).abs()
