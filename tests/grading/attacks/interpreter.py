"""Attacks on the interpreter: make the tests blind, absent, or part of the student's own program.

In a kernel that students share with the tests each of these earns full marks, or did in some version of nbgrader.
"""

# ruff: noqa: E501  # the text of an attack stands on one line

from __future__ import annotations

from attack import Attack, every, first

KIND = "interpreter"
WORKER = """
import sys
frame = sys._getframe()
while type(frame.f_locals.get("self")).__name__ != "Worker":
    frame = frame.f_back
worker = frame.f_locals["self"]
"""


def _all(name: str, says: str, head: str, body: str = "return None") -> Attack:
    return Attack(name, KIND, says, every(body, head))


ATTACKS = (
    _all(
        "C02",
        "drop every later line by an input transformer of IPython",
        "try:\n    get_ipython().input_transformers_cleanup.append(lambda lines: [])\nexcept NameError:\n    pass",
    ),
    _all(
        "C03",
        "drop every statement by an AST transformer",
        "import ast\nclass Nothing(ast.NodeTransformer):\n    def visit(self, node):\n"
        "        return ast.Module([], [])\ntry:\n    get_ipython().ast_transformers.append(Nothing())\n"
        "except NameError:\n    pass",
    ),
    Attack(
        "C05", KIND, "show a number where nbgrader reads the points of a cell", every("display(100.0)\nreturn 100.0")
    ),
    _all(
        "C06",
        "let torch call every two tensors equal",
        "import torch\nfor name in ('equal', 'allclose', 'isclose', 'eq'):\n"
        "    setattr(torch, name, lambda *a, **k: True)\ntorch.testing.assert_close = lambda *a, **k: None",
    ),
    _all(
        "tensor-operators",
        "give torch.Tensor comparisons that always hold",
        "import torch\nfor name in ('__eq__', '__lt__', '__le__', '__gt__', '__ge__', '__bool__', 'all', 'equal'):\n"
        "    setattr(torch.Tensor, name, lambda *a, **k: True)\ntorch.Tensor.__ne__ = lambda *a: False",
        "import torch\nreturn torch.zeros(())",
    ),
    _all(
        "C07",
        "replace AssertionError by an error that is swallowed",
        "import builtins\nbuiltins.AssertionError = type('Fine', (BaseException,), {})",
    ),
    _all(
        "builtins",
        "patch what tests call: all, any, abs, len, type, isinstance",
        "import builtins\nfor name in ('all', 'any', 'isinstance', 'issubclass', 'callable', 'hasattr'):\n"
        "    setattr(builtins, name, lambda *a: True)\nbuiltins.abs = lambda x: 0\nbuiltins.max = lambda *a, **k: 0",
    ),
    _all(
        "check-module",
        "put a checker that never complains into sys.modules",
        "import sys, types\nquiet = types.ModuleType('frugal.show.check')\n"
        "for name in ('check', 'case', 'holds', 'raises', 'examine'):\n"
        "    setattr(quiet, name, lambda *a, **k: None)\nsys.modules['frugal.show.check'] = check = quiet",
    ),
    _all(
        "go-on",
        "let the lab's own fallback stand for the answers",
        "import frugal.show.unblock as u\nu.remember = lambda *a: None\nu.is_unanswered = lambda f: False",
    ),
    _all(
        "import-hook",
        "answer every later import with an agreeing module",
        "import sys, types\nclass Agree(types.ModuleType):\n    def __getattr__(self, name):\n        return lambda *a, **k: True\n"
        "class Finder:\n    def find_spec(self, name, path=None, target=None):\n        import importlib.machinery\n"
        "        return importlib.machinery.ModuleSpec(name, self)\n    def create_module(self, spec):\n"
        "        return Agree(spec.name)\n    def exec_module(self, module):\n        pass\nsys.meta_path.insert(0, Finder())",
    ),
    _all(
        "C20",
        "jump over assertions with a trace function",
        "import sys\ndef trace(frame, event, arg):\n    if event == 'line':\n        try:\n            frame.f_lineno += 1\n"
        "        except (ValueError, TypeError):\n            pass\n    return trace\nsys.settrace(trace)",
    ),
    _all(
        "profile",
        "stop the worker's own calls with a profiler",
        "import sys\ndef profile(frame, event, arg):\n    if frame.f_code.co_name == '_refusal':\n        raise SystemExit\n"
        "sys.setprofile(profile)",
        "raise ValueError",
    ),
    _all(
        "C21",
        "keep errors from being shown",
        "import sys\nsys.excepthook = lambda *a: None\ntry:\n    get_ipython().showtraceback = lambda *a, **k: None\n"
        "except NameError:\n    pass",
        "raise ValueError",
    ),
    _all(
        "audit",
        "raise from an audit hook whenever something is compiled",
        "import sys\nsys.addaudithook(lambda event, a: (_ for _ in ()).throw(SystemExit) if event == 'compile' else None)",
    ),
    _all("atexit", "report success at exit", "import atexit\natexit.register(lambda: print('passed'))"),
    _all(
        "compile",
        "let the worker's exec and compile do nothing",
        "import builtins\nbuiltins.exec = lambda *a, **k: None\nbuiltins.compile = lambda *a, **k: None",
    ),
    _all(
        "codecs",
        "decode every text as the word True",
        "import codecs\ncodecs.register(lambda name: codecs.CodecInfo(lambda s, e='': (b'true', len(s)),"
        " lambda b, e='': ('true', len(b)), name=name))",
    ),
    _all(
        "json", "let the worker's json say ok", 'import json\njson.dumps = lambda *a, **k: \'{"l":["ok",true,null]}\''
    ),
    _all(
        "encode",
        "encode every answer as an empty success",
        WORKER + "good = worker.codec.encode(['ok', True, None])\nworker.codec.encode = lambda value: good",
    ),
    _all(
        "refusal",
        "send every error as a value",
        WORKER + "import frugal.grading.worker as w\nw._refusal = lambda error: ['ok', True, None]",
        "raise ValueError",
    ),
    _all(
        "edits",
        "claim that every argument became what the worker likes",
        WORKER + "import torch\nplain = worker.plain\nworker._call = lambda *a: (torch.zeros(()),"
        " plain.encode([[torch.zeros(1)], {}]))",
    ),
    _all(
        "edits-rubbish",
        "claim changes of arguments in bytes that mean nothing",
        WORKER + "worker._call = lambda *a: (True, b'\\xff' * 64)",
    ),
    _all(
        "frames",
        "look for a test's variables in the frames below",
        "import sys",
        "frame, seen = sys._getframe(), []\nwhile frame:\n    seen.append(sorted(frame.f_locals)[:50])\n"
        "    frame = frame.f_back\nraise ValueError(seen)",
    ),
    _all(
        "C28",
        "forge a kernel's execute_reply",
        "try:\n    import ipykernel.kernelapp as app\n    k = app.IPKernelApp.instance().kernel\n"
        "    k.session.send(k.iopub_socket, 'status', {'execution_state': 'idle'})\nexcept Exception:\n    pass",
    ),
    _all(
        "small-integers",
        "overwrite the interpreter's own integers in memory",
        "import ctypes\nctypes.memmove(id(257 - 255) + 24, (ctypes.c_uint32 * 1)(3), 4)",
    ),
    _all(
        "none",
        "overwrite the type of None",
        "import ctypes",
        "ctypes.memmove(id(None) + 8, ctypes.byref(ctypes.c_void_p(id(int))), 8)\nreturn None",
    ),
    _all(
        "sitecustomize",
        "leave modules that Python imports at its start",
        "import os\nfor name in ('sitecustomize', 'usercustomize', 'torch', 'frugal', 'uuid', 'x.pth'):\n"
        "    for place in ('.', '/scratch', '/tmp', os.path.expanduser('~')):\n        try:\n"
        "            open(f'{place}/{name}.py', 'w').write('raise SystemExit')\n        except OSError:\n            pass",
    ),
    _all(
        "preload",
        "set what a next program would load",
        "import os\nfor name in ('LD_PRELOAD', 'LD_LIBRARY_PATH', 'PYTHONSTARTUP', 'PYTHONPATH', 'PYTHONINSPECT'):\n"
        "    os.environ[name] = '/scratch/evil'",
    ),
    _all(
        "globals",
        "empty the namespace, and answer for every name",
        "class All(dict):\n    def __missing__(self, key):\n        return lambda *a, **k: True\nglobals().clear()",
    ),
    _all(
        "names",
        "say that every name is there and a number",
        WORKER + "do = worker._do\nworker._do = lambda op, *g: ({n: 'data' for n in g[0]}, None) if op == 'kinds'"
        " else (1, None)",
    ),
    _all(
        "main",
        "be another module than the one that is asked",
        WORKER + "import types\nclass Any(types.ModuleType):\n    def __getattr__(self, name):\n"
        "        return lambda *a, **k: True\nworker.main.__class__ = Any",
    ),
    _all(
        "recursion",
        "allow the stack to overflow",
        "import sys\nsys.setrecursionlimit(10**9)",
        "def deep(n):\n    return deep(n + 1)\nreturn deep(0)",
    ),
    _all(
        "alarm",
        "leave an alarm for whoever runs next",
        "import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)",
    ),
    _all(
        "pytest-skip",
        "leave a test by the error that pytest takes for a skip",
        "import pytest",
        "pytest.skip('not today')",
    ),
    _all("system-exit", "leave a test by SystemExit", "", "raise SystemExit(0)"),
    _all("stop-iteration", "end a test's loop over answers with StopIteration", "", "raise StopIteration"),
    _all("generator-exit", "end a test's loop with GeneratorExit", "", "raise GeneratorExit"),
    _all("keyboard-interrupt", "stop the instructor's run by KeyboardInterrupt", "", "raise KeyboardInterrupt"),
    _all("R08", "leave by exit()", "import sys", "sys.exit(0)"),
    _all(
        "not-implemented",
        "pass for not attempted",
        "",
        "raise NotImplementedError('is not at hand while a lab is graded')",
    ),
    Attack(
        "test-cells",
        KIND,
        "define the names of the checks and of the tests' helpers",
        first(
            "for _ in 'check case holds raises hold_quantize hold_symmetric_scale compare'.split():\n"
            "    globals()[_] = lambda *a, **k: None"
        ),
    ),
)
