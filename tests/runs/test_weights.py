"""An original whose weights were given: the same evidence as the model they come from, and what is said of it."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from unlearn_core import data, report
from unlearn_core.__main__ import main
from unlearn_core.errors import BadInput
from unlearn_core.models import own
from unlearn_core.models.device import settle
from unlearn_core.runs import api, originals, study, weights
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec, PoolSpec
from unlearn_core.runs.store import Store
from unlearn_core.runs.worker import work

GIVEN = {"dataset": "moons", "model": "mlp", "dataset_params": {"instances": 160}, "device": "cpu"}
ASKED = {"forget": "random:10", "method": "finetune", "retrains": 3} | GIVEN
WIDTH = {"width": 12, "epochs": 40}


def evidence(run):
    """Everything but the clock."""
    return [measure.to_dict() for measure in run.measures if "cost" not in measure.id and "seconds" not in measure.id]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run in one store; and its original's weights as a file of a person's own."""
    settle()
    folder = tmp_path_factory.mktemp("first")
    run = api.run(**ASKED, model_params=WIDTH, store=folder)
    path = folder / "mine.safetensors"
    save_file(load_file(Store(folder).place("originals", run.spec.original.key) / "model.safetensors"), path)
    return run, path


@pytest.fixture(scope="module")
def given(trained, tmp_path_factory):
    """The same request in a fresh store, with those weights."""
    store = Store(tmp_path_factory.mktemp("second"))
    return store, api.run(**ASKED, model_params=WIDTH, weights=trained[1], store=store)


def test_given_weights_give_the_evidence_of_the_model_they_come_from(trained, given):
    assert len(evidence(given[1])) > 40 and evidence(given[1]) == evidence(trained[0])


def test_the_notes_say_that_it_was_given_and_not_trained(trained, given):
    store, run = given
    assert "weights come from the file mine" in run.notes[0] and "on the word of" in run.notes[0]
    assert "trained by the recipe here" in run.notes[1] and not [n for n in trained[0].notes if "word of" in n]
    found = originals.load(store, run.spec.original.key)
    assert found.meta["given"] == run.notes[:2] and set(run.notes[:2]) <= set(report.summary(run).forgotten)


def test_keys_differ_for_originals_and_are_shared_for_what_is_trained_by_the_recipe(trained, given):
    plain, own = trained[0].spec, given[1].spec
    assert own.original.weights and not plain.original.weights and "weights" not in plain.original.model_params
    assert own.original.key != plain.original.key and own.key != plain.key
    assert own.retrain_key == plain.retrain_key
    assert PoolSpec.make(own.original, "x").base == PoolSpec.make(plain.original, "x").base
    other = replace(own.original, model_params=own.original.model_params | {"weights": "0" * 16})
    assert other.key != own.original.key


def test_the_same_file_is_kept_once_and_deleting_it_takes_no_result_away(trained, given):
    store, run = given
    kept = weights.keep(store, trained[1].read_bytes(), "again.safetensors")
    assert [item.key for item in weights.kept(store)] == [kept.key] == [run.spec.original.weights] and kept.title == "mine"
    assert not weights.needing(store, kept.key)
    weights.delete(store, kept.key)
    assert not weights.kept(store)
    again = api.run(**ASKED | {"method": "retrain"}, model_params=WIDTH | {"weights": kept.key}, store=store)
    assert again.retrained == 3
    with pytest.raises(BadInput, match="there are no weights"):
        api.run(**ASKED, model_params=WIDTH | {"weights": kept.key}, seed=5, store=store)
    weights.keep(store, trained[1])


def test_what_was_checked_is_what_is_kept_whatever_happens_to_the_file(trained, tmp_path, monkeypatch):
    store, path = Store(tmp_path / "store"), tmp_path / "mine.safetensors"
    whole = trained[1].read_bytes()
    path.write_bytes(whole)
    real = own.read

    def changed(content, title=""):
        found = real(content, title)
        path.write_bytes(whole[:100])  # somebody writes into it just now
        return found

    monkeypatch.setattr(own, "read", changed)
    kept = weights.keep(store, path)
    assert weights.path(store, kept.key).read_bytes() == whole and kept.title == "mine"
    with pytest.raises(BadInput, match="no safetensors file, or a part of it is missing"):
        weights.keep(store, path)
    assert [item.key for item in weights.kept(store)] == [kept.key] and not list(store.folder.glob(".writing-*"))


def test_a_model_of_another_recipe_is_said_to_differ(trained, tmp_path):
    """Planted truth: hardly trained weights against references of the usual recipe, and weights of that very recipe."""
    poor = api.run(**ASKED, model_params=WIDTH | {"epochs": 1, "lr": 1e-5}, store=tmp_path)
    path = Store(tmp_path).place("originals", poor.spec.original.key) / "model.safetensors"
    run = api.run(**ASKED, model_params=WIDTH, weights=path, store=tmp_path)
    said = " ".join(report.summary(run).sure)
    low, high = run.measure("utility.accuracy.retain").retrained.low, run.measure("utility.accuracy.retain").retrained.high
    assert not low <= run.measure("utility.accuracy.retain").original <= high
    assert "differs from the retrained models' by more than their seeds do on the instances that stay" in said
    same = api.run(**ASKED, model_params=WIDTH, weights=trained[1], store=tmp_path)
    assert "is as accurate as the retrained ones on the instances that stay and on test instances" in " ".join(report.summary(same).sure)
    assert not report.baseline(trained[0])


def test_weights_that_do_not_fit_leave_nothing_behind_but_the_file(trained, tmp_path):
    store = Store(tmp_path)
    with pytest.raises(BadInput, match="They fit it with width = 12"):
        api.run(**ASKED, model_params=WIDTH | {"width": 9}, weights=trained[1], store=store)
    assert len(weights.kept(store)) == 1 and not list((store.folder / "originals").glob("*"))
    with pytest.raises(BadInput, match="trained in a way of its own"):
        OriginalSpec.make("moons", "sisa", model_params={"weights": "0" * 16})
    with pytest.raises(BadInput, match="not the key of kept weights"):
        OriginalSpec.make("moons", "mlp", model_params={"weights": "../../etc"})


def test_the_worker_answers_whether_weights_fit(trained, tmp_path):
    store = Store(tmp_path)
    key = weights.keep(store, trained[1]).key
    about = {name: value for name, value in GIVEN.items() if name != "device"}
    fitting = OriginalSpec.make(**about, model_params=WIDTH | {"weights": key})
    wide = OriginalSpec.make(**about, model_params=WIDTH | {"weights": key, "width": 13})
    for spec in (fitting, wide):
        assert weights.answer(store, spec) is None and weights.submit_check(store, spec).kind == "check"
        assert weights.needing(store, key)
        work(store, None, store.claim(1))
        assert store.job(weights.check_key(spec)).status == "done" and not weights.needing(store, key)
        assert weights.submit_check(store, spec) is None
    accuracy = originals.load(Store(trained[1].parent), trained[0].spec.original.key).meta["accuracy"]
    answer = weights.answer(store, fitting)
    assert answer.fits and f"{accuracy['train']:.1%} of training" in answer.told and f"{accuracy['test']:.1%} of test" in answer.told
    assert not weights.answer(store, wide).fits and "They fit it with width = 12." in weights.answer(store, wide).told
    assert weights.answer(store, replace(fitting, seed=9)) == answer
    weights.delete(store, key)
    other = replace(fitting, model_params=fitting.model_params | {"width": 12, "lr": 1e-3})
    with pytest.raises(BadInput, match="there are no weights"):
        weights.check(store, other, Reporter())
    weights.keep(store, trained[1])  # given again: what was said of its absence does not stay
    assert weights.answer(store, other) is None and weights.check(store, other, Reporter()).fits


def test_a_missing_dataset_is_said_and_not_downloaded(trained, tmp_path, monkeypatch):
    for name in ("UNLEARN_DATA_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    store = Store(tmp_path)
    spec = OriginalSpec.make("svhn", "cnn", model_params={"weights": weights.keep(store, trained[1]).key})
    weights.submit_check(store, spec)
    work(store, None, store.claim(1))
    job = store.job(weights.check_key(spec))
    assert job.status == "failed" and "not on this machine" in job.cause


def test_on_the_command_line(trained, tmp_path, capsys):
    run, path = trained
    words = ["--dataset", "moons", "--model", "mlp", "--forget", "random:10", "--method", "finetune", "--dataset-param", "instances=160"]
    words += ["--model-param", "width=12", "--model-param", "epochs=40", "--device", "cpu", "--store", str(tmp_path)]
    assert main(["run", *words, "--weights", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    clock = ("cost", "seconds")
    assert [row for row in found["evidence"] if not any(word in row["id"] for word in clock)] == json.loads(json.dumps(evidence(run)))
    assert main(["run", *words, "--weights", str(tmp_path / "none")]) == 2
    assert "weights: there is no file" in capsys.readouterr().err
    assert main(["bench", "--suite", "quick", "--weights", str(path), "--store", str(tmp_path)]) == 2
    assert "they fit none of the models of this suite (wine with softmax)" in capsys.readouterr().err


def test_bench_takes_given_weights_and_leaves_out_what_they_do_not_fit(tmp_path, monkeypatch):
    """Planted truth: weights that always answer the first class."""
    settle()
    monkeypatch.setattr(study, "RETRAINS", 3)
    cases = tuple(study.Case(model, "moons", study._random(10), GIVEN["dataset_params"], model) for model in ("mlp", "softmax"))
    monkeypatch.setitem(study.SUITES, "tiny", cases)
    first = {"standardise.mean": torch.zeros(2), "standardise.scale": torch.ones(2), "head.weight": torch.zeros(2, 2)}
    save_file(first | {"head.bias": torch.tensor([1.0, 0.0])}, tmp_path / "first.safetensors")
    rows = list(study.study("tiny", Store(tmp_path), 3, ["finetune"], given=tmp_path / "first.safetensors"))
    assert {row.case for row in rows} == {"softmax"} and [row.method for row in rows] == ["finetune", "original", "retrained"]
    moons = data.load("moons", GIVEN["dataset_params"])
    assert rows[1].values["utility.accuracy.test"] == (float((moons.labels[moons.splits.test] == 0).mean()), 0.0)
    assert rows[2].values["utility.accuracy.test"][0] > 0.7
