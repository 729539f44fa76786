"""Attacks on the library: find an answer that somebody else has written, and hand it in.

What is found is used: where the worker held a body for one of these, the lab's tests would pass.
"""

# ruff: noqa: E501  # the text of an attack stands on one line

from __future__ import annotations

from pathlib import Path

from attack import LEAK, ROOT, Attack, every, first, released_path, solved_path

KIND = "free answers"
DELEGATES = {  # exercise: what of the library answers it
    "quantize": "frugal.quant.affine:quantize",
    "dequantize": "frugal.quant.affine:dequantize",
    "affine_qparams": "frugal.quant.affine:choose_qparams",
    "symmetric_scale": "frugal.quant.affine:choose_qparams",
}
SHAPE = """
def answer(name, find):
    def call(x, *rest, **more):
        if name == "symmetric_scale":
            return find("frugal.quant.affine", "choose_qparams")(x, *rest, symmetric=True, **more).scale
        if name == "affine_qparams":
            return find("frugal.quant.affine", "choose_qparams")(x, *rest, **more)
        return find("frugal.quant.affine", name)(x, *rest, **more)
    return call
"""


def _found(name: str, says: str, find: str) -> Attack:
    """Answer four exercises with what ``find(module, name)`` returns."""
    made = {each: f"{each} = answer({each!r}, find)" for each in DELEGATES}
    head = f"import torch\n{SHAPE}\n{find.strip()}\n\n"
    return Attack(name, KIND, says, {**made, "symmetric_scale": head + made["symmetric_scale"]})


def _reads(name: str, says: str, path: str) -> Attack:
    """Tell what stands in a file."""
    return Attack(
        name,
        KIND,
        says,
        every(
            f"if text:\n    raise ValueError({LEAK!r} + text)",
            f"""
try:
    text = open({path!r}, errors="replace").read()[:400]
except Exception as error:
    text = ""
""",
        ),
    )


ATTACKS = (
    _found(
        "call",
        "call the library",
        """
import importlib
def find(module, name):
    return getattr(importlib.import_module(module), name)
""",
    ),
    _found(
        "reload",
        "import the library anew",
        """
import importlib, sys
def find(module, name):
    for each in [each for each in sys.modules if each.startswith("frugal")]:
        del sys.modules[each]
    return getattr(importlib.import_module(module), name)
""",
    ),
    _found(
        "source",
        "compile the source that inspect finds",
        """
import inspect, importlib
def find(module, name):
    home = importlib.import_module(module)
    names = dict(vars(home))
    exec(inspect.getsource(home), names)
    return names[name]
""",
    ),
    _found(
        "linecache",
        "read the source through linecache",
        """
import linecache, importlib
def find(module, name):
    home = importlib.import_module(module)
    names = dict(vars(home))
    exec("".join(linecache.getlines(home.__file__)), names)
    return names[name]
""",
    ),
    _found(
        "pyc",
        "load byte code that lies beside the library",
        """
import glob, importlib, importlib.machinery, os
def find(module, name):
    home = importlib.import_module(module)
    folder, stem = os.path.split(home.__file__)
    for path in glob.glob(f"{folder}/**/*{stem[:-3]}*.pyc", recursive=True):
        loaded = importlib.machinery.SourcelessFileLoader("again", path).load_module()
        return getattr(loaded, name)
    raise NotImplementedError
""",
    ),
    _found(
        "path",
        "look for another copy of the library on every path",
        f"""
import glob, importlib.util, os, sys
def find(module, name):
    inside = module.replace(".", "/") + ".py"
    roots = [*sys.path, {str(ROOT)!r}, {str(ROOT / "lib")!r}, {str(ROOT / "build")!r}, sys.prefix, "/", "/usr"]
    for root in roots:
        for place in (root, f"{{root}}/lib", f"{{root}}/src", f"{{root}}/build/lib"):
            path = f"{{place}}/{{inside}}"
            if os.path.exists(path):
                spec = importlib.util.spec_from_file_location("again", path)
                home = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(home)
                try:
                    getattr(home, name)(torch.ones(1))
                except NotImplementedError:
                    continue
                except Exception:
                    return getattr(home, name)
                return getattr(home, name)
    raise NotImplementedError
""",
    ),
    _found(
        "zip",
        "import the library from a zip file",
        """
import glob, sys, zipimport
def find(module, name):
    for path in [*glob.glob("/**/frugal*.whl"), *glob.glob(f"{sys.prefix}/**/frugal*.whl", recursive=True)]:
        return getattr(zipimport.zipimporter(path).load_module(module), name)
    raise NotImplementedError
""",
    ),
    _found(
        "memory",
        "look for the functions among all objects",
        """
import gc, types
def find(module, name):
    for each in gc.get_objects():
        if isinstance(each, types.FunctionType) and each.__name__ == name and each.__module__.startswith("frugal"):
            if len(each.__code__.co_names) > 2:
                return each
    raise NotImplementedError
""",
    ),
    _found(
        "aliases",
        "call everything of the library that has such a name",
        """
import importlib, pkgutil, frugal
def find(module, name):
    def try_all(*args, **more):
        for each in pkgutil.walk_packages(frugal.__path__, "frugal."):
            try:
                home = importlib.import_module(each.name)
            except Exception:
                continue
            for key, value in vars(home).items():
                if callable(value) and (name in key or key in name):
                    try:
                        return value(*args, **more)
                    except Exception:
                        continue
        raise NotImplementedError
    return try_all
""",
    ),
    _found(
        "unblock",
        "ask the lab's way past an open exercise for its reference",
        """
import frugal.show.unblock as unblock
def find(module, name):
    def open_one(*args):
        raise NotImplementedError
    open_one.__name__ = name
    return unblock.go_on(open_one, f"{module}:{name}")
""",
    ),
    _found(
        "layers",
        "let the library's layers and observers do it",
        """
def find(module, name):
    from frugal.quant import fake, layers, observers
    from frugal.quant.affine import QParams
    if name == "choose_qparams":
        def choose(x, bits=8, symmetric=False):
            observer = observers.MinMax(bits, symmetric=symmetric)
            observer.observe(x)
            return observer.qparams()
        return choose
    return lambda x, q: fake.fake_quantize(x, q)
""",
    ),
    _found(
        "methods",
        "let a published method of the library do it",
        """
import importlib, pkgutil
import frugal.quant.methods as methods
def find(module, name):
    def call(*args, **more):
        for each in pkgutil.iter_modules(methods.__path__, methods.__name__ + "."):
            home = importlib.import_module(each.name)
            for value in vars(home).values():
                if callable(value) and getattr(value, "__module__", "").startswith("frugal.quant"):
                    try:
                        return value(*args, **more)
                    except Exception:
                        continue
        raise NotImplementedError
    return call
""",
    ),
    _found(
        "native",
        "call the library's native kernels",
        """
import glob, sys
def find(module, name):
    for path in glob.glob(f"{sys.prefix}/**/*frugal*.so", recursive=True):
        torch.ops.load_library(path)
    return getattr(torch.ops.frugal, name)
""",
    ),
    _found(
        "pickle",
        "take a pickled function of the library",
        """
import pickle
def find(module, name):
    return pickle.loads(f"c{module}\\n{name}\\n.".encode())
""",
    ),
    _found(
        "frozen",
        "take the body out of the function's constants and closures",
        """
import importlib, types
def find(module, name):
    function = getattr(importlib.import_module(module), name)
    for each in [*function.__code__.co_consts, *(c.cell_contents for c in function.__closure__ or ())]:
        if isinstance(each, types.CodeType):
            return types.FunctionType(each, function.__globals__)
    return getattr(function, "__wrapped__", function)
""",
    ),
    *(
        _reads(name, says, path)
        for name, says, path in (
            ("C08", "read the notebook that lies in the working folder", "lab_4_1_affine.ipynb"),
            ("C09", "read the solved lab", str(solved_path("lab_4_1_affine"))),
            ("C10", "read the gradebook", str(ROOT / "grading" / "gradebook.db")),
            (
                "wrong-catalogue",
                "read the catalogue of wrong answers",
                str(ROOT / "solutions/wrong/lab_4_1_affine/quantize.py"),
            ),
            (
                "right-catalogue",
                "read the catalogue of right answers",
                str(ROOT / "solutions/right/lab_4_1_affine/quantize.py"),
            ),
            ("solution-source", "read the source of the lab", str(ROOT / "solutions/src/lab_4_1_affine.py")),
            ("released", "read what others got", str(released_path("lab_4_1_affine"))),
            ("git", "read the history of the course", str(ROOT / ".git" / "HEAD")),
            ("C27", "read the instructor's home", str(Path.home() / ".bashrc")),
            ("shadow", "read the system's passwords", "/etc/shadow"),
            ("passwd", "read who has an account", "/etc/passwd"),
            ("environ", "read the environment of the first process", "/proc/1/environ"),
            ("cmdline", "read the command line of the first process", "/proc/1/cmdline"),
            ("maps", "read the memory map", "/proc/self/maps"),
            ("memory-file", "read the memory of the parent", "/proc/1/mem"),
            ("misconceptions", "read the digests of wrong answers", "misconceptions.json"),
            ("judge-source", "read how the judge works", str(ROOT / "lib/frugal/grading/judge.py")),
            ("referee-log", "read a log of the judge", "/tmp/referee.log"),
        )
    ),
    Attack(
        "C11",
        KIND,
        "write one's own grade",
        first(f"""
import sqlite3
db = sqlite3.connect({str(ROOT / "grading" / "gradebook.db")!r})
db.execute("update grade set manual_score = 100")
db.commit()
"""),
    ),
    Attack(
        "C18",
        KIND,
        "ask the environment whether this is the grading",
        every(
            f"if found:\n    raise ValueError({LEAK!r} + ' '.join(found))",
            """
import os
found = [f"{k}={v}" for k, v in os.environ.items() if "NBGRADER" in k or "SECRET" in k or "TOKEN" in k or "HOME" in k and v != "/scratch"]
""",
        ),
    ),
    Attack(
        "C19",
        KIND,
        "tell the source of the caller",
        every(
            f"import inspect, linecache\nframes = inspect.stack()[1:]\nsource = [''.join(linecache.getlines(f.filename)) for f in frames]\n"
            f"hits = [s for s in source if 'HIDDEN' in s or 'hold_' in s]\nraise ValueError({LEAK!r} + str(hits)[:400] if hits else 'no')"
        ),
    ),
    Attack(
        "C24",
        KIND,
        "look ahead in the history",
        first("found = [globals().get(n) for n in ('In', '_ih', '_i', '_oh')]\nassert any(found), 'nothing there'"),
    ),
    Attack(
        "walk",
        KIND,
        "list everything that can be reached and tell the notebooks",
        every(
            f"if found:\n    raise ValueError({LEAK!r} + ' '.join(found)[:400])",
            """
import os
found = []
for top in os.listdir("/"):
    if top in ("usr", "sys", "proc", "lib", "lib64"):
        continue
    for place, folders, files in os.walk(f"/{top}"):
        folders[:] = [each for each in folders if each not in ("site-packages", "torch", "python3.12", "python3.11", "python3.13")]
        found += [f"{place}/{each}" for each in files if each.endswith((".ipynb", ".db", ".jsonl"))]
""",
        ),
    ),
    Attack(
        "descriptors",
        KIND,
        "read from every open descriptor",
        every(
            f"if found:\n    raise ValueError({LEAK!r} + repr(found)[:400])",
            """
import os
found = []
for number in range(3, 256):
    try:
        found.append((number, os.pread(number, 100, 0)))
    except OSError:
        pass
""",
        ),
    ),
    Attack(
        "tell-inputs",
        KIND,
        "tell every input in the words of an error",
        every(f"raise ValueError({LEAK!r} + repr(args))"),
    ),
    Attack(
        "tell-inputs-type",
        KIND,
        "tell inputs in the name of an error's class",
        every(
            f"raise type({LEAK!r}.strip(':') + ''.join(c for c in repr(args) if c.isalnum())[:80], (ValueError,), {{}})('x')"
        ),
    ),
    Attack("tell-inputs-assert", KIND, "tell inputs in an assertion", every(f"assert False, {LEAK!r} + repr(args)")),
    Attack(
        "tell-inputs-line",
        KIND,
        "tell inputs in the line that is quoted",
        every(f"exec(compile('raise ValueError # ' + {LEAK!r} + repr(args).replace(chr(10), ' '), '<x>', 'exec'))"),
    ),
    Attack("tell-inputs-value", KIND, "tell inputs in the value that is shown", every(f"return {LEAK!r} + repr(args)")),
    Attack(
        "tell-inputs-object",
        KIND,
        "tell inputs in what cannot be sent",
        every(f"return type('X', (float,), {{'__module__': {LEAK!r} + repr(args)}})()"),
    ),
    Attack(
        "tell-inputs-handle",
        KIND,
        "tell inputs in the attributes of an object",
        every(
            "return Told(args)",
            f"class Told:\n    def __init__(self, args):\n        self.told = {LEAK!r} + repr(args)\n"
            "    def __getattr__(self, name):\n        raise KeyError(self.__dict__.get('told'))",
        ),
    ),
    Attack(
        "C33",
        KIND,
        "hard-code the visible checks",
        {
            "symmetric_scale": "import torch\nknown = {2: 0.02, 6: 2.0}\ndef symmetric_scale(x, num_bits=8):\n"
            "    if num_bits == 4:\n        return torch.tensor(2.0)\n    return torch.tensor(0.02 if x.any() else 1.0)"
        },
        own=True,
    ),
)
