"""The trusted process: holds the tests, imports the lab once, forks one referee per submission.

    python -m frugal.grading.referee CONTROL_FD ZYGOTE_FD '{"lab": PATH, "limits": {...}}'

Each request on the control socket carries one descriptor: a socket to talk about one submission on. The referee reads
the submitted file from it, has a worker run the student's cells, runs the tests here, and sends one line of JSON for
each thing that happens. So what was judged before something went wrong is not lost.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import io
import json
import os
import random
import resource
import signal
import socket
import struct
import sys
import traceback
import types
import warnings
from pathlib import Path
from typing import Any

import torch

from frugal.grading import cells as text
from frugal.grading.diagnosis import Known, study
from frugal.grading.lab import Lab
from frugal.grading.limits import Limits
from frugal.grading.submission import Submission, Unreadable
from frugal.grading.trial import Trial, compiled


def main() -> None:
    control, zygote = (socket.socket(fileno=int(each)) for each in sys.argv[1:3])
    settings = json.loads(sys.argv[3])
    limits = Limits(**settings["limits"])
    torch.set_num_threads(1)
    importlib.import_module("torch.fx.experimental.symbolic_shapes")  # what backward(gradient) imports, slowly
    warnings.simplefilter("ignore")
    lab = Lab.load(Path(settings["lab"]))
    names = prepare(lab)
    known = study(lab, names)
    Submission.read(lab.path.read_bytes(), lab)  # reads every cell's names once, for all
    for cell in lab.cells:
        if cell.role == "test":
            compiled(cell.source, cell.id)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control.send(json.dumps({"ready": True}).encode())
    while True:
        try:
            message, ancillary, _, _ = control.recvmsg(64, socket.CMSG_SPACE(4))
        except InterruptedError:
            continue
        if not message:
            os._exit(0)
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        for descriptor in descriptors:
            if os.fork() == 0:
                control.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                one(socket.socket(fileno=descriptor), zygote, lab, limits, names, known)
                os._exit(0)
            os.close(descriptor)


def prepare(lab: Lab) -> dict[str, Any]:
    """Run the lab's own cells that its tests need and that need no answer: once, for all submissions."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    main.__dict__["display"] = lambda *values, **options: None
    for index in before_answers(lab):
        run_quietly(lab.cells[index].source, lab.cells[index].id, main.__dict__)
    return main.__dict__


def needed_by_tests(lab: Lab) -> set[int]:
    """The lab's own cells that a test needs. A cell that gives an exercise another name's answer is no answer."""
    found = [cell.names if cell.role in ("plain", "test") else text.Names() for cell in lab.cells]
    found = [text.Names(each.binds - lab.asked, each.uses, each.everything) for each in found]
    return text.needed(found, {index: index for index, cell in enumerate(lab.cells) if cell.role == "test"})


def before_answers(lab: Lab) -> list[int]:
    """Those of them that use no answer, directly or through another cell."""
    wanted, late = [], set(lab.asked)
    needed = needed_by_tests(lab)
    for index, cell in enumerate(lab.cells):
        if cell.role == "test" or (cell.role == "plain" and cell.names.uses & late):
            late |= cell.names.binds
        elif cell.role == "plain" and index in needed:
            wanted.append(index)
    return wanted


def run_quietly(source: str, title: str, names: dict[str, Any]) -> None:
    """Run a cell of the lab; what it prints goes nowhere."""
    code = compile(text.plain(source), f"<{title}>", "exec", dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        exec(code, names)


def one(
    sock: socket.socket,
    zygote: socket.socket,
    lab: Lab,
    limits: Limits,
    names: dict[str, Any],
    known: dict[str, Known],
) -> None:
    """Judge one submission and say what came of it."""

    def say(**what: Any) -> None:
        sock.sendall(json.dumps(what).encode() + b"\n")

    try:
        sock.sendmsg([b"p"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [os.pidfd_open(os.getpid())]))])
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))  # of what students return
        request = _request(sock)
        seed = request["seed"]
        torch.manual_seed(seed)
        random.seed(seed)
        importlib.import_module("numpy").random.seed(seed % (1 << 32))
        trial = Trial(lab, limits, zygote, names, known, seed, skip=set(request["skip"]))
        trial.run(Submission.read(request["notebook"], lab), say)
        say(end=True)
    except Unreadable as error:
        say(unreadable=str(error))
    except BaseException:
        with contextlib.suppress(OSError):
            say(broken=traceback.format_exc()[-3000:])
    os._exit(0)


def _request(sock: socket.socket) -> dict[str, Any]:
    """Read what to judge: two lengths, a head in JSON, the notebook's bytes."""
    file = sock.makefile("rb")
    head, body = struct.unpack("!IQ", file.read(12))
    request = json.loads(file.read(head))
    return {**request, "notebook": file.read(body)}


if __name__ == "__main__":
    main()
