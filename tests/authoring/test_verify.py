"""Verifying a lab: what keeps points that it should lose, and what loses points that it should keep, is found."""

import textwrap

import pytest

from frugal.authoring.catalogue import read_catalogue
from frugal.authoring.percent import read_cells
from frugal.authoring.verify import bound_name, lab_problems, verify
from frugal.core.errors import SourceError

NAME = "lab_1_1_clip"


def add(path, function: str) -> None:
    """Put one more answer into a catalogue."""
    path.write_text(path.read_text() + "\n\n" + textwrap.dedent(function))


def test_a_fair_lab_loses_every_wrong_answer_and_keeps_every_right_one(tiny):
    report = verify(tiny.tree, NAME)
    (row,) = report.rows
    assert (row.problems, report.problems, report.fair) == ((), (), True)
    assert (row.points, row.wrong, row.hidden_killed, row.hidden_rate) == (3.0, 8, 8, 1.0)
    assert (row.right, row.right_passed) == (3, 3)
    passes_the_visible_check = {"forgets_low", "high_only"}  # 5 clipped to [0, 3] is 3 for them too
    assert row.visible_killed == 8 - len(passes_the_visible_check)
    assert {note.split()[-2] for note in row.notes} == passes_the_visible_check


def test_a_survivor_a_false_kill_and_a_loop_are_found_in_one_run(tiny):
    add(
        tiny.tree.wrong(NAME, "clip"),
        '''
        def survives(x, low, high):
            """Your bounds hold for small numbers only."""
            return sorted([low, x, high])[1] if x < 100 else x
        ''',
    )
    add(
        tiny.tree.wrong(NAME, "clip"),
        '''
        def loops(x, low, high):
            """Your loop has no end."""
            while True:
                pass
        ''',
    )
    add(
        tiny.tree.wrong(NAME, "clip"),
        '''
        def dies(x, low, high):
            """Your answer ends the process."""
            import os
            os._exit(0)
        ''',
    )
    add(
        tiny.tree.right(NAME, "clip"),
        """
        def dislikes_negatives(x, low, high):
            assert x >= 0, "not mine"
            return sorted([low, x, high])[1]
        """,
    )
    add(
        tiny.tree.right(NAME, "clip"),
        """
        def warns(x, low, high):
            import sys
            print("careful", file=sys.stderr)
            return sorted([low, x, high])[1]
        """,
    )
    report = verify(tiny.tree, NAME, limit_s=2.0)
    (row,) = report.rows
    problems = " | ".join(row.problems)
    assert not report.fair
    assert "wrong answer survives keeps its points" in problems
    assert "right answer dislikes_negatives fails the hidden tests: AssertionError: not mine" in problems
    assert "right answer warns makes the visible check write to stderr" in problems
    assert "loops" not in problems, "an answer that never ends loses its points"
    assert "dies" not in problems, "an answer that ends the process loses its points"
    assert (row.wrong, row.hidden_killed, row.right_passed) == (11, 10, 3)


def test_too_few_answers_or_no_hidden_test_are_problems(tiny):
    text = tiny.tree.lab_source(NAME).read_text()
    tiny.lab(text[: text.index("# %% hidden")])
    tiny.tree.wrong(NAME, "clip").write_text('def zero(x, low, high):\n    """Zero."""\n    return 0\n')
    tiny.tree.right(NAME, "clip").unlink()
    (row,) = verify(tiny.tree, NAME).rows
    assert row.problems == (
        "has no hidden test",
        "has 1 wrong answers, it needs at least 8",
        "has 0 right answers, it needs at least 3",
    )


def test_hidden_tests_that_an_empty_submission_passes_are_found(tiny):
    text = tiny.tree.lab_source(NAME).read_text()
    start, end = text.index("for secret_value"), text.index('# %% id="after"')
    tiny.lab(text[:start] + "assert True\n\n" + text[end:])
    report = verify(tiny.tree, NAME)
    assert "untouched, the hidden cell passes" in report.rows[0].problems
    assert "untouched, cell hidden-clip passes, so an empty submission gets points" in report.problems


@pytest.mark.parametrize(
    "before, after, told",
    [
        ("== 3,", "== 4,", "solved, cell test-clip fails: AssertionError: 5 lies above 3"),
        ('print("the end")', "1 / 0", "solved, cell after fails: ZeroDivisionError"),
        ("assert clip(5, 0, 3) == 3", "assert clip(5, 0, 3) == 3\nclip(1, 0, 3)  #", "ends in a value"),
    ],
)
def test_a_lab_that_fails_solved_is_told(tiny, before, after, told):
    tiny.lab(tiny.tree.lab_source(NAME).read_text().replace(before, after))
    assert any(told in problem for problem in lab_problems(tiny.tree, NAME))


def test_a_lab_that_goes_on_with_the_library_gives_nothing_for_it(tiny):
    text = tiny.tree.lab_source(NAME).read_text()
    borrow = '# %% id="borrow"\nimport tinylib.bounds\nclip = tinylib.bounds.clip\n\n'
    tiny.lab(text.replace("# %% hidden", borrow + "# %% hidden"))
    assert lab_problems(tiny.tree, NAME) == ["untouched, cell hidden-clip passes, so an empty submission gets points"]


def test_answers_do_not_see_each_other_and_know_the_names_of_the_lab(tiny):
    text = tiny.tree.lab_source(NAME).read_text().replace('print("ready")', "seen = []")
    tiny.lab(text)
    add(
        tiny.tree.right(NAME, "clip"),
        """
        def counts(x, low, high):
            seen.append(x)
            assert len(seen) <= 6, "another answer's values are here"
            return sorted([low, x, high])[1]
        """,
    )
    assert verify(tiny.tree, NAME).fair


def test_a_wrong_answer_is_recognised_by_its_digest_and_the_first_of_two_alike_is_named(tiny):
    check = (
        "from frugal.core.digest import digest\nfrom frugal.core.errors import CheckFailed\n"
        "if clip(5, 0, 3) != 3:\n    raise CheckFailed('look at 5', digest=digest(clip(5, 0, 3)))\n"
    )
    tiny.lab(tiny.tree.lab_source(NAME).read_text().replace('assert clip(5, 0, 3) == 3, "5 lies above 3"', check))
    add(
        tiny.tree.wrong(NAME, "clip"),
        '''
        def never_clips_either(x, low, high):
            """Your value goes through.

            Compare it with
            high.
            """
            return x
        ''',
    )
    report = verify(tiny.tree, NAME)
    told = report.misconceptions["clip"].values()
    assert {"name": "never_clips", "says": "Your answer is that of never_clips."} in told
    assert not {"never_clips_either", "forgets_high"} & {entry["name"] for entry in told}
    assert (
        "never_clips_either looks like never_clips to the visible check, which names never_clips"
        in report.rows[0].notes
    )
    assert report.fair


def test_the_first_failing_case_is_a_key_where_all_who_fail_it_alike_are_told_the_same(tiny):
    check = (
        "from frugal.show.check import case, check\n"
        "check(clip, case('inside', 2, 0, 3, expect=2), case('above', 5, 0, 3, expect=3))\n"
    )
    tiny.lab(tiny.tree.lab_source(NAME).read_text().replace('assert clip(5, 0, 3) == 3, "5 lies above 3"', check))
    report = verify(tiny.tree, NAME)
    first = report.misconceptions["clip"]["first_failing"]
    named = {key.partition(":")[0]: set() for key in first}
    for key, entry in first.items():
        named[key.partition(":")[0]].add(entry["name"])
    # low_only and zero return 0 for 2, never_clips and forgets_high return 5 for 5: each pair has two sentences
    assert named == {"inside": {"high_only", "negates"}}
    assert verify(tiny.tree, NAME, workers=1).misconceptions == report.misconceptions


@pytest.mark.parametrize(
    "text, told",
    [
        ('def a(x):\n    """Yes."""\n\n\ndef a(y):\n    """Yes."""\n', "clip.py:5: found 'a' again"),
        ("def a(x):\n    return x\n", "clip.py:1: a says ''"),
        ('def a(x):\n    """no sentence"""\n', "sentence to the student"),
        ("def a(x)\n", "clip.py:1: is not Python"),
    ],
)
def test_a_catalogue_that_cannot_be_used_is_refused(tiny, text, told):
    tiny.answers("wrong", text)
    with pytest.raises(SourceError, match=told):
        verify(tiny.tree, NAME)


def test_private_helpers_and_imports_of_a_catalogue_are_no_answers(tiny):
    tiny.answers(
        "right", "from math import floor\n\n\ndef _help(x):\n    return x\n\n\ndef one(x):\n    return _help(x)\n"
    )
    assert [answer.name for answer in read_catalogue(tiny.tree.right(NAME, "clip"), told=False).answers] == ["one"]


def test_a_catalogue_without_an_exercise_is_told(tiny):
    tiny.write(f"solutions/wrong/{NAME}/klip.py", 'def a(x):\n    """Yes."""\n')
    assert f"solutions/wrong/{NAME}/klip.py belongs to no exercise" in lab_problems(tiny.tree, NAME)


def test_the_answer_is_bound_to_the_name_that_the_solution_defines():
    cell = '# %% solution="clipping"\ndef clip(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n'
    assert bound_name(read_cells(cell)[0]) == "clip"
    with pytest.raises(SourceError, match="defines no function"):
        bound_name(read_cells('# %% solution="n"\n### BEGIN SOLUTION\nn = 1\n### END SOLUTION\n')[0])
