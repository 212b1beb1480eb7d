"""Verdicts instance by instance from exact retrains: planted models whose right answers are known."""

import numpy as np
import pytest
from scipy import stats

from unlearn_core.data.base import Splits
from unlearn_core.evidence import instances, verdicts
from unlearn_core.evidence.base import Outputs, Subject

FORGET = 40


def planted(rng, shift, k=12, **settings):
    """Binary models whose φ on instance i is N(mu_i, 1); the original knows every instance by 6 logits, the unlearned by `shift`."""
    ids = np.arange(200)
    splits = Splits(ids[:100], ids[100:110], ids[110:120], ids[120:180], ids[180:])
    mu = rng.normal(0, 2, len(ids))

    def model(known):
        phi = mu + rng.standard_normal(len(ids))
        phi[:FORGET] += known
        logits = np.stack([phi, np.zeros(len(ids))], axis=1).astype(np.float32)
        return Outputs(logits, {"features": logits})

    return Subject(
        labels=np.zeros(len(ids), int), class_names=("a", "b"), modality="points", inputs=np.zeros((len(ids), 2)), splits=splits, forget=ids[:FORGET],
        original=model(6.0), unlearned=model(shift), retrained=[model(0.0) for _ in range(k)], predict=None, head=None,
        settings=settings,
    )  # fmt: skip


def shares(found):
    return {m.id: m for m in found.measures}


def test_planted_knowledge_is_told_apart_and_a_fresh_retrain_is_not():
    rng = np.random.default_rng(0)
    flagged = [shares(instances.compute(planted(rng, 0.0))) for _ in range(30)]
    fresh = np.mean([m["instances.told_apart.forget"].unlearned for m in flagged])
    assert fresh == pytest.approx(0.05, abs=0.02)
    assert np.mean([m["instances.over_forgotten.forget"].unlearned for m in flagged]) == pytest.approx(0.05, abs=0.02)
    assert np.mean([m["instances.told_apart.forget"].original for m in flagged]) > 0.95
    noop = shares(instances.compute(planted(rng, 6.0)))["instances.told_apart.forget"]
    assert noop.unlearned > 0.9 and noop.verdict() == "still different"
    pushed = shares(instances.compute(planted(rng, -6.0)))["instances.over_forgotten.forget"]
    assert pushed.unlearned > 0.9 and pushed.verdict() == "moved away"


def test_numbers_of_one_instance_are_a_t_test_against_the_retrained_models():
    subject = planted(np.random.default_rng(1), 1.0)
    view = instances.compute(subject).views["instances"]
    phi = np.stack([outputs.logits[:FORGET, 0] for outputs in subject.retrained]).astype(float)
    k, mean, sd = len(phi), phi.mean(0), phi.std(0, ddof=1)
    scale = sd * np.sqrt(1 + 1 / k)
    assert view["retrained"] == pytest.approx(phi, abs=1e-5)
    assert view["low"] == pytest.approx(mean - stats.t.ppf(0.95, k - 1) * scale, abs=1e-4)
    assert view["p_told_apart"] == pytest.approx(stats.t.sf((view["unlearned"] - mean) / scale, k - 1), abs=1e-6)
    told = view["verdict"] == "still told apart"
    assert (told == (view["unlearned"] > view["high"])).all()


def test_too_few_retrained_models_are_refused_with_the_number_needed():
    subject = planted(np.random.default_rng(2), 0.0, k=4)
    found = instances.compute(subject)
    assert not found.views and all(m.unlearned is None and "need 5 retrained models, 4 so far" in m.reason for m in found.measures)


def test_counts_of_the_waffle_are_the_verdicts():
    subject = planted(np.random.default_rng(3), 2.0)
    found = instances.compute(subject)
    view, counted = found.views["instances"], instances.waffles(found.views["instances"])
    each = verdicts.judge_each(view["retrained"])
    for name in verdicts.NAMES:
        assert counted["unlearned"].counts[name] == (view["verdict"] == name).sum()
        assert counted["original"].counts[name] == (view["verdict_original"] == name).sum()
        assert counted["controlled"].counts[name] == (view["verdict_controlled"] == name).sum()
        assert counted["unlearned"].retrained[name][0] == pytest.approx((each.verdict == name).sum(axis=1).mean())
        assert counted["controlled"].retrained[name][0] == pytest.approx((each.controlled == name).sum(axis=1).mean())
    told = shares(found)["instances.told_apart.forget"]
    assert told.unlearned * FORGET == pytest.approx(counted["unlearned"].counts[verdicts.STILL])
    assert told.retrained.mean * FORGET == pytest.approx(counted["unlearned"].retrained[verdicts.STILL][0])


def test_the_stored_bell_is_the_one_that_judged():
    view = instances.compute(planted(np.random.default_rng(4), 1.0)).views["instances"]
    bell = stats.t(view["dof"], view["mean"], view["scale"])
    assert view["p_told_apart"] == pytest.approx(bell.sf(view["unlearned"]))
    assert view["p_original"] == pytest.approx(bell.sf(view["original"]))
    assert view["low"] == pytest.approx(bell.ppf(0.05)) and view["high"] == pytest.approx(bell.ppf(0.95))


def test_uniformity_is_the_distance_of_scipys_ks_test():
    found = instances.compute(planted(np.random.default_rng(5), 1.0))
    view, whole, measure = found.views["instances"], found.views["uniformity"], shares(found)["instances.uniformity.forget"]

    def distance(p):
        return stats.kstest(p, "uniform").statistic

    assert measure.original == pytest.approx(distance(view["p_original"]))
    assert measure.unlearned == pytest.approx(distance(view["p_told_apart"]))
    assert measure.retrained.values == pytest.approx([distance(p) for p in view["p_retrained"]])
    assert measure.verdict() is not None
    assert whole["unlearned"] == pytest.approx(np.sort(view["p_told_apart"]))
    assert whole["p_plain"] == pytest.approx(stats.kstest(view["p_told_apart"], "uniform").pvalue)
    farther = sum(d >= measure.unlearned for d in measure.retrained.values)
    assert whole["p_calibrated"] == pytest.approx((1 + farther) / 13)


def test_uniformity_tells_kept_knowledge_from_exact_retraining():
    rng = np.random.default_rng(6)
    kept, exact = (shares(instances.compute(planted(rng, shift)))["instances.uniformity.forget"] for shift in (6.0, 0.0))
    assert kept.unlearned > 0.9 and kept.verdict() == "still different"
    assert exact.unlearned < 0.4 and exact.verdict() == "like retrained"


def test_wrong_answers_are_asked_only_of_methods_that_aim_at_them():
    undo, misclassify = (instances.compute(planted(np.random.default_rng(7), -6.0, goal=goal)) for goal in ("undo", "misclassify"))
    assert "instances.misclassified.forget" not in shares(undo)
    assert shares(undo)["instances.told_apart.forget"].reason is None
    found = shares(misclassify)
    wrong, view = found["instances.misclassified.forget"], misclassify.views["instances"]
    assert wrong.unlearned == pytest.approx((view["unlearned"] < 0).mean()) and wrong.original == (view["original"] < 0).mean()
    assert wrong.retrained.values == pytest.approx((view["retrained"] < 0).mean(axis=1))
    assert {found[f"instances.{name}.forget"].reason for name in ("told_apart", "over_forgotten")} == {instances.OTHER_GOAL}
    few = shares(instances.compute(planted(np.random.default_rng(7), -6.0, k=2, goal="misclassify")))
    assert few["instances.misclassified.forget"].unlearned is not None and few["instances.uniformity.forget"].unlearned is None
