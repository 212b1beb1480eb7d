"""SISA's sharding, slicing, checkpoints and vote."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from unlearn_core import data, models, seeds
from unlearn_core.errors import Cancelled
from unlearn_core.models import sharding, storage, training
from unlearn_core.models.base import epochs_for
from unlearn_core.models.device import settle
from unlearn_core.params import resolve

settle()
INFO = models.info("sisa")
SMALL = {"shards": 3, "slices": 4, "width": 8, "epochs": 6, "batch": 16}


def recipe(**given):
    return resolve(INFO.params, SMALL | given, "sisa")


def train(dataset, seed=5, ids=None, progress=training.silent, after_epoch=None, **given):
    ids = dataset.splits.train if ids is None else ids
    return training.train(INFO, dataset, recipe(**given), ids, seed, "cpu", progress, after_epoch)


def same(a, b):
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module")
def trained(wine):
    return train(wine)


@pytest.fixture
def stages(monkeypatch):
    """What every stage trained on, in order: (ids, epochs, seed)."""
    seen, actual = [], training.descend

    def descend(model, x, y, ids, **given):
        seen.append((ids.tolist(), given["epochs"], given["seed"]))
        actual(model, x, y, ids, **given)

    monkeypatch.setattr(training, "descend", descend)
    return seen


# places --------------------------------------------------------------------------------------------------


def test_an_instance_keeps_its_place_whatever_else_is_there():
    ids = np.random.default_rng(0).permutation(5000)
    shard, slice_ = sharding.assign(ids, 5, 7, 2**48 - 1)
    some = ids[::3][::-1]
    place = dict(zip(ids.tolist(), zip(shard.tolist(), slice_.tolist(), strict=True), strict=True))
    assert [place[i] for i in some.tolist()] == list(zip(*map(np.ndarray.tolist, sharding.assign(some, 5, 7, 2**48 - 1)), strict=True))
    assert shard.min() == slice_.min() == 0 and (shard.max(), slice_.max()) == (4, 6)


@pytest.mark.parametrize("seed", [0, 1, seeds.derive("original", 0)])
@pytest.mark.parametrize("ids", [np.arange(20_000), np.arange(0, 2_000_000, 100)], ids=["all", "every hundredth"])
def test_places_are_uniform(ids, seed):
    held = sharding.sizes(ids, 5, 5, seed)
    expected = len(ids) / 25
    assert held.sum() == len(ids)
    assert ((held - expected) ** 2 / expected).sum() < 55  # χ² with 24 degrees of freedom: less than 1 in 3000 lies above


def test_other_seeds_give_independent_places():
    ids = np.arange(20_000)
    for seed in (1, 2, 2**40):
        both = sharding.assign(ids, 4, 1, 0)[0] * 4 + sharding.assign(ids, 4, 1, seed)[0]
        counts = np.bincount(both, minlength=16)
        assert ((counts - 1250) ** 2 / 1250).sum() < 42


# stages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"shards": 1}, {"slices": 1}, {"shards": 1, "slices": 1}])
def test_stages_train_on_growing_slices_of_disjoint_shards(given, wine, stages):
    model = train(wine, **given)
    params, ids = recipe(**given), wine.splits.train
    shard, slice_ = sharding.assign(ids, params["shards"], params["slices"], 5)
    wanted = [ids[(shard == k) & (slice_ <= j)].tolist() for k in range(params["shards"]) for j in range(params["slices"])]
    assert [part for part, _, _ in stages] == [part for part in wanted if part]
    whole = [set(wanted[k * params["slices"] + params["slices"] - 1]) for k in range(params["shards"])]
    assert set.union(*whole) == set(ids.tolist()) and sum(map(len, whole)) == len(ids)
    assert len({seed for _, _, seed in stages}) == len(stages)
    for member, part in zip(model.members, whole, strict=True):
        np.testing.assert_allclose(member.standardise.mean, wine.inputs[sorted(part)].mean(0), rtol=1e-5)


@pytest.mark.parametrize("slices", [1, 2, 5, 9])
def test_all_stages_cost_what_the_epochs_over_a_shard_do(slices):
    params = recipe(slices=slices, epochs=90)
    visits = sum(sharding.epochs(params, 100 * (j + 1), j) * 100 * (j + 1) for j in range(slices))
    assert visits == 90 * 100 * slices
    assert sharding.epochs(recipe(slices=slices, epochs=1), 10, 0) == 1 and sharding.epochs(params, 0, 0) == 0


def test_automatic_epochs_look_at_no_later_slice():
    params = recipe(epochs="auto", slices=5, batch=64)
    for stage in range(5):
        assert sharding.epochs(params, 40 * (stage + 1), stage) == round(epochs_for(params, 200) / 3)


def test_the_order_of_the_ids_does_not_matter(wine, trained):
    assert same(train(wine, ids=np.random.default_rng(1).permutation(wine.splits.train)), trained)


def test_a_member_never_sees_other_shards(wine, trained):
    shard, _ = sharding.assign(np.arange(len(wine)), 3, 4, 5)
    for k in range(3):
        inputs, labels = wine.inputs.copy(), (wine.labels + 1) % 3
        inputs[shard != k], labels[shard == k] = 7 - inputs[shard != k], wine.labels[shard == k]
        poisoned = train(replace(wine, inputs=inputs, labels=labels))
        assert same(poisoned.members[k], trained.members[k])
        assert torch.equal(poisoned.checkpoints[k], trained.checkpoints[k])
        others = [j for j in range(3) if j != k]
        assert (poisoned.checkpoints[others, -1] != trained.checkpoints[others, -1]).any(dim=1).all()


# checkpoints ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [[0, 4, 4], [4, 3, 1], [2, 2, 2]])
def test_going_on_from_checkpoints_gives_the_same_ensemble(first, wine, trained):
    model = copy.deepcopy(trained)
    with torch.no_grad():
        for k, stage in enumerate(first):
            if stage < 4:
                [p.fill_(torch.nan) for p in model.members[k].parameters()]
                model.checkpoints[k, stage + 1 :] = torch.nan
    model.learn(*training.tensors(wine, "cpu"), wine.splits.train, first)
    assert same(model, trained) and not model.training


def test_the_first_checkpoint_is_the_fresh_member(wine, trained):
    fresh = training.fresh(INFO, wine, recipe(), 5, "cpu")
    assert torch.equal(trained.checkpoints[:, 0], fresh.checkpoints[:, 0])
    assert not torch.equal(trained.checkpoints[0, 0], trained.checkpoints[1, 0])
    assert not torch.equal(trained.checkpoints[:, 0], trained.checkpoints[:, 1])


def test_storage_keeps_checkpoints_and_seed(tmp_path, wine, trained):
    storage.save(tmp_path / "m.safetensors", trained, {})
    back = storage.load(tmp_path / "m.safetensors", INFO, wine, recipe(), "cpu")
    assert same(back, trained) and int(back.seed) == 5
    back.learn(*training.tensors(wine, "cpu"), wine.splits.train[7:], [0, 0, 0])
    assert same(back, train(wine, ids=wine.splits.train[7:]))


def test_members_are_views_on_the_ensemble_in_a_copy_too(wine, trained):
    model = copy.deepcopy(trained).double()
    x = torch.as_tensor(wine.inputs[:20]).double()
    with torch.no_grad():
        model.members[1].head.bias.fill_(7.0)
        assert (model.head.heads[1].bias == 7).all() and not (trained.head.heads[1].bias == 7).any()
        features = torch.cat([member.features(x) for member in model.members], dim=1)
        assert torch.equal(model.features(x), features) and features.shape == (20, 3 * 8)
        assert [value.shape for value in model.layers(x).values()] == [(20, 24), (20, 24)]


# the vote ------------------------------------------------------------------------------------------------


def softmax(z):
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def test_the_answer_is_the_mean_of_the_members_probabilities(wine, trained):
    each = [softmax(training.predict(member, wine.inputs, "cpu").astype(np.float64)) for member in trained.members]
    np.testing.assert_allclose(training.predict(trained, wine.inputs, "cpu"), np.log(np.mean(each, axis=0)), atol=1e-5)
    np.testing.assert_allclose(softmax(training.predict(trained, wine.inputs, "cpu")), np.mean(each, axis=0), atol=1e-6)


def test_members_without_instances_abstain(wine):
    ids = wine.splits.train
    shard, _ = sharding.assign(ids, 3, 4, 5)
    model = train(wine, ids=ids[shard == 1])
    assert model.head.voting.tolist() == [False, True, False]
    alone = training.predict(model.members[1], wine.inputs, "cpu")
    np.testing.assert_allclose(softmax(training.predict(model, wine.inputs, "cpu")), softmax(alone), atol=1e-6)
    x = torch.as_tensor(wine.inputs[:5])
    model(x).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert not model.head.heads[0].weight.grad.any()


def test_one_instance_is_enough(wine):
    model = train(wine, ids=wine.splits.train[:1])
    assert model.head.voting.sum() == 1 and np.isfinite(training.predict(model, wine.inputs, "cpu")).all()


# progress ------------------------------------------------------------------------------------------------


def test_progress_rises_carries_the_loss_and_can_cancel(wine):
    seen, losses = [], []

    def progress(fraction, **curves):
        seen.append(fraction)
        losses.extend(curves.values())

    train(wine, progress=progress)
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 20 and all(map(np.isfinite, losses))

    def stop(fraction, **curves):
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        train(wine, progress=stop)


def test_after_each_shard_it_can_be_stopped(wine):
    votes = []
    train(wine, after_epoch=lambda model: votes.append(model.head.voting.tolist()))
    assert votes == [[True, False, False], [True, True, False], [True, True, True]]
    model = train(wine, after_epoch=lambda model: True)
    assert model.head.voting.tolist() == [True, False, False] and not model.training


@pytest.mark.parametrize(("name", "least"), [("digits", 0.95), ("wine", 0.9), ("moons", 0.87)])
def test_an_ensemble_learns(name, least):
    dataset = data.load(name)
    model = training.train(INFO, dataset, resolve(INFO.params, {}, "sisa"), dataset.splits.train, seeds.derive("original", 0), "cpu")
    predicted = training.predict(model, dataset.inputs[dataset.splits.test], "cpu").argmax(1)
    assert (predicted == dataset.labels[dataset.splits.test]).mean() >= least
