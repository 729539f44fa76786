"""Convolutions, NHWC in and out: ours beside torch, fbgemm, oneDNN, ONNX Runtime and OpenVINO."""

from __future__ import annotations

from frugal.bench import (
    ours,
    peers_onednn,
    peers_onnxruntime,
    peers_openvino,
    peers_torch_fbgemm,
    peers_torch_float,
    peers_torch_onednn,
)
from frugal.bench.peer import Peer

PEERS: tuple[Peer, ...] = (
    *peers_onednn.CONV,
    *peers_torch_onednn.CONV,
    *peers_torch_fbgemm.CONV,
    *peers_onnxruntime.CONV,
    *peers_openvino.CONV,
    *peers_torch_float.CONV,
)


def peers(isa: str | None = None) -> list[Peer]:
    """Ours first, then everybody who does convolutions; ``isa`` as in ``gemm.peers``."""
    return [*ours.conv(isa), *PEERS]
