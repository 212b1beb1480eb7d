"""Verdicts under planted models: levels that hold, power that is reached, corrections that do not hide themselves."""

import numpy as np
import pytest
from scipy import stats

from unlearn_core.errors import BadInput
from unlearn_core.evidence import verdicts as v
from unlearn_core.evidence.pool_attacks import VARIANCES, Bell, bell, refuse_shared, split_members

HARD = slice(0, 20)  # of the instances of `instances`


def instances(n=60, seed=0):
    """Middle and spread of φ of each instance under retraining; the first 20 are hard, with a larger spread, as measured on digits."""
    rng = np.random.default_rng(seed)
    middle, spread = rng.normal(4, 1, n), rng.uniform(0.2, 0.4, n)
    middle[HARD], spread[HARD] = rng.normal(-7, 1, 20), rng.uniform(0.4, 0.9, 20)
    return middle, spread


def retrains(k, n=60, seed=0, together=0.0):
    """φ [k, n] of exact retrains; `together`: part of the spread that all instances of a model share."""
    middle, spread = instances(n)
    rng = np.random.default_rng(1000 + seed)
    common = rng.normal(size=(k, 1))
    return middle + spread * (np.sqrt(1 - together) * rng.normal(size=(k, n)) + np.sqrt(together) * common)


# One model


def test_p_is_the_t_test_of_one_new_value():
    phi, target = retrains(9), retrains(1, seed=1)[0]
    found = v.judge(target, v.never_seen(phi))
    s = phi.std(axis=0, ddof=1) * np.sqrt(1 + 1 / 9)
    expected = [stats.t.sf((x - m) / scale, 8) for x, m, scale in zip(target, phi.mean(axis=0), s, strict=True)]
    np.testing.assert_allclose(found.p, expected, rtol=1e-9)
    np.testing.assert_allclose(found.p_two, 2 * np.minimum(expected, 1 - np.array(expected)), rtol=1e-9)
    np.testing.assert_array_equal(found.verdict, np.select([found.p < 0.05, found.p > 0.95], [v.STILL, v.OVER], v.NOT))


def test_nig_verdicts_follow_their_equation():
    phi, target = retrains(6), retrains(1, seed=2)[0]
    found = v.judge(target, v.never_seen(phi, variance="nig"))
    ss = ((phi - phi.mean(axis=0)) ** 2).sum(axis=0)
    scale = np.sqrt((8 * ss.sum() / (5 * 60) + ss) / 13 * (1 + 1 / 6))
    np.testing.assert_allclose(found.p, stats.t.sf((target - phi.mean(axis=0)) / scale, 13), rtol=1e-9)


def test_the_needle_of_a_model_that_kept_or_overshot_gets_the_right_name():
    middle, spread = instances()
    never = v.never_seen(retrains(16))
    assert (v.judge(middle + 6 * spread, never).verdict == v.STILL).all()
    assert (v.judge(middle - 6 * spread, never).verdict == v.OVER).all()
    assert (v.judge(middle, never).verdict == v.NOT).all()


def test_noop_is_told_apart_on_mislabelled_points_and_exact_retraining_is_not():
    middle, spread = instances()
    rng = np.random.default_rng(3)
    phi = retrains(16)
    original = np.where(
        np.arange(60) < 20, 6 + rng.normal(size=60), middle + spread * rng.normal(size=60)
    )  # the model learned the wrong labels
    noop, exact = (v.judge(x, v.never_seen(phi)) for x in (original, retrains(1, seed=4)[0]))
    assert (noop.verdict[HARD] == v.STILL).all() and (noop.controlled[HARD] == v.STILL).all()
    assert (exact.verdict[HARD] == v.NOT).sum() >= 15 and (exact.controlled == v.NOT).all()


def test_too_few_models_are_said_for_the_instance_concerned():
    phi, target = retrains(8), retrains(1, seed=5)[0]
    used = np.ones(phi.shape, bool)
    used[3:, 0] = False  # three left
    found = v.judge(target, v.never_seen(phi, used))
    assert found.verdict[0] == found.controlled[0] == v.FEW and v.FEW not in found.verdict[1:]
    assert np.isnan([found.t[0], found.p[0], found.p_two[0], found.q[0], found.detectable[0]]).all()
    assert np.isfinite([found.t[1:], found.q[1:], found.detectable[1:]]).all()
    assert (v.judge(target, v.never_seen(phi[:3])).verdict == v.FEW).all()
    with pytest.raises(BadInput):
        v.judge(np.full(60, np.nan), v.never_seen(phi))


# Levels: what exact retrains get


@pytest.mark.parametrize("which", [HARD, slice(20, None)], ids=["hard", "random"])
@pytest.mark.parametrize("k", [4, 16, 64])
def test_p_values_of_exact_retrains_are_uniform(which, k):
    p = [v.judge(retrains(1, seed=100_000 + s)[0], v.never_seen(retrains(k, seed=s))).p[which] for s in range(60)]
    assert stats.kstest(np.ravel(p), "uniform").pvalue > 0.01


def test_about_ten_percent_of_exact_retrains_are_flagged_and_five_in_each_direction():
    found = v.judge(retrains(2000, seed=6), v.never_seen(retrains(4000, seed=7)))
    assert np.mean(found.verdict == v.STILL) == pytest.approx(0.05, abs=0.006)
    assert np.mean(found.verdict == v.OVER) == pytest.approx(0.05, abs=0.006)
    np.testing.assert_array_equal(found.verdict != v.NOT, found.p_two < 2 * v.ALPHA)
    assert np.mean(found.controlled != v.NOT) < 0.01  # under false-discovery control hardly any


def test_own_spread_holds_the_level_for_every_instance_and_a_shared_one_does_not():
    rates = {}
    for variance in VARIANCES:
        flagged = [
            v.judge(retrains(50, seed=20_000 + s), v.never_seen(retrains(8, seed=s), variance=variance)).p < v.ALPHA for s in range(150)
        ]
        rates[variance] = np.mean(flagged, axis=(0, 1))
    assert np.abs(rates["per"] - 0.05).max() < 0.03
    assert rates["pool"].max() > 0.12 and rates["pool"].min() < 0.01
    assert np.abs(rates["nig"] - 0.05).max() < np.abs(rates["pool"] - 0.05).max()


@pytest.mark.parametrize("variance", VARIANCES)
def test_retrained_models_are_judged_by_all_the_others(variance):
    phi = retrains(7)
    together = v.judge_each(phi, variance)
    for k in range(7):
        alone = v.judge(phi[k], bell(np.delete(phi, k, axis=0), variance=variance))
        np.testing.assert_allclose(together.p[k], alone.p, rtol=1e-7)
        np.testing.assert_allclose(together.detectable[k], alone.detectable, rtol=1e-7)
        np.testing.assert_array_equal(together.verdict[k], alone.verdict)
    with pytest.raises(BadInput):
        v.judge_each(phi[:1])


def test_p_values_of_the_retrained_models_are_uniform_too():
    p = [v.judge_each(retrains(8, seed=s)).p[s % 8] for s in range(60)]
    assert stats.kstest(np.ravel(p), "uniform").pvalue > 0.01


def test_judging_with_the_models_that_chose_the_points_is_biased_and_cross_fitting_is_not():
    """ "The most exposed": where the original stands highest above its never-seen bell, by the luck of that bell's members."""
    shares = {"same": [], "other": []}
    for seed in range(40):
        phi = np.random.default_rng(seed).normal(size=(17, 400))  # 400 equal instances; the last model is an exact retrain
        choose, judge = split_members(16, seed)
        refuse_shared(choose, judge)
        picked = np.argsort(phi[choose].mean(axis=0))[:20]
        for name, members in (("same", choose), ("other", judge)):
            shares[name].append(np.mean(v.judge(phi[16], v.never_seen(phi[members])).verdict[picked] == v.STILL))
    assert np.mean(shares["same"]) > 0.09
    assert np.mean(shares["other"]) == pytest.approx(0.05, abs=0.02)


def test_rank_p_counts_and_needs_no_normality():
    rng = np.random.default_rng(8)
    phi, used = rng.normal(size=(9, 4)), np.ones((9, 4), bool)
    used[5:, 1] = False
    target = np.array([phi[:, 0].max() + 1, phi[:5, 1].min() - 1, np.median(phi[:, 2]), phi[0, 3]])
    found = v.rank_p(target, phi, used)
    np.testing.assert_allclose(found[:3], [1 / 10, 1.0, 6 / 10])
    np.testing.assert_allclose(v.rank_p(np.stack([target, target]), phi, used), [found, found])
    skewed = np.exp(2 * rng.normal(size=(20, 3000)))
    p = v.rank_p(skewed[0], skewed[1:])
    np.testing.assert_allclose([np.mean(p <= level) for level in (0.05, 0.25, 0.5, 0.9)], [0.05, 0.25, 0.5, 0.9], atol=0.03)


# Power


@pytest.mark.parametrize("k", [4, 8, 32])
def test_the_detectable_shift_is_detected_four_times_out_of_five(k):
    """At the true spread; the estimated one only scatters around it."""
    rng, dof = np.random.default_rng(9), float(k - 1)
    shift = float(v.detectable_shift(Bell(np.zeros(1), np.full(1, np.sqrt(1 + 1 / k)), np.full(1, dof), np.full(1, k)))[0])
    exact = stats.nct.sf(stats.t.ppf(0.95, dof), dof, shift / np.sqrt(1 + 1 / k))
    assert exact == pytest.approx(0.8, abs=0.01)
    found = v.judge(shift + rng.normal(size=20_000), v.never_seen(rng.normal(size=(k, 20_000)))).verdict
    assert np.mean(found == v.STILL) == pytest.approx(0.8, abs=0.02)


def test_more_models_and_less_spread_show_smaller_shifts():
    few, many = (np.median(v.judge_each(retrains(k)).detectable, axis=0) for k in (5, 64))
    assert np.mean(few > many) > 0.7 and np.median(few) > 1.3 * np.median(many) and many[HARD].mean() > many[20:].mean()
    normal = Bell(np.zeros(2), np.ones(2), np.array([np.inf, 1e6]), np.array([9, 9]))
    np.testing.assert_allclose(v.detectable_shift(normal), stats.norm.ppf(0.95) + stats.norm.ppf(0.8), rtol=1e-4)


def test_share_of_the_way():
    never = Bell(np.zeros(5), np.ones(5), np.full(5, np.inf), np.full(5, 9))
    original, unlearned = np.array([4.0, 4, 4, 0.5, -4]), np.array([4.0, 0, -2, 0, -1])
    np.testing.assert_array_equal(v.share_of_the_way(original, unlearned, never), [0, 1, 1.5, np.nan, 0.75])


# Many points


def test_adjusted_p_values_are_those_of_scipy():
    rng = np.random.default_rng(10)
    p = rng.random((3, 40)) ** 3
    p[0, :5] = p[0, 5]
    np.testing.assert_allclose(v.adjusted(p), stats.false_discovery_control(p, axis=1), rtol=1e-12)
    with_gaps = p[1].copy()
    with_gaps[[3, 17]] = np.nan
    known = np.isfinite(with_gaps)
    np.testing.assert_allclose(v.adjusted(with_gaps)[known], stats.false_discovery_control(p[1][known]), rtol=1e-12)
    assert np.isnan(v.adjusted(with_gaps)[~known]).all() and np.isnan(v.adjusted(np.full(3, np.nan))).all()


def test_false_discoveries_stay_at_their_share():
    middle, spread = instances(200)
    truth, share, found = np.arange(200) >= 150, [], []
    for s in range(60):
        phi = retrains(33, n=200, seed=s)
        seen = v.judge(phi[0] + 5 * spread * truth, v.never_seen(phi[1:]))
        flagged = seen.controlled != v.NOT
        share.append((flagged & ~truth).sum() / max(flagged.sum(), 1))
        found.append(flagged[truth].mean())
        assert (flagged <= (seen.p_two < 0.05)).all()
    assert np.mean(share) < 0.06 and np.mean(found) > 0.8


# The set


def test_qq_points_and_ks_are_those_of_scipy():
    p = np.random.default_rng(11).random(50)
    found = v.uniformity(np.append(p, np.nan))
    expected = stats.kstest(p, "uniform")
    assert (found.distance, found.p, found.p_calibrated) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue), None)
    assert v.ks_distance(p) == pytest.approx(expected.statistic)
    np.testing.assert_array_equal(found.observed, np.sort(p))
    inside = [
        np.mean((u.low <= u.observed) & (u.observed <= u.high))
        for u in (v.uniformity(np.random.default_rng(s).random(50)) for s in range(100))
    ]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
    with pytest.raises(BadInput):
        v.uniformity(np.full(3, np.nan))


def test_instances_of_one_model_move_together_and_only_the_calibrated_test_holds_its_level():
    """On digits the plain KS test at 5 % rejected 48 % of exact retrains on 200 instances."""
    plain, calibrated = [], []
    for s in range(120):
        phi = retrains(32, seed=s, together=0.3)
        found = v.uniformity(v.judge(phi[0], v.never_seen(phi[1:])).p, v.judge_each(phi[1:]).p)
        plain.append(found.p < 0.1)
        calibrated.append(found.p_calibrated < 0.1)
    assert np.mean(plain) > 0.25 and np.mean(calibrated) == pytest.approx(0.1, abs=0.07)


def test_waffle_counts_and_says_what_retraining_gets():
    ours = np.array([v.NOT] * 17 + [v.STILL] * 2 + [v.OVER], dtype=object)
    retrained = np.array([[v.NOT] * 20, [v.NOT] * 19 + [v.OVER], [v.NOT] * 18 + [v.STILL, v.OVER]])
    found = v.waffle(ours, retrained)
    assert found.text == "17 of 20 not told apart from never seen (exact retraining: 19 ± 1)"
    assert found.counts == {v.STILL: 2, v.NOT: 17, v.OVER: 1, v.FEW: 0} and sum(found.counts.values()) == found.n
    assert found.retrained[v.OVER] == pytest.approx((2 / 3, np.std([0, 1, 1], ddof=1)))
    assert v.waffle(ours).text == "17 of 20 not told apart from never seen"
    assert v.waffle(ours, retrained[:1]).text.endswith("(exact retraining: 20)")
    ours[:2] = v.FEW
    assert v.waffle(ours, np.full((4, 20), v.FEW)).text == "15 of 20 not told apart from never seen; not enough models for 2"


def test_the_flagged_under_false_discovery_control_are_counted_beside_exact_retraining():
    ours = np.array([v.NOT] * 17 + [v.STILL] * 2 + [v.OVER], dtype=object)
    retrained = np.array([[v.NOT] * 20, [v.NOT] * 19 + [v.OVER]])
    said = "With at most 5 % false flags among all flagged: 3 of 20 (2 still told apart, 1 over-forgotten"
    assert v.waffle(ours, retrained).flagged == f"{said}; exact retraining: 0.5)"
    assert v.waffle(ours).flagged == f"{said})"


def test_edges_leave_alpha_of_the_bell_beyond_them():
    never = v.never_seen(retrains(7))
    low, high = v.edges(never)
    np.testing.assert_allclose(low, stats.t.ppf(0.05, 6, never.mean, never.scale))
    np.testing.assert_allclose(high, stats.t.isf(0.05, 6, never.mean, never.scale))
    normal = Bell(np.zeros(1), np.ones(1), np.full(1, np.inf), np.full(1, 9))
    np.testing.assert_allclose(v.edges(normal, 0.01), stats.norm.ppf([[0.01], [0.99]]))


# Pools of another size


def small_pool(k=64, n=400, seed=12):
    """A pool of models trained on fewer data (as measured on digits) and what full-size models give on the same instances."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-7, 7, n)
    phi, keep = middle + 0.8 * rng.normal(size=(k, n)), rng.random((k, n)) < 0.5
    phi[keep] += 1.0
    full = middle + 0.5 + 0.3 * middle + 0.3 * rng.normal(size=n)
    return v.never_seen(phi, ~keep), lambda r, s: full + 0.4 * np.random.default_rng(s).normal(size=(r, n))


def test_a_pool_of_smaller_models_misjudges_exact_retrains_and_its_correction_is_measured():
    pool, full = small_pool()
    found = v.calibrate(pool, full(8, 1))
    assert found.before.told_apart > 0.2 and found.before.over_forgotten > 0.05 and found.before.distance > 0.1
    assert found.after.told_apart == pytest.approx(0.05, abs=0.02) and found.after.over_forgotten == pytest.approx(0.05, abs=0.02)
    assert found.after.distance < 0.05 and found.independent and 0 < found.spread < 0.05
    assert (found.models, found.instances, found.judgements) == (8, 400, 3200)
    fresh = v.judge(full(50, 2), found.correction.apply(pool))
    assert np.mean(fresh.verdict == v.STILL) == pytest.approx(0.05, abs=0.02)
    assert np.mean(fresh.verdict == v.OVER) == pytest.approx(0.05, abs=0.02)


def test_calibration_holds_for_easy_and_hard_instances_and_says_so_at_each():
    pool, full = small_pool()
    found = v.calibrate(pool, full(8, 1))
    fresh, at = v.judge(full(200, 3), found.correction.apply(pool)), found.at(pool)
    for third in np.array_split(np.argsort(pool.mean), 3):
        assert np.mean(fresh.p[:, third] < 0.05) == pytest.approx(0.05, abs=0.035)
        assert np.nanmean(at[v.STILL][third]) == pytest.approx(np.mean(fresh.p[:, third] < 0.05), abs=0.03)
    easy, hard = pool.mean > 4, pool.mean < -4
    assert np.nanmean(at[f"{v.STILL}, before"][easy]) > 0.4 and np.nanmean(at[f"{v.OVER}, before"][hard]) > 0.2


def test_correction_from_easy_instances_refuses_hard_ones():
    pool, full = small_pool()
    easy = np.broadcast_to(pool.mean > 0, (4, 400))
    found = v.calibrate(pool, full(4, 1), easy)
    hard = pool.mean < -1.5
    verdict = v.judge(full(1, 2)[0], found.correction.apply(pool)).verdict
    assert (verdict[hard] == v.FEW).all() and (verdict[pool.mean > 1] != v.FEW).all()
    assert np.isnan(found.at(pool)[v.STILL][hard]).all()


def test_calibration_uses_only_instances_that_the_retrain_never_saw():
    pool, full = small_pool()
    phi = full(6, 1)
    never = np.random.default_rng(2).random(phi.shape) < 0.4
    garbled = np.where(never, phi, 1e6)
    a, b = v.calibrate(pool, phi, never), v.calibrate(pool, garbled, never)
    assert a.after.told_apart == b.after.told_apart and a.before.told_apart == b.before.told_apart
    np.testing.assert_array_equal(a.correction.shift, b.correction.shift)
    assert a.judgements == never.sum()


def test_each_part_is_judged_with_a_correction_from_others():
    pool, full = small_pool(n=12)
    phi = full(2, 1)
    # So few instances that a correction fitted to the judged ones would hide a lot: none is covered by others.
    found = v.calibrate(pool, phi)
    assert found.judgements == 24 and np.isnan(found.after.told_apart) and "too few instances of like difficulty" in found.text
    one = v.calibrate(*(lambda pool, full: (pool, full(1, 1)))(*small_pool()))
    assert not one.independent and "one retrain only" in one.text and one.spread is None
    with pytest.raises(BadInput):
        v.calibrate(pool, phi, np.zeros(phi.shape, bool))


def test_no_judgement_uses_a_correction_from_its_own_model_or_instance(monkeypatch):
    pool, full = small_pool()
    pool.mean[0], phi = 99.0, full(3, 1)  # far from the others, so that its own flags can be read off at the last knot
    phi[:, 0] = 99.0
    for marked in ((slice(None), slice(0, 1)), (slice(0, 1), slice(None))):  # the first instance; the first of three models

        def marking(pool, retrained, never, marked=marked):
            return v.Correction(np.array([-99.0, 99]), np.full(2, 1e6 * never[marked].any()), np.full(2, 99.0), 1.0)

        monkeypatch.setattr(v, "correction_of", marking)
        found = v.calibrate(pool, phi).after
        # Only those opposite to the mark are pushed over: half of the instances, one model of three.
        assert found.over_forgotten == pytest.approx(0.5 if marked[0] == slice(None) else 1 / 3, abs=0.1)
        assert found.over_forgotten_at[-1] == (0 if marked[0] == slice(None) else pytest.approx(1 / 3))


def test_a_matched_pool_needs_no_correction():
    rng = np.random.default_rng(13)
    middle = rng.uniform(-5, 5, 300)
    pool = v.never_seen(middle + rng.normal(size=(32, 300)))
    found = v.calibrate(pool, middle + rng.normal(size=(8, 300)))
    assert found.before.told_apart == pytest.approx(0.05, abs=0.015) and found.correction.scale == pytest.approx(1, abs=0.08)
    assert np.abs(found.correction.shift).mean() < 0.15
    assert "5 % each is right" in found.text
