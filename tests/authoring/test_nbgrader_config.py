"""The settings that stock nbgrader runs with: what they publish, and what they close."""

import os
import shutil
from pathlib import Path

import pytest
from traitlets.config import PyFileConfigLoader


@pytest.fixture
def config(root, tmp_path, monkeypatch):
    """The settings as nbgrader reads them, in a folder of their own."""
    monkeypatch.delenv("FRUGAL_EXCHANGE", raising=False)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    shutil.copy(root / "nbgrader_config.py", tmp_path)
    return PyFileConfigLoader("nbgrader_config.py", path=str(tmp_path)).load_config()


def test_the_source_folder_is_the_stage_and_never_the_folder_with_solutions(config, tmp_path):
    assert config.CourseDirectory.source_directory == "grading/source"
    assert config.CourseDirectory.release_directory == "labs"
    assert Path(config.CourseDirectory.root) == tmp_path
    written = [value for key, value in config.CourseDirectory.items() if key.endswith("_directory")]
    assert all(folder == "labs" or folder.startswith("grading/") for folder in written), "git ignores grading/"


def test_no_tag_of_a_student_skips_a_test_and_a_deleted_one_comes_back(config):
    assert config.Execute.skip_cells_with_tag != "skip-execution"
    assert config.OverwriteCells.add_missing_cells is True


def test_feedback_shows_neither_hidden_tests_nor_scripts(config):
    assert [step.rpartition(".")[2] for step in config.GenerateFeedback.preprocessors[:3]] == [
        "GetGrades",
        "ClearHiddenTests",
        "ShortTracebacks",
    ]
    assert config.HTMLExporter.sanitize_html is True


def test_kernels_are_reached_through_a_private_folder_from_anywhere(config):
    assert config.KernelManager.transport == "ipc"
    sockets = Path(config.KernelManager.ip).parent
    assert sockets.is_absolute()
    assert sockets.is_dir()
    assert sockets.stat().st_mode & 0o077 == 0, "nobody else may talk to a kernel"


def test_the_exchange_may_lie_elsewhere(root, tmp_path, monkeypatch):
    monkeypatch.setenv("FRUGAL_EXCHANGE", str(tmp_path / "shared"))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    shutil.copy(root / "nbgrader_config.py", tmp_path)
    config = PyFileConfigLoader("nbgrader_config.py", path=str(tmp_path)).load_config()
    assert config.Exchange.root == str(tmp_path / "shared")
    assert (tmp_path / "shared").is_dir()
