"""Subsets of the shadow pool: right sizes, everybody left out about equally often, halves that share nothing."""

import numpy as np
import pytest

from unlearn_core import data
from unlearn_core.data.base import Splits
from unlearn_core.errors import BadInput
from unlearn_core.models import pool
from unlearn_core.models.pool import CHOOSE, JUDGE

NONE = np.array([], np.int64)
ALONE = Splits(np.arange(40), NONE, NONE, NONE, NONE)  # a dataset that is all training split
EVERY = [("all", None), ("train", None), ("all", 0.5), ("all", 0.8), ("train", 0.5), ("all", 0.3)]


@pytest.fixture(scope="module")
def splits():
    return data.load("wine").splits


def draw(splits, name="all", share=None, members=12, role=JUDGE, seed=0):
    ids = pool.universe(splits, name)
    return ids, pool.subsets(ids, pool.size(splits, name, share), members, role, seed)


def left_out(ids, parts):
    """How many of the subsets miss each instance, counted one by one."""
    return [sum(i not in part for part in map(set, parts)) for i in ids]


def test_the_universe_has_every_split_but_population(splits):
    inside = set(pool.universe(splits))
    assert inside == {i for name in ("train", "tuning", "heldout", "test") for i in getattr(splits, name)}
    assert len(splits.population) and not inside & set(splits.population)
    assert np.array_equal(pool.universe(splits), sorted(inside))
    assert np.array_equal(pool.universe(splits, "train"), splits.train)


def test_sizes(splits):
    assert pool.size(splits) == len(splits.train) < len(pool.universe(splits))
    assert pool.size(splits, "train") == 101 == -(-7 * 115 // 8) and len(splits.train) == 115
    assert pool.size(splits, "all", 0.8) == 131 and len(pool.universe(splits)) == 163
    assert pool.size(splits, "train", 0.8) == 92


def test_with_few_others_subsets_still_leave_out_an_eighth():
    few = Splits(np.arange(80), NONE, NONE, np.arange(80, 84), NONE)
    assert pool.size(few) == 74


def test_where_there_is_only_a_training_split_subsets_are_smaller_than_it():
    assert np.array_equal(pool.universe(ALONE), pool.universe(ALONE, "train"))
    assert pool.size(ALONE) == pool.size(ALONE, "train") == 35
    ids, parts = draw(ALONE, members=16)
    assert left_out(ids, parts) == [2] * 40


@pytest.mark.parametrize(("name", "share"), EVERY)
def test_subsets_are_sorted_unique_of_one_size_and_within_the_universe(splits, name, share):
    ids, parts = draw(splits, name, share)
    assert len(parts) == 12
    for part in parts:
        assert len(part) == pool.size(splits, name, share) and (np.diff(part) > 0).all()
        assert set(part) <= set(ids)
    assert len({part.tobytes() for part in parts}) == 12


@pytest.mark.parametrize(("name", "share"), EVERY)
def test_the_first_subsets_are_the_same_however_many_are_asked_for(splits, name, share):
    ids, many = draw(splits, name, share, members=12)
    for members in (1, 5, 7):
        few = draw(splits, name, share, members=members)[1]
        assert len(few) == members and all(map(np.array_equal, few, many))


@pytest.mark.parametrize(("name", "share"), [("all", None), ("train", None), ("all", 0.5), ("all", 0.8), ("train", 0.5)])
def test_everybody_is_left_out_almost_equally_often_and_once_a_round_at_most(splits, name, share):
    ids, parts = draw(splits, name, share, members=60)
    out = len(ids) - len(parts[0])
    apart = len(ids) // out
    assert apart > 1
    for start in range(0, 60, apart):
        gone = np.concatenate([np.setdiff1d(ids, part) for part in parts[start : start + apart]])
        assert len(gone) == len(set(gone)) == out * len(parts[start : start + apart])
    counts, mean = left_out(ids, parts), 60 * out / len(ids)
    assert min(counts) >= 0.6 * mean and max(counts) <= -(-60 // apart)
    assert np.mean(counts) == pytest.approx(mean)
    # Independent draws would spread by sqrt(60 p (1 - p)).
    assert np.std(counts) < 0.75 * np.sqrt(mean * (1 - out / len(ids)))


@pytest.mark.parametrize("instances", [8, 9, 10, 11, 13, 15, 161, 163, 165])
def test_halves_come_in_pairs_that_leave_out_disjoint_parts(instances):
    ids = np.arange(instances) * 3
    splits = Splits(ids, NONE, NONE, NONE, NONE)
    count = pool.size(splits, "train", 0.5)
    assert count == (instances + 1) // 2
    first, second = pool.subsets(ids, count, 2, JUDGE, 0)
    assert set(first) | set(second) == set(ids) and len(set(first) & set(second)) == instances % 2


def test_roles_and_seeds_differ_and_repeat(splits):
    kinds = [(role, seed) for role in (CHOOSE, JUDGE) for seed in (0, 1)]
    found = [draw(splits, role=role, seed=seed)[1] for role, seed in kinds]
    again = [draw(splits, role=role, seed=seed)[1] for role, seed in kinds]
    assert all(np.array_equal(a, b) for one, other in zip(found, again, strict=True) for a, b in zip(one, other, strict=True))
    assert len({part.tobytes() for parts in found for part in parts}) == len(kinds) * 12


@pytest.mark.parametrize(("name", "share"), EVERY)
def test_population_is_in_no_subset(splits, name, share):
    keep = pool.membership(draw(splits, name, share, members=20)[1], 178)
    assert not keep[:, splits.population].any()


def test_membership_marks_exactly_what_each_subset_holds():
    keep = pool.membership([np.array([0, 3]), np.array([1, 2, 4])], 6)
    assert keep.tolist() == [[True, False, False, True, False, False], [False, True, True, False, True, False]]


@pytest.mark.parametrize("share", [0.0, 0.999, 1.0, 1.5, -0.2])
def test_shares_that_leave_nothing_in_or_nothing_out_are_refused(splits, share):
    with pytest.raises(BadInput) as caught:
        draw(splits, share=share)
    assert caught.value.field == "share" and "163" in caught.value.problem and caught.value.fix
