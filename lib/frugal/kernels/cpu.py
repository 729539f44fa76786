"""Which int8 instructions this processor has, and what that means for the course.

instruction set        one instruction does           registers
scalar                 1 product of two bytes         general
avx2                   32 products, in 16-bit sums    256 bits
avx_vnni, dotprod      32 (16) products, 32-bit sums  256 (128) bits
i8mm                   32 products, 32-bit sums       128 bits
avx512_vnni            64 products, 32-bit sums       512 bits
amx_int8               16,384 products                tiles of 1 KiB
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from frugal.kernels import native

#: Every feature the course speaks of, by Linux's name in /proc/cpuinfo where that differs from ours.
FEATURES: dict[str, str] = {
    "avx2": "avx2",
    "fma": "fma",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512_vnni": "avx512_vnni",
    "avx512_vpopcntdq": "avx512_vpopcntdq",
    "amx_tile": "amx_tile",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "dotprod": "asimddp",
    "i8mm": "i8mm",
}


@dataclass(frozen=True)
class InstructionSet:
    """One way to multiply bytes.

    name:     our word for it.
    needs:    the features that must all be there.
    products: products of two bytes that one instruction does.
    """

    name: str
    needs: tuple[str, ...]
    products: int


#: From the widest to the one that every processor has.
INSTRUCTION_SETS: tuple[InstructionSet, ...] = (
    InstructionSet(
        "amx_int8", ("amx_tile", "amx_int8", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"), 16 * 16 * 64
    ),
    InstructionSet("avx512_vnni", ("avx512f", "avx512bw", "avx512vl", "avx512_vnni"), 64),
    InstructionSet("avx_vnni", ("avx2", "avx_vnni"), 32),
    InstructionSet("avx2", ("avx2",), 32),
    InstructionSet("i8mm", ("i8mm",), 32),
    InstructionSet("dotprod", ("dotprod",), 16),
    InstructionSet("scalar", (), 1),
)


def parse_cpuinfo(text: str) -> dict[str, bool]:
    """Read the features from the text of Linux's /proc/cpuinfo (x86 says ``flags``, arm64 ``Features``).

    >>> found = parse_cpuinfo("flags : fpu avx2 fma avx512f")
    >>> found["avx2"], found["avx512_vnni"]
    (True, False)
    """
    words: set[str] = set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            words = set(value.split())
            break
    return {ours: theirs in words for ours, theirs in FEATURES.items()}


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, bool]:
    """Say for every feature of the course whether this processor has it.

    The native library asks the processor itself. Without it Linux's /proc/cpuinfo answers; where that is missing too
    (macOS, Windows) every feature is False, and the slowest path is taken.

    >>> sorted(cpu_features()) == sorted(FEATURES)
    True
    """
    asked = native.cpu_features()
    if asked is not None:
        return asked
    try:
        return parse_cpuinfo(cpuinfo.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return dict.fromkeys(FEATURES, False)


def instruction_sets(features: Mapping[str, bool]) -> list[InstructionSet]:
    """The ways to multiply bytes that a processor with these features has, the widest first.

    >>> [each.name for each in instruction_sets({"avx2": True})]
    ['avx2', 'scalar']
    """
    return [each for each in INSTRUCTION_SETS if all(features.get(need, False) for need in each.needs)]


def explain(features: Mapping[str, bool]) -> str:
    """Tell a student in a sentence what this processor does for int8.

    >>> explain({"avx512f": True, "avx512bw": True, "avx512vl": True, "avx512_vnni": True})
    'One avx512_vnni instruction multiplies 64 pairs of int8 values and adds them up.'
    >>> explain({})
    'No int8 vector instruction was found: int8 saves memory here, but no time.'
    """
    best = instruction_sets(features)[0]
    if best.name == "scalar":
        return "No int8 vector instruction was found: int8 saves memory here, but no time."
    return f"One {best.name} instruction multiplies {best.products:,} pairs of int8 values and adds them up."
