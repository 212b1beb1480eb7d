"""One folder on disk: an SQLite index (WAL) and one folder of files for every original, retrained model and run.

Every write is atomic: files are written beside their place and moved there, folders too. A process
that is killed loses only what it was just computing.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.errors import BadInput

STATES = ("queued", "running", "done", "cancelled", "failed")
ENDED = ("done", "cancelled", "failed")
URGENT, LOOKED, BACKGROUND = 10, 5, 0  # LOOKED: asked for by merely looking, so it comes first but costs no other work
MAX_KEY = 64
SCRATCH = ".writing"  # .writing-<pid>-…: half a result, never looked at by readers

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, spec TEXT NOT NULL, status TEXT NOT NULL,
    priority INTEGER NOT NULL, stage TEXT NOT NULL DEFAULT '', fraction REAL NOT NULL DEFAULT 0,
    cause TEXT NOT NULL DEFAULT '', details TEXT NOT NULL DEFAULT '', cancel REAL, worker INTEGER,
    created REAL NOT NULL, started REAL, finished REAL, title TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS queue ON jobs (status, priority DESC, created);
CREATE TABLE IF NOT EXISTS forget_sets (
    token TEXT PRIMARY KEY, name TEXT NOT NULL, original TEXT NOT NULL, content TEXT NOT NULL, updated REAL NOT NULL);
"""


def default_folder() -> Path:
    """Where results are kept: UNLEARN_STORE, or .store in the current folder."""
    return Path(os.environ.get("UNLEARN_STORE") or ".store").resolve()


@dataclass(frozen=True)
class Job:
    """State of one computation: status is one of STATES, stage and fraction say how far it is.

    kind: "original" (train and lay out), "layout" (one more map of a stored original), "run" (unlearn, first evidence), "evidence" (retrained models
    of a run whose result is already there), "plane" (one exact plane of a finished run), "pool" (shadow models),
    "audit" (a finished run judged by a pool), "attribution" (what answers to single instances hang on, of an original or of a finished run),
    "check" (whether given weights fit), "probe" (a few training steps, tried for a forecast).
    """

    key: str
    kind: str
    spec: dict[str, Any]
    status: str
    priority: int
    stage: str
    fraction: float
    cause: str
    details: str
    cancel: float | None
    worker: int | None
    created: float
    started: float | None
    finished: float | None
    title: str

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class Store:
    """The folder of results. Safe to use from several processes and threads at once."""

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder) if folder else default_folder()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._set_up()
        except (OSError, sqlite3.DatabaseError) as error:
            raise BadInput("store", f"{self.folder} cannot hold results ({error}).", "Give a folder that you can write to.") from error

    def _set_up(self, patience: float = 10.0) -> None:
        until = time.monotonic() + patience
        while True:
            try:
                with self._db() as db:
                    db.execute("PRAGMA journal_mode=WAL")
                    db.executescript(_SCHEMA)
                return
            except sqlite3.OperationalError as error:
                # SQLite's own timeout does not cover two processes that switch a new file to WAL at once.
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    @contextmanager
    def _db(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.folder / "index.sqlite", timeout=10, isolation_level=None)
        db.row_factory = sqlite3.Row
        try:
            db.execute("PRAGMA synchronous=NORMAL")
            yield db
        finally:
            db.close()

    # files -----------------------------------------------------------------------------------

    def place(self, kind: str, key: str) -> Path:
        """Folder of one result; `kind` is "originals", "retrained", "runs", "planes", "shadows", "pools", "audits", "attributions", "weights" or "checks". Keys are hashes, never paths."""
        if not key.replace("-", "").isalnum() or len(key) > MAX_KEY:
            raise ValueError(f"not a key: {key!r}")
        return self.folder / kind / key

    @contextmanager
    def writing(self, kind: str, key: str) -> Iterator[Path]:
        """A fresh folder that becomes `place(kind, key)` in one step when the block ends without an error."""
        target = self.place(kind, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._scratch(target.parent)
        try:
            yield scratch
            while True:
                self._discard(target)
                try:
                    os.replace(scratch, target)
                    return
                except OSError as error:
                    # In the way: another process was faster with the same result.
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                        raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def discard(self, kind: str, pattern: str) -> None:
        """Remove the results of one kind whose keys match a glob pattern."""
        for folder in (self.folder / kind).glob(pattern):
            self._discard(folder)

    def scratch(self) -> Path:
        """A fresh folder that nobody looks at; it is swept away if this process leaves it behind."""
        return self._scratch(self.folder)

    def _scratch(self, beside: Path) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{SCRATCH}-{os.getpid()}-", dir=beside))

    def _discard(self, target: Path) -> None:
        """Remove a result. It leaves its place in one step, so no reader and no kill finds half of it."""
        if not target.exists():
            return
        aside = self._scratch(target.parent)
        with suppress(FileNotFoundError):
            os.replace(target, aside / "gone")
        shutil.rmtree(aside, ignore_errors=True)

    def replace_file(self, path: Path, content: bytes) -> None:
        """Write one file in one step."""
        handle, scratch = tempfile.mkstemp(prefix=f"{SCRATCH}-{os.getpid()}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            os.replace(scratch, path)
        except BaseException:
            os.unlink(scratch)
            raise

    def sweep(self) -> None:
        """Remove what killed processes left half written; what living ones write stays."""
        for level in ("", "*/", "*/*/"):
            for scratch in self.folder.glob(f"{level}{SCRATCH}-*"):
                if _alive(int(scratch.name.split("-")[1])):
                    continue
                if scratch.is_dir():
                    shutil.rmtree(scratch, ignore_errors=True)
                else:
                    scratch.unlink(missing_ok=True)

    def curves_path(self, key: str) -> Path:
        """File with the live curves of a job."""
        return self.folder / "progress" / f"{key}.jsonl"

    # queue -----------------------------------------------------------------------------------

    def submit(self, key: str, kind: str, spec: dict[str, Any], title: str = "", priority: int = URGENT) -> Job:
        """Queue a computation, unless the same one waits, runs or is done. Ended ones that failed start again."""
        with self._db() as db:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
            if row is None or row["status"] in ("cancelled", "failed"):
                db.execute(
                    "INSERT OR REPLACE INTO jobs (key, kind, spec, status, priority, created, title) VALUES (?, ?, ?, 'queued', ?, ?, ?)",
                    (key, kind, json.dumps(spec), priority, time.time(), title),
                )
            db.execute("COMMIT")
        return self.job(key)

    def record(self, key: str, kind: str, spec: dict[str, Any], title: str = "") -> None:
        """List a result that was computed without the queue."""
        with self._db() as db:
            now = time.time()
            db.execute(
                "INSERT OR REPLACE INTO jobs (key, kind, spec, status, priority, fraction, created, started, finished, title) VALUES (?, ?, ?, 'done', ?, 1, ?, ?, ?, ?)",
                (key, kind, json.dumps(spec), BACKGROUND, now, now, now, title),
            )

    def requeue(self, key: str, kind: str, priority: int) -> None:
        """Put a running job back into the queue, as `kind` (its urgent part is done, or it gave way)."""
        with self._db() as db:
            db.execute(
                "UPDATE jobs SET status = 'queued', kind = ?, priority = ?, worker = NULL WHERE key = ? AND status = 'running'",
                (kind, priority, key),
            )

    def claim(self, worker: int) -> Job | None:
        """Take the most urgent queued job; None if there is none."""
        with self._db() as db:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute("SELECT key FROM jobs WHERE status = 'queued' ORDER BY priority DESC, created LIMIT 1").fetchone()
            if row:
                db.execute(
                    "UPDATE jobs SET status = 'running', worker = ?, started = COALESCE(started, ?) WHERE key = ?",
                    (worker, time.time(), row["key"]),
                )
            db.execute("COMMIT")
        return self.job(row["key"]) if row else None

    def job(self, key: str) -> Job | None:
        with self._db() as db:
            row = db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        return _job(row) if row else None

    def jobs(self, *kinds: str) -> list[Job]:
        """Jobs of these kinds (all without any), newest first."""
        wanted = f"WHERE kind IN ({','.join('?' * len(kinds))})" if kinds else ""
        with self._db() as db:
            return [_job(row) for row in db.execute(f"SELECT * FROM jobs {wanted} ORDER BY created DESC", kinds)]

    def running(self) -> list[Job]:
        with self._db() as db:
            return [_job(row) for row in db.execute("SELECT * FROM jobs WHERE status = 'running'")]

    def waiting(self, above: int) -> bool:
        """Whether a job more urgent than priority `above` waits."""
        with self._db() as db:
            return db.execute("SELECT 1 FROM jobs WHERE status = 'queued' AND priority > ? LIMIT 1", (above,)).fetchone() is not None

    def report(self, key: str, stage: str, fraction: float) -> None:
        with self._db() as db:
            db.execute("UPDATE jobs SET stage = ?, fraction = ? WHERE key = ?", (stage, fraction, key))

    def finish(self, key: str, status: str, cause: str = "", details: str = "") -> bool:
        """End a job; False if it had ended already, which stands."""
        with self._db() as db:
            changed = db.execute(
                "UPDATE jobs SET status = ?, cause = ?, details = ?, finished = ?, worker = NULL, fraction = CASE ? WHEN 'done' THEN 1 ELSE fraction END "
                "WHERE key = ? AND status IN ('queued', 'running')",
                (status, cause, details[-8000:], time.time(), status, key),
            )
            return changed.rowcount > 0

    def cancel(self, key: str) -> None:
        """Ask for the end of a job: at once if it waits, at the next step if it runs."""
        with self._db() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE jobs SET status = 'cancelled', finished = ? WHERE key = ? AND status = 'queued'", (time.time(), key))
            db.execute("UPDATE jobs SET cancel = ? WHERE key = ? AND status = 'running' AND cancel IS NULL", (time.time(), key))
            db.execute("COMMIT")

    def fail_orphans(self, alive: int | None, cause: str) -> list[str]:
        """Mark running jobs of workers other than `alive` as failed (as cancelled, if that was asked); returns their keys."""
        with self._db() as db:
            rows = db.execute("SELECT key, cancel FROM jobs WHERE status = 'running' AND worker IS NOT ?", (alive,)).fetchall()
        for row in rows:
            self.finish(row["key"], "cancelled" if row["cancel"] else "failed", "" if row["cancel"] else cause)
        return [row["key"] for row in rows]

    def delete(self, key: str) -> None:
        """Remove a run: its row and its files. A running one is cancelled first."""
        self.cancel(key)
        with self._db() as db:
            db.execute("DELETE FROM jobs WHERE key = ?", (key,))
        self._discard(self.place("runs", key))
        self.curves_path(key).unlink(missing_ok=True)

    @contextmanager
    def erasing(self) -> Iterator[Callable[[Sequence[str], Sequence[str]], None]]:
        """While nobody else can change the index: a function that removes jobs by key and forget sets by token, overwriting what they held.

        Nothing is removed if the block ends with an error.
        """
        with self._db() as db:
            db.execute("PRAGMA secure_delete=ON")
            db.execute("BEGIN IMMEDIATE")

            def erase(jobs: Sequence[str], forget_sets: Sequence[str]) -> None:
                db.executemany("DELETE FROM jobs WHERE key = ?", [(key,) for key in jobs])
                db.executemany("DELETE FROM forget_sets WHERE token = ?", [(token,) for token in forget_sets])

            yield erase
            db.execute("COMMIT")  # an error closes the connection without it

    def compact(self, patience: float = 10.0) -> None:
        """Rewrite the index, so that nothing of what was ever removed is left in its files. Raises BadInput if others never let go of it."""
        until = time.monotonic() + patience
        while True:
            with self._db() as db:
                try:
                    db.execute("VACUUM")
                    busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error):
                        raise
                    busy = True
            if not busy:
                return
            if time.monotonic() > until:
                raise BadInput(
                    "store",
                    "another program reads the index all the time, so that its file may still hold removed entries.",
                    "Close it, and delete again.",
                )
            time.sleep(0.05)

    # forget sets -----------------------------------------------------------------------------

    def save_forget_set(self, token: str, original: str, name: str, content: str) -> None:
        """Keep a forget set (its JSON export) under `token`; a set with a name is listed, one without is a draft."""
        with self._db() as db:
            db.execute("INSERT OR REPLACE INTO forget_sets VALUES (?, ?, ?, ?, ?)", (token, name, original, content, time.time()))

    def forget_set(self, token: str) -> dict[str, Any] | None:
        with self._db() as db:
            row = db.execute("SELECT * FROM forget_sets WHERE token = ?", (token,)).fetchone()
        return dict(row) if row else None

    def forget_sets(self, original: str) -> list[dict[str, Any]]:
        """Named forget sets for one original model, newest first."""
        with self._db() as db:
            rows = db.execute("SELECT * FROM forget_sets WHERE original = ? AND name != '' ORDER BY updated DESC", (original,))
            return [dict(row) for row in rows]

    def forget_set_tokens(self) -> list[tuple[str, str]]:
        """Token and key of the original of every forget set, drafts too."""
        with self._db() as db:
            return [(row["token"], row["original"]) for row in db.execute("SELECT token, original FROM forget_sets")]

    def delete_forget_set(self, token: str) -> None:
        with self._db() as db:
            db.execute("DELETE FROM forget_sets WHERE token = ?", (token,))


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return False  # asking with signal 0 would end the process there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _job(row: sqlite3.Row) -> Job:
    return Job(**(dict(row) | {"spec": json.loads(row["spec"])}))


def pack(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """One npz without pickle: a JSON document and named arrays."""
    out = io.BytesIO()
    np.savez_compressed(out, __meta__=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays)
    return out.getvalue()


def unpack(content: bytes | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The inverse of `pack`."""
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    with np.load(source, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    return json.loads(arrays.pop("__meta__").tobytes()), arrays
