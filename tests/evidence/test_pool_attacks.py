"""Pool attacks against scipy loops, an independent RMIA, planted Gaussians and the known faults of reference code."""

import numpy as np
import pytest
from scipy import stats

from unlearn_core.errors import BadInput
from unlearn_core.evidence import attacks
from unlearn_core.evidence import pool_attacks as pool

VARIANCES = pool.VARIANCES


def paired_halves(k, n, seed=0):
    """Membership [K, N]: members 2j and 2j + 1 are complementary random halves."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(k // 2):
        half = np.zeros(n, bool)
        half[rng.permutation(n)[: n // 2]] = True
        rows += [half, ~half]
    return np.array(rows)


def planted(k, n, effect=1.0, spread=1.0, seed=0):
    """A pool and a target whose φ is normal around each instance's own difficulty, `effect` higher where it was seen."""
    rng, keep = np.random.default_rng(seed), paired_halves(k, n, seed)
    centre, seen = rng.normal(0, 4, n), rng.random(n) < 0.5
    return centre + effect * keep + spread * rng.normal(size=(k, n)), keep, centre + effect * seen + spread * rng.normal(size=n), seen


def uneven(k, n, seed=0):
    """A pool whose instances have different numbers of models on each side, at least two."""
    rng = np.random.default_rng(seed)
    keep = rng.random((k, n)) < rng.uniform(0.2, 0.8, n)
    keep[:2], keep[2:4] = True, False
    return rng.normal(0, 3, n) + rng.normal(size=(k, n)) * rng.uniform(0.3, 2, n) + keep, keep, rng.normal(0, 3, n)


# LiRA


def test_lira_per_equals_a_scipy_loop():
    phi, keep, target = uneven(20, 60)
    online, offline = [], []
    for i in range(60):
        saw, never = phi[keep[:, i], i], phi[~keep[:, i], i]
        bells = [stats.norm(side.mean(), side.std(ddof=1)) for side in (saw, never)]
        online.append(bells[0].logpdf(target[i]) - bells[1].logpdf(target[i]))
        offline.append(bells[1].logcdf(target[i]))
    np.testing.assert_allclose(pool.lira_online(phi, keep, target, "per"), online, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(pool.lira_offline(phi, keep, target, "per"), offline, rtol=1e-9, atol=1e-10)


def test_lira_pool_equals_a_loop_over_deviations_within_instances():
    phi, keep, target = uneven(20, 60, seed=1)
    spread = []
    for side in (keep, ~keep):
        deviations = [phi[side[:, i], i] - phi[side[:, i], i].mean() for i in range(60)]
        spread.append(np.sqrt(np.sum(np.concatenate(deviations) ** 2) / sum(len(d) - 1 for d in deviations)))
    expected = [
        stats.norm.logpdf(target[i], phi[keep[:, i], i].mean(), spread[0])
        - stats.norm.logpdf(target[i], phi[~keep[:, i], i].mean(), spread[1])
        for i in range(60)
    ]
    np.testing.assert_allclose(pool.lira_online(phi, keep, target, "pool"), expected, rtol=1e-9, atol=1e-10)


def test_pooled_spread_is_within_instances_and_of_its_own_side():
    # TF-privacy pools over all entries, which adds how instances differ, and takes the spread of "in" for "out".
    rng = np.random.default_rng(2)
    keep = paired_halves(40, 500)
    phi = rng.normal(0, 10, 500) + np.where(keep, 3.0, 0.5) * rng.normal(size=(40, 500))
    saw, never = (pool.bell(phi, side, "pool", predictive=False).scale for side in (keep, ~keep))
    np.testing.assert_allclose([saw[0], never[0]], [3.0, 0.5], rtol=0.03)
    assert phi.std() > 9


def test_nig_equals_its_equations_in_a_scipy_loop():
    phi, keep, target = uneven(12, 40, seed=3)
    found = pool.lira_online(phi, keep, target, "nig")
    sides = []
    for side in (keep, ~keep):
        n = side.sum(axis=0)
        ss = np.array([np.sum((phi[side[:, i], i] - phi[side[:, i], i].mean()) ** 2) for i in range(40)])
        shared = ss.sum() / (n - 1).sum()
        scale = np.sqrt((8 * shared + ss) / (8 + n - 1) * (1 + 1 / n))
        sides.append([stats.t.logpdf(target[i], 8 + n[i] - 1, phi[side[:, i], i].mean(), scale[i]) for i in range(40)])
    np.testing.assert_allclose(found, np.subtract(*sides), rtol=1e-8, atol=1e-9)


def test_nig_tends_to_per_with_more_models():
    apart = []
    for k in (16, 128, 2048):
        phi, keep, target, _ = planted(k, 50, spread=1.3, seed=4)
        apart.append(np.abs(pool.lira_online(phi, keep, target, "nig") - pool.lira_online(phi, keep, target, "per")).mean())
    assert apart[0] > apart[1] > apart[2] and apart[2] < 0.02


@pytest.mark.parametrize("variance", VARIANCES)
def test_planted_gaussians_give_the_textbook_auc(variance):
    phi, keep, target, seen = planted(300, 5000, seed=5)
    for scores in (pool.lira_online(phi, keep, target, variance), pool.lira_offline(phi, keep, target, variance)):
        assert attacks.auc(scores[seen], scores[~seen]) == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.015)
    assert attacks.auc(target[seen], target[~seen]) < 0.6  # one threshold for all hardly sees it


@pytest.mark.parametrize("variance", VARIANCES)
def test_without_an_effect_the_auc_is_chance(variance):
    phi, keep, target, seen = planted(32, 1200, effect=0.0, seed=6)
    low, high = attacks.auc_chance(seen.sum(), (~seen).sum())
    for scores in (pool.lira_online(phi, keep, target, variance), pool.lira_offline(phi, keep, target, variance)):
        assert low < attacks.auc(scores[seen], scores[~seen]) < high


def test_offline_is_one_sided():
    # Reference code scores how unusual a value is in either direction: a value far *below* never seen would look like a member.
    phi, keep, target, _ = planted(32, 100, seed=7)
    far_below = pool.lira_offline(phi, keep, phi.mean(axis=0) - 20)
    far_above = pool.lira_offline(phi, keep, phi.mean(axis=0) + 20)
    assert (far_below < far_above).all() and (far_above <= 0).all() and np.isfinite(far_below).all()
    steps = np.array([pool.lira_offline(phi, keep, target + s, "nig") for s in np.linspace(-10, 10, 41)])
    assert (np.diff(steps, axis=0) > 0).all()


def test_several_targets_at_once_and_input_stays():
    phi, keep, target, _ = planted(16, 30, seed=8)
    before, targets = phi.copy(), np.stack([target, target + 1, target - 2])
    together = pool.lira_online(phi, keep, targets, "nig")
    np.testing.assert_allclose(together, [pool.lira_online(phi, keep, one, "nig") for one in targets])
    np.testing.assert_array_equal(phi, before)


@pytest.mark.parametrize("variance", VARIANCES)
def test_too_few_models_on_a_side_give_nan_for_that_instance_only(variance):
    phi, keep, target, _ = planted(8, 5, seed=9)
    keep[:, 0], keep[:, 1] = True, False
    keep[0, 1] = True  # one model saw it
    found = pool.lira_online(phi, keep, target, variance)
    assert np.isnan(found[0]) and np.isnan(found[1]) == (variance == "per") and np.isfinite(found[2:]).all()
    assert np.isnan(pool.lira_offline(phi, keep, target, variance)[0])
    with pytest.raises(BadInput):
        pool.lira_online(phi, keep, target, "fixed")


def test_identical_models_do_not_divide_by_zero():
    phi = np.repeat(np.array([[1.0, 2.0]]), 6, axis=0)
    found = pool.bell(phi, variance="per")
    assert (found.scale == pool.FLOOR).all() and np.isfinite(found.log_density(np.zeros(2))).all()


# U-LiRA


def unlearning_pool(k, n, left, seed):
    """Shadows of which unlearning leaves `left` of the effect, and moves what they never saw by −0.5 as a side effect."""
    phi, keep, _, _ = planted(k, n, effect=2.0, seed=seed)
    rng = np.random.default_rng(seed + 1)
    centre = np.where(keep, phi - 2.0, phi).mean(axis=0)
    unlearned = centre - 0.5 + 2.0 * left * keep + rng.normal(size=(k, n))
    forgot = rng.random(n) < 0.5
    return phi, keep, unlearned, centre - 0.5 + 2.0 * left * forgot + rng.normal(size=n), forgot


def test_u_lira_equals_a_scipy_loop_for_both_nulls():
    phi, keep, unlearned, target, _ = unlearning_pool(16, 30, 0.5, 10)
    for null, h0 in (("unlearned", unlearned), ("retrain", phi)):
        found = pool.u_lira(unlearned, keep, target, null=null, original=phi, variance="per")
        expected = [
            stats.norm.logpdf(target[i], *_moments(unlearned[keep[:, i], i])) - stats.norm.logpdf(target[i], *_moments(h0[~keep[:, i], i]))
            for i in range(30)
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def _moments(x):
    return x.mean(), x.std(ddof=1)


def test_u_lira_finds_what_is_left_and_nothing_after_perfect_forgetting():
    found = {}
    for left in (0.0, 0.5, 1.0):
        _, keep, unlearned, target, forgot = unlearning_pool(128, 2000, left, 11)
        scores = pool.u_lira(unlearned, keep, target)
        found[left] = attacks.auc(scores[forgot], scores[~forgot])
    low, high = attacks.auc_chance(forgot.sum(), (~forgot).sum())
    assert low < found[0.0] < high
    assert found[0.5] == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.03) and found[1.0] > 0.9


def test_the_two_nulls_are_different_questions():
    # A side effect on everything: told from retraining, yet no forgotten instance differs from a never-seen one.
    phi, keep, unlearned, target, forgot = unlearning_pool(128, 2000, 0.0, 12)
    assert np.mean(pool.u_lira(unlearned, keep, target)) == pytest.approx(0, abs=0.03)
    assert np.mean(pool.u_lira(unlearned, keep, target, null="retrain", original=phi)) > 0.08
    for wrong in ({"null": "retrain"}, {"null": "both"}):
        with pytest.raises(BadInput):
            pool.u_lira(unlearned, keep, target, **wrong)


# RMIA


def population_pool(k, n, z, seed=13):
    phi, keep, target, seen = planted(k, n, effect=1.5, spread=0.7, seed=seed)
    rng = np.random.default_rng(seed + 1)
    centre_z = rng.normal(0, 4, z)
    phi_z, target_z = centre_z + 0.7 * rng.normal(size=(k, z)), centre_z + 0.7 * rng.normal(size=z)
    return *map(attacks.confidence_of, (target, phi, target_z, phi_z)), keep, seen


@pytest.mark.parametrize("gamma", [1.0, 1.5])
def test_rmia_equals_an_independent_computation_on_paired_halves(gamma):
    p, p_ref, pz, pz_ref, keep, _ = population_pool(16, 150, 400)
    for a in (None, 0.3):
        expected = []
        for i in range(150):
            saw = [p_ref[k, i] for k in range(16) if keep[k, i]]
            never = [p_ref[k, i] for k in range(16) if not keep[k, i]]
            assert len(saw) == len(never) == 8
            mean = sum(never) / len(never)
            usual = (sum(saw) / len(saw) + mean) / 2 if a is None else (1 + a) / 2 * mean + (1 - a) / 2
            hits = 0
            for j in range(400):
                mean_z = sum(pz_ref[k, j] for k in range(16)) / 16
                usual_z = mean_z if a is None else (1 + a) / 2 * mean_z + (1 - a) / 2
                hits += (p[i] / usual) / (pz[j] / usual_z) >= gamma
            expected.append(hits / 400)
        args = (p, p_ref, keep, pz, pz_ref)
        found = pool.rmia_online(*args, gamma=gamma) if a is None else pool.rmia_offline(*args, a=a, gamma=gamma)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_rmia_averages_all_models_that_never_saw_an_instance():
    # A reference implementation keeps the largest of the masked signals, so instances with many such models look likelier.
    rng = np.random.default_rng(14)
    _, keep, _ = uneven(20, 80)
    p_ref, pz, pz_ref, p = rng.random((20, 80)), rng.random(300), rng.random((20, 300)), rng.random(80)
    mean = np.array([p_ref[~keep[:, i], i].mean() for i in range(80)])
    ratio, ratio_z = p / (0.65 * mean + 0.35), pz / (0.65 * pz_ref.mean(axis=0) + 0.35)
    np.testing.assert_allclose(pool.rmia_offline(p, p_ref, keep, pz, pz_ref), (ratio[:, None] / ratio_z >= 1).mean(axis=1), atol=1e-12)


def test_rmia_rises_with_the_probability_of_the_target_and_breaks_ties_in_order():
    p, p_ref, pz, pz_ref, keep, _ = population_pool(8, 60, 50)
    steps = np.array([pool.rmia_online(p * s, p_ref, keep, pz, pz_ref) for s in np.linspace(0.2, 1, 9)])
    assert (np.diff(steps, axis=0) >= 0).all()
    plain, broken = (pool.rmia_offline(p, p_ref, keep, pz, pz_ref, break_ties=ties) for ties in (False, True))
    assert len(np.unique(broken)) > len(np.unique(plain))
    assert ((broken >= plain) & (broken < plain + 1 / 50)).all()


def test_rmia_tells_members_apart_and_is_chance_without_an_effect():
    p, p_ref, pz, pz_ref, keep, seen = population_pool(16, 1500, 1000)
    for attack in (pool.rmia_online, pool.rmia_offline):
        scores = attack(p, p_ref, keep, pz, pz_ref, break_ties=True)
        # Better than one threshold for all, far from perfect: easy instances have no room left in p.
        assert attacks.auc(scores[seen], scores[~seen]) > attacks.auc(p[seen], p[~seen]) + 0.1
        shuffled = np.random.default_rng(0).permutation(seen)
        low, high = attacks.auc_chance(seen.sum(), (~seen).sum())
        assert low < attacks.auc(scores[shuffled], scores[~shuffled]) < high


def test_rmia_is_tuned_on_another_model_and_needs_a_population():
    p, p_ref, pz, pz_ref, keep, seen = population_pool(16, 400, 300)
    a = pool.tune_rmia_offline(p, seen, p_ref, keep, pz, pz_ref)
    found = {
        step: attacks.auc(*(pool.rmia_offline(p, p_ref, keep, pz, pz_ref, step)[side] for side in (seen, ~seen)))
        for step in np.arange(11) / 10
    }
    assert found[a] == max(found.values())
    with pytest.raises(BadInput):
        pool.rmia_online(p, p_ref, keep, pz[:0], pz_ref[:, :0])
    keep[:, 0] = True
    assert np.isnan(pool.rmia_offline(p, p_ref, keep, pz, pz_ref)[0])


# Memorisation, difficulty, exposure


def test_memorisation_is_the_difference_of_the_shares_answered_correctly():
    rng = np.random.default_rng(15)
    _, keep, _ = uneven(30, 50)
    correct = rng.random((30, 50)) < np.where(keep, 0.9, 0.4)
    expected = [correct[keep[:, i], i].mean() - correct[~keep[:, i], i].mean() for i in range(50)]
    found = pool.memorisation(correct, keep)
    np.testing.assert_allclose(found, expected)
    assert found.mean() == pytest.approx(0.5, abs=0.06)
    keep[:, 0] = True
    assert np.isnan(pool.memorisation(correct, keep)[0]) and np.isnan(pool.expected_difficulty(correct * 1.0, keep)[0])


def test_difficulty_and_exposure():
    phi, keep, _, _ = planted(2000, 30, effect=1.5, spread=0.5, seed=16)
    np.testing.assert_allclose(pool.expected_difficulty(phi, keep), [-phi[~keep[:, i], i].mean() for i in range(30)])
    np.testing.assert_allclose(pool.exposure(phi, keep), 3.0, atol=0.2)
    few = pool.exposure(phi[:8], keep[:8])
    assert np.isfinite(few).all() and few.mean() == pytest.approx(3, abs=0.6)


# Cross-fitting


def test_members_are_split_into_disjoint_halves_and_pairs_stay_together():
    for k, paired in ((16, True), (9, False), (6, True)):
        choose, judge = pool.split_members(k, seed=3, paired=paired)
        assert sorted([*choose, *judge]) == list(range(k)) and len(choose) and len(judge)
        pool.refuse_shared(choose, judge)
        if paired:
            assert set(choose // 2).isdisjoint(judge // 2)
    np.testing.assert_array_equal(pool.split_members(16, 3)[0], pool.split_members(16, 3)[0])
    keep = paired_halves(16, 40)
    judge = pool.split_members(16, 5, paired=True)[1]
    assert (keep[judge].sum(axis=0) == len(judge) // 2).all()
    for k, paired in ((1, False), (2, True), (7, True)):
        with pytest.raises(BadInput):
            pool.split_members(k, 0, paired)


def test_members_that_chose_are_refused_as_judges():
    with pytest.raises(BadInput, match="3, 4"):
        pool.refuse_shared(np.array([1, 3, 4]), np.array([3, 4, 8]))


def test_choosing_and_judging_with_the_same_members_is_biased_and_cross_fitting_is_not():
    """All instances are equally memorised; the "50 most memorised" are so by luck, which only other members do not repeat."""
    same, crossed, truth = [], [], 0.5
    for seed in range(30):
        rng, keep = np.random.default_rng(seed), paired_halves(32, 1000, seed)
        correct = rng.random((32, 1000)) < np.where(keep, 0.9, 0.4)
        choose, judge = pool.split_members(32, seed, paired=True)
        picked = np.argsort(-pool.memorisation(correct[choose], keep[choose]))[:50]
        same.append(pool.memorisation(correct[choose], keep[choose])[picked].mean())
        crossed.append(pool.memorisation(correct[judge], keep[judge])[picked].mean())
    assert np.mean(same) > truth + 0.25
    assert np.mean(crossed) == pytest.approx(truth, abs=4 * np.std(crossed) / np.sqrt(30))


# Bells


def test_bells_have_the_tails_of_scipy_and_resolve_them_far_out():
    dof = np.array([3.0, 7.0, np.inf])
    b = pool.Bell(np.array([0.0, 1.0, -1.0]), np.array([1.0, 2.0, 0.5]), dof, np.array([4, 8, 8]))
    for x in (-30.0, -1.0, 0.3, 40.0):
        t = (x - b.mean) / b.scale
        cdf = np.array([stats.t.cdf(t[0], 3), stats.t.cdf(t[1], 7), stats.norm.cdf(t[2])])
        sf = np.array([stats.t.sf(t[0], 3), stats.t.sf(t[1], 7), stats.norm.sf(t[2])])
        log = [stats.t.logpdf(x, 3, 0, 1), stats.t.logpdf(x, 7, 1, 2), stats.norm.logpdf(x, -1, 0.5)]
        np.testing.assert_allclose(b.below(x), cdf, rtol=1e-8)
        np.testing.assert_allclose(b.above(x), sf, rtol=1e-8)
        np.testing.assert_allclose(b.log_density(x), log, rtol=1e-9)
        expected = [np.log1p(-sf[i]) if t[i] > 0 else np.log(cdf[i]) for i in (0, 1)] + [stats.norm.logcdf(t[2])]
        np.testing.assert_allclose(b.log_below(x), expected, rtol=1e-8)
