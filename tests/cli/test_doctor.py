"""The doctor says what is here, what is missing with its next step, and fails only for what the course needs."""

import json
from importlib import metadata

import pytest
from click.testing import CliRunner

from frugal.cli import doctor, environment, machine
from frugal.cli.finding import COURSE, Finding

GIB = 1 << 30


def is_told(finding, state, *words):
    """The finding is in this state, mentions these words, and names a next step unless all is well."""
    assert finding.state == state, finding
    for word in words:
        assert word in f"{finding.found} {finding.then}", finding
    assert (finding.then == "") == (state == "ok"), finding


# ---- the report -----------------------------------------------------------------------------------------------------


def test_a_machine_that_lacks_much_still_runs_the_course(monkeypatch, tmp_path):
    found = [Finding(COURSE, "Python", "ok", "3.12"), Finding(COURSE, "compiler", "missing", "none", "Get one.")]
    monkeypatch.setattr(doctor, "examine", lambda: found)
    run = CliRunner().invoke(doctor.doctor, ["--json", str(tmp_path / "new" / "report.json")])
    assert run.exit_code == 0, run.output
    assert run.output.splitlines()[-1] == "The course works on this machine. Missing: 1, each with its next step above."
    written = json.loads((tmp_path / "new" / "report.json").read_text())
    assert set(written) == {"machine", "versions", "date", "command", "rows", "summary"}
    assert written["summary"] == {"ok": 1, "missing": 1, "problem": 0}
    assert [row["name"] for row in written["rows"]] == ["Python", "compiler"]


def test_a_problem_fails_the_command(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: [Finding(COURSE, "torch", "problem", "broken", "Repair it.")])
    run = CliRunner().invoke(doctor.doctor, [])
    assert run.exit_code == 1
    assert "Repair it." in run.output


def test_every_line_fits_and_long_answers_stay_under_their_column():
    lines = list(
        doctor.report([Finding("A", "x", "ok", "word " * 60), Finding("A", "longer", "missing", "y", "z " * 90)])
    )
    assert max(map(len, lines)) <= doctor.WIDTH
    assert all(line.startswith(" " * 19) for line in lines[2:4])


def test_the_doctor_answers_every_question_on_this_machine():
    found = doctor.examine()
    names = [each.name for each in found]
    assert len(names) == len(set(names))
    assert all((each.then == "") == (each.state == "ok") for each in found), found
    assert {"Python", "torch", "compiler", "int8 instructions", "energy counters", "sandbox"} <= set(names)


# ---- software -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "state"), [("3.11.2", "problem"), ("3.11.7", "ok"), ("3.13.0", "ok")])
def test_python_is_held_against_the_oldest_that_works(version, state):
    is_told(environment.python(version), state, version)


def test_packages_within_their_bounds_are_counted():
    base, dev = environment.packages(
        ["click>=8", "pytest", "absent-package>=1; extra == 'book'", "pytest; extra == 'dev'"]
    )
    is_told(base, "ok", "2 of 2")
    is_told(dev, "ok", "1 of 1")


def test_a_package_out_of_bounds_and_one_that_is_absent_are_both_named():
    base, _ = environment.packages(["click<1", "a-package-that-is-not-here>=2"])
    is_told(
        base, "problem", f"click is {metadata.version('click')}, not <1", "a-package-that-is-not-here", "make setup"
    )


def test_a_missing_developer_tool_is_no_problem():
    _, dev = environment.packages(["a-package-that-is-not-here; extra == 'dev'"])
    is_told(dev, "missing", "a-package-that-is-not-here")


def test_an_environment_without_kernel_is_a_problem_and_one_with_it_is_not(tmp_path):
    is_told(environment.jupyter(tmp_path), "problem", "ipykernel install")
    spec = tmp_path / "share/jupyter/kernels/python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text("{}")
    is_told(environment.jupyter(tmp_path), "ok")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ('{"ServerApp": {"jpserver_extensions": {"nbgrader.server": true}}}', "ok"),
        ('{"ServerApp": {"jpserver_extensions": {"nbgrader.server": false}}}', "missing"),
        ("{ damaged", "missing"),
        ("[]", "missing"),
    ],
)
def test_nbgraders_extension_is_found_or_its_switch_is_named(tmp_path, text, state):
    extension = tmp_path / "share/jupyter/labextensions/@jupyter/nbgrader"
    switches = tmp_path / "etc/jupyter/jupyter_server_config.d"
    extension.mkdir(parents=True)
    switches.mkdir(parents=True)
    (extension / "package.json").write_text("{}")
    (switches / "nbgrader.json").write_text(text)
    is_told(environment.nbgrader(tmp_path), state)


def test_nbgrader_without_its_extension_is_told(tmp_path):
    is_told(environment.nbgrader(tmp_path), "missing", "make setup")


def test_the_course_is_counted_or_said_to_be_missing(tmp_path):
    is_told(environment.course(None), "missing", "clone")
    is_told(environment.course(tmp_path), "missing", "make notebooks labs")
    for name in ("course/4_q/4_1.ipynb", "course/4_q/.ipynb_checkpoints/4_1.ipynb", "labs/lab/lab.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    is_told(environment.course(tmp_path), "ok", "1 chapters and 1 labs")


def test_the_working_copy_is_found_from_the_library_and_not_elsewhere(root, tmp_path):
    assert environment.find_root(root / "lib/frugal/cli/x.py") == (root if (root / "course").is_dir() else None)
    assert environment.find_root(tmp_path / "site-packages/frugal/cli/x.py") is None


# ---- machine --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "state"), [(GIB, "missing"), (4 * GIB, "ok"), (64 * GIB, "ok")])
def test_memory_is_held_against_what_a_notebook_needs(total, state):
    is_told(machine.memory(total), state, "GiB")


@pytest.mark.parametrize(("free", "state"), [(GIB, "missing"), (2 * GIB, "ok")])
def test_free_disk_is_held_against_what_builds_need(tmp_path, free, state):
    is_told(machine.disk(tmp_path, free), state, "free")


def test_a_compiler_named_by_hand_is_not_replaced(monkeypatch):
    monkeypatch.setenv("CXX", "a-compiler-that-is-not-here")
    is_told(machine.compiler(), "missing", "CXX=a-compiler-that-is-not-here")


def test_a_machine_without_programs_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    is_told(machine.compiler(), "missing", "build-essential")
    is_told(machine.sandbox(), "missing", "bubblewrap")
    is_told(machine.browser(), "missing", "chromium")


def test_a_sandbox_that_does_not_start_is_told_with_its_reason(monkeypatch, tmp_path):
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    is_told(machine.sandbox(), "missing", "No permissions to create new namespace")


def test_real_data_is_found_where_frugal_data_says(monkeypatch, tmp_path):
    monkeypatch.delenv("FRUGAL_DATA", raising=False)
    is_told(machine.real_data(), "missing", "FRUGAL_DATA is not set")
    monkeypatch.setenv("FRUGAL_DATA", str(tmp_path))
    is_told(machine.real_data(), "missing", "test_batch.bin")
    (tmp_path / "cifar-10-batches-bin").mkdir()
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").touch()
    is_told(machine.real_data(), "ok", str(tmp_path))


def test_energy_counters_are_absent_locked_or_readable(tmp_path):
    is_told(machine.energy(tmp_path), "missing", "none")
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.mkdir(parents=True)  # a folder cannot be read as a number, not even by root
    is_told(machine.energy(tmp_path), "missing", "not readable")
    counter.rmdir()
    counter.write_text("123456\n")
    is_told(machine.energy(tmp_path), "ok")


def test_the_exchange_folder_is_the_courses_own_or_the_one_that_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("FRUGAL_EXCHANGE", raising=False)
    is_told(machine.exchange(tmp_path), "ok", "grading", "made on first use")
    assert list(tmp_path.iterdir()) == []  # the doctor looks and changes nothing
    monkeypatch.setenv("FRUGAL_EXCHANGE", str(tmp_path))
    assert machine.exchange(None).found == str(tmp_path)
    (tmp_path / "a file").touch()
    monkeypatch.setenv("FRUGAL_EXCHANGE", str(tmp_path / "a file" / "exchange"))
    is_told(machine.exchange(None), "missing", "FRUGAL_EXCHANGE", "a file")


def test_the_exchange_folder_is_the_one_of_nbgraders_configuration(root):
    lines = (root / "nbgrader_config.py").read_text()
    assert 'os.environ.get("FRUGAL_EXCHANGE", os.path.join(GRADING, "exchange"))' in lines
    assert 'GRADING = os.path.join(ROOT, "grading")' in lines


# ---- the native library ---------------------------------------------------------------------------------------------


def test_the_native_paths_that_run_here_are_named(monkeypatch):
    from frugal.kernels import available, native

    if native.library() is None:
        pytest.skip(native.status())
    monkeypatch.delenv("FRUGAL_ISA", raising=False)
    is_told(machine.native_library(), "ok", *available()[:-1])


def test_a_forced_path_is_told_and_one_that_is_not_there_is_a_problem(monkeypatch):
    from frugal.kernels import native

    if native.library() is None:
        pytest.skip(native.status())
    monkeypatch.setenv("FRUGAL_ISA", "scalar")
    is_told(machine.native_library(), "ok", "FRUGAL_ISA asks for scalar")
    monkeypatch.setenv("FRUGAL_ISA", "mmx")
    is_told(machine.native_library(), "problem", "mmx", "Unset FRUGAL_ISA", "reference")
