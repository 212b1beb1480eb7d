"""A page's handle on the process that reads a person's own file: ask, follow, cancel; only what is shown comes back."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unlearn_core.data import own
from unlearn_core.data.importing import ColumnInfo, Options
from unlearn_core.data.importing.summary import Summary
from unlearn_core.errors import BadInput, Cancelled

ROOT = Path(__file__).resolve().parents[2]
SILENT = 120.0  # seconds without a word after which a reader hangs
ALONE = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # which reserve far more than they use


class Reading:
    """One person's file at a time. The process is started at once, and again whenever it had to be ended.

    When this object goes, so do the process and the copies of uploads.
    """

    def __init__(self):
        self._process: subprocess.Popen | None = None
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._asked = ""  # what is under way
        self._heard = 0.0
        self._uploads: Path | None = None
        self.words, self.share = "", 0.0
        self._start()

    def receive(self, content: Any, name: str) -> Path:
        """Keep the bytes of an upload in a file beside the imports, for as long as this object is there; an earlier one goes. Raises BadInput."""
        self.forget()
        try:
            self._uploads = own.scratch()
            weakref.finalize(self, shutil.rmtree, self._uploads, ignore_errors=True)
            path = self._uploads / f"upload{Path(name).suffix[:16]}"
            path.write_bytes(content)
        except (OSError, ValueError) as error:
            self.forget()
            raise BadInput("file", f"there is no room for it ({getattr(error, 'strerror', error)}).", "Make room on the disk.") from None
        return path

    def forget(self) -> None:
        """Delete the copy of the upload."""
        if self._uploads:
            shutil.rmtree(self._uploads, ignore_errors=True)
        self._uploads = None

    def ask(self, do: str, path: Path, name: str, token: str, options: Options | None = None) -> None:
        """Begin to "preview" (columns of a table), "check" (Summary) or "keep" (Kept) a file; what is still under way is ended.

        token: differs whenever the content may.
        """
        if self._asked:
            self.cancel()
        if self._process is None or self._process.poll() is not None:
            self._start()
        request = {"do": do, "path": str(path), "name": name, "token": token, "options": asdict(options) if options else None}
        self._asked, self._heard = do, time.monotonic()
        self.words, self.share = "Opening the file", 0.0
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it ended just now, which the next look finds out

    @property
    def under_way(self) -> bool:
        return bool(self._asked)

    def answer(self, patience: float = 0.0) -> Any:
        """What was asked for: columns, a Summary, or Kept; None while it is under way for longer than `patience` seconds.

        Raises BadInput, also for a file that ended or stalled its reader, and Cancelled if nothing is under way any more.
        """
        until = time.monotonic() + patience
        while self._asked:
            try:
                message = self._said.get(timeout=max(0.0, until - time.monotonic())) if patience else self._said.get_nowait()
            except queue.Empty:
                if time.monotonic() - self._heard > SILENT:
                    self.cancel()
                    raise BadInput(
                        "file", f"its reader made no progress for {SILENT:.0f} seconds and was ended.", "Save the file in another way."
                    ) from None
                return None
            self._heard = time.monotonic()
            if "told" in message:
                self.words, self.share = message["told"], message["share"]
                continue
            asked, self._asked = self._asked, ""
            if "answer" in message:
                return _read(asked, message["answer"])
            if "over" in message:
                self.cancel()  # a fresh process has its memory back
            if "bad" in message:
                raise BadInput(*message["bad"])
            raise BadInput("file", _cause(message["ended"]), "Nothing was kept. Give a part of the file, or save it in another way.")
        raise Cancelled

    def cancel(self) -> None:
        """End what is under way."""
        self._asked = ""
        if self._process:
            _end(self._process)
        self._process = None

    def close(self) -> None:
        """End the process and delete the upload."""
        self.cancel()
        self.forget()

    def _start(self) -> None:
        environment = os.environ | ALONE | {"UNLEARN_STORE": str(own.folder().parent)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "unlearn_core.runs.reading_process"], cwd=ROOT, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip
        self._said = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(self._process, self._said), daemon=True).start()
        weakref.finalize(self, _end, self._process)


def _listen(process: subprocess.Popen, said: queue.SimpleQueue) -> None:
    with process.stdout as lines:
        for line in lines:
            if line.endswith("\n"):  # one that is killed may leave half a line
                said.put(json.loads(line))
    said.put({"ended": process.wait()})


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for left in own.folder().glob(f".writing-{process.pid}-*"):
        shutil.rmtree(left, ignore_errors=True)


def _read(asked: str, answer: Any) -> Any:
    plain = _tuples(answer)
    return tuple(ColumnInfo(**column) for column in plain) if asked == "preview" else {"check": Summary, "keep": own.Kept}[asked](**plain)


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {name: _tuples(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def _cause(code: int) -> str:
    if code < 0:
        return f"its reader was ended by the system (signal {-code}; often that means that memory ran out)."
    return f"its reader ended unexpectedly (exit status {code})."
