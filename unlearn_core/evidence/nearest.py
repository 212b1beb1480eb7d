"""Retained instances near the forget set, as the original model sees them: by cosine around the retained mean."""

from __future__ import annotations

import numpy as np

from unlearn_core.evidence.base import Subject
from unlearn_core.evidence.similarity import directions

NEIGHBOURS = 10
DRAWN = 30


def nearest_retained(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """For each forget instance its nearest retained ones by cosine of original features: ids and distances, [n_forget, ≤ DRAWN]."""

    def find():
        from sklearn.neighbors import NearestNeighbors

        retain, features = subject.retain, subject.original.features
        k = min(DRAWN, len(retain))
        if not k or not len(subject.forget):
            return np.empty((len(subject.forget), 0), np.int64), np.empty((len(subject.forget), 0))
        features = np.nan_to_num(features)
        unit = directions(features, features[retain].mean(axis=0, dtype=np.float64))
        found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(unit[retain])
        distance, row = found.kneighbors(unit[subject.forget])
        return retain[row], distance

    return subject.once(("nearest_retained",), find)


def neighbours(subject: Subject) -> np.ndarray:
    """Ids of the union of the NEIGHBOURS nearest retained instances of every forget instance, sorted."""
    return np.unique(nearest_retained(subject)[0][:, :NEIGHBOURS])


def closest(subject: Subject, count: int = DRAWN) -> np.ndarray:
    """Ids of the `count` ≤ DRAWN retained instances nearest to the forget set, nearest first."""
    ids, distance = (array.ravel() for array in nearest_retained(subject))
    order = np.argsort(distance, kind="stable")
    first = np.unique(ids[order], return_index=True)[1]
    return ids[order][np.sort(first)][:count]
