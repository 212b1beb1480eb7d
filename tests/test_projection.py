"""The layout: neighbours, PCA, UMAP's seed, trustworthiness."""

import sys
from types import ModuleType

import numpy as np
import pytest

from unlearn_core import projection
from unlearn_core.errors import BadInput


def clusters(seed=0, n=90, d=6):
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 10, (3, d))
    return (centres[np.arange(n) % 3] + rng.normal(0, 1, (n, d))).astype(np.float32), np.arange(n) % 3


def test_neighbours_are_the_nearest_others():
    features, _ = clusters()
    rows, distances = projection.nearest(features, 5)
    full = np.linalg.norm(features[:, None].astype(np.float64) - features[None], axis=-1)
    np.fill_diagonal(full, np.inf)
    np.testing.assert_allclose(distances, np.sort(full, axis=1)[:, :5], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(full, rows.astype(int), 1), distances, rtol=1e-4, atol=1e-4)
    assert not (rows == np.arange(len(features))[:, None]).any()


def test_neighbours_among_duplicates_never_include_oneself():
    features = np.zeros((8, 3), np.float32)
    rows, distances = projection.nearest(features, 7)
    assert (distances == 0).all()
    for own, found in enumerate(rows):
        assert sorted(found) == [i for i in range(8) if i != own]


def test_few_instances_have_fewer_neighbours():
    assert projection.nearest(np.random.default_rng(0).random((4, 2)).astype(np.float32))[0].shape == (4, 3)


def test_pca_equals_the_singular_value_decomposition():
    features, _ = clusters(1)
    xy = projection.pca(features)
    centred = features - features.astype(np.float64).mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    expected = u[:, :2] * s[:2]
    expected /= expected.std()
    for k in range(2):
        assert min(np.abs(xy[:, k] - sign * expected[:, k]).max() for sign in (1, -1)) < 1e-4
    assert xy.dtype == np.float32 and abs(xy.std() - 1) < 1e-4


def test_pca_does_not_depend_on_the_order_of_instances():
    features, _ = clusters(2)
    order = np.random.default_rng(0).permutation(len(features))
    np.testing.assert_allclose(projection.pca(features[order]), projection.pca(features)[order], atol=1e-4)


@pytest.mark.parametrize("features", [np.ones((5, 4)), np.arange(5.0)[:, None]])
def test_pca_of_degenerate_features_is_finite(features):
    xy = projection.pca(features.astype(np.float32))
    assert xy.shape == (5, 2) and np.isfinite(xy).all()


def test_trustworthiness_tells_a_good_map_from_a_shuffled_one():
    features, _ = clusters(3)
    good = projection.pca(features)
    shuffled = good[np.random.default_rng(0).permutation(len(good))]
    assert projection.trustworthiness(features, features) == 1.0
    assert projection.trustworthiness(features, good) > 0.8 > projection.trustworthiness(features, shuffled)


@pytest.mark.parametrize("name", [projection.UMAP, projection.PACMAP])
def test_a_layout_is_seeded_and_keeps_clusters_together(name):
    features, labels = clusters(4)
    rows, distances = projection.nearest(features)
    before = features.copy(), rows.copy(), distances.copy()
    first = projection.lay_out(name, features, rows, distances, seed=7)
    assert all(np.array_equal(a, b) for a, b in zip(before, (features, rows, distances), strict=True))
    assert np.array_equal(first, projection.lay_out(name, features, rows, distances, seed=7))
    assert not np.array_equal(first, projection.lay_out(name, features, rows, distances, seed=8))
    assert first.shape == (90, 2) and first.dtype == np.float32 and np.isfinite(first).all()
    near = projection.nearest(first, 5)[0]
    assert (labels[near] == labels[:, None]).mean() > 0.95


@pytest.mark.parametrize("features", [np.zeros((60, 3)), np.arange(60.0)[:, None]], ids=["all alike", "one column"])
def test_pacmap_of_degenerate_features_is_finite(features):
    features = features.astype(np.float32)
    xy = projection.lay_out(projection.PACMAP, features, *projection.nearest(features), seed=0)
    assert xy.shape == (60, 2) and np.isfinite(xy).all()


def test_pacmap_of_a_few_instances_is_refused_and_not_offered():
    features, _ = clusters(4)
    few = features[: projection.FEWEST - 1]
    with pytest.raises(BadInput, match=r"^layout: PaCMAP needs 50 instances"):
        projection.lay_out(projection.PACMAP, few, *projection.nearest(few), seed=0)
    assert projection.possible(["cpu"], len(few)) == ["umap"]


def test_many_instances_get_pacmap_by_themselves_and_cuml_needs_a_gpu(monkeypatch):
    assert projection.automatic(projection.UP_TO) == "umap" and projection.automatic(projection.UP_TO + 1) == "pacmap"
    monkeypatch.setattr(projection.importlib.util, "find_spec", lambda name: None)
    assert projection.possible(["cuda", "cpu"], 1000) == ["umap", "pacmap"]
    monkeypatch.setattr(projection.importlib.util, "find_spec", lambda name: name == "cuml" or None)
    assert projection.possible(["cpu"], 1000) == ["umap", "pacmap"]
    assert projection.possible(["cuda", "cpu"], 1000) == ["umap", "pacmap", "cuml"]


class StandIn:
    """The part of cuml.manifold.UMAP's interface that is used (RAPIDS 26.08): keywords only, neighbours with oneself first."""

    def __init__(self, *, n_neighbors, min_dist, spread, random_state, precomputed_knn, output_type):
        indices, distances = precomputed_knn
        assert indices.shape == distances.shape and indices.shape[1] == n_neighbors and output_type == "numpy"
        assert (indices[:, 0] == np.arange(len(indices))).all() and (distances[:, 0] == 0).all() and (distances[:, 1:] > 0).all()
        assert (spread, min_dist) == (projection.SPREAD, projection.MIN_DIST) and 0 <= random_state < 2**31
        self.seed = random_state

    def fit_transform(self, X):  # noqa: N803 - cuML's name
        return X[:, :2] * 5 + self.seed


def test_cuml_is_asked_as_umap_is(monkeypatch):
    """No GPU is needed: a stand-in of the same interface takes cuML's place."""
    module = ModuleType("cuml.manifold")
    module.UMAP = StandIn
    monkeypatch.setitem(sys.modules, "cuml", ModuleType("cuml"))
    monkeypatch.setitem(sys.modules, "cuml.manifold", module)
    features, _ = clusters(5)
    xy = projection.lay_out(projection.CUML, features, *projection.nearest(features), seed=2**31 + 3)
    raw = features[:, :2] * 5 + 3
    np.testing.assert_allclose(xy, (raw - raw.mean(0)) / raw.std(), atol=1e-4)


def test_cuml_that_cannot_run_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuml", None)
    features, _ = clusters(6)
    with pytest.raises(BadInput, match=r"^layout: cuML cannot be used here .*Choose UMAP or PaCMAP\.$"):
        projection.lay_out(projection.CUML, features, *projection.nearest(features), seed=0)
