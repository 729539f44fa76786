"""Attacks of lab 4.6: a student's C++ is compiled and run for its marking, so its compiler and its process are targets.

Every exercise in C++ gets the same hostile kernel; ``{name}`` is gemm or layer.
"""

# ruff: noqa: E501  # the text of an attack stands on one line

from __future__ import annotations

from attack import LEAK, RACE, ROOT, Attack, solved_path

KIND = "native code"
GEMM = "void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k)"
LAYER = (
    "void layer(const uint8_t* x, const int8_t* w, const int32_t* bias, const float* scale, uint8_t* y, "
    "int m, int n, int k, int zero, int low, int high)"
)
EXERCISES = {"naive_gemm": GEMM, "blocked_gemm": GEMM, "vector_gemm": GEMM, "fused_layer": LAYER}
TELL = (
    '\n#include <stdio.h>\n#include <stdlib.h>\nstatic void tell(const char* s) { fprintf(stderr, "'
    + LEAK
    + '%.400s", s); abort(); }\n'
)


def _kernel(name: str, says: str, body: str, head: str = "", slow: bool = False, only: str = "") -> Attack:
    answers = {}
    for exercise, signature in EXERCISES.items():
        if only in ("", exercise):
            text = f"#include <stdint.h>\n{head}\n{signature} {{\n{body}\n}}\n"
            answers[exercise] = f"def {exercise}():\n    return {text!r}"
    return Attack(name, KIND, says, answers, lab=RACE, slow=slow)


def _text(name: str, says: str, expression: str, slow: bool = False) -> Attack:
    """Return something else than a text."""
    answers = {each: f"def {each}():\n    return {expression}" for each in EXERCISES}
    return Attack(name, KIND, says, answers, lab=RACE, slow=slow)


def _embed(path: str) -> str:
    """Take a file into the program while it is assembled."""
    return f'asm(".section .rodata\\n.global stolen\\nstolen:\\n.incbin \\"{path}\\"\\n.byte 0\\n.previous");\nextern "C" const char stolen[];'


def _include(name: str, says: str, path: str) -> Attack:
    return _kernel(name, says, "", f'#include "{path}"', only="naive_gemm")


SOLVED = str(solved_path(RACE))
CSRC = ROOT / "lib" / "frugal" / "kernels" / "csrc"
OPEN = """
#include <fcntl.h>
#include <unistd.h>
static char room[512];
static const char* look(const char* path) {
  int file = open(path, O_RDONLY);
  if (file < 0) return nullptr;
  long got = read(file, room, 400);
  return got > 0 ? room : nullptr;
}
"""


def _open(name: str, says: str, path: str, only: str = "naive_gemm") -> Attack:
    return _kernel(name, says, f'if (const char* s = look("{path}")) tell(s);', TELL + OPEN, only=only)


ATTACKS = (
    _include("N-include-solved", "include the solved lab, so that the compiler quotes it", SOLVED),
    _include("N-include-passwd", "include the system's accounts", "/etc/passwd"),
    _include("N-include-library", "include the library's own kernel", f"{CSRC}/gemm_scalar.cpp"),
    _include("N-include-zero", "include a file without end", "/dev/zero"),
    _include("N-include-stdin", "include what the compiler is reading", "/dev/stdin"),
    _include("N-include-random", "include random bytes without end", "/dev/urandom"),
    _kernel("N-include-self", "include oneself", "", "#include __FILE__\n#include __FILE__", only="naive_gemm"),
    _kernel(
        "N-embed-solved",
        "take the solved lab into the program, and print it",
        "tell(stolen);",
        TELL + _embed(SOLVED),
        only="naive_gemm",
    ),
    _kernel(
        "N-embed-shadow",
        "take the system's passwords into the program",
        "tell(stolen);",
        TELL + _embed("/etc/shadow"),
        only="naive_gemm",
    ),
    _kernel(
        "N-embed-environment",
        "take the compiler's environment into the program",
        "tell(stolen);",
        TELL + _embed("/proc/self/environ"),
        only="naive_gemm",
    ),
    _kernel(
        "N-embed-cache",
        "take another student's program from the cache",
        "tell(stolen);",
        TELL + _embed("/tmp/frugal-cpp-0/."),
        only="naive_gemm",
    ),
    _kernel(
        "N-has-include",
        "ask the compiler which files exist",
        'tell("solved lab is there");',
        TELL + f'#if !__has_include("{SOLVED}")\n#error nothing there\n#endif',
        only="naive_gemm",
    ),
    _kernel(
        "N-template",
        "let the compiler compute for ever",
        "y[0] = F<1, 1 << 28>::v;",
        "template <int a, int b> struct F { enum { v = F<a, (a + b) / 2>::v + F<(a + b) / 2 + 1, b>::v }; };\n"
        "template <int a> struct F<a, a> { enum { v = a }; };",
        True,
        "naive_gemm",
    ),
    _kernel(
        "N-constexpr",
        "let the compiler loop",
        "y[0] = f();",
        "constexpr int f() { int s = 0; for (int i = 0; i < 1000000000; ++i) s ^= i; return s; }\nconstexpr int a = f();",
        True,
        "naive_gemm",
    ),
    _kernel(
        "N-macros",
        "let the compiler write a billion words",
        "a9 a9 a9;",
        "#define a0 x x x x x x x x x x\n"
        + "\n".join(f"#define a{i + 1} a{i} a{i} a{i} a{i} a{i} a{i} a{i} a{i} a{i} a{i}" for i in range(9)),
        True,
        "naive_gemm",
    ),
    _kernel(
        "N-space",
        "let the assembler write a file of 100 GB",
        "",
        'asm(".data\\n.zero 100000000000\\n.text");',
        only="naive_gemm",
    ),
    _kernel("N-array", "compile an array of 4 GB", "y[0] = big[m];", "int big[1 << 30] = {1};", only="naive_gemm"),
    _kernel(
        "N-errors",
        "have the compiler complain without end",
        "\n".join(f"e{i}();" for i in range(20_000)),
        only="naive_gemm",
    ),
    _kernel(
        "N-section",
        "put code where the loader starts it",
        "",
        'asm(".section .init_array,\\"aw\\"\\n.quad 1\\n.text");',
        only="naive_gemm",
    ),
    _kernel(
        "N-link",
        "ask the linker for a library of one's own",
        "",
        'asm(".section .interp\\n.string \\"/scratch/x\\"\\n.text");',
        only="naive_gemm",
    ),
    _kernel("N-line", "pretend that errors stand elsewhere", "", '#line 1 "/etc/passwd"\nx;', only="naive_gemm"),
    _kernel(
        "N-caller",
        "define the caller oneself, and end the text there",
        "",
        'extern "C" void frugal_call(void* const*, const double*) {}\n#if 0',
        only="naive_gemm",
    ),
    _kernel("N-undefined", "end the text within an open condition", "}\n#if 0\n{", only="naive_gemm"),
    # at run time
    _open("N-open-solved", "open the solved lab", SOLVED),
    _open("N-open-passwd", "open the system's accounts", "/etc/passwd"),
    _open("N-open-environ", "open the environment of the process", "/proc/self/environ"),
    _open("N-open-parent", "open the memory map of the parent", "/proc/1/maps"),
    _kernel(
        "N-open-parent-memory",
        "open the memory of the referee, where the hidden tests stand",
        'char path[64]; snprintf(path, 64, "/proc/%d/mem", getppid());\nif (open(path, O_RDONLY) >= 0) tell("open");\n'
        'snprintf(path, 64, "/proc/%d/cmdline", getppid());\nif (const char* s = look(path)) tell(s);',
        TELL + OPEN,
        only="naive_gemm",
    ),
    _kernel(
        "N-constructor",
        "read a file in a constructor at load time",
        "",
        TELL
        + OPEN
        + f'__attribute__((constructor)) static void early() {{ if (const char* s = look("{SOLVED}")) tell(s); }}',
        only="naive_gemm",
    ),
    _kernel(
        "N-ifunc",
        "run code while symbols are looked up",
        "f();",
        TELL
        + OPEN
        + f'static void nothing() {{}}\nextern "C" void* pick() {{ if (const char* s = look("{SOLVED}")) tell(s); return (void*)nothing; }}\n'
        'static void f() __attribute__((ifunc("pick")));',
        only="naive_gemm",
    ),
    _kernel(
        "N-system",
        "start a shell",
        'if (system("touch /tmp/frugal-owned; sleep 600 &") == 0) tell("ran");',
        TELL,
        only="naive_gemm",
    ),
    _kernel(
        "N-fork",
        "leave a process behind",
        "if (fork() == 0) { for (;;) pause(); }",
        "#include <unistd.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-vfork",
        "leave a process behind by the call itself",
        "if (syscall(57) == 0 || syscall(56, 0x11, 0, 0, 0, 0) == 0) { for (;;) pause(); }",
        "#include <unistd.h>\n#include <sys/syscall.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-thread",
        "start a thread",
        'pthread_t t; if (pthread_create(&t, 0, run, 0) == 0) tell("ran");',
        TELL + "#include <pthread.h>\n#include <unistd.h>\nstatic void* run(void*) { for (;;) pause(); }",
        only="naive_gemm",
    ),
    _kernel(
        "N-exec",
        "become a shell",
        'execl("/bin/sh", "sh", "-c", "sleep 600", nullptr);',
        "#include <unistd.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-socket",
        "reach the network",
        'if (socket(AF_INET, SOCK_STREAM, 0) >= 0) tell("ran");',
        TELL + "#include <sys/socket.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-kill-parent",
        "kill the referee",
        "kill(getppid(), SIGKILL); kill(-1, SIGKILL); kill(0, SIGKILL);",
        "#include <signal.h>\n#include <unistd.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-queue-signal",
        "send the referee a signal by another call",
        "siginfo_t s = {}; s.si_code = -1; syscall(SYS_rt_sigqueueinfo, getppid(), SIGKILL, &s);\n"
        "union sigval v = {}; sigqueue(getppid(), SIGKILL, v);",
        "#include <signal.h>\n#include <unistd.h>\n#include <sys/syscall.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-ptrace",
        "trace the referee",
        "ptrace(PTRACE_ATTACH, getppid(), 0, 0);",
        "#include <sys/ptrace.h>\n#include <unistd.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-write-file",
        "write a file",
        'int f = open("/tmp/frugal-owned", O_CREAT | O_WRONLY, 0600); if (f >= 0) tell("wrote");',
        TELL + OPEN,
        only="naive_gemm",
    ),
    _kernel(
        "N-truncate",
        "cut a file short",
        'if (truncate("/tmp/frugal-owned", 0) == 0 || unlink("/tmp/frugal-owned") == 0 || chmod("/tmp", 0777) == 0) tell("did");',
        TELL + "#include <unistd.h>\n#include <sys/stat.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-memory",
        "take 30 GB",
        "for (long i = 0; i < 30; ++i) { char* p = (char*)mmap(0, 1L << 30, 3, 0x22, -1, 0);\n"
        "if (p == MAP_FAILED) abort(); for (long j = 0; j < 1L << 30; j += 4096) p[j] = 1; }",
        "#include <stdlib.h>\n#include <sys/mman.h>",
        True,
        "naive_gemm",
    ),
    _kernel(
        "N-stack",
        "overflow the stack",
        "volatile char a[1 << 16]; a[0] = 1; gemm(x, w, y, m, n, k); a[1] = 2;",
        '#pragma GCC diagnostic ignored "-Winfinite-recursion"',
        only="naive_gemm",
    ),
    _kernel("N-loop", "loop", "for (volatile int i = 0;; ++i) {}", slow=True, only="naive_gemm"),
    _kernel("N-before", "write in front of the results", "y[-1] = 0;", only="naive_gemm"),
    _kernel("N-behind", "write behind the results", "y[m * n] = 0;", only="naive_gemm"),
    _kernel("N-inputs", "write into the inputs", "((uint8_t*)x)[0] = 0;", only="naive_gemm"),
    _kernel("N-far", "write far away", "*(volatile int*)0x7f0000000000 = 1;", only="naive_gemm"),
    _kernel("N-exit", "end the process with success", "_exit(0);", "#include <unistd.h>", only="naive_gemm"),
    _kernel("N-throw", "throw an error out of the kernel", "throw 1;", only="naive_gemm"),
    _kernel(
        "N-longjmp",
        "jump out of the kernel",
        "static jmp_buf b; longjmp(b, 1);",
        "#include <setjmp.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-done",
        "say done on every descriptor",
        'for (int f = 0; f < 64; ++f) write(f, "g", 1); _exit(0);',
        "#include <unistd.h>",
    ),
    _kernel(
        "N-control",
        "look for the control page and write a success into it",
        "for (int f = 0; f < 64; ++f) { char c[64] = {}; lseek(f, 0, 0); write(f, c, 64); }",
        "#include <unistd.h>",
        only="naive_gemm",
    ),
    _kernel("N-print", "print without end", 'for (;;) printf("x");', "#include <stdio.h>", True, "naive_gemm"),
    _kernel(
        "N-print-html",
        "print a script",
        'fprintf(stderr, "<script>alert(1)</script>\\x1b[2J\\xff\\xfe"); abort();',
        "#include <stdio.h>\n#include <stdlib.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-print-inputs",
        "print the inputs of the hidden test",
        f'for (int i = 0; i < 8; ++i) fprintf(stderr, "{LEAK}%d %d %d %d;", m, n, k, x[i]); abort();',
        "#include <stdio.h>\n#include <stdlib.h>",
    ),
    _kernel(
        "N-signal",
        "catch one's own crash and go on",
        "signal(SIGSEGV, again); y[1 << 20] = 1;",
        "#include <signal.h>\nstatic void again(int) { for (;;) {} }",
        True,
        "naive_gemm",
    ),
    _kernel(
        "N-unseccomp",
        "ask for another filter, other limits, other rights",
        "struct rlimit r = {~0ul, ~0ul}; setrlimit(RLIMIT_FSIZE, &r); prctl(PR_SET_SECCOMP, 0); prctl(PR_SET_NO_NEW_PRIVS, 0); setuid(0);",
        "#include <sys/prctl.h>\n#include <sys/resource.h>\n#include <unistd.h>",
        only="naive_gemm",
    ),
    _kernel(
        "N-32-bit",
        "use the numbers of 32-bit programs",
        'int r; asm volatile("int $0x80" : "=a"(r) : "a"(2)); if (r == 0) for (;;) {}',
        only="naive_gemm",
    ),
    # text
    _text("N-none", "return nothing", "None"),
    _text("N-bytes", "return bytes", "b'void gemm()'"),
    _text("N-empty", "return an empty text", "''"),
    _text("N-nul", "return a text with zero bytes", "'\\0' * 1000"),
    _text("N-surrogate", "return half a character", "'\\ud800'"),
    _text("N-long", "return twenty million letters", "'/' * 20_000_000"),
    _text("N-object", "return an object that says to be a text", "type('S', (str,), {})('x')"),
    Attack(
        "N-lie-name",
        KIND,
        "carry a name that is a path",
        {"naive_gemm": "def naive_gemm():\n    return ''\nnaive_gemm.__name__ = '../../x'"},
        lab=RACE,
    ),
    Attack(
        "N-yes",
        KIND,
        "return objects that agree from the exercises in torch",
        {
            name: f"import torch\nclass Yes(float):\n    shape = (1, 16, 16, 4)\n    def __eq__(self, other):\n        return True\n    __hash__ = None\n"
            f"    def tolist(self):\n        return Yes()\n    def any(self):\n        return False\n    def __getitem__(self, key):\n        return self\n"
            f"    is_contiguous = data_ptr = stride = tolist\n"
            f"def {name}(*a):\n    return Yes()"
            for name in ("correct_sums", "requantize", "pack_weights")
        },
        lab=RACE,
    ),
    Attack(
        "N-pack-call",
        KIND,
        "let the library pack",
        {"pack_weights": "from frugal.kernels.pack import pack\ndef pack_weights(w):\n    return pack(w).data"},
        lab=RACE,
    ),
)
