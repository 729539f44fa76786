"""The parts of the C++ that stand alone, each with its driver: under sanitizers, and on an emulated arm64."""

import os
import shutil
import subprocess
from dataclasses import dataclass

import pytest

SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@dataclass(frozen=True)
class Part:
    """Files in csrc with what the wide ones need: (the macro that says they are there, flags)."""

    driver: str
    plain: tuple[str, ...]
    x86: dict[str, tuple[str, list[str]]]
    arm: dict[str, tuple[str, list[str]]]
    rounds: int


PARTS = {
    "bits": Part(
        "driver_bits.cpp",
        ("popcount.cpp",),
        {
            "popcount_avx2.cpp": ("BITS_AVX2", ["-mavx2"]),
            "popcount_avx512.cpp": ("BITS_AVX512", ["-mavx512f", "-mavx512vpopcntdq"]),
        },
        {"popcount_neon.cpp": ("BITS_NEON", [])},
        60,
    ),
    "sparse": Part(
        "driver_sparse.cpp",
        ("sparse.cpp", "sparse_scalar.cpp"),
        {
            "sparse_avx2.cpp": ("SPARSE_AVX2", ["-mavx2", "-mfma"]),
            "sparse_avx512.cpp": ("SPARSE_AVX512", ["-mavx512f", "-mavx512bw", "-mavx512vl"]),
        },
        {"sparse_neon.cpp": ("SPARSE_NEON", [])},
        150,
    ),
}


@pytest.fixture(params=PARTS)
def part(request):
    return PARTS[request.param]


def build(root, folder, compiler, part, wide, *flags):
    """Compile a part and its driver, without the rest of the library; returns the driver."""
    csrc = root / "lib/frugal/kernels/csrc"
    base = [compiler, "-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I", str(csrc), *flags]
    if "g++" in compiler and "clang" not in compiler:  # false alarms from GCC's own AVX-512 headers
        base += ["-Wno-maybe-uninitialized", "-Wno-uninitialized"]
    known = [f"-DFRUGAL_WITH_{name}" for name, _ in wide.values()]
    plain = {name: (None, []) for name in (*part.plain, "cpu.cpp", "pool.cpp")}
    objects = []
    for file, (_, options) in {**plain, **wide}.items():
        objects.append(str(folder / f"{file}.o"))
        subprocess.run([*base, *known, *options, "-c", str(csrc / file), "-o", objects[-1]], check=True)
    driver = folder / "driver"
    source = root / "tests/kernels" / part.driver
    subprocess.run([*base, str(source), *objects, "-pthread", "-o", str(driver)], check=True)
    return driver


def has_sanitizers(compiler, folder):
    (folder / "empty.cpp").write_text("int main() {}\n")
    command = [compiler, *SANITIZE, folder / "empty.cpp", "-o", folder / "empty"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.slow
def test_address_and_undefined_behaviour_sanitizers_are_silent(root, tmp_path, part):
    if os.uname().machine != "x86_64":
        pytest.skip("needs an x86-64 machine")
    compilers = [found for name in ("clang++", "g++") if (found := shutil.which(name))]
    compiler = next((each for each in compilers if has_sanitizers(each, tmp_path)), None)
    if compiler is None:
        pytest.skip(f"no compiler with sanitizers on this machine, only {compilers}")
    driver = build(root, tmp_path, compiler, part, part.x86, *SANITIZE)
    done = subprocess.run([driver, str(part.rounds), "2"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert f"scalar {part.rounds}" in done.stdout


@pytest.mark.slow
def test_neon_equals_plain_loops_on_an_emulated_arm64(root, tmp_path, part):
    compiler = shutil.which("aarch64-linux-gnu-g++")
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if compiler is None or emulator is None:
        pytest.skip("needs Debian's g++-aarch64-linux-gnu and qemu-user; the NEON path was not run here")
    driver = build(root, tmp_path, compiler, part, part.arm)
    command = [emulator, "-L", "/usr/aarch64-linux-gnu", driver, str(part.rounds), "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["neon", str(part.rounds), "scalar", str(part.rounds)]
