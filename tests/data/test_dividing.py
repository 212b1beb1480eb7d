"""Official test sets, smaller cuts, and what a Dataset says of itself."""

import numpy as np
import pytest

from unlearn_core import data
from unlearn_core.data.base import SHARES, Dataset, shorten, stratified_splits
from unlearn_core.data.dividing import FLOOR, cut, divide, official_splits
from unlearn_core.errors import BadInput

LABELS = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [6000, 3000, 1000]))


def test_the_official_test_set_stays_whole():
    splits = official_splits(LABELS, 8000, seed=3)
    assert np.array_equal(splits.test, np.arange(8000, 10_000))
    together = np.concatenate([ids for _, ids in splits.items()])
    assert np.array_equal(np.sort(together), np.arange(10_000))
    rest = 1 - SHARES["test"]
    for name, ids in splits.items():
        if name != "test":
            for label in range(3):
                of_class = (LABELS[:8000] == label).sum()
                assert abs((LABELS[ids] == label).sum() - of_class * SHARES[name] / rest) <= 1
    assert np.array_equal(splits.train, official_splits(LABELS, 8000, seed=3).train)
    assert not np.array_equal(splits.train, official_splits(LABELS, 8000, seed=4).train)


@pytest.mark.parametrize("count", [3, 50, 777, 5000])
def test_a_cut_keeps_proportions_and_order(count):
    splits = stratified_splits(LABELS, 0)
    kept, smaller = cut(LABELS, splits, count, seed=0)
    assert np.array_equal(kept, np.unique(kept)) and len(smaller.train) == count
    together = np.concatenate([ids for _, ids in smaller.items()])
    assert np.array_equal(np.sort(together), np.arange(len(kept)))
    for (name, ids), (_, whole) in zip(smaller.items(), splits.items(), strict=True):
        assert np.isin(kept[ids], whole).all(), name
        if name != "train":
            assert len(ids) == max(round(len(whole) * count / len(splits.train)), min(FLOOR, len(whole)))
        shares = np.bincount(LABELS[whole], minlength=3) / len(whole)
        assert (np.abs(np.bincount(LABELS[kept[ids]], minlength=3) - shares * len(ids)) <= 1).all()
    again = cut(LABELS, splits, count, seed=0)
    assert np.array_equal(again[0], kept)
    if count < 5000:
        assert not np.array_equal(cut(LABELS, splits, count, seed=1)[0], kept)


def test_rare_classes_survive_a_cut():
    labels = np.repeat(np.arange(21), [2000] + [10] * 20)
    kept, splits = cut(labels, stratified_splits(labels, 0), 60, 0)
    assert len(splits.train) == 60 and set(labels[kept[splits.train]]) == set(range(21))


@pytest.mark.parametrize("count", [2, 6501, 10**9])
def test_cuts_that_cannot_be_drawn(count):
    with pytest.raises(BadInput, match="from 3 to 6,500") as caught:
        divide(LABELS, {"subset": count, "split_seed": 0})
    assert caught.value.field == "subset"


def test_no_cut_keeps_everything():
    kept, splits = divide(LABELS, {"subset": "auto", "split_seed": 5})
    assert np.array_equal(kept, np.arange(len(LABELS)))
    assert np.array_equal(splits.train, stratified_splits(LABELS, 5).train)


def small(**parts) -> Dataset:
    labels = np.arange(20) % 2
    return Dataset("x", {}, "image", parts.pop("inputs"), labels, ("a", "b"), stratified_splits(labels, 0), **parts)


def test_values_are_in_the_units_of_a_model():
    pixels = np.arange(20 * 4, dtype=np.uint8).reshape(20, 1, 2, 2)
    found = small(inputs=pixels).values([3, 1])
    assert found.dtype == np.float32 and np.allclose(found * 255, pixels[[3, 1]])
    assert small(inputs=pixels).values().shape == pixels.shape
    ready = pixels.astype(np.float32) / 255
    assert np.array_equal(small(inputs=ready).values(), ready)
    ids = np.ones((20, 3), np.int32)
    assert small(inputs=ids).values().dtype == np.int32


def test_the_same_pixels_in_another_type_are_another_content():
    pixels = np.zeros((20, 1, 2, 2), np.uint8)
    assert small(inputs=pixels).hash != small(inputs=pixels.astype(np.float32)).hash


def test_instances_in_words():
    table = small(
        inputs=np.tile(np.float32([1.23456, 2, 1]), (20, 1)), feature_names=("size", "rooms", "town"), categories=((), (), ("Bern", "Ulm"))
    )
    assert table.words(0) == "size 1.235, rooms 2, town Ulm"
    assert small(inputs=np.zeros((20, 1)), texts=["word " * 100] * 20).words(3, 20) == shorten("word " * 100, 20)
    assert len(shorten("x" * 50, 20)) == 20 and shorten("abc", 3) == "abc"
    wide = small(inputs=np.eye(20, 50, dtype=np.float32), feature_names=tuple(f"p{i}" for i in range(50)))
    assert wide.words(7) == "p7 1"
    wine = data.load("wine")
    assert wine.words(0).startswith(f"{wine.feature_names[0]} {wine.inputs[0, 0]:.4g}, ")
