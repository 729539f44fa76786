"""Percent text: what a source may say, and the sentence that answers what it may not."""

import pytest

from frugal.authoring.percent import read_cells, read_source
from frugal.core.errors import SourceError

SOLUTION = '# %% solution="clip" lift="tinylib.bounds:clip"\n\n'
WRITTEN = '# %% solution="clip"\ndef clip(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n\n'


def test_words_code_and_graded_cells_keep_their_names_order_and_lines():
    text = (
        '# %% [markdown] id="why"\n# # Why?\n#\n# Because.\n\n'
        '# %% id="plot" tags="nbval-ignore-output, slow" alt="a staircase"\n# %matplotlib inline\nx = 1\n\n'
        + WRITTEN
        + '# %% test="clip" points=1\nassert clip(1) == 1\n\n'
        + '# %% hidden="clip" points=2.5\nassert clip(2) == 2\n'
    )
    words, plot, solution, test, hidden = read_cells(text)
    assert (words.role, words.id, words.source, words.line) == ("markdown", "why", "# Why?\n\nBecause.", 1)
    assert (plot.tags, plot.alt) == (("nbval-ignore-output", "slow"), "a staircase")
    assert plot.source == "%matplotlib inline\nx = 1", "a magic is a comment in the source and a magic in the notebook"
    assert (solution.id, solution.exercise, solution.line) == ("clip", "clip", 10)
    assert (test.id, test.points) == ("test-clip", 1.0)
    assert (hidden.id, hidden.points) == ("hidden-clip", 2.5)


def test_reading_a_source_twice_gives_the_same_cells(tiny):
    source = tiny.tree.lab_source("lab_1_1_clip")
    assert read_source(source) == read_source(source)


@pytest.mark.parametrize(
    "text, found, allowed",
    [
        ('# %% id="a"\n1\n# %% id="a"\n2\n', r"source:3.*id 'a' again", "line 1 has it"),
        ('# %% id="a" colour="red"\n1\n', r"source:1.*unknown option 'colour'", "id, tags, alt"),
        ('# %% [markdown] id="a" points=1\n# x\n', "unknown option 'points'", "id, tags"),
        ("# %%\n1\n", r"source:1.*without an id", 'id="a-name"'),
        ('# %% id="a b"\n1\n', "id='a b'", "A-Z"),
        ('# %% id="a" id="b"\n1\n', "'id' is given twice", ""),
        ("# %% measure\n1\n", "found 'measure'", 'name="value"'),
        ('# %% id="a\n1\n', "cannot read", 'name="value"'),
        ('# %% [raw] id="a"\nx\n', r"\[raw\]", "markdown"),
        ('# %% id="a"\n\n# %% id="b"\n1\n', r"source:1.*empty plain cell", "take it out"),
        ('# %% [markdown] id="a"\n# x\nx = 1\n', r"source:3: found 'x = 1' in a markdown cell", "begins with #"),
        ("x = 1\n", "no cell", "# %%"),
        ('import torch\n# %% id="a"\n1\n', "text before the first cell: 'import torch'", "begin with # %%"),
        ('# %% id="a"\nx = """\n# %% id="b"\n"""\n', "2 lines begin with # %% but jupytext sees 1", "inside a string"),
        ('# %% test="clip" points=1\nassert 1\n', "test='clip' without a cell solution='clip'", "solutions are: none"),
        ('# %% hidden="clip" points=1\nassert 1\n', "hidden='clip' without", "none"),
        (SOLUTION + '# %% test="clip"\nassert 1\n', r"source:3.*test cell without points", "points=1"),
        (SOLUTION + '# %% test="clip" points=0\nassert 1\n', "points='0'", "above 0"),
        (SOLUTION + '# %% test="clip" points=many\nassert 1\n', "points='many'", "above 0"),
        (SOLUTION + '# %% test="clip" points=nan\nassert 1\n', "points='nan'", "above 0"),
        (SOLUTION + SOLUTION, r"source:3.*id 'clip' again", "line 1"),
        ('# %% test="clip" points=1\nassert 1\n' + SOLUTION, "above its solution", "move it below"),
        ('# %% solution="clip" test="clip" points=1\n1\n', "solution and test", "one of"),
        ('# %% solution="a-b"\n1\n', "solution='a-b'", "Python name"),
        ('# %% solution="clip" id="x" lift="a:b"\n', "unknown option 'id'", "solution, lift, mask, allow, tags"),
        ('# %% solution="clip" lift="a:b" mask="torch.round"\n', "mask='torch.round'", "package.module:function"),
        ('# %% [markdown] solution="clip"\n# x\n', "solution= on a markdown cell", "only code"),
        ('# %% solution="clip"\ndef clip(x):\n    return x\n', r"found markers \[\]", "### BEGIN SOLUTION"),
        (WRITTEN.replace("BEGIN", "START"), "END SOLUTION", "### BEGIN SOLUTION"),
        ('# %% id="a"\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n', "in a plain cell", "the builder writes"),
        (SOLUTION + '# %% hidden="clip" points=1\n### BEGIN HIDDEN TESTS\n1\n', "in a hidden cell", "builder writes"),
        (SOLUTION + '# %% test="clip" points=1\n%timeit clip(1)\n', "not Python", "without magics"),
    ],
)
def test_a_source_that_cannot_be_built_is_refused_with_place_finding_and_rule(text, found, allowed):
    with pytest.raises(SourceError, match=found) as refused:
        read_cells(text)
    assert allowed in str(refused.value)


def test_a_heading_keeps_its_sign_however_short_the_file():
    assert read_cells('# %% [markdown] id="why"\n# # Why?\n')[0].source == "# Why?"
    assert read_cells('# %% [markdown] id="why"\n#no space\n#\n# a # b\n')[0].source == "no space\n\na # b"


def test_a_solution_says_what_its_answer_must_not_find_and_what_it_may_call():
    (cell,) = read_cells('# %% solution="clip" lift="a:clip" mask="torch:clamp, a.b:C.cut" allow="a:low"\n')
    assert cell.mask == ("torch:clamp", "a.b:C.cut")
    assert cell.allow == ("a:low",)
