"""The roofline's formulas, on shapes that can be counted by hand; and the probe, where there is a compiler."""

import shutil

import pytest

from frugal.bench import compiled, roofline
from frugal.bench.contest import Result
from frugal.bench.peer import Missing
from frugal.bench.shapes import Conv, Gemm
from frugal.measure.latency import Estimate

ROOF = roofline.Roofline(1, {"avx2": 200.0}, {1 << 14: 100.0, 1 << 28: 10.0})


def test_a_layer_meets_the_lower_of_two_roofs():
    assert roofline.attainable_gops(1.0, 200.0, 10.0) == 10.0
    assert roofline.attainable_gops(100.0, 200.0, 10.0) == 200.0
    assert roofline.attainable_gops(ROOF.balance("avx2", 1 << 28), 200.0, 10.0) == 200.0


def test_bytes_are_counted_once_each():
    assert roofline.bytes_moved(Gemm(2, 3, 4)) == 2 * 4 + 3 * 4 + 2 * 3
    assert roofline.bytes_moved(Conv(1, 4, 2, 6, 3, 2, 1, 2)) == 4 * 4 * 2 + 6 * 1 * 9 + 2 * 2 * 6
    assert roofline.intensity(Gemm(1, 1, 1)) == 2 / 3


def test_the_share_of_the_peak_is_that_of_the_large_square():
    seconds = 2 * roofline.SQUARE.macs / 50e9
    square = Result(str(roofline.SQUARE), "u8", "ours", roofline.SQUARE.macs, Estimate(seconds, seconds, seconds))
    summary = roofline.summarise(ROOF, [square], "avx2")
    assert summary["share_of_peak"] == pytest.approx(0.25)
    assert roofline.summarise(ROOF, [square], "amx_int8")["share_of_peak"] is None
    assert roofline.summarise(ROOF, [], "avx2")["share_of_peak"] is None
    assert [row["kind"] for row in roofline.rows(ROOF, [square])] == ["peak", "read", "read", "layer"]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="1 or more"):
        roofline.measure(0)


def test_without_a_compiler_the_probe_is_missing_and_says_so(monkeypatch):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    compiled.library.cache_clear()
    with pytest.raises(Missing, match=r"no C\+\+ compiler"):
        roofline.measure()


def test_a_source_that_does_not_compile_is_told_in_a_line(tmp_path, monkeypatch):
    if not any(map(shutil.which, compiled.COMPILERS)):
        pytest.skip("no C++ compiler on this machine")
    (tmp_path / "bad.cpp").write_text("int main() { return nonsense; }\n")
    monkeypatch.setattr(compiled, "SOURCES", tmp_path)
    with pytest.raises(Missing, match=r"bad.cpp does not compile here: .*nonsense"):
        compiled.library("bad.cpp")


def test_the_probe_finds_limits_above_zero(monkeypatch):
    if not any(map(shutil.which, compiled.COMPILERS)):
        pytest.skip("no C++ compiler on this machine")
    monkeypatch.setattr(roofline, "ARRAYS", (16 << 10, 4 << 20))
    compiled.library.cache_clear()
    roof = roofline.measure(1, windows=2)
    assert set(roof.read_gb_s) == {16 << 10, 4 << 20}
    assert all(rate > 0.1 for rate in roof.read_gb_s.values())
    assert all(gops > 1 for gops in roof.peaks_gops.values())
