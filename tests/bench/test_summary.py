"""The quoted figures follow their definitions, on numbers that can be checked by hand."""

import json
from dataclasses import replace

import pytest

from frugal.bench.contest import Result
from frugal.bench.summary import as_row, best_peers, standings, summarise
from frugal.measure.latency import Estimate


def result(shape, name, microseconds, ratio=None, output="u8", **more):
    exact = Estimate(microseconds * 1e-6, microseconds * 1e-6, microseconds * 1e-6)
    compared = None if ratio is None else Estimate(ratio, ratio, ratio)
    return Result(shape, output, name, 1000, exact, microseconds * 0.5e-6, compared, **more)


TWO_LAYERS = [
    result("a", "ours", 10, 1.0),
    result("a", "x", 20, 2.0),
    result("a", "y", 40, 4.0),
    result("a", "fp32", 5, 0.5, output="float", ranked=False),
    result("b", "ours", 10, 1.0),
    result("b", "x", 80, 8.0),
    result("b", "y", 5, 0.5),
    result("b", "z", 1, 0.1, ranked=False),
    Result("b", "u8", "w", 1000, wrong="5% are off"),
]


def test_the_best_peer_of_a_layer_is_the_fastest_ranked_one():
    assert {shape: best.name for shape, best in best_peers(TWO_LAYERS, "u8").items()} == {"a": "x", "b": "y"}


def test_the_summary_holds_the_geometric_mean_and_the_worst_over_best_peers():
    summary = summarise(TWO_LAYERS, isa="avx2", threads=3)
    assert (summary["isa"], summary["threads"]) == ("avx2", 3)
    assert summary["geomean_vs_best_peer"] == pytest.approx((2.0 * 0.5) ** 0.5)
    assert (summary["worst_vs_best_peer"], summary["worst_shape"]) == (0.5, "b")
    assert summary["shapes_compared"] == 2
    assert "s32_geomean_vs_best_peer" not in summary


def test_every_peer_has_its_own_geometric_mean():
    summary = summarise(TWO_LAYERS, isa="avx2", threads=1)
    means = {"x u8": 4.0, "y u8": 2.0**0.5, "fp32 float": 0.5, "z u8": 0.1}
    assert summary["geomean_vs"] == pytest.approx(means)
    x = next(each for each in standings(TWO_LAYERS) if each.name == "x")
    assert (x.worst, x.best, x.faster_in, x.layers) == (2.0, 8.0, 2, 2)


def test_wrong_peers_are_named_and_not_ranked():
    summary = summarise(TWO_LAYERS, isa="avx2", threads=1)
    assert summary["wrong"] == {"w u8": {"b": "5% are off"}}
    assert "w u8" not in summary["geomean_vs"]


def test_raw_sums_have_figures_of_their_own():
    sums = [result("a", "ours", 10, 1.0, output="s32"), result("a", "x", 9, 0.9, output="s32")]
    summary = summarise(TWO_LAYERS + sums, isa="avx2", threads=1)
    assert summary["s32_geomean_vs_best_peer"] == pytest.approx(0.9)
    assert summary["geomean_vs_best_peer"] == pytest.approx(1.0)


def test_the_fastest_rounds_have_a_mean_of_their_own():
    slow = [replace(each, fastest=each.fastest / 4) if each.name == "x" else each for each in TWO_LAYERS]
    assert summarise(TWO_LAYERS, isa=None, threads=1)["geomean_vs_best_peer_fastest"] == pytest.approx(1.0)
    summary = summarise(slow, isa=None, threads=1)  # layer a: x at 20 / 4 of ours 10; layer b: y, 5 of 10
    assert summary["geomean_vs_best_peer_fastest"] == pytest.approx(0.5)
    assert summary["geomean_vs_best_peer"] == pytest.approx(1.0)


def test_with_nobody_to_compare_the_figures_are_none():
    for results in ([result("a", "ours", 10, 1.0)], [result("a", "x", 10)]):
        summary = summarise(results, isa=None, threads=1)
        assert summary["geomean_vs_best_peer"] is None
        assert summary["worst_vs_best_peer"] is None


def test_a_row_carries_units_and_can_be_written():
    row = as_row(TWO_LAYERS[1])
    assert row["latency_us"] == pytest.approx(20.0)
    assert row["ratio_to_ours"] == 2.0
    assert row["gops"] == pytest.approx(2 * 1000 / 20e-6 / 1e9)
    assert as_row(TWO_LAYERS[-1])["latency_us"] is None
    json.dumps([as_row(each) for each in TWO_LAYERS], allow_nan=False)
