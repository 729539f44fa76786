"""Where a number in a chapter's words comes from: a cell, a stored measurement, or a named source.

A sentence that names its source ([19], slide 22, the lecture) may quote. Any other number must stand in a cell of
the notebook or in benchmarks/results, as it is or rounded. TRIVIAL lists what needs no source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

_SPACES = " \u00a0\u202f\u2009"
_NUMBER = re.compile(
    r"(?<![\w.\-\[])"  # not inside a name such as int8, ResNet-20, 4.2.1
    rf"[-−+]?(?:\d{{1,3}}(?:[,\u00a0\u202f\u2009]\d{{3}})+|\d+)(?:\.\d+)?"
    r"(?![\w\]]|\.\d|-(?!bit))"
    rf"(?P<unit>[{_SPACES}]?(?:%|×))?"
)
_MEASURED = re.compile(rf"^[{_SPACES}]?(?:%|per cent|ms|µs|[kKMG]i?B|images/s|GOPS|TOPS)(?!\w)")
_SOURCE = re.compile(r"\[\d+\]|\bslides?\b|\blecture\b|\bpaper\b|\bsection \d|references\.md", re.IGNORECASE)
_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
_MATH = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL)
_LABEL = re.compile(
    r"\b(?:equations?|eq\.|tables?|figures?|chapters?|labs?|parts?|exercises?|steps?|python|cells?|hints?)"
    r"[\s~]*\(?\d+(?:\.\d+)*\)?(?:(?:\s*(?:to|and|,|–|-)\s*)\(?\d+(?:\.\d+)*\)?)*",
    re.IGNORECASE,
)
_TIME = re.compile(r"[~≈]?\d+(?:\s*(?:to|–|-)\s*\d+)?\s*(?:minutes?|min|hours?|seconds?)\b")

TRIVIAL = (
    "whole numbers from 0 to 20 without a unit of measurement",
    "years from 1940 to 2100",
    "0 %, 50 % and 100 %",
    "powers of two and their neighbours (127, 255, 256 ...)",
    "10, 100, 1000 and so on",
    "numbers of equations, tables, chapters, labs, cells and exercises; reading times",
    "what stands in code or in a formula",
)


@dataclass(frozen=True)
class Unsupported:
    """A number in prose that nothing in the notebook or in the measurements holds."""

    cell: str
    number: str
    sentence: str

    def __str__(self) -> str:
        return f"cell {self.cell}: {self.number} in {self.sentence[:120]!r} comes from no cell and no measurement"


def count_words(notebook: NotebookNode) -> int:
    """Count the words of the markdown cells; formulas and code blocks are not words."""
    return sum(
        len(re.findall(r"\w[\w'’-]*", _plain(cell.source))) for cell in notebook.cells if cell.cell_type == "markdown"
    )


def unsupported_numbers(notebook: NotebookNode, measured: Iterable[float] = ()) -> list[Unsupported]:
    """Return the numbers in a notebook's words that have no source."""
    known = [*_cell_numbers(notebook), *measured]
    return [
        Unsupported(cell.id, match[0].strip(), sentence)
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for sentence in _sentences(cell.source)
        if not _SOURCE.search(sentence)
        for match in _NUMBER.finditer(sentence)
        if not _is_trivial(match, sentence) and not _is_known(match, sentence, known)
    ]


def stored_numbers(folder: Path) -> list[float]:
    """Return every number in the measurements of ``folder``."""
    found: list[float] = []
    for path in sorted(folder.glob("**/*.json")):
        found += _numbers_in(json.loads(path.read_text(encoding="utf-8")))
    return found


def _numbers_in(value: object) -> Iterator[float]:
    if isinstance(value, bool):
        return
    if isinstance(value, (int, float)):
        yield float(value)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _numbers_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from _numbers_in(part)


def _plain(markdown: str) -> str:
    text = _MATH.sub(" ", _CODE.sub(" ", markdown))
    text = re.sub(r"\]\([^)]*\)", "]", text)  # links keep their words
    return re.sub(r"<[^>]*>|[*_#>|]", " ", text)


def _sentences(markdown: str) -> Iterator[str]:
    """Yield sentences and table rows; a heading's own number goes."""
    source = re.sub(r"^#+\s*(?:Lab\s+)?\d+(?:\.\d+)*\b", "", markdown, flags=re.MULTILINE)
    rows = re.sub(r"^\s*\d+\.\s", "", source, flags=re.MULTILINE)  # numbered lists
    marked = rows.replace("(../references.md", " references.md (")  # a link to the references is a source
    blocks = re.split(r"\n\s*\n|\n(?=\s*[|\-*])", marked)
    for block in blocks:
        text = " ".join(_TIME.sub(" ", _LABEL.sub(" ", _plain(block))).split())
        yield from (part for part in re.split(r"(?<=[.!?:])\s+(?=[A-Z])", text) if part)


def _value(match: re.Match[str]) -> tuple[float, int]:
    """Return the number's size and how many decimals it is told with."""
    text = re.sub(r"[,\u00a0\u202f\u2009]", "", match[0].removesuffix(match["unit"] or "")).strip("+-−")
    return float(text), len(text.partition(".")[2])


def _is_trivial(match: re.Match[str], sentence: str) -> bool:
    value, decimals = _value(match)
    after = sentence[match.end() - len(match["unit"] or "") :]
    if _MEASURED.match(after):
        return value in (0, 50, 100) and after.lstrip(_SPACES).startswith(("%", "per cent"))
    if decimals:
        return value == 0.5
    whole = int(value)
    near_power = any(number > 0 and number & (number - 1) == 0 for number in (whole - 1, whole, whole + 1))
    return whole <= 20 or 1940 <= whole <= 2100 or near_power or str(whole).strip("0") == "1"


def _is_known(match: re.Match[str], sentence: str, known: list[float]) -> bool:
    value, decimals = _value(match)
    half = 0.5000001 * 10.0**-decimals
    scales = (1.0, 100.0) if _MEASURED.match(sentence[match.end() - len(match["unit"] or "") :]) else (1.0,)
    return any(abs(abs(number) * scale - value) <= half for number in known for scale in scales)


def _cell_numbers(notebook: NotebookNode) -> Iterator[float]:
    """Yield the numbers that stand in code and in its outputs; pictures are not read."""
    pattern = re.compile(r"\d[\d_,]*(?:\.\d*)?(?:[eE][-+]?\d+)?")
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for text in (cell.source, *_output_texts(cell)):
            for found in pattern.findall(text):
                try:
                    yield float(found.replace(",", "").replace("_", ""))
                except ValueError:
                    continue


def _output_texts(cell: NotebookNode) -> Iterator[str]:
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        data = output.get("data", {})
        yield data.get("text/plain", "")
        page = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", data.get("text/html", ""), flags=re.DOTALL)
        yield re.sub(r"<[^>]*>", " ", page)
