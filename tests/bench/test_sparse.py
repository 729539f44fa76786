"""The sparse bench: everybody computes the same, the break-even lies where the curve crosses 1, a record is made."""

import json

import pytest
import torch
from click.testing import CliRunner

from frugal.bench import sparse, sparse_report
from frugal.bench.peer import Unsupported
from frugal.bench.shapes import Gemm
from frugal.cli import bench as command

SMALL = Gemm(5, 32, 64)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_all_entrants_are_right_and_timed_where_their_pattern_exists(quick, sparsity):
    points, noise = sparse.compete(sparse.make(SMALL, sparsity), quick)
    assert [point.name for point in points] == list(sparse.ENTRANTS)
    assert not any(point.wrong for point in points)
    untimed = {point.name for point in points if point.latency is None}
    assert untimed == (set() if sparsity == 0.5 else {"ours 2:4"})
    assert noise is not None
    dense = points[0]
    assert dense.speedups[sparse.FP32].value == 1


def test_all_patterns_have_equally_many_zeros_and_more_sparsity_keeps_the_zeros_of_less():
    some, more = sparse.make(SMALL, 0.5), sparse.make(SMALL, 0.75)
    for weight in (some.single, some.blocks(16, 1), some.blocks(16, 16), some.two_four()):
        assert (weight == 0).float().mean() == 0.5
    assert ((more.single == 0) | (some.single != 0)).all()
    assert torch.equal(some.x, more.x)


def test_patterns_that_do_not_fit_are_left_out_with_a_reason():
    with pytest.raises(Unsupported, match="16 x 16 blocks do not divide 32 x 40"):
        sparse.make(Gemm(1, 32, 40), 0.5).blocks(16, 16)
    with pytest.raises(Unsupported, match="one half of zeros"):
        sparse.make(SMALL, 0.7).two_four()


def test_a_wrong_result_is_told_and_not_timed(quick, monkeypatch):
    def wrong(p):
        return p.entry(lambda: torch.zeros(p.shape.m, p.shape.n), p.single)

    def broken(p):
        raise RuntimeError("not today")

    monkeypatch.setitem(sparse.ENTRANTS, "ours csr", wrong)
    monkeypatch.setitem(sparse.ENTRANTS, "torch csr", broken)
    points = {point.name: point for point in sparse.compete(sparse.make(SMALL, 0.5), quick)[0]}
    assert "of the outputs are off" in points["ours csr"].wrong
    assert points["ours csr"].latency is None
    assert points["torch csr"].unsupported == "RuntimeError: not today"
    text = sparse_report.table(list(points.values()))
    assert "not timed: torch csr: RuntimeError: not today" in text


@pytest.mark.parametrize(
    "curve, expected",
    [
        ([(0.5, 2.0), (0.9, 9.0)], 0.5),
        ([(0.5, 0.5), (0.9, 0.99)], None),
        ([(0.5, 0.5), (0.9, 2.0)], 0.7),
        ([(0.3, 1.1), (0.5, 0.5), (0.7, 2.0)], 0.6),  # a first point above 1 that falls again does not count
        ([], None),
    ],
)
def test_the_break_even_is_where_a_format_becomes_faster_for_good(curve, expected):
    assert sparse_report.break_even(curve) == (None if expected is None else pytest.approx(expected))


def test_the_command_prints_tables_and_writes_a_record(tmp_path):
    file = tmp_path / "sparse.json"
    words = ["sparse", "--quick", "--rounds", "6", "--shapes", "2,32,64", "--isa", "reference", "--json", str(file)]
    done = CliRunner().invoke(command.bench, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "beats torch fp32 dense from" in done.output
    made = json.loads(file.read_text())
    assert len(made["rows"]) == len(sparse.ENTRANTS) * len(sparse.QUICK_SPARSITIES)
    summary = made["summary"]
    assert summary["sparse_isa"] == "reference"
    assert set(summary["break_even_vs_fp32"]) == {"ours csr", "ours blocks", "torch csr", "torch bsr 16x16"}
    assert list(summary["two_four_speedup_vs_fp32"]) == ["2,32,64"]
    assert {"machine", "versions", "date", "command"} <= set(made)
