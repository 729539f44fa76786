"""frugal.authoring.coverage: a slip planted in a copy of lecture.toml is found, and named."""

import json
import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from frugal.authoring.coverage import read_coverage
from frugal.authoring.lecture_form import KINDS, NEEDS, NUMBERS, TABLE_ROWS
from frugal.authoring.pointers import Pointers
from frugal.cli.coverage import coverage
from frugal.core.errors import CourseFileMissing, SourceError


class Copy:
    """A course of its own: the real lecture.toml, library and tests, with an empty file for every notebook and lab."""

    def __init__(self, root, folder):
        self.root = folder
        self.file = folder / "course" / "lecture.toml"
        self.file.parent.mkdir()
        self.file.write_text((root / "course" / "lecture.toml").read_text("utf-8"), "utf-8")
        for name in ("ERRATA.md", "pyproject.toml"):
            (folder / name).write_text((root / name).read_text("utf-8"), "utf-8")
        for name in ("lib", "tests"):
            (folder / name).symlink_to(root / name)
        for pointer, path in re.findall(r'^(notebook|lab) = "(.*)"', self.file.read_text("utf-8"), re.MULTILINE):
            path = folder / path if pointer == "notebook" else folder / path / "lab.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self.before = read_coverage(folder).problems

    def plant(self, old, new):
        """Replace one place of lecture.toml."""
        text = self.file.read_text("utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        self.file.write_text(text.replace(old, new), "utf-8")

    def plant_in(self, head, old, new):
        """Replace the first ``old`` after ``head``."""
        before, found, after = self.file.read_text("utf-8").partition(head)
        assert found
        assert old in after
        self.file.write_text(before + found + after.replace(old, new, 1), "utf-8")

    def problems(self):
        """What is wrong now and was not before the planting."""
        return tuple(problem for problem in read_coverage(self.root).problems if problem not in self.before)


@pytest.fixture
def copy(root, tmp_path):
    return Copy(root, tmp_path)


SLIDE_20 = "[[slide]]\nnumber = 20\n"
EQUATION_1 = "[[equation]]\nnumber = 1\n"
REFERENCE_19 = "[[reference]]\nnumber = 19\n"


def test_every_item_of_the_lecture_is_counted_once(copy):
    found = read_coverage(copy.root)
    counts = {kind: sum(item.kind == kind for item in found.items) for kind in KINDS}
    assert counts == {**{kind: len(numbers) for kind, numbers in NUMBERS.items()}, "table": sum(TABLE_ROWS.values())}
    assert found.done + found.planned == len(found.items) == 38 + 6 + 70 + 42


# ---- pointers ----


@pytest.mark.parametrize(
    "head, old, new, problem",
    [
        (SLIDE_20, "4_1_the_operator", "4_1_the_oprator", "does not exist"),
        (SLIDE_20, "affine:quantize", "affine:quantise", "has no top-level 'quantise'"),
        (SLIDE_20, "frugal.quant.affine:", "frugal.quant.afine:", "no file lib/frugal/quant/afine.py"),
        (SLIDE_20, "labs/lab_4_1_affine", "labs/lab_4_1_linear", "holds no notebook"),
        (SLIDE_20, "tests/quant/test_affine.py", "tests/quant/test_linear.py", "does not exist"),
        (
            SLIDE_20,
            "tests/quant/test_affine.py",
            "tests/quant/test_affine.py::test_nothing",
            "no top-level 'test_nothing'",
        ),
        (SLIDE_20, "labs/lab_4_1_affine", "../labs", "is not of the form 'labs/lab_4_1_affine'"),
        ("[[slide]]\nnumber = 30\n", "course/5_pruning/5_3_similarity.ipynb", "5_3", "is not of the form"),
    ],
)
def test_a_pointer_that_leads_nowhere_is_named_with_its_entry(copy, head, old, new, problem):
    copy.plant_in(head, old, new)
    (found,) = copy.problems()
    assert found.startswith("slide 20: " if head is SLIDE_20 else "slide 30: planned.notebook")
    assert problem in found


def test_a_row_takes_its_tables_pointer_and_its_name_is_told(copy):
    copy.plant_in('key = "formats"', "test_the_x_factors_follow", "test_the_y_factors_follow")
    found = copy.problems()
    assert len(found) == TABLE_ROWS["formats"]
    assert "table 'formats', row 'a100_int8': test" in "\n".join(found)


def test_a_row_with_its_own_pointer_does_not_take_its_tables(copy):
    copy.plant_in('key = "appliances"', "test_power_times_hours", "test_power_times_days")
    assert not any("'total'" in problem for problem in copy.problems())
    assert len(copy.problems()) == TABLE_ROWS["appliances"] - 1


def test_a_name_is_found_without_importing_its_module(tmp_path):
    package = tmp_path / "lib" / "frugal" / "part"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from frugal.part.core import borrowed\n")
    (package / "core.py").write_text(
        "raise SystemExit('imported')\nfirst, second = 1, 2\nthird: int = 3\nclass Box:\n    def lid(self): ...\n"
        "try:\n    import fast as quick\nexcept ImportError:\n    quick = None\nasync def later(): ...\n"
    )
    follow = Pointers(tmp_path)
    for name in ("first", "second", "third", "Box", "quick", "later"):
        assert follow.why_dead("module", f"frugal.part.core:{name}") == ""
    assert follow.why_dead("module", "frugal.part") == ""
    assert follow.why_dead("module", "frugal.part:borrowed") == ""
    assert "no top-level 'lid'" in follow.why_dead("module", "frugal.part.core:lid")
    assert "no file lib/frugal/part/other.py" in follow.why_dead("module", "frugal.part.other")


def test_a_test_inside_a_class_is_found_and_a_broken_file_is_told(tmp_path):
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_box.py").write_text("class TestBox:\n    def test_lid(self): ...\n")
    (folder / "test_broken.py").write_text("def test_lid(:\n")
    follow = Pointers(tmp_path)
    assert follow.why_dead("test", "tests/test_box.py::TestBox::test_lid") == ""
    assert "'TestBox' in tests/test_box.py has no 'test_key'" in follow.why_dead(
        "test", "tests/test_box.py::TestBox::test_key"
    )
    assert follow.why_dead("test", "tests/test_broken.py::test_lid").startswith(
        "cannot be read: tests/test_broken.py line 1"
    )


# ---- done and planned ----


def item(copy, kind, key):
    return next(item for item in read_coverage(copy.root).items if (item.kind, item.key) == (kind, key))


def test_an_item_is_done_when_all_that_it_needs_stands(copy):
    assert item(copy, "equation", "1").done
    assert item(copy, "slide", "1").done
    assert not item(copy, "slide", "23").done


def test_one_planned_pointer_keeps_an_item_planned(copy):
    copy.plant_in(EQUATION_1, "lab = ", "planned.lab = ")
    assert copy.problems() == ()
    assert not item(copy, "equation", "1").done
    assert item(copy, "equation", "1").lacks == ("lab",)


def test_a_pointer_that_leads_nowhere_breaks_its_item(copy):
    copy.plant_in(EQUATION_1, "labs/lab_4_1_affine", "labs/lab_4_1_lost")
    assert item(copy, "equation", "1").state == "broken"
    assert item(copy, "equation", "1").dead == ("labs/lab_4_1_lost",)


def test_what_is_planned_and_already_there_is_noted(copy):
    copy.plant_in(EQUATION_1, "lab = ", "planned.lab = ")
    assert "labs/lab_4_1_affine exists now, yet is planned by equation 1" in read_coverage(copy.root).notes


@pytest.mark.parametrize("pointer", NEEDS["equation"])
def test_a_needed_pointer_that_is_neither_there_nor_planned_is_told(copy, pointer):
    copy.plant_in(EQUATION_1, f"\n{pointer} = ", f"\ncopy_of_{pointer} = ")
    assert any(problem.startswith(f"equation 1 needs a {pointer}: ") for problem in copy.problems())


# ---- items missing, doubled, strange ----


@pytest.mark.parametrize(
    "old, new, problems",
    [
        (SLIDE_20, "[[slide]]\nnumber = 21\n", ["slide 20 is missing", "slide 21 stands 2 times"]),
        (
            SLIDE_20,
            "[[slide]]\nnumber = 39\n",
            ["slide 20 is missing", "slide 39 is not in the lecture: it has 1 to 38"],
        ),
        (EQUATION_1, "[[equation]]\nnumber = 2\n", ["equation 1 is missing", "equation 2 stands 2 times"]),
        (REFERENCE_19, "[[reference]]\nnumber = 18\n", ["reference [18] stands 2 times", "reference [19] is missing"]),
        (
            'key = "devices"\n',
            'key = "gadgets"\n',
            ["table 'devices' is missing", "table 'gadgets' is not in the lecture"],
        ),
        ('key = "vitpose_h"\n', 'key = "vitpose_b"\n', ["table 'pose' has row 'vitpose_b' 2 times"]),
    ],
)
def test_an_item_missing_or_twice_is_told(copy, old, new, problems):
    copy.plant(old, new)
    found = copy.problems()
    assert all(any(line.startswith(problem) for line in found) for problem in problems)


def test_a_row_too_few_is_told(copy):
    text = copy.file.read_text("utf-8")
    copy.file.write_text(re.sub(r'\[\[table\.row\]\]\nkey = "kettle"\n.*\n', "", text), "utf-8")
    assert copy.problems() == ("table 'appliances' has 16 rows; the lecture prints 17",)


@pytest.mark.parametrize(
    "old, new, problem",
    [
        (SLIDE_20, SLIDE_20 + 'notbook = "x"\n', "slide 20 has unknown key 'notbook'; known are cites, errata, frame"),
        (SLIDE_20, SLIDE_20 + 'status = "done"\n', "slide 20 has unknown key 'status'"),
        (SLIDE_20, SLIDE_20 + 'planned.page = "x"\n', "slide 20 has unknown key 'planned.page'; known are lab, module"),
        (SLIDE_20, SLIDE_20 + 'planned = "4_4"\n', "slide 20 has planned = '4_4'; it must be a table"),
        (SLIDE_20, SLIDE_20 + "cites = [43]\n", "slide 20 cites [43]; the bibliography goes from 1 to 42"),
        (SLIDE_20, SLIDE_20 + 'cites = ["19"]\n', "slide 20 has cites = ['19']; it must be a list of whole numbers"),
        (
            EQUATION_1,
            EQUATION_1.replace("1", '"1"'),
            "equation number 1 of the file has number = '1'; it must be a whole",
        ),
        (
            EQUATION_1 + "slide = 20",
            EQUATION_1 + "slide = 99",
            "equation 1 lies on slide 99; the slides go from 1 to 38",
        ),
        ('title = "The zero-point"\n', "", "slide 21 has no 'title'"),
        ('"Fridge", "150W"', '"Fridge"', "table 'appliances', row 'fridge' has 4 cells for 5 columns"),
        ('errata = ["pruning-condition"]', 'errata = ["lost"]', "slide 32: erratum 'lost' has no anchor in ERRATA.md"),
        ("[[slide]]\nnumber = 38\n", "[[slyde]]\nnumber = 38\n", "unknown key 'slyde' at the top; known are slide,"),
    ],
)
def test_a_wrong_key_or_value_is_told_with_its_entry(copy, old, new, problem):
    copy.plant(old, new)
    assert any(line.startswith(problem) for line in copy.problems()), copy.problems()


@pytest.mark.parametrize(
    "text", ["slide = 3\n", "slide = [1, 2]\n", "[slide]\nnumber = 1\n", '[[table]]\nkey = "ptq"\nrow = 3\n', ""]
)
def test_a_file_of_another_shape_is_told_and_does_not_crash(copy, text):
    copy.file.write_text(text)
    assert copy.problems()


def test_a_file_that_is_not_toml_gives_its_line(copy):
    copy.file.write_text("[[slide]]\nnumber 1\n")
    with pytest.raises(SourceError, match=r"lecture\.toml is not valid TOML: .*line 2"):
        read_coverage(copy.root)


def test_a_course_without_lecture_toml_says_how_to_get_it_back(tmp_path):
    with pytest.raises(CourseFileMissing, match=r"lecture\.toml is missing; restore it"):
        read_coverage(tmp_path)


# ---- the command ----


def run(folder, monkeypatch, *arguments):
    monkeypatch.chdir(folder)
    return CliRunner().invoke(coverage, arguments)


def test_the_last_line_counts_done_and_planned(copy, monkeypatch):
    result = run(copy.root / "course" / "4_quantization", monkeypatch)
    found = read_coverage(copy.root)
    assert result.exit_code == bool(found.problems), result.output
    assert result.stdout.splitlines()[-1] == f"{found.done} done, {found.planned} planned"


@pytest.mark.parametrize("kind", KINDS)
def test_kind_shows_and_counts_that_kind_alone(copy, monkeypatch, kind):
    result = run(copy.root, monkeypatch, "--kind", kind)
    done, planned = map(int, re.fullmatch(r"(\d+) done, (\d+) planned", result.stdout.splitlines()[-1]).groups())
    assert done + planned == (sum(TABLE_ROWS.values()) if kind == "table" else len(NUMBERS[kind]))
    assert len(result.stdout.splitlines()) == done + planned + 3


def test_a_problem_goes_to_stderr_and_the_exit_code_is_not_zero(copy, monkeypatch):
    copy.plant_in(SLIDE_20, "4_1_the_operator", "4_1_lost")
    result = run(copy.root, monkeypatch, "--kind", "reference")
    assert result.exit_code == 1
    assert "course/lecture.toml: slide 20: notebook" in result.stderr
    assert re.fullmatch(r"\d+ done, \d+ planned", result.stdout.splitlines()[-1])


def test_json_holds_every_row_and_the_summary(copy, monkeypatch, tmp_path):
    target = tmp_path / "out" / "coverage.json"
    result = run(copy.root, monkeypatch, "--json", str(target))
    written = json.loads(target.read_text("utf-8"))
    assert set(written) == {"machine", "versions", "date", "command", "rows", "summary"}
    assert len(written["rows"]) == 38 + 6 + 70 + 42
    assert result.stdout.splitlines()[-1] == "{done} done, {planned} planned".format(**written["summary"])


def test_a_file_without_items_fails_with_its_problems_and_writes_no_json(copy, monkeypatch, tmp_path):
    copy.file.write_text("")
    result = run(copy.root, monkeypatch, "--json", str(tmp_path / "coverage.json"))
    assert result.exit_code == 1
    assert "slide 1 is missing" in result.stderr
    assert not (tmp_path / "coverage.json").exists()


def test_the_command_does_not_start_torch(copy, root):
    code = "import sys, frugal.cli.coverage; assert 'torch' not in sys.modules, 'torch was imported'"
    environment = {**os.environ, "PYTHONPATH": str(root / "lib")}
    subprocess.run([sys.executable, "-c", code], cwd=copy.root, env=environment, check=True)
