"""Attacks on the notebook: its metadata, its cells, its JSON."""

# the text of an attack stands on one line

from __future__ import annotations

import json
from collections.abc import Callable

from attack import AFFINE, Attack, Book, every, grading, released

KIND = "metadata"
PASS = "pass"


def _tests(book: Book) -> list[Book]:
    return [cell for cell in book["cells"] if grading(cell).get("grade")]


def _each_test(change: Callable[[Book], object]) -> Callable[[Book], None]:
    def apply(book: Book) -> None:
        for cell in _tests(book):
            change(cell)

    return apply


def _set(**values: object) -> Callable[[Book], None]:
    return _each_test(lambda cell: cell["metadata"]["nbgrader"].update(values))


def _delete(book: Book) -> None:
    book["cells"] = [cell for cell in book["cells"] if not grading(cell).get("grade")]


def _only_tests(book: Book) -> None:
    book["cells"] = _tests(book)


def _reverse(book: Book) -> None:
    book["cells"].reverse()


def _double(book: Book) -> None:
    book["cells"] += [json.loads(json.dumps(cell)) for cell in book["cells"] if grading(cell)]


def _swap(book: Book) -> None:
    tests = _tests(book)
    names = [cell["metadata"]["nbgrader"]["grade_id"] for cell in tests]
    for cell, name in zip(tests, names[1:] + names[:1], strict=True):
        cell["metadata"]["nbgrader"]["grade_id"] = name
        cell["id"] = name


def _all_same(book: Book) -> None:
    for cell in book["cells"]:
        cell["id"] = "symmetric_scale"


def _answers_as_tests(book: Book) -> None:
    for cell in book["cells"]:
        if grading(cell).get("solution"):
            cell["metadata"]["nbgrader"].update(grade=True, solution=False, points=34, grade_id=f"test-{cell['id']}")
            cell["source"] = PASS


def _strip(book: Book) -> None:
    for cell in book["cells"]:
        cell["metadata"] = {}
        cell.pop("id", None)


def _many(book: Book) -> None:
    book["cells"] += [
        {"cell_type": "code", "id": f"m{i}", "metadata": {}, "source": f"a{i} = a{i - 1}"} for i in range(5000)
    ]


def _chain(book: Book) -> None:
    """Each cell uses what every other binds."""
    names = " ".join(f"n{i}" for i in range(300))
    text = f"{names.replace(' ', ' = ')} = 0\nprint({names.replace(' ', ', ')}, symmetric_scale)\nsymmetric_scale = 0"
    book["cells"] += [{"cell_type": "code", "id": f"m{i}", "metadata": {}, "source": text} for i in range(400)]


def _sources(source: object) -> Callable[[Book], None]:
    def apply(book: Book) -> None:
        for cell in book["cells"]:
            cell["source"] = source

    return apply


def _append(source: str) -> Callable[[Book], None]:
    """Add a text to the first answer, and as a cell of its own that binds an asked name."""

    def apply(book: Book) -> None:
        book["cells"].append({"cell_type": "code", "id": "more", "metadata": {}, "source": f"quantize = 1\n{source}"})

    return apply


def _outputs(book: Book) -> None:
    shown = {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": {"text/plain": "100"}}
    for cell in _tests(book):
        cell["outputs"] = [shown, {"output_type": "stream", "name": "stdout", "text": "x" * 200_000}]


def _top(**values: object) -> Callable[[Book], None]:
    return lambda book: book.update(values)


def _cells(name: str, says: str, change: Callable[[Book], None]) -> Attack:
    return Attack(name, KIND, says, change=change)


def _raw(name: str, says: str, raw: bytes) -> Attack:
    return Attack(name, KIND, says, raw=raw)


ATTACKS = (
    _cells(
        "C01",
        "tag the tests so that they are skipped",
        _each_test(lambda cell: cell["metadata"].update(tags=["skip-execution", "raises-exception", "remove_cell"])),
    ),
    _cells("R11", "delete the tests", _delete),
    _cells("R12", "strip all metadata and ids", _strip),
    _cells("R14", "copy every graded cell", _double),
    _cells("R20", "leave nothing but the tests", _only_tests),
    _cells("R21", "claim a schema of the future", _set(schema_version=99)),
    _cells("R23", "give points that are no number", _set(points="x")),
    _cells("R26", "take the marks of a graded cell away", _set(grade=False, locked=False)),
    _cells("points", "raise the points", _set(points=1000)),
    _cells("points-infinite", "give infinite points", _set(points=float("inf"))),
    _cells("points-negative", "give negative points", _set(points=-1)),
    _cells(
        "unlocked",
        "unlock the tests and empty them",
        _each_test(lambda cell: (cell["metadata"]["nbgrader"].update(locked=False), cell.update(source=PASS))),
    ),
    _cells("emptied", "empty the tests", _each_test(lambda cell: cell.update(source=PASS))),
    _cells("markdown", "turn the tests into text", _each_test(lambda cell: cell.update(cell_type="markdown"))),
    _cells("raw-cells", "turn the tests into raw cells", _each_test(lambda cell: cell.update(cell_type="raw"))),
    _cells("manual", "turn the tests into cells that a person grades", _set(solution=True)),
    _cells("task", "turn the tests into tasks", _set(task=True)),
    _cells(
        "renamed",
        "give the tests other names",
        _each_test(lambda cell: cell["metadata"]["nbgrader"].update(grade_id="x" + cell["id"])),
    ),
    _cells("swapped", "swap the names of the tests", _swap),
    _cells("all-same", "give every cell the same name", _all_same),
    _cells("answers-as-tests", "let empty answers pass for tests", _answers_as_tests),
    _cells("reversed", "turn the notebook upside down", _reverse),
    _cells("C05-outputs", "leave outputs that nbgrader reads as points", _outputs),
    _cells("nbformat-3", "claim an old format", _top(nbformat=3, worksheets=[])),
    _cells("nbformat-99", "claim a format of the future", _top(nbformat=99, nbformat_minor="x")),
    _cells(
        "kernel",
        "ask for a kernel that runs a program",
        _top(metadata={"kernelspec": {"name": "../../bin/sh", "display_name": "x", "argv": ["sh"]}}),
    ),
    _cells(
        "frugal-metadata",
        "allow oneself the library",
        _top(metadata={"frugal": {"allow": ["frugal.quant.affine:quantize"], "mask": []}}),
    ),
    _cells("many-cells", "append five thousand cells", _many),
    _cells("entangled", "append cells that all need each other", _chain),
    _cells(
        "ids",
        "give ids that are no text",
        lambda book: [cell.update(id=[1], metadata={"nbgrader": {"grade_id": {}}}) for cell in book["cells"]] and None,
    ),
    _cells(
        "metadata-shapes",
        "give metadata that is no object",
        lambda book: [cell.update(metadata=7) for cell in book["cells"]] and None,
    ),
    _cells("sources-number", "give numbers for sources", _sources(7)),
    _cells("sources-mixed", "give lists of everything for sources", _sources([1, None, {"a": []}, "x = 1\n"])),
    _cells("sources-null", "give no sources", _sources(None)),
    _cells("surrogate", "write half a character into every cell", _sources("x = '\ud800'")),
    _cells("nul", "write zero bytes into every cell", _sources("x = 1\0")),
    _cells("sum", "write a sum of 2,000 terms", _append("x = " + "+".join(["1"] * 2000))),
    _cells("sum-long", "write a sum of 100,000 terms", _append("x = " + "+".join(["1"] * 100_000))),
    _cells("brackets", "open 100,000 brackets", _append("x = " + "(" * 100_000)),
    _cells(
        "lists", "nest lists 150 deep, a thousand times", _append("x = [" + ("[" * 90 + "]" * 90 + ",") * 1000 + "]")
    ),
    _cells("minuses", "write 100,000 signs", _append("x = " + "-" * 100_000 + "1")),
    _cells("attributes", "write a chain of 2,500 attributes", _append("x = a" + ".a" * 2500)),
    _cells("calls", "write a chain of 2,500 calls", _append("x = a" + "()" * 2500)),
    _cells(
        "nested-functions",
        "nest 95 functions",
        _append("\n".join(" " * i + "def f():" for i in range(95)) + "\n" + " " * 95 + "pass"),
    ),
    _cells("lambda-nest", "nest 900 lambdas", _append("x = " + "lambda: " * 900 + "1")),
    _cells("if-chain", "write 2,000 elifs", _append("if 0: pass\n" + "\n".join("elif 0: pass" for _ in range(2000)))),
    _cells("f-strings", "nest format strings", _append("x = " + "f'{" * 1 + "1" + "}'" * 1 + " + f'{1:{1:{1}}}'" * 1)),
    _cells("indent", "indent 20,000 deep", _append("if 1:\n" + " " * 20_000 + "x = 1")),
    _cells("names", "bind 100,000 names", _append("\n".join(f"v{i} = 1" for i in range(50_000)))),
    _cells("huge-cell", "write a cell of two million letters", _append("x = '" + "y" * 2_000_000 + "'")),
    _cells("star", "bind everything from everywhere", _append("from torch import *\nfrom os import *")),
    _cells("coding", "claim another coding", _append("# -*- coding: utf-7 -*-\nx = '+AGEAYgBj-'")),
    _cells("bidi", "hide code behind characters that turn the direction", _append("x = '\u202e' # \u2066 quantize")),
    _cells("shell", "ask for a shell by magic words", _append("!touch /tmp/owned\n%%bash\ntouch /tmp/owned")),
    _raw("R15", "hand in broken JSON", b'{"cells": ['),
    _raw("R16", "hand in nothing", b""),
    _raw("bytes", "hand in random bytes", bytes(range(256)) * 64),
    _raw("utf-16", "hand in UTF-16", json.dumps(released(AFFINE)).encode("utf-16")),
    _raw("list", "hand in a list", b"[1, 2, 3]"),
    _raw("cells-object", "hand in cells that are no list", b'{"cells": {"a": 1}}'),
    _raw("deep-json", "nest 200,000 lists", b"[" * 200_000),
    _raw(
        "deep-cells",
        "nest a cell's metadata 900 deep",
        b'{"cells": [{"cell_type": "code", "source": "", "metadata": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}]}",
    ),
    _raw(
        "long-number", "hand in a number of a million digits", b'{"cells": [], "nbformat": ' + b"9" * 1_000_000 + b"}"
    ),
    _raw(
        "duplicate-keys",
        "hand in two lists of cells",
        b'{"cells": [], "cells": [{"cell_type": "code", "source": "1/0"}]}',
    ),
    _raw(
        "nan",
        "hand in NaN",
        b'{"cells": [{"cell_type": "code", "source": "x", "metadata": {"nbgrader": {"points": NaN}}}]}',
    ),
    _raw("too-large", "hand in 21 million bytes", b" " * (21 << 20)),
    Attack(
        "R27-wrong",
        KIND,
        "warn and print, and answer nothing",
        every("import warnings\nwarnings.warn('x')\nprint('passed')"),
    ),
)
