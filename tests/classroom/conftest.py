"""A course of its own for each test: the real labs and settings, in a folder that is thrown away."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from frugal.authoring.build import build_file
from frugal.authoring.stage import stage
from frugal.authoring.tree import Tree


@dataclass(frozen=True)
class Course:
    """A copy of the course as an instructor has it, and the commands that are typed in it."""

    root: Path
    lab: str
    tree: Tree

    @property
    def exchange(self) -> Path:
        return self.root / "grading" / "exchange"

    def nbgrader(self, *words: str, folder: Path | None = None) -> str:
        """Run an nbgrader command as it is typed, in the course or in a student's folder, and return what it said."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "FRUGAL_EXCHANGE": str(self.exchange),
            "HOME": str(self.root / "home"),
        }
        command = [sys.executable, "-m", "nbgrader", *words]
        done = subprocess.run(
            command, cwd=folder or self.root, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"nbgrader {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def student(self, name: str) -> Path:
        """Make a student's folder, which knows the exchange and nothing else of the course."""
        folder = self.root / "students" / name
        folder.mkdir(parents=True)
        (folder / "nbgrader_config.py").write_text(
            f"c = get_config()\nc.CourseDirectory.course_id = 'frugal'\nc.Exchange.root = {str(self.exchange)!r}\n"
        )
        return folder

    def answer(self, notebook: Path, exercises: set[str]) -> None:
        """Fill some stubs of a student's notebook with the answers of the solved lab."""
        solved = {cell.id: cell.source for cell in build_file(self.tree.lab_source(self.lab)).cells}
        book = nbformat.read(notebook, as_version=4)
        for cell in book.cells:
            if cell.id in exercises:
                cell.source = solved[cell.id]
        nbformat.write(book, notebook)


@pytest.fixture
def course(root, tmp_path, request) -> Course:
    """An instructor's copy of the course that holds one lab, staged for nbgrader."""
    tree, lab = Tree(root), request.param
    shutil.copy(root / "nbgrader_config.py", tmp_path)
    (tmp_path / "home").mkdir()
    stage(tree, lab, tmp_path / "grading" / "source")
    return Course(tmp_path, lab, tree)
