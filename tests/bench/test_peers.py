"""Every entrant that is installed computes what it must; the others say why they are not here."""

import os

import pytest
import torch

from frugal.bench import caps, conv, gemm, ours
from frugal.bench.contest import compare
from frugal.bench.peer import Missing, Unsupported, installed
from frugal.bench.problem import make
from frugal.bench.shapes import Conv, Gemm
from frugal.kernels import available

GEMMS = [Gemm(32, 16, 64), Gemm(17, 24, 40), Gemm(1, 8, 16)]
CONVS = [Conv(1, 8, 16, 24, 3, 1, 1, 1), Conv(2, 9, 8, 16, 3, 2, 1, 1), Conv(1, 6, 32, 16, 1, 1, 0, 1)]


def name_of(value):
    return f"{value.name} {value.output}" if hasattr(value, "prepare") else str(value)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def check(peer, shape):
    try:
        peer.find()
    except Missing as reason:
        pytest.skip(str(reason))
    try:
        entry = peer.prepare(make(shape), 1)
    except Unsupported as reason:
        pytest.skip(str(reason))
    for _ in range(2):  # the second run reads what the first one left behind
        entry.run()
        difference, wrong = compare(entry.result(), entry)
    if wrong and "avx512_vnni" not in available():
        pytest.skip(f"16-bit sums overflow without VNNI: {wrong}")  # vpmaddubsw; what the bench exists to tell
    assert not wrong
    assert difference <= entry.allowed


@pytest.mark.parametrize("shape", GEMMS, ids=name_of)
@pytest.mark.parametrize("peer", gemm.PEERS, ids=name_of)
def test_a_peer_multiplies(peer, shape):
    check(peer, shape)


@pytest.mark.parametrize("shape", CONVS, ids=name_of)
@pytest.mark.parametrize("peer", conv.PEERS, ids=name_of)
def test_a_peer_convolves(peer, shape):
    check(peer, shape)


@pytest.mark.parametrize("isa", available())
def test_ours_is_exact_on_every_instruction_set(isa):
    for peers, shapes in ((ours.gemm(isa), GEMMS), (ours.conv(isa), [*CONVS, Conv(1, 7, 8, 8, 3, 1, 1, 8)])):
        for peer in peers:
            for shape in shapes:
                entry = peer.prepare(make(shape), 1)
                entry.run()
                assert compare(entry.result(), entry) == (0.0, ""), f"{isa} {peer.output} {shape}"


def test_the_choice_of_an_instruction_set_does_not_outlive_the_preparation(monkeypatch):
    monkeypatch.delenv("FRUGAL_ISA", raising=False)
    with ours.forced("reference"):
        assert ours.widest() == "reference"
    assert "FRUGAL_ISA" not in os.environ
    monkeypatch.setenv("FRUGAL_ISA", "scalar")
    with ours.forced("reference"):
        pass
    assert os.environ["FRUGAL_ISA"] == "scalar"


def test_what_is_not_installed_says_how_to_get_it():
    with pytest.raises(Missing, match=r"no_such_engine is not installed: pip install 'frugal\[peers\]'"):
        installed("no_such_engine")


def test_peers_are_held_to_an_instruction_set_and_the_reader_is_told(monkeypatch):
    for variable in caps.VARIABLES:
        monkeypatch.setenv(variable, "unset")  # so that it is restored
    monkeypatch.setattr(caps, "find_spec", lambda name: None)
    notes = caps.cap_peers("avx2")
    assert all(os.environ[variable] == "AVX2" for variable in caps.VARIABLES)
    assert any("fbgemm" in note for note in notes)
    assert caps.cap_peers("amx_int8") == []


def test_who_cannot_be_held_is_shown_and_not_ranked():
    held = {peer.name: peer.ranked for peer in caps.unrank_free(gemm.PEERS, "avx2")}
    assert held["oneDNN prepacked"]
    assert not held["torch fbgemm"]
    assert not held["ONNX Runtime QGemm"]
    for isa in (None, "amx_int8", "avx512_vnni"):
        assert caps.unrank_free(gemm.PEERS, isa) == list(gemm.PEERS)
