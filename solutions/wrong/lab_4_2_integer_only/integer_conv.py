"""Wrong answers to exercise 4.2.3: a convolution of codes."""

import torch
import torch.nn.functional as F
from torch import Tensor


def _framed(q_x: Tensor, value: int, padding: int) -> Tensor:
    return F.pad(q_x.to(torch.int32), (padding,) * 4, value=value)


def frame_of_code_0(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You frame the picture with code 0; real 0 has the code x_zero_point."""
    return F.conv2d(q_x.int(), q_w.int(), bias, stride=stride, padding=padding)


def frame_of_the_opposite(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You frame the picture with -x_zero_point; real 0 has the code x_zero_point."""
    return F.conv2d(_framed(q_x, -x_zero_point, padding), q_w.int(), bias, stride=stride)


def frame_of_the_smallest_code(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You frame the picture with the smallest code; real 0 has the code x_zero_point."""
    return F.conv2d(_framed(q_x, -128, padding), q_w.int(), bias, stride=stride)


def frame_of_the_border(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You repeat the border of the picture; torch pads with real 0."""
    if padding == 0:
        return F.conv2d(q_x.int(), q_w.int(), bias, stride=stride)
    framed = F.pad(q_x.double(), (padding,) * 4, mode="replicate")
    return F.conv2d(framed.int(), q_w.int(), bias, stride=stride)


def corrected_twice(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You take the zero-point away from the codes; the folded bias has done that."""
    return F.conv2d(q_x.int() - x_zero_point, q_w.int(), bias, stride=stride, padding=padding)


def int8_sums(q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0) -> Tensor:
    """Your sums have 8 bits and wrap around."""
    framed = _framed(q_x, x_zero_point, padding)
    return F.conv2d(framed, q_w.int(), stride=stride).to(torch.int8).int() + bias.reshape(-1, 1, 1)


def int16_sums(q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0) -> Tensor:
    """Your sums have 16 bits, which three large products exceed."""
    framed = _framed(q_x, x_zero_point, padding)
    return F.conv2d(framed, q_w.int(), stride=stride).to(torch.int16).int() + bias.reshape(-1, 1, 1)


def float32_sums(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You sum in float32, which rounds whole numbers above 2^24."""
    framed = _framed(q_x, x_zero_point, padding).float()
    return (F.conv2d(framed, q_w.float(), stride=stride) + bias.reshape(-1, 1, 1)).int()


def bias_in_float32(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You add the bias in float32, which rounds whole numbers above 2^24."""
    sums = F.conv2d(_framed(q_x, x_zero_point, padding), q_w.int(), stride=stride)
    return (sums.float() + bias.float().reshape(-1, 1, 1)).long().clamp(-(2**31), 2**31 - 1).int()


def bias_forgotten(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """The bias is missing, and with it the whole correction."""
    return F.conv2d(_framed(q_x, x_zero_point, padding), q_w.int(), stride=stride)


def bias_subtracted(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You take the bias away."""
    return F.conv2d(_framed(q_x, x_zero_point, padding), q_w.int(), -bias, stride=stride)


def one_bias_for_all(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You add the first bias to every channel."""
    return F.conv2d(_framed(q_x, x_zero_point, padding), q_w.int(), stride=stride) + bias[0]


def stride_ignored(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """Your stride is always 1."""
    return F.conv2d(_framed(q_x, x_zero_point, padding), q_w.int(), bias)


def padding_ignored(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You do not pad."""
    size = q_w.shape[-1]
    if q_x.shape[-2] < q_w.shape[-2] or q_x.shape[-1] < size:
        return F.conv2d(_framed(q_x, x_zero_point, padding), q_w.int(), bias * 0, stride=stride)
    return F.conv2d(q_x.int(), q_w.int(), bias, stride=stride)


def filters_turned_round(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You turn the filters round, as mathematicians do; torch does not."""
    return F.conv2d(_framed(q_x, x_zero_point, padding), q_w.int().flip(2, 3), bias, stride=stride)


def int64_result(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """Your result is int64; Returns asks for int32."""
    return F.conv2d(_framed(q_x, x_zero_point, padding).long(), q_w.long(), bias.long(), stride=stride)


def relu_as_well(
    q_x: Tensor, q_w: Tensor, bias: Tensor, x_zero_point: int, stride: int = 1, padding: int = 0
) -> Tensor:
    """You apply a ReLU; negative sums belong to the result."""
    return F.conv2d(_framed(q_x, x_zero_point, padding), q_w.int(), bias, stride=stride).relu()
