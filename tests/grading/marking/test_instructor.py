"""Every command that INSTRUCTOR.md promises exists, with the options it shows."""

import importlib
import re

import pytest
from nbgrader.apps import NbGraderApp

from frugal.cli.main import COMMANDS, cli


@pytest.fixture(scope="module")
def code(root):
    """What the text shows as code, a command a line."""
    text = (root / "INSTRUCTOR.md").read_text()
    shown = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    return [" ".join(line.split()) for line in [*shown, *"\n".join(blocks).splitlines()]]


def test_every_command_of_the_library_exists_with_its_options(code):
    promised = [line for line in code if line.startswith("python -m frugal ")]
    assert len(promised) >= 6
    for line in promised:
        words = line.split("#")[0].split()[3:]
        command = cli.get_command(None, words[0])
        assert words[0] in COMMANDS, line
        if hasattr(command, "commands"):
            command = command.commands[words[1]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, line


def test_options_that_stand_alone_are_those_of_grade(code):
    module = importlib.import_module("frugal.cli.grade")
    options = {option for parameter in module.grade.params for option in parameter.opts}
    alone = {line.split()[0] for line in code if line.startswith("--")}
    assert alone
    assert alone <= options


def test_every_command_of_nbgrader_exists(code):
    promised = {line.split()[3] for line in code if line.startswith("python -m nbgrader ")}
    assert {"export", "release_feedback", "autograde", "generate_feedback"} <= promised
    assert promised <= set(NbGraderApp().subcommands)


def test_every_target_of_make_exists(code, root):
    targets = re.findall(r"^([a-z-]+):(?!=)", (root / "Makefile").read_text(), re.MULTILINE)
    promised = {line.split()[1] for line in code if line.startswith("make ")}
    assert promised
    assert promised <= set(targets)
