"""The signature of a kernel, as a student reads it: ``void gemm(const uint8_t* x, int32_t* y, int n)``.

A pointer to const is an input, a pointer is an output, ``int`` and ``float`` are numbers. From the signature come the
checks of the arguments and the few lines that call the kernel with what lies in the shared pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

TYPES = {
    "uint8_t": torch.uint8,
    "int8_t": torch.int8,
    "int16_t": torch.int16,
    "int32_t": torch.int32,
    "float": torch.float32,
}
NUMBERS = ("int", "float")
_WHOLE = re.compile(r"\s*void\s+(?P<name>\w+)\s*\((?P<parameters>.*)\)\s*;?\s*", re.DOTALL)
_POINTER = re.compile(r"(?P<const>const\s+)?(?P<type>\w+)\s*\*\s*(?P<name>\w+)")
_NUMBER = re.compile(r"(?P<type>\w+)\s+(?P<name>\w+)")


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    dtype: of the tensor that is passed; None for a number.
    writable: whether the kernel may write there.
    text: as it was declared.
    """

    name: str
    text: str
    dtype: torch.dtype | None = None
    writable: bool = False


@dataclass(frozen=True)
class Prototype:
    """A kernel's name and parameters.

    >>> [each.name for each in prototype("void f(const uint8_t* x, int32_t* y, int n)").parameters]
    ['x', 'y', 'n']
    """

    name: str
    parameters: tuple[Parameter, ...]

    def __str__(self) -> str:
        return f"void {self.name}({', '.join(each.text for each in self.parameters)})"

    @property
    def caller(self) -> str:
        """C++ that calls the kernel: pointers from one table, numbers from another."""
        values = []
        for place, each in enumerate(self.parameters):
            type_name = each.text.removesuffix(each.name).strip()
            table = "pointers" if each.dtype is not None else "numbers"
            values.append(f"static_cast<{type_name}>({table}[{place}])")
        head = 'extern "C" __attribute__((visibility("default"))) void frugal_call'
        return f"{head}(void* const* pointers, const double* numbers) {{\n  {self.name}({', '.join(values)});\n}}\n"


def prototype(text: str) -> Prototype:
    """Read a declaration.

    Raises:
        ValueError: it is none, or a type in it is not one that tensors have.
    """
    whole = _WHOLE.fullmatch(text)
    if not whole:
        raise ValueError(f"a kernel is declared as void name(parameters), got {text!r}")
    parts = [" ".join(part.split()) for part in whole["parameters"].split(",") if part.strip()]
    return Prototype(whole["name"], tuple(map(_parameter, parts)))


def _parameter(text: str) -> Parameter:
    if (pointer := _POINTER.fullmatch(text)) and pointer["type"] in TYPES:
        return Parameter(pointer["name"], text, TYPES[pointer["type"]], pointer["const"] is None)
    if (number := _NUMBER.fullmatch(text)) and number["type"] in NUMBERS:
        return Parameter(number["name"], text)
    raise ValueError(f"a parameter is a pointer to {', '.join(TYPES)}, or one of {', '.join(NUMBERS)}; got {text!r}")
