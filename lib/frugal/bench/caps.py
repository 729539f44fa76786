"""Hold the peers to an instruction set, so that ``--isa`` compares like with like.

oneDNN, alone, in torch and in OpenVINO, reads an environment variable when it is first used. ONNX Runtime takes no such
word, but gives up AMX when it sees one core only while it is imported. Below AVX-512 neither it nor fbgemm can be held
back: there they are shown, and not ranked.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from frugal.bench.peer import Peer
from frugal.measure.latency import pinned

ONEDNN = {
    "avx512_vnni": "AVX512_CORE_VNNI",
    "avx_vnni": "AVX2_VNNI",
    "avx2": "AVX2",
    "scalar": "SSE41",
    "reference": "SSE41",
}
VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


#: Who computes on wider instructions than these allow, whatever one says, by the beginning of the name.
FREE = dict.fromkeys(("avx_vnni", "avx2", "scalar", "reference"), ("ONNX Runtime", "torch fbgemm"))


def unrank_free(peers: Sequence[Peer], isa: str | None) -> list[Peer]:
    """Show who cannot be held to ``isa``, but do not rank them."""
    free = FREE.get(isa or "", ())
    return [replace(peer, ranked=peer.ranked and not peer.name.startswith(free)) if free else peer for peer in peers]


def cap_peers(isa: str) -> list[str]:
    """Hold every peer that can be held to ``isa``; must come before their first use.

    Returns:
        What was done, and who does as before: one sentence each. Empty where ``isa`` asks for nothing.
    """
    if isa not in ONEDNN:
        return []
    for variable in VARIABLES:
        os.environ[variable] = ONEDNN[isa]
    notes = [f"oneDNN, torch's oneDNN and OpenVINO are held to {ONEDNN[isa]}"]
    if find_spec("onnxruntime") is not None:
        if "onnxruntime" in sys.modules:
            notes.append("ONNX Runtime was imported before and keeps what it chose")
        else:
            with pinned():
                importlib.import_module("onnxruntime")
            notes.append("ONNX Runtime is kept from AMX")
    if isa in FREE:
        notes.append(f"{' and '.join(FREE[isa])} choose for themselves below AVX-512, so they are shown and not ranked")
    return notes
