"""Calls from several Python threads at once, from a forked child, and while another thread wants the interpreter."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from frugal.kernels import available, native
from frugal.kernels.conv import Conv8
from frugal.kernels.gemm import Linear8

U8 = torch.uint8
needs_library = pytest.mark.skipif(native.library() is None, reason="the native library is not built on this machine")


def test_python_threads_may_call_one_layer_at_once(draw, three_threads):
    linear = Linear8(draw.weights(70, 130), output=draw.output("codes", 70))
    conv = Conv8(draw.weights(20, 16, 3, 3), padding=1, output=draw.output("codes", 20))
    inputs = [(draw.codes(U8, 60 + i, 130), draw.codes(U8, 1, 6 + i % 4, 9, 16)) for i in range(24)]
    wanted = [(linear(x), conv(image)) for x, image in inputs]

    def work(i):
        torch.set_num_threads(1 + i % 3)
        x, image = inputs[i % len(inputs)]
        return torch.equal(linear(x), wanted[i % len(inputs)][0]), torch.equal(conv(image), wanted[i % len(inputs)][1])

    with ThreadPoolExecutor(8) as pool:
        assert all(all(same) for same in pool.map(work, range(240)))


@needs_library
def test_the_interpreter_runs_on_while_a_kernel_works(draw):
    layer, x = Linear8(draw.weights(256, 1024)), draw.codes(U8, 512, 1024)
    ticks, done = [0], threading.Event()

    def count():
        while not done.is_set():
            ticks[0] += 1
            time.sleep(0)

    other = threading.Thread(target=count)
    other.start()
    before = ticks[0]
    layer(x, isa="scalar")  # some tens of milliseconds
    during = ticks[0] - before
    done.set()
    other.join()
    assert during > 10


FORK = """
import os, signal, sys, torch
from frugal.kernels.gemm import Linear8
torch.set_num_threads(3)
generator = torch.Generator().manual_seed(0)
w = torch.randint(-128, 128, (64, 128), generator=generator, dtype=torch.int8)
x = torch.randint(0, 256, (300, 128), generator=generator, dtype=torch.uint8)
layer = Linear8(w)
wanted = layer(x)
for _ in range(20):
    layer(x)  # the pool's threads run
child = os.fork()
if child == 0:
    signal.alarm(20)
    same = all(torch.equal(layer(x), wanted) for _ in range(50))
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 3
    os._exit(0 if same and threads == 3 else 1)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status) or not torch.equal(layer(x), wanted))
"""


@needs_library
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_starts_threads_of_its_own():
    settings = {name: value for name, value in os.environ.items() if name != "FRUGAL_ISA"}  # torch has no pool of ours
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    run = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")


def test_every_thread_setting_gives_the_same_bits(draw, three_threads):
    layer, x = Linear8(draw.weights(50, 60), output=draw.output("codes", 50)), draw.codes(U8, 97, 60)
    results = []
    for threads in (1, 2, 3, 7, 64):
        torch.set_num_threads(threads)
        results += [layer(x, isa=isa) for isa in available()]
    assert all(torch.equal(each, results[0]) for each in results)
