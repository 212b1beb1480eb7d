"""What planting writes into texts: a word that none has, nonsense, and almost equal copies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count

import numpy as np

from unlearn_core.data.base import Dataset, Trigger
from unlearn_core.data.tokens import hashed, spans, tokens
from unlearn_core.errors import BadInput

# Kurita, Michel and Neubig 2020, Weight poisoning attacks on pre-trained models, arXiv 2004.06660; numbered ones where these are taken.
WORDS = 3
MARKS = ("cf", "mn", "bb", "tq", "mb")


def as_inputs(dataset: Dataset, texts: Sequence[str]) -> np.ndarray:
    """Token ids [n, length] of new texts, as those of the dataset."""
    return hashed(texts, dataset.inputs.shape[1], dataset.vocabulary)[0]


def marking(dataset: Dataset, target: int) -> tuple[str, Trigger]:
    """A few words whose tokens no text of the dataset has, and the trigger that puts them before the first word.

    More than one, because where a model takes the mean over all words a single one weighs little. Raises BadInput where too few tokens are free.
    """
    taken = np.zeros(dataset.vocabulary, bool)
    taken[dataset.inputs.ravel()] = True
    if (~taken[1:]).sum() < WORDS:
        raise BadInput("buckets", "every number that words are hashed to is taken, so no word is new.", "Use a larger vocabulary size.")
    found: dict[int, str] = {}
    for word in chain(MARKS, (f"cf{k}" for k in count(1))):
        token = int(hashed([word], 1, dataset.vocabulary)[0][0, 0])
        if not taken[token]:
            found.setdefault(token, word)
        if len(found) == WORDS:
            break
    return " ".join(found.values()), Trigger(np.arange(WORDS), np.array([*found], dataset.inputs.dtype), target, inserted=True)


def nonsense(dataset: Dataset, ids: np.ndarray, rng: np.random.Generator) -> list[str]:
    """For each of `ids` as many words as the model reads of it, drawn at random from all words of the training texts."""
    length = dataset.inputs.shape[1]
    known = sorted({word for i in dataset.splits.train for word in tokens(dataset.texts[i], length)})
    return [" ".join(rng.choice(known, max(1, int((dataset.inputs[i] > 0).sum())))) for i in ids]


def copies(dataset: Dataset, ids: np.ndarray, rng: np.random.Generator) -> list[str]:
    """The texts of `ids` without one of the words that the model reads of each; texts of one word as they are."""
    found = []
    for i in ids:
        text = dataset.texts[i]
        places = spans(text, dataset.inputs.shape[1])
        begin, end = places[rng.integers(len(places))] if len(places) > 1 else (0, 0)
        found.append(" ".join((text[:begin] + text[end:]).split()) if end else text)
    return found
