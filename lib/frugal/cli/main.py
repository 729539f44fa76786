"""``python -m frugal``: finds a command, imports it, and turns what goes wrong into one clear message.

Commands live one group to a file. ``COMMANDS`` names them without importing them, so that ``--help`` answers at once;
a command whose file is not there is not shown.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import click

import frugal
from frugal.core.errors import FrugalError


@dataclass(frozen=True)
class Command:
    """Where a command lives, and what ``--help`` says of it.

    target: ``module:attribute`` of a click command.
    help:   one line.
    """

    target: str
    help: str


COMMANDS: dict[str, Command] = {
    "doctor": Command("frugal.cli.doctor:doctor", "Say what this machine has and lacks, and what to do about it."),
    "data": Command("frugal.cli.data:data", "Draw the course's images, or find and fetch the real ones."),
    "train": Command("frugal.cli.train:train", "Train one of the small networks that ship with the course."),
    "coverage": Command("frugal.cli.coverage:coverage", "Show which part of the lecture is covered where."),
    "notebooks": Command("frugal.cli.notebooks:notebooks", "Build and execute the chapters from their sources."),
    "labs": Command("frugal.cli.labs:labs", "Build the labs, and verify that they mark fairly."),
    "check": Command("frugal.cli.labs:check", "Run a lab's visible checks on your notebook."),
    "grade": Command("frugal.cli.grade:grade", "Mark submitted labs."),
    "survey": Command("frugal.cli.survey:survey", "Rebuild and count the systems of the lecture's tables."),
    "bench": Command("frugal.cli.bench:bench", "Race our int8 kernels against the peers'."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and not before."""

    def __init__(self, *args: Any, registry: dict[str, Command], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.registry = registry

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, command in self.registry.items() if _exists(command)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        command = self.registry.get(name)
        if command is None or not _exists(command):
            return None
        module, _, attribute = command.target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the registry: reading their own help would import them all."""
        rows = [(name, self.registry[name].help) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _exists(command: Command) -> bool:
    return importlib.util.find_spec(command.target.partition(":")[0]) is not None


@click.group(cls=LazyGroup, registry=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(frugal.__version__, prog_name="frugal")
def cli() -> None:
    """frugal: efficient inference of deep networks, to learn and to use.

    Start with `python -m frugal doctor`.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code; what frugal refuses is told in one message, with exit code 2."""
    try:
        cli.main(args=arguments, prog_name="frugal")
    except FrugalError as error:
        click.echo(f"frugal: {error}", err=True)
        raise SystemExit(2) from None
