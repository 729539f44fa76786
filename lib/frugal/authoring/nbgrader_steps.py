"""Two of nbgrader's steps, in our words. nbgrader_config.py names them, so stock commands and Formgrader use them.

Releasing: the stub says which exercise is open. Feedback: a failed test gives its message, not the lines around it.
"""

from __future__ import annotations

from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import ClearSolutions, NbGraderPreprocessor


class ClearNamedSolutions(ClearSolutions):
    """ClearSolutions, whose stub names the exercise."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, cell_index: int) -> tuple[NotebookNode, Any]:
        exercise = cell.metadata.get("nbgrader", {}).get("grade_id", "this")
        self.code_stub = {"python": f'# YOUR CODE HERE\nraise NotImplementedError("exercise {exercise}")'}
        return super().preprocess_cell(cell, resources, cell_index)


class ShortTracebacks(NbGraderPreprocessor):
    """Keep the message of a failed graded cell and drop its frames: they quote lines of the hidden tests."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, cell_index: int) -> tuple[NotebookNode, Any]:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            for output in cell.get("outputs", []):
                if output.output_type == "error":
                    output.traceback = [f"{output.ename}: {output.evalue}"]
        return cell, resources


def release_steps(*, database: bool = True) -> list[str]:
    """Return the names of nbgrader's steps of a release, with our ClearNamedSolutions in its place."""
    names = []
    for step in GenerateAssignment.preprocessors.default_args[0]:
        if step is ClearSolutions:
            names.append(f"{__name__}.ClearNamedSolutions")
        elif database or step.__name__ != "SaveCells":
            names.append(f"nbgrader.preprocessors.{step.__name__}")
    return names


def feedback_steps() -> list[str]:
    """Return the names of nbgrader's steps of a feedback page, hidden tests and the lines around errors left out."""
    return [
        "nbgrader.preprocessors.GetGrades",
        "nbgrader.preprocessors.ClearHiddenTests",
        f"{__name__}.ShortTracebacks",
        "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
    ]


def stub(source: str, exercise: str) -> str:
    """Return a solution cell as students get it."""
    cell = new_code_cell(source, metadata={"nbgrader": {"grade_id": exercise, "solution": True}})
    released, _ = ClearNamedSolutions().preprocess_cell(cell, {"language": "python"}, 0)
    return released.source
