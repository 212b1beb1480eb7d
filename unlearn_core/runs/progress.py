"""Reporting how far a computation is, and hearing that it shall stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from unlearn_core.errors import Cancelled, Preempted
from unlearn_core.runs.store import LOOKED, Job, Store

Progress = Callable[..., None]
EVERY = 0.05  # seconds between looks at the store
LEAST_SHARE, LEAST_SECONDS = 0.03, 0.3  # of a stage, before its pace can be told


def without_curves(progress: Progress) -> Progress:
    """The same progress for one of many equal steps, whose live curves would only pile up."""
    return lambda fraction, **curves: progress(fraction)


@dataclass(frozen=True)
class Mark:
    """When a job's newest stage began (time.time()), and which part of the job's progress it covers."""

    stage: str
    begun: float
    start: float
    stop: float

    def left(self, job: Job, seen: float, now: float) -> float | None:
        """Seconds until the stage ends if it goes on as it went so far; None until that can be told.

        seen: when the job's fraction was first seen as it is now, since a stage of slow steps reports seldom.
        """
        share = (job.fraction - self.start) / (self.stop - self.start) if self.stop > self.start else 0.0
        passed = seen - self.begun
        if share < LEAST_SHARE or passed < LEAST_SECONDS:
            return None
        return max(passed * (1 - min(share, 1.0)) / share - (now - seen), 0.0)


class Reporter:
    """Tells nobody; the base of the reporters that do. `stage` gives the progress callback of one stage."""

    def stage(self, name: str, start: float = 0.0, stop: float = 1.0) -> Progress:
        """Begin the stage `name`, which covers start..stop of the whole."""
        self.show(name, start, {})

        def progress(fraction: float, **curves: float) -> None:
            self.show(name, start + (stop - start) * min(fraction, 1.0), curves)

        return progress

    def expect(self, words: str) -> None:
        """Called once, before anything starts, with how long it will take."""

    def show(self, stage: str, fraction: float, curves: dict[str, float]) -> None:
        """Called often; may raise Cancelled or Preempted."""


class StoreReporter(Reporter):
    """Writes progress of one job to the store and raises Cancelled, or Preempted when something more urgent waits.

    For what was asked for by merely looking (LOOKED) that is only where a stage of evidence begins, since all before it is kept.
    """

    def __init__(self, store: Store, key: str, yields: bool):
        self.store, self.key, self.yields = store, key, yields
        self.looked, self.stage_name, self.points = 0.0, "", []

    def stage(self, name: str, start: float = 0.0, stop: float = 1.0) -> Progress:
        write_curves(self.store, self.key, [{"stage": name, "begun": time.time(), "start": start, "stop": stop}])
        return super().stage(name, start, stop)

    def show(self, stage: str, fraction: float, curves: dict[str, float]) -> None:
        if curves:
            self.points.append({"stage": stage, "fraction": round(fraction, 4)} | {k: round(v, 6) for k, v in curves.items()})
        now, begins = time.monotonic(), stage != self.stage_name
        if now - self.looked < EVERY and not begins:
            return
        self.looked, self.stage_name = now, stage
        self.store.report(self.key, stage, fraction)
        if self.points:
            write_curves(self.store, self.key, self.points)
        job = self.store.job(self.key)
        if job is None or job.cancel:
            raise Cancelled
        loses_nothing = begins and job.kind == "evidence"
        if self.yields and self.store.waiting(above=job.priority if loses_nothing else LOOKED):
            raise Preempted


def write_curves(store: Store, key: str, points: list[dict]) -> None:
    """Append `points` to the live curves of a job and empty the list."""
    path = store.curves_path(key)
    path.parent.mkdir(exist_ok=True)
    with open(path, "a", encoding="utf-8") as out:
        out.write("\n" if out.tell() else "")  # ends the half line that a killed process may have left
        out.writelines(json.dumps(point) + "\n" for point in points)
    points.clear()


def read_curves(store: Store, key: str) -> list[dict]:
    """The live curves of a job so far: one dict per epoch with "fraction" and the curves' values."""
    return [point for point in _lines(store, key) if "begun" not in point]


def read_mark(store: Store, key: str) -> Mark | None:
    """The newest stage of a job; None before the first."""
    marks = [point for point in _lines(store, key) if "begun" in point]
    return Mark(**marks[-1]) if marks else None


def _lines(store: Store, key: str) -> list[dict]:
    path = store.curves_path(key)
    if not path.exists():
        return []
    points = []
    for line in path.read_bytes().splitlines():
        with suppress(ValueError):  # a killed process may have left half a line, a full disk anything
            points.append(json.loads(line))
    return [point for point in points if isinstance(point, dict)]
