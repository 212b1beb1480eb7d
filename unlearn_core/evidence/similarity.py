"""How alike two feature spaces are, from arrays alone: kept neighbours, class relations, debiased CKA."""

from __future__ import annotations

import numpy as np

CHUNK = 16_000_000  # entries of one block of the similarity matrix: 128 MB


def directions(features: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Unit vectors [n, d] float64 from `centre` [d] to each of `features` [n, d]; zero for a point on the centre."""
    moved = np.asarray(features, dtype=np.float64) - centre
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.divide(moved, length, out=np.zeros_like(moved), where=length > 0)


def nearest(unit: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Rows of the k most similar other points of each query, most similar first: [q, k] int32.

    unit: [n, d] unit vectors, n > k; queries: [q] rows. Cosine similarity, in blocks of queries.
    """
    found = np.empty((len(queries), k), np.int32)
    step = max(1, CHUNK // len(unit))
    for start in range(0, len(queries), step):
        rows = queries[start : start + step]
        away = -(unit[rows] @ unit.T)
        away[np.arange(len(rows)), rows] = np.inf
        top = np.argpartition(away, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(away, top, axis=1), axis=1, kind="stable")
        found[start : start + step] = np.take_along_axis(top, order, axis=1)
    return found


def kept(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Jaccard overlap |A ∩ B| / |A ∪ B| of two neighbour lists of every point: [n, k], [n, k] -> [n] in 0..1."""
    k = a.shape[1]
    common = sum((a[:, [j]] == b).sum(axis=1) for j in range(k))
    return common / (2 * k - common)


def chance_overlap(n: int, k: int) -> float:
    """Expected Jaccard overlap of a list of k neighbours with k of the n − 1 other points drawn at random."""
    from scipy.stats import hypergeom

    common = np.arange(k + 1)
    return float((hypergeom.pmf(common, n - 1, k, k) * common / (2 * k - common)).sum())


def class_stakes(features: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions [C, d] from the mean of all to the centre of each class, and that mean [d].

    features: [n, d]; labels: [n]; classes: [C], each with at least one instance.
    """
    z = np.asarray(features, dtype=np.float64)
    centre = z.mean(axis=0)
    return directions(np.stack([z[labels == c].mean(axis=0) for c in classes]), centre), centre


def stake_relations(features: np.ndarray, unit: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Cosine of every instance to every stake, seen from `centre` [d]: [n, C] from features [n, d] and unit stakes [C, d]."""
    return np.clip(directions(features, centre) @ unit.T, -1.0, 1.0)


def class_relations(features: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Cosines between class centres seen from the mean of all: G = cos(μ_c − μ, μ_c' − μ), [C, C].

    features: [n, d]; labels: [n]; classes: [C], each with at least one instance.
    """
    unit, _ = class_stakes(features, labels, classes)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def relation_drift(a: np.ndarray, b: np.ndarray) -> float:
    """Mean |ΔG| off the diagonal of two matrices of class relations [C, C]."""
    return float(np.abs(a - b)[~np.eye(len(a), dtype=bool)].mean())


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float | None:
    """Debiased linear CKA of features x [n, d] and y [n, e] of the same n instances; about 0 for unrelated ones.

    HSIC_1 (Song et al. 2012, eq. 5) normalised as in Kornblith et al., arXiv:1905.00414. None if fewer
    than four instances, or no variance to compare.
    """
    n = len(x)
    if n < 4:
        return None
    x, y = (np.asarray(z, dtype=np.float64) - np.mean(z, axis=0, dtype=np.float64) for z in (x, y))
    own = _hsic(x, x), _hsic(y, y)
    if min(own) <= 0 or not np.isfinite(own).all():
        return None
    return float(_hsic(x, y) / np.sqrt(own[0] * own[1]))


def _hsic(x: np.ndarray, y: np.ndarray) -> float:
    """n(n − 3) times HSIC_1 of linear kernels without their diagonals, from features in O(n d e)."""
    n = len(x)
    norm_x, norm_y = (x**2).sum(axis=1), (y**2).sum(axis=1)
    row_x, row_y = x @ x.sum(axis=0) - norm_x, y @ y.sum(axis=0) - norm_y
    # ‖XᵀY‖² = Σ (XXᵀ ∘ YYᵀ): whichever product is smaller
    joint = ((x.T @ y) ** 2).sum() if x.shape[1] * y.shape[1] <= n * n else ((x @ x.T) * (y @ y.T)).sum()
    trace = joint - norm_x @ norm_y
    return float(trace + row_x.sum() * row_y.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (row_x @ row_y))
