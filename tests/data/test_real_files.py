"""The real files, where they are: what is known of them must come out of the loaders.

They lie in UNLEARN_DATA_DIR or in ../shared/data; without them these tests are skipped.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from unlearn_core import data
from unlearn_core.data.files import missing

FOLDER = Path(os.environ.get("UNLEARN_DATA_DIR") or Path(__file__).resolve().parents[3] / "shared" / "data")


@pytest.fixture
def load(monkeypatch):
    def load(name, **params):
        monkeypatch.setenv("UNLEARN_DATA_DIR", str(FOLDER))
        monkeypatch.setenv("UNLEARN_OFFLINE", "1")
        absent = missing(data.info(name).files)
        if absent:
            pytest.skip(f"{absent[0].path} is neither in {FOLDER} nor in the cache")
        return data.load(name, params)

    return load


def sizes(dataset) -> dict[str, int]:
    return {name: len(ids) for name, ids in dataset.splits.items()}


def test_fashion_mnist(load):
    found = load("fashion_mnist")
    assert found.inputs.shape == (70_000, 1, 28, 28) and found.inputs.dtype == np.uint8 and found.inputs.nbytes < 60e6
    assert np.bincount(found.labels[:60_000]).tolist() == [6000] * 10 and np.bincount(found.labels[60_000:]).tolist() == [1000] * 10
    assert found.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5] and found.labels[60_000:60_005].tolist() == [9, 2, 1, 1, 6]
    # Mean and spread of the training pictures as everyone quotes them.
    pixels = found.inputs[:60_000].astype(np.float64) / 255
    assert round(pixels.mean(), 4) == 0.2860 and round(pixels.std(), 4) == 0.3530
    assert sizes(found)["test"] == 10_000 and abs(sizes(found)["train"] - 60_000 * 0.65 / 0.85) < 10


def test_mnist(load):
    found = load("mnist")
    assert found.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4] and found.labels[60_000:60_004].tolist() == [7, 2, 1, 0]
    assert np.bincount(found.labels[:60_000]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    pixels = found.inputs[:60_000].astype(np.float64) / 255
    assert round(pixels.mean(), 4) == 0.1307 and round(pixels.std(), 4) == 0.3081


def test_a_lesson_takes_a_part_of_fashion_mnist(load):
    found = load("fashion_mnist", subset=2000)
    assert np.bincount(found.labels[found.splits.train]).tolist() == [200] * 10
    assert sizes(found) == {"train": 2000, "tuning": 500, "heldout": 500, "test": 500, "population": 500}


def test_cifar10_as_jpeg(load):
    found = load("cifar10_jpeg")
    assert found.inputs.shape == (60_000, 3, 32, 32) and found.inputs.dtype == np.uint8
    assert np.bincount(found.labels[found.splits.test]).tolist() == [1000] * 10 and sizes(found)["test"] == 10_000
    assert found.class_names == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    # CIFAR-10's published channel means, which JPEG hardly changes.
    means = found.inputs[:50_000].mean(axis=(0, 2, 3), dtype=np.float64) / 255
    assert np.abs(means - [0.4914, 0.4822, 0.4465]).max() < 0.002


def test_orl_faces(load):
    found = load("orl", side=112)
    assert found.inputs.shape == (400, 1, 112, 112) and np.bincount(found.labels).tolist() == [10] * 40
    assert all(set(found.labels[ids]) == set(range(40)) for _, ids in found.splits.items())


def test_adult(load):
    found = load("adult")
    assert sizes(found)["test"] == 16_281 and len(found) == 32_561 + 16_281
    assert found.labels[:32_561].sum() == 7841 and found.labels[32_561:].sum() == 3846
    assert found.groups["sex"].names == ("Female", "Male") and np.bincount(found.groups["sex"].codes).tolist() == [16_192, 32_650]
    assert found.groups["race"].names == ("Amer-Indian-Eskimo", "Asian-Pac-Islander", "Black", "Other", "White")
    assert found.words(0).startswith("age 39, workclass State-gov, fnlwgt 77516, education Bachelors, education-num 13")
    assert [note.split(":")[0] for note in found.notes] == ["workclass", "occupation", "native-country"]
    kinds = dict(zip(found.feature_names, found.categories, strict=True))
    assert len(kinds["native-country"]) == 42 and kinds["age"] == ()
    assert found.inputs.shape == (48_842, 14)


def test_location30(load):
    found = load("location30")
    assert found.inputs.shape == (5010, 446) and set(np.unique(found.inputs)) == {0, 1} and len(found.class_names) == 30
    assert found.labels[0] == 12 and np.bincount(found.labels)[12] == 141


def test_sms_spam(load):
    found = load("sms_spam")
    assert np.bincount(found.labels).tolist() == [4827, 747] and found.texts[1] == "Ok lar... Joking wif u oni..."


def test_sst2(load):
    found = load("sst2")
    assert len(found) == 6920 + 872 + 1821 and sizes(found)["test"] == 1821
    assert np.bincount(found.labels[:6920]).tolist() == [3310, 3610] and np.bincount(found.labels[-1821:]).tolist() == [912, 909]
    assert found.texts[0].startswith("a stirring , funny and finally transporting") and found.labels[0] == 1


def test_newsgroups(load):
    found = load("newsgroups")
    assert len(found) == 18_846 and sizes(found)["test"] == 7532 and len(found.class_names) == 20
    assert np.bincount(found.labels[:11_314])[:3].tolist() == [480, 584, 591]
    assert not any("\n>" in text for text in found.texts[:2000])
    assert sum(not text for text in found.texts) < 100
