"""The app's handle on the worker: starts it, replaces it when it dies, ends what does not hear a cancel."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from unlearn_core.runs.store import Store
from unlearn_core.runs.worker import ALREADY_RUNNING, STATE, locked

WATCH = 0.1
PROBE = 1.0  # seconds between looks at whether another server's worker is still there
EARLY = 1.0  # seconds that a worker lives at least, if nothing is wrong with it
GIVE_UP = 3  # starts in a row that end before the worker is warm
DEAF_AFTER = 0.7  # seconds after a cancel until a worker that does not react is ended
ROOT = Path(__file__).resolve().parents[2]


class Service:
    """One per server. A thread of its own watches the worker; it never touches the interface."""

    def __init__(self, store: Store):
        self.store = store
        self.process: subprocess.Popen | None = None
        self.spawned = -EARLY
        self.failed_starts = 0
        self.closing = threading.Event()
        self._tend()
        self.thread = threading.Thread(target=self._watch, name="worker-watch", daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.closing.wait(WATCH):
            try:
                self._tend()
            except sqlite3.OperationalError:  # a busy or full disk must not end the watch; the next look tries again
                traceback.print_exc()

    def _tend(self) -> None:
        if self.process is None or self.process.poll() is not None:
            code = self.process.returncode if self.process else None
            if self.process and code != ALREADY_RUNNING:
                _kill(self.process.pid)  # the layout process of a worker that was killed would live on
                self.store.fail_orphans(None, _cause(code))
                self._count_failed_start()
            self.process = None
            if locked(self.store):  # another server's worker serves this store
                self._end_the_deaf()
                self.closing.wait(PROBE)
                return
            if time.monotonic() - self.spawned < EARLY and self.closing.wait(EARLY):  # one that dies at once is not started in a tight loop
                return
            self.process, self.spawned = self._spawn(), time.monotonic()
        self._end_the_deaf()

    def _count_failed_start(self) -> None:
        """Somebody who waits for a worker that dies at every start is told so, with the reason."""
        self.failed_starts = 0 if self.worker().get("warm") else self.failed_starts + 1
        if self.failed_starts < GIVE_UP:
            return
        log = self.store.folder / "worker.log"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
        reason = f": {lines[-1]}" if lines else ""
        for job in self.store.jobs():
            if job.status == "queued":
                self.store.finish(
                    job.key, "failed", f"The worker process cannot start{reason}. Details are in worker.log in the store's folder."
                )

    def _spawn(self) -> subprocess.Popen:
        log = open(self.store.folder / "worker.log", "ab")  # noqa: SIM115 - handed over to the process
        command = [sys.executable, "-m", "unlearn_core.runs.worker", "--store", str(self.store.folder)]
        environment = os.environ | {"UNLEARN_STORE": str(self.store.folder.resolve())}  # imported data lies there
        with log:
            return subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _end_the_deaf(self) -> None:
        """A library call that cannot be interrupted must not delay a cancel: its process is ended and replaced."""
        for job in self.store.running():
            deaf = job.cancel and time.time() - job.cancel > DEAF_AFTER
            if deaf and self.store.finish(job.key, "cancelled") and job.worker == self.worker()["pid"] and locked(self.store):
                _kill(job.worker)  # only the worker that serves this store now: an old number may be another program's

    def worker(self) -> dict[str, Any]:
        """What the worker says of itself: pid, state ("starting" or "ready"), devices."""
        try:
            return json.loads((self.store.folder / STATE).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {"pid": None, "state": "starting"}

    def devices(self, patience: float = 0.0) -> dict[str, str]:
        """Devices of the worker, the preferred one first; empty while it is still starting."""
        until = time.monotonic() + patience
        while True:
            found = self.worker().get("devices", {})
            if found or time.monotonic() > until:
                return found
            time.sleep(0.05)

    def close(self) -> None:
        """End the worker (tests, and a server that is meant to leave nothing behind)."""
        self.closing.set()
        self.thread.join()
        if self.process and self.process.poll() is None:
            _kill(self.process.pid)
            self.process.wait()


def _kill(pid: int) -> None:
    try:
        if hasattr(os, "killpg"):
            os.killpg(pid, signal.SIGKILL)  # its layout process too
        else:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"The worker process was ended from outside (signal {-code}; often the system does this when memory runs out). A new worker is ready: start it again."
    return f"The worker process ended unexpectedly (exit status {code}). A new worker is ready: start it again."
