"""Attacks on other students: leave something that the next submission of the same judge would find.

``leave`` runs in one submission, ``find`` in another one after it or beside it; it raises FOUND where it is there.
"""

# ruff: noqa: E501  # the text of an attack stands on one line

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attack import Attack, every, first

KIND = "other students"


@dataclass(frozen=True)
class Pair:
    """Two submissions of two students who work together, or of whom one spies on the other."""

    id: str
    says: str
    leave: str
    find: str

    @property
    def first(self) -> Attack:
        return Attack(self.id, KIND, self.says, first(f"import os, sys, torch\n{self.leave}"))

    @property
    def second(self) -> Attack:
        return Attack(
            self.id,
            KIND,
            self.says,
            every(
                "raise ValueError('FOUND' if found else 'nothing')",
                f"import os, sys, torch\nfound = False\n{self.find}",
            ),
        )


def _file(name: str, says: str, place: str) -> Pair:
    return Pair(
        name,
        says,
        f"try:\n    open({place!r}, 'w').write('answers')\nexcept OSError:\n    pass",
        f"try:\n    found = bool(open({place!r}).read())\nexcept OSError:\n    pass",
    )


PAIRS = (
    _file("scratch", "leave a file in the working folder", "answers.txt"),
    _file("tmp", "leave a file in /tmp", "/tmp/answers.txt"),
    _file("var-tmp", "leave a file in /var/tmp", "/var/tmp/answers.txt"),
    _file("shm", "leave a file in shared memory", "/dev/shm/answers.txt"),
    _file("dev", "leave a file among the devices", "/dev/answers.txt"),
    _file("mqueue", "leave a message queue", "/dev/mqueue/answers"),
    _file("root", "leave a file in the root folder", "/answers.txt"),
    _file("home", "leave a file at home", str(Path.home() / "answers.txt")),
    _file("sys", "leave a word in the kernel's settings", "/sys/devices/system/cpu/answers"),
    Pair(
        "library",
        "change the library on disk",
        "import frugal\ntry:\n    open(frugal.__file__, 'a').write('\\nLEFT = 1')\nexcept OSError:\n    pass",
        "import importlib, frugal\nfound = hasattr(importlib.reload(frugal), 'LEFT')",
    ),
    Pair(
        "packages",
        "change torch on disk",
        "try:\n    open(torch.__file__, 'a').write('\\nLEFT = 1')\nexcept OSError:\n    pass",
        "found = 'LEFT = 1' in open(torch.__file__).read()[-20:]",
    ),
    Pair(
        "warm-module",
        "change torch in the warm process",
        "torch.LEFT = torch.nn.LEFT = 1\nsys.modules['left'] = torch",
        "found = hasattr(torch, 'LEFT') or 'left' in sys.modules",
    ),
    Pair(
        "warm-library",
        "change the library in the warm process",
        "import frugal.core.check as c\nc.check_finite = None",
        "import frugal.core.check as c\nfound = c.check_finite is None",
    ),
    Pair(
        "warm-builtins",
        "change builtins in the warm process",
        "import builtins\nbuiltins.LEFT = 1",
        "import builtins\nfound = hasattr(builtins, 'LEFT')",
    ),
    Pair("environment", "leave a word in the environment", "os.environ['LEFT'] = '1'", "found = 'LEFT' in os.environ"),
    Pair(
        "seed",
        "fix everybody's random numbers",
        "import random\nrandom.seed(0)\ntorch.manual_seed(0)",
        "torch_first = torch.rand(1).item()\nfound = torch_first == torch.rand(1, generator=torch.Generator().manual_seed(0)).item()",
    ),
    Pair(
        "memory",
        "leave shared memory of System V",
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.shmget(4242, 4096, 0o1666)",
        "import ctypes\nlibc = ctypes.CDLL(None)\nfound = libc.shmget(4242, 4096, 0) >= 0",
    ),
    Pair(
        "semaphore",
        "leave a semaphore",
        "import ctypes\nctypes.CDLL(None).semget(4242, 1, 0o1666)",
        "import ctypes\nfound = ctypes.CDLL(None).semget(4242, 1, 0) >= 0",
    ),
    Pair(
        "socket",
        "leave a socket that listens",
        "import socket\ntry:\n    kept = socket.socket(socket.AF_UNIX)\n    kept.bind('\\0left')\n    kept.listen()\n    os.fork()\nexcept OSError:\n    pass",
        "import socket\ntry:\n    socket.socket(socket.AF_UNIX).connect('\\0left')\n    found = True\nexcept OSError:\n    pass",
    ),
    Pair(
        "process",
        "leave a process that can be asked",
        "import time\nif os.fork() == 0:\n    os.setsid()\n    while True:\n        time.sleep(1)",
        "import signal\nfor number in range(2, 5000):\n    try:\n        os.kill(number, 0)\n        found = found or number != os.getpid()\n    except OSError:\n        pass",
    ),
    Pair(
        "control",
        "speak to the warm process on every descriptor",
        "import array, socket\nfor number in range(3, 128):\n    try:\n        s = socket.socket(fileno=number)\n        s.settimeout(0.05)\n"
        "        s.getpeername()\n        s.detach() if number == FD else s.send(b'fork')\n    except (OSError, NameError):\n        pass",
        "found = False",
    ),
    Pair(
        "offset",
        "move the place in a file that everybody reads",
        "for number in range(3, 128):\n    try:\n        os.lseek(number, 1 << 30, os.SEEK_SET)\n    except OSError:\n        pass",
        "for number in range(3, 128):\n    try:\n        found = found or os.lseek(number, 0, os.SEEK_CUR) == 1 << 30\n    except OSError:\n        pass",
    ),
    Pair(
        "lock",
        "hold a lock on the library",
        "import fcntl, frugal, time\nheld = open(frugal.__file__)\nfcntl.flock(held, fcntl.LOCK_EX)\n"
        "if os.fork() == 0:\n    time.sleep(600)",
        "import fcntl, frugal\ntry:\n    fcntl.flock(open(frugal.__file__), fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept BlockingIOError:\n    found = True\nexcept OSError:\n    pass",
    ),
    Pair(
        "range-lock",
        "hold a lock on a byte of the library",
        "import fcntl, frugal, time\nheld = open(frugal.__file__)\nfcntl.lockf(held, fcntl.LOCK_SH, 1)\n"
        "if os.fork() == 0:\n    time.sleep(600)",
        "import fcntl, frugal, struct\nasked = struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 1, 0)\ntry:\n"
        "    said = fcntl.fcntl(open(frugal.__file__), fcntl.F_GETLK, asked)\n"
        "    found = struct.unpack('hhqqi', said)[0] != fcntl.F_UNLCK\nexcept OSError:\n    pass",
    ),
    Pair(
        "watch",
        "open a file of the library while the other watches it",
        "import frugal, time\nif os.fork() == 0:\n    while True:\n        open(frugal.__file__).read()\n        time.sleep(0.01)",
        "import ctypes, frugal\nlibc = ctypes.CDLL(None)\nwatch = libc.inotify_init1(0)\nif watch >= 0:\n"
        "    libc.inotify_add_watch(watch, frugal.__file__.encode(), 1)\n    os.set_blocking(watch, False)\n"
        "    import time; time.sleep(0.2)\n    try:\n        found = bool(os.read(watch, 4096))\n    except OSError:\n        pass",
    ),
    Pair(
        "affinity",
        "bind everybody to one core",
        "os.sched_setaffinity(0, {0})\n",
        "found = len(os.sched_getaffinity(0)) == 1 and os.cpu_count() > 1 and False",
    ),
    Pair(
        "mask-of-signals",
        "ignore signals in the warm process",
        "import signal\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "import signal\nfound = signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN",
    ),
)
