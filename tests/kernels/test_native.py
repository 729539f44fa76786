"""The native library: missing, damaged or of another version it is refused in a sentence; built, it is plain C."""

import os
import shutil
import subprocess

import pytest

from frugal.kernels import native

C_PROGRAM = r"""
#include <stdio.h>
#include "cpu.h"
int main(void) {
  int i, count = frugal_cpu_feature_count();
  if (frugal_interface() != %d) return 1;
  for (i = 0; i < count; ++i) {
    int has = frugal_cpu_has(i);
    if (has != 0 && has != 1) return 2;
    printf("%%s %%d\n", frugal_cpu_feature_name(i), has);
  }
  if (frugal_cpu_has(-1) != -1 || frugal_cpu_has(count) != -1) return 3;
  if (frugal_cpu_feature_name(-1) != NULL || frugal_cpu_feature_name(count) != NULL) return 4;
  return 0;
}
"""


def compilers():
    pairs = (("gcc", "g++"), ("clang", "clang++"))
    return [pair for pair in pairs if all(map(shutil.which, pair))] or [None]


@pytest.mark.parametrize("pair", compilers(), ids=lambda pair: pair[0] if pair else "none")
def test_a_c_program_uses_the_library_and_every_sanitizer_is_silent(root, tmp_path, pair):
    if pair is None:
        pytest.skip("no C compiler on this machine")
    cc, cxx = pair
    csrc = root / "lib/frugal/kernels/csrc"
    (tmp_path / "main.c").write_text(C_PROGRAM % native.INTERFACE)
    checks = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsanitize=address,undefined", "-g"]
    if not sanitizers_work(cxx, tmp_path):
        checks = checks[:4]
    build = [
        [cc, "-std=c99", *checks, "-I", csrc, "-c", "main.c", "-o", "main.o"],
        [cxx, "-std=c++17", *checks, "-fvisibility=hidden", "-c", csrc / "cpu.cpp", "-o", "cpu.o"],
        [cxx, *checks, "main.o", "cpu.o", "-o", "main"],
    ]
    for command in build:
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    run = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    said = {name: flag == "1" for name, flag in map(str.split, run.stdout.splitlines())}
    if native.library() is not None:
        assert said == native.cpu_features()


def sanitizers_work(cxx, folder):
    """Some installations have a compiler without the sanitizers' run-time library."""
    (folder / "empty.cpp").write_text("int main() {}\n")
    command = [cxx, "-fsanitize=address,undefined", "empty.cpp", "-o", "empty"]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


def test_a_missing_library_is_told_and_nothing_is_raised(tmp_path):
    found = native.load(tmp_path / "libfrugal_native.so")
    assert found.library is None
    assert "missing" in found.reason


@pytest.mark.parametrize("content", [b"", b"not a library", b"\x7fELF" + bytes(60)])
def test_a_damaged_library_is_told_and_nothing_is_raised(tmp_path, content):
    file = tmp_path / "libfrugal_native.so"
    file.write_bytes(content)
    found = native.load(file)
    assert found.library is None
    assert "cannot be opened" in found.reason


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("int frugal_interface(void) { return 999; }", "another version"),
        ("int other(void) { return 1; }", "cannot be opened"),
    ],
)
def test_a_library_of_another_version_is_refused(tmp_path, source, reason):
    (tmp_path / "old.c").write_text(source + "\n")
    subprocess.run(["cc", "-shared", "-fPIC", "old.c", "-o", "old.so"], cwd=tmp_path, check=True)
    found = native.load(tmp_path / "old.so")
    assert found.library is None
    assert reason in found.reason


def test_where_the_library_is_missing_everything_answers_and_says_what_to_do(monkeypatch):
    monkeypatch.setattr(
        native, "_loaded", lambda: native.Loaded(None, "The native library is missing (x was not built).")
    )
    assert native.library() is None
    assert native.compiler() is None
    assert native.cpu_features() is None
    said = native.status()
    for words in ("missing", "more slowly", "make setup"):
        assert words in said


def test_this_interface_is_the_one_in_the_sources(root):
    source = (root / "lib/frugal/kernels/csrc/cpu.cpp").read_text()
    assert f"int frugal_interface(void) {{ return {native.INTERFACE}; }}" in source


def test_the_library_lies_beside_the_file_that_loads_it():
    assert os.path.dirname(native.path()) == os.path.dirname(native.__file__)
