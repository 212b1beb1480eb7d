"""Layouts in a process of its own, so that compiling never blocks the queue and a cancel can end it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait

import numpy as np

from unlearn_core import projection

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
        future = self.pool.submit(projection.lay_out, name, features, rows, distances, seed)
        try:
            while True:
                done, _ = wait([future], timeout=TICK)
                if done:
                    return future.result()
                tick()
        except BaseException:
            for process in self.pool._processes.values():  # a fit cannot be interrupted, only ended
                process.kill()
            self.close()
            self._start()
            raise

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
