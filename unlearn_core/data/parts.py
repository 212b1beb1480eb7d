"""The parts of an instance that a person reads, words of a text or columns of a row, and the same instance without one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unlearn_core.data.base import Dataset
from unlearn_core.data.tokens import PADDING, hashed

MODALITIES = ("text", "tabular")  # the others have no parts with a name


def holds_codes(dataset: Dataset, column: int) -> bool:
    """Whether a column of a table holds codes of categories, or 0 and 1."""
    if dataset.categories and dataset.categories[column]:
        return True
    return bool(np.isin(dataset.inputs[dataset.splits.train, column], (0, 1)).all())


def usual(dataset: Dataset) -> np.ndarray:
    """[d] what a column says when nothing is known of a row: the mean of the training rows, of codes the most frequent one."""
    seen = dataset.inputs[dataset.splits.train]
    value = seen.mean(axis=0, dtype=np.float64)
    for column in range(seen.shape[1]):
        if holds_codes(dataset, column):
            kinds, counts = np.unique(seen[:, column], return_counts=True)
            value[column] = kinds[counts.argmax()]
    return value.astype(dataset.inputs.dtype)


def count(dataset: Dataset, instance: int) -> int:
    """How many parts an instance has: the words that a model reads of it, or the columns of the table."""
    return int((dataset.inputs[instance] != PADDING).sum()) if dataset.modality == "text" else dataset.inputs.shape[1]


def without(dataset: Dataset, instance: int, value: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The instance once without each of its parts: inputs [m, d] and the place of the part that each of them lacks, [m].

    A word is left out, the next ones move up, and no unread word moves in. A column gets its `usual` value (given as `value`, [d]); columns that have it
    already are left out of the answer, since nothing would change.
    """
    row = dataset.inputs[instance]
    if dataset.modality == "text":
        words = count(dataset, instance)
        if words == 1:  # what a text without any word is read as
            return hashed([""], len(row), dataset.vocabulary)[0], np.zeros(1, np.int64)
        at = np.arange(words)
        return np.stack([np.append(np.delete(row, place), row.dtype.type(PADDING)) for place in at]), at
    value = usual(dataset) if value is None else value
    at = np.flatnonzero(row != value)
    rows = np.repeat(row[None], len(at), axis=0)
    rows[np.arange(len(at)), at] = value[at]
    return rows, at


def column_spans(text: str, names: Sequence[str]) -> list[tuple[int, int] | None]:
    """Where each column, with its value, stands in a row as `Dataset.words` writes it; None for columns that it leaves out."""
    starts, at = [], 0
    for name in names:
        start = 0 if at == 0 and text.startswith(f"{name} ") else text.find(f", {name} ", at) + 2
        starts.append(start if start != 1 else None)  # find says −1 where there is none
        at = at if starts[-1] is None else start + len(name)
    ends = iter([start - 2 for start in starts if start is not None][1:] + [len(text)])  # a column ends where the next one begins
    return [None if start is None else (start, next(ends)) for start in starts]
