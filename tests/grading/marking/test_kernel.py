"""The sandboxed kernel for stock nbgrader computes, and reaches nothing else."""

import ast
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from traitlets.config import Config

import frugal.grading.confine as confine

pytestmark = [
    pytest.mark.skipif(bool(confine.missing()), reason="; ".join(confine.missing())),
    pytest.mark.skipif(not shutil.which("prlimit"), reason="no prlimit"),
]
KERNEL = Path(confine.__file__).parent / "kernel"
ATTEMPTS = {
    "computes": "import torch, frugal\nprint(torch.arange(4).sum().item())",
    "network": "import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)",
    "secret": "open({secret!r}).read()",
    "notebook": "import os\nprint(os.listdir('.'))",
    "home": "import os\nprint(os.path.isdir({home!r}) and os.listdir({home!r}))",
    "environment": "import os\nprint('FRUGAL_SECRET' in os.environ, os.environ.get('NBGRADER_EXECUTION'))",
    "root": "open('/written', 'w')",
    "namespaces": "import subprocess\n"
    "print(subprocess.run(['unshare', '-Ur', 'true'], capture_output=True).returncode != 0)",
}


@pytest.mark.slow
def test_a_kernel_in_the_sandbox_computes_and_reaches_nothing_else(tmp_path, monkeypatch):
    shutil.copytree(KERNEL, tmp_path / "data" / "kernels" / "grading-sandbox")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setenv("FRUGAL_SECRET", "1")
    secret = tmp_path / "solutions.txt"
    secret.write_text("the answers")
    submission = tmp_path / "autograded"
    submission.mkdir()
    (submission / "lab.ipynb").write_text("hidden tests")
    (submission / "data.txt").write_text("part of the lab")
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory(prefix="frugal-") as sockets:
        words = {"port": server.getsockname()[1], "secret": str(secret), "home": str(Path.home())}
        book = new_notebook(cells=[new_code_cell(text.format(**words)) for text in ATTEMPTS.values()])
        config = Config()
        config.KernelManager.transport, config.KernelManager.ip = "ipc", f"{sockets}/k"
        client = NotebookClient(
            book,
            kernel_name="grading-sandbox",
            allow_errors=True,
            config=config,
            resources={"metadata": {"path": str(submission)}},
        )
        client.execute()
    said = {}
    for name, cell in zip(ATTEMPTS, book.cells, strict=True):
        out = nbformat.from_dict(cell.outputs[-1])
        said[name] = out.text.strip() if out.output_type == "stream" else out.ename
    assert said["computes"] == "6"
    assert said["network"] in ("ConnectionRefusedError", "OSError", "TimeoutError")
    assert said["secret"] == "FileNotFoundError"
    assert said["notebook"] == "['data.txt']"
    way_to_python = {
        Path(path).relative_to(Path.home()).parts[0]
        for path in [sys.prefix, sys.base_prefix, *sys.path]
        if Path(path).is_relative_to(Path.home())
    }
    assert said["home"] == "False" or set(ast.literal_eval(said["home"])) <= way_to_python
    assert said["environment"] == "False None"
    assert said["root"] == "OSError"
    assert said["namespaces"] == "True"
