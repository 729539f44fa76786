"""Numbers in prose: each comes from a cell, from a stored measurement, or from a source that its sentence names."""

import json

import nbformat
import pytest

from frugal.authoring.build import build
from frugal.authoring.percent import read_cells
from frugal.authoring.prose import count_words, stored_numbers, unsupported_numbers


def chapter(words: str, code: str = "x = 1", shown: str = ""):
    commented = "\n".join(f"# {line}".rstrip() for line in words.splitlines())
    book = build(read_cells(f'# %% [markdown] id="words"\n{commented}\n\n# %% id="code"\n{code}\n'))
    if shown:
        book.cells[1].outputs = [nbformat.v4.new_output("stream", text=shown)]
    return book


def numbers(book, measured=()):
    return [found.number for found in unsupported_numbers(book, measured)]


@pytest.mark.parametrize(
    "words",
    [
        "A 3-bit code has 7 steps; 8 bits name 256 codes from -128 to 127.",
        "In 2018 ResNet-20, int8 and W4A4 on 32×32 pictures of CIFAR-10 were common.",
        "The step is $0.43$ and `round(x / 0.43)` is a code.\n\n$$s = 37.5 \\tag{1}$$",
        "See equation (4), slides 19 to 23, Lab 4.1 and table 33; it takes about 25 minutes.",
        "# 4.2 What does zero cost?",
        "[[19]](../references.md) reports 70.5 % on ImageNet.",
        "The lecture's table says 69.8 % for it.",
        "It keeps 100 % of the codes.",
        "1. first\n2. second\n37. thirty-seventh",
        "| bits | values |\n|---|---|\n| 8 | 256 |",
    ],
)
def test_what_needs_no_source_passes(words):
    assert numbers(chapter(words)) == []


@pytest.mark.parametrize(
    "words, found",
    [
        ("The network is right on 91.4 % of the pictures.", "91.4 %"),
        ("The worst error is 0.214.", "0.214"),
        ("It has 272,474 weights.", "272,474"),
        ("It loses 3 % at 4 bits.", "3 %"),
        ("A batch takes 7 ms.", "7"),
        ("| W4A4 | 88.3 |", "88.3"),
        ("[[19]](../references.md) explains it. We measured 88.3 instead.", "88.3"),
    ],
)
def test_a_number_without_a_source_is_found(words, found):
    assert numbers(chapter(words)) == [found]
    assert found in str(unsupported_numbers(chapter(words))[0])


def test_a_number_that_a_cell_shows_is_known_as_it_is_or_rounded():
    book = chapter(
        "The step is 0.43, the worst error 0.214 and the accuracy 91.4 %.", shown="0.42857 0.2143\naccuracy 0.9138"
    )
    assert numbers(book) == []
    assert numbers(chapter("The step is 0.44.", shown="0.42857")) == ["0.44"]
    assert numbers(chapter("It has 272,474 weights.", shown="272474 weights")) == []
    assert numbers(chapter("Over 1,001 points.", code="torch.linspace(-1, 2, 1001)")) == []


def test_a_stored_measurement_is_a_source(tmp_path):
    (tmp_path / "ptq.json").write_text(
        json.dumps({"rows": [{"accuracy": 91.73, "ok": True}], "summary": {"a": [1.25]}})
    )
    assert stored_numbers(tmp_path) == [91.73, 1.25]
    assert numbers(chapter("ResNet keeps 91.7 %.")) == ["91.7 %"]
    assert numbers(chapter("ResNet keeps 91.7 %."), stored_numbers(tmp_path)) == []


def test_words_are_counted_without_formulas_and_code():
    assert count_words(chapter("# One two\n\nthree $a + b$ four `x y z`.\n\n<details>five</details>")) == 5
