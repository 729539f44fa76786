"""The warm process inside the sandbox: imports everything once, then forks one confined process per submission.

    python -m frugal.grading.zygote CONTROL_FD '{"warm": [...], "limits": {...}, "read": [...], "confined": true}'

Each request on the control socket carries two descriptors: the submission's end of its wire, and a leash. A submission
runs as process 1 of its own namespace, below a keeper that holds the leash: when the judge lets go of it, or dies,
the keeper kills process 1, and the kernel kills everything that it has started.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
import warnings
from typing import Any

import torch

from frugal.grading import confine
from frugal.grading.limits import Limits
from frugal.grading.wire import send
from frugal.grading.worker import Worker

NICE = 5  # whoever has to end a submission comes first


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    limits = Limits(**settings["limits"])
    torch.set_num_threads(1)
    for slow in ("torch.fx.experimental.symbolic_shapes", "numpy.random"):  # what backward(gradient) and a seed import
        importlib.import_module(slow)
    warnings.simplefilter("ignore")
    warm(settings["warm"])
    warm_torch()
    for target in settings["forbidden"]:
        forbid(target)
    gc.freeze()  # what is here now stays shared with every child
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control.send(b"ready")
    while True:
        try:
            message, ancillary, _, _ = control.recvmsg(64, socket.CMSG_SPACE(8))
        except InterruptedError:
            continue
        if not message:
            os._exit(0)
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        if len(descriptors) != 2:
            continue
        wire, leash = descriptors
        if os.fork() == 0:
            control.close()
            keep(wire, leash, limits, settings)
        os.close(wire)
        os.close(leash)


def warm(modules: list[str]) -> None:
    """Import what the lab imports; what cannot be imported will say so in the cell that asks for it."""
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def forbid(target: str) -> None:
    """Put something that only raises in the place of a function of another package: a lab asks for its own version."""
    place, _, name = target.partition(":")
    try:
        home: Any = importlib.import_module(place)
        *way, last = name.split(".")
        for part in way:
            home = getattr(home, part)
        getattr(home, last)
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"the lab masks {target}, which is not there: {error}") from None

    def gone(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{place}'s version of {name} is not at hand while a lab is graded")

    setattr(home, last, gone)


def warm_torch() -> None:
    """Let torch look at the processor now: at the first operation of a kind it reads /proc, which no worker has."""
    x = torch.ones(2, 3, 8, 8)
    with contextlib.suppress(RuntimeError), torch.no_grad():
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            y = x.to(dtype)
            _ = y * 2, y @ y.transpose(-1, -2), torch.nn.functional.conv2d(y, y[:, :, :3, :3])
    with contextlib.suppress(RuntimeError), torch.no_grad():
        codes = torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)
        _ = codes.dequantize(), torch.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 255)
        _ = torch.linalg.svd(x[0, 0]), torch.fft.fft(x), torch.sort(x)


def keep(wire: int, leash: int, limits: Limits, settings: dict) -> None:
    """Run one submission below this process, and kill it when the leash goes or it ends."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if settings["confined"]:
            confine.unshare(limits)
        child = os.fork()
        if child == 0:
            os.close(leash)
            submission(wire, limits, settings)
        os.close(wire)
        ended = os.pidfd_open(child)
        poll = select.poll()
        poll.register(leash, select.POLLIN | select.POLLHUP)
        poll.register(ended, select.POLLIN)
        poll.poll()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except BaseException:
        _say(wire, traceback.format_exc())
    os._exit(0)


def submission(wire: int, limits: Limits, settings: dict) -> None:
    """Confine this process, then serve one student's code until the judge hangs up."""
    sock = socket.socket(fileno=wire)
    try:
        confine.die_with_parent()
        os.setsid()
        os.nice(NICE)
        nothing = os.open("/dev/null", os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        os.close(nothing)
        if settings["confined"]:
            confine.hide_proc()
            applied = confine.restrict(limits, settings["read"])
            os.chdir(confine.SCRATCH)
        else:
            applied = []
        worker = Worker(sock, limits)
        send(sock, worker.codec.encode(["hello", applied]))
        worker.serve()
    except BaseException:
        _say(wire, traceback.format_exc())
    os._exit(1)


def _say(wire: int, text: str) -> None:
    """Tell the judge why there is no worker."""
    with contextlib.suppress(OSError, ValueError):
        sock = socket.socket(fileno=os.dup(wire))
        message = json.dumps(["broken", text[-1500:]]).encode()
        send(sock, len(message).to_bytes(4, "big") + bytes(4) + message, 1.0)


if __name__ == "__main__":
    main()
