"""What can go wrong with grading itself, as opposed to with an answer."""

from __future__ import annotations

from frugal.core.errors import FrugalError


class SandboxMissing(FrugalError):
    """This machine cannot confine a student's code; the message says what is missing and how to go on."""


class JudgeBroken(FrugalError):
    """The judge could not be started, or died: a fault of ours or of the machine, never of a submission."""


class WireError(ValueError):
    """A value that may not cross between student and judge, or bytes that are no message."""


class Foul(BaseException):
    """A call that did not come back as a call does: late, dead, or with an answer that is no answer.

    Not an Exception: neither a test's ``except Exception`` nor ``pytest.raises(Exception)`` may take it for a refusal.
    """
