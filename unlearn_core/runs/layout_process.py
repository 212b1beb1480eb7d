"""UMAP in a process of its own, so that its compiling never blocks the queue and a cancel can end it."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from unlearn_core import projection


class LayoutProcess:
    """Callable like `projection.umap_layout`; compiles in the background from the moment it is made."""

    def __init__(self):
        self._start()

    def _start(self) -> None:
        self.pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self.pool.submit(projection.warm_up)

    def __call__(self, features: np.ndarray, rows: np.ndarray, distances: np.ndarray, seed: int) -> np.ndarray:
        try:
            return self.pool.submit(projection.umap_layout, features, rows, distances, seed).result()
        except BaseException:
            self.close()
            self._start()
            raise

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
