"""Fixtures for tests in a real browser: a server for any app file, and Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def missing(reason):
    """Skip on a person's machine; in CI a browser test that does not run is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def chromium():
    """Path of an installed Chromium or Chrome, or None for Playwright's own."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser():
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        missing("playwright is not installed")
    with sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        except Error as error:
            missing(f"no Chromium to run: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield page
    context.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(app, env=None, log=None):
    """Start a Streamlit server for the file ``app``; returns (process, address) once it is healthy."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    options = {
        "server.port": port, "server.address": "127.0.0.1", "server.headless": "true",
        "server.fileWatcherType": "none", "browser.gatherUsageStats": "false",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(app), *(f"--{name}={value}" for name, value in options.items())],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        stdout=log or subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return process, address
        except OSError:
            time.sleep(0.1)
    process.kill()
    process.wait()
    raise RuntimeError(f"the server for {app} did not become healthy")


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """``serve(app_path, env=None)`` -> address; one server per distinct call, stopped at the end."""
    running = {}

    def ask(app, env=None):
        key = (str(app), *sorted((env or {}).items()))
        if key not in running:
            path = tmp_path_factory.mktemp("server") / "log.txt"
            with path.open("w") as log:
                try:
                    running[key] = start(app, env, log)
                except RuntimeError as error:
                    raise RuntimeError(f"{error}\n{path.read_text()[-2000:]}") from error
        return running[key][1]

    yield ask
    for process, _ in running.values():
        process.terminate()
    for process, _ in running.values():
        process.wait(timeout=20)
