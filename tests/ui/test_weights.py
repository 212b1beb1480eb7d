"""Weights of one's own in the sidebar: uploaded, checked by the worker, opened, deleted; and a bad file loses nothing."""

import pytest
import torch
from data.test_importing import csv
from safetensors.torch import load_file, save, save_file

from pages.parts.backend import backend, original
from pages.parts.plain import plain
from ui.conftest import App, server
from unlearn_core import models
from unlearn_core.data import importing, own
from unlearn_core.runs import demo, weights
from unlearn_core.runs.originals import prepare
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.worker import work


@pytest.fixture(autouse=True)
def empty(tmp_path):
    """The app on a store of its own."""
    with server(tmp_path) as handle:
        yield handle


def field(app):
    return next(key.removesuffix(".file") for key in app.keys if key.endswith(".weights.file"))


def upload(app, content, name):
    return app.set(**{f"{field(app)}.file".replace(".", "__"): (name, content, "application/octet-stream")})


def answer():
    """What the worker does first: a person waits for it."""
    store = backend().store
    job = store.claim(1)
    assert job.kind == "check"
    work(store, None, job)


def button(app):
    return next((b for b in app.at.button if b.label.startswith("Open ") and b.key is None), None)


def given(**changed):
    """The state dict of the original that is open, as a file."""
    path = backend().store.place("originals", demo.default_spec().key) / "model.safetensors"
    return save({name: value.contiguous() for name, value in (load_file(path) | changed).items()})


def test_a_file_is_kept_checked_and_opened():
    app = upload(App("studio"), given(), "mine.safetensors")
    store, spec = backend().store, app.state.spec
    assert [item.title for item in weights.kept(store)] == ["mine"] and weights.kept(store)[0].key == app.widget(field(app)).value
    assert button(app).disabled  # nobody knows yet whether it fits
    answer()
    app.run()
    accuracy = original(spec.key).meta["accuracy"]
    assert f": {accuracy['train']:.1%} of training instances and {accuracy['test']:.1%}" in "\n".join(s.value for s in app.at.success)
    assert not button(app).disabled
    button(app).click()
    app.run()
    assert app.state.spec.weights == weights.kept(store)[0].key and app.state.spec.key != spec.key
    prepare(store, app.state.spec, Reporter(), layout=lambda features, *rest: features[:, :2])
    app.run()
    told = original(app.state.spec.key).meta["given"]
    assert len(told) == 2 and all(plain(sentence) in app.texts() for sentence in told)
    assert button(app) is None  # it is what is open


def test_what_does_not_fit_says_what_would_and_cannot_be_opened():
    app = upload(App("studio"), given(**{"head.bias": torch.zeros(7)}), "seven.safetensors")
    answer()
    app.run()
    assert any("head.bias is 7 and not" in error.value for error in app.at.error) and button(app).disabled
    app.set(**{field(app).replace(".", "__"): ""})
    assert not app.at.error and button(app) is None


@pytest.mark.parametrize("content", [b"PK\x03\x04junk", b"hello", save({"a": torch.tensor([float("nan")])})], ids=["pickle", "junk", "nan"])
def test_a_bad_file_is_one_sentence_and_loses_nothing(content):
    app = App("studio").set(random__count=3).press("random.add")
    spec, chosen = app.state.spec, app.forget
    upload(app, content, "bad.safetensors")
    assert len(app.at.error) == 1 and "bad.safetensors" in app.at.error[0].value
    assert (app.state.spec, app.forget) == (spec, chosen) and not weights.kept(backend().store)
    upload(app, given(), "good.safetensors")
    assert not app.at.error and len(weights.kept(backend().store)) == 1


def test_a_path_on_this_machine(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "there.safetensors")
    app = App("studio")
    path = f"{field(app)}.path"
    if path in app.keys:  # only where the page is served to this machine alone
        app.set(**{path.replace(".", "__"): str(tmp_path / "nothing")})
        assert "there is no file" in app.at.error[0].value.lower()
        app.set(**{path.replace(".", "__"): str(tmp_path / "there.safetensors")})
        assert [item.title for item in weights.kept(backend().store)] == ["there"] and not app.at.error


def test_deleting_keeps_what_was_made():
    app = upload(App("studio"), given(), "mine.safetensors")
    assert app.widget(f"{field(app)}.delete").disabled  # while the check waits
    answer()
    app.run().press(f"{field(app)}.delete")
    assert not weights.kept(backend().store) and app.widget(field(app)).value == "" and button(app) is None


def test_architectures_that_take_none_say_why():
    app = App("studio")
    entry = app.state.spec.dataset
    app.set(**{f"open__model__{entry}": "sisa"})
    assert "trained in a way of its own" in app.texts() and not [key for key in app.keys if key.endswith(".weights.file")]


def test_a_missing_package_is_said_with_the_command(monkeypatch):
    monkeypatch.setattr("unlearn_core.models.pretrained.importlib.util.find_spec", lambda name: None)
    app = App("studio").set(open__dataset="digits").set(open__model__digits="pretrained_pictures")
    assert [w.value for w in app.at.warning if "pip install torchvision" in w.value] and button(app).disabled
    assert models.info("pretrained_pictures").caution in app.texts()


def test_a_path_of_nobody_is_refused_and_changes_nothing():
    app = App("studio")
    spec = app.state.spec
    app.set(**{f"{field(app)}.path".replace(".", "__"): "~nobody-of-this-name/w.safetensors"})
    assert "not a path on this machine" in app.texts() and app.state.spec == spec


def test_other_data_of_the_same_kind_does_not_begin_with_these_weights():
    first, second = (own.save(importing.read(csv(), f"{title}.csv")) for title in ("first", "second"))
    state_dict = weights.keep(backend().store, given(), "mine.safetensors").key
    app = App("studio")
    app.state.open(OriginalSpec.make(first.name, dataset_params={"key": first.key}, model_params={"weights": state_dict}))
    assert app.run().widget(field(app)).value == state_dict
    app.set(open__own=f"{second.name}.{second.key}")
    assert second.key in field(app) and app.widget(field(app)).value == ""
