"""From a request to stored evidence: nothing twice, nothing lost when interrupted, notes in plain words."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from unlearn_core import data, methods, seeds
from unlearn_core.errors import BadInput, Cancelled, Preempted
from unlearn_core.models import training
from unlearn_core.runs import api, pipeline
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.store import BACKGROUND, Store


@pytest.fixture
def trainings(monkeypatch):
    """Seeds of all models trained while a test runs."""
    found, actual = [], training.train

    def train(info, dataset, params, ids, seed, *rest):
        found.append(seed)
        return actual(info, dataset, params, ids, seed, *rest)

    monkeypatch.setattr(training, "train", train)
    return found


@pytest.fixture
def steps(monkeypatch):
    """Calls of the one training loop, apart from those in which a finished model relearns."""
    from unlearn_core.models import relearning

    found, actual = [], training.optimise
    monkeypatch.setattr(relearning, "relearn", lambda *given, **rest: (np.linspace(1, 0, 11), np.linspace(0, 1, 11)))
    monkeypatch.setattr(training, "optimise", lambda *given, **rest: found.append(1) or actual(*given, **rest))
    return found


def ask(store, small, forget, method="finetune", retrains=3, seed=0, **params):
    """Run a request on the shared small original, here and now."""
    spec = api.request(small, forget, method, params, seed, retrains)
    pipe = Pipeline(store)
    if not api.load_run(store, spec.key):
        pipe.unlearn(spec, Reporter())
    pipe.add_retrained(spec, Reporter())
    return api.load_run(store, spec.key)


def small_run(store, spec, forget, **rest):
    return api.run(
        spec.dataset,
        forget,
        model=spec.model,
        dataset_params=spec.dataset_params,
        model_params=spec.model_params,
        store=store,
        device="cpu",
        **rest,
    )


def numbers(run):
    """All evidence but what a clock measured."""
    timed = ("utility.seconds", "utility.cost")
    return [measure.to_dict() for measure in run.measures if measure.family not in timed]


def test_the_same_request_is_never_computed_twice(store, small, small_spec, trainings, steps):
    ids = small.ids[:5].tolist()
    first = small_run(store, small_spec, ids, method="nabla_tau")
    assert first.retrained == 3 and len(trainings) == 3 and len(steps) == 4
    assert store.job(first.key).status == "done"
    again = small_run(
        store, small_spec, f"ids:{ids[4]},{ids[0]}-{ids[0]},{','.join(map(str, ids))}", method="nabla_tau", params={"alpha": "auto"}
    )
    assert again.key == first.key and len(steps) == 4
    assert again.timings == first.timings and numbers(again) == numbers(first)
    # Another method on the same set needs no new retrained models.
    other = small_run(store, small_spec, ids, method="finetune")
    assert other.key != first.key and len(trainings) == 3 and len(steps) == 5
    assert other.measure("utility.loss.forget").retrained == first.measure("utility.loss.forget").retrained


def test_retrain_uses_a_seed_that_is_not_in_the_band(store, small, trainings):
    for seed in (0, 1, 2):
        ask(store, small, small.ids[7:11], "retrain", seed=seed)
    band = [seeds.derive("retrained", k) for k in range(3)]
    own = [seeds.derive("method", seed) for seed in (0, 1, 2)]
    assert sorted(trainings) == sorted(band + own)
    run = ask(store, small, small.ids[7:11], "retrain")
    loss = run.measure("utility.loss.retain")
    assert loss.unlearned not in loss.retrained.values and len(set(loss.retrained.values)) == 3


def test_two_stores_agree_on_the_evidence(store, small, tmp_path):
    first = ask(store, small, small.ids[:4], "neggrad_plus")
    fresh = Store(tmp_path)
    pipe = Pipeline(fresh)
    again = ask(fresh, pipe.prepare(small.spec, Reporter()), small.ids[:4], "neggrad_plus")
    assert again.key == first.key and numbers(again) == numbers(first)
    one, two = load_file(first.model_path), load_file(again.model_path)
    assert one.keys() == two.keys() and all((one[name] == two[name]).all() for name in one)
    assert first.views.keys() == again.views.keys()
    assert all(np.array_equal(first.views["roc"][name], array, equal_nan=True) for name, array in again.views.get("roc", {}).items())


class StopAt(Reporter):
    """Raises `error` when the stage `name` begins for the `count`th time."""

    def __init__(self, name, count, error):
        self.name, self.count, self.error, self.last = name, count, error, ""

    def show(self, stage, fraction, curves):
        if stage == self.name and stage != self.last:
            self.count -= 1
            if self.count == 0:
                raise self.error
        self.last = stage


@pytest.mark.parametrize("fresh", [False, True], ids=["same worker", "new worker"])
@pytest.mark.parametrize(
    ("stage", "count", "left"), [("retraining 2 of 3", 1, 1), ("collecting evidence", 2, 1), ("collecting evidence", 3, 2)]
)
@pytest.mark.parametrize("error", [Preempted, Cancelled])
def test_an_interruption_costs_no_retrained_model(store, small, tmp_path, fresh, stage, count, left, error):
    spec = api.request(small, small.ids[20:24], "finetune", {"epochs": 1})
    expected = ask(store, small, spec.forget, epochs=1)
    import shutil

    own = Store(tmp_path / "own")
    shutil.copytree(small.folder, own.place("originals", small.key))
    pipe = Pipeline(own)
    pipe.unlearn(spec, Reporter())
    with pytest.raises(error):
        pipe.add_retrained(spec, StopAt(stage, count, error))
    assert api.load_run(own, spec.key).retrained == left
    (Pipeline(own) if fresh else pipe).add_retrained(spec, Reporter())
    found = api.load_run(own, spec.key)
    assert found.retrained == 3 and numbers(found) == numbers(expected)


def test_stored_evidence_never_loses_retrained_models(store, small):
    """A plane of a finished run, asked of a worker that has just started, rewrites nothing of the run."""
    run = ask(store, small, small.ids[20:24], epochs=1)
    path = run.folder / "evidence.npz"
    before = path.stat().st_mtime_ns
    seen = []

    class Watch(Reporter):
        def show(self, stage, fraction, curves):
            seen.append(api.load_run(store, run.key).retrained)

    key = api.submit_plane(store, run, tuple(small.ids[:3].tolist()))
    Pipeline(store).plane(run.spec, tuple(small.ids[:3].tolist()), Watch())
    store.finish(key, "done")
    assert set(seen) == {3} and path.stat().st_mtime_ns == before
    assert api.load_plane(store, key)


def test_a_run_cut_short_goes_on_with_its_evidence(store, small):
    spec = api.request(small, small.ids[30:33], "finetune", {"epochs": 2})
    assert api.submit_run(store, spec).kind == "run"
    store.claim(1)
    pipe = Pipeline(store)
    pipe.unlearn(spec, Reporter())
    store.requeue(spec.key, "evidence", BACKGROUND)
    store.cancel(spec.key)
    job = api.submit_run(store, spec)
    assert (job.kind, job.status, job.priority) == ("evidence", "queued", BACKGROUND)
    store.delete(spec.key)
    assert api.load_run(store, spec.key) is None
    assert api.submit_run(store, spec).kind == "run"
    store.delete(spec.key)


def test_no_evidence_module_needs_retrained_models_to_exist(store, small):
    run = ask(store, small, small.ids[:3], retrains=0)
    assert run.retrained == 0 and run.measure("utility.accuracy.forget").unlearned is not None
    assert all(measure.retrained is None or measure.retrained.low is None for measure in run.measures)


# notes ---------------------------------------------------------------------------------------------------


def test_the_papers_preset_on_one_point_says_that_it_did_nothing(store, small):
    sure = small.ids[np.argsort(small.arrays["loss"])[:1]]
    run = ask(store, small, sure, "nabla_tau", retrains=0, preset="paper")
    assert run.chosen["alpha"] == pytest.approx(5 / 3 / len(small.ids))
    assert len(run.notes) == 1 and run.notes[0].startswith("This run changed next to nothing")
    # A run that changes much says nothing of the kind.
    worst = small.ids[np.argsort(small.arrays["loss"])[-3:]]
    notes = ask(store, small, worst, "nabla_tau", retrains=0, lr=0.02).notes
    assert not [note for note in notes if "next to nothing" in note]


def test_forgetting_a_whole_class_is_allowed_with_a_warning(store, small):
    members = small.ids[small.arrays["label"] == 1]
    run = ask(store, small, members, "retrain")
    assert [note for note in run.notes if note.startswith("Every training instance of class lower is forgotten.")]
    assert run.measure("utility.accuracy.forget").unlearned == 0.0
    assert not ask(store, small, members[1:], "finetune", retrains=0, epochs=1).notes


def test_all_but_one_instance_can_be_forgotten(store, small):
    run = ask(store, small, small.ids[1:], "finetune", retrains=3, epochs=1)
    assert run.retrained == 3


def test_a_collapse_is_stopped_noted_and_kept(store):
    # Four classes: with two, guessing is already about half of what the original gets right.
    recipe = {"dataset_params": {"instances": 200}, "model_params": {"width": 12, "epochs": 40}}
    run = api.run(
        "blobs", "random:10", "neggrad_plus", alpha=0.5, params={"lr": 1.0, "epochs": 300}, retrains=0, store=store, device="cpu", **recipe
    )
    assert [note for note in run.notes if note.startswith("Stopped early: accuracy on retained instances fell to")]
    assert run.model_path.exists() and run.measure("utility.accuracy.retain").unlearned < 0.5


def test_a_model_that_is_no_number_fails_in_plain_words(store, small, small_spec, monkeypatch):
    def diverge(task):
        for parameter in task.model.parameters():
            parameter.data.fill_(float("nan"))
        return task.model

    broken = replace(methods.info("finetune"), run=diverge)
    monkeypatch.setattr(methods, "info", lambda name: broken)
    before = {job.key for job in store.jobs()}
    with pytest.raises(BadInput, match="method: the unlearned model produced numbers that are not finite. Use a smaller"):
        small_run(store, small_spec, small.ids[50:53].tolist(), method="finetune")
    assert {job.key for job in store.jobs()} == before


def test_other_contents_under_the_same_name_are_refused(store, small):
    spec = replace(api.request(small, small.ids[:3], "finetune"), dataset_hash="0" * 16)
    with pytest.raises(BadInput, match="dataset: moons no longer has the contents"):
        Pipeline(store).unlearn(spec, Reporter())


def test_unlearning_leaves_the_original_as_it_is(store, small):
    before = (small.folder / "model.safetensors").read_bytes()
    pipe = Pipeline(store)
    one, two = (api.request(small, small.ids[60:64], "neggrad_plus", {"lr": 0.1}, seed) for seed in (0, 1))
    pipe.unlearn(one, Reporter())
    pipe.unlearn(two, Reporter())
    assert (small.folder / "model.safetensors").read_bytes() == before
    again = {key: api.load_run(store, key).measure("utility.loss.test").original for key in (one.key, two.key)}
    assert len(set(again.values())) == 1


def test_an_original_describes_its_training_instances(small):
    from unlearn_core import data

    dataset = data.load(small.spec.dataset, small.spec.dataset_params)
    assert np.array_equal(small.ids, dataset.splits.train) and small.meta["dataset_hash"] == dataset.hash
    assert np.array_equal(small.arrays["label"], dataset.labels[small.ids])
    assert np.array_equal(small.layout(), dataset.inputs[small.ids]) and small.layouts == ["input"]
    assert small.meta["planted"]["mislabelled"] == dataset.planted["mislabelled"].tolist()
    accuracy = (small.arrays["predicted"] == small.arrays["label"]).mean()
    assert small.meta["accuracy"]["train"] == pytest.approx(accuracy)
    assert np.isin(small.arrays["neighbours"], small.ids).all() and not (small.arrays["neighbours"] == small.ids[:, None]).any()
    assert len(small.texts) == len(small.ids) and small.sprite is None
    assert small.row_of[int(small.ids[3])] == 3
    assert (small.arrays["confidence"] <= 1).all() and (small.arrays["loss"] >= 0).all()


def test_the_sprite_shows_every_image_at_its_tile():
    import io

    from PIL import Image

    from unlearn_core.runs.originals import sprite

    images = np.random.default_rng(0).random((7, 1, 4, 5)).astype(np.float32)
    sheet = np.asarray(Image.open(io.BytesIO(sprite(images))))
    assert sheet.shape == (12, 15)
    for row, image in enumerate(images):
        tile = sheet[row // 3 * 4 : row // 3 * 4 + 4, row % 3 * 5 : row % 3 * 5 + 5]
        assert np.abs(tile / 255 - image[0]).max() <= 0.5 / 255 + 1e-6


def test_many_retrained_models_are_the_ones_that_would_come_one_by_one(store, small):
    ids = small.ids[70:75].tolist()
    run = ask(store, small, ids, "finetune", retrains=7, epochs=1)
    assert run.retrained == 7 and len(run.measure("utility.loss.forget").retrained.values) == 7
    assert len(run.timings["retrained"]) == 1  # one of many says nothing of what one retraining takes
    pipe, dataset = Pipeline(store), data.load(run.spec.original.dataset, run.spec.original.dataset_params)
    for k in (3, 6):
        together = pipe._retrained(run.spec, dataset, k, training.silent).outputs.logits
        store.discard("retrained", f"{run.spec.retrain_key}-{k}")
        alone = pipe._retrained(run.spec, dataset, k, training.silent).outputs.logits
        assert np.allclose(together, alone, atol=0.05) and not np.allclose(alone, 0)


@pytest.mark.parametrize("seconds, alone", [(1.0, 1), (1000.0, 3)])
def test_a_verdict_is_not_kept_waiting_by_models_that_train_together(store, small, monkeypatch, seconds, alone):
    spec = api.request(small, small.ids[75 : 80 + alone], "finetune", {"epochs": 1}, retrains=5)
    pipe, actual, told = Pipeline(store), pipeline.ensemble.plan, []
    pipe.unlearn(spec, Reporter())
    monkeypatch.setattr(pipeline.ensemble, "plan", lambda *given: replace(actual(*given), seconds=seconds))
    evidence = pipe._evidence
    monkeypatch.setattr(pipe, "_evidence", lambda loaded, *rest: told.append(len(loaded.retrained)) or evidence(loaded, *rest))
    pipe.add_retrained(spec, Reporter())
    assert told == [*range(1, alone + 1), 5]
