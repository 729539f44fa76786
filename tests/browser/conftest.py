"""JupyterLab as a student sees it: a server over a throw-away course, and a page that notes every complaint.

Screenshots go to build/screenshots/, which git ignores.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from frugal.authoring.stage import stage
from frugal.authoring.tree import Tree

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What JupyterLab and its extensions complain about by themselves; anything else fails a test.
NOT_OURS = ("allow-scripts and allow-same-origin",)
START_S = 90
MINUTE = 60_000  # milliseconds, as playwright counts


@dataclass
class Server:
    """A running JupyterLab, the course that it serves, and its address."""

    root: Path
    url: str
    tree: Tree


@dataclass
class Page:
    """A browser page, what a student does in it, and everything that it complained about."""

    page: object  # playwright's
    screenshots: Path
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def shot(self, name: str) -> None:
        """Save what the page shows now."""
        self.page.screenshot(path=self.screenshots / f"{name}.png")

    def open(self, server: Server, notebook: str) -> None:
        """Open a notebook by its path below the course and wait until its kernel rests."""
        self.page.goto(f"{server.url}/lab/tree/{notebook}?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=MINUTE)
        self.page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=MINUTE)

    def choose(self, menu: str, item: str) -> None:
        """Choose an item of the menu bar."""
        self.page.locator(f'.lm-MenuBar-itemLabel:text-is("{menu}")').click()
        self.page.locator(f'.lm-Menu-itemLabel:text-is("{item}")').click()

    def run_all(self) -> None:
        """Run all cells and wait until every code cell has run."""
        self.choose("Run", "Run All Cells")
        self.page.wait_for_function(
            """() => {
                const shown = '.jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell .jp-InputPrompt';
                const prompts = [...document.querySelectorAll(shown)];
                return prompts.length > 0 && prompts.every(p => /\\[\\d+\\]/.test(p.textContent));
            }""",
            timeout=5 * MINUTE,
        )

    def validate(self) -> str:
        """Press Validate and return what the dialog says."""
        self.page.locator('.jp-NotebookPanel-toolbar [data-jp-item-name="runAll"] button').or_(
            self.page.locator('.jp-NotebookPanel-toolbar [data-jp-item-name="runAll"] jp-button')
        ).first.click()
        self.page.wait_for_selector(".jp-Dialog", timeout=5 * MINUTE)
        return self.page.locator(".jp-Dialog").inner_text()

    def assignment(self, lab: str, button: str):
        """Return a button of a lab's row in the list of assignments."""
        row = self.page.locator(f'.list_item:has(.item_name:has-text("{lab}"))').first
        return row.locator(f'button:has-text("{button}"), a:has-text("{button}")').first

    def close_dialog(self) -> None:
        self.page.locator(".jp-Dialog button").last.click()
        self.page.wait_for_selector(".jp-Dialog", state="detached", timeout=MINUTE)


@pytest.fixture(scope="module")
def server(root, tmp_path_factory) -> Iterator[Server]:
    """JupyterLab with the settings that the course ships, over a copy of the course with every lab released."""
    course = tmp_path_factory.mktemp("course")
    tree = Tree(root)
    for name in ("course", "labs", "nbgrader_config.py", "pyproject.toml"):
        source = root / name
        if source.exists():
            (shutil.copytree if source.is_dir() else shutil.copy)(source, course / name)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(course / "home"),
        "JUPYTER_CONFIG_PATH": str(root / "etc" / "jupyter"),
        "FRUGAL_EXCHANGE": str(course / "exchange"),
    }
    (course / "home").mkdir()
    for lab in tree.labs():
        stage(tree, lab, course / "grading" / "source")
        for command in ("generate_assignment", "release_assignment"):
            words = [sys.executable, "-m", "nbgrader", command, lab]
            done = subprocess.run(words, cwd=course, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    port = free_port()
    words = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    words += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={course}"]
    with open(course / "server.log", "w") as log:
        process = subprocess.Popen(words, cwd=course, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status", process, course / "server.log")
        yield Server(course, f"http://127.0.0.1:{port}", tree)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def page(chromium, root, tmp_path) -> Iterator[Page]:
    """A fresh browser; the test fails if the page complained or reached out of this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e .[dev]")
    screenshots = root / "build" / "screenshots"
    screenshots.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as browsers:
        context = browsers.chromium.launch_persistent_context(
            tmp_path / "profile",
            headless=True,
            executable_path=chromium,
            args=FLAGS,
            viewport={"width": 1400, "height": 1100},
        )
        watched = Page(context.pages[0], screenshots)
        listen(watched)
        yield watched
        context.close()
    assert watched.outside == []
    assert [error for error in watched.errors if not any(words in error for words in NOT_OURS)] == []


def listen(watched: Page) -> None:
    """Note console errors, uncaught exceptions, answers of 400 and above, and requests to other machines."""
    local = ("http://127.0.0.1", "http://localhost", "data:", "blob:", "file:", "about:", "chrome")
    page = watched.page
    page.on("console", lambda m: watched.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("response", lambda r: watched.errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.on("request", lambda r: None if r.url.startswith(local) else watched.outside.append(r.url))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    """Wait until the server answers; show its log if it does not."""
    for _ in range(10 * START_S):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                json.load(answer)
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not answer:\n{log.read_text()}")
