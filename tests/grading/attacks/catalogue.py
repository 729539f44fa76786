"""All attacks, by class."""

from __future__ import annotations

from collections import Counter

import answers
import browser
import comparison
import interpreter
import metadata
import native
import replies
import resources
from attack import Attack

ATTACKS: tuple[Attack, ...] = tuple(
    attack
    for module in (interpreter, comparison, replies, answers, metadata, resources, browser, native)
    for attack in module.ATTACKS
)
TWICE = [name for name, times in Counter((each.kind, each.id) for each in ATTACKS).items() if times > 1]
