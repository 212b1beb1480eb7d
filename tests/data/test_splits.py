"""Splits, hashes, planted labels and the registered datasets."""

import socket

import numpy as np
import pytest

from unlearn_core import data
from unlearn_core.data.base import SHARES, Dataset, stratified_splits
from unlearn_core.errors import BadInput

NAMES = [name for name, info in data.registry().items() if not info.files and not name.startswith("own_")]
PLANAR = [name for name in NAMES if data.info(name).modality == "points"]


@pytest.fixture(scope="module")
def loaded():
    return {name: data.load(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_dataset_loads_without_a_network(name, loaded, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a dataset reached for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    again, first, info = data.load(name), loaded[name], data.info(name)
    assert again.hash == first.hash
    assert again.inputs.dtype == np.float32 and again.labels.dtype == np.int64
    assert np.isfinite(again.inputs).all()
    assert len(again.inputs) == len(again.labels) == len(again)
    assert set(again.labels) == set(range(len(again.class_names)))
    assert again.modality == info.modality
    assert again.inputs.ndim == (4 if info.modality == "image" else 2)
    if info.modality == "image":
        assert again.inputs.min() >= 0 and again.inputs.max() <= 1
    else:
        assert len(again.feature_names) == again.inputs.shape[1]
    assert info.licence and info.citation


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_disjoint_and_cover_everything(name, loaded):
    dataset = loaded[name]
    together = np.concatenate([ids for _, ids in dataset.splits.items()])
    assert np.array_equal(np.sort(together), np.arange(len(dataset)))
    for _, ids in dataset.splits.items():
        assert len(ids) and np.array_equal(ids, np.unique(ids))
    assert np.array_equal(dataset.splits.validation, np.union1d(dataset.splits.tuning, dataset.splits.heldout))


@pytest.mark.parametrize("counts", [(100, 300, 37), (7, 1000), (1, 2, 50)])
def test_each_class_is_split_in_proportion(counts):
    labels = np.random.default_rng(3).permutation(np.repeat(np.arange(len(counts)), counts))
    splits = stratified_splits(labels, seed=5)
    for label, count in enumerate(counts):
        for name, ids in splits.items():
            assert abs((labels[ids] == label).sum() - SHARES[name] * count) <= 1


def test_splits_follow_their_seed():
    labels = np.repeat([0, 1, 2], 80)
    first, same, other = (stratified_splits(labels, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first.items(), same.items(), strict=True))
    assert not np.array_equal(first.train, other.train)
    assert not np.array_equal(data.load("wine").splits.test, data.load("wine", {"split_seed": 1}).splits.test)


def test_hash_changes_with_every_part_of_the_content(loaded):
    from dataclasses import replace

    dataset = loaded["wine"]

    def copied(**parts) -> Dataset:
        return replace(dataset, **parts)

    assert copied(inputs=dataset.inputs.copy()).hash == dataset.hash
    pixel, label = dataset.inputs.copy(), dataset.labels.copy()
    pixel[3, 2] += 1e-3
    label[3] = (label[3] + 1) % 3
    swapped = replace(dataset.splits, test=dataset.splits.population, population=dataset.splits.test)
    moved = replace(dataset.splits, test=np.r_[dataset.splits.test, dataset.splits.population], population=np.zeros(0, np.int64))
    hashes = {dataset.hash, copied(inputs=pixel).hash, copied(labels=label).hash, copied(splits=swapped).hash, copied(splits=moved).hash}
    assert len(hashes) == 5
    # The same bytes in another shape are another content.
    assert copied(inputs=dataset.inputs.reshape(-1, 1)).hash != dataset.hash


@pytest.mark.parametrize("name", PLANAR)
def test_planted_labels_are_wrong_and_only_in_train(name):
    given = {"instances": 400, "mislabelled": 0.15, "seed": 4, "noise": 0.1}
    dirty, clean = data.load(name, given), data.load(name, given | {"mislabelled": 0.0})
    assert np.array_equal(dirty.inputs, clean.inputs)
    assert np.array_equal(dirty.splits.train, clean.splits.train)
    wrong = np.flatnonzero(dirty.labels != clean.labels)
    assert np.array_equal(wrong, dirty.planted["mislabelled"])
    assert np.isin(wrong, dirty.splits.train).all()
    assert len(wrong) == round(0.15 * len(dirty.splits.train))
    assert len(clean.planted["mislabelled"]) == 0
    assert not np.array_equal(dirty.inputs, data.load(name, given | {"seed": 5}).inputs)


@pytest.mark.parametrize(
    ("name", "params", "field", "fix"),
    [
        ("imagenet", {}, "dataset", "digits"),
        ("digits", {"split_seed": -1}, "split_seed", "from 0 to"),
        ("digits", {"noise": 0.1}, "noise", "split_seed"),
        ("moons", {"mislabelled": 0.9}, "mislabelled", "from 0 to 0.4"),
        ("moons", {"instances": 12.5}, "instances", "whole number"),
        ("moons", {"instances": "many"}, "instances", "whole number"),
        ("moons", {"instances": float("inf")}, "instances", "whole number"),
        ("moons", {"noise": float("nan")}, "noise", "a number from 0 to 1"),
        ("moons", {"noise": None}, "noise", "a number"),
        ("moons", {"seed": True}, "seed", "whole number"),
        ("wine", {"split_seed": "auto"}, "split_seed", "whole number"),
    ],
)
def test_bad_parameters_name_field_and_fix(name, params, field, fix):
    with pytest.raises(BadInput) as caught:
        data.load(name, params)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert fix in caught.value.fix
