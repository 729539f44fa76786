"""What the doctor asks of the machine: room, compiler, instructions, data, counters, sandbox.

Nothing here raises for what a machine lacks, and nothing is changed on it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from frugal.cli.finding import COURSE, DATA, MARKING, SPEED, Finding
from frugal.core.units import format_bytes

ENOUGH_MEMORY = 4 << 30  # a kernel with torch and a small network holds about 1 GiB; JupyterLab and a browser the rest
ENOUGH_DISK = 2 << 30


def memory(total: int | None = None) -> Finding:
    """Is there memory for a kernel, JupyterLab and a browser?"""
    total = memory_bytes() if total is None else total
    if total is None:
        return Finding(
            COURSE, "memory", "missing", "the system does not say", f"{format_bytes(ENOUGH_MEMORY)} are enough."
        )
    if total < ENOUGH_MEMORY:
        then = f"{format_bytes(ENOUGH_MEMORY)} are comfortable. Close other programs; run one notebook at a time."
        return Finding(COURSE, "memory", "missing", format_bytes(total), then)
    return Finding(COURSE, "memory", "ok", format_bytes(total))


def disk(folder: Path, free: int | None = None) -> Finding:
    """Is there room for builds and for data?"""
    free = shutil.disk_usage(folder).free if free is None else free
    if free < ENOUGH_DISK:
        then = f"Make room: {format_bytes(ENOUGH_DISK)} free are comfortable. `make clean` gives back what was built."
        return Finding(COURSE, "disk", "missing", f"{format_bytes(free)} free", then)
    return Finding(COURSE, "disk", "ok", f"{format_bytes(free)} free")


def compiler() -> Finding:
    """Is there a C++ compiler?"""
    named = os.environ.get("CXX")
    for name in [named] if named else ["c++", "g++", "clang++", "cl"]:
        if path := shutil.which(name):
            return Finding(SPEED, "compiler", "ok", path)
    then = (
        "Debian and Ubuntu: `sudo apt-get install build-essential`; macOS: `xcode-select --install`. Then `make setup`."
    )
    found = f"CXX={named} is not there" if named else "no C++ compiler"
    return Finding(SPEED, "compiler", "missing", found, then)


def native_library() -> Finding:
    """Is our native library built, does it load, and which of its paths run here?"""
    from frugal.kernels import available, dispatch, native

    if native.library() is not None:
        runs = [name for name in available() if name != dispatch.REFERENCE]
        others = [name for name in native.path_names() if name not in runs]
        found = f"built by {native.compiler()}; runs {', '.join(runs)}"
        found += f"; this machine refuses {', '.join(others)}" if others else ""
        asked = dispatch.forced()
        if asked is not None and asked not in available():
            then = f"Unset {dispatch.VARIABLE}, or set it to one of {', '.join(available())}."
            return Finding(SPEED, "native library", "problem", f"{dispatch.VARIABLE}={asked} is none of them", then)
        found += f"; {dispatch.VARIABLE} asks for {asked}" if asked else ""
        return Finding(SPEED, "native library", "ok", found)
    found, _, then = native.status().partition(". ")
    return Finding(SPEED, "native library", "missing", f"{found}.", then)


def instructions() -> Finding:
    """Which int8 instructions does the processor have?"""
    from frugal.kernels import cpu

    features = cpu.cpu_features()
    names = [each.name for each in cpu.instruction_sets(features)]
    found = f"{', '.join(names)}. {cpu.explain(features)}"
    if names == ["scalar"]:
        return Finding(SPEED, "int8 instructions", "missing", found, "The labs' checks do not depend on speed.")
    return Finding(SPEED, "int8 instructions", "ok", found)


def real_data() -> Finding:
    """Is CIFAR-10 here?"""
    named = os.environ.get("FRUGAL_DATA")
    then = (
        "The course draws its own images, so nothing is lost. For the real ones: "
        "`python -m frugal data --download --to FOLDER`, then set FRUGAL_DATA to that folder."
    )
    if not named:
        return Finding(DATA, "CIFAR-10", "missing", "FRUGAL_DATA is not set", then)
    if not (Path(named) / "cifar-10-batches-bin" / "test_batch.bin").is_file():
        return Finding(DATA, "CIFAR-10", "missing", f"no cifar-10-batches-bin/test_batch.bin in {named}", then)
    return Finding(DATA, "CIFAR-10", "ok", f"in {named}")


def energy(powercap: Path = Path("/sys/class/powercap")) -> Finding:
    """Can we read how many joules the processor has used?"""
    counters = sorted(powercap.glob("*/energy_uj"))
    if any(_readable(path) for path in counters):
        return Finding(DATA, "energy counters", "ok", f"{len(counters)} in {powercap}")
    if counters:
        then = f"Only root may read them here: `sudo chmod a+r {powercap}/*/energy_uj` lasts until the next start."
        return Finding(DATA, "energy counters", "missing", f"{len(counters)}, but not readable", then)
    then = "Usual in virtual machines and on macOS: joules cannot be measured here, times can."
    return Finding(DATA, "energy counters", "missing", "the system shows none", then)


def _readable(path: Path) -> bool:
    try:
        return path.read_text().strip().isdigit()
    except OSError:
        return False


def sandbox() -> Finding:
    """Can labs be marked inside a sandbox, and with which of its parts?"""
    try:
        from frugal.grading import confine
    except ImportError as error:  # a module that only POSIX systems have
        then = "Only those who mark need it: mark on Linux, or in a Linux container. Students need nothing."
        return Finding(MARKING, "sandbox", "missing", f"this system has no {error.name}", then)
    parts = confine.available()
    if reasons := confine.missing():
        then = (
            "Only those who mark need it; `python -m frugal grade` refuses until then. Debian and Ubuntu: "
            "`sudo apt-get install bubblewrap`. Where user namespaces are switched off, ask who runs this machine."
        )
        return Finding(MARKING, "sandbox", "missing", "; ".join(reasons), then)
    there = ", ".join(name for name, ok, _ in parts if ok)
    if lacking := [f"{name} ({reason})" for name, ok, reason in parts if not ok]:
        then = "Marking works. What is missing is a second lock on the same doors; a newer kernel has it."
        return Finding(MARKING, "sandbox", "ok", f"{there}; without {', '.join(lacking)}", then)
    return Finding(MARKING, "sandbox", "ok", there)


def browser() -> Finding:
    """Is there a Chromium for the tests that drive JupyterLab?"""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return Finding(MARKING, "browser", "ok", path)
    then = "Only for tests that drive JupyterLab; they are skipped. Debian: `sudo apt-get install chromium`."
    return Finding(MARKING, "browser", "missing", "no Chromium or Chrome", then)


def exchange(root: Path | None) -> Finding:
    """Is there a folder through which labs are handed out and in?"""
    named = os.environ.get("FRUGAL_EXCHANGE")  # as in nbgrader_config.py, which makes the folder on first use
    if named is None and root is None:
        return Finding(MARKING, "exchange folder", "ok", "made with the course, on first use")
    folder = Path(named) if named else Path(root or "") / "grading" / "exchange"
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        found = str(folder) if there == folder else f"{folder}, made on first use"
        return Finding(MARKING, "exchange folder", "ok", found)
    then = (
        "Labs cannot be handed out and in here. Set FRUGAL_EXCHANGE to a folder that you may write to; one that "
        "others share needs mode 777. On your own, Validate is enough."
    )
    return Finding(MARKING, "exchange folder", "missing", f"{there} is not a folder that can be written", then)


def cores() -> int:
    """How many cores this process may use: what a container or ``taskset`` leaves of the machine's."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """The machine's memory, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
