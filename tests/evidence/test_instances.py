"""Verdicts instance by instance from exact retrains: planted models whose right answers are known."""

import numpy as np
import pytest
from scipy import stats

from unlearn_core.data.base import Splits
from unlearn_core.evidence import instances
from unlearn_core.evidence.base import Outputs, Subject

FORGET = 40


def planted(rng, shift, k=12):
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
