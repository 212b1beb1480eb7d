"""Slices between rows with categories and between texts, from a file of one's own to stored evidence; on real ones where they are."""

import json

import numpy as np
import pandas as pd
import pytest
from data.test_real_files import FOLDER

from unlearn_core import data, models, projection
from unlearn_core.data import importing, own
from unlearn_core.data.files import missing
from unlearn_core.data.importing import Options
from unlearn_core.models import storage, training
from unlearn_core.runs import api
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.store import Store

RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.arange(120) % 2)
ROWS = pd.DataFrame(
    {"age": RNG.normal(40 + 9 * LABELS, 12).round(1), "town": RNG.choice(list("pqrst"), 120), "job": RNG.choice(list("xyz"), 120)}
).assign(label=np.array(["no", "yes"])[LABELS])
WORDS = [
    {"text": " ".join(RNG.choice(["so", "a", "the"], 2 + i % 5)) + f" w{i % 7} {'ab'[y]}", "label": "ab"[y]} for i, y in enumerate(LABELS)
]
CASES = {
    "own_table": (ROWS.to_csv(index=False).encode(), "rows.csv", Options(), "mlp", {"width": 8, "epochs": 4}),
    "own_texts": (
        "\n".join(map(json.dumps, WORDS)).encode(),
        "words.jsonl",
        Options(text="text"),
        "transformer",
        {"heads": 2, "depth": 1, "epochs": 2},
    ),
}


@pytest.fixture(autouse=True)
def quick_map(monkeypatch):
    """A map at once: slices do not look at it."""
    monkeypatch.setattr(projection, "umap_layout", lambda features, *rest: projection.pca(features))


def softmax(z):
    p = np.exp(z.astype(np.float64))
    return p / p.sum(axis=1, keepdims=True)


def check_ends(store, run, views):
    """At the three instances every model gives what it gives for the real ones, read anew from the stored weights."""
    dataset, info = data.load(run.spec.original.dataset, run.spec.original.dataset_params), models.info(run.spec.original.model)
    view = views["segment"]
    three, label = dataset.inputs[view["ids"]], view["label"][0]
    folders = {"original": store.place("originals", run.spec.original.key), "unlearned": run.folder}
    for who, folder in folders.items():
        model = storage.load(folder / "model.safetensors", info, dataset, run.spec.original.model_params, "cpu")
        assert view[who][[40, 0, 80]] == pytest.approx(softmax(training.predict(model, three, "cpu"))[:, label], abs=1e-5)
    for k, curve in enumerate(view["retrained"]):
        folder = store.place("retrained", f"{run.spec.retrain_key}-{k}")
        model = storage.load(folder / "model.safetensors", info, dataset, run.spec.original.model_params, "cpu")
        assert curve[[40, 0, 80]] == pytest.approx(softmax(training.predict(model, three, "cpu"))[:, label], abs=1e-5)
    assert views["plane"]["retrained"].shape == (len(view["retrained"]), 60, 60) and views["plane"]["mixed"]


@pytest.mark.parametrize("name", CASES)
def test_a_run_has_its_slice_and_one_by_hand(name, tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_STORE", str(tmp_path))
    content, file, options, model, params = CASES[name]
    kept = own.save(importing.read(content, file, options))
    store = Store(tmp_path)
    asked = {"dataset_params": {"key": kept.key}, "model_params": params, "retrains": 3, "device": "cpu", "store": store}
    run = api.run(name, "random:0.05", "finetune", model, **asked)
    measure = run.measure("boundary.plane_agreement.plane")
    assert 0 < measure.unlearned <= 1 and measure.retrained.low is not None and measure.n == 3600
    check_ends(store, run, run.views)
    ids = data.load(name, {"key": kept.key}).splits.train
    triplet = next(t for t in ((int(ids[i]), int(ids[i + 7]), int(ids[i + 20])) for i in range(20)) if t[0] not in run.spec.gone)
    key = api.submit_plane(store, run, triplet)
    Pipeline(store).plane(run.spec, triplet, Reporter())
    views = api.load_plane(store, key)
    assert views["plane"]["corner_ids"].tolist() == list(triplet) and views["plane"]["mixed"]
    check_ends(store, run, views)


@pytest.mark.parametrize(("name", "model"), [("adult", "softmax"), ("sms_spam", "bag")])
def test_real_rows_and_texts(name, model, tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_DATA_DIR", str(FOLDER))
    monkeypatch.setenv("UNLEARN_OFFLINE", "1")
    if absent := missing(data.info(name).files):
        pytest.skip(f"{absent[0].path} is neither in {FOLDER} nor in the cache")
    store = Store(tmp_path)
    asked = {"dataset_params": {"subset": 200}, "model_params": {"epochs": 2}, "retrains": 1, "device": "cpu", "store": store}
    run = api.run(name, "random:0.02", "finetune", model, **asked)
    check_ends(store, run, run.views)
