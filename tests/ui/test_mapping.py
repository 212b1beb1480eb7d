"""The map of many points: its layouts, what is said about sampling, and thumbnails that are not sent ahead."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pages.parts import gallery, mapping
from pages.parts.backend import backend, original
from ui.conftest import App, server
from unlearn_core import projection
from unlearn_core.runs import api, originals
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.store import pack, unpack


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The app with an original of the digits that counts as large."""
    with pytest.MonkeyPatch.context() as patch, server(tmp_path_factory.mktemp("many")) as handle:
        patch.setattr(projection, "UP_TO", 500)
        patch.setattr(projection, "TRUST_SAMPLE", 300)
        patch.setattr(originals, "INLINE", 2**15)
        spec = OriginalSpec.make("digits", "softmax", model_params={"epochs": 1})
        originals.prepare(handle.store, spec, Reporter(), lambda features, *rest, **named: features[:, :2])
        yield spec


def opened(spec):
    app = App("studio")
    app.state.open(spec)
    return app.run()


def test_the_map_says_what_was_sampled(many):
    text = mapping.trust(original(many.key), "pacmap")
    assert "over all 1,168 training instances" in text and "on a random sample of 300 of them" in text and text.startswith("PaCMAP (fast)")
    assert text in opened(many).texts()


def test_a_layout_that_is_not_there_is_computed_when_it_is_chosen(many):
    app = opened(many)
    box = app.widget(f"layout.{many.key}")
    assert box.options == ["PaCMAP (fast)", "PCA (instant, linear)", "UMAP"]
    assert not backend().store.jobs("layout")
    box.set_value("umap")
    app.run()
    (job,) = backend().store.jobs("layout")
    assert job.spec["layout"] == "umap" and job.status == "queued"
    assert mapping.trust(original(many.key), "pacmap") in app.texts()  # the map stays what it was
    found = originals.add_layout(backend().store, many, "umap", Reporter(), lambda features, *rest: features[:, 1:3])
    backend().store.finish(job.key, "done")
    app.run()
    assert app.widget(f"layout.{many.key}").value == "umap" and mapping.trust(found, "umap") in app.texts()


def test_a_layout_that_was_cancelled_waits_for_the_person(many):
    app = opened(many)
    path = original(many.key).folder / "table.npz"
    meta, arrays = unpack(path)
    backend().store.replace_file(path, pack(meta, {name: array for name, array in arrays.items() if name != "layout_umap"}))
    app.run()
    key = api.layout_key(many, "umap")
    backend().store.delete(key)
    app.widget(f"layout.{many.key}").set_value("umap")
    app.run()
    backend().store.cancel(key)
    app.run()
    assert backend().store.job(key).status == "cancelled" and "Cancelled: laying out with UMAP." in app.texts()
    app.press(f"again.{key}")
    assert backend().store.job(key).status == "queued"


def test_pictures_of_many_are_asked_for_and_those_of_few_are_sent(many):
    found = original(many.key)
    points = mapping.points(found, "pca", "class", App("studio").forget)
    assert points.sprite is None and points.tiles is found.tiles and points.tile == (8, 8)
    from unlearn_core.runs import demo

    few = original(demo.default_spec("digits").key)
    points = mapping.points(few, "pca", "class", App("studio").forget)
    assert points.tiles is None and points.sprite.startswith("data:image/png;base64,")


def test_a_thumbnail_is_the_tile_of_its_instance(many):
    found = original(many.key)
    for row in (0, 700):
        shown = np.asarray(Image.open(io.BytesIO(gallery.thumbnail(found, int(found.ids[row]), 16))))
        assert np.array_equal(shown[::2, ::2], found.tiles[row, ..., 0])


def test_a_thumbnail_keeps_the_shape_of_its_picture():
    tiles = np.random.default_rng(0).integers(0, 255, (2, 4, 8, 3)).astype(np.uint8)
    shown = np.asarray(Image.open(io.BytesIO(gallery.thumbnail(SimpleNamespace(tiles=tiles, row_of={7: 1}), 7, 16))))
    assert shown.shape == (8, 16, 3) and np.array_equal(shown[::2, ::2], tiles[1])
