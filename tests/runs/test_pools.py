"""The stored shadow pool: nothing trained twice, nothing lost when interrupted, and a table that plain loops confirm."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from unlearn_core import data, models, seeds
from unlearn_core.errors import BadInput, Cancelled
from unlearn_core.models import ensemble, storage, training
from unlearn_core.models.planning import Plan, Way
from unlearn_core.models.pool import CHOOSE, JUDGE, ROLES
from unlearn_core.runs import pools
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec, PoolSpec
from unlearn_core.runs.store import Store

DATASET = data.load("wine")
ORIGINAL = OriginalSpec.make("wine", "softmax", model_params={"epochs": 2})
SPEC = PoolSpec.make(ORIGINAL, DATASET.hash, members=16)
CHUNK = 4


@pytest.fixture
def trained(monkeypatch):
    """How many models each call trains, always CHUNK together."""
    found, actual = [], ensemble.train_many
    monkeypatch.setattr(ensemble, "plan", lambda info, dataset, params, rows, device: Plan(Way(True, CHUNK, 1, 1), len(rows), 0.1, {}))
    monkeypatch.setattr(ensemble, "train_many", lambda *given: found.append(len(given[3])) or actual(*given))
    return found


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A store with one finished pool, for tests that only read it."""
    store = Store(tmp_path_factory.mktemp("pool"))
    pools.prepare(store, SPEC, Reporter())
    return store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


FILES = 3  # of a shadow: weights, answers, and whose it is


def contents(store, kind="shadows"):
    return {path.relative_to(store.folder): path.read_bytes() for path in sorted((store.folder / kind).rglob("*.*"))}


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], **tolerance, err_msg=name)


# training and keeping


def test_a_pool_is_trained_once(store, trained):
    assert pools.load(store, SPEC.key) is None
    table = pools.prepare(store, SPEC, Reporter())
    before = contents(store)
    assert trained == [16] and len(before) == FILES * 16
    again = pools.prepare(store, SPEC, Reporter())
    assert trained == [16] and contents(store) == before
    assert again.key == SPEC.key and again.spec == SPEC and again.meta == table.meta
    assert_same(again.arrays, table.arrays, rtol=0)
    assert (table.meta["size"], table.meta["universe"], table.meta["trained"]) == (115, 163, 16) and table.meta["seconds"] > 0


def test_a_larger_pool_takes_over_the_models_of_a_smaller_one(store, trained):
    pools.prepare(store, replace(SPEC, members=8), Reporter())
    small = contents(store)
    table = pools.prepare(store, SPEC, Reporter())
    assert trained == [8, 8] and table.meta["trained"] == 8
    assert len(contents(store)) == FILES * 16 and small.items() <= contents(store).items()
    pools.prepare(store, replace(SPEC, members=12), Reporter())
    assert trained == [8, 8]


def test_the_largest_stored_pool_of_the_same_models_is_found(store):
    assert pools.largest(store, SPEC) is None
    for spec in (SPEC, replace(SPEC, members=8), replace(SPEC, members=20, universe="train")):
        pools.prepare(store, spec, Reporter())
    assert pools.largest(store, replace(SPEC, members=64)) == SPEC.key


def test_an_interrupted_pool_keeps_what_finished_and_resumes(store, full, trained):
    class Impatient(Reporter):
        def show(self, stage, fraction, curves):
            if list((store.folder / "shadows").glob(f"{SPEC.base}-*")):
                raise Cancelled

    with pytest.raises(Cancelled):
        pools.prepare(store, SPEC, Impatient())
    kept = contents(store)
    done = len(kept) // FILES
    assert 0 < done < 16 and done % CHUNK == 0 and pools.load(store, SPEC.key) is None
    table = pools.prepare(store, SPEC, Reporter())
    assert trained == [16, 16 - done] and kept.items() <= contents(store).items()
    assert_same(table.arrays, pools.load(full, SPEC.key).arrays, rtol=1e-3, atol=2e-3)


def test_progress_stays_within_its_part(store):
    seen = []

    class Seen(Reporter):
        def show(self, stage, fraction, curves):
            seen.append((stage, fraction))

    pools.prepare(store, replace(SPEC, members=8), Seen(), 0.2, 0.6)
    assert all("8 shadow models" in stage for stage, _ in seen)
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions) and fractions[0] == pytest.approx(0.2) and fractions[-1] == pytest.approx(0.6)


@pytest.mark.parametrize("role", ROLES)
def test_each_model_is_training_its_subset_alone_with_its_seed(full, role):
    info, params = models.info("softmax"), ORIGINAL.model_params
    folders, subsets = pools.folders(full, SPEC, role), pools.training_ids(SPEC, DATASET, role)
    for k in (0, 5):
        alone = training.train(info, DATASET, params, subsets[k], seeds.derive("pool", SPEC.seed, role, k), "cpu")
        stored = storage.load(folders[k] / "model.safetensors", info, DATASET, params, "cpu")
        expected = training.predict(alone, DATASET.inputs, "cpu")
        np.testing.assert_allclose(training.predict(stored, DATASET.inputs, "cpu"), expected, rtol=1e-3, atol=2e-3)
        np.testing.assert_allclose(np.load(folders[k] / "logits.npy"), expected, rtol=1e-3, atol=2e-3)


def test_the_halves_share_no_model_and_know_what_each_saw(full):
    found = {role: pools.shadows(full, SPEC, DATASET, role) for role in ROLES}
    assert len({folder for role in ROLES for folder in pools.folders(full, SPEC, role)}) == 16
    for role, half in found.items():
        assert half.logits.shape == (8, 178, 3) and half.logits.dtype == np.float32 and half.unlearned is None
        assert [np.flatnonzero(row).tolist() for row in half.keep] == [ids.tolist() for ids in pools.training_ids(SPEC, DATASET, role)]
    assert len({one.tobytes() for half in found.values() for one in half.logits}) == 16


# the table


def expected_table(store):
    """The table, model by model and instance by instance."""
    ids, labels = DATASET.splits.train, DATASET.labels
    info, params = models.info("softmax"), ORIGINAL.model_params
    probabilities, saw = [], [set(part) for part in pools.training_ids(SPEC, DATASET, CHOOSE)]
    for folder in pools.folders(store, SPEC, CHOOSE):
        model = storage.load(folder / "model.safetensors", info, DATASET, params, "cpu")
        logits = training.predict(model, DATASET.inputs, "cpu").astype(float)
        probabilities.append([[math.exp(z - max(row)) / sum(math.exp(o - max(row)) for o in row) for z in row] for row in logits.tolist()])

    def mean(values):
        return sum(values) / len(values) if values else math.nan

    def squares(values):
        return sum((value - mean(values)) ** 2 for value in values)

    sides = {True: [], False: []}  # φ of each instance, from models that saw it and that did not
    found = {"ids": ids, "left_out": [], "memorisation": [], "difficulty": [], "exposure": []}
    for i in ids:
        right = {True: [], False: []}
        for side in sides.values():
            side.append([])
        for rows, part in zip(probabilities, saw, strict=True):
            p = rows[i][labels[i]]
            right[i in part].append(p == max(rows[i]))
            sides[i in part][-1].append(math.log(p) - math.log(sum(q for c, q in enumerate(rows[i]) if c != labels[i])))
        never = sides[False][-1]
        found["left_out"].append(len(never))
        found["memorisation"].append(mean(right[True]) - mean(right[False]))
        found["difficulty"].append(-mean(never))
    prior = 8
    pooled = {side: sum(map(squares, phi)) / sum(max(len(values) - 1, 0) for values in phi) for side, phi in sides.items()}
    for pair in zip(sides[True], sides[False], strict=True):
        weights = [prior + len(values) - 1 for values in pair]
        spread = sum(prior * pooled[side] + squares(values) for side, values in zip((True, False), pair, strict=True)) / sum(weights)
        found["exposure"].append((mean(pair[0]) - mean(pair[1])) / math.sqrt(spread))
    return found


def test_the_table_equals_plain_loops(full):
    table = pools.load(full, SPEC.key)
    expected = expected_table(full)
    assert_same(table.arrays, expected, rtol=1e-4, atol=1e-4)
    assert len(set(table.arrays["left_out"].tolist())) > 1 and np.isfinite(table.arrays["exposure"]).mean() > 0.9
    assert {table.arrays[name].dtype for name in ("memorisation", "difficulty", "exposure")} == {np.dtype(np.float32)}


@pytest.mark.parametrize("role", ROLES)
def test_the_table_comes_from_the_choosing_half_alone(store, role, trained):
    table = pools.prepare(store, SPEC, Reporter())
    for folder in pools.folders(store, SPEC, role):
        np.save(folder / "logits.npy", -np.load(folder / "logits.npy"))
    store.discard("pools", SPEC.key)
    again = pools.prepare(store, SPEC, Reporter())
    assert trained == [16] and again.meta["trained"] == 0
    unchanged = [
        np.array_equal(again.arrays[name], table.arrays[name], equal_nan=True) for name in ("memorisation", "difficulty", "exposure")
    ]
    assert unchanged == [role == JUDGE] * 3


# the request


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"members": 9}, "pool"), ({"members": 6}, "pool"), ({"members": 0}, "pool"), ({"members": 514}, "pool"), ({"members": -8}, "pool"),
        ({"members": 8.0}, "pool"), ({"members": True}, "pool"), ({"universe": "test"}, "universe"), ({"universe": ""}, "universe"),
        ({"share": 0.05}, "share"), ({"share": 0.96}, "share"), ({"share": 1}, "share"), ({"share": float("nan")}, "share"), ({"share": "half"}, "share"), ({"seed": -1}, "seed"),
    ],
)  # fmt: skip
def test_bad_requests_name_the_field(given, field):
    with pytest.raises(BadInput) as caught:
        PoolSpec.make(ORIGINAL, DATASET.hash, **given)
    assert caught.value.field == field and caught.value.fix


@pytest.mark.parametrize("members", [8, 512, np.int64(64)])
def test_even_numbers_of_models_are_accepted(members):
    assert PoolSpec.make(ORIGINAL, DATASET.hash, members, share=0.95).members == members


def test_models_are_shared_exactly_where_they_may_be():
    shared = [replace(SPEC, members=64)] + [replace(SPEC, original=replace(ORIGINAL, **{name: 9})) for name in ("seed", "layout_version")]
    assert {spec.base for spec in shared} == {SPEC.base}
    assert [spec.key == SPEC.key for spec in shared] == [False, True, True]
    other = {"dataset_hash": "00ff", "universe": "train", "share": 0.5, "device": "cuda", "seed": 1, "version": 99}
    recipe = {"dataset": "digits", "dataset_params": {"split_seed": 1}, "dataset_version": 9, "model": "mlp", "model_params": {"epochs": 3}}
    recipe |= {"model_version": 9, "recipe_version": 9}
    own = [replace(SPEC, **{name: value}) for name, value in other.items()]
    own += [replace(SPEC, original=replace(ORIGINAL, **{name: value})) for name, value in recipe.items()]
    assert len({spec.base for spec in [SPEC, *own]}) == len({spec.key for spec in [SPEC, *own]}) == len(own) + 1


def test_a_request_survives_json():
    spec = PoolSpec.make(ORIGINAL, DATASET.hash, 32, "train", 0.75, seed=3)
    back = PoolSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert back == spec and back.key == spec.key


def test_a_pool_of_other_data_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no longer has the contents"):
        pools.prepare(Store(tmp_path), replace(SPEC, dataset_hash="00ff"), Reporter())


def test_what_a_pool_costs_is_told_beside_a_run_that_aims_by_it(tmp_path):
    """Counted up from the models that were trained for it, and said with and without sharing."""
    from unlearn_core import report
    from unlearn_core.runs import api

    store = Store(tmp_path)
    given = {"params": {"pool": 12}, "retrains": 1, "device": "cpu", "store": store, "model_params": {"epochs": 2}}
    run = api.run("wine", "random:5", "calibrated", "softmax", **given)
    table = pools.load(store, PoolSpec.make(run.spec.original, run.spec.dataset_hash, 12).key)
    assert run.timings["pool"] == pytest.approx(table.meta["seconds"]) == pools.cost(table)
    half = replace(table, meta=table.meta | {"trained": 6})
    assert pools.cost(half) == pytest.approx(2 * table.meta["seconds"])
    assert pools.cost(replace(table, meta=table.meta | {"trained": 0})) is None
    told = next(sentence for sentence in report.summary(run).cost if "12 shadow models" in sentence)
    assert report.seconds(run.timings["pool"] + run.timings["method"]) in told
    other = api.run("wine", "random:5", "finetune", "softmax", **given | {"params": {"epochs": 1}})
    assert "pool" not in other.timings and not any("shadow models" in sentence for sentence in report.summary(other).cost)
