"""C++ text to a library, in about half a second: the compiler, its flags, its complaints.

The compiler is the one that CMake takes for the library's own kernels: $CXX, else c++, g++, clang++. It may use every
instruction of this processor, unless ``FRUGAL_ISA`` asks for another path: then only those of that path. By default it
is told not to make vector code out of plain loops, so that a kernel is as fast as what its author wrote.

What was compiled is kept in a private folder of the system's temporary one, named by a hash of the text and the
command, so that a check that runs twice compiles once.

A text may name any file (``#include``, ``.incbin``) and ask for any amount of work. So the compiler gets limits, and
where bubblewrap is installed it sees the system's folders and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from frugal.kernels import dispatch
from frugal.show.cpp.errors import CompileFailed, NoCompiler

COMPILERS = ("c++", "g++", "clang++")
LIMIT_S = 30.0
LONGEST_COMPLAINT = 1 << 20
KEPT = 400  # libraries in the cache; the oldest go first
YOURS, OURS = "cell", "caller"  # what the compiler calls the two parts of a text
COMMON = ("-std=c++20", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno")
GUARD = ("-fstack-protector-strong",)  # an overrun local array is told, not survived by luck
PLAIN_LOOPS = ("-fno-tree-vectorize", "-fno-tree-slp-vectorize")  # clang takes GCC's words
PATHS = {
    "scalar": (),
    "reference": (),
    "avx2": ("-mavx2",),
    "avx_vnni": ("-mavx2", "-mavxvnni"),
    "avx512_vnni": ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni"),
    "amx_int8": ("-march=native",),
    "dotprod": ("-march=armv8.2-a+dotprod",),
    "i8mm": ("-march=armv8.2-a+dotprod+i8mm",),
}
MOST_MEMORY, LARGEST_FILE = 2 << 30, 64 << 20  # bytes; a lab's kernel takes 100 MB and 20 kB
OUT = "/out"  # the only folder that a confined compiler writes to
SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives", "/etc/ld.so.cache")
INSTALL = "install g++ or clang++ (Debian, Ubuntu: apt install g++; macOS: xcode-select --install) and run this again"
_COMPLAINT = re.compile(r"^(?P<file>\w+):(?P<line>\d+):(?:\d+:)? (?P<kind>fatal error|error): (?P<text>.*)$", re.M)


@dataclass(frozen=True)
class Compiler:
    """A compiler of this machine: its path and what it says of itself."""

    path: str
    version: str


@cache
def find() -> Compiler | None:
    """The compiler, or None where there is none, or no system that its output could run on safely."""
    if os.name != "posix":
        return None
    for name in (*os.environ.get("CXX", "").split()[:1], *COMPILERS):
        if path := shutil.which(name):
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            if said.returncode == 0:
                return Compiler(path, said.stdout.splitlines()[0] if said.stdout else name)
    return None


def available() -> bool:
    """Whether C++ cells work on this machine."""
    return find() is not None


def status() -> str:
    """One sentence for the student: which compiler, or what is missing and what that costs."""
    found = find()
    if found is not None:
        return f"C++ cells are compiled by {found.version}."
    where = "" if os.name == "posix" else " (on Windows they run inside WSL)"
    missing = f"No C++ compiler on this machine{where}: C++ exercises cannot be tried, the others can."
    return f"{missing} To try them, {INSTALL}."


def needed() -> Compiler:
    """The compiler; NoCompiler where there is none."""
    found = find()
    if found is None:
        raise NoCompiler(status())
    return found


def build(text: str, flags: tuple[str, ...], libraries: tuple[str, ...] = ()) -> Path:
    """Compile once, and return the file. ``text`` is a whole C++ file.

    Raises:
        NoCompiler: there is none.
        CompileFailed: it refuses the text; the message is what it wrote.
    """
    compiler = needed()
    about = (compiler.path, compiler.version, platform.node(), *flags, *libraries, text)
    target = _folder() / f"{hashlib.sha256(chr(0).join(about).encode()).hexdigest()[:32]}.bin"
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory(dir=_folder(), prefix="build-") as room:
        made = Path(room) / "made.bin"
        jail = _jail(compiler, room)
        seen = f"{OUT}/{made.name}" if jail else str(made)
        command = [*jail, compiler.path, *flags, "-x", "c++", "-", "-o", seen, *libraries]
        ignored = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN  # inherited, and clang waits for its own parts
        status, said = _run(command, text, room, wait=ignored)
        if status or not made.is_file():  # a process that ignores SIGCHLD reads 0 for any status
            raise CompileFailed(said.strip() or f"the compiler ended with {status}")
        os.replace(made, target)
    return target


def _run(command: list[str], text: str, folder: str, *, wait: bool) -> tuple[int, str]:
    """Run a compiler with limits; whatever it started ends with it."""

    def prepare() -> None:
        if wait:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _set_limits()

    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=folder,
        preexec_fn=prepare,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(text.encode(errors="replace"), timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise CompileFailed(f"the compiler was stopped after {LIMIT_S:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, said[:LONGEST_COMPLAINT].decode(errors="replace")


def _set_limits() -> None:
    import resource  # POSIX has it

    for what, most in (
        (resource.RLIMIT_FSIZE, LARGEST_FILE),
        (resource.RLIMIT_DATA, MOST_MEMORY),
        (resource.RLIMIT_CPU, int(LIMIT_S)),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _jail(compiler: Compiler, folder: str) -> list[str]:
    """What stands before the compiler's command: it sees the system, itself, ``folder``. Empty without bubblewrap."""
    bwrap = shutil.which("bwrap") if sys.platform.startswith("linux") else None
    if bwrap is None or not _jail_works(bwrap):
        return []
    command = [*_walls(bwrap), "--bind", folder, OUT, "--chdir", OUT]
    home = Path(compiler.path).resolve().parent.parent  # a compiler of its own prefix, such as conda's
    for place in {str(home), str(Path(compiler.path).parent.parent)} - {"/", "/usr"}:
        command += ["--ro-bind", place, place]
    return [*command, "--"]


def _walls(bwrap: str) -> list[str]:
    command = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    command += ["--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LC_ALL", "C", "--tmpfs", "/tmp"]
    command += ["--dev-bind", "/dev/null", "/dev/null"]
    for place in SYSTEM:
        command += ["--ro-bind-try", place, place]
    return command


@cache
def _jail_works(bwrap: str) -> bool:
    done = subprocess.run([*_walls(bwrap), "--", "true"], capture_output=True, check=False)
    return done.returncode == 0


def kernel_flags(vectorise: bool) -> tuple[str, ...]:
    """The flags of a student's kernel on this machine."""
    return (*COMMON, *GUARD, *(() if vectorise else PLAIN_LOOPS), *target_flags())


def target_flags() -> tuple[str, ...]:
    """The instructions that a kernel may use: all of this processor, or those of the path in ``FRUGAL_ISA``."""
    forced = dispatch.forced()
    if forced is not None:
        return PATHS.get(forced, ())
    return _native_flag(needed())


@cache
def _native_flag(compiler: Compiler) -> tuple[str, ...]:
    for flag in ("-march=native", "-mcpu=native"):
        command = [compiler.path, flag, "-x", "c++", "-fsyntax-only", "-"]
        if subprocess.run(command, input="", capture_output=True, text=True, check=False).returncode == 0:
            return (flag,)
    return ()


def complaints(stderr: str) -> list[tuple[str, int, str]]:
    """The errors in what a compiler wrote: part of the text, line in it, words.

    >>> complaints("cell:3:9: error: expected ';'")
    [('cell', 3, "expected ';'")]
    """
    return [(each["file"], int(each["line"]), each["text"]) for each in _COMPLAINT.finditer(stderr)]


@cache
def _folder() -> Path:
    """A folder that only this user can write to; where the usual one is not ours, a fresh one."""
    folder = Path(tempfile.gettempdir()) / f"frugal-cpp-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if about.st_uid == os.getuid() and not about.st_mode & 0o077 and not folder.is_symlink():
            _prune(folder)
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="frugal-cpp-"))


def _prune(folder: Path) -> None:
    """Keep the newest; what another process is using or removing is left to it."""
    try:
        files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[KEPT:]:
            if path.stat().st_mtime < time.time() - 3600:
                path.unlink(missing_ok=True)
    except OSError:
        return
