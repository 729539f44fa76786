"""The lecture's errata that a computation can show: what is printed fails, what should be there holds."""

import math
import tomllib

import pytest
import torch

from frugal.quant.affine import choose_qparams, dequantize, quantize

FLOAT64_SLACK = 64 * torch.finfo(torch.float64).eps


@pytest.fixture(scope="module")
def lecture(root):
    return tomllib.loads((root / "course" / "lecture.toml").read_text(encoding="utf-8"))


def cells(lecture, table, row):
    found = next(t for t in lecture["table"] if t["key"] == table)
    return dict(zip(found["columns"], next(r["cells"] for r in found["row"] if r["key"] == row), strict=True))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- chapter 1 ----


def test_slide_5_says_v100_over_cells_that_name_other_devices(lecture):
    table = next(t for t in lecture["table"] if t["key"] == "detection")
    devices = {row["cells"][-1].partition("(")[2].rstrip(")") for row in table["row"]} - {""}
    assert "V100" in table["caption"]
    assert devices == {"M40", "Titan V"}


def test_slide_6_names_one_network_twice(lecture):
    first, second = cells(lecture, "pose", "vitpose_b"), cells(lecture, "pose", "vitpose_h")
    assert first["Architecture"] == second["Architecture"]
    assert first["params"] != second["params"]


@pytest.mark.parametrize("row, images_per_second", [("vitpose_b", 944), ("vitpose_h", 241)])
def test_vitpose_runtimes_are_inverse_throughputs(lecture, row, images_per_second):
    printed_ms = float(cells(lecture, "pose", row)["Runtime"].removesuffix("ms"))
    assert printed_ms == round(1000 / images_per_second)


# ---- chapter 3 ----


def test_slide_4_contradicts_slide_16_on_operations(lecture):
    transformer, convolutional = cells(lecture, "imagenet", "cait_m36"), cells(lecture, "imagenet", "resnet50")
    assert float(transformer["Flops"].removesuffix("B")) > 10 * float(convolutional["Flops"].removesuffix("B"))


def test_mobilenet_v3_squeezes_and_has_no_silu():
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        network = models.mobilenet_v3_large()
    kinds = [type(module).__name__ for module in network.modules()]
    assert kinds.count("SqueezeExcitation") == 8
    assert kinds.count("InvertedResidual") == 15
    assert "SiLU" not in kinds
    assert "Hardswish" in kinds


# ---- chapter 4 ----


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_eq_1_prints_a_code_that_is_no_int8(num_bits):
    largest = 2 ** (num_bits - 1) - 1
    printed = range(-(2 ** (num_bits - 1)) - 1, largest + 1)
    assert len(printed) == 2**num_bits + 1, "one more than b bits can name, and one more again"
    if num_bits == 8:
        assert printed[0] < torch.iinfo(torch.int8).min

    x = torch.tensor([-1.0, 0.0, 1.0])  # alpha = 1: both ends of the range
    codes = quantize(x, choose_qparams(x, num_bits, symmetric=True))
    assert codes.tolist() == [-largest, 0, largest]


def test_eq_3_needs_three_more_terms_with_zero_points():
    codes = torch.Generator().manual_seed(0)
    qw = torch.randint(-128, 128, (5, 7), generator=codes)
    qx = torch.randint(-128, 128, (7, 3), generator=codes)
    zw, zx = 11, -23
    exact = (qw - zw) @ (qx - zx)
    terms = -zw * qx.sum(0, keepdim=True) - zx * qw.sum(1, keepdim=True) + 7 * zw * zx
    assert torch.equal(qw @ qx + terms, exact)
    assert not torch.equal(qw @ qx, exact)


@pytest.mark.parametrize("num_bits", [4, 6, 8])
def test_eq_4_wins_only_with_the_affine_step(num_bits):
    x = torch.linspace(0, 1, 100_001)  # never negative, as after a ReLU

    def squared_error(symmetric):
        qparams = choose_qparams(x, num_bits, symmetric=symmetric)
        return (dequantize(quantize(x, qparams), qparams) - x).square().mean().item()

    steps = (2**num_bits - 1) / (2 ** (num_bits - 1) - 1)  # of the affine range to the symmetric one, both over [0, 1]
    # the error inside a step is uniform, so its square is step² / 12; the grid of x adds at most its own spacing
    assert squared_error(True) / squared_error(False) == pytest.approx(steps**2, rel=2 * steps**2 * 2**num_bits / 1e5)

    z, printed_scale = 5, 1 / (2 ** (num_bits - 1) - 1)  # eq. (4) as printed: the old step, the codes moved by z
    moved = (torch.round(z + x / printed_scale) - z) * printed_scale
    assert (moved - x).square().mean().item() == pytest.approx(squared_error(True), rel=1e-3)


def test_105_per_cent_compares_two_training_recipes():
    models = pytest.importorskip("torchvision.models")
    quantized = models.quantization.ResNet50_QuantizedWeights.IMAGENET1K_FBGEMM_V2
    top1 = {
        weights: weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        for weights in (quantized, models.ResNet50_Weights.IMAGENET1K_V1, models.ResNet50_Weights.IMAGENET1K_V2)
    }
    across = top1[quantized] / top1[models.ResNet50_Weights.IMAGENET1K_V1]
    within = top1[quantized] / top1[models.ResNet50_Weights.IMAGENET1K_V2]
    assert math.floor(100 * across) == 105
    assert 0.98 < within < 1


# ---- chapter 5 ----


@pytest.fixture
def two_layers():
    """Four inputs, six neurons, five outputs; sigmoid, so that a neuron without weights still emits a constant."""
    w1, b1, w2, b2 = drawn(6, 4), drawn(6, seed=1), drawn(5, 6, seed=2), drawn(5, seed=3)
    return w1, b1, w2, b2


def forward(x, w1, b1, w2, b2):
    return torch.sigmoid(x @ w1.T + b1) @ w2.T + b2


def test_eq_5_holds_with_the_column_and_fails_with_the_row(two_layers):
    w1, b1, w2, b2 = two_layers
    w1[1] = 0  # the lecture's neuron 2
    keep, x = [0, 2, 3, 4, 5], drawn(100, 4, seed=4)
    wanted = forward(x, w1, b1, w2, b2)

    corrected = forward(x, w1[keep], b1[keep], w2[:, keep], b2 + w2[:, 1] * torch.sigmoid(b1[1]))
    assert (corrected - wanted).abs().max() <= FLOAT64_SLACK * wanted.abs().max()

    printed = forward(x, w1[keep], b1[keep], w2[:, keep], b2 + w2[1, :5] * torch.sigmoid(b1[1]))
    predicted = ((w2[1, :5] - w2[:, 1]) * torch.sigmoid(b1[1])).abs().max()
    assert (printed - wanted).abs().max() == pytest.approx(predicted.item())
    assert predicted > 0.1


def test_eq_6_keeps_every_bias_of_the_second_layer(two_layers):
    w1, b1, w2, b2 = two_layers
    w1[1], b1[1] = w1[0], b1[0]  # neurons 1 and 2 are alike
    x = drawn(100, 4, seed=4)
    wanted = forward(x, w1, b1, w2, b2)

    merged_w1 = torch.cat([(w1[:1] + w1[1:2]) / 2, w1[2:]])
    merged_b1 = torch.cat([(b1[:1] + b1[1:2]) / 2, b1[2:]])
    merged_w2 = torch.cat([w2[:, :1] + w2[:, 1:2], w2[:, 2:]], dim=1)
    assert (forward(x, merged_w1, merged_b1, merged_w2, b2) - wanted).abs().max() <= FLOAT64_SLACK * wanted.abs().max()

    printed_b2 = b2[[0, 2, 3, 4]]
    assert len(printed_b2) == len(merged_w2) - 1, "as printed, one output has no bias"
