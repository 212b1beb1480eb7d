"""The demo pack is what the project's own pipeline makes: same keys, its numbers follow from its weights, and building it again agrees."""

import json

import numpy as np
import pytest

from unlearn_core import data, models
from unlearn_core.models import storage, training
from unlearn_core.runs import api, demo, originals
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import RunSpec
from unlearn_core.runs.store import Store


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("demo"))
    demo.open_demo(store)
    return store


@pytest.mark.parametrize("dataset", demo.DATASETS)
def test_the_pack_holds_the_default_originals_of_this_version(opened, dataset):
    found = originals.load(opened, demo.default_spec(dataset).key)
    assert found and found.complete and found.spec == demo.default_spec(dataset)
    assert found.meta["dataset_hash"] == data.load(dataset).hash


@pytest.mark.parametrize("dataset", demo.DATASETS)
def test_its_numbers_follow_from_its_weights(opened, dataset):
    found = originals.load(opened, demo.default_spec(dataset).key)
    loaded = data.load(dataset)
    model = storage.load(found.folder / "model.safetensors", models.info(found.spec.model), loaded, found.spec.model_params, "cpu")
    logits = training.read(model, loaded.inputs, "cpu").logits[found.ids].astype(np.float64)
    assert (logits.argmax(1) == found.arrays["predicted"]).all()
    loss = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(logits)), found.arrays["label"]]
    assert np.allclose(loss, found.arrays["loss"], atol=1e-4)


def test_training_it_again_gives_the_same_model(opened, tmp_path):
    spec = demo.default_spec()
    again = originals.prepare(Store(tmp_path), spec, Reporter(), lambda features, rows, distances, seed, tick: features[:, :2])
    packed = originals.load(opened, spec.key)
    assert again.key == packed.key
    # Other processors round differently, so not bit for bit.
    assert (again.arrays["predicted"] == packed.arrays["predicted"]).mean() > 0.98
    assert again.meta["accuracy"]["test"] == pytest.approx(packed.meta["accuracy"]["test"], abs=0.02)
    assert packed.meta["accuracy"]["test"] >= 0.96


def test_the_example_run_is_listed_and_is_what_the_pipeline_gives(opened, tmp_path):
    key = demo.example_key()
    assert key == demo.example_spec().key and opened.job(key).status == "done"
    packed = api.load_run(opened, key)
    assert packed.retrained == packed.spec.retrains
    store = Store(tmp_path)
    pipeline, spec = Pipeline(store), RunSpec.from_dict(opened.job(key).spec)
    pipeline.unlearn(spec, Reporter())
    pipeline.add_retrained(spec, Reporter())
    again = api.load_run(store, key)
    assert [m.id for m in again.measures] == [m.id for m in packed.measures]
    for family in ("utility.accuracy", "boundary.agreement"):
        for mine, theirs in zip(again.family(family), packed.family(family), strict=True):
            assert mine.unlearned == pytest.approx(theirs.unlearned, abs=0.05), mine.id


def test_what_a_person_deletes_stays_deleted(tmp_path):
    store = Store(tmp_path)
    demo.open_demo(store)
    api.delete_run(store, demo.example_key())
    demo.open_demo(store)
    assert store.job(demo.example_key()) is None and api.load_run(store, demo.example_key()) is None
    assert demo.example_key() in json.loads((tmp_path / "demo.json").read_text())
