"""Wrong answers to exercise 4.1.7: a layer on integers."""

import torch
from torch import Tensor


def _corrected(q_x: Tensor, q_w: Tensor, zero: Tensor) -> Tensor:
    q_x, q_w = q_x.to(torch.int64), q_w.to(torch.int64)
    return q_x @ q_w.T - zero * q_w.sum(dim=1)


def int8_sums(q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor) -> Tensor:
    """Your sums stay int8 and wrap around: a product of two int8 tensors is int8 again."""
    total = q_x @ q_w.T - x_zero_point * q_w.to(torch.int32).sum(dim=1)
    return total * (x_scale * w_scale) + bias


def int16_sums(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """Your accumulator has 16 bits, which hold two large products and no third."""
    total = _corrected(q_x, q_w, x_zero_point).to(torch.int16)
    return total * (x_scale * w_scale) + bias


def half_precision_sums(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """You sum in bfloat16, which rounds every whole number above 256."""
    total = (q_x.bfloat16() @ q_w.bfloat16().T).float() - x_zero_point * q_w.float().sum(dim=1)
    return total * (x_scale * w_scale) + bias


def float32_sums(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """You sum in float32, which rounds whole numbers above 2^24; 60,000 products reach 2^29."""
    total = q_x.float() @ q_w.float().T - x_zero_point * q_w.float().sum(dim=1)
    return total * (x_scale * w_scale) + bias


def zero_point_ignored(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """The correction is missing: your inputs are shifted by their zero-point."""
    return _corrected(q_x, q_w, x_zero_point * 0) * (x_scale * w_scale) + bias


def correction_added(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """You add the correction; it takes away what the zero-point has added."""
    return _corrected(q_x, q_w, -x_zero_point) * (x_scale * w_scale) + bias


def zero_point_subtracted_in_int8(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """You subtract the zero-point from int8 codes, and the difference wraps around."""
    return _corrected(q_x - x_zero_point, q_w, x_zero_point * 0) * (x_scale * w_scale) + bias


def correction_of_the_inputs(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """Your correction sums the codes of the inputs; with a zero-point on the inputs it sums those of the weights."""
    wide = q_x.to(torch.int64)
    total = wide @ q_w.to(torch.int64).T - x_zero_point * wide.sum(dim=1, keepdim=True)
    return total * (x_scale * w_scale) + bias


def correction_once_for_all(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """Your correction sums all weights together; each output channel has its own sum."""
    total = q_x.to(torch.int64) @ q_w.to(torch.int64).T - x_zero_point * q_w.to(torch.int64).sum()
    return total * (x_scale * w_scale) + bias


def correction_sums_in_int8(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """Your correction is summed in int8 and wraps around."""
    row_sums = q_w.sum(dim=1, dtype=torch.int8)
    total = q_x.to(torch.int64) @ q_w.to(torch.int64).T - x_zero_point * row_sums.to(torch.int64)
    return total * (x_scale * w_scale) + bias


def bias_as_a_code(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """You add the bias to the integers, before scaling; it is in real units."""
    return (_corrected(q_x, q_w, x_zero_point) + bias) * (x_scale * w_scale)


def bias_forgotten(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """The bias is missing."""
    return _corrected(q_x, q_w, x_zero_point) * (x_scale * w_scale)


def bias_rounded_to_input_steps(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """You round the bias to steps of the input's scale; it is added in real units."""
    return _corrected(q_x, q_w, x_zero_point) * (x_scale * w_scale) + torch.round(bias / x_scale) * x_scale


def input_scale_forgotten(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """You scale by the weights only; a product of codes stands for a product of both scales."""
    return _corrected(q_x, q_w, x_zero_point) * w_scale + bias


def first_weight_scale_for_all(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """You use the first channel's scale for every channel."""
    return _corrected(q_x, q_w, x_zero_point) * (x_scale * w_scale[0]) + bias


def scales_along_the_batch(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """Your weight scales run down the batch; they belong to the output channels, the last axis."""
    return _corrected(q_x, q_w, x_zero_point) * (x_scale * w_scale[:, None]) + bias


def scales_added(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """You add the two scales; scales of factors multiply."""
    return _corrected(q_x, q_w, x_zero_point) * (x_scale + w_scale) + bias


def with_activation(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """You apply a ReLU; the exercise stops before the activation function."""
    return (_corrected(q_x, q_w, x_zero_point) * (x_scale * w_scale) + bias).relu()


def transposed_result(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """Your result is [out, n]; Returns asks for [n, out]."""
    return (_corrected(q_x, q_w, x_zero_point) * (x_scale * w_scale) + bias).T


def float64_result(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """Your result is float64; Returns asks for float32."""
    return _corrected(q_x, q_w, x_zero_point).double() * (x_scale * w_scale).double() + bias.double()


def knows_the_visible_cases(
    q_x: Tensor, q_w: Tensor, x_scale: Tensor, x_zero_point: Tensor, w_scale: Tensor, bias: Tensor
) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    if len(q_x) == 2:
        return torch.tensor([[1.5, 2.0], [-1.375, -7.0]])
    return torch.tensor([[{1: 2.375, 2: 255.5, 3: 45085.0}.get(q_x.shape[1] - (w_scale[0].item() < 1), -127.0)]])
