"""The verdict of a check: a table in a notebook, a few plain lines everywhere else.

    ✘ quantize: 2 of 6 cases fail                    ✔ quantize: 6 cases pass
      ✔ pass  one value                                 ▸ what was tested
      ✘ fail  ties go to the even code
              value [1]: got 3, expected 2 (1 step too high); 2 of 5 values differ
      ✘ fail  saturation

A word stands beside each sign, so that colour is never the only carrier. Only the first failing case is explained:
cases are written from small to large, and the smallest one is the easiest to think about.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

from frugal.core.errors import CheckFailed
from frugal.show.words import count

GREEN = "var(--jp-success-color0, #1b5e20)"
RED = "var(--jp-error-color0, #b3261e)"
GREY = "var(--jp-ui-font-color2, #5f6368)"


@dataclass(frozen=True)
class Row:
    """One case: its name, its status ("pass" or one of CheckFailed.STATUSES), and what to tell when it fails."""

    name: str
    status: str
    told: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.status == "pass"


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a check found.

    title:     what was checked, as a rule the name of the function.
    rows:      one per case, in the author's order: from small to large.
    digest:    names everything the answer returned; a catalogued wrong answer that returns the same has the same one.
    diagnosis: what is known about answers with this digest, in whole sentences.
    first_failing: "<case name>:<digest>" of the first failing case alone; empty where that is a property, or none.
    """

    title: str
    rows: tuple[Row, ...]
    digest: str
    diagnosis: tuple[str, ...] = ()
    first_failing: str = ""

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)

    @property
    def first_failure(self) -> Row | None:
        """The smallest failing case: the only one that is explained."""
        return next((row for row in self.rows if not row.passed), None)

    @property
    def status(self) -> str:
        """``pass``, or how the first failing case failed."""
        return self.first_failure.status if self.first_failure else "pass"

    @property
    def is_open(self) -> bool:
        """Nobody has answered yet: nothing is wrong, and one line says all there is to say."""
        return self.status == "not attempted"

    @property
    def headline(self) -> str:
        failed = sum(not row.passed for row in self.rows)
        if not failed:
            return f"{self.title}: {count(len(self.rows), 'case')} pass{'es' if len(self.rows) == 1 else ''}"
        if self.is_open:
            return f"{self.title}: not attempted yet"
        return f"{self.title}: {failed} of {count(len(self.rows), 'case')} fail{'s' if failed == 1 else ''}"

    def error(self, *, drawn: bool = False) -> CheckFailed:
        """The error that stops the cell: two or three lines, of which one is shown where the table was drawn."""
        assert self.first_failure is not None
        row = self.first_failure
        reason = list(row.told[:1]) if self.is_open else [f"{row.name}: {row.told[0]}"] if row.told else [row.name]
        return CheckFailed(
            "\n  ".join([self.headline, *reason, *self.diagnosis[:1]]),
            status=self.status,
            digest=self.digest,
            first_failing=self.first_failing,
            brief=self.headline if drawn else "",
        )

    def __repr__(self) -> str:
        lines = [self.headline]
        if self.is_open and self.first_failure:
            return "\n  ".join([*lines, *self.first_failure.told])
        for row in self.rows:
            lines.append(f"  {_sign(row)}  {row.name}")
            if row is self.first_failure:
                lines += [f"          {line}" for line in (*row.told, *self.diagnosis)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        if self.passed:
            return (
                f'<div class="frugal-check"><strong style="color:{GREEN}">✔ {html.escape(self.headline)}</strong>'
                f'<details style="color:{GREY}"><summary>what was tested</summary>{self._table()}</details></div>'
            )
        if self.is_open and self.first_failure:
            told = html.escape("; ".join(self.first_failure.told))
            return f'<div class="frugal-check"><strong>○ {html.escape(self.headline)}</strong>: {told}</div>'
        headline = f'<strong style="color:{RED}">✘ {html.escape(self.headline)}</strong>'
        return f'<div class="frugal-check">{headline}{self._table()}</div>'

    def _table(self) -> str:
        rows = "".join(self._table_row(row) for row in self.rows)
        label = html.escape(f"cases of {self.title}", quote=True)
        head = f'<tr><th scope="col" style="{_CELL}">verdict</th><th scope="col" style="{_CELL}">case</th></tr>'
        return f'<table aria-label="{label}" style="margin:4px 0"><thead>{head}</thead><tbody>{rows}</tbody></table>'

    def _table_row(self, row: Row) -> str:
        told = ""
        if row is self.first_failure:
            lines = [html.escape(line) for line in row.told]
            lines += [f"<strong>{html.escape(line)}</strong>" for line in self.diagnosis]
            told = "".join(f'<div style="{_TOLD}">{line}</div>' for line in lines)
        colour = GREEN if row.passed else GREY if row.status == "not attempted" else RED
        return (
            f'<tr><td style="{_CELL};color:{colour};white-space:nowrap">{_sign(row)}</td>'
            f'<td style="{_CELL}">{html.escape(row.name)}{told}</td></tr>'
        )


_CELL = "text-align:left;vertical-align:top"
_TOLD = f"padding:2px 0 2px 10px;border-left:3px solid {RED}"


def _sign(row: Row) -> str:
    return "✔ pass" if row.passed else "○ open" if row.status == "not attempted" else "✘ fail"
