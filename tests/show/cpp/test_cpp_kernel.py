"""C++ in a cell: what compiles runs, what goes wrong becomes a sentence, and nothing takes the notebook with it."""

import os
import sys
import time

import pytest
import torch

from frugal.show import cpp
from frugal.show.cpp import compiler
from frugal.show.cpp.kernel import of
from frugal.show.cpp.prototype import prototype

SIGNATURE = "void f(const uint8_t* x, int32_t* y, int n)"
needs_compiler = pytest.mark.skipif(not cpp.available(), reason=cpp.status())


def run(body: str, n: int = 5, before: str = "", **options):
    """Compile ``body`` as the body of f, and call it with x = 0, 1, 2, ... and y = -7."""
    text = f"{before}\nvoid f(const uint8_t* x, int32_t* y, int n) {{\n{body}\n}}"
    x, y = torch.arange(n).to(torch.uint8), torch.full((n,), -7, dtype=torch.int32)
    return cpp.kernel(text, SIGNATURE)(x, y, n, **options)


@needs_compiler
def test_a_kernel_takes_tensors_and_returns_what_it_wrote():
    assert run("for (int i = 0; i < n; ++i) y[i] = 2 * x[i];").tolist() == [0, 2, 4, 6, 8]


@needs_compiler
def test_outputs_begin_as_the_tensor_that_was_passed_and_that_tensor_is_kept():
    y = torch.tensor([1, 2], dtype=torch.int32)
    add = cpp.kernel("void f(const uint8_t* x, int32_t* y, int n) { y[1] += x[0]; }", SIGNATURE)
    assert add(torch.tensor([40], dtype=torch.uint8), y, 2).tolist() == [1, 42]
    assert y.tolist() == [1, 2]


@needs_compiler
def test_several_outputs_and_all_types_pass():
    signature = "void g(const float* a, const int8_t* b, float* c, int16_t* d, float s)"
    text = f"{signature} {{ c[0] = a[1] * s; d[0] = b[0] - 300; }}"
    a, b = torch.tensor([0.0, 1.5]), torch.tensor([-128], dtype=torch.int8)
    c, d = cpp.kernel(text, signature)(a, b, torch.zeros(1), torch.zeros(1, dtype=torch.int16), 0.5)
    assert (c.item(), d.item()) == (0.75, -428)


@needs_compiler
@pytest.mark.parametrize(
    "body, told",
    [
        ("y[5] = 0;", r"read or wrote y\[5\]; y holds 5 values, y\[0\] to y\[4\]"),
        ("y[3000] = 0;", r"read or wrote y\[3000\]"),
        ("y[1000000] = 0;", r"read or wrote y\[1000000\]"),
        ("y[-1] = 0;", r"wrote y\[-1\], before the first value"),
        ("((uint8_t*)y)[-1] = 0;", r"wrote y\[-1\], before the first value"),
        ("y[-5000] = 0;", r"read or wrote y\[-5000\]"),
        ("y[0] = x[5];", r"read x\[5\]; x holds 5 values"),
        ("((uint8_t*)x)[2] = 1;", r"wrote x\[2\], but x is an input \(const uint8_t\* x\)"),
        ("*(volatile int*)nullptr = 1;", "null pointer"),
        ("char a[8]; memset(a, n, 40 * n); y[0] = ((volatile char*)a)[n - 1];", "overran one of its own"),
        ("__builtin_trap();", "instruction that this processor does not have"),
        ("f(x, y, n); y[0] += 1;", r"stopped after|belongs to none|null pointer|holds 5 values"),
        ("_exit(0);", "ended its process"),
        ('for (int i = 0; i < 9000; ++i) printf("too much text");', "printed more than 64 kB"),
        ('printf("n is %d", n); y[n] = 0;', "it printed: n is 5"),
        ("y[0] = somewhere_else(n);", "cannot be loaded: undefined symbol|cannot be loaded"),
    ],
)
def test_what_goes_wrong_becomes_a_sentence(body, told):
    with pytest.raises(cpp.KernelFailed, match=told):
        run(body, before="#include <stdio.h>\n#include <unistd.h>\nint somewhere_else(int);")


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
@pytest.mark.parametrize(
    "call",
    [
        "fork()",
        "socket(AF_INET, SOCK_STREAM, 0)",
        "kill(getppid(), 0)",
        'execl("/bin/true", "true", nullptr)',
        "syscall(SYS_tgkill, getppid(), getppid(), 0)",
    ],
)
def test_a_kernel_may_ask_the_system_for_next_to_nothing(call):
    headers = ("stdio.h", "unistd.h", "signal.h", "errno.h", "sys/socket.h", "sys/syscall.h")
    before = "".join(f"#include <{header}>\n" for header in headers)
    assert run(f"y[0] = {call}; y[1] = errno == EPERM;", before=before)[:2].tolist() == [-1, 1]


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
def test_a_kernel_and_its_initializers_read_no_file_of_anybodys(tmp_path):
    secret = tmp_path / "hidden_tests.py"
    secret.write_text("assert True")
    before = f"""
    #include <fcntl.h>
    static int early = open("{secret}", O_RDONLY);
    """
    answer = run(f'y[0] = early; y[1] = open("{secret}", O_RDONLY); y[2] = open("new", O_CREAT | O_WRONLY, 0600);',
                 before=before)  # fmt: skip
    if answer[0] >= 0:
        pytest.skip("this system has no Landlock")
    assert answer[:3].tolist() == [-1, -1, -1]


@needs_compiler
def test_the_standard_library_is_at_hand():
    before = "#include <algorithm>\n#include <cmath>\n#include <vector>\n#include <iostream>\n"
    body = (
        "std::vector<int> v(x, x + n); std::sort(v.rbegin(), v.rend()); y[0] = v[0] + int(std::lrint(std::sqrt(9.0)));"
    )
    assert run(body + " std::cout << n;", before=before)[0] == 7


@needs_compiler
def test_an_endless_loop_is_stopped():
    began = time.monotonic()
    with pytest.raises(cpp.KernelFailed, match=r"stopped after 0.3 s"):
        run('for (;;) __asm__ volatile("");', limit_s=0.3)
    assert time.monotonic() - began < 3


@needs_compiler
def test_compiler_errors_have_the_line_of_the_text():
    with pytest.raises(cpp.CompileFailed) as caught:
        run("y[0] = 1\n")
    assert "line 3 of the C++" in str(caught.value)
    assert "y[0] = 1" in str(caught.value)


def answer_with_a_mistake() -> str:
    return r"""
void f(const uint8_t* x, int32_t* y, int n) {
  y[0] = z;
}
"""


@needs_compiler
def test_in_a_function_lines_are_counted_as_in_its_cell():
    with open(__file__, encoding="utf-8") as file:
        line = next(number for number, text in enumerate(file, 1) if text.strip() == "y[0] = z;")
    with pytest.raises(cpp.CompileFailed, match=f"line {line} of the cell"):
        of(answer_with_a_mistake, SIGNATURE)


@needs_compiler
def test_another_signature_is_named():
    with pytest.raises(cpp.CompileFailed, match=r"must define exactly\s+void f\(const uint8_t\* x, int32_t"):
        cpp.kernel("void g(int n) {}", SIGNATURE)


@needs_compiler
@pytest.mark.parametrize(
    "arguments, error",
    [
        ((torch.zeros(2), torch.zeros(2, dtype=torch.int32), 2), "takes const uint8_t\\* x: a torch.uint8 tensor"),
        ((torch.zeros(0, dtype=torch.uint8), torch.zeros(2, dtype=torch.int32), 2), "uint8"),
        ((torch.zeros(2, dtype=torch.uint8), 2), "takes 3 arguments"),
        ((None, torch.zeros(2, dtype=torch.int32), 2), "NoneType"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error):
    kernel = cpp.kernel("void f(const uint8_t* x, int32_t* y, int n) {}", SIGNATURE)
    with pytest.raises(TypeError, match=error):
        kernel(*arguments)


@pytest.mark.parametrize("text", ["int f(int n)", "void f(double* x)", "void f(unsigned n)", "nonsense", "void f(int)"])
def test_a_declaration_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="got"):
        prototype(text)


@needs_compiler
def test_what_is_compiled_once_is_kept():
    text = f"void f(const uint8_t* x, int32_t* y, int n) {{ y[0] = {os.getpid()}; }}"
    first = cpp.kernel(text, SIGNATURE).library
    written = first.stat().st_mtime_ns
    assert cpp.kernel(text, SIGNATURE).library == first
    assert first.stat().st_mtime_ns == written
    assert first.parent.stat().st_mode & 0o077 == 0, "the cache is this user's alone"


def test_without_a_compiler_everything_says_so(monkeypatch):
    monkeypatch.setattr(compiler, "find", lambda: None)
    assert not cpp.available()
    assert "No C++ compiler on this machine" in cpp.status()
    with pytest.raises(cpp.NoCompiler, match="C\\+\\+ exercises cannot be tried"):
        run("y[0] = 1;")


@pytest.mark.parametrize("path", ["scalar", "reference", "avx2", "avx512_vnni", "dotprod"])
def test_a_forced_path_never_asks_for_all_of_the_processor(monkeypatch, path):
    monkeypatch.setenv("FRUGAL_ISA", path)
    assert not any("native" in flag for flag in compiler.target_flags())


@needs_compiler
def test_compilers_that_ignore_finished_children_still_report_errors(monkeypatch):
    import signal

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(cpp.CompileFailed, match="line 3"):
            run("y[0] = not_declared;")
        assert run("y[0] = 3;")[0] == 3
    finally:
        signal.signal(signal.SIGCHLD, before)
