"""OpenVINO: a layer written with its quantization, which the compiler turns into one int8 primitive.

It runs a float32 model in bfloat16 on processors that can, unless told otherwise, and it may do so with a part of a
quantized one. So the compiled model is asked which primitive does the product, and refused when that is not int8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from frugal.bench.peer import ALLOWED_CODES, Entry, Peer, Unsupported, first_line, installed
from frugal.bench.problem import Problem
from frugal.bench.shapes import Conv

PRODUCTS = ("FullyConnected", "MatMul", "Convolution")


def find() -> str:
    return installed("openvino")


def settings(threads: int) -> dict[str, Any]:
    """One request at a time on this many threads; pinning is the bench's business."""
    return {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }


def layer_model(problem: Problem) -> Any:
    """u8 in, the layer between dequantize and quantize, u8 out."""
    import openvino as ov
    from openvino import opset13 as op

    def constant(value: Any) -> Any:
        return op.constant(np.asarray(value, dtype=np.float32))

    shape = problem.shape
    x = op.parameter(list(problem.x.shape), ov.Type.u8, name="x")
    real = op.multiply(op.subtract(op.convert(x, "f32"), constant(problem.x_zero_point)), constant(problem.x_scale))
    if isinstance(shape, Conv):
        y = op.add(_convolve(op, real, problem, shape), constant(problem.real_bias.reshape(1, -1, 1, 1)))
    else:
        w = _weights(op, problem.w.numpy(), problem.w_scale.numpy().reshape(-1, 1))
        y = op.add(op.matmul(real, w, False, True), constant(problem.real_bias.reshape(1, -1)))
    low = -problem.y_zero_point * problem.y_scale
    codes = op.fake_quantize(
        y, constant(low), constant(low + 255 * problem.y_scale), constant(0), constant(255), levels=256
    )
    if isinstance(shape, Conv):
        codes = op.transpose(codes, op.constant(np.array([0, 2, 3, 1])))
    return ov.Model([op.convert(codes, "u8")], [x], "layer")


def _weights(op: Any, w: np.ndarray, scale: np.ndarray) -> Any:
    return op.multiply(op.convert(op.constant(w), "f32"), op.constant(scale.astype(np.float32)))


def _convolve(op: Any, real: Any, problem: Problem, shape: Conv) -> Any:
    w, scale = problem.w.numpy(), problem.w_scale.numpy()
    border = [shape.padding] * 2
    window = ([shape.stride] * 2, border, border, [1, 1])
    nchw = op.transpose(real, op.constant(np.array([0, 3, 1, 2])))
    if shape.groups == 1:
        return op.convolution(nchw, _weights(op, w, scale.reshape(-1, 1, 1, 1)), *window)
    grouped = w.reshape(shape.groups, shape.outputs // shape.groups, *w.shape[1:])
    return op.group_convolution(nchw, _weights(op, grouped, scale.reshape(shape.groups, -1, 1, 1, 1)), *window)


def primitives(compiled: Any) -> list[str]:
    """Which kernels do the products of a compiled model, such as ``brgemm_avx512_amx_I8``."""
    found = []
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        if "layerType" in facts and facts["layerType"].value in PRODUCTS:
            found.append(facts["primitiveType"].value)
    return found


def prepare(problem: Problem, threads: int) -> Entry:
    import openvino as ov

    try:
        compiled = ov.Core().compile_model(layer_model(problem), "CPU", settings(threads))
    except RuntimeError as error:
        raise Unsupported(f"OpenVINO: {first_line(error)}") from None
    ran = primitives(compiled)
    if not ran or not all(name.endswith(("_I8", "_i8", "_u8")) for name in ran):
        raise Unsupported(f"OpenVINO runs this layer as {', '.join(ran) or 'something unnamed'}, not in int8")
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(problem.x.numpy(), shared_memory=True))

    def run(_keep: object = problem.x) -> None:  # OpenVINO does not keep what it shares
        request.infer()

    return Entry(
        run,
        lambda: torch.from_numpy(request.get_output_tensor().data.copy()),
        problem.expected(),
        ALLOWED_CODES,
        note=ran[0],
    )


GEMM = CONV = (Peer("OpenVINO", "u8", prepare, find),)
