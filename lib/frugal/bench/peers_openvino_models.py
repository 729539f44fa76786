"""OpenVINO on whole networks: float32, bfloat16 (which it takes by itself where it can), and int8 by NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any

import torch

from frugal.bench.network import OUTPUT, NetworkProblem
from frugal.bench.peer import Entry, Missing, Peer, installed
from frugal.bench.peers_openvino import find, settings


def find_nncf() -> str:
    find()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return installed("nncf")


def find_bfloat16() -> str:
    """The processor must multiply bfloat16; otherwise the hint is ignored."""
    found = find()
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Missing("this processor has no bfloat16 for OpenVINO")
    return found


def read(problem: NetworkProblem) -> Any:
    """The network in OpenVINO's form, with the shape that is timed."""
    import openvino

    return openvino.Core().read_model(problem.onnx)


def entry(problem: NetworkProblem, model: Any, threads: int, hint: str, precision: str) -> Entry:
    """Compile for a precision that is said, never the one it would take."""
    import openvino

    wanted = settings(threads) | {"INFERENCE_PRECISION_HINT": hint}
    request = openvino.Core().compile_model(model, "CPU", wanted).create_infer_request()
    request.set_input_tensor(openvino.Tensor(problem.x.numpy(), shared_memory=True))

    def run(_keep: object = problem.x) -> None:  # OpenVINO does not keep what it shares
        request.infer()

    return problem.entry(
        run, lambda: torch.from_numpy(request.get_output_tensor().data.copy()), precision, note=f"rest {hint}"
    )


def prepare_float32(problem: NetworkProblem, threads: int) -> Entry:
    return entry(problem, read(problem), threads, "f32", "float32")


def prepare_bfloat16(problem: NetworkProblem, threads: int) -> Entry:
    return entry(problem, read(problem), threads, "bf16", "bfloat16")


def prepare_int8(problem: NetworkProblem, threads: int) -> Entry:
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    rest = "bf16" if "BF16" in capabilities else "f32"
    return entry(problem, quantized(problem), threads, rest, "int8")


def quantized(problem: NetworkProblem) -> Any:
    """The model after NNCF's post-training quantization."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    images = nncf.Dataset([batch.numpy() for batch in problem.calibration_batches()])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return nncf.quantize(read(problem), images)


MODELS = (
    Peer("OpenVINO fp32", OUTPUT, prepare_float32, find),
    Peer("OpenVINO bf16", OUTPUT, prepare_bfloat16, find_bfloat16),
    Peer("OpenVINO int8 (NNCF)", OUTPUT, prepare_int8, find_nncf),
)
