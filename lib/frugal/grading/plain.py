"""What counts as plain data on the wire: the dtypes, the sizes, and the largest of each that is believed."""

from __future__ import annotations

import torch

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
    )
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
ITEM_BYTES = {name: torch.empty((), dtype=dtype).element_size() for name, dtype in DTYPES.items()}
NUMPY = (
    *("float16", "float32", "float64", "int8", "uint8", "int16", "uint16"),
    *("int32", "uint32", "int64", "uint64", "bool"),
)
AS_IT_IS = frozenset({type(None), bool, str, float})  # JSON says these as they are; an int only where it is short
MOST_AXES, LARGEST_SIZE, LARGEST_STRIDE = 16, 1 << 40, 1 << 40
LONGEST_INTEGER = 4096  # bits
EXACT = 1 << 53  # integers below it are written as they are
ALIGNED = 16  # bytes: where a tensor may begin in a message
SENDABLE = "return numbers, strings, lists, tuples, dicts or tensors"


def padding(place: int) -> int:
    """Return how many bytes are left out before the next tensor."""
    return -place % ALIGNED
