"""The fixed 2-D layout of the training instances, and how far it can be trusted."""

from __future__ import annotations

import numpy as np

VERSION = 1
NEIGHBOURS = 15
TRUST_SAMPLE = 2000
# Wider than usual, so that single points can be pointed at; trustworthiness stays the same.
SPREAD, MIN_DIST = 2.0, 1.5


def pca(features: np.ndarray) -> np.ndarray:
    """First two principal components of features [N, d], scaled to unit spread, float32 [N, 2]."""
    centred = features.astype(np.float64) - features.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    xy = centred @ (axes * signs)
    if xy.shape[1] < 2:
        xy = np.hstack([xy, np.zeros((len(xy), 2 - xy.shape[1]))])
    return (xy / max(xy.std(), 1e-12)).astype(np.float32)


def nearest(features: np.ndarray, k: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """Exact k nearest other instances of each: row numbers [N, k] and Euclidean distances [N, k]."""
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(features) - 1)
    distances, rows = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(features).kneighbors()
    return rows.astype(np.int32), distances.astype(np.float32)


def umap_layout(features: np.ndarray, rows: np.ndarray, distances: np.ndarray, seed: int) -> np.ndarray:
    """Seeded UMAP of features [N, d] from precomputed exact neighbours, float32 [N, 2].

    rows, distances: [N, k] as `nearest` gives them. McInnes, Healy and Melville 2018, arXiv 1802.03426.
    """
    import warnings

    import umap

    own = np.arange(len(rows), dtype=rows.dtype)[:, None]
    known = (np.hstack([own, rows]), np.hstack([np.zeros((len(rows), 1), np.float32), distances]))
    with warnings.catch_warnings():
        # Two notices about choices made here: a seed costs parallelism, and no search index is needed.
        warnings.filterwarnings("ignore", message="n_jobs value")
        warnings.filterwarnings("ignore", message="precomputed_knn")
        reducer = umap.UMAP(
            n_neighbors=known[0].shape[1], spread=SPREAD, min_dist=MIN_DIST, random_state=seed % 2**31, precomputed_knn=known
        )
        xy = reducer.fit_transform(features)
    return ((xy - xy.mean(axis=0)) / max(xy.std(), 1e-12)).astype(np.float32)


def trustworthiness(features: np.ndarray, xy: np.ndarray, seed: int = 0) -> float:
    """Share of map neighbours that are neighbours in feature space too (Venna and Kaski 2001), 0..1, k = 15.

    Computed on a seeded sample of at most TRUST_SAMPLE instances.
    """
    from sklearn.manifold import trustworthiness as measure

    sample = np.random.default_rng(seed).permutation(len(xy))[:TRUST_SAMPLE]
    k = min(NEIGHBOURS, (len(sample) - 1) // 2)
    return float(measure(features[sample], xy[sample], n_neighbors=k))


def warm_up() -> None:
    """Compile what a first UMAP fit compiles, on a tiny example."""
    features = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    umap_layout(features, *nearest(features, 5), seed=0)
