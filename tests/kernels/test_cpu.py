"""The processor's features: the same answer from the native library, from Linux, and in words."""

from itertools import product
from pathlib import Path

import pytest

from frugal.kernels import cpu, native

X86 = "processor : 0\nflags\t\t: fpu sse2 avx2 fma avx512f avx512bw avx512vl avx512_vnni amx_tile amx_int8\n"
ARM = "processor : 0\nFeatures\t: fp asimd asimddp i8mm\n"


def test_cpuinfo_of_both_architectures_is_read():
    x86, arm = cpu.parse_cpuinfo(X86), cpu.parse_cpuinfo(ARM)
    assert set(x86) == set(arm) == set(cpu.FEATURES)
    assert [name for name, there in x86.items() if there] == [
        "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "amx_tile", "amx_int8",
    ]  # fmt: skip
    assert [name for name, there in arm.items() if there] == ["dotprod", "i8mm"]


@pytest.mark.parametrize("text", ["", "nothing here", "flags", "flags:\n"])
def test_a_cpuinfo_that_says_nothing_names_no_feature(text):
    assert not any(cpu.parse_cpuinfo(text).values())


def test_without_library_and_cpuinfo_every_feature_is_absent(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "cpu_features", lambda: None)
    assert cpu.cpu_features(tmp_path / "absent") == dict.fromkeys(cpu.FEATURES, False)


@pytest.mark.skipif(native.library() is None, reason="the native library is not built on this machine")
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="this system has no /proc/cpuinfo")
def test_the_native_library_and_linux_agree():
    """Linux lists a feature only where it saves its registers, which is what the library asks xgetbv."""
    assert native.cpu_features() == cpu.parse_cpuinfo(Path("/proc/cpuinfo").read_text())


def test_instruction_sets_come_widest_first_and_end_with_scalar():
    widths = [each.products for each in cpu.INSTRUCTION_SETS]
    assert widths == sorted(widths, reverse=True)
    assert cpu.INSTRUCTION_SETS[-1].needs == ()


def test_an_instruction_set_is_offered_exactly_when_all_it_needs_is_there():
    names = ("avx512f", "avx512bw", "avx512vl", "avx512_vnni")
    for present in product((False, True), repeat=4):
        offered = {each.name for each in cpu.instruction_sets(dict(zip(names, present, strict=True)))}
        assert ("avx512_vnni" in offered) == all(present)


def test_amx_without_tiles_is_not_offered():
    assert [each.name for each in cpu.instruction_sets({"amx_int8": True})] == ["scalar"]
