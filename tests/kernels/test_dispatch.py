"""The choice of a path: the widest, the one that is asked for, or a sentence that it is not there."""

import subprocess
import sys

import pytest
import torch

from frugal.kernels import available, cpu, dispatch, native
from frugal.kernels.gemm import Linear8


def test_the_paths_are_those_of_the_processor_that_were_built():
    offered = [each.name for each in cpu.instruction_sets(cpu.cpu_features())]
    assert set(available()[:-1]) <= set(offered)
    built = [name for name in native.path_names() if name in offered]
    refused = set(built) - set(available())
    assert refused <= {"amx_int8"}  # Linux may refuse tiles that the processor has


def test_scalar_and_reference_run_everywhere():
    assert available()[-1] == "reference"
    if native.library() is not None:
        assert available()[-2] == "scalar"


def test_the_widest_path_is_taken_when_nothing_is_asked(monkeypatch):
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    chosen = dispatch.choose()
    assert (available()[0] == "reference") == (chosen is None)
    if chosen is not None:
        assert native.path_names()[chosen] == available()[0]


def test_the_environment_forces_a_path_and_a_call_goes_before_it(monkeypatch):
    for name in available():
        monkeypatch.setenv(dispatch.VARIABLE, name)
        assert dispatch.choose() == (None if name == "reference" else native.path_names().index(name))
    monkeypatch.setenv(dispatch.VARIABLE, "reference")
    if native.library() is not None:
        assert dispatch.choose("scalar") is not None


def test_an_unknown_path_in_the_environment_is_refused_with_those_there_are(monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "mmx")
    with pytest.raises(ValueError, match=r"FRUGAL_ISA=mmx is no path of this machine, which runs .*reference"):
        Linear8(torch.ones(1, 1, dtype=torch.int8))


def test_without_the_native_library_the_reference_runs(monkeypatch):
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.setattr(native, "_loaded", lambda: native.Loaded(None, "The native library is missing."))
    dispatch._native_paths.cache_clear()
    try:
        assert available() == ("reference",)
        layer = Linear8(torch.tensor([[3, -2]], dtype=torch.int8))
        assert layer(torch.tensor([[10, 1]], dtype=torch.uint8)).tolist() == [[28]]
        with pytest.raises(ValueError, match="make setup"):
            dispatch.choose("scalar")
    finally:
        dispatch._native_paths.cache_clear()


def test_asking_for_the_paths_does_not_load_torch():
    code = "import sys; from frugal.kernels import available; available(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
