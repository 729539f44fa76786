"""Lifting: one source for the library's function, the exercise and its answer."""

import ast

import pytest

from frugal.authoring.lift import lift, module_file
from frugal.core.errors import SourceError


def test_the_body_lies_between_markers_and_signature_and_docstring_stay(tiny):
    lines = lift("tinylib.bounds:clip").splitlines()
    begin, end = lines.index("    ### BEGIN SOLUTION"), lines.index("    ### END SOLUTION")
    assert lines[0] == "def clip(x, low, high):"
    assert lines[begin - 1] == '    """'
    assert lines[begin + 1] == "    if low > high:  # an empty range", "comments of the body are kept"
    assert end == len(lines) - 1


def test_a_lifted_function_does_what_the_library_does(tiny):
    names: dict = {}
    exec(lift("tinylib.bounds:clip"), names)
    assert [names["clip"](x, 0, 3) for x in (-1, 2, 9)] == [0, 2, 3]


def test_decorators_types_defaults_and_closing_comments_are_kept(tiny):
    tiny.write(
        "modules/tinylib/more.py",
        "import functools\n\n\n@functools.cache\ndef area(\n    width: float,\n    height: float = 1.0,\n) -> float:\n"
        '    """Multiply."""\n\n    # two sides\n    product = width * height\n'
        "    return product\n    # the end\n\n\nx = 1\n",
    )
    text = lift("tinylib.more:area")
    assert text.startswith("@functools.cache\ndef area(\n    width: float,\n    height: float = 1.0,\n) -> float:\n")
    assert '"""Multiply."""\n    ### BEGIN SOLUTION\n    # two sides\n' in text
    assert text.endswith("    return product\n    # the end\n    ### END SOLUTION")
    ast.parse(text)


def test_lifting_does_not_import_the_module(tiny):
    tiny.write("modules/tinylib/loud.py", 'raise RuntimeError\n\n\ndef f():\n    """Say."""\n    return 1\n')
    assert "return 1" in lift("tinylib.loud:f")


@pytest.mark.parametrize(
    "target, reason",
    [
        ("tinylib.bounds", "not of the form"),
        ("tinylib.nowhere:clip", "no module tinylib.nowhere"),
        ("nowhere:clip", "no module nowhere"),
        ("tinylib.bounds:missing", "the module has clip, untold, empty"),
        ("tinylib.bounds:untold", "no docstring"),
        ("tinylib.bounds:empty", "nothing after its docstring"),
    ],
)
def test_what_cannot_be_lifted_is_named(tiny, target, reason):
    with pytest.raises(SourceError, match=reason):
        lift(target)


def test_a_package_is_found_by_its_init_file(tiny):
    assert module_file("tinylib").name == "__init__.py"
    assert module_file("tinylib.bounds").name == "bounds.py"
