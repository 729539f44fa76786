"""Kernels as functions of matrices, their race, and the magic."""

import pytest
import torch

from frugal.show import check, cpp
from frugal.show.cpp import contest, gemm
from frugal.show.cpp.magic import load

pytestmark = pytest.mark.skipif(not cpp.available(), reason=cpp.status())
NAIVE = gemm.SCALAR.replace("void scalar", "void gemm").lstrip()
PACKED = NAIVE.replace("w[j * k + p]", "w[(j / 16 * ((k + 63) / 64 * 16) + p / 4) * 64 + j % 16 * 4 + p % 4]")


def naive() -> str:
    return NAIVE


def in_panels() -> str:
    return PACKED


def slow() -> str:
    return NAIVE.replace("sum += x", "for (volatile int z = 0; z < 8; z = z + 1) sum += (z == 7) * x")


def too_short() -> str:
    return NAIVE.replace("p < k", "p < k - 1")


def open_exercise() -> str:
    raise NotImplementedError("exercise open_exercise")


@pytest.mark.parametrize("m, n, k", [(1, 1, 1), (3, 17, 65), (4, 16, 64), (2, 33, 4096)])
def test_plain_and_packed_kernels_give_the_exact_sums(m, n, k):
    draw = torch.Generator().manual_seed(m + n + k)
    x = torch.randint(0, 256, (m, k), dtype=torch.uint8, generator=draw)
    w = torch.randint(-128, 128, (n, k), dtype=torch.int8, generator=draw)
    exact = x.long() @ w.long().T
    assert torch.equal(cpp.plain(naive)(x, w).long(), exact)
    assert torch.equal(cpp.packed(in_panels)(x, w).long(), exact)
    assert torch.equal(cpp.packed(naive, order=lambda w: w)(x, w).long(), exact)


def test_a_check_calls_a_kernel_by_the_name_of_its_function_and_knows_an_open_one():
    x, w = torch.ones(1, 2, dtype=torch.uint8), torch.ones(1, 2, dtype=torch.int8)
    one = check.case("one", x, w, expect=torch.tensor([[2]], dtype=torch.int32))
    assert check.examine(cpp.plain(naive), one).passed
    verdict = check.examine(cpp.plain(open_exercise), one)
    assert (verdict.title, verdict.status) == ("open_exercise", "not attempted")


def test_an_endless_kernel_is_waited_for_once(monkeypatch):
    monkeypatch.setattr("frugal.show.cpp.child.LIMIT_S", 0.2)
    endless = cpp.plain(lambda: NAIVE.replace("++p", "*(volatile int32_t*)y = p"))
    x, w = torch.ones(1, 2, dtype=torch.uint8), torch.ones(1, 2, dtype=torch.int8)
    with pytest.raises(cpp.KernelFailed, match="stopped"):
        endless(x, w)
    monkeypatch.setattr(type(endless), "start", lambda *a: pytest.fail("started again"))
    with pytest.raises(cpp.KernelFailed, match="stopped"):
        endless(x, w)


def test_the_ladder_times_who_is_right_and_names_the_others():
    entrants = {"naive": cpp.plain(naive), "short": cpp.plain(too_short), "open": cpp.plain(open_exercise)}
    found = cpp.ladder({**entrants, "frugal": cpp.library}, m=16, n=16, k=64, rounds=6)
    assert list(found.seconds) == [contest.REFERENCE, "naive", "frugal"]
    assert "sums are wrong" in found.absent["short"]
    assert found.absent["open"] == "not answered yet"
    assert found.times(contest.REFERENCE) == 1
    assert all(name in str(found) for name in ("naive", "short", "open", "frugal"))
    assert found.gops("naive") == pytest.approx(2e-9 * 16 * 16 * 64 / sorted(found.seconds["naive"])[2], rel=1.0)


def test_a_race_leaves_threads_and_cores_as_they_were():
    import os

    before = torch.get_num_threads(), os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    cpp.ladder({}, m=4, n=4, k=8, rounds=6)
    assert (torch.get_num_threads(), os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None) == before


def test_a_slow_kernel_misses_the_mark_and_an_equal_one_reaches_half_of_it():
    with pytest.raises(AssertionError, match=r"times as fast as the scalar reference; 0\.9 times are asked for"):
        cpp.faster_than_scalar(cpp.plain(slow), 0.9, tries=1)
    assert cpp.faster_than_scalar(cpp.plain(naive), 0.5)


def test_a_wrong_kernel_is_not_timed():
    with pytest.raises(cpp.CppError, match="wrong"):
        cpp.faster_than_scalar(cpp.plain(too_short), 0.1)


@pytest.mark.parametrize("function, told", [(naive, "goes on with yours"), (open_exercise, "not answered yet"),
                                            (too_short, "its sums are wrong")])  # fmt: skip
def test_a_lab_goes_on_with_a_kernel_that_works(capsys, function, told):
    multiply = cpp.or_library(cpp.plain(function))
    assert told in capsys.readouterr().out
    x, w = torch.full((2, 5), 200, dtype=torch.uint8), torch.full((3, 5), -7, dtype=torch.int8)
    assert multiply(x, w).tolist() == [[-7000] * 3] * 2


class Shell:
    """As much of IPython as the magic asks for."""

    def __init__(self) -> None:
        self.user_ns: dict = {}

    def register_magic_function(self, function, magic_kind, magic_name):
        assert (magic_kind, magic_name) == ("cell", "cpp")
        self.run = function


def test_the_magic_names_the_cell_and_compiles_it(capsys):
    shell = Shell()
    load(shell)
    shell.run("gemm", NAIVE)
    assert "compiled in" in capsys.readouterr().out
    assert shell.user_ns["gemm"]() == NAIVE
    x, w = torch.ones(1, 2, dtype=torch.uint8), torch.ones(1, 2, dtype=torch.int8)
    assert cpp.plain(shell.user_ns["gemm"])(x, w).item() == 2
    shell.run("gemm", NAIVE.replace("sum;", "sum"))
    assert "line 7 of the cell" in capsys.readouterr().out
    with pytest.raises(cpp.CppError, match="name of a kernel"):
        shell.run("", NAIVE)


def test_without_a_compiler_the_library_still_races(monkeypatch):
    monkeypatch.setattr(cpp.compiler, "find", lambda: None)
    found = cpp.ladder({"naive": cpp.plain(naive), "frugal": cpp.library}, m=4, n=4, k=8, rounds=6)
    assert list(found.seconds) == ["frugal"]
    assert "No C++ compiler" in str(found)
    with pytest.raises(cpp.CppError, match="naive has no time: No C"):
        found.gops("naive")
