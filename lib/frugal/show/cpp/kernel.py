"""A kernel: C++ text and its signature, compiled, called on tensors.

    add = kernel("void add(const float* x, float* y, int n) { for (int i = 0; i < n; ++i) y[i] += x[i]; }",
                 "void add(const float* x, float* y, int n)")
    add(torch.ones(3), torch.zeros(3), 3)      →  tensor([1., 1., 1.])

The compiler counts lines as the student does: the text's own, or those of the cell that the text stands in.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from frugal.show.cpp import compiler
from frugal.show.cpp.child import Child
from frugal.show.cpp.errors import CompileFailed
from frugal.show.cpp.prototype import Prototype, prototype

PRELUDE = "#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n"
MOST_ERRORS = 3


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel.

    signature: its name and parameters.
    library:   the file.
    """

    signature: Prototype
    library: Path

    def __call__(self, *arguments: Any, limit_s: float | None = None) -> Tensor | tuple[Tensor, ...]:
        """Run it once in a process of its own.

        Args:
            arguments: a tensor for each pointer, a number for each other parameter. What the kernel writes to is
                copied before; the tensor that is passed keeps its values.

        Returns:
            What it wrote: one tensor, or several in the order of the parameters.

        Raises:
            KernelFailed: it crashed, looped, or touched memory that is not its own.
        """
        with self.start([arguments], limit_s=limit_s) as child:
            child.run()
            outputs = child.outputs()
        return outputs[0] if len(outputs) == 1 else outputs

    def start(self, calls: Sequence[Sequence[Any]], *, limit_s: float | None = None) -> Child:
        """Start a process that holds the arguments of one or more calls; for timing."""
        wanted = len(self.signature.parameters)
        if not calls or any(len(call) != wanted for call in calls):
            raise TypeError(f"{self.signature.name} takes {wanted} arguments: {self.signature}")
        return Child(self.library, self.signature, calls, limit_s=limit_s)


def kernel(text: str, signature: str, *, vectorise: bool = False, first_line: int = 1, where: str = "") -> Kernel:
    """Compile C++ text that defines the function of ``signature``.

    Args:
        text: C++; <stdint.h>, <stddef.h> and <string.h> are included already.
        signature: such as ``"void f(const uint8_t* x, int32_t* y, int n)"``.
        vectorise: whether the compiler may make vector code out of plain loops.
        first_line: what the first line is called in messages.
        where: said behind the number of a line, such as ``" of the cell"``.

    Raises:
        NoCompiler: there is none.
        CompileFailed: with the student's own line numbers.
    """
    declared = prototype(signature)
    if not isinstance(text, str):
        raise TypeError(f"{declared.name} must be C++ as text, a str, got {type(text).__name__}")
    whole = f'{PRELUDE}#line 1 "{compiler.YOURS}"\n{text}\n#line 1 "{compiler.OURS}"\n{declared.caller}'
    try:
        return Kernel(declared, compiler.build(whole, compiler.kernel_flags(vectorise)))
    except CompileFailed as error:
        raise CompileFailed(_told(str(error), text, declared, first_line, where)) from None


def of(function: Callable[[], str], signature: str, *, vectorise: bool = False) -> Kernel:
    """Compile what a function returns; lines are counted as in the function's cell, where the text stands there."""
    text = function()
    offset = _line_in_cell(function, text) if isinstance(text, str) else None
    if offset is None:
        return kernel(text, signature, vectorise=vectorise)
    return kernel(text, signature, vectorise=vectorise, first_line=offset, where=" of the cell")


def _told(stderr: str, text: str, declared: Prototype, first_line: int, where: str) -> str:
    """The first errors, each with its line and what stands there."""
    lines, found = text.splitlines(), compiler.complaints(stderr)
    yours = [(line, words) for part, line, words in found if part == compiler.YOURS and 1 <= line <= len(lines)]
    if not yours:
        words = found[0][2] if found else stderr.splitlines()[0]
        return f"this does not compile ({words}). It must define exactly\n    {declared}"
    told = [
        f"line {first_line + line - 1}{where or ' of the C++'}: {words}\n    {lines[line - 1].strip()}"
        for line, words in yours[:MOST_ERRORS]
    ]
    more = f"\nand {len(yours) - MOST_ERRORS} more" if len(yours) > MOST_ERRORS else ""
    return "\n".join(told) + more


def _line_in_cell(function: Callable, text: str) -> int | None:
    """Which line of a function's cell the first line of ``text`` is; None where the text does not stand there."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    cell = [line.rstrip("\n") for line in linecache.getlines(code.co_filename)]
    inner = text.splitlines()[1:-1]  # the first and the last share their lines with quotation marks
    if not any(line.strip() for line in inner):
        return None
    for at in range(code.co_firstlineno - 1, len(cell) - len(inner) + 1):
        if cell[at : at + len(inner)] == inner:
            return at  # the text's first line stands before, and lines are counted from 1
    return None
