"""Datasets whose instances carry several labels, or a number."""

from dataclasses import replace

import numpy as np
import pytest

from unlearn_core import data
from unlearn_core.data.base import TASKS
from unlearn_core.data.files import missing
from unlearn_core.data.numbers import learned, ranges
from unlearn_core.data.planting import plant
from unlearn_core.data.texts import topics
from unlearn_core.errors import BadInput


@pytest.mark.parametrize("name", [name for name, info in data.registry().items() if not info.files and not name.startswith("own")])
def test_the_declared_task_is_the_loaded_one(name):
    info = data.info(name)
    if not any(param.name == "key" for param in info.params):
        assert data.load(name).task == info.task in TASKS


def test_ranges_are_quartiles_named_by_their_ends():
    labels, names = ranges(np.array([5.0, 1, 2, 3, 4, 6, 7, 8]))
    assert labels.tolist() == [2, 0, 0, 1, 1, 2, 3, 3] and labels.dtype == np.int64
    assert names == ("1 to 2", "3 to 4", "5 to 6", "7 to 8")
    labels, names = ranges(np.array([0.0] * 9 + [1.5]))  # most of them equal: empty ranges vanish
    assert labels.tolist() == [0] * 9 + [1] and names == ("0 to 0", "1.5 to 1.5")


def test_numbers_go_there_and_back_and_deleting_a_few_changes_no_unit():
    from sklearn.datasets import load_diabetes

    dataset, raw = data.load("diabetes"), load_diabetes().target
    assert dataset.targets.dtype == np.float32 and dataset.targets.shape == (442, 1)
    np.testing.assert_allclose(dataset.number.own(dataset.targets[:, 0]), raw, rtol=1e-6)
    train = dataset.splits.train
    assert (dataset.number.centre, dataset.number.spread) == (160, 80)  # 152 and 77 before rounding
    kept = np.random.default_rng(0).permutation(train)[30:]
    assert learned(raw, kept, "progression", "points")[1] == dataset.number
    for split, ids in dataset.splits.items():  # quartiles are spread over all splits
        assert np.bincount(dataset.labels[ids], minlength=4).min() >= 0.15 * len(ids), split


def test_traits_of_digits_by_hand():
    dataset = data.load("digit_traits")
    digits = data.load("digits")
    assert (dataset.labels == digits.labels).all() and (dataset.inputs == digits.inputs).all() and dataset.hash != digits.hash
    wanted = {0: "even closed loop", 3: "prime", 4: "even", 7: "five or more prime", 8: "even five or more closed loop"}
    for digit, named in wanted.items():
        for row in dataset.targets[dataset.labels == digit][:3]:
            assert " ".join(np.array(dataset.target_names)[row]) == named


def test_nothing_is_planted_where_labels_are_not_what_is_learned():
    for info in data.registry().values():
        assert info.task == "classes" or not any(param.name == "plant" for param in info.params), info.name
    for name in ("digit_traits", "diabetes"):
        dataset = data.load(name)
        assert plant(dataset, "none") is dataset
        with pytest.raises(BadInput, match="planting changes the class of instances, and here"):
            plant(dataset, "mislabelled")


def test_targets_count_in_the_hash():
    dataset = data.load("digit_traits")
    flipped = dataset.targets.copy()
    flipped[0, 0] ^= True
    assert replace(dataset, targets=flipped).hash != dataset.hash


def test_topics_are_the_parts_of_the_name():
    table, names = topics(["comp.sys.mac.hardware", "rec.autos", "comp.graphics"])
    assert names == ("autos", "comp", "graphics", "hardware", "mac", "rec", "sys")
    assert [np.array(names)[row].tolist() for row in table] == [["comp", "hardware", "mac", "sys"], ["autos", "rec"], ["comp", "graphics"]]


def test_newsgroups_carry_the_parts_of_their_groups():
    if missing(data.info("newsgroup_topics").files):
        pytest.skip("the newsgroups are not on this machine")
    dataset = data.load("newsgroup_topics", {"subset": 500})
    for i in range(0, len(dataset), 97):
        parts = set(np.array(dataset.target_names)[dataset.targets[i]])
        assert parts == set(dataset.class_names[dataset.labels[i]].split("."))
