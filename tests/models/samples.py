"""A small dataset of each kind that models learn."""

from functools import cache

import numpy as np

from unlearn_core import data
from unlearn_core.data.base import Dataset, stratified_splits
from unlearn_core.data.tokens import hashed

SAMPLE = {"image": "digits", "tabular": "wine", "points": "moons", "text": "words"}


@cache
def load(name):
    """A bundled dataset, or "words" (texts whose class is told by one word) or "mixed" (a table whose class is told by a category)."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(160) % 2).astype(np.int64)
    if name == "words":
        noise = rng.choice(["the", "a", "of", "and", "so"], (160, 9))
        texts = tuple(
            " ".join(row[: 3 + i % 6]) + (" good" if label else " bad") for i, (row, label) in enumerate(zip(noise, labels, strict=True))
        )
        inputs, _ = hashed(texts, 12, 512)
        return Dataset("words", {}, "text", inputs, labels, ("bad", "good"), stratified_splits(labels, 0), texts=texts, vocabulary=512)
    if name == "mixed":
        codes = 2 * rng.integers(0, 2, 160) + labels
        inputs = np.stack([rng.normal(size=160), codes], axis=1).astype(np.float32)
        about = {"feature_names": ("size", "kind"), "categories": ((), ("a", "b", "c", "d"))}
        return Dataset("mixed", {}, "tabular", inputs, labels, ("no", "yes"), stratified_splits(labels, 0), **about)
    return data.load(name)
