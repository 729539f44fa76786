"""What nbgrader reads, and what students get.

nbgrader publishes whatever lies beside a source notebook. So it only ever reads a staging folder that we fill with
the built notebook and the files meant for students; the leak check on what comes out is the second lock.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from frugal.authoring.build import build, full_source, to_text
from frugal.authoring.nbgrader_steps import release_steps
from frugal.authoring.percent import BEGIN_HIDDEN, BEGIN_SOLUTION, END_HIDDEN, END_SOLUTION, Cell, read_source
from frugal.authoring.tree import Tree
from frugal.core.errors import SourceError

MARKERS = ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS")
_TELLING = 16  # characters: a shorter line gives nothing away


def stage(tree: Tree, lab: str, into: Path) -> Path:
    """Fill ``into/<lab>`` with the built lab and its published files, and nothing else."""
    folder = into / lab
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / f"{lab}.ipynb").write_text(to_text(build(read_source(tree.lab_source(lab)))), encoding="utf-8")
    base = tree.root / "solutions" / "assets" / lab
    for asset in tree.assets(lab):
        target = folder / asset.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(asset, target)
    if (misconceptions := tree.misconceptions(lab)).is_file():
        shutil.copyfile(misconceptions, folder / misconceptions.name)
    return folder


def release_files(tree: Tree, lab: str) -> dict[str, bytes]:
    """Return what students get, by path below ``labs/<lab>``: nbgrader's release of the staged lab, checked for leaks.

    Raises:
        SourceError: the release would hold a line of an answer or of a hidden test.
    """
    with tempfile.TemporaryDirectory(prefix="frugal-") as temporary:
        root = Path(temporary)
        stage(tree, lab, root / "source")
        _generate(root, lab)
        files = {
            path.relative_to(root / "release" / lab).as_posix(): path.read_bytes()
            for path in sorted((root / "release" / lab).rglob("*"))
            if path.is_file()
        }
    if found := list(leaks(read_source(tree.lab_source(lab)), files)):
        raise SourceError("\n".join(f"{lab}: {leak}" for leak in found))
    return files


def _generate(root: Path, lab: str) -> None:
    """Run nbgrader's generate_assignment without a database and without its log."""
    config = Config()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.source_directory = "source"
    config.CourseDirectory.release_directory = "release"
    config.CourseDirectory.assignment_id = lab
    config.GenerateAssignment.no_database = True
    config.GenerateAssignment.preprocessors = release_steps(database=False)
    log = logging.getLogger("frugal.authoring.nbgrader")
    log.setLevel(logging.CRITICAL)
    GenerateAssignment(coursedir=CourseDirectory(config=config), config=config, log=log).start()


# ---- the second lock -----------------------------------------------------------------------------------------------


def leaks(cells: list[Cell], files: dict[str, bytes]) -> Iterator[str]:
    """Yield every place where a release gives away an answer or a hidden test, one sentence each."""
    secret = secrets(cells)
    for name, content in files.items():
        if name.endswith(".py"):
            yield f"{name}: Python files do not belong in a release"
        if name == "misconceptions.json":
            json.loads(content)
            continue
        for place, text in _texts(name, content):
            yield from (f"{place}: holds {marker!r}" for marker in MARKERS if marker in text)
            flat = _flat(text)
            yield from (f"{place}: holds a line of {owner}: {line!r}" for line, owner in secret.items() if line in flat)


def secrets(cells: Iterable[Cell]) -> dict[str, str]:
    """Return the telling lines of answers and hidden tests, normalised, with the id of the cell they belong to.

    A line that the lab also shows in a cell's code on purpose is no secret; words give nothing free.
    """
    hidden: dict[str, str] = {}
    shown: set[str] = set()
    for cell in cells:
        inside = False
        for line in full_source(cell).splitlines():
            if line.strip() in (BEGIN_SOLUTION, BEGIN_HIDDEN):
                inside = True
            elif line.strip() in (END_SOLUTION, END_HIDDEN):
                inside = False
            elif inside and _tells(line):
                hidden.setdefault(_flat(line), cell.id)
            elif not inside and cell.role != "markdown":
                shown.add(_flat(line))
    return {line: owner for line, owner in hidden.items() if line not in shown}


def _tells(line: str) -> bool:
    flat = _flat(line)
    return len(flat) >= _TELLING and not flat.startswith(("#", "import ", "from ", '"""'))


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _texts(name: str, content: bytes) -> Iterator[tuple[str, str]]:
    if not name.endswith(".ipynb"):
        yield name, content.decode("utf-8", errors="replace")
        return
    for cell in nbformat.reads(content.decode("utf-8"), as_version=4).cells:
        yield f"{name}, cell {cell.id}", cell.source
        if cell.get("outputs"):
            yield f"{name}, cell {cell.id}, outputs", json.dumps(cell.outputs)
