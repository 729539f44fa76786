"""The C++ by itself: under sanitizers, on an emulated arm64, and without leaks of flags.

driver.cpp compares every path with plain loops; its buffers end at pages that may not be touched.
"""

import os
import re
import shutil
import subprocess

import pytest

ROUNDS = 60
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
WIDE = re.compile(r"frugal_kernel\(\w+ ([^\n]*\.cpp)\n.*?GNU ([^\n]*?)(?: MSVC [^\n]*)?\)\n", re.DOTALL)


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def csrc(root):
    return root / "lib/frugal/kernels/csrc"


@pytest.fixture(scope="module")
def cmake():
    found = shutil.which("cmake")
    if found is None or shutil.which("ninja") is None:
        pytest.skip("cmake or ninja is not on this machine")
    return found


def build(cmake, csrc, folder, compiler, *options, flags=()):
    """Build library and driver; returns the driver."""
    run(cmake, "-G", "Ninja", "-S", csrc, "-B", folder, f"-DCMAKE_CXX_COMPILER={compiler}", *options)
    said = run(cmake, "--build", folder, "-j", "2")
    assert "warning:" not in said
    source = csrc.parents[3] / "tests/kernels/driver.cpp"
    search = ["-I", csrc, "-L", folder, "-lfrugal_native", f"-Wl,-rpath,{folder}"]
    run(compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", *flags, source, *search, "-o", folder / "driver")
    return folder / "driver"


def cases(said):
    """How many cases each path ran; "absent" where the processor lacks it."""
    return dict(line.split() for line in said.splitlines())


def has_sanitizers(compiler, folder):
    """Some installations have a compiler without the sanitizers' run-time library."""
    (folder / "empty.cpp").write_text("int main() {}\n")
    command = [compiler, *SANITIZE, folder / "empty.cpp", "-o", folder / "empty"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.slow
def test_address_and_undefined_behaviour_sanitizers_are_silent(cmake, csrc, tmp_path):
    """clang where there is one, because the library of everyday is mostly built by gcc."""
    compilers = [found for name in ("clang++", "g++") if (found := shutil.which(name))]
    compiler = next((each for each in compilers if has_sanitizers(each, tmp_path)), None)
    if compiler is None:
        pytest.skip(f"no compiler with sanitizers on this machine, only {compilers}")
    options = ("-DFRUGAL_SANITIZE=ON", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O0")
    driver = build(cmake, csrc, tmp_path, compiler, *options, flags=SANITIZE)
    done = subprocess.run([driver, str(ROUNDS), "1"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    ran = cases(done.stdout)
    assert ran["scalar"] == str(3 * ROUNDS)
    assert ran["pointwise"] == str(5 * ROUNDS)


@pytest.mark.slow
def test_both_neon_paths_equal_the_definition_on_an_emulated_arm64(cmake, csrc, tmp_path):
    compiler = shutil.which("aarch64-linux-gnu-g++")
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if compiler is None or emulator is None:
        pytest.skip("needs Debian's g++-aarch64-linux-gnu and qemu-user; the NEON path was not run here")
    options = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64")
    driver = build(cmake, csrc, tmp_path, compiler, *options)
    said = run(emulator, "-cpu", "max", "-L", "/usr/aarch64-linux-gnu", "-E", f"LD_LIBRARY_PATH={tmp_path}", driver,
               str(ROUNDS), "3")  # fmt: skip
    ran = cases(said)
    assert ran["i8mm"] == ran["dotprod"] == ran["scalar"] == str(3 * ROUNDS)


def wide_files(csrc):
    text = (csrc / "CMakeLists.txt").read_text()
    base = re.search(r"set\(AVX512 ([^)]*)\)", text)[1]
    for files, flags in WIDE.findall(text):
        for file in files.split():
            yield file, flags.replace("${AVX512}", base).split()


def test_no_function_compiled_for_wide_instructions_is_shared(csrc, tmp_path):
    """The linker keeps one copy of a shared inline function: it must not be one that some processors cannot run."""
    compiler = shutil.which("g++")
    if compiler is None or shutil.which("nm") is None or os.uname().machine != "x86_64":
        pytest.skip("needs g++ and nm on x86-64")
    found = [(file, flags) for file, flags in wide_files(csrc) if "armv8" not in "".join(flags)]
    assert {file for file, _ in found} == {
        *(f"gemm_{name}.cpp" for name in ("avx2", "avx_vnni", "avx512_vnni", "amx")),
        *(f"depthwise_{name}.cpp" for name in ("avx2", "avx512_vnni")),
        *(f"popcount_{name}.cpp" for name in ("avx2", "avx512")),
        *(f"pointwise_{name}.cpp" for name in ("avx2", "avx512")),
        *(f"sparse_{name}.cpp" for name in ("avx2", "avx512")),
    }
    for file, flags in found:
        target = tmp_path / f"{file}.o"
        run(compiler, "-std=c++20", "-O0", *flags, "-c", csrc / file, "-o", target)  # -O0 inlines nothing
        weak = [line for line in run("nm", "-C", target).splitlines() if re.search(r" [WVu] ", line)]
        assert not weak, f"{file}: {weak}"
