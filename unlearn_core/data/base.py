"""What a dataset is: instances with stable ids, and splits that are never mixed up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from unlearn_core.params import Param

SHARES = {"train": 0.65, "tuning": 0.06, "heldout": 0.06, "test": 0.15, "population": 0.08}

SPLIT_SEED = Param("split_seed", "int", 0, "Seed that draws the splits.", 0, 2**31 - 1, advanced=True)


@dataclass(frozen=True)
class Splits:
    """Disjoint sorted instance ids, int64.

    train: what the model learns; the forget set is chosen from it. tuning: validation for early
    stopping and tuning. heldout: validation that only gives ∇τ its unseen loss. test: reporting, and
    non-members of attacks. population: reference points of later attacks; may be empty.
    """

    train: np.ndarray
    tuning: np.ndarray
    heldout: np.ndarray
    test: np.ndarray
    population: np.ndarray

    @property
    def validation(self) -> np.ndarray:
        return np.sort(np.concatenate([self.tuning, self.heldout]))

    def items(self):
        return ((name, getattr(self, name)) for name in SHARES)


def stratified_splits(labels: np.ndarray, seed: int, shares: dict[str, float] = SHARES) -> Splits:
    """Split ids 0..N-1 into `shares`, each class in proportion. labels: [N] int; same seed, same splits."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    edges = np.cumsum(list(shares.values()))[:-1]
    for label in np.unique(labels):
        ids = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.round(edges * len(ids)).astype(int)
        for name, chunk in zip(shares, np.split(ids, cuts), strict=True):
            parts[name].append(chunk)
    return Splits(**{name: np.sort(np.concatenate(chunks)).astype(np.int64) for name, chunks in parts.items()})


@dataclass(frozen=True)
class Dataset:
    """Instances of one dataset; the id of an instance is its row, whatever split it is in.

    inputs: [N, d] for points and tables, [N, channels, height, width] in 0..1 for images, float32.
    labels: [N] int64 as the model sees them. planted: ids of known truth, such as "mislabelled".
    """

    name: str
    params: dict[str, Any]
    modality: str
    inputs: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    splits: Splits
    feature_names: tuple[str, ...] = ()
    planted: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def hash(self) -> str:
        """Hash of the contents that determine a result: inputs, labels and splits."""
        digest = hashlib.sha256()
        for array in (self.inputs, self.labels, *(ids for _, ids in self.splits.items())):
            digest.update(str((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class DatasetInfo:
    """Declaration of a dataset. `load(params) -> Dataset` gets every declared parameter, parsed."""

    name: str
    title: str
    modality: str
    description: str
    default_model: str
    load: Callable[[dict[str, Any]], Dataset]
    order: int = 100
    params: tuple[Param, ...] = ()
    licence: str = ""
    citation: str = ""
    version: int = 1
