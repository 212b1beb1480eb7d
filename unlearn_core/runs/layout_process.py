"""Layouts in a process of its own, so that compiling never blocks the queue and a cancel can end it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from unlearn_core import projection
from unlearn_core.errors import BadInput

TICK = 0.1


class LayoutProcess:
    """An `originals.Layout`; compiles in the background from the moment it is made."""

    def __init__(self):
        self._start()

    def _start(self) -> None:
        self.pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self.pool.submit(projection.warm_up)

    def __call__(
        self,
        features: np.ndarray,
        rows: np.ndarray,
        distances: np.ndarray,
        seed: int,
        tick: Callable[[], None],
        name: str = projection.UMAP,
    ) -> np.ndarray:
        future = self._submit(name, features, rows, distances, seed)
        try:
            while not wait([future], timeout=TICK).done:
                tick()
        except BaseException:
            self._restart()
            raise
        try:
            return future.result()
        except BrokenProcessPool as error:
            self._restart()
            raise BadInput("layout", "its process was ended from outside, most likely for lack of memory.", "Start it again.") from error

    def _submit(self, *given: Any) -> Future:
        try:
            return self.pool.submit(projection.lay_out, *given)
        except BrokenProcessPool:  # it was ended while nothing was asked of it
            self._restart()
            return self.pool.submit(projection.lay_out, *given)

    def _restart(self) -> None:
        for process in self.pool._processes.values():  # a fit cannot be interrupted, only ended
            process.kill()
        self.close()
        self._start()

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
