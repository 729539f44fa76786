"""``%%cpp NAME``: a cell of C++, compiled as it is run.

    %%cpp doubled
    void doubled(const uint8_t* x, int32_t* y, int n) {
      for (int i = 0; i < n; ++i) y[i] = 2 * x[i];
    }

Afterwards ``doubled()`` is the text, as an exercise returns it, and ``doubled.kernel`` takes tensors.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from frugal.show.cpp import compiler
from frugal.show.cpp.errors import CompileFailed, CppError
from frugal.show.cpp.kernel import Kernel, kernel


class Cell:
    """A cell of C++: called, it returns its text; ``kernel`` is what came of it."""

    def __init__(self, name: str, text: str, compiled: Kernel | None = None) -> None:
        self.__name__ = self.__qualname__ = name
        self.text, self._compiled = text, compiled

    def __call__(self) -> str:
        return self.text

    @property
    def kernel(self) -> Kernel:
        if self._compiled is None:
            raise CppError(compiler.status())
        return self._compiled


def cpp(line: str, cell: str) -> Cell | None:
    """Compile a cell and say what came of it; None where it does not compile.

    Without a compiler the text is kept all the same: it can be handed in, and tried elsewhere.
    """
    name = line.strip()
    if not name.isidentifier():
        raise CppError(f"write the name of a kernel behind %%cpp, such as %%cpp gemm, got {line!r}")
    if not compiler.available():
        print(compiler.status())
        return Cell(name, cell)
    began = time.perf_counter()
    try:
        compiled = kernel(cell, _signature(name, cell), first_line=2, where=" of the cell")
    except CompileFailed as error:
        print(error)
        return None
    print(f"{compiled.signature}\ncompiled in {time.perf_counter() - began:.1f} s")
    return Cell(name, cell, compiled)


def load(shell: Any = None) -> None:
    """Teach the notebook ``%%cpp``; nothing happens where there is no notebook."""
    shell = shell or _shell()
    if shell is None:
        return

    def run(line: str, cell: str) -> None:
        found = cpp(line, cell)
        if found is not None:
            shell.user_ns[found.__name__] = found

    shell.register_magic_function(run, magic_kind="cell", magic_name="cpp")


def _shell() -> Any:
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    find: Callable[[], Any] = get_ipython
    return find()


def _signature(name: str, text: str) -> str:
    """The declaration of ``name`` as it stands in the text."""
    found = re.search(rf"\bvoid\s+{name}\s*\([^)]*\)", text)
    if not found:
        raise CompileFailed(f"this cell defines no function `void {name}(...)`, which %%cpp {name} asks for")
    return found[0]
