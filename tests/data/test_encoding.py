"""Tables and texts as inputs of a model."""

import zlib

import numpy as np
import pytest

from unlearn_core.data.tables import MISSING, MOST_CATEGORIES, OTHER, Column, encode
from unlearn_core.data.tokens import hashed, length_notes, tokens

TRAIN = np.array([0, 1, 2, 3])


def test_missing_numbers_become_the_median_of_the_training_rows():
    values = np.array([1.0, 2, np.nan, 10, 1000, np.nan])
    found = encode([Column("size", values), Column("plain", np.arange(6.0))], TRAIN)
    assert found.feature_names == ("size", "size was missing", "plain") and found.categories == ((), (), ())
    assert found.inputs[:, 0].tolist() == [1, 2, 2, 10, 1000, 2]  # 1000 lies outside of the training rows
    assert found.inputs[:, 1].tolist() == [0, 0, 1, 0, 0, 1]
    assert found.inputs.dtype == np.float32 and len(found.notes) == 1 and "2 missing values" in found.notes[0]
    changed = values.copy()
    changed[4] = -5
    assert np.array_equal(encode([Column("size", changed)], TRAIN).inputs[TRAIN], found.inputs[TRAIN, :2])


def test_missing_categories_are_a_category():
    found = encode([Column("town", np.array([1, -1, 0, 1, 0, 1]), ("Bern", "Ulm"))], TRAIN)
    assert found.categories == (("Bern", "Ulm", MISSING),)
    assert found.inputs[:, 0].tolist() == [1, 2, 0, 1, 0, 1]
    whole = encode([Column("town", np.array([1, 1, 0, 1, 0, 1]), ("Bern", "Ulm"))], TRAIN)
    assert whole.categories == (("Bern", "Ulm"),) and whole.notes == ()


def test_rare_categories_of_the_training_rows_are_joined():
    many = MOST_CATEGORIES + 50
    codes = np.concatenate([np.repeat(np.arange(many), 2), np.full(1000, many - 1)])
    train = np.arange(2 * many)
    found = encode([Column("code", codes, tuple(f"c{i:03}" for i in range(many)))], train)
    assert found.categories[0] == (*(f"c{i:03}" for i in range(MOST_CATEGORIES - 1)), OTHER)
    names = np.array(found.categories[0])[found.inputs[:, 0].astype(int)]
    expected = [f"c{code:03}" if code < MOST_CATEGORIES - 1 else OTHER for code in codes]
    assert names.tolist() == expected  # the last one is frequent, but not in the training rows


def test_a_column_that_training_rows_lack_is_zero():
    found = encode([Column("late", np.array([np.nan] * 4 + [3.0, 4.0]))], TRAIN)
    assert found.inputs[:, 0].tolist() == [0, 0, 0, 0, 3, 4]


def test_tokens_are_words_and_signs():
    assert tokens("Don't STOP, 5€ naïve!") == ["don", "'", "t", "stop", ",", "5", "€", "naïve", "!"]
    assert tokens("a b c", 2) == ["a", "b"]


def test_hashed_rows():
    ids, longer = hashed(["Hello hello", "", "a b c d e"], 4, 1000)
    hello = 1 + zlib.crc32(b"hello") % 999
    assert ids.dtype == np.int32 and ids[0].tolist() == [hello, hello, 0, 0]
    assert ids[1].tolist() == [1, 0, 0, 0] and (ids[2] > 0).all() and longer == 1
    assert ids.max() < 1000
    assert length_notes(longer, 3, 4) and not length_notes(0, 3, 4)


@pytest.mark.parametrize("buckets", [256, 2**15])
def test_ids_stay_in_the_vocabulary_and_never_mean_padding(buckets):
    texts = [" ".join(f"word{i}{j}" for j in range(20)) for i in range(300)]
    ids, _ = hashed(texts, 20, buckets)
    assert ids.min() >= 1 and ids.max() < buckets
    counts = np.bincount(ids.ravel(), minlength=buckets)[1:]
    expected = ids.size / (buckets - 1)
    assert ((counts - expected) ** 2 / expected).sum() < 1.2 * buckets  # χ² of a uniform hash is about the number of buckets
