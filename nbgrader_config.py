"""nbgrader's settings for this course, for the command line, JupyterLab and Formgrader alike.

nbgrader publishes what lies beside a source notebook, so its source folder is grading/source, which
`make labs` fills with built labs and nothing else. Everything below grading/ is made, and kept out of git.
"""

import atexit
import os
import shutil
import sys
import tempfile

from frugal.authoring.nbgrader_steps import feedback_steps, release_steps

c = get_config()

ROOT = os.path.dirname(os.path.abspath(__file__))
GRADING = os.path.join(ROOT, "grading")
EXCHANGE = os.environ.get("FRUGAL_EXCHANGE", os.path.join(GRADING, "exchange"))  # on a shared server: mode 777

# nbgrader starts `alembic` from PATH to make its database, and wants these folders to be there.
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
os.makedirs(EXCHANGE, exist_ok=True)

# ---- where things lie ------------------------------------------------------------------------------------------

c.CourseDirectory.root = ROOT
c.CourseDirectory.course_id = "frugal"
c.CourseDirectory.source_directory = "grading/source"
c.CourseDirectory.release_directory = "labs"
c.CourseDirectory.submitted_directory = "grading/submitted"
c.CourseDirectory.autograded_directory = "grading/autograded"
c.CourseDirectory.feedback_directory = "grading/feedback"
c.CourseDirectory.solution_directory = "grading/solution"
c.CourseDirectory.source_with_tests_directory = "grading/source_with_tests"
c.CourseDirectory.db_url = "sqlite:///" + os.path.join(GRADING, "gradebook.db")
c.Exchange.root = EXCHANGE

# ---- releasing: the same bytes as `make labs` writes --------------------------------------------------------------

c.GenerateAssignment.preprocessors = release_steps()  # stubs say which exercise is open
c.GenerateAssignment.force = True  # labs/ is committed; without this nbgrader skips it and stores no tests

# ---- marking: by the judge, not by a kernel that runs the student's code and the tests together ----------------------

c.Autograde.sanitize_preprocessors = [
    "frugal.grading.preprocessor.TrustedCells",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "frugal.grading.preprocessor.JudgeExecute",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# ---- running, for Validate: that is the student's own kernel ---------------------------------------------------------

c.Execute.timeout = 120  # seconds for one cell
c.Execute.skip_cells_with_tag = (
    "no-such-tag"  # otherwise a student's tag skips a test cell, which then counts as passed
)
if os.name == "posix":  # sockets in a private folder: no open port, and no warning about one
    SOCKETS = tempfile.mkdtemp(prefix="frugal-")
    atexit.register(shutil.rmtree, SOCKETS, ignore_errors=True)
    c.KernelManager.transport = "ipc"
    c.KernelManager.ip = os.path.join(SOCKETS, "k")  # a relative path is not found from a submission's folder
c.OverwriteCells.add_missing_cells = True  # a deleted test cell comes back and counts

# ---- feedback: no hidden tests, no scripts of a student ------------------------------------------------------------

c.GenerateFeedback.preprocessors = feedback_steps()
c.GenerateFeedback.exporter_class = "frugal.grading.feedback.FeedbackExporter"  # needs no network, runs no script
c.HTMLExporter.sanitize_html = True
c.CsvExportPlugin.to = os.path.join(GRADING, "grades.csv")
