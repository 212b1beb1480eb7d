"""Forgetting quality against the competition's protocol written as loops, and its null."""

import math

import numpy as np
import pytest

from unlearn_core.errors import BadInput
from unlearn_core.evidence import forgetting_quality as fq


def rates_to_epsilon(pairs, delta=1e-5):
    """The competition's treatment of (FNR, FPR) pairs, one rule after the other."""
    found = []
    for fnr, fpr in pairs:
        if fnr == 0 and fpr == 0:
            found.append(math.inf)
        elif fnr == 0 or fpr == 0:
            continue
        else:
            first = math.log(1 - delta - fpr) - math.log(fnr) if 1 - delta - fpr > 0 else -math.inf
            second = math.log(1 - delta - fnr) - math.log(fpr) if 1 - delta - fnr > 0 else -math.inf
            found.append(max(first, second, 0.0))
    return min(max(found, default=0.0), 50.0)


def grid_epsilon(u, r, double):
    """Thresholds on a grid of 0.01 for one example, as the competition walks them (shifted by half a step: no value on the grid)."""
    positive, negative = (r, u) if np.median(r) > np.median(u) else (u, r)
    grid = np.arange(min(u.min(), r.min()) - 0.045, max(u.max(), r.max()) + 0.05, 0.01)
    pairs = [(np.mean(positive < t), np.mean(negative >= t)) for t in grid]
    if double:
        peaked, flat = (r, u) if np.ptp(u) >= np.ptp(r) else (u, r)
        for i, left in enumerate(grid):
            for right in grid[i + 1 :]:
                pairs.append((np.mean((peaked < left) | (peaked > right)), np.mean((flat >= left) & (flat <= right))))
    return rates_to_epsilon(pairs)


@pytest.mark.parametrize("rule", fq.RULES)
def test_enumeration_equals_the_grid_where_the_grid_is_fine_enough(rule):
    rng = np.random.default_rng(0)
    u, r = np.round(rng.normal(0.1, 0.15, (16, 6)), 2), np.round(rng.normal(0, 0.2, (16, 6)), 2)  # with ties
    expected = [grid_epsilon(u[:, s], r[:, s], rule == "double") for s in range(6)]
    np.testing.assert_allclose(fq.epsilons(u, r, rule), expected, atol=1e-9)


def test_a_coarse_grid_never_certifies_more():
    rng = np.random.default_rng(1)
    u, r = rng.normal(0.05, 0.02, (64, 5)), rng.normal(0, 0.02, (64, 5))
    exact = fq.epsilons(u, r)
    grid = np.array([grid_epsilon(u[:, s], r[:, s], False) for s in range(5)])
    assert (grid <= exact + 1e-12).all() and (grid < exact).any()


def test_double_contains_single_and_sees_a_difference_in_spread():
    rng = np.random.default_rng(2)
    u, r = rng.normal(0, 0.2, (100, 8)), rng.normal(0, 2, (100, 8))
    single, double = fq.epsilons(u, r, "single"), fq.epsilons(u, r, "double")
    np.testing.assert_allclose(fq.epsilons(r, u, "double"), double)  # whichever side is the peaked one
    assert (double >= single - 1e-12).all() and np.median(double) > np.median(single) + 0.4  # an interval has half the false alarms


def test_more_than_one_example_and_threshold_and_unchanged_input():
    # The competition's code stops on any array with more than one threshold (`assert thr_eps`) and writes into its logits.
    rng = np.random.default_rng(3)
    u, r = rng.normal(size=(12, 5)), rng.normal(size=(12, 5))
    before = u.copy(), r.copy()
    together = fq.epsilons(u, r, "double")
    assert together.shape == (5,)
    np.testing.assert_array_equal(together, [fq.epsilons(u[:, [s]], r[:, [s]], "double")[0] for s in range(5)])
    np.testing.assert_array_equal((u, r), before)


@pytest.mark.parametrize("rule", fq.RULES)
def test_special_cases(rule):
    rng = np.random.default_rng(4)
    r = rng.normal(size=(20, 1))
    assert fq.epsilons(r + 100, r, rule) == fq.CAP  # separated
    assert fq.epsilons(np.zeros((20, 1)), r, rule) == fq.CAP  # a point mass
    assert fq.epsilons(np.ones((20, 1)), np.zeros((20, 1)), rule) == fq.CAP  # two different ones
    assert fq.epsilons(np.ones((20, 1)), np.ones((20, 1)), rule) == 0  # the same one
    with pytest.raises(BadInput):
        fq.epsilons(r, np.zeros((20, 2)), rule)


def test_score_halves_with_every_half_nat_and_ends_at_what_the_models_certify():
    np.testing.assert_array_equal(fq.score_of(np.array([0, 0.49, 0.5, 0.99, 1.0, 2.99, 3.0, 50]), 16), [1, 1, 0.5, 0.5, 0.25, 1 / 32, 0, 0])
    n = 16
    some = fq.forgetting_quality(np.random.default_rng(5).normal(size=(n, 3)), np.random.default_rng(6).normal(size=(2 * n, 3)))
    assert some.models == n and some.cap == pytest.approx(math.log(n - 1)) and "2.7" in some.text


def test_epsilon_never_exceeds_the_cap_unless_separated():
    rng = np.random.default_rng(7)
    for n in (8, 16, 64):
        found = fq.epsilons(rng.normal(1, 1, (n, 200)), rng.normal(0, 1, (n, 200)))
        assert found[found < fq.CAP].max() <= math.log(n - 1) + 1e-6


@pytest.mark.parametrize("rule", fq.RULES)
def test_separable_models_score_zero(rule):
    rng = np.random.default_rng(8)
    found = fq.forgetting_quality(rng.normal(60, 1, (16, 5)), rng.normal(0, 1, (32, 5)), rule, splits=4)
    assert found.score == 0 and found.ratio == 0 and found.null > 0


@pytest.mark.parametrize(
    ("rule", "models", "level", "tolerance"), [("single", 16, 0.33, 0.06), ("single", 64, 0.34, 0.05), ("double", 64, 0.08, 0.04)]
)
def test_equal_distributions_score_their_null_and_not_one(rule, models, level, tolerance):
    rng = np.random.default_rng(9)
    found = fq.forgetting_quality(rng.normal(size=(models, 60)), rng.normal(size=(2 * models, 60)), rule, splits=8)
    assert found.null == pytest.approx(level, abs=tolerance)
    assert found.ratio == pytest.approx(1, abs=0.25)
    assert found.null_low < 1 < found.null_high


def test_what_is_left_of_memory_lowers_the_ratio():
    rng = np.random.default_rng(10)
    retrained = rng.normal(size=(64, 40))
    ratios = [fq.forgetting_quality(rng.normal(shift, 1, (32, 40)), retrained).ratio for shift in (0, 1, 3)]
    assert ratios[0] > 0.75 and ratios[0] > ratios[1] > ratios[2] and ratios[2] < 0.1


def test_the_null_rests_on_the_same_number_of_models_and_too_few_are_refused():
    rng = np.random.default_rng(11)
    assert fq.forgetting_quality(rng.normal(size=(40, 3)), rng.normal(size=(20, 3))).models == 10
    with pytest.raises(BadInput):
        fq.forgetting_quality(rng.normal(size=(3, 3)), rng.normal(size=(20, 3)))
    same = [
        fq.forgetting_quality(rng2.normal(size=(10, 3)), rng2.normal(size=(20, 3)), seed=4)
        for rng2 in (np.random.default_rng(1), np.random.default_rng(1))
    ]
    assert same[0].score == same[1].score
