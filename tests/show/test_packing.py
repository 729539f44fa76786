"""The picture of packing shows where pack puts each weight."""

import pytest
import torch
from matplotlib.figure import Figure

from frugal.kernels.pack import pack
from frugal.show import packing


@pytest.fixture
def ax():
    return Figure(figsize=(8.6, 3.9)).subplots()


@pytest.mark.parametrize("out, k", [(1, 1), (16, 64), (17, 65), (20, 10), (127, 127)])
def test_every_weight_is_found_once_and_where_pack_put_it(out, k):
    outputs, depths = packing.places(out, k)
    weight = torch.randint(-127, 128, (out, k), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    memory = pack(weight).data.reshape(-1, 64)
    inside = outputs >= 0
    found = sorted(zip(outputs[inside], depths[inside], strict=True))
    assert found == [(o, i) for o in range(out) for i in range(k)]
    assert memory[inside].tolist() == [
        weight[o, i].item() for o, i in zip(outputs[inside], depths[inside], strict=True)
    ]
    assert not memory[~inside].any()


@pytest.mark.parametrize("out, taps, depth", [(16, 9, 64), (16, 9, 16), (1, 1, 1), (64, 7, 21), (1000, 1, 512)])
def test_the_padded_share_is_that_of_a_real_pack(out, taps, depth):
    packed = pack(torch.ones(out, taps, depth, dtype=torch.int8)).data
    assert packing.padded_share(out, taps, depth) == pytest.approx((packed == 0).double().mean().item(), abs=1e-12)


@pytest.mark.parametrize(
    "row, words", [(0, "w[0,0] w[0,1] w[0,2] w[0,3] | w[1,0]"), (18, "w[16,8] w[16,9] 0 0 | w[17,8]")]
)
def test_the_marked_row_is_told_in_words(ax, row, words):
    assert packing.packing(20, 10, row, ax) is ax
    assert any(text.get_text().startswith(f"row {row}:  {words}") for text in ax.texts)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: packing.places(128, 4), "from 1 to 127 to be numbered, got 128 and 4"),
        (lambda: packing.packing(20, 10, 32), "32 rows of 64 bytes, got row 32"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
