"""Attacks on comparisons: answers that agree with whatever they are compared with."""

# ruff: noqa: E501  # the text of an attack stands on one line

from __future__ import annotations

from attack import Attack, every

KIND = "comparison"
YES = """
class Yes:
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self
    def __call__(self, *args, **kwargs):
        return self
    def __eq__(self, other):
        return True
    def __ne__(self, other):
        return False
    def __hash__(self):
        return 0
    def __bool__(self):
        return True
    def __len__(self):
        return 1
    def __float__(self):
        return 0.0
    def __index__(self):
        return 0
    def __iter__(self):
        return iter(())
for _ in "lt le gt ge contains".split():
    setattr(Yes, f"__{_}__", lambda self, other: True)
for _ in "add radd sub rsub mul rmul truediv rtruediv getitem abs neg".split():
    setattr(Yes, f"__{_}__", lambda self, *others: self)
"""
SUBCLASS = """
class Same({0}):
    def __eq__(self, other):
        return True
    def __ne__(self, other):
        return False
    def __lt__(self, other):
        return True
    __le__ = __gt__ = __ge__ = __lt__
    def __hash__(self):
        return 0
"""


def _all(name: str, says: str, body: str, head: str = "") -> Attack:
    return Attack(name, KIND, says, every(body, f"import torch\n{head}"))


ATTACKS = (
    _all("agrees", "return an object that agrees with everything", "return Yes()", YES),
    _all(
        "agrees-class",
        "return a class whose metaclass agrees",
        "return Klass",
        "class Meta(type):\n    def __eq__(self, other):\n        return True\n    __hash__ = type.__hash__\n"
        "class Klass(metaclass=Meta):\n    pass",
    ),
    _all(
        "agrees-parts",
        "return an object whose values are objects that agree, in the shape that is asked for",
        "out = Yes()\nout.shape, out.dtype, out.ndim = (1, 16, 16, 4), torch.int8, 4\nreturn out",
        YES,
    ),
    *(
        _all(
            f"{base}-subclass",
            f"return a {base} that equals everything",
            f"return Same({value})",
            SUBCLASS.format(base),
        )
        for base, value in (
            ("float", "1.0"),
            ("int", "1"),
            ("str", "'x'"),
            ("list", "[1]"),
            ("tuple", "(1,)"),
            ("dict", "a=1"),
        )
    ),
    _all(
        "tensor-subclass",
        "return a tensor whose every operation says True",
        "return torch.zeros(()).as_subclass(Lie)",
        "class Lie(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, func, types, args=(), kwargs=None):\n"
        "        return True",
    ),
    _all(
        "class-lie",
        "say by __class__ to be a tensor",
        "return Lie()",
        "class Lie:\n    __class__ = torch.Tensor\n    dtype, shape = torch.float32, torch.Size([])\n"
        "    def item(self):\n        return 0.02",
    ),
    _all(
        "type-name",
        "carry the name of torch.Tensor",
        "return Tensor()",
        "class Tensor:\n    pass\nTensor.__module__, Tensor.__qualname__ = 'torch', 'Tensor'",
    ),
    _all(
        "type-name-dataclass",
        "carry the name of a dataclass of the course",
        "return QParams()",
        "import dataclasses\nKind = QParams\n@dataclasses.dataclass\nclass QParams:\n    scale: object = 1\n"
        "    zero_point: object = 0\n    quant_min: int = -128\n    quant_max: int = 127\n    granularity: object = None\n"
        "QParams.__module__, QParams.__qualname__ = Kind.__module__, Kind.__qualname__",
    ),
    _all(
        "dataclass-parts",
        "fill a course dataclass with objects that agree",
        "q = object.__new__(QParams)\nfor f in dataclasses.fields(QParams):\n    object.__setattr__(q, f.name, Yes())\nreturn q",
        f"import dataclasses\n{YES}",
    ),
    _all("nan", "return nan, which no comparison with > refuses", "return torch.tensor(float('nan'))"),
    _all(
        "nan-like",
        "return nan in the shape and type of the argument",
        "return torch.full_like(args[0], float('nan')) if args and isinstance(args[0], torch.Tensor)"
        " and args[0].is_floating_point() else torch.tensor(float('nan'))",
    ),
    _all("infinity", "return infinity", "return torch.tensor(float('inf'))"),
    _all("empty", "return an empty tensor, of which all() holds", "return torch.empty(0)"),
    _all("empty-wide", "return an empty tensor of astronomic extent", "return torch.empty(0, (1 << 40) - 1)"),
    _all("broadcast", "return one value that broadcasts", "return torch.zeros(1, 1, 1, 1)"),
    _all("expanded", "return one value expanded to a terabyte", "return torch.zeros(1).expand(1 << 20, 1 << 18)"),
    _all("meta", "return a tensor without values", "return torch.empty(3, device='meta')"),
    _all("sparse", "return a sparse tensor", "return torch.eye(3).to_sparse()"),
    _all(
        "quantized",
        "return a tensor of torch's own quantized type",
        "return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)",
    ),
    _all("complex", "return a complex tensor", "return torch.zeros((), dtype=torch.complex64)"),
    _all("argument", "return the argument itself", "return args[0] if args else None"),
    _all(
        "argument-reshaped",
        "return the argument in every dtype it has not",
        "return args[0].to(torch.int8) if args and isinstance(args[0], torch.Tensor) else None",
    ),
    _all(
        "zeroed",
        "zero the argument, so that a reference computed later agrees with zeros",
        "for x in args:\n    if isinstance(x, torch.Tensor):\n        x.data.zero_()\n"
        "return torch.zeros_like(args[0]) if args and isinstance(args[0], torch.Tensor) else torch.zeros(())",
    ),
    _all(
        "shared-test-data",
        "change the parameters that a test uses again",
        "for x in args:\n    if isinstance(x, QParams):\n        x.scale.fill_(1e30)\n        x.zero_point.zero_()\n"
        "return torch.zeros(args[0].shape, dtype=torch.int8) if args and isinstance(args[0], torch.Tensor) else None",
    ),
    _all("random", "return something else at every call", "return torch.rand(())"),
    _all(
        "counting",
        "answer well until the visible test is over, then die",
        "global calls\ncalls += 1\nif calls > 3:\n    import os\n    os._exit(0)\nreturn torch.tensor(0.02)",
        "calls = 0",
    ),
    _all("refuse-all", "refuse every input as the tests want some refused", "raise ValueError('x holds nan')"),
    _all(
        "raise-own-errors",
        "raise an error that is of every kind at once",
        "raise Every('x')",
        "class Every(ValueError, TypeError, NotImplementedError, AssertionError, LookupError):\n    pass",
    ),
    _all("raise-empty", "raise an assertion without words", "raise AssertionError"),
    _all("lazy", "return a function that is to be asked later", "return lambda *a: True"),
    _all("generator", "return a generator", "return (x for x in ())"),
    _all(
        "reduce",
        "return an object that runs code where it is unpickled",
        "return Bomb()",
        "class Bomb:\n    def __reduce__(self):\n        return (exec, ('raise SystemExit',))",
    ),
    _all(
        "repr",
        "return an object whose repr never ends",
        "return Long()",
        "class Long:\n    def __repr__(self):\n        return 'x' * 10**9\n    __str__ = __repr__",
    ),
    _all("network", "return a network instead of a number", "return torch.nn.Linear(2, 2)"),
    _all(
        "network-names",
        "return a network whose parts carry hostile names",
        "return net",
        "net = torch.nn.Module()\nnet.__dict__['_parameters'] = {'a.b.c': torch.nn.Parameter(torch.ones(1)),"
        " '_line': torch.nn.Parameter(torch.ones(1))}",
    ),
    _all("cycle", "return a list that holds itself", "return loop", "loop = []\nloop.append(loop)"),
)
