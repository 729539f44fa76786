"""Networks as problems: drawn once, the same for all, compared by the noise in their logits."""

import pytest
import torch
from torch import nn

from frugal.bench import models, network, session
from frugal.bench.contest import EXACT_DB, Timing, compare_sqnr, compete
from frugal.bench.peer import Entry, Peer
from frugal.bench.summary import NETWORK_OUTPUTS


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3, stride=16), nn.BatchNorm2d(4), nn.Linear(4, 10)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(network.NETWORKS, "small", Small)
    monkeypatch.setattr(network, "IMAGE", (3, 32, 32))
    network._macs.cache_clear()
    yield network.Network("small", 2)
    network._macs.cache_clear()


def noisy(name, noise, precision="int8", calls=None):
    def prepare(problem, threads):
        def run():
            if calls is not None:
                calls.append(name)

        logits = problem.expected + noise * problem.expected.norm() / problem.expected.numel() ** 0.5
        return problem.entry(run, lambda: logits, precision)

    return Peer(name, network.OUTPUT, prepare, lambda: "1")


def test_a_network_is_drawn_the_same_each_time_and_leaves_torchs_random_state(small):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    a, b = network.make(small), network.make(small)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a.expected, b.expected)
    assert not a.model.training


def test_batch_norm_knows_the_images_it_saw(small):
    problem = network.make(small)
    with torch.no_grad():
        seen = problem.model.conv(problem.calibration)
    torch.testing.assert_close(problem.model.bn.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(problem.model.bn.running_var, seen.var((0, 2, 3), unbiased=True))


def test_macs_are_counted_for_the_whole_batch(small):
    assert small.macs == 2 * (2 * 2 * 4 * 27 + 4 * 10)


def test_calibration_comes_in_batches_of_the_size_that_is_timed(small):
    for batch in (1, 2, 5, 16, 20):
        batches = network.make(network.Network("small", batch)).calibration_batches()
        assert {len(each) for each in batches} == {batch}
        assert sum(map(len, batches)) > 16 - batch


@pytest.mark.parametrize("noise, sqnr_db", [(0.0, EXACT_DB), (0.1, 20.0), (0.01, 40.0)])
def test_sqnr_is_the_power_of_the_signal_over_that_of_the_noise(noise, sqnr_db):
    expected = torch.tensor([3.0, 4.0, 0.0, 5.0])
    produced = expected + noise * expected.norm() / 2
    found, wrong = compare_sqnr(produced, Entry(lambda: None, lambda: produced, expected, 0, "", 6.0))
    assert found == pytest.approx(sqnr_db, abs=1e-4)
    assert wrong == ""


def test_logits_that_are_mostly_noise_are_wrong_and_not_timed(small, quick):
    calls = []
    results, _ = compete(network.make(small), [noisy("ours", 0.1), noisy("lost", 1.0, calls=calls)], quick)
    lost = next(result for result in results if result.name == "lost")
    assert "SQNR 0.0 dB, where 6 dB is due" in lost.wrong
    assert lost.latency is None
    assert calls == ["lost"]


def test_the_bar_of_float32_is_higher_than_that_of_int8(small, quick):
    results, _ = compete(network.make(small), [noisy("a", 0.1), noisy("b", 0.1, "float32")], quick)
    assert [bool(result.wrong) for result in results] == [False, True]


def test_logits_of_nan_are_wrong():
    expected = torch.ones(3)
    produced = torch.full((3,), float("nan"))
    assert compare_sqnr(produced, Entry(lambda: None, lambda: produced, expected, 0, "", 6.0))[1]


def test_a_bench_of_networks_has_the_same_figures(small):
    timing = Timing(rounds=6, turn_s=0.0, warm_up_s=0.0)
    field = [noisy("ours", 0.1), noisy("other", 0.05)]
    outcome = session.hold([small], field, timing, isa="avx2", make=network.make, outputs=NETWORK_OUTPUTS)
    assert outcome.summary["shapes_compared"] == 1
    assert outcome.summary["geomean_vs_best_peer"] > 0
    rows = session.as_record(outcome)["rows"]
    assert rows[1]["sqnr_db"] == pytest.approx(26.0, abs=0.1)


def test_torch_itself_runs_a_network(small, quick):
    field = [peer for peer in models.PEERS if peer.name in ("torch fp32", "torch fp32 channels_last")]
    results, _ = compete(network.make(small), field, quick)
    assert [result.unsupported + result.wrong for result in results] == ["", ""]
    assert all(result.sqnr_db > 100 for result in results)


@pytest.mark.parametrize("text", ["resnet18", "resnet19,1", "resnet18,0", "resnet18,x", ""])
def test_what_is_not_a_network_is_refused(text):
    with pytest.raises(ValueError, match="name,batch"):
        network.parse_network(text)


def test_all_networks_are_there_at_batch_1_and_8():
    assert {str(each) for each in network.ALL} == {
        f"{name},{batch}" for name in ("resnet18", "resnet50", "mobilenet_v2") for batch in (1, 8)
    }
