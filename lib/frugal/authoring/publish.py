"""Bring the committed notebooks up to date with their sources, or tell what is out of date.

A notebook is executed again only where its saved digest is not that of its built source, where library files that
it imports changed since the last run on this machine, or on request. So two runs on a clean tree change nothing,
on any machine; whether saved outputs still come out the same is nbval's question.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from frugal.authoring.build import build_file, read_notebook, to_text
from frugal.authoring.depends import library_digest
from frugal.authoring.execute import SIZE_LIMIT, execute, is_current, problems
from frugal.authoring.stage import release_files
from frugal.authoring.tree import Tree, write_whole
from frugal.core.errors import SourceError

CHAPTER_BUDGET_S, LAB_BUDGET_S = 60.0, 90.0


@dataclass(frozen=True)
class Job:
    """One source, the notebook that is saved for it, and the seconds that it may take."""

    source: Path
    notebook: Path
    budget_s: float


@dataclass(frozen=True)
class Outcome:
    """What happened to one notebook: "unchanged", "executed", "out of date" or "failed", and why."""

    job: Job
    what: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.what in ("unchanged", "executed")


def chapter_jobs(tree: Tree) -> list[Job]:
    return [Job(source, tree.chapter_notebook(source), CHAPTER_BUDGET_S) for source in tree.chapters()]


def lab_job(tree: Tree, lab: str) -> Job:
    return Job(tree.lab_source(lab), tree.solved(lab), LAB_BUDGET_S)


def update(tree: Tree, jobs: list[Job], *, force: bool = False, workers: int = 2) -> Iterator[Outcome]:
    """Execute what needs it, ``workers`` notebooks at a time, and yield an outcome for each job, in order."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(lambda job: _update(tree, job, force), jobs)


def _update(tree: Tree, job: Job, force: bool) -> Outcome:
    try:
        built = build_file(job.source)
        seen = library_digest(job.source)
        memory = _Memory(tree, job)
        if not force and why_outdated(job, built) == "" and memory.recall() in ("", seen):
            memory.keep(seen)
            return Outcome(job, "unchanged")
        done = execute(built, job.notebook.parent, name=tree.relative(job.source), budget_s=job.budget_s)
    except SourceError as error:
        return Outcome(job, "failed", str(error))
    write_whole(job.notebook, to_text(done.notebook))
    memory.keep(seen)
    late = f", above its budget of {job.budget_s:.0f} s" if done.seconds > job.budget_s else ""
    return Outcome(job, "executed", f"{done.seconds:.1f} s{late}", done.seconds)


def check(tree: Tree, jobs: list[Job]) -> Iterator[Outcome]:
    """Compare saved notebooks with their sources without executing anything."""
    for job in jobs:
        try:
            why = why_outdated(job, build_file(job.source))
        except SourceError as error:
            yield Outcome(job, "failed", str(error))
        else:
            yield Outcome(job, "out of date", why) if why else Outcome(job, "unchanged")


def why_outdated(job: Job, built: NotebookNode) -> str:
    """Return why the saved notebook is not the built one with outputs, or "" where it is."""
    if not job.notebook.is_file():
        return "was never built"
    saved = read_notebook(job.notebook)
    if saved is None:
        return "is not a notebook"
    if not is_current(saved, built):
        return "does not come from this source: " + _first_difference(saved, built)
    counts = [cell.execution_count for cell in saved.cells if cell.cell_type == "code"]
    if counts != list(range(1, len(counts) + 1)):
        return "is not saved executed from top to bottom"
    if found := next(problems(saved), ""):
        return found
    if job.notebook.stat().st_size > SIZE_LIMIT:
        return f"is larger than {SIZE_LIMIT // 1024} KB"
    return ""


def _first_difference(saved: NotebookNode, built: NotebookNode) -> str:
    for ours, theirs in zip(built.cells, saved.cells, strict=False):
        if (ours.get("id"), ours.source, ours.metadata) != (theirs.get("id"), theirs.source, theirs.metadata):
            return f"cell {ours.id} differs"
    if len(saved.cells) != len(built.cells):
        return f"{len(saved.cells)} cells, the source has {len(built.cells)}"
    return "its digest is not this source's"


class _Memory:
    """Which library files a notebook last ran with on this machine; kept out of git in .cache."""

    def __init__(self, tree: Tree, job: Job) -> None:
        self.file = tree.root / ".cache" / "notebooks" / f"{tree.relative(job.notebook).replace('/', '.')}.digest"

    def recall(self) -> str:
        return self.file.read_text() if self.file.is_file() else ""

    def keep(self, digest: str) -> None:
        write_whole(self.file, digest)


# ---- labs ----------------------------------------------------------------------------------------------------------


def catalogue_digest(tree: Tree, lab: str) -> str:
    """Return the sha256 of a lab's catalogue of wrong answers."""
    digest = hashlib.sha256()
    for path in sorted((tree.root / "solutions" / "wrong" / lab).glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def knows_catalogue(tree: Tree, lab: str) -> bool:
    """Tell whether the saved names of wrong answers were made from today's catalogue."""
    solved = read_notebook(tree.solved(lab)) if tree.solved(lab).is_file() else None
    saved = solved.metadata.get("frugal", {}).get("catalogue_sha256") if solved else None
    return tree.misconceptions(lab).is_file() and saved == catalogue_digest(tree, lab)


def update_misconceptions(tree: Tree, lab: str, recognise: Callable[[], dict], *, force: bool = False) -> bool:
    """Write the digests by which a visible check names a wrong answer, where source or catalogue changed.

    The digests of float outputs may differ between processors, so an unchanged catalogue keeps its file.
    """
    if not force and knows_catalogue(tree, lab):
        return False
    text = json.dumps(recognise(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    changed = write_whole(tree.misconceptions(lab), text)
    solved = nbformat.read(tree.solved(lab), as_version=4)
    solved.metadata["frugal"]["catalogue_sha256"] = catalogue_digest(tree, lab)
    write_whole(tree.solved(lab), to_text(solved))
    return changed


def update_release(tree: Tree, lab: str) -> list[str]:
    """Write ``labs/<lab>`` and return the names of files that changed; what else lies there is left alone."""
    folder = tree.release(lab).parent
    files = release_files(tree, lab)
    return [name for name, content in files.items() if write_whole(folder / name, content)]


def check_release(tree: Tree, lab: str) -> Iterator[str]:
    """Yield the files of ``labs/<lab>`` that a rebuild would change, one sentence each."""
    folder, files = tree.release(lab).parent, release_files(tree, lab)
    for name, content in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{tree.relative(path)} is missing"
        elif path.read_bytes() != content:
            yield f"{tree.relative(path)} differs from a rebuild"
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if path.is_file() and below.as_posix() not in files and not any(part.startswith(".") for part in below.parts):
            yield f"{tree.relative(path)} does not belong to the release; take it out"


def clear_stage(folder: Path) -> None:
    """Empty a staging folder, so that nothing of an earlier lab is published."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
