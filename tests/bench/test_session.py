"""A whole bench with entrants that are not there, and one small one with whatever is installed."""

import json

import pytest
from click.testing import CliRunner

from frugal.bench import report, session
from frugal.bench.shapes import Gemm
from frugal.cli import bench as command
from frugal.measure.latency import Noise

LAYERS = [Gemm(3, 4, 5), Gemm(6, 7, 8)]
KEYS = {"isa", "threads", "rounds", "geomean_vs_best_peer", "worst_vs_best_peer", "geomean_vs", "missing", "noisy"}


def test_a_bench_reports_layers_missing_peers_and_what_is_wrong(fake, quick):
    told = []
    field = [fake("ours"), fake("slow", 2e-4), fake("gone", missing="not installed"), fake("bad", off=3)]
    outcome = session.hold(LAYERS, field, quick, isa="avx2", announce=lambda shape, results: told.append(shape))
    assert told == LAYERS
    assert outcome.missing == outcome.summary["missing"] == {"gone": "not installed"}
    assert set(outcome.summary["wrong"]) == {"bad u8"}
    assert outcome.summary["geomean_vs_best_peer"] > 1
    assert set(outcome.summary) >= KEYS
    text = report.closing(outcome.summary, outcome.missing, outcome.noise)
    assert "missing: gone: not installed" in text
    assert "WRONG: bad u8 on 2 layers" in text


def test_the_record_can_be_written_and_names_versions(fake, quick):
    outcome = session.hold(LAYERS, [fake("ours"), fake("a")], quick, isa="avx2")
    made = json.loads(json.dumps(session.as_record(outcome), allow_nan=False))
    assert set(made) >= {"machine", "versions", "date", "command", "rows", "summary"}
    assert made["versions"]["a"] == "1.0"
    assert len(made["rows"]) == 4


def test_a_noisy_machine_is_marked(fake, quick, monkeypatch):
    monkeypatch.setattr(session, "system_load", lambda: 1000.0)
    outcome = session.hold(LAYERS, [fake("ours"), fake("a")], quick, isa="avx2")
    assert outcome.summary["noisy"]
    assert "load of 1000.0" in " ".join(outcome.summary["noise"])
    assert "do not quote" in report.closing(outcome.summary, {}, outcome.noise)


def test_the_noise_of_a_bench_is_that_of_its_median_layer_and_noisy_layers_are_named(fake, quick, monkeypatch):
    spreads = iter([0.5, 0.02, 0.01])

    def compete(problem, peers, timing):
        return [], Noise(next(spreads), 0.0, 4)

    monkeypatch.setattr(session, "compete", compete)
    outcome = session.hold([*LAYERS, Gemm(1, 1, 1)], [fake("ours")], quick, isa="avx2")
    assert outcome.noise.spread == 0.02
    assert not outcome.summary["noisy"]
    assert outcome.summary["noisy_shapes"] == [str(LAYERS[0])]


def test_without_shapes_nothing_is_held(fake, quick):
    with pytest.raises(ValueError, match="at least one shape"):
        session.hold([], [fake("ours")], quick, isa="avx2")


def test_several_threads_get_a_silence_before_each_turn(monkeypatch):
    monkeypatch.setattr(session, "available_cores", lambda: 4)
    assert session.timing_for(1).silence_s == 0
    assert session.timing_for(4).silence_s > 0


@pytest.mark.parametrize("threads, rounds, word", [(0, None, "threads"), (10_000, None, "threads"), (1, 5, "rounds")])
def test_threads_and_rounds_that_cannot_be_are_refused(threads, rounds, word):
    with pytest.raises(ValueError, match=word):
        session.timing_for(threads, rounds)


@pytest.mark.parametrize(
    "words, reason",
    [
        (["gemm", "--shapes", "1,2"], "m,n,k"),
        (["gemm", "--shapes", "0,2,3"], "m must be 1 or more"),
        (["gemm", "--threads", "0"], "--threads"),
        (["gemm", "--threads", "10000"], "cores of this machine"),
        (["gemm", "--rounds", "3", "--shapes", "1,2,3"], "rounds must be 6"),
        (["gemm", "--isa", "abacus"], "--isa"),
        (["gemm", "--output", "s16"], "--output"),
        (["conv", "--shapes", "1,7,6,6,3,1,1,4"], "groups must divide"),
        (["conv", "--isa", "dotprod"], "ours has no dotprod here, but avx2, reference"),
    ],
)
def test_bad_arguments_are_refused_with_a_reason(words, reason, monkeypatch):
    from frugal.kernels import dispatch

    monkeypatch.setattr(dispatch, "available", lambda: ("avx2", "reference"))
    done = CliRunner().invoke(command.bench, words)
    assert done.exit_code == 2
    assert reason in done.output


def test_a_wrong_result_of_ours_ends_with_exit_code_1(fake, quick, monkeypatch):
    from frugal.bench import gemm

    for off, code in ((0, 0), (1, 1)):
        monkeypatch.setattr(gemm, "peers", lambda isa, output, off=off: [fake("ours", off=off), fake("a")])
        done = CliRunner().invoke(command.bench, ["gemm", "--quick", "--shapes", "3,4,5 6,7,8"])
        assert done.exit_code == code, done.output
        assert ("WRONG: ours u8 on 2 layers" in done.output) == bool(off)


def test_a_failure_of_ours_ends_with_exit_code_1(fake, monkeypatch):
    from frugal.bench import gemm

    monkeypatch.setattr(gemm, "peers", lambda isa, output: [fake("ours", unsupported="no memory"), fake("a")])
    done = CliRunner().invoke(command.bench, ["gemm", "--quick", "--shapes", "3,4,5"])
    assert done.exit_code == 1
    assert "left out: ours u8: no memory" in done.output


def test_a_small_bench_runs_with_whatever_is_installed(tmp_path):
    file = tmp_path / "gemm.json"
    done = CliRunner().invoke(command.bench, ["gemm", "--quick", "--shapes", "32,32,64", "--json", str(file)])
    assert done.exit_code == 0, done.output
    made = json.loads(file.read_text())
    assert set(made["summary"]) >= KEYS
    assert made["summary"]["threads"] == 1
    timed = {row["peer"] for row in made["rows"] if row["latency_us"]}
    assert {"torch fp32", "torch fbgemm"} <= timed
    for name in made["summary"]["missing"]:
        assert name in done.output
