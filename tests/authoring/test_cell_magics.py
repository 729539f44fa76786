"""A cell of another language: commented in the source, bare in the notebook, left out where there is no IPython."""

from frugal.authoring.percent import read_cells
from frugal.authoring.trial import run_cell

SOURCE = """# %% id="scratch"
# %%cpp scratch
# void scratch(int n) {
#   n += 1;
#
# }

# %% id="after"
# %%time
x = 1
"""


def test_the_body_of_a_magic_loses_its_comment_signs():
    scratch, after = read_cells(SOURCE)
    assert scratch.source == "%%cpp scratch\nvoid scratch(int n) {\n  n += 1;\n\n}"
    assert after.source == "%%time\nx = 1", "a body that is Python stays as it is"


def test_a_trial_leaves_such_a_cell_out():
    names: dict = {}
    assert run_cell("%%cpp scratch\nvoid f() {}", names, "scratch")["passed"]
    assert names == {}
