"""benchmarks/ptq.py and what it stored: rows that it would measure, and a summary that follows from them."""

import importlib.util
import sys

import pytest

from frugal.measure.results import read


@pytest.fixture(scope="module")
def ptq(root):
    spec = importlib.util.spec_from_file_location("ptq_benchmark", root / "benchmarks" / "ptq.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stored(root):
    return read(root / "benchmarks" / "results" / "ptq.json")


def planned(ptq):
    words = [{"bits": "fp32"}, *(words for words, _ in ptq.choices()), *(words for words, _ in ptq.recipes())]
    return [ptq.identity({"network": name, **each}) for name in ptq.NETWORKS for each in words]


def test_no_two_rows_have_the_same_words(ptq):
    assert len(planned(ptq)) == len(set(planned(ptq)))


def test_every_stored_row_is_one_that_the_benchmark_measures(ptq, stored):
    rows = [ptq.identity(row) for row in stored["rows"]]
    assert set(rows) <= set(planned(ptq))
    assert len(rows) == len(set(rows))


def test_the_stored_summary_follows_from_the_rows(ptq, stored):
    assert {"test_images": stored["summary"]["test_images"], **ptq.summarize(stored["rows"])} == stored["summary"]


def test_rows_that_are_known_are_not_measured_again(ptq, stored):
    table = ptq.Table([stored], 10_000, None)
    row = stored["rows"][0]
    assert not table.lacks({"network": row["network"], "bits": row["bits"]})
    assert table.lacks({"network": "resnet20", "bits": "W7A7", "method": "none"})
    assert table.rows == [row]
    assert "joined by --from" in table.result()["command"]
    assert table.result()["runs"][:-1] == stored.get("runs", stored["command"].split(" && "))
