"""Confine a process: what it can see, whom it can reach, how much it can use. Linux only; root is not needed.

    bubblewrap        the warm process sees the interpreter, the masked library and nothing else; no network, no home
    user namespaces   each student's process gets its own users, processes, network, IPC and mounts; /proc is empty
    Landlock          files outside what it was given cannot be opened, no TCP, no signals to others
    seccomp           no new programs, sockets, namespaces, tracing or kernel interfaces
    rlimits           memory, processes, file sizes, processor time

The first two are required. The others are used where the kernel has them; ``available`` says what is missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from frugal.grading.limits import Limits

SCRATCH = "/scratch"
REQUIRED = ("bubblewrap", "user namespaces")
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_NAMESPACES = 0x7E020080
_NO_NEW_PRIVS, _SET_SECCOMP, _DROP_BOUND, _AMBIENT, _DEATH_SIGNAL = 38, 22, 24, 47, 1
_MS_NOSUID_NODEV = 6


def available() -> list[tuple[str, bool, str]]:
    """Say for each mechanism whether this machine has it, and what that means."""
    if not sys.platform.startswith("linux"):
        names = ("bubblewrap", "user namespaces", "Landlock", "seccomp", "rlimits")
        return [(name, False, f"needs Linux, this is {sys.platform}; grade in a Linux container") for name in names]
    bwrap = shutil.which("bwrap")
    spaces = _try_namespaces(bwrap) if bwrap else "cannot be tried without bubblewrap"
    abi = landlock_abi()
    filters = seccomp_supported()
    return [
        ("bubblewrap", bool(bwrap), bwrap or "not installed; on Debian and Ubuntu: apt install bubblewrap"),
        ("user namespaces", not spaces, spaces or "own processes, network, mounts and IPC for each submission"),
        (
            "Landlock",
            abi > 0,
            f"version {abi}" if abi else "this kernel has none (since 5.13); bubblewrap alone hides files",
        ),
        (
            "seccomp",
            filters,
            f"filter for {os.uname().machine}" if filters else "no filter for this kernel or processor",
        ),
        ("rlimits", True, "memory, processes, file size, processor time"),
    ]


def missing() -> list[str]:
    """Return one sentence for each required mechanism that this machine lacks."""
    return [f"{name}: {reason}" for name, ok, reason in available() if name in REQUIRED and not ok]


def _try_namespaces(bwrap: str) -> str:
    """Return "" where a namespace can be made inside bubblewrap's, else why not."""
    inner = ["unshare", "--user", "--map-current-user", "--pid", "--net", "--ipc", "--mount", "--fork", "true"]
    if not shutil.which("unshare"):
        inner = ["true"]
    command = [bwrap, "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "--proc", "/proc", "--", *inner]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be made here: {error}"
    if done.returncode:
        return (
            f"cannot be made here: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason given'}"
        )
    return ""


# ---- the warm process ------------------------------------------------------------------------------------------------


def bubblewrap(read_only: Sequence[str], masked: Path, library: Path, limits: Limits) -> list[str]:
    """Return the start of a command line that runs what follows it in the outer sandbox.

    ``masked`` takes the place of ``library``.
    """
    command = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"]
    command += ["--unshare-cgroup-try", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--die-with-parent"]
    command += ["--new-session", "--cap-drop", "ALL", "--clearenv", "--proc", "/proc", "--dev", "/dev"]
    command += ["--size", str(limits.scratch_bytes), "--tmpfs", SCRATCH, "--size", str(1 << 20), "--tmpfs", "/tmp"]
    for path in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system/cpu"):
        if os.path.exists(path):
            command += ["--ro-bind", path, path]
    for path in read_only:
        command += ["--ro-bind", path, path]
    command += ["--ro-bind", str(masked), str(library), "--remount-ro", "/", "--chdir", SCRATCH]
    for name, value in environment(library).items():
        command += ["--setenv", name, value]
    return [*command, "--"]


def environment(library: Path) -> dict[str, str]:
    """Return all of the environment that a student's process gets."""
    return {
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": str(library.parent),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "random",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": f"{SCRATCH}/matplotlib",
    }


def alone(library: Path, paths: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return how to start a Python that imports ``library``, and its environment, with no sandbox to put it in place.

    An editable install answers for its package before any path is searched, so ``paths`` stand in for ``site``.
    """
    path = os.pathsep.join([str(library.parent), *paths])
    return [sys.executable, "-S", "-P"], {**environment(library), "PYTHONPATH": path}


# ---- one student's process -------------------------------------------------------------------------------------------


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(limits: Limits) -> None:
    """Give the calling process namespaces of its own; its next child is process 1 of the new one."""
    libc, uid, gid = _libc(), os.getuid(), os.getgid()
    _checked(libc.unshare(_NEWUSER | _NEWPID | _NEWIPC | _NEWNET | _NEWNS), "unshare")
    for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)
    size = f"size={limits.scratch_bytes},mode=700".encode()
    _checked(libc.mount(b"tmpfs", SCRATCH.encode(), b"tmpfs", _MS_NOSUID_NODEV, size), f"mount {SCRATCH}")


def hide_proc() -> None:
    """Cover /proc with an empty folder: it names the processes of others."""
    _checked(_libc().mount(b"tmpfs", b"/proc", b"tmpfs", _MS_NOSUID_NODEV | 1, b"size=4k,mode=555"), "mount /proc")


def die_with_parent() -> None:
    _libc().prctl(_DEATH_SIGNAL, 9, 0, 0, 0)


def restrict(limits: Limits, read: Sequence[str]) -> list[str]:
    """Apply all that needs no namespace to the calling process; return the names of what was applied."""
    import resource  # Windows has none, and is told so before it comes here

    libc, applied = _libc(), ["rlimits"]
    seconds = int(limits.submission_seconds) + 1
    for what, value in (
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, limits.scratch_bytes),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_NOFILE, 128),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (value, value))
    _checked(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if landlock_abi():
        _landlock(libc, read)
        applied.append("Landlock")
    _drop_capabilities(libc)
    if seccomp_supported():
        _seccomp(libc)
        applied.append("seccomp")
    return applied


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    libc.prctl(_AMBIENT, 4, 0, 0, 0)
    for capability in range(64):
        libc.prctl(_DROP_BOUND, capability, 0, 0, 0)
    _checked(libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)), "capset")


# ---- Landlock --------------------------------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_FOLDER, _WRITE_FILE = 1, 4, 8, 2


def landlock_abi() -> int:
    """Return the version of Landlock that the kernel has, 0 for none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(_libc().syscall(_CREATE_RULESET, None, 0, 1), 0)


def _landlock(libc: ctypes.CDLL, read: Sequence[str]) -> None:
    abi = landlock_abi()
    rights = (1 << 13) - 1 | (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0) | (1 << 15 if abi >= 5 else 0)
    net, scoped = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)  # TCP; abstract sockets and signals
    attributes = struct.pack("QQQ", rights, net, scoped)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = _checked(libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0), "landlock_create_ruleset")
    reading = _EXECUTE | _READ_FILE | _READ_FOLDER
    allowed = [(path, reading) for path in read] + [(SCRATCH, rights), ("/dev/null", reading | _WRITE_FILE)]
    for path, access in allowed:
        if not os.path.exists(path):
            continue
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not os.path.isdir(path):
            access &= _EXECUTE | _READ_FILE | _WRITE_FILE
        _checked(libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", access & rights, handle), 0), f"landlock {path}")
        os.close(handle)
    _checked(libc.syscall(_RESTRICT_SELF, rules, 0), "landlock_restrict_self")
    os.close(rules)


# ---- seccomp ---------------------------------------------------------------------------------------------------------

_EPERM, _ENOSYS = 1, 38
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# name: (x86_64, aarch64)
_REFUSED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "execve": (59, 221), "execveat": (322, 281), "socket": (41, 198), "personality": (135, 92),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
    "syslog": (103, 116), "acct": (163, 89), "quotactl": (179, 60), "swapon": (167, 224), "settimeofday": (170, 170),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180),
    "flock": (73, 32), "inotify_init": (253, 26), "inotify_init1": (294, 26), "fanotify_init": (300, 262),
}  # fmt: skip
_CLONE, _CLONE3, _MMAP, _FCNTL = (56, 220), (435, 435), (9, 222), (72, 25)
# F_GETLK to F_SETLKW, their OFD kind, leases and notices: a file that two submissions read would carry word across
_LOCKS = (5, 6, 7, 36, 37, 38, 1024, 1025, 1026)
_SHARED_ANONYMOUS = 0x21  # memory that the limit on private memory does not count


def seccomp_supported() -> bool:
    """Tell whether the kernel takes filters and we have one for this processor."""
    if not sys.platform.startswith("linux") or os.uname().machine not in _ARCHITECTURES:
        return False
    return _libc().prctl(21, 0, 0, 0, 0) >= 0  # PR_GET_SECCOMP


def _seccomp(libc: ctypes.CDLL) -> None:
    """Refuse the calls that a computation never makes; every other call passes."""
    machine = os.uname().machine
    which = 0 if machine == "x86_64" else 1
    load, mask, equal, at_least, any_bit, give = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
    allow, kill, refuse = 0x7FFF0000, 0x80000000, 0x00050000
    steps = [(load, 0, 0, 4), (equal, 1, 0, _ARCHITECTURES[machine]), (give, 0, 0, kill), (load, 0, 0, 0)]
    if machine == "x86_64":
        steps += [(at_least, 0, 1, 0x40000000), (give, 0, 0, refuse | _EPERM)]  # the x32 calls
    for numbers in _REFUSED.values():
        steps += [(equal, 0, 1, numbers[which]), (give, 0, 0, refuse | _EPERM)]
    steps += [
        (equal, 0, 1, _CLONE3[which]),
        (give, 0, 0, refuse | _ENOSYS),
    ]  # its flags lie out of sight; libc uses clone
    steps += [
        (equal, 0, 3, _CLONE[which]),
        (load, 0, 0, 16),
        (any_bit, 0, 1, _NAMESPACES),
        (give, 0, 0, refuse | _EPERM),
    ]
    steps += [(equal, 0, 2 * len(_LOCKS) + 2, _FCNTL[which]), (load, 0, 0, 24)]
    for lock in _LOCKS:
        steps += [(equal, 0, 1, lock), (give, 0, 0, refuse | _EPERM)]
    steps += [(give, 0, 0, allow)]
    steps += [(equal, 0, 4, _MMAP[which]), (load, 0, 0, 40), (mask, 0, 0, _SHARED_ANONYMOUS)]
    steps += [(equal, 0, 1, _SHARED_ANONYMOUS), (give, 0, 0, refuse | _EPERM)]
    steps += [(give, 0, 0, allow)]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]

    program = Program(len(steps), ctypes.cast(buffer, ctypes.c_void_p))
    _checked(libc.prctl(_SET_SECCOMP, 2, ctypes.byref(program), 0, 0), "seccomp")
