"""Splits of datasets that bring a test set of their own, and smaller cuts of large ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlearn_core.data.base import SHARES, Splits, stratified_splits
from unlearn_core.errors import BadInput
from unlearn_core.params import AUTO, Param

FLOOR = 500  # instances that a split other than train keeps in a small cut, so that its measures stay readable

SUBSET = Param(
    "subset",
    "int",
    AUTO,
    "How many training instances to use, drawn evenly from all classes with the split seed. The other splits shrink alike.",
    50,
    title="Training instances",
    auto="all of them",
    manual=5000,
)


def divide(labels: np.ndarray, params: dict[str, Any], first_test: int | None = None) -> tuple[np.ndarray, Splits]:
    """Rows to keep, ascending, and splits of the kept rows by their new row numbers.

    labels: [N] int. params: "split_seed" and "subset". first_test: rows from here on are the official test set; without it the test
    split is drawn like the others. Raises BadInput if the subset is larger than the training split or smaller than the classes.
    """
    seed = params["split_seed"]
    splits = stratified_splits(labels, seed) if first_test is None else official_splits(labels, first_test, seed)
    if params["subset"] == AUTO:
        return np.arange(len(labels)), splits
    return cut(labels, splits, params["subset"], seed)


def official_splits(labels: np.ndarray, first_test: int, seed: int) -> Splits:
    """Rows from `first_test` on stay the test split; the others are divided among the other splits by the usual shares, stratified."""
    rest = 1 - SHARES["test"]
    shares = {name: 0.0 if name == "test" else share / rest for name, share in SHARES.items()}
    parts = dict(stratified_splits(labels[:first_test], seed, shares).items())
    return Splits(**parts | {"test": np.arange(first_test, len(labels))})


def cut(labels: np.ndarray, splits: Splits, count: int, seed: int) -> tuple[np.ndarray, Splits]:
    """Keep `count` training rows and of every other split the same share, but at least `FLOOR` rows if it has them.

    Returns the kept rows, ascending, and the splits by their new row numbers. Raises BadInput naming `subset`.
    """
    classes, whole = len(np.unique(labels)), len(splits.train)
    if not classes <= count <= whole:
        raise BadInput("subset", f"{count:,} training instances cannot be drawn.", f"Give a whole number from {classes} to {whole:,}.")
    rng = np.random.default_rng([seed, 2])
    chosen = {}
    for name, ids in splits.items():
        wanted = count if name == "train" else min(len(ids), max(round(len(ids) * count / whole), FLOOR))
        chosen[name] = _draw(labels, ids, wanted, rng)
    kept = np.sort(np.concatenate(list(chosen.values())))
    return kept, Splits(**{name: np.searchsorted(kept, ids) for name, ids in chosen.items()})


def _draw(labels: np.ndarray, ids: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of `ids`, each class in proportion and, while there is room, with at least one."""
    present, sizes = np.unique(labels[ids], return_counts=True)
    exact = sizes * count / len(ids) if len(ids) else sizes * 0.0
    quota = np.maximum(np.floor(exact).astype(int), min(1, count // max(len(sizes), 1)))
    while quota.sum() > count:  # a class that got its one for free takes it from the largest
        quota[np.argmax(quota)] -= 1
    short = np.argsort(quota - exact, kind="stable")
    quota[short[: count - quota.sum()]] += 1
    drawn = [rng.permutation(ids[labels[ids] == label])[:size] for label, size in zip(present, quota, strict=True)]
    return np.sort(np.concatenate(drawn)) if drawn else ids
