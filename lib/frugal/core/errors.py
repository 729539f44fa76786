"""The errors that a caller of frugal may want to catch.

    Exception
      FrugalError                         anything that frugal itself refuses
        CheckpointMismatch (ValueError)   weights that do not fit the network
        CourseFileMissing  (FileNotFoundError)   a file of the course is not where it should be
        MissingData        (FileNotFoundError)   a dataset is not on this machine
        SourceError        (ValueError)   a notebook source that cannot be built
        UnsupportedModel   (ValueError)   a network that a pass cannot handle; it is left unchanged
      CheckFailed (AssertionError)        an answer that a lab's check refuses

Bad arguments raise plain ``ValueError`` and ``TypeError``.
"""

from __future__ import annotations


class FrugalError(Exception):
    """Anything that frugal refuses with a reason; the command line prints it without a traceback."""


class CheckpointMismatch(FrugalError, ValueError):
    """Stored weights do not fit the network that they are loaded into."""


class CourseFileMissing(FrugalError, FileNotFoundError):
    """A notebook, a source or a table of the course is not where it should be."""


class MissingData(FrugalError, FileNotFoundError):
    """A dataset is not on this machine; the message says how to get it."""


class SourceError(FrugalError, ValueError):
    """A notebook source cannot be built; the message names file, line and what is allowed."""


class UnsupportedModel(FrugalError, ValueError):
    """A pass cannot handle this network; the message names the module, and the network is unchanged."""


class CheckFailed(AssertionError):
    """An answer that a lab's check refuses, told in a few lines rather than in a traceback.

    status: one of STATUSES, what kind of failure it is.
    digest: a short hash of everything the answer returned, by which a catalogued wrong answer is recognised.
    first_failing: the first failing case and the hash of what the answer returned there; less to go by, still a hint.
    brief: the one line to show where a table above it tells the rest; by default the whole message is shown.
    """

    STATUSES = (
        "not attempted",
        "wrong type or shape",
        "wrong value",
        "changed its input",
        "crashed",
        "too slow",
    )

    def __init__(
        self,
        message: str,
        *,
        status: str = "wrong value",
        digest: str = "",
        first_failing: str = "",
        brief: str = "",
    ) -> None:
        if status not in self.STATUSES:
            raise ValueError(f"status must be one of {', '.join(self.STATUSES)}; got {status!r}")
        super().__init__(message)
        self.status = status
        self.digest = digest
        self.first_failing = first_failing
        self.brief = brief

    def _render_traceback_(self) -> list[str]:
        """Give IPython the message alone: the frames below it are the library's, not the student's."""
        return (self.brief or str(self)).splitlines()
