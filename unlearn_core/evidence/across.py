"""Values across the models that exist: stacks for views, pairs of retrained models, seed bands, samples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from unlearn_core.evidence.base import Subject

PROBE = 2000  # retained instances that a measure looks at; all of them up to that many


def retrained_names(subject: Subject) -> list[str]:
    return [who for who in subject.names() if who.startswith("retrained:")]


def retrained_pairs(subject: Subject, alike: Callable) -> list:
    """`alike(a, b)` of every two retrained models."""
    return [alike(a, b) for a, b in combinations(retrained_names(subject), 2)]


def seed_band(subject: Subject, alike: Callable[[str, str], float]) -> tuple[float, float] | None:
    """Smallest and largest value between two retrained models: what a fresh seed alone gives. None before there are two."""
    values = retrained_pairs(subject, alike)
    return (min(values), max(values)) if values else None


def stacked(subject: Subject, value: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    """`value(who)` of every model: "original" [...], "unlearned" [...] if there is one, "retrained" [k, ...]."""
    single = {who: np.asarray(value(who)) for who in subject.names() if not who.startswith("retrained:")}
    retrained = [value(who) for who in retrained_names(subject)]
    empty = np.zeros((0, *single["original"].shape), single["original"].dtype)
    return single | {"retrained": np.stack(retrained) if retrained else empty}


def probe(subject: Subject, ids: np.ndarray, size: int = PROBE) -> np.ndarray:
    """`ids`, or a seeded sorted sample of `size` of them; the same for every model."""
    return ids if len(ids) <= size else np.sort(np.random.default_rng(subject.seed).choice(ids, size, replace=False))


def share_interval(count: int, n: int) -> tuple[float, float]:
    """Exact 95 % interval of a share of n (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, count, n - count + 1)) if count else 0.0
    return low, float(beta.ppf(0.975, count + 1, n - count)) if count < n else 1.0
