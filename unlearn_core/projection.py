"""The fixed 2-D layouts of the training instances, and how far they can be trusted."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable

import numpy as np

from unlearn_core.errors import BadInput

VERSION = 1
NEIGHBOURS = 15
TRUST_SAMPLE = 2000
# Wider than usual, so that single points can be pointed at; trustworthiness stays the same.
SPREAD, MIN_DIST = 2.0, 1.5
UMAP, PACMAP, CUML = "umap", "pacmap", "cuml"
TITLES = {UMAP: "UMAP", PACMAP: "PaCMAP", CUML: "UMAP on the GPU (cuML)"}
NEAR, FEWEST = 10, 50  # neighbours that PaCMAP pulls together, and the instances below which it says little that PCA does not
UP_TO = 10_000  # instances that UMAP lays out in the time of a glance; above, PaCMAP comes by itself and UMAP on request


def automatic(count: int) -> str:
    """The layout that an original with `count` training instances gets by itself, beside the linear one."""
    return UMAP if count <= UP_TO else PACMAP


def possible(devices: Iterable[str], count: int) -> list[str]:
    """Layouts that can be computed here for `count` instances: cuML only where it is installed and one of the `devices` is a GPU."""
    gpu = "cuda" in devices and importlib.util.find_spec("cuml") is not None
    return [UMAP, *([PACMAP] if count >= FEWEST else []), *([CUML] if gpu else [])]


def lay_out(name: str, features: np.ndarray, rows: np.ndarray, distances: np.ndarray, seed: int) -> np.ndarray:
    """The layout `name` of features [N, d], float32 [N, 2] around 0 with unit spread; rows, distances as `nearest` gives them."""
    return {UMAP: umap_layout, PACMAP: pacmap_layout, CUML: cuml_layout}[name](features, rows, distances, seed)


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

    known = _with_oneself(rows, distances)
    with warnings.catch_warnings():
        # Two notices about choices made here: a seed costs parallelism, and no search index is needed.
        warnings.filterwarnings("ignore", message="n_jobs value")
        warnings.filterwarnings("ignore", message="precomputed_knn")
        reducer = umap.UMAP(
            n_neighbors=known[0].shape[1], spread=SPREAD, min_dist=MIN_DIST, random_state=seed % 2**31, precomputed_knn=known
        )
        xy = reducer.fit_transform(features)
    return _centred(xy)


def pacmap_layout(features: np.ndarray, rows: np.ndarray, distances: np.ndarray, seed: int) -> np.ndarray:
    """Seeded PaCMAP of features [N, d] from precomputed exact neighbours, starting at their principal components, float32 [N, 2].

    Wang, Huang, Rudin and Shaposhnik 2021, JMLR 22(201). Raises BadInput for fewer than FEWEST instances.
    """
    if len(features) < FEWEST:
        raise BadInput("layout", f"PaCMAP needs {FEWEST} instances, and there are {len(features)}.", "Choose UMAP.")
    if not np.ptp(features):
        return pca(features)  # nothing is nearer than anything else
    from pacmap import PaCMAP

    logging.getLogger("pacmap").setLevel(logging.ERROR)  # it warns of every seed
    # Of the exact neighbours those nearest in distances scaled by both sides' own (§3.1), as the package does with approximate ones.
    scale = np.maximum(distances[:, 3:6].mean(axis=1), 1e-10)
    nearest_first = np.argsort(distances**2 / scale[:, None] / scale[rows], axis=1, kind="stable")[:, :NEAR]
    near = np.take_along_axis(rows, nearest_first, axis=1)
    pairs = np.column_stack([np.repeat(np.arange(len(rows)), near.shape[1]), near.ravel()]).astype(np.int32)
    reducer = PaCMAP(n_neighbors=near.shape[1], pair_neighbors=pairs, random_state=seed % 2**31)
    columns = np.pad(features.astype(np.float32), ((0, 0), (0, max(0, 2 - features.shape[1]))))
    return _centred(reducer.fit_transform(columns, init="pca"))


def cuml_layout(features: np.ndarray, rows: np.ndarray, distances: np.ndarray, seed: int) -> np.ndarray:
    """UMAP on a GPU by RAPIDS cuML, from the same neighbours and with the same settings as `umap_layout`, float32 [N, 2].

    Other random numbers than umap-learn, so another map; repeatable on one GPU only as far as cuML is. Raises BadInput where it cannot run.
    """
    try:
        from cuml.manifold import UMAP as GpuUMAP
    except (ImportError, OSError) as error:  # installed for another CUDA, or no driver
        raise BadInput("layout", f"cuML cannot be used here ({error}).", "Choose UMAP or PaCMAP.") from error
    indices, lengths = _with_oneself(rows, distances)
    reducer = GpuUMAP(
        n_neighbors=indices.shape[1],
        spread=SPREAD,
        min_dist=MIN_DIST,
        random_state=seed % 2**31,
        precomputed_knn=(indices, lengths),
        output_type="numpy",
    )
    return _centred(np.asarray(reducer.fit_transform(features)))


def _with_oneself(rows: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours as both UMAPs want them: the first one is the instance itself."""
    own = np.arange(len(rows), dtype=rows.dtype)[:, None]
    return np.hstack([own, rows]), np.hstack([np.zeros((len(rows), 1), np.float32), distances])


def _centred(xy: np.ndarray) -> np.ndarray:
    return ((xy - xy.mean(axis=0)) / max(xy.std(), 1e-12)).astype(np.float32)


def trustworthiness(features: np.ndarray, xy: np.ndarray, seed: int = 0) -> float:
    """Share of map neighbours that are neighbours in feature space too (Venna and Kaski 2001), 0..1, k = 15.

    Computed on a seeded sample of at most TRUST_SAMPLE instances, within which neighbours are sought.
    """
    from sklearn.manifold import trustworthiness as measure

    sample = np.random.default_rng(seed).permutation(len(xy))[:TRUST_SAMPLE]
    k = min(NEIGHBOURS, (len(sample) - 1) // 2)
    return float(measure(features[sample], xy[sample], n_neighbors=k))


def warm_up() -> None:
    """Compile what a first PaCMAP and a first UMAP compile, on a tiny example; PaCMAP first, since it is ready sooner."""
    features = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    for name in (PACMAP, UMAP):
        lay_out(name, features, *nearest(features, 5), seed=0)
