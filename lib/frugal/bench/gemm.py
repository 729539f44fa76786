"""Matrix products: ours beside torch, fbgemm, oneDNN, ONNX Runtime and OpenVINO."""

from __future__ import annotations

from frugal.bench import (
    ours,
    peers_onednn,
    peers_onnxruntime,
    peers_openvino,
    peers_torch_fbgemm,
    peers_torch_float,
    peers_torch_int_mm,
    peers_torch_onednn,
)
from frugal.bench.peer import Peer

PEERS: tuple[Peer, ...] = (
    *peers_onednn.GEMM,
    *peers_torch_onednn.GEMM,
    *peers_torch_fbgemm.GEMM,
    *peers_torch_int_mm.GEMM,
    *peers_onnxruntime.GEMM,
    *peers_openvino.GEMM,
    *peers_torch_float.GEMM,
)


def peers(isa: str | None = None, output: str = "both") -> list[Peer]:
    """Ours first, then everybody who does matrices.

    Args:
        isa: the instruction set of ours; None: the widest here.
        output: ``"u8"``, ``"s32"`` or ``"both"``; floats are shown with u8.
    """
    wanted = {"u8": ("u8", "float"), "s32": ("s32",), "both": ("u8", "s32", "float")}
    return [peer for peer in (*ours.gemm(isa), *PEERS) if peer.output in wanted[output]]
