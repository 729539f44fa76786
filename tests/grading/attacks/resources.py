"""Attacks on the machine: take its time, its memory, its processes, and stay after the end."""

# ruff: noqa: E501  # the text of an attack stands on one line

from __future__ import annotations

from attack import Attack, every, first

KIND = "resources"


def _one(name: str, says: str, body: str, head: str = "", slow: bool = False) -> Attack:
    """Attack in the first exercise; the others keep their stubs."""
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    source = f"import os, sys, time, signal\n{head.strip()}\n\ndef symmetric_scale(*args, **kwargs):\n{lines}"
    return Attack(name, KIND, says, {"symmetric_scale": source}, slow=slow)


def _kill(name: str, says: str, call: str) -> Attack:
    return _one(name, says, f"try:\n    {call}\nexcept OSError:\n    pass\nreturn None")


STAY = "while True:\n    time.sleep(1)"
ATTACKS = (
    _one("R01", "loop", "while True:\n    pass", slow=True),
    _one(
        "R02",
        "loop and swallow every error",
        "while True:\n    try:\n        time.sleep(9)\n    except BaseException:\n        pass",
        slow=True,
    ),
    _one("R03", "loop in a generator of generators", "return all(iter(int, 1))", slow=True),
    _one(
        "R04",
        "loop and block every signal",
        "while True:\n    pass",
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))",
        True,
    ),
    Attack("loop-cell", KIND, "loop in a cell", first("while True:\n    pass"), slow=True),
    _one("R05", "end the process", "os._exit(0)"),
    _one("R06", "kill the process", "os.kill(os.getpid(), signal.SIGKILL)"),
    _one("R07", "crash the process", "import ctypes\nctypes.string_at(0)"),
    Attack("die-cell", KIND, "end the process in a cell", first("import os\nos._exit(3)")),
    Attack("die-every", KIND, "end the process in every call", every("import os\nos._exit(3)")),
    Attack("hang-every", KIND, "hang in every call", every("while True:\n    pass"), slow=True),
    _one("abort", "abort, to leave a core file", "os.abort()"),
    _one("stop", "stop the process", "os.kill(os.getpid(), signal.SIGSTOP)\nreturn None"),
    _kill("kill-all", "kill every process", "os.kill(-1, signal.SIGKILL)"),
    _kill("kill-group", "kill the process group", "os.killpg(0, signal.SIGTERM)"),
    _kill("R29", "kill the parent", "os.kill(os.getppid(), signal.SIGKILL)"),
    _kill("kill-1", "kill process 1", "os.kill(1, signal.SIGKILL)"),
    _one(
        "kill-guess",
        "kill every number that a process of the judge could have",
        "for number in range(2, 40_000):\n    try:\n        os.kill(number, signal.SIGKILL)\n    except OSError:\n        pass\nreturn None",
    ),
    _one(
        "C34",
        "fork as often as possible",
        f"for _ in range(400):\n    try:\n        if os.fork() == 0:\n            {STAY.replace(chr(10), chr(10) + '            ')}\n    except OSError:\n        break\nreturn None",
    ),
    _one(
        "fork-bomb",
        "fork in every fork",
        "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        slow=True,
    ),
    _one(
        "R28",
        "leave a process behind",
        f"if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        {STAY.replace(chr(10), chr(10) + '        ')}\n    os._exit(0)\nreturn None",
    ),
    _one(
        "survivor-deaf",
        "leave a process behind that no signal reaches",
        f"if os.fork() == 0:\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n    {STAY.replace(chr(10), chr(10) + '    ')}\nreturn None",
    ),
    _one("survivor-parent", "go on as a child, and let the parent end", f"if os.fork():\n    os._exit(0)\n{STAY}"),
    _one(
        "impostor",
        "let a child answer on the wire after the end",
        "if os.fork() == 0:\n    while True:\n        worker.sock.sendall(b'x' * 64)\n        time.sleep(0.01)\nreturn None",
        "frame = sys._getframe()\nwhile type(frame.f_locals.get('self')).__name__ != 'Worker':\n    frame = frame.f_back\n"
        "worker = frame.f_locals['self']",
    ),
    _one(
        "threads",
        "start ten thousand threads",
        "import threading\nfor _ in range(10_000):\n    try:\n        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "    except RuntimeError:\n        break\nreturn None",
    ),
    _one(
        "thread-non-daemon",
        "leave a thread that waits",
        "import threading\nthreading.Thread(target=time.sleep, args=(600,)).start()",
    ),
    _one(
        "C35",
        "write a large file",
        "with open('/scratch/big', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 20))",
    ),
    _one(
        "sparse",
        "make a sparse file of a petabyte",
        "os.truncate(os.open('/scratch/s', os.O_CREAT | os.O_RDWR), 1 << 50)",
    ),
    _one(
        "many-files",
        "make files until there is no room",
        "for i in range(10**6):\n    open(f'/scratch/{i}', 'w').close()",
        slow=True,
    ),
    _one("C36", "take 12 GB", "return bytearray(12 << 30)"),
    _one(
        "memory-slow", "take memory a little at a time", "kept = []\nwhile True:\n    kept.append(bytearray(64 << 20))"
    ),
    _one("memory-torch", "take memory in a tensor", "import torch\nreturn torch.ones(1 << 34).sum()"),
    _one(
        "memory-shared",
        "take memory that is shared, which a limit on private memory does not count",
        "import mmap\nkept = mmap.mmap(-1, 2 << 30)\nfor i in range(0, 2 << 30, 1 << 12):\n    kept[i] = 1\nraise ValueError('TOOK 2 GiB')",
    ),
    _one(
        "memory-memfd",
        "take memory in files without names",
        "kept = []\nfor _ in range(40):\n    kept.append(os.memfd_create('x'))\n    os.write(kept[-1], bytes(50 << 20))\n"
        "raise ValueError('TOOK 2 GiB')",
    ),
    _one(
        "memory-sysv",
        "take memory that outlives its process",
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.shmat.restype = ctypes.c_void_p\nfor i in range(40):\n"
        "    at = libc.shmat(libc.shmget(0, 50 << 20, 0o1600), None, 0)\n    if at in (None, 2**64 - 1):\n        raise OSError('refused')\n"
        "    ctypes.memset(at, 1, 50 << 20)\nraise ValueError('TOOK 2 GiB')",
    ),
    _one(
        "descriptors",
        "open files until there are none",
        "kept = []\nwhile True:\n    kept.append(os.open('/dev/null', 0))",
    ),
    _one(
        "pipes",
        "fill pipes",
        "kept = []\nwhile True:\n    r, w = os.pipe()\n    os.set_blocking(w, False)\n    os.write(w, bytes(65536))\n    kept += [r, w]",
    ),
    _one(
        "C-loop",
        "loop in C, where no Python signal is heard",
        "import re\nre.match('(a+)+$', 'a' * 64 + 'b')",
        slow=True,
    ),
    _one("power", "compute a number that never ends", "return 10 ** 10 ** 10", slow=True),
    _one(
        "R18",
        "print 200 MB",
        "for _ in range(200):\n    print('x' * (1 << 20))\n    sys.stderr.write('y' * (1 << 20))\nos.write(1, b'z' * 10**6)\nos.write(2, b'z' * 10**6)",
    ),
    _one("log-flood", "raise ten million letters", "raise ValueError('x' * 10**7)"),
    Attack(
        "log-cells",
        KIND,
        "fail in many cells with long words",
        change=lambda book: book["cells"].extend(
            {
                "cell_type": "code",
                "id": f"m{i}",
                "metadata": {},
                "source": f"quantize = 1\nraise ValueError('x' * 10**6, {i})",
            }
            for i in range(300)
        ),
    ),
    _one(
        "limits",
        "raise one's own limits",
        "import resource\nfor each in range(16):\n    try:\n"
        "        resource.setrlimit(each, (resource.RLIM_INFINITY,) * 2)\n        raise SystemError\n    except (OSError, ValueError):\n        pass",
    ),
    _one("priority", "take the processor from others", "os.nice(-20)"),
    _one("scheduler", "become a real-time process", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))"),
    _one("execve", "become another program", "os.execv('/bin/sh', ['sh', '-c', 'sleep 600'])"),
    _one("subprocess", "start a program", "import subprocess\nsubprocess.run(['sleep', '600'])"),
    _one("system", "start a shell", "if os.system('sleep 600 &') == 0:\n    raise SystemError\nreturn None"),
    _one(
        "namespace",
        "make a user namespace",
        "import ctypes\nif ctypes.CDLL(None).unshare(0x10000000) == 0:\n    raise SystemError\nreturn None",
    ),
    _one("ptrace", "trace another process", "import ctypes\nctypes.CDLL(None).ptrace(16, 1, 0, 0)\nreturn None"),
    _one(
        "mount",
        "mount something",
        "import ctypes\nctypes.CDLL(None).mount(b'none', b'/scratch', b'proc', 0, None)\nreturn None",
    ),
    _one("C26", "reach the network", "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)"),
    _one("dns", "ask a name server", "import socket\nsocket.getaddrinfo('example.org', 80)"),
    _one(
        "socketpair",
        "make sockets until there are none",
        "import socket\nkept = []\nwhile True:\n    kept.append(socket.socketpair())",
    ),
    _one("fifo", "wait for a pipe that nobody opens", "os.mkfifo('/scratch/p')\nopen('/scratch/p').read()", slow=True),
    _one(
        "finaliser",
        "hang while the process ends",
        "sys.exit(0)",
        "class Never:\n    def __del__(self):\n        time.sleep(600)\nkept = Never()\nimport atexit\natexit.register(time.sleep, 600)",
    ),
    _one(
        "slow-cells-die",
        "use up the restarts",
        "os._exit(0)",
        "if os.path.exists('/scratch/been'):\n    os._exit(0)\nopen('/scratch/been', 'w').close()",
    ),
)
