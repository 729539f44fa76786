"""The command line finds its commands, shows those that exist, and tells what goes wrong in one message."""

import click
import pytest
from click.testing import CliRunner

from frugal.cli import main
from frugal.core.errors import FrugalError, MissingData


def test_help_lists_the_commands_whose_file_exists(root):
    listing = CliRunner().invoke(main.cli, ["--help"]).output
    for name, command in main.COMMANDS.items():
        file = root / "lib" / (command.target.partition(":")[0].replace(".", "/") + ".py")
        assert (f"\n  {name} " in listing) == file.is_file(), name


@pytest.mark.parametrize("name", main.cli.list_commands(click.Context(main.cli)))
def test_every_listed_command_can_be_imported_and_explains_itself(name):
    run = CliRunner().invoke(main.cli, [name, "--help"])
    assert run.exit_code == 0, run.output
    assert run.output.startswith(f"Usage: cli {name}")


def test_a_command_without_a_file_is_unknown():
    group = main.LazyGroup("cli", registry={"gone": main.Command("frugal.cli.gone_away:gone", "Nothing.")})
    assert group.list_commands(click.Context(group)) == []
    run = CliRunner().invoke(group, ["gone"])
    assert run.exit_code == 2
    assert "No such command 'gone'" in run.output


@pytest.mark.parametrize("error", [FrugalError("the scale is -1"), MissingData("no pictures in here; draw some")])
def test_what_frugal_refuses_is_one_message_and_exit_code_2(monkeypatch, capsys, error):
    def refuse():
        raise error

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: click.Command("bad", callback=refuse))
    with pytest.raises(SystemExit) as exit_:
        main.main(["bad"])
    out, err = capsys.readouterr()
    assert exit_.value.code == 2
    assert (out, err) == ("", f"frugal: {error}\n")


def test_other_errors_are_not_hidden(monkeypatch):
    def crash():
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: click.Command("bad", callback=crash))
    with pytest.raises(ZeroDivisionError):
        main.main(["bad"])


def test_version_is_the_packages(capsys):
    import frugal

    with pytest.raises(SystemExit) as exit_:
        main.main(["--version"])
    assert exit_.value.code == 0
    assert frugal.__version__ in capsys.readouterr().out
