"""nbgrader's own autograde marks with the judge, and no submission stops a class."""

import json
import logging
import re

import pytest
import small_lab
from nbgrader import api
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from traitlets.config import PyFileConfigLoader

from frugal.grading import confine, shown
from frugal.grading.gradebook import Book

LAB = small_lab.LAB
RIGHT = "def double(x):\n    return 2 * x"
pytestmark = [
    pytest.mark.skipif(bool(confine.missing()), reason="; ".join(confine.missing())),
    pytest.mark.filterwarnings("ignore"),  # nbgrader's own, about its database and the copied cell
]


def changed(book, **how):
    """Return the bytes of a submission after something happened to its cells."""
    if "copied" in how:
        book["cells"].insert(3, json.loads(json.dumps(book["cells"][2])))
    if "version" in how:
        book["cells"][3]["metadata"]["nbgrader"]["schema_version"] = how["version"]
    if "dropped" in how:
        book["cells"] = [cell for cell in book["cells"] if not cell["id"].endswith(how["dropped"])]
    return json.dumps(book).encode()


@pytest.fixture
def course(root, lab, tmp_path):
    """A course with the project's own settings, in a folder that is thrown away."""
    (tmp_path / "nbgrader_config.py").write_text((root / "nbgrader_config.py").read_text())
    config = PyFileConfigLoader("nbgrader_config.py", path=str(tmp_path)).load_config()
    with Book(config.CourseDirectory.db_url, LAB) as book:
        book.declare(*map(shown.read, lab))
    return NbGraderAPI(CourseDirectory(config=config), config=config), tmp_path / "grading", config


@pytest.mark.slow
def test_the_judge_marks_inside_nbgrader_and_no_submission_stops_the_class(course, lab, caplog):
    caplog.set_level(logging.CRITICAL)
    nbgrader, grading, config = course
    handed_in = {
        "ada": changed(small_lab.notebook(RIGHT)),
        "ben": changed(small_lab.notebook(RIGHT), copied=True),
        "cleo": changed(small_lab.notebook(RIGHT), version=99),
        "dan": changed(small_lab.notebook("get_ipython().input_transformers_cleanup.append(lambda lines: [])")),
        "eve": changed(small_lab.notebook("import os\nos._exit(0)")),
        "fay": changed(small_lab.notebook(RIGHT), dropped="double"),
        "gil": changed(small_lab.notebook("def double(x):\n    return 4")),
    }
    for name, content in handed_in.items():
        path = grading / "submitted" / name / LAB / f"{LAB}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    thief = grading / "submitted" / "hal" / LAB
    thief.mkdir(parents=True)
    (thief / f"{LAB}.ipynb").symlink_to(lab[0])

    nbgrader.autograde(LAB, "*")
    with api.Gradebook(config.CourseDirectory.db_url) as book:
        scores = {each.student.id: each.score for each in book.assignment_submissions(LAB)}
    right = dict.fromkeys(("ada", "ben", "cleo"), 3.0)
    assert scores == {**right, "dan": 0.0, "eve": 0.0, "fay": 0.0, "gil": 1.0, "hal": 0.0}
    assert not (grading / "autograded" / "hal").exists()

    nbgrader.generate_feedback(LAB, "gil")
    page = (grading / "feedback" / "gil" / LAB / f"{LAB}.html").read_text()
    assert re.search(r"Exercise 0\.1 Twice</h2>\s*<b class=\"some\">1 of 3", page)
    assert "default-src 'none'" in page
    assert "1234567" not in page
