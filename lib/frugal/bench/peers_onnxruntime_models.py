"""ONNX Runtime on whole networks: float32, and int8 by its own static quantization (QDQ, u8 activations).

u8 and not s8: s8 activations have no vector kernel on many processors, and are several times slower there.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frugal.bench.network import OUTPUT, NetworkProblem
from frugal.bench.peer import Entry, Peer
from frugal.bench.peers_onnxruntime import find, session_options


def entry(problem: NetworkProblem, model: bytes, threads: int, precision: str) -> Entry:
    """Bind input and output once, so that a run copies nothing."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, session_options(threads), providers=["CPUExecutionProvider"])
    x, y = problem.x, torch.empty_like(problem.expected)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, list(x.shape), x.data_ptr())
    binding.bind_output("y", "cpu", 0, np.float32, list(y.shape), y.data_ptr())

    def run(_keep: object = (x, y)) -> None:
        session.run_with_iobinding(binding)

    return problem.entry(run, lambda: y, precision)


def prepare_float32(problem: NetworkProblem, threads: int) -> Entry:
    return entry(problem, problem.onnx, threads, "float32")


def prepare_int8(problem: NetworkProblem, threads: int) -> Entry:
    return entry(problem, quantized(problem), threads, "int8")


def quantized(problem: NetworkProblem) -> bytes:
    """The model after ONNX Runtime's static quantization, per output channel."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[Any] = iter(problem.calibration_batches())

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"x": batch.numpy()}

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises on stderr
    try:
        with tempfile.TemporaryDirectory() as folder:
            plain, ready, done = (str(Path(folder) / name) for name in ("plain.onnx", "ready.onnx", "done.onnx"))
            Path(plain).write_bytes(problem.onnx)
            quant_pre_process(plain, ready)
            quantization.quantize_static(
                ready,
                done,
                Images(),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
            )
            return Path(done).read_bytes()
    finally:
        logging.disable(before)


MODELS = (
    Peer("ONNX Runtime fp32", OUTPUT, prepare_float32, find),
    Peer("ONNX Runtime int8 (QDQ)", OUTPUT, prepare_int8, find),
)
