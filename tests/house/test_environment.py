"""pyproject.toml is the one place of bounds; environment.yml and constraints.txt stay in step with it."""

import re
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

CARD = ("jupyterlab", "nbgrader", "torch", "torchvision", "ipywidgets", "matplotlib", "pytest", "nbval")


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def conda(root):
    return yaml.safe_load((root / "environment.yml").read_text())


@pytest.fixture(scope="module")
def pins(root):
    """The pins of constraints.txt as (requirement, hashes): several where the version depends on the Python."""
    text = (root / "constraints.txt").read_text().replace("\\\n", " ")
    rows = [re.split(r"\s+--hash=", line.strip()) for line in text.splitlines() if line.strip()]
    return [(Requirement(pin), hashes) for pin, *hashes in rows]


def declared(project, *extras):
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return {canonicalize_name(each.name): each for each in map(Requirement, lines)}


def test_the_packages_of_the_card_are_base_dependencies(project):
    assert set(CARD) <= set(declared(project))


def test_every_dependency_has_a_lower_bound_and_packages_with_an_api_an_upper_one(project):
    for each in declared(project, "book", "dev").values():
        operators = {clause.operator for clause in each.specifier}
        assert ">=" in operators, f"{each} has no lower bound"
        assert "<" in operators or each.name == "packaging", f"{each} has no upper bound"


def test_installed_versions_lie_within_the_bounds(project):
    for name, each in declared(project).items():
        assert each.specifier.contains(metadata.version(name), prereleases=True), f"{name} {metadata.version(name)}"


def test_conda_gets_a_python_that_the_project_supports(project, conda):
    (python,) = [line for line in conda["dependencies"] if isinstance(line, str) and line.startswith("python=")]
    assert SpecifierSet(project["requires-python"]).contains(python.removeprefix("python=") + ".99")


def test_conda_gets_pip_a_compiler_and_the_project_with_extras_that_exist(project, conda):
    names = [line for line in conda["dependencies"] if isinstance(line, str)]
    assert {"pip", "cxx-compiler"} <= set(names)
    (pip,) = [line["pip"] for line in conda["dependencies"] if isinstance(line, dict)]
    (installs,) = pip
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", installs).group(1).split(",")
    assert set(extras) <= set(project["optional-dependencies"])


def test_conda_states_no_version_besides_pythons(conda):
    names = [line for line in conda["dependencies"] if isinstance(line, str)]
    assert [line for line in names if "=" in line or "<" in line or ">" in line] == ["python=3.12"]


def test_constraints_name_no_address(root):
    text = (root / "constraints.txt").read_text()
    assert not re.search(r"://|@ |--(extra-)?index|--find-links|file:", text)


def test_constraints_pin_one_version_with_hashes_for_every_line(pins):
    assert len(pins) > 100
    for pin, hashes in pins:
        assert [clause.operator for clause in pin.specifier] == ["=="], f"{pin} is not pinned"
        assert hashes, f"{pin} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), f"{pin} has a bad hash"


def test_constraints_pin_every_declared_package_within_its_bounds(project, pins):
    """A change of pyproject.toml without `make lock` fails here."""
    pinned = {}
    for pin, _ in pins:
        pinned.setdefault(canonicalize_name(pin.name), []).append(next(iter(pin.specifier)).version)
    for name, each in declared(project, "book", "dev").items():
        assert name in pinned, f"{name} is declared but not pinned; run `make lock`"
        for version in pinned[name]:
            assert each.specifier.contains(Version(version), prereleases=True), f"{name} {version} against {each}"


@pytest.mark.parametrize("python", ["3.11.7", "3.12.1", "3.13.0", "3.14.0"])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_constraints_pin_each_package_at_most_once_for_each_python_and_system(pins, python, system):
    where = dict(default_environment())
    where |= {"python_full_version": python, "python_version": ".".join(python.split(".")[:2]), "sys_platform": system}
    where |= {"platform_system": {"linux": "Linux", "darwin": "Darwin"}[system]}
    names = [pin.name for pin, _ in pins if pin.marker is None or pin.marker.evaluate(where)]
    assert len(names) == len(set(names))
    assert set(CARD) <= set(names)
