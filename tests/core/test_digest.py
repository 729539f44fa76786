"""Digests name values: equal where a check would call them equal, different where an answer differs."""

import hashlib
import math
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from frugal.core.digest import digest


@dataclass(frozen=True)
class Pair:
    first: object
    second: object


@pytest.mark.parametrize(
    "value, expected",
    [
        (None, "f14e1cc80f11d379"),
        (3, "8d2e93a5936b9bad"),
        ((1.5, "a", [True]), "9a072412563651ee"),
        (torch.tensor([[1, -2, 3]], dtype=torch.int8), "f929389223da74e2"),
        (torch.tensor([0.5, math.nan, -0.0]), "f94fae2baa5f0659"),
        (Pair(torch.tensor(1.0), {"b": 2, "a": 1}), "3adc7d968edf09c6"),
    ],
)
def test_digests_stay_the_same_over_years_and_machines(value, expected):
    assert digest(value) == expected


def test_a_digest_is_a_hash_of_kind_and_parts_each_with_its_length():
    parts = [b"int", b"3"]
    by_hand = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()
    assert digest(3) == by_hand[:16]


def test_a_digest_is_sixteen_hex_digits():
    assert len(digest("x")) == 16
    assert int(digest("x"), 16) >= 0


def test_every_process_gives_the_same_digest():
    program = (
        "import torch; from frugal.core.digest import digest; print(digest({'b': {1, 2, 3}, 'a': torch.arange(3)}))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert other == digest({"a": torch.arange(3), "b": {3, 2, 1}})


def test_types_dtypes_and_shapes_are_part_of_an_answer():
    x = torch.zeros(6)
    values = [0, 0.0, False, None, "0", b"0", (0,), [0], {0: 0}, {0}, x, x.int(), x.double(), x.reshape(2, 3), x[:5]]
    values += [torch.nn.Parameter(x), Pair(0, 0), (0, 0), ((0,), 0), torch.int8, "torch.int8", x[:0], x.bfloat16()]
    assert len({digest(value) for value in values}) == len(values)


def test_nesting_is_not_flattened():
    assert digest(("ab", "c")) != digest(("a", "bc"))
    assert digest([[1], [2]]) != digest([[1, 2]])


def test_strides_and_gradients_are_not_part_of_an_answer():
    x = torch.arange(12.0).reshape(3, 4)
    assert digest(x) == digest(x.t().contiguous().t()) == digest(x.clone().requires_grad_())
    assert digest(x[:, ::2]) == digest(x[:, ::2].contiguous())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_nan_is_one_nan_and_minus_zero_is_zero(dtype):
    bits = torch.tensor([0.0], dtype=dtype)
    strange = (torch.tensor([math.inf], dtype=dtype) - torch.tensor([math.inf], dtype=dtype)).neg()
    assert digest(strange) == digest(torch.tensor([math.nan], dtype=dtype))
    assert digest(-bits) == digest(bits)
    assert digest(-0.0) == digest(0.0)
    assert digest(-math.nan) == digest(math.nan)


def test_one_changed_bit_changes_the_digest():
    x = torch.linspace(-1, 1, 100)
    y = x.clone()
    y[50] = torch.nextafter(y[50], torch.tensor(2.0))
    assert digest(x) != digest(y)


def test_rounding_hides_the_last_bits_of_floats_and_nothing_else():
    x = torch.tensor([1 / 3, 1e-20, -7.1, math.inf, 0.0])
    assert digest(x * (1 + 3e-7), significant_bits=12) == digest(x, significant_bits=12)
    assert digest(x * 255 / 256, significant_bits=12) != digest(x, significant_bits=12)
    assert digest(1000001, significant_bits=12) != digest(1000000, significant_bits=12)
    assert digest(x) != digest(x, significant_bits=12) or torch.equal(x, x.half().float())


def test_rounding_is_the_same_for_numbers_and_tensors_of_the_same_value():
    for value in (0.1, 3.0, -2.5e-9):
        rounded = {digest(value, significant_bits=8), digest(value * (1 + 1e-9), significant_bits=8)}
        assert len(rounded) == 1


def test_errors_count_by_type_and_objects_by_the_name_of_their_type():
    assert digest(ValueError("a")) == digest(ValueError("b")) != digest(TypeError("a"))
    assert digest(object()) == digest(object())
    assert digest(lambda: 1) == digest(lambda: 2)


def test_networks_count_by_their_weights():
    layer = torch.nn.Linear(2, 2)
    before = digest(layer)
    with torch.no_grad():
        layer.weight[0, 0] += 1
    assert digest(layer) != before


def test_a_list_that_holds_itself_has_a_digest():
    knot = []
    knot.append(knot)
    assert digest(knot) == digest(knot)


def test_tensors_without_plain_memory_are_digested_and_not_refused():
    assert digest(torch.eye(2).to_sparse()) != digest(torch.eye(2))
    assert digest(torch.empty(2, device="meta")) == digest(torch.empty(2, device="meta"))
    assert digest(torch.tensor([1 + 2j])) == digest(torch.tensor([1 + 2j]))


def test_a_width_without_bits_is_refused():
    with pytest.raises(ValueError, match="significant_bits must be from 1 to 53, got 0"):
        digest(1.0, significant_bits=0)
