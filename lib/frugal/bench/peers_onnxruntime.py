"""ONNX Runtime: QGemm, QLinearMatMul (which has no bias), MatMulInteger and QLinearConv (NHWC), one node to a model.

Two traps. It uses AMX only if the process could see more than one core when it was imported, so it is imported before
anything is pinned. And s8 activations have no vector kernel on many processors; u8 it is, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frugal.bench.peer import ALLOWED_CODES, Entry, Peer, Unsupported, first_line, installed
from frugal.bench.problem import Problem
from frugal.bench.shapes import Conv

CONTRIB = "com.microsoft"


def find() -> str:
    installed("onnx")
    return installed("onnxruntime")


def session_options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def one_node(
    operator: str, inputs: Sequence[str], constants: Mapping[str, np.ndarray], x: Tensor, y: Tensor, **attributes: Any
) -> bytes:
    """A model with one node: ``x`` and the constants in, ``y`` out."""
    from onnx import TensorProto, helper, numpy_helper

    kinds = {torch.uint8: TensorProto.UINT8, torch.int32: TensorProto.INT32}
    node = helper.make_node(operator, list(inputs), ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        operator,
        [helper.make_tensor_value_info("x", kinds[x.dtype], list(x.shape))],
        [helper.make_tensor_value_info("y", kinds[y.dtype], list(y.shape))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def entry(model: bytes, x: Tensor, y: Tensor, expected: Tensor, allowed: float, threads: int, note: str = "") -> Entry:
    """Bind input and output once, so that a run copies nothing."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(model, session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no public base class
        raise Unsupported(f"ONNX Runtime: {first_line(error)}") from None
    kind = {torch.uint8: np.uint8, torch.int32: np.int32}
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, kind[x.dtype], list(x.shape), x.data_ptr())
    binding.bind_output("y", "cpu", 0, kind[y.dtype], list(y.shape), y.data_ptr())

    def run(_keep: object = (x, y)) -> None:
        session.run_with_iobinding(binding)

    return Entry(run, lambda: y, expected, allowed, note)


def constants_of(problem: Problem, w: Tensor) -> dict[str, np.ndarray]:
    """What the operators of the QLinear family want besides ``x``."""
    return {
        "x_scale": np.array(problem.x_scale, np.float32),
        "x_zero": np.array(problem.x_zero_point, np.uint8),
        "w": w.contiguous().numpy(),
        "w_scale": problem.w_scale.numpy(),
        "w_zero": np.zeros(len(problem.w_scale), np.int8),
        "y_scale": np.array(problem.y_scale, np.float32),
        "y_zero": np.array(problem.y_zero_point, np.uint8),
    }


IN, OUT = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero"], ["y_scale", "y_zero"]


def prepare_qlinear(problem: Problem, threads: int) -> Entry:
    y = torch.empty(len(problem.x), len(problem.w), dtype=torch.uint8)
    model = one_node("QLinearMatMul", IN + OUT, constants_of(problem, problem.w.t()), problem.x, y)
    return entry(model, problem.x, y, problem.expected(bias=False), ALLOWED_CODES, threads, note="no bias")


def prepare_qgemm(problem: Problem, threads: int) -> Entry:
    y = torch.empty(len(problem.x), len(problem.w), dtype=torch.uint8)
    constants = constants_of(problem, problem.w.t()) | {"bias": problem.bias.numpy()}
    model = one_node("QGemm", IN + ["bias"] + OUT, constants, problem.x, y, domain=CONTRIB)
    return entry(model, problem.x, y, problem.expected(), ALLOWED_CODES, threads)


def prepare_sums(problem: Problem, threads: int) -> Entry:
    y = torch.empty(len(problem.x), len(problem.w), dtype=torch.int32)
    model = one_node("MatMulInteger", ["x", "w"], {"w": problem.w.t().contiguous().numpy()}, problem.x, y)
    return entry(model, problem.x, y, problem.expected_sums(), 0, threads)


def prepare_conv(problem: Problem, threads: int) -> Entry:
    shape = problem.shape
    assert isinstance(shape, Conv)
    y = torch.empty(shape.batch, shape.out_size, shape.out_size, shape.outputs, dtype=torch.uint8)
    model = one_node(
        "QLinearConv",
        IN + OUT + ["bias"],
        constants_of(problem, problem.w) | {"bias": problem.bias.numpy()},
        problem.x,
        y,
        domain=CONTRIB,
        channels_last=1,
        kernel_shape=[shape.kernel] * 2,
        strides=[shape.stride] * 2,
        pads=[shape.padding] * 4,
        group=shape.groups,
    )
    return entry(model, problem.x, y, problem.expected(), ALLOWED_CODES, threads)


GEMM = (
    Peer("ONNX Runtime QGemm", "u8", prepare_qgemm, find),
    Peer("ONNX Runtime QLinearMatMul", "u8", prepare_qlinear, find),
    Peer("ONNX Runtime MatMulInteger", "s32", prepare_sums, find),
)
CONV = (Peer("ONNX Runtime QLinearConv", "u8", prepare_conv, find),)
