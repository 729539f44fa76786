"""What a student's process can see, reach and use, asked from inside one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_lab import Bench

from frugal.grading import confine

ASK = """
import ctypes, os, socket, subprocess

def attempt(what):
    try:
        return ["came through", str(what())[:200]]
    except BaseException as error:
        return ["refused", type(error).__name__]

def double(x):
    if x != 3:
        return [3.0, -4.5]
    {question}
    raise RuntimeError(repr(found))
"""


def ask(bench: Bench, question: str) -> str:
    """Run a question in a worker and return what it found, from the detail that only the instructor sees."""
    lines = question.strip().splitlines()
    body = "\n    ".join(lines)
    return bench.submit({"double": ASK.replace("{question}", body)}).results[0].detail


@pytest.mark.parametrize(
    "action",
    [
        "open('/etc/passwd').read()",
        "os.listdir('/root') or os.listdir('/home')",
        "os.listdir('/proc')[0]",
        "open('/proc/1/environ').read()",
        "open('/proc/self/maps').read()",
        "socket.socket().connect(('127.0.0.1', 22))",
        "socket.socket(socket.AF_UNIX)",
        "subprocess.check_output(['/bin/true'])",
        "os.execv('/bin/true', ['true'])",
        "os.kill(2, 9)",
        "os.setuid(0)",
        "os.mkdir('/made')",
        "open('/usr/made', 'w')",
        "open('/tmp/made', 'w')",
        "open('/scratch/large', 'wb').write(bytes(100 << 20))",
        "os.listdir('/') and open('/work')",
    ],
)
def test_an_action_beyond_the_computation_is_refused(bench: Bench, action: str) -> None:
    assert "refused" in ask(bench, f"found = attempt(lambda: {action})")


@pytest.mark.parametrize(
    "name, arguments",
    [("unshare", "0x10000000"), ("ptrace", "0, 0, 0, 0"), ("mount", "b'x', b'/scratch', b'tmpfs', 0, None")],
)
def test_a_system_call_that_no_computation_makes_is_refused(bench: Bench, name: str, arguments: str) -> None:
    question = f"found = ctypes.CDLL(None, use_errno=True).{name}({arguments})"
    assert "RuntimeError: -1" in ask(bench, question)


def test_neither_tests_nor_solutions_nor_environment_are_there(bench: Bench, tiny) -> None:
    folder = str(tiny.path.parent)
    question = f"""
found = []
for place, folders, files in os.walk('/'):
    found += [os.path.join(place, name) for name in files if name.endswith('.ipynb') or 'tiny' in name]
found += [key for key in os.environ if key not in {sorted(confine.environment(tiny.path))!r} + ['LC_CTYPE', 'PWD']]
found += [os.path.exists({folder!r})]
found = [each for each in found if 'site-packages' not in str(each)]
"""
    assert "RuntimeError: [False]" in ask(bench, question)


def test_the_worker_is_process_1_of_its_own_and_alone(bench: Bench) -> None:
    assert "RuntimeError: (1, 0)" in ask(bench, "found = (os.getpid(), os.getppid())")


def test_files_of_one_submission_are_not_seen_by_the_next(bench: Bench) -> None:
    assert "'left'" in ask(bench, "open('/scratch/left', 'w').close()\nfound = os.listdir('/scratch')")
    assert "left" not in ask(bench, "found = os.listdir('/scratch')")


def test_each_mechanism_is_named_with_its_state() -> None:
    found = confine.available()
    assert [name for name, _, _ in found] == ["bubblewrap", "user namespaces", "Landlock", "seccomp", "rlimits"]
    assert all(reason for _, _, reason in found)


def test_another_platform_is_told_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine.sys, "platform", "darwin")
    assert not any(ok for _, ok, _ in confine.available())
    assert len(confine.missing()) == 2
    assert "darwin" in confine.missing()[0]


@pytest.mark.parametrize(
    "action",
    [
        "torch.ones(4).half() * 2",
        "torch.ones(4, 4).half() @ torch.ones(4, 4).half()",
        "torch.ones(4, 4).bfloat16() @ torch.ones(4, 4).bfloat16()",
        "torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), torch.ones(2, 3, 3, 3))",
        "torch._int_mm(torch.ones(32, 32, dtype=torch.int8), torch.ones(32, 32, dtype=torch.int8))",
        "torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.quint8).int_repr()",
        "torch.fake_quantize_per_tensor_affine(torch.ones(4), 0.1, 0, 0, 255)",
        "torch.linalg.svd(torch.eye(3))",
        "torch.nn.Linear(4, 4)(torch.ones(2, 4)).sum().backward()",
        "torch.nn.LSTM(2, 2)(torch.ones(3, 1, 2))",
        "open('/scratch/note', 'w').write('a')",
        "__import__('tempfile').TemporaryFile().write(b'a')",
        "__import__('threading').Thread(target=print).start()",
        "__import__('numpy').linalg.inv(__import__('numpy').eye(3))",
    ],
)
def test_a_computation_is_not_hindered(bench: Bench, action: str) -> None:
    assert "came through" in ask(bench, f"found = attempt(lambda: {action})")


def below_the_sandbox() -> int:
    """Count the processes of every zygote on this machine, from outside."""
    found = 0
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += b"frugal.grading.zygote" in place.read_bytes()
    return found


def test_nothing_that_a_submission_started_outlives_it(bench: Bench) -> None:
    stay = """
        import os, time

        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                while True:
                    time.sleep(1)

        def double(x):
            return 2 * x
        """
    before = below_the_sandbox()
    assert bench.submit({"double": stay}).results[0].passed
    until = time.monotonic() + 5
    while below_the_sandbox() > before and time.monotonic() < until:
        time.sleep(0.05)
    assert below_the_sandbox() <= before


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_another_system_is_told_where_to_grade(system: str) -> None:
    script = f"""
import sys
sys.modules["resource"] = sys.modules["fcntl"] = None  # Windows has neither
sys.platform = {system!r}
from frugal.grading.errors import SandboxMissing
from frugal.grading.judge import Judge
try:
    Judge(None, unsafe=True).__enter__()
except SandboxMissing as missing:
    print(missing)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert f"needs Linux, this is {system}; grade in a Linux container" in done.stdout, done.stderr
