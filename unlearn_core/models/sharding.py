"""Which shard and slice of a SISA ensemble an instance belongs to, and what a deletion costs: no torch, so anyone may ask before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearn_core.models.base import epochs_for

GOLDEN = 0x9E3779B97F4A7C15


def assign(ids: Sequence[int], shards: int, slices: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Shard 0..shards-1 and slice 0..slices-1 of each instance, [n] each: uniform hashes of (id, seed).

    An instance keeps its place whatever else is deleted, so "trained without these instances" has one meaning.
    """
    start = _mix(np.array([seed], np.uint64) * np.uint64(GOLDEN))
    cell = _mix(start + np.asarray(ids).astype(np.uint64) * np.uint64(GOLDEN)) % np.uint64(shards * slices)
    return tuple(part.astype(np.int64) for part in divmod(cell, np.uint64(slices)))


def _mix(z: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195); uint64 wraps around."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def sizes(ids: Sequence[int], shards: int, slices: int, seed: int) -> np.ndarray:
    """How many of `ids` each slice of each shard holds, [shards, slices]."""
    shard, slice_ = assign(ids, shards, slices, seed)
    return np.bincount(shard * slices + slice_, minlength=shards * slices).reshape(shards, slices)


def epochs(params: dict[str, Any], known: int, stage: int) -> int:
    """Passes over the `known` instances of slices 0..stage in the stage that adds slice `stage`; 0 without any instance.

    2e / (R + 1) with R slices: all stages together cost what e epochs over the whole shard do (Bourtoule et al., arXiv 1912.03817).
    Automatic epochs take the shard to go on as large as it began: what later slices hold must not matter to a stage before them.
    """
    if not known:
        return 0
    slices = params["slices"]
    whole = -(-known * slices // (stage + 1))
    return max(1, round(2 * epochs_for(params, whole) / (slices + 1)))


def steps(params: dict[str, Any], held: np.ndarray) -> np.ndarray:
    """Optimiser steps of every stage of every shard, [shards, slices], where slices hold `held` [shards, slices] instances."""
    known = held.cumsum(axis=1)
    passes = np.array([[epochs(params, int(n), stage) for stage, n in enumerate(row)] for row in known])
    return passes * -(-known // params["batch"])


@dataclass(frozen=True)
class Touched:
    """What deleting a selection touches. first [shards]: the first slice that holds some of it, the number of slices where none does.

    share: optimiser steps that the deletion repeats, of those of training everything again without the selection.
    """

    first: np.ndarray
    slices: int
    share: float

    @property
    def shards(self) -> list[int]:
        """The shards that hold some of the selection."""
        return np.flatnonzero(self.first < self.slices).tolist()

    @property
    def words(self) -> str:
        """The cost in a sentence."""
        return f"Touches {len(self.shards)} of {len(self.first)} shards; about {self.share:.0%} of a full training must be redone."


def touched(ids: Sequence[int], forget: Sequence[int], params: dict[str, Any], seed: int) -> Touched:
    """What deleting `forget` from a SISA ensemble trained on `ids` with the recipe `params` and `seed` touches and costs."""
    cells = params["shards"], params["slices"], seed
    gone = sizes(forget, *cells)
    work = steps(params, sizes(np.setdiff1d(ids, forget), *cells))
    first = np.where(gone.any(axis=1), (gone > 0).argmax(axis=1), params["slices"])
    redone = work[np.arange(params["slices"]) >= first[:, None]].sum()
    return Touched(first, params["slices"], float(redone / max(work.sum(), 1)))
