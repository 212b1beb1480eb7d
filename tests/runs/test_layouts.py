"""Maps of an original: which one comes by itself, one more on request, and its pictures in a file that is read in places."""

import os
import sys
import time
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from unlearn_core import data, projection
from unlearn_core.errors import BadInput
from unlearn_core.runs import api, originals, worker
from unlearn_core.runs.originals import add_layout, prepare
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.store import BACKGROUND, Store

ASKED = []


@pytest.fixture(autouse=True)
def main(monkeypatch):
    """A process that is started runs the main module first, and tests of pages leave theirs in its place."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


def flat(features, rows, distances, seed, tick, name="umap"):
    """A stand-in that tells which layout was asked for."""
    ASKED.append((name, features.copy(), rows.copy(), distances.copy(), seed))
    tick()
    return features[:, :2].copy() + len(name)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A store with a small original of the digits, which counts as many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "UP_TO", 500)
        patch.setattr(originals, "INLINE", 2**15)
        store = Store(tmp_path_factory.mktemp("many"))
        yield store, prepare(store, OriginalSpec.make("digits", "softmax", model_params={"epochs": 1}), Reporter(), flat)


def test_many_instances_are_laid_out_by_pacmap(digits):
    store, found = digits
    assert found.layouts == ["pacmap", "pca"] and found.complete and set(found.meta["trustworthiness"]) == {"pacmap", "pca"}
    assert ASKED[0][0] == "pacmap" and np.array_equal(found.layout(), ASKED[0][1][:, :2] + 6)


def test_one_more_layout_changes_nothing_else(digits):
    store, before = digits
    job = api.submit_layout(store, before.spec, "umap")
    assert job.priority == BACKGROUND and api.submit_layout(store, before.spec, "umap").created == job.created
    worker.work(store, Pipeline(store, flat), store.claim(1))
    after = originals.load(store, before.key)
    assert store.job(job.key).status == "done"
    assert after.layouts == ["pacmap", "pca", "umap"] and np.array_equal(after.layout(), before.layout())
    assert all(np.array_equal(after.arrays[name], array) for name, array in before.arrays.items())
    first, again = ASKED[0], ASKED[-1]
    assert again[0] == "umap" and np.array_equal(first[1], again[1]) and np.array_equal(first[2], again[2]) and first[4] == again[4]
    np.testing.assert_allclose(first[3], again[3], rtol=1e-4, atol=1e-4)  # found again from the stored neighbours
    trust = projection.trustworthiness(again[1], after.layout("umap"))
    assert after.meta["trustworthiness"] == before.meta["trustworthiness"] | {"umap": trust}
    rest = {name: value for name, value in after.meta.items() if name != "trustworthiness"}
    assert rest == {name: value for name, value in before.meta.items() if name != "trustworthiness"}
    asked = len(ASKED)
    add_layout(store, before.spec, "umap", Reporter(), flat)
    assert len(ASKED) == asked


def test_a_layout_that_cannot_be_computed_fails_with_its_reason(digits):
    store, found = digits
    api.submit_layout(store, found.spec, "cuml")
    worker.work(store, Pipeline(store), store.claim(1))
    job = store.job(f"{found.key}-cuml")
    assert job.status == "failed" and "cuML cannot be used here" in job.cause and not job.details
    assert "cuml" not in originals.load(store, found.key).layouts


def test_many_pictures_lie_in_an_array_that_is_read_in_places(digits):
    _, found = digits
    dataset = data.load("digits", found.spec.dataset_params)
    assert found.sprite.name == "tiles.npy" and not found.inline and isinstance(found.tiles, np.memmap)
    shown = dataset.values(found.ids).transpose(0, 2, 3, 1)
    assert found.tiles.dtype == np.uint8 and found.tiles.shape == shown.shape
    assert np.abs(found.tiles / 255 - shown).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stored_sprite_gives_the_same_tiles(digits, tmp_path, channels):
    _, found = digits
    images = np.random.default_rng(0).random((7, channels, 4, 5)).astype(np.float32)
    (tmp_path / "sprite.png").write_bytes(originals.sprite(images))
    old = replace(found, folder=tmp_path, meta=found.meta | {"tile": [5, 4], "columns": 3}, arrays=found.arrays | {"ids": found.ids[:7]})
    assert old.tiles.shape == (7, 4, 5, channels)
    assert np.array_equal(old.tiles, np.round(images.transpose(0, 2, 3, 1) * 255))
    assert old.inline


def test_positions_of_ids(digits):
    _, found = digits
    ids = found.ids[[[5, 0], [900, 5]]]
    assert found.rows(ids).tolist() == [[5, 0], [900, 5]]


def test_the_process_of_its_own_makes_every_layout_and_can_be_cancelled(monkeypatch):
    from unlearn_core.errors import Cancelled
    from unlearn_core.runs.layout_process import LayoutProcess

    features = np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32)
    given = features, *projection.nearest(features), 3
    monkeypatch.setattr(projection, "warm_up", os.getpid)  # compiling UMAP takes longer than all the rest
    process = LayoutProcess()
    try:

        def stop():
            raise Cancelled

        with pytest.raises(Cancelled):
            process(*given, stop, name="umap")
        assert np.array_equal(process(*given, lambda: None, name="pacmap"), projection.pacmap_layout(*given))
    finally:
        process.close()


def test_a_process_that_was_ended_from_outside_is_started_again(monkeypatch):
    from unlearn_core.runs.layout_process import LayoutProcess

    def end(process):
        for one in list(process.pool._processes.values()):
            one.kill()
            one.join()

    features = np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32)
    given = features, *projection.nearest(features), 3
    monkeypatch.setattr(projection, "warm_up", os.getpid)
    process = LayoutProcess()
    try:
        with pytest.raises(BadInput, match="lack of memory"):
            process(*given, lambda: end(process), name="umap")
        with pytest.raises(BadInput, match="PaCMAP needs"):
            process(features[:20], *projection.nearest(features[:20]), 3, lambda: None, name="pacmap")
        warm = process.pool
        end(process)  # while it is idle
        until = time.monotonic() + 20
        while not process.pool._broken and time.monotonic() < until:
            time.sleep(0.01)
        assert process(*given, lambda: None, name="pacmap").shape == (80, 2)
        assert process.pool is not warm
    finally:
        process.close()
