"""What is committed reads well on any machine: no paths of one machine, no registries, a docstring on every module."""

import ast
import re
import subprocess

import pytest

# Put together from halves, so that this file does not hold what it looks for.
MACHINE = re.compile(r"(?<![\w.])/(?:wor" + r"k|roo" + r"t)/[\w.]|/tmp/" + r"env|/home/(?!student\b|jovyan\b)\w+/")
REGISTRIES = [
    f"{name}.org" for name in ("pypi", "pythonhosted", "npmjs", "deb.debian", "download.pytorch", "anaconda", "crates")
]
BINARY = {".safetensors", ".png", ".webp", ".pdf", ".woff2"}
EMOJI = re.compile("[\U0001f300-\U0001faff\u2705\u274c]")


@pytest.fixture(scope="module")
def tracked(root):
    """Every committed file, and every new one that git would take."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("not a git working copy")
    files = [root / name for name in listing.stdout.split("\0") if name]
    return [path for path in files if path.is_file() and path.suffix not in BINARY]


def places(root, files, found):
    """``file:line`` for every line that ``found`` accepts."""
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if found(line):
                yield f"{path.relative_to(root)}:{number}"


def test_no_file_holds_a_path_of_one_machine(root, tracked):
    assert list(places(root, tracked, MACHINE.search)) == []


def test_no_file_names_a_package_registry(root, tracked):
    assert list(places(root, tracked, lambda line: any(host in line for host in REGISTRIES))) == []


def test_no_text_holds_emoji(root, tracked):
    texts = [path for path in tracked if path.suffix in {".py", ".md", ".toml", ".cpp", ".h", ".yml", ".sh"}]
    assert list(places(root, texts, EMOJI.search)) == []


def test_what_looks_for_machine_paths_can_find_one():
    for parts in (("", "work", "main"), ('"', "root", ".cache"), ("cd ", "tmp", "env", "v"), ("", "home", "ada", "x")):
        assert MACHINE.search("/".join(parts)), parts
    for parts in (("a", "work", "b"), ("..", "work", "x"), ("", "home", "student", ".ipython"), ("", "tmp", "labs")):
        assert not MACHINE.search("/".join(parts)), parts


def test_every_module_says_what_it_is_for(root, tracked):
    # Notebook sources open with a markdown cell; a catalogue's docstrings stand on its variants.
    modules = [path for path in tracked if path.suffix == ".py" and "src" not in path.relative_to(root).parts]
    assert modules
    silent = [str(path.relative_to(root)) for path in modules if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_every_native_file_opens_with_a_comment(root):
    sources = [path for path in (root / "lib/frugal/kernels/csrc").iterdir() if path.suffix in {".cpp", ".h"}]
    assert sources
    assert [path.name for path in sources if not path.read_text().startswith("//")] == []
