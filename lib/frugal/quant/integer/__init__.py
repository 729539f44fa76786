"""Networks on int8 codes: layers, whole networks, files, and their agreement with fake quantization.

Paper:   [19] Jacob et al., CVPR 2018. Learn: course/4_quantization

    to_int8(model, calibration)   a float network as one that runs on codes
    Int8Linear, Int8Conv2d        the layers alone
    save_int8, load_int8          one file
    agreement(network, x)         how many codes differ from a fake-quantized network's
"""

from frugal.quant.integer.compare import Agreement, agreement
from frugal.quant.integer.convert import to_int8
from frugal.quant.integer.file import load_int8, save_int8
from frugal.quant.integer.layers import Int8Conv2d, Int8Linear
from frugal.quant.integer.network import Int8Network
from frugal.quant.integer.operator import RELU, RELU6

__all__ = [
    "RELU",
    "RELU6",
    "Agreement",
    "Int8Conv2d",
    "Int8Linear",
    "Int8Network",
    "agreement",
    "load_int8",
    "save_int8",
    "to_int8",
]
