"""Attack the judge with every attack of the catalogue, and count by class what got through.

    python benchmarks/attacks.py [--json FILE] [--kind CLASS] [--fast]

A submission to a released lab carries each attack; nothing that it does is worth a point. After each of them the judge
marks a solved lab: whoever comes next gets what they earned.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "grading" / "attacks"))

from attack import Attack, solved_path
from catalogue import ATTACKS
from proof import Outcome, launch, limits_of

from frugal.grading.errors import JudgeBroken
from frugal.grading.judge import Judge
from frugal.grading.lab import Lab
from frugal.measure.record import record, save

COLUMNS = ("attacks", "undeserved_marks", "leaks", "judge_crashes", "survivors", "next_affected")


class Court:
    """A judge of one lab; a broken one is replaced, so that the next attack meets a whole one."""

    def __init__(self, lab: str) -> None:
        self.lab = Lab.load(solved_path(lab))
        self.judge = Judge(self.lab, limits=limits_of(lab)).__enter__()

    def next_is_whole(self) -> bool:
        """Whether an honest submission gets everything; the judge is started anew where it does not."""
        try:
            whole = self.judge.grade(self.lab.path).points == self.lab.max_points
        except JudgeBroken:
            whole = False
        if not whole:
            self.judge.close()
            self.judge = Judge(self.lab, limits=limits_of(self.lab.name)).__enter__()
        return whole


def rows_of(attacks: Iterable[Attack]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Launch the attacks; return a row for each class and a sentence for each that got something."""
    courts: dict[str, Court] = {}
    rows: dict[str, dict[str, Any]] = {}
    got: list[str] = []
    for attack in attacks:
        if attack.lab not in courts:
            courts[attack.lab] = Court(attack.lab)
        court = courts[attack.lab]
        outcome = launch(court.judge, attack)
        whole = court.next_is_whole()
        row = rows.setdefault(attack.kind, {"kind": attack.kind, **dict.fromkeys(COLUMNS, 0), "seconds": 0.0})
        _add(row, outcome, whole)
        if outcome.wrong or not whole:
            got.append(
                f"{attack.kind}/{attack.id}: {'; '.join([*outcome.wrong, *([] if whole else ['the next one lost'])])}"
            )
    for court in courts.values():
        court.judge.close()
    return rows, got


def _add(row: dict[str, Any], outcome: Outcome, whole: bool) -> None:
    row["attacks"] += 1
    row["undeserved_marks"] += outcome.stolen
    row["leaks"] += bool(outcome.leaks or outcome.acts)
    row["judge_crashes"] += bool(outcome.crashed)
    row["survivors"] += outcome.survivors
    row["next_affected"] += not whole
    row["seconds"] = round(row["seconds"] + outcome.seconds, 2)


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
@click.option("--kind", multiple=True, help="only this class; may be given several times")
@click.option("--fast", is_flag=True, help="leave out attacks that wait for time limits")
def main(file: str | None, kind: tuple[str, ...], fast: bool) -> None:
    began = time.monotonic()
    wanted = [each for each in ATTACKS if (not kind or each.kind in kind) and not (fast and each.slow)]
    rows, got = rows_of(wanted)
    click.echo(f"{'class':<16}" + "".join(f"{name.replace('_', ' '):>18}" for name in COLUMNS) + f"{'seconds':>10}")
    for row in rows.values():
        click.echo(f"{row['kind']:<16}" + "".join(f"{row[name]:>18g}" for name in COLUMNS) + f"{row['seconds']:>10.1f}")
    for line in got:
        click.echo(line)
    total = {name: sum(row[name] for row in rows.values()) for name in COLUMNS}
    summary = {**total, "got_through": len(got), "seconds": round(time.monotonic() - began, 1)}
    click.echo(", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in summary.items()))
    if file:
        save(record(list(rows.values()), summary), file)
    sys.exit(bool(got))


if __name__ == "__main__":
    main()
