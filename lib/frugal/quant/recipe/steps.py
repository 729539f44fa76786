"""Steps: how a recipe names what it uses. A name from a table, and options by keyword.

    "adaround"                                   a name alone
    step("adaround", steps=400, rows=20_000)     with options
    {"adaround": {"steps": 400, "rows": 20000}}  the same in JSON

A table is a dict: name -> function or entry. What is not in it is refused with what is; so is an option that the
function does not have.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """One line of a recipe.

    name:    a key of its table.
    options: keyword arguments; what is left out keeps the function's default.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _settled(dict(self.options)))

    def __str__(self) -> str:
        words = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"{self.name}({words})" if words else self.name

    def to_json(self) -> Any:
        return {self.name: dict(self.options)} if self.options else self.name


def _settled(value: Any) -> Any:
    """Make lists tuples, all the way down: JSON knows no tuples, and a recipe must come back equal."""
    if isinstance(value, Mapping):
        return {key: _settled(each) for key, each in value.items()}
    return tuple(_settled(each) for each in value) if isinstance(value, (list, tuple)) else value


def step(name: str, **options: Any) -> Step:
    """Write a step with options.

    >>> str(step("adaround", steps=400))
    'adaround(steps=400)'
    """
    return Step(name, options)


def as_step(value: Any) -> Step:
    """Take a name, a step, or what ``Step.to_json`` gave."""
    if isinstance(value, Step):
        return value
    if isinstance(value, str):
        return Step(value)
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, options),) = value.items()
        if isinstance(name, str) and isinstance(options, Mapping):
            return Step(name, dict(options))
    raise ValueError(f'a step is a name, step(name, ...) or {{"name": {{option: value}}}}; got {value!r}')


def as_steps(values: Any) -> tuple[Step, ...]:
    """The same for a list; a single name counts as a list of one."""
    if isinstance(values, (str, Step, Mapping)):
        values = (values,)
    if not isinstance(values, Iterable):
        raise ValueError(f"a list of steps is wanted, got {values!r}")
    return tuple(as_step(value) for value in values)


def check_step(
    table: Mapping[str, Any], chosen: Step, slot: str, function: Callable[[Any], Callable[..., Any]]
) -> None:
    """Refuse a name that is not in the table, and options that its function does not have.

    Args:
        table: name -> entry.
        chosen: the step.
        slot: the word for the table in messages.
        function: from an entry to what will be called with the options.
    """
    if chosen.name not in table:
        raise ValueError(f"{slot} {chosen.name!r} is unknown; there are {', '.join(table)}")
    options = keyword_options(function(table[chosen.name]))
    unknown = sorted(set(chosen.options) - set(options))
    if unknown:
        there_are = f"it has {', '.join(options)}" if options else "it has none"
        raise ValueError(f"{slot} {chosen.name!r} has no option {', '.join(unknown)}; {there_are}")


def keyword_options(function: Callable[..., Any]) -> tuple[str, ...]:
    """Name the options of a function: its keyword-only arguments that have a default."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty)
