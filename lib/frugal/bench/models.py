"""Whole networks: float32 images in, float32 logits out, in every runtime's own best way.

How much a runtime's int8 loses is told as the SQNR of its logits beside torch's float32:

    SQNR = 10 · log10(Σ expected² / Σ (produced - expected)²)  dB

Unlike in the layer benches every precision is ranked: whoever deploys a network takes the fastest that is good enough.
"""

from __future__ import annotations

from frugal.bench import ours_models, peers_onnxruntime_models, peers_openvino_models, peers_torch_models
from frugal.bench.peer import Peer

PEERS: tuple[Peer, ...] = (
    *peers_torch_models.MODELS,
    *peers_onnxruntime_models.MODELS,
    *peers_openvino_models.MODELS,
)


def peers(isa: str | None = None) -> list[Peer]:
    """Ours first, then everybody who runs networks; ``isa`` as in ``gemm.peers``."""
    return [*ours_models.models(isa), *PEERS]
