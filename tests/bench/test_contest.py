"""Who is wrong is told and not timed; who is right is timed beside ours, turn by turn."""

import pytest
import torch

from frugal.bench.contest import compare, compete, present
from frugal.bench.peer import Entry, Kept
from frugal.bench.problem import make
from frugal.bench.shapes import Gemm

LAYER = make(Gemm(5, 7, 9))


def named(results):
    return {(result.name, result.output): result for result in results}


def test_a_peer_with_a_wrong_result_is_reported_and_not_timed(fake, quick):
    results, _ = compete(LAYER, [fake("ours"), fake("right", off=1), fake("wrong", off=2)], quick)
    wrong = named(results)["wrong", "u8"]
    assert wrong.latency is None
    assert wrong.ratio is None
    assert wrong.difference == 2
    assert "off by more than 1" in wrong.wrong
    right = named(results)["right", "u8"]
    assert right.latency is not None
    assert right.difference == 1


def test_ours_must_be_exact(fake, quick):
    results, noise = compete(LAYER, [fake("ours", off=1)], quick)
    assert results[0].wrong
    assert noise is None


def test_wrong_peers_are_never_run_in_the_race(fake, quick):
    calls = []
    compete(LAYER, [fake("ours", calls=calls), fake("wrong", off=9, calls=calls)], quick)
    assert calls.count("wrong") == 1  # for its result
    assert calls.count("ours") == 1 + 2 * quick.rounds


def test_everybody_has_a_turn_in_every_round(fake, quick):
    calls = []
    compete(LAYER, [fake(name, calls=calls) for name in ("ours", "a", "b")], quick)
    turns = calls[3::2]  # after one run each for the result, a turn is a warm-up call and a counted one
    assert calls[3:] == [name for name in turns for _ in range(2)]
    assert all(sorted(turns[i : i + 3]) == ["a", "b", "ours"] for i in range(0, len(turns), 3))


def test_a_ratio_above_one_means_that_ours_is_faster(fake, quick):
    results, _ = compete(LAYER, [fake("ours", seconds=2e-4), fake("slow", seconds=1e-3)], quick)
    slow, ours = named(results)["slow", "u8"], named(results)["ours", "u8"]
    assert 3 < slow.ratio.value < 7
    assert ours.ratio.value == 1
    assert slow.gops == pytest.approx(2e-9 * 5 * 7 * 9 / slow.latency.value)


def test_a_peer_that_cannot_is_left_out_with_its_reason(fake, quick):
    results, _ = compete(LAYER, [fake("ours"), fake("picky", unsupported="wants more rows")], quick)
    assert named(results)["picky", "u8"].unsupported == "wants more rows"


def test_a_peer_that_fails_does_not_stop_the_others(fake, quick):
    class Broken(RuntimeError):
        pass

    broken = fake("broken")
    object.__setattr__(broken, "prepare", lambda problem, threads: (_ for _ in ()).throw(Broken("line 1\nline 2")))
    results, _ = compete(LAYER, [broken, fake("ours")], quick)
    assert named(results)["broken", "u8"].unsupported == "Broken: line 1"
    assert named(results)["ours", "u8"].latency is not None


def test_raw_sums_race_against_raw_sums_only(fake, quick):
    field = [fake("ours"), fake("a"), fake("ours", output="s32"), fake("a", seconds=2e-4, output="s32")]
    results = named(compete(LAYER, field, quick)[0])
    assert set(results) == {("ours", "u8"), ("a", "u8"), ("ours", "s32"), ("a", "s32")}
    assert results["a", "s32"].ratio.value > 2
    assert results["a", "u8"].ratio.value < 2


def test_without_ours_the_peers_are_timed_and_have_no_ratio(fake, quick):
    results, noise = compete(LAYER, [fake("a")], quick)
    assert results[0].latency is not None
    assert results[0].ratio is None
    assert noise is not None


def test_missing_peers_are_named_with_the_reason(fake):
    here, versions, missing = present([fake("ours"), fake("gone", missing="not installed: pip install it")])
    assert [peer.name for peer in here] == ["ours"]
    assert versions == {"ours": "1.0"}
    assert missing == {"gone": "not installed: pip install it"}


@pytest.mark.parametrize(
    "produced, word",
    [
        (torch.zeros(2, 3, dtype=torch.int32), "returns torch.int32"),
        (torch.zeros(3, 2, dtype=torch.uint8), r"returns torch.uint8 \[3, 2\]"),
    ],
)
def test_a_result_of_another_type_or_shape_is_wrong(produced, word):
    import re

    expected = torch.zeros(2, 3, dtype=torch.uint8)
    _, wrong = compare(produced, Entry(lambda: None, lambda: produced, expected, 1))
    assert re.search(word, wrong)


def test_a_result_of_nan_is_wrong():
    expected = torch.zeros(2, 3)
    produced = torch.full((2, 3), float("nan"))
    difference, wrong = compare(produced, Entry(lambda: None, lambda: produced, expected, 1e9))
    assert wrong
    assert difference is None


def test_a_kept_result_lets_go_of_the_last_one_before_it_makes_the_next():
    alive = []

    def compute():
        alive.append(bool(kept._latest))
        return torch.ones(1)

    kept = Kept(compute)
    kept()
    kept()
    assert alive == [False, False]
    assert torch.equal(kept.result(), torch.ones(1))
