"""Columns of a table as inputs of a model: numbers, categories, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MISSING = "(missing)"
OTHER = "(other)"
MOST_CATEGORIES = 100  # of one column; rarer ones share one code


@dataclass(frozen=True)
class Column:
    """One column as it was read: float64 numbers with NaN where missing, or codes (int) into `categories` with -1 where missing."""

    name: str
    values: np.ndarray
    categories: tuple[str, ...] = ()

    @property
    def missing(self) -> np.ndarray:
        return self.values < 0 if self.categories else np.isnan(self.values)


class Encoded(NamedTuple):
    """inputs: [N, d] float32. categories: per column the names of its codes; empty for numbers."""

    inputs: np.ndarray
    feature_names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def encode(columns: Sequence[Column], train: np.ndarray) -> Encoded:
    """Inputs for a model; every statistic comes from the rows `train` only.

    A missing number becomes the median of the training rows, and a further column of 0 and 1 says where that was done. A missing
    category is a category of its own. Of a column with more than `MOST_CATEGORIES` categories the rarest in the training rows become one.
    """
    inputs, names, kinds, notes = [], [], [], []
    for column in columns:
        gone = column.missing
        if column.categories:
            values, kind, said = _codes(column, train)
            notes += said
            inputs.append(values)
            names.append(column.name)
            kinds.append(kind)
            continue
        known = column.values[train][~gone[train]]
        middle = float(np.median(known)) if len(known) else 0.0
        inputs.append(np.where(gone, middle, column.values))
        names.append(column.name)
        kinds.append(())
        if gone.any():
            inputs.append(gone)
            names.append(f"{column.name} was missing")
            kinds.append(())
            notes.append(f"{column.name}: {_counted(gone)} set to the median of the training rows, {middle:.4g}, and marked.")
    return Encoded(np.stack(inputs, axis=1).astype(np.float32), tuple(names), tuple(kinds), tuple(notes))


def _codes(column: Column, train: np.ndarray) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    codes, kind, notes = column.values.astype(np.int64), column.categories, []
    gone = codes < 0
    if len(kind) > MOST_CATEGORIES:
        seen = np.bincount(codes[train][~gone[train]], minlength=len(kind))
        common = np.sort(np.argsort(-seen, kind="stable")[: MOST_CATEGORIES - 1])
        new = np.full(len(kind), len(common))
        new[common] = np.arange(len(common))
        notes.append(f"{column.name}: of {len(kind):,} categories the {len(common)} most frequent are kept, the others became {OTHER}.")
        codes, kind = np.where(gone, -1, new[codes]), (*(kind[i] for i in common), OTHER)
    if gone.any():
        notes.append(f"{column.name}: {_counted(gone)} made a category of their own.")
        codes, kind = np.where(gone, len(kind), codes), (*kind, MISSING)
    return codes, kind, notes


def _counted(gone: np.ndarray) -> str:
    count = int(gone.sum())
    return f"{count:,} missing value{'s were' if count > 1 else ' was'}"
