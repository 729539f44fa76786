"""Where the course's files lie, so that no other file spells a path.

course/<chapter>/src/<name>.py   ->  course/<chapter>/<name>.ipynb
solutions/src/<lab>.py           ->  solutions/<lab>.ipynb, labs/<lab>/<lab>.ipynb
solutions/{wrong,right}/<lab>/<exercise>.py       the catalogues of answers
solutions/assets/<lab>/                           files that students get beside the notebook
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from frugal.core.errors import CourseFileMissing


@dataclass(frozen=True)
class Tree:
    """The folder of a course; every method answers with a path below it."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Tree:
        """Return the course around ``start`` (the working folder by default), or the one this library lies in."""
        here = (start or Path.cwd()).resolve()
        installed = Path(__file__).resolve().parents[3]
        for folder in (here, *here.parents, installed):
            if (folder / "pyproject.toml").is_file() and (folder / "lib" / "frugal").is_dir():
                return cls(folder)
        raise CourseFileMissing(f"no course around {here}; run this inside a copy of the project")

    def chapters(self) -> list[Path]:
        """Return every chapter source, in reading order."""
        return sorted(self.root.glob("course/*/src/*.py"), key=lambda path: (path.parent.parent.name, path.name))

    def chapter_notebook(self, source: Path) -> Path:
        return source.parent.parent / f"{source.stem}.ipynb"

    def labs(self) -> list[str]:
        """Return the name of every lab."""
        return sorted(path.stem for path in self.root.glob("solutions/src/*.py"))

    def lab_source(self, lab: str) -> Path:
        path = self.root / "solutions" / "src" / f"{lab}.py"
        if not path.is_file():
            known = ", ".join(self.labs()) or "none yet"
            raise CourseFileMissing(f"no lab is called {lab!r}; the labs are: {known}")
        return path

    def solved(self, lab: str) -> Path:
        return self.root / "solutions" / f"{lab}.ipynb"

    def release(self, lab: str) -> Path:
        return self.root / "labs" / lab / f"{lab}.ipynb"

    def misconceptions(self, lab: str) -> Path:
        return self.root / "labs" / lab / "misconceptions.json"

    def assets(self, lab: str) -> list[Path]:
        """Return the files that students get beside the notebook."""
        return sorted(path for path in (self.root / "solutions" / "assets" / lab).glob("**/*") if path.is_file())

    def wrong(self, lab: str, exercise: str) -> Path:
        return self.root / "solutions" / "wrong" / lab / f"{exercise}.py"

    def right(self, lab: str, exercise: str) -> Path:
        return self.root / "solutions" / "right" / lab / f"{exercise}.py"

    def relative(self, path: Path) -> str:
        """Return ``path`` as a reader of the project would write it."""
        try:
            return path.resolve().relative_to(self.root.resolve()).as_posix()
        except ValueError:
            return path.as_posix()


def write_whole(path: Path, content: str | bytes) -> bool:
    """Write ``content`` so that a reader sees the old file or the new one, never half of it.

    Returns:
        Whether the file changed.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return True
