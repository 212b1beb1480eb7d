"""Damage to retained instances against planted damage, brute force and simulated seeds."""

from dataclasses import replace

import numpy as np
import pytest
from evidence.subjects import make_subject
from scipy.stats import spearmanr

from unlearn_core.data.base import Splits
from unlearn_core.evidence import collateral
from unlearn_core.evidence.base import Outputs, Subject
from unlearn_core.evidence.readable import DIVERGED


def measures(subject):
    return {m.id: m for m in collateral.compute(subject).measures}


def logits_of(phi):
    """Two logits whose logit-scaled confidence in label 0 is phi."""
    return np.stack([phi, np.zeros_like(phi)], axis=1)


def planted(harm=lambda distance: 0.0, n=240, forget=12, retrains=4, noise=0.0, seed=0, unlearned=True):
    """Training instances on a circle of features, the forgotten ones on a sixth of it; the unlearned model loses `harm(distance to the nearest forgotten one)` of φ."""
    rng = np.random.default_rng(seed)
    angle = np.concatenate([rng.uniform(0, 1, forget), rng.uniform(0, 2 * np.pi, n - forget)])
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    features -= features[forget:].mean(axis=0)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    distance = 1 - (unit @ unit[:forget].T).max(axis=1)
    base = rng.normal(4, 1, n)
    output = lambda phi: Outputs(logits_of(phi), {"features": features})  # noqa: E731
    empty = np.empty(0, np.int64)
    subject = Subject(
        labels=np.zeros(n, int),
        class_names=("a", "b"),
        modality="points",
        inputs=features,
        splits=Splits(np.arange(n), empty, empty, empty, empty),
        forget=np.arange(forget),
        original=output(base),
        unlearned=output(base - harm(distance) + noise * rng.normal(size=n)) if unlearned else None,
        retrained=[output(base + noise * rng.normal(size=n)) for _ in range(retrains)],
        predict=None,
        head=None,
    )
    return subject, distance


def test_damage_planted_on_neighbours_is_found_there_and_only_there():
    subject, distance = planted(noise=0.1)
    near = np.isin(np.arange(240), collateral.neighbours(subject))
    values = subject.unlearned.logits[:, 0] - 2.0 * near
    subject = replace(subject, unlearned=Outputs(logits_of(values), subject.unlearned.layers), memo={})
    found = measures(subject)
    beside, far, slope = (found[f"collateral.{name}"] for name in ("damage.neighbours", "damage.far", "slope.retain"))
    assert beside.unlearned == pytest.approx(2.0, abs=0.1) and beside.inside() is False and beside.verdict() == "moved away"
    assert far.unlearned == pytest.approx(0.0, abs=0.1) and far.inside() and beside.original == pytest.approx(0.0, abs=0.1)
    assert slope.unlearned < -0.2 and slope.inside() is False
    retain = subject.retain
    damage = np.mean([o.logits[retain, 0] for o in subject.retrained], axis=0) - values[retain]
    assert slope.unlearned == pytest.approx(spearmanr(damage, distance[retain]).statistic, abs=1e-9)
    assert beside.n == near.sum() and far.n <= len(retain) / 2 + 1


def test_damage_that_falls_or_rises_with_distance_has_the_rank_correlation_of_its_sign():
    for sign in (1, -1):
        slope = measures(planted(lambda distance, sign=sign: sign * np.exp(-distance))[0])["collateral.slope.retain"]
        assert slope.unlearned == pytest.approx(-sign, abs=1e-9)


def test_the_mean_of_a_group_is_what_a_loop_gives():
    subject = make_subject("digits", retrains=3, unlearned="retrain")
    found, near = measures(subject), collateral.neighbours(subject)

    def phi(outputs, i):
        z = outputs.logits[i].astype(float)
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        y = subject.labels[i]
        return np.log(p[y]) - np.log(np.delete(p, y).sum())

    table = {who: np.array([phi(subject.outputs(who), i) for i in near]) for who in subject.names()}
    fresh = np.stack([table[f"retrained:{k}"] for k in range(3)])
    m = found["collateral.damage.neighbours"]
    assert m.unlearned == pytest.approx((fresh.mean(0) - table["unlearned"]).mean(), rel=1e-6)
    expected = [(np.delete(fresh, k, axis=0).mean(0) - fresh[k]).mean() for k in range(3)]
    np.testing.assert_allclose(m.retrained.values, expected, rtol=1e-6)
    assert m.null == (min(m.retrained.values), max(m.retrained.values)) and m.retrained.mean == pytest.approx(0, abs=1e-9)
    right = subject.unlearned.logits[near].argmax(1) == subject.labels[near]
    assert found["collateral.accuracy.neighbours"].unlearned == right.mean()


def test_distance_is_one_minus_the_largest_cosine_and_names_its_instance():
    subject = make_subject("moons")
    view = collateral.watched(subject)
    features = subject.original.features.astype(float)
    features -= features[subject.retain].mean(axis=0)
    for i, nearest, distance in zip(view["ids"][:40], view["nearest"], view["distance"], strict=False):
        cosines = {int(j): features[i] @ features[j] / np.linalg.norm(features[i]) / np.linalg.norm(features[j]) for j in subject.forget}
        assert distance == pytest.approx(1 - max(cosines.values()), abs=1e-9)
        assert cosines[int(nearest)] == pytest.approx(max(cosines.values()), abs=1e-9)
    assert view["near"].sum() == len(collateral.neighbours(subject)) and view["drawn"].all()


def test_a_noop_is_the_original_and_equals_have_no_damage():
    found = collateral.compute(make_subject("moons", unlearned="noop"))
    for m in found.measures:
        assert m.unlearned == m.original
    assert np.array_equal(found.views["damage"]["damage_unlearned"], found.views["damage"]["damage_original"])
    same = measures(planted()[0])
    assert all(same[f"collateral.damage.{group}"].unlearned == pytest.approx(0, abs=1e-12) for group in ("neighbours", "far"))


def test_one_more_retrained_model_lies_in_the_interval_as_often_as_said():
    """Coverage of the 95 % intervals where seeds also share a common shift and a slope along distance."""
    rng = np.random.default_rng(1)
    distance = np.sort(rng.uniform(size=100))
    base, k, hits, rounds = rng.normal(size=100), 4, np.zeros(2), 400
    for _ in range(rounds):
        drawn = base + rng.normal(size=(k + 1, 100)) + 0.3 * rng.normal(size=(k + 1, 1)) + 0.5 * rng.normal(size=(k + 1, 1)) * distance
        found = collateral.damages({"original": base, "unlearned": drawn[0], "retrained": drawn[1:]})
        for place, (value, widen) in enumerate(
            (
                (lambda values: values[:25].mean(), collateral._widen_mean),
                (lambda values: collateral.rank_correlation(values, distance), collateral._widen_correlation),
            )
        ):
            band = collateral.retrained_band([value(values) for values in found["retrained"]], widen=widen(k))
            hits[place] += band.low <= value(found["unlearned"]) <= band.high
    assert (np.abs(hits / rounds - 0.95) < 0.035).all()


def test_the_curve_has_the_means_of_its_bins():
    subject, distance = planted(lambda distance: 1 + distance, noise=0.3)
    found = collateral.compute(subject)
    view, curve = found.views["damage"], found.views["damage_curve"]
    order = np.argsort(view["distance"], kind="stable")
    assert curve["count"].sum() == len(subject.retain) and len(curve["count"]) == collateral.BINS
    start = 0
    for b, count in enumerate(curve["count"]):
        rows = order[start : start + count]
        assert curve["unlearned"][b] == pytest.approx(view["damage_unlearned"][rows].mean())
        assert (curve["unlearned_low"][b], curve["unlearned_high"][b]) == tuple(np.quantile(view["damage_unlearned"][rows], (0.25, 0.75)))
        assert curve["start"][b] == view["distance"][rows].min() and curve["end"][b] == view["distance"][rows].max()
        start += count
    assert curve["retrained"].shape == (4, collateral.BINS) and (curve["low"] < 0).all() and (curve["high"] > 0).all()


def test_what_awaits_retrained_models_says_so_and_grows_with_them():
    full = make_subject("moons", retrains=3)
    for count in range(4):
        subject = replace(full, retrained=full.retrained[:count])  # the memo is shared, as in a run
        found = collateral.compute(subject)
        by = {m.id: m for m in found.measures}
        damage, accuracy = by["collateral.damage.neighbours"], by["collateral.accuracy.neighbours"]
        assert accuracy.unlearned is not None and found.views["damage"]["retrained"].shape[0] == count
        if count == 0:
            assert damage.original is None and damage.reason == "the retrained models are not there yet"
            assert "damage_curve" not in found.views and "damage_original" not in found.views["damage"]
        elif count < 3:
            assert damage.unlearned is not None and f"{count} so far" in damage.reason and damage.verdict() is None
            assert np.isnan(found.views["damage_curve"]["low"]).all() and (damage.retrained is None) == (count == 1)
        else:
            assert damage.reason is None and damage.verdict() is not None
    alone = {m.id: m for m in collateral.compute(replace(full, memo={})).measures}
    assert alone == by  # nothing kept from fewer models


def test_large_data_is_sampled_with_all_neighbours_and_says_so(monkeypatch):
    monkeypatch.setattr(collateral, "PROBE", 150)
    subject = planted(lambda distance: distance, n=600, forget=5, noise=0.1)[0]
    found = collateral.compute(subject)
    view = found.views["damage"]
    assert len(view["ids"]) <= 150 and set(collateral.neighbours(subject)) == set(view["ids"][view["near"]])
    assert all(m.reliability == "estimate" and "from a sample" in m.reason for m in found.measures)
    assert not view["drawn"].all()


def test_a_diverged_model_and_an_empty_group_are_reported():
    subject = planted()[0]
    broken = replace(subject, unlearned=Outputs(np.full((240, 2), np.nan), subject.unlearned.layers))
    for m in collateral.compute(broken).measures:
        assert m.unlearned is None and m.original is not None and DIVERGED in m.reason
    everything = replace(subject, forget=np.arange(240), memo={})
    assert {m.reason for m in collateral.compute(everything).measures} == {collateral.NOBODY}
    few = replace(subject, forget=np.arange(232), memo={})  # all others are neighbours
    assert measures(few)["collateral.damage.far"].reason == collateral.NOBODY
    assert measures(replace(planted(unlearned=False)[0]))["collateral.damage.far"].unlearned is None
