"""Before a button is pressed the page says how long it will take, from times of this machine only, or that nobody knows."""

import pytest
from runs.test_forecast import plant, plant_training

from pages.parts import opening
from ui.conftest import App, server
from unlearn_core.runs import durations, forecast
from unlearn_core.runs.demo import default_spec
from unlearn_core.runs.spec import OriginalSpec

HERE = durations.where("cpu", "test")  # as the worker of these tests calls its device


@pytest.fixture
def handle(tmp_path):
    with server(tmp_path) as found:
        yield found


def unlearn_form(method):
    return App("studio").set(random__count=5).press("random.add").set(method=method)


def test_an_unlearning_request_says_what_it_will_take(handle):
    spec = default_spec()
    plant_training(handle.store, 1168, 1e-4, spec=spec, place=HERE)
    for k in range(4):
        plant(handle.store, "evidence", 0.5, spec, place=HERE, retrained=k, forget=5)
    app = unlearn_form("retrain")
    one = forecast.Log(handle.store, HERE).training(spec, 1163).seconds
    said = f"method {forecast.duration(one)}, evidence 2 s, 3 retrained models {forecast.duration(3 * one)} (from 1 earlier run)"
    assert said in app.texts()
    app.set(retrains=0)
    assert "evidence 0.5 s (from 1 earlier run)" in app.texts()
    assert not handle.store.jobs("probe")  # nothing had to be tried


def test_times_of_another_machine_are_not_shown_and_steps_are_tried_instead(handle):
    spec = default_spec()
    plant_training(handle.store, 1168, 1e-4, spec=spec, place=durations.where("cpu", "another machine"))
    app = unlearn_form("retrain")
    assert "measured as soon as the worker is free" in app.texts() and ":material/timer: About" not in app.texts()
    job = handle.store.jobs("probe")[0]
    assert job.key == forecast.probe_key(spec, HERE) and job.priority == 0
    plant_training(handle.store, 1168, 1e-5, what="trial", spec=spec, place=HERE)
    handle.store.claim(1)
    handle.store.finish(job.key, "done")
    told = app.run().texts()
    assert "partly" not in told and "from a trial of a few steps" in told and "Not known yet: evidence" in told


def test_opening_another_model_says_what_it_will_take(handle):
    wine = OriginalSpec.make("wine", "softmax")
    plant_training(handle.store, 116, 1e-4, spec=wine, place=HERE, train=116, total=178)
    for what in ("loading", "map", "umap"):
        plant(handle.store, what, 2.0, wine, place=HERE, train=116, total=178)
    app = App("studio").set(open__dataset="wine").set(open__model__wine="softmax")
    assert "loading 2 s" in app.texts() and "UMAP 2 s (from 1 earlier run)" in app.texts()
    assert not [job for job in handle.store.jobs("probe") if job.spec["dataset"] == "wine"]


def test_nothing_is_tried_where_that_would_take_a_download(handle, tmp_path, monkeypatch):
    from unlearn_core.data import files

    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("UNLEARN_DATA_DIR", raising=False)
    app = App("studio").set(open__kind=opening.PUBLIC).set(open__public="adult")
    assert forecast.UNKNOWN in app.texts() and not [job for job in handle.store.jobs("probe") if job.spec["dataset"] == "adult"]


def test_shadow_models_are_forecast_from_the_same_times(handle):
    spec = default_spec()
    plant_training(handle.store, 1168, 1e-4, spec=spec, place=HERE)
    app = App("studio").set(way="Exposed").set(pool__members=32)
    train = len(opening.original(spec.key).ids)
    one = forecast.Log(handle.store, HERE).training(spec, train).seconds
    assert f"At most about {forecast.duration(32 * one)} for shadow models (from 1 earlier run)." in app.texts()
    plant_training(handle.store, 1168, 1e-6, what="together", spec=spec, place=HERE, models=8)
    assert f"About {forecast.duration(0.32 * one)} for shadow models (from 1 earlier run)." in app.run().texts()
