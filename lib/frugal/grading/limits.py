"""How much a submission may use: one place for every limit that the judge sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one submission.

    call_seconds:       one call of a student's function, and one cell of theirs.
    test_seconds:       one test cell, its calls included.
    submission_seconds: everything; what is not judged by then counts as failed.
    start_seconds:      until a warm process has imported everything.
    memory_bytes:       private memory of a student's process, and of the referee who looks at what it returns.
    scratch_bytes:      files in its only writable folder, which is memory as well.
    processes:          processes and threads of a student.
    frame_bytes:        one message between student and judge.
    frame_depth, frame_nodes: how deep and how wide a value may be nested.
    notebook_bytes:     a submitted file.
    respawns:           how often a student's process is started again after it hung or died.
    """

    call_seconds: float = 10.0
    test_seconds: float = 60.0
    submission_seconds: float = 300.0
    start_seconds: float = 60.0
    memory_bytes: int = 3 << 30
    scratch_bytes: int = 64 << 20
    processes: int = 64
    frame_bytes: int = 64 << 20
    frame_depth: int = 32
    frame_nodes: int = 200_000
    notebook_bytes: int = 20 << 20
    respawns: int = 8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0 or (value == 0 and name != "respawns"):
                raise ValueError(f"{name} must be above 0, got {value}")
