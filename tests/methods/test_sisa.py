"""SISA: what it gives is, bit for bit, the ensemble that never saw the points, and it redoes no more than it must."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from methods.support import apply, original, same

from unlearn_core import data, methods, models, seeds
from unlearn_core.errors import BadInput, Cancelled
from unlearn_core.models import sharding, training
from unlearn_core.models.device import settle
from unlearn_core.runs import api

settle()
SEED, CELLS = 9, (4, 3)
SMALL = {"shards": 4, "slices": 3, "width": 8, "batch": 16}


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module", params=["by hand", "automatic"])
def trained(request, wine):
    return original(wine, "sisa", seed=SEED, **SMALL, epochs=8 if request.param == "by hand" else "auto")


@pytest.fixture(scope="module")
def small(wine):
    return original(wine, "sisa", seed=SEED, **SMALL, epochs=8)


def without(trained, dataset, forget):
    ids = np.setdiff1d(dataset.splits.train, forget)
    return training.train(models.info("sisa"), dataset, trained[2], ids, SEED, "cpu")


def held(dataset, shard=None, slice_=None):
    """Training ids in these shards and slices."""
    ids = dataset.splits.train
    found = sharding.assign(ids, *CELLS, SEED)
    inside = [np.isin(place, wanted) if wanted is not None else True for place, wanted in zip(found, (shard, slice_), strict=True)]
    return ids[np.logical_and(*inside) & (ids >= 0)]


SELECTIONS = {
    "one": lambda d: d.splits.train[17:18],
    "many": lambda d: np.random.default_rng(0).choice(d.splits.train, 30, replace=False),
    "one of the last slice": lambda d: held(d, 2, 2)[:1],
    "one of the first slice": lambda d: held(d, 0, 0)[-1:],
    "a whole slice": lambda d: held(d, 1, 1),
    "the first slice of every shard": lambda d: held(d, None, 0),
    "a whole shard": lambda d: held(d, 3),
    "a whole shard from its second slice on": lambda d: held(d, 3, [1, 2]),
    "all but one shard": lambda d: held(d, [0, 1, 3]),
    "all but one shard, but one": lambda d: held(d, [0, 1, 3])[1:],
    "all but one": lambda d: d.splits.train[1:],
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_it_is_the_ensemble_that_never_saw_the_points_bit_for_bit(name, trained, wine):
    forget = SELECTIONS[name](wine)
    model, _, notes = apply(trained, wine, forget, "sisa", seed=3)
    wanted = without(trained, wine, forget)
    assert model.state_dict().keys() == wanted.state_dict().keys()
    for key, value in wanted.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    assert not same(model, trained[0]) and notes == []


def test_an_emptied_shard_abstains(small, wine):
    model, chosen, _ = apply(small, wine, held(wine, 3), "sisa")
    assert model.head.voting.tolist() == [True, True, True, False] and chosen["shards_redone"] == 1 and chosen["share_redone"] == 0
    assert torch.equal(model.checkpoints[3], model.checkpoints[3, :1].expand(3, -1))
    assert np.isfinite(training.predict(model, wine.inputs, "cpu")).all()


@pytest.mark.parametrize(
    ("first", "second"),
    [("one", "many"), ("many", "a whole shard"), ("a whole shard", "all but one shard, but one"), ("one", "a whole slice")],
)
def test_two_deletions_in_succession_are_one(first, second, small, wine):
    a = SELECTIONS[first](wine)
    b = np.setdiff1d(SELECTIONS[second](wine), a)
    once, _, _ = apply(small, wine, a, "sisa")
    rest = replace(wine, splits=replace(wine.splits, train=np.setdiff1d(wine.splits.train, a)))
    twice, _, _ = apply((once, *small[1:]), rest, b, "sisa")
    together = np.union1d(a, b)
    assert same(twice, without(small, wine, together)) and same(twice, apply(small, wine, together, "sisa")[0])


@pytest.mark.parametrize("name", SELECTIONS)
def test_only_what_was_touched_is_trained_again(name, trained, wine, monkeypatch):
    stages, steps = [], []
    descend, optimise = training.descend, training.optimise

    def spy(model, x, y, ids, **given):
        stages.append(ids.tolist())
        descend(model, x, y, ids, **given)

    monkeypatch.setattr(training, "descend", spy)
    monkeypatch.setattr(training, "optimise", lambda *given, **named: steps.append(optimise(*given, **named)))
    forget = SELECTIONS[name](wine)
    _, chosen, _ = apply(trained, wine, forget, "sisa")
    redone, taken = list(stages), sum(steps)
    plan = sharding.touched(wine.splits.train, forget, trained[2], SEED)
    retain = np.setdiff1d(wine.splits.train, forget)
    shard, slice_ = sharding.assign(retain, *CELLS, SEED)
    wanted = [retain[(shard == k) & (slice_ <= j)].tolist() for k in range(4) for j in range(plan.first[k], 3)]
    assert redone == [ids for ids in wanted if ids]
    assert set(plan.shards) == set(sharding.assign(forget, *CELLS, SEED)[0].tolist())
    assert all(plan.first[k] == min(s for i, s in zip(*sharding.assign(forget, *CELLS, SEED), strict=True) if i == k) for k in plan.shards)
    assert chosen["redone_from"] == {str(k): plan.first[k] for k in plan.shards} and chosen["shards_redone"] == len(plan.shards)
    stages.clear(), steps.clear()
    without(trained, wine, forget)
    assert plan.share == pytest.approx(taken / sum(steps)) and chosen["share_redone"] == pytest.approx(plan.share, abs=1e-4)


def test_members_large_enough_for_several_threads_are_exact_too():
    digits = data.load("digits")
    few = replace(digits, splits=replace(digits.splits, train=digits.splits.train[:200]))
    trained = original(few, "sisa", seed=SEED, shards=2, slices=2, width=448, epochs=3)
    assert sum(p.numel() for p in trained[0].members[0].parameters()) > training.SMALL
    forget = few.splits.train[:3]
    assert same(apply(trained, few, forget, "sisa")[0], without(trained, few, forget))


def test_it_never_reads_the_forgotten(small, wine):
    forget = SELECTIONS["many"](wine)
    inputs, labels = wine.inputs.copy(), wine.labels.copy()
    inputs[forget], labels[forget] = np.nan, (labels[forget] + 1) % 3
    clean, dirty = (apply(small, dataset, forget, "sisa")[0] for dataset in (wine, replace(wine, inputs=inputs, labels=labels)))
    assert same(clean, dirty)


def test_progress_rises_and_a_cancel_is_heard(small, wine):
    seen, curves = [], []

    def progress(fraction, **given):
        seen.append(fraction)
        curves.append(given)

    apply(small, wine, SELECTIONS["many"](wine), "sisa", progress=progress)
    assert seen == sorted(seen) and seen[-1] == 1.0
    assert sum("retain_accuracy" in given for given in curves) == 4

    def stop(fraction, **given):
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        apply(small, wine, SELECTIONS["many"](wine), "sisa", progress=stop)


def test_it_is_refused_on_other_models(wine):
    with pytest.raises(BadInput, match=r"method: SISA \(exact, sharded\) does not work on the model mlp. Open the model sisa, or choose"):
        apply(original(wine, "mlp", width=8, epochs=2), wine, wine.splits.train[:3], "sisa")
    assert "sisa" in methods.suited("sisa") and "sisa" not in methods.suited("mlp")


# other methods treat the ensemble as one network ---------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, method in methods.suited("sisa").items() if "never_seen" not in method.needs])
def test_other_methods_work_on_the_ensemble_or_say_that_they_cannot(name, small, wine):
    try:
        model, _, _ = apply(small, wine, SELECTIONS["many"](wine), name)
    except BadInput as refused:
        assert name.startswith("struct") and "linear last layer" in refused.problem
        return
    assert np.isfinite(training.predict(model, wine.inputs, "cpu")).all()
    assert not same(model, small[0])
    if name not in ("sisa", "retrain"):
        assert torch.equal(model.checkpoints, small[0].checkpoints)


# before and after, in whole runs -------------------------------------------------------------------------


@pytest.mark.parametrize(("dataset", "given"), [("wine", {}), ("moons", {"instances": 160})])
def test_a_whole_run(dataset, given, tmp_path):
    run = api.run(
        dataset,
        "random:6",
        "sisa",
        "sisa",
        dataset_params=given,
        model_params=SMALL | {"epochs": 30},
        retrains=3,
        store=tmp_path,
        device="cpu",
    )
    original = api.originals.load(api.Store(tmp_path), run.spec.original.key)
    told = api.forecast(original, run.spec.forget, "sisa")
    assert told == (
        f"Touches {run.chosen['shards_redone']} of 4 shards; about {run.chosen['share_redone']:.0%} of a full training must be redone."
    )
    assert api.forecast(original, run.spec.forget, "retrain") is None and api.forecast(original, [], "sisa") is None
    assert run.retrained == 3 and len(run.measures) > 30 and run.notes == []
    for measure in run.measures:
        assert measure.unlearned is not None or measure.reason, measure.id
    known = {m.id: m for m in run.measures}
    assert known["structure.knn_overlap.retain"].unlearned is not None
    assert known["utility.accuracy.test"].retrained.values and known["utility.accuracy.test"].unlearned > 0.5


def test_the_retrained_of_the_originals_seed_would_be_the_unlearned(tmp_path):
    run = api.run("wine", "random:5", "sisa", "sisa", model_params=SMALL | {"epochs": 10}, seed=4, retrains=0, store=tmp_path, device="cpu")
    from unlearn_core.models import storage

    wine, info, params = data.load("wine"), models.info("sisa"), run.spec.original.model_params
    unlearned = storage.load(run.model_path, info, wine, params, "cpu")
    retain = np.setdiff1d(wine.splits.train, run.spec.forget)
    assert same(unlearned, training.train(info, wine, params, retain, seeds.derive("original", 4), "cpu"))


def test_the_forecast_needs_no_torch():
    code = """
import sys
from unlearn_core import methods, models
from unlearn_core.params import resolve
params = resolve(models.info("sisa").params, {}, "sisa")
print(methods.info("sisa").forecast(params, range(1000), [3], 7))
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Touches 1 of 5 shards; about ")
