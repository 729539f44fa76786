"""``python -m frugal doctor``: what this machine has and lacks, in words, with the next step.

Exit code 0 unless something that the course needs is broken; then 1. What is merely missing does not change it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import click

import frugal
from frugal.cli import environment, machine
from frugal.cli.finding import Finding
from frugal.measure import record

WIDTH = 100


@click.command()
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the report here too.")
def doctor(json_file: Path | None) -> None:
    """Say what this machine has and lacks, and what to do about it."""
    found = examine()
    click.echo(f"frugal {frugal.__version__} on {record.machine()['processor']}, {machine.cores()} cores\n")
    for line in report(found):
        click.echo(line)
    counts = {state: sum(each.state == state for each in found) for state in ("ok", "missing", "problem")}
    if json_file:
        rows = [asdict(each) for each in found]
        record.save(record.record(rows, counts, command="python -m frugal doctor --json FILE"), json_file)
    click.echo(verdict(counts["missing"], counts["problem"]))
    if counts["problem"]:
        raise SystemExit(1)


def examine() -> list[Finding]:
    """Ask every question, in the order of the report."""
    root = environment.find_root()
    needed, *tools = environment.packages()
    return [
        environment.python(),
        needed,
        environment.torch(),
        environment.jupyter(),
        environment.nbgrader(),
        machine.memory(),
        machine.disk(root or Path.cwd()),
        environment.course(root),
        machine.compiler(),
        machine.native_library(),
        machine.instructions(),
        machine.real_data(),
        machine.energy(),
        machine.sandbox(),
        machine.exchange(root),
        machine.browser(),
        *tools,
    ]


def report(found: Sequence[Finding]) -> Iterator[str]:
    """Lay the findings out as lines: a heading for each group, a row for each finding, its next step below it.

    >>> print(*report([Finding("Speed", "compiler", "missing", "no C++ compiler", "Install one.")]), sep="\\n")
    Speed
      missing  compiler  no C++ compiler
                         Install one.
    <BLANKLINE>
    """
    width = max(len(each.name) for each in found)
    margin = " " * (2 + len("problem") + 2 + width + 2)
    for group, members in groupby(found, key=lambda each: each.group):
        yield group
        for each in members:
            first = f"  {each.state:7}  {each.name:{width}}  "
            yield from textwrap.wrap(each.found, WIDTH, initial_indent=first, subsequent_indent=margin)
            if each.then:
                yield from textwrap.wrap(each.then, WIDTH, initial_indent=margin, subsequent_indent=margin)
        yield ""


def verdict(missing: int, problems: int) -> str:
    """Close the report in one sentence.

    >>> verdict(0, 0)
    'Everything is here.'
    >>> verdict(2, 0)
    'The course works on this machine. Missing: 2, each with its next step above.'
    """
    if problems:
        return f"The course does not work yet. To repair: {problems}, each with its next step above."
    if missing:
        return f"The course works on this machine. Missing: {missing}, each with its next step above."
    return "Everything is here."
