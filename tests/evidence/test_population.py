"""The population attacks through their measures: other libraries, planted distributions, and cases whose answer is known."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from evidence.subjects import make_subject
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.svm import SVC

from unlearn_core import evidence
from unlearn_core.data.base import Splits
from unlearn_core.evidence import population, privacy
from unlearn_core.evidence import population_attacks as pop
from unlearn_core.evidence.base import Outputs, Subject

SIGMA = stats.norm.cdf(1 / np.sqrt(2))  # AUC of Gaussians one standard deviation apart
GROUPS = ("forget", "retain", "test", "population")


def measures(subject):
    return {m.id.removeprefix("population."): m for m in population.compute(subject).measures}


def planted(phi, features=None, labels=None, models=None):
    """A two-class subject whose confidence φ is given by group; every model says the same unless `models` has [unlearned, retrained …]."""
    sizes = [len(phi.get(group, ())) for group in GROUPS]
    forget, retain, test, reference = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    labels = np.zeros(sum(sizes), int) if labels is None else labels
    features = np.random.default_rng(0).normal(size=(sum(sizes), 2)) if features is None else features

    def outputs(phi):
        scores = np.concatenate([phi.get(group, ()) for group in GROUPS])
        sides = np.stack([scores, np.zeros(sum(sizes))], axis=1)
        return Outputs(np.where(labels[:, None] == 0, sides, sides[:, ::-1]), {"features": features})

    unlearned, *retrained = [outputs(own) for own in models or [phi] * 4]
    empty = np.empty(0, np.int64)
    return Subject(
        labels=labels,
        class_names=("a", "b"),
        modality="points",
        inputs=np.zeros((len(labels), 2), np.float32),
        splits=Splits(np.concatenate([forget, retain]), empty, empty, test, reference),
        forget=forget,
        original=outputs(phi),
        unlearned=unlearned,
        retrained=retrained,
        predict=None,
        head=None,
    )


def normal(rng, **groups):
    """φ of each group from a Gaussian: group=(mean, size)."""
    return {group: rng.normal(mean, 1, size) for group, (mean, size) in groups.items()}


def garbled(subject, ids):
    """The subject with nonsense in place of what every model says about `ids`."""

    def garble(outputs):
        logits = outputs.logits.copy()
        logits[ids] = np.random.default_rng(0).normal(size=(len(ids), logits.shape[1])) * 50
        return Outputs(logits, outputs.layers)

    models = [garble(outputs) for outputs in (subject.original, subject.unlearned, *subject.retrained)]
    return replace(subject, original=models[0], unlearned=models[1], retrained=models[2:], memo={})


@pytest.fixture(scope="module")
def digits():
    return make_subject("digits", forget=40, unlearned="retrain")


# Against other libraries


def test_aucs_equal_scipy_and_scikit_learn_for_every_model(digits):
    found, test = measures(digits), digits.splits.test
    member = np.repeat([1, 0], [40, len(test)])
    ids = np.concatenate([digits.forget, test])
    for k, outputs in enumerate([digits.original, digits.unlearned, *digits.retrained]):
        p = softmax(outputs.logits[ids].astype(np.float64), axis=1)
        own = np.eye(10)[digits.labels[ids]].astype(bool)
        modified = (1 - p[own]) * np.log(p[own]) + np.where(own, 0, p * np.log1p(-np.where(own, 0, p))).sum(axis=1)
        right = p.argmax(axis=1) == digits.labels[ids]
        expected = {
            "entropy.forget": roc_auc_score(member, -stats.entropy(p, axis=1)),
            "modified_entropy.forget": roc_auc_score(member, modified),
            "gap.forget": balanced_accuracy_score(member, right),
        }
        for id, value in expected.items():
            m = found[id]
            assert [m.original, m.unlearned, *m.retrained.values][k] == pytest.approx(value, abs=2e-4), id


def test_exposure_of_neighbours_is_the_auc_of_the_ten_nearest_by_brute_force(digits):
    features, retain = digits.original.features.astype(float), digits.retain
    moved = features - features[retain].mean(axis=0)
    cosine = moved @ moved.T / np.outer(*[np.linalg.norm(moved, axis=1)] * 2)
    near = np.unique([retain[np.argsort(-cosine[i, retain], kind="stable")[:10]] for i in digits.forget])
    p = softmax(digits.unlearned.logits.astype(np.float64), axis=1)[np.arange(900), digits.labels]
    test = digits.splits.test
    expected = roc_auc_score(np.repeat([1, 0], [len(near), len(test)]), np.concatenate([p[near], p[test]]))
    m = measures(digits)["exposure_shift.neighbours"]
    assert m.n == len(near) and m.unlearned == pytest.approx(expected, abs=1e-6)


def test_svc_efficacy_is_scikit_learns_machine_on_a_seeded_sample_of_equal_sides():
    rng = np.random.default_rng(0)
    phi = normal(rng, forget=(1, 60), retain=(2, 900), test=(0, 700), population=(0, 50))
    subject = replace(planted(phi), seed=7)
    m = measures(subject)["svc_efficacy.forget"]
    again = np.random.default_rng(7)
    p = {group: 1 / (1 + np.exp(-values)) for group, values in phi.items()}
    retain, test = (p[group][np.sort(again.choice(len(p[group]), 500, replace=False))] for group in ("retain", "test"))
    machine = SVC(C=3, gamma="auto").fit(np.concatenate([retain, test])[:, None], np.repeat([1, 0], 500))
    assert m.unlearned == pytest.approx(np.mean(machine.predict(p["forget"][:, None]) == 0))
    exact = stats.binomtest(round(m.unlearned * 60), 60).proportion_ci(method="exact")
    assert m.ci == pytest.approx((exact.low, exact.high)) and m.n == 60
    assert len(subject.memo["population.svc_efficacy", "original"].test) == 500  # what keeps it cheap


# Planted distributions


def test_planted_gaussians_give_the_textbook_values_through_every_measure():
    rng = np.random.default_rng(1)
    big = 12_000
    features = np.zeros((4 * big, 2))
    phi = normal(rng, forget=(1, big), retain=(1, big), test=(0, big), population=(0, big))
    certain = {group: np.exp(values) for group, values in phi.items()}  # always right, so that entropy falls with φ
    found = {m.family: m for m in compute_some(planted(certain, features), "entropy", "modified_entropy", "class_threshold")}
    assert found["population.entropy"].unlearned == pytest.approx(SIGMA, abs=0.012)
    assert found["population.modified_entropy"].unlearned == pytest.approx(SIGMA, abs=0.012)
    assert found["population.class_threshold"].unlearned == pytest.approx(stats.norm.cdf(0.5), abs=0.015)
    right = {m.family: m for m in compute_some(planted(phi, features), "gap")}["population.gap"]
    assert right.unlearned == pytest.approx(0.5 * (stats.norm.cdf(1) + 0.5), abs=0.012)  # right where φ > 0


def compute_some(subject, *names):
    """Measures of the named families only: a planted subject of this size is too large for nearest neighbours."""
    forget, test = subject.forget, subject.splits.test
    made = {
        "entropy": lambda: privacy.separation(subject, "population.entropy", "forget", forget, test, population.entropy),
        "modified_entropy": lambda: privacy.separation(
            subject, "population.modified_entropy", "forget", forget, test, population.modified_entropy
        ),
        "class_threshold": lambda: population.by_class(subject, forget, test),
        "gap": lambda: population.guessed(
            subject, "population.gap", forget, test, lambda s, who: s.outputs(who).logits.argmax(axis=1) == s.labels
        ),
    }
    return [made[name]() for name in names]


def test_neighbours_that_become_exposed_are_found_and_others_do_not_matter():
    rng = np.random.default_rng(2)
    angle = {"forget": rng.normal(0, 0.01, 300), "retain": rng.uniform(2, 4.2, 4000)}
    angle["retain"][:2500] = rng.normal(0, 0.01, 2500)  # next to the forgotten
    spread = np.concatenate([*angle.values(), np.zeros(3000)])
    features = np.stack([np.cos(spread), np.sin(spread)], axis=1)
    before = normal(rng, forget=(0, 300), retain=(0, 4000), test=(0, 3000), population=(0, 0))
    after = before | {"retain": before["retain"] + (np.arange(4000) < 2500)}
    m = measures(planted(before, features, models=[after, before, before, before]))["exposure_shift.neighbours"]
    assert 1000 < m.n <= 2500 and m.null[0] < m.original < m.null[1]
    assert m.unlearned == pytest.approx(SIGMA, abs=0.02) and m.refused is None and m.inside() is False
    assert m.ci[0] < SIGMA < m.ci[1]


def test_where_nothing_differs_every_measure_is_chance_inside_its_band():
    rng = np.random.default_rng(3)
    values, inside = {}, {}
    for _ in range(50):
        phi = normal(rng, forget=(1, 30), retain=(1, 90), test=(1, 60), population=(1, 40))
        for id, m in measures(planted(phi, labels=rng.integers(0, 2, 220))).items():
            values.setdefault(id, []).append(m.unlearned)
            inside.setdefault(id, []).append(m.null[0] - 1e-9 <= m.unlearned <= m.null[1] + 1e-9)
    for id in set(values) - {"svc_efficacy.forget"}:
        assert np.mean(values[id]) == pytest.approx(0.5, abs=4 * np.std(values[id]) / np.sqrt(50)), id
        assert np.mean(inside[id]) >= 0.88, id


def test_band_of_yes_and_no_is_that_of_dealing_the_same_answers_at_random(digits):
    m = measures(digits)["gap.forget"]
    right = digits.unlearned.logits.argmax(axis=1) == digits.labels
    test = digits.splits.test
    n, k = len(test), int(right[digits.forget].sum() + right[test].sum())
    dealt = stats.hypergeom(40 + n, k, 40)
    error = 0.5 * dealt.std() * (1 / 40 + 1 / n)
    assert (m.null[1] - m.null[0]) / 2 == pytest.approx(1.959964 * error, rel=1e-9)
    assert m.ci == pop.guess_interval(right[digits.forget], right[test])


# Thresholds by class


def test_thresholds_do_not_hang_on_the_counted_points(digits):
    """What is called a member elsewhere stays the same whatever the models say about forgotten and test instances."""
    counted = np.concatenate([digits.forget, digits.splits.test])
    elsewhere = np.setdiff1d(np.arange(900), counted)

    def calls(subject):
        population.compute(subject)
        return subject.memo["population.class_threshold", "called", "unlearned"]

    fresh = replace(digits, memo={})
    before, after = calls(fresh), calls(garbled(digits, counted))
    np.testing.assert_array_equal(before[elsewhere], after[elsewhere])
    assert (before[counted] != after[counted]).any()
    moved = calls(garbled(digits, digits.splits.population))
    assert (before[elsewhere] != moved[elsewhere]).any()  # they do hang on these


def test_thresholds_on_the_counted_points_would_beat_chance_on_pure_noise():
    rng = np.random.default_rng(4)
    honest, dishonest = [], []
    for _ in range(150):
        subject = planted(normal(rng, forget=(0, 12), retain=(0, 60), test=(0, 12), population=(0, 30)))
        honest.append(compute_some(subject, "class_threshold")[0].unlearned)
        score = population.modified_entropy(subject, "unlearned")
        a, b = score[subject.forget], score[subject.splits.test]
        dishonest.append(pop.balanced_accuracy(a, b, pop.best_threshold(a, b)))
    assert np.mean(honest) == pytest.approx(0.5, abs=0.03)
    assert np.mean(dishonest) > 0.58


def test_validation_is_never_read(digits):
    before, after = measures(digits), measures(garbled(digits, digits.splits.validation))
    assert {id: m.to_dict() for id, m in before.items()} == {id: m.to_dict() for id, m in after.items()}
    changed = measures(garbled(digits, digits.splits.test))
    assert all(changed[id].unlearned != before[id].unlearned for id in before)


# The SVC


def test_svc_is_believed_only_where_it_can_tell_retained_from_test():
    rng = np.random.default_rng(5)
    apart = normal(rng, forget=(3, 80), retain=(3, 200), test=(0, 200), population=(0, 20))
    forgotten = apart | {"forget": rng.normal(0, 1, 80)}
    m = measures(planted(apart, models=[forgotten] * 5))["svc_efficacy.forget"]
    assert m.refused is None and m.original < 0.2 < 0.7 < m.unlearned and m.verdict() == "like retrained"
    assert m.null[0] <= m.unlearned <= m.null[1] and m.original < m.null[0]
    alike = normal(rng, forget=(0, 80), retain=(0, 200), test=(0, 200), population=(0, 20))
    m = measures(planted(alike))["svc_efficacy.forget"]
    assert "the original model, the unlearned model, 3 of 3 retrained models" in m.refused and "55%" in m.refused and m.inside() is None
    m = measures(planted(apart, models=[forgotten, forgotten, alike, forgotten]))["svc_efficacy.forget"]
    assert m.refused.endswith(": 1 of 3 retrained models")


def test_svc_view_holds_its_own_accuracy_and_the_shares(digits):
    found = population.compute(digits)
    view, m = found.views["svc"], next(m for m in found.measures if m.family == "population.svc_efficacy")
    assert view["retrained"].shape == (3, 4) and view["unlearned"][3] == m.unlearned and view["original"][3] == m.original
    for own, retained, test, _ in (view["original"], view["unlearned"], *view["retrained"]):
        assert own == pytest.approx(0.5 * (1 - retained + test))
    assert bool(m.refused) == bool(min(view["original"][0], view["unlearned"][0], *view["retrained"][:, 0]) < 0.55)


def test_svc_refuses_a_verdict_on_forgotten_points_that_look_like_test_points_before():
    rng = np.random.default_rng(6)
    phi = normal(rng, forget=(0, 6), retain=(3, 200), test=(0, 200), population=(0, 20))
    assert measures(planted(phi))["svc_efficacy.forget"].refused.startswith("too few points")


# The evidence


def test_verdict_is_refused_where_even_the_original_looks_like_chance():
    rng = np.random.default_rng(7)
    same = normal(rng, forget=(1, 12), retain=(1, 100), test=(1, 150), population=(1, 50))
    for id in ("entropy.forget", "modified_entropy.forget", "gap.forget"):
        m = measures(planted(same))[id]
        assert m.null[0] <= m.original <= m.null[1] and m.refused.startswith("too few points for a verdict") and m.inside() is None
    wrong = same | {"forget": np.full(12, -9.0)}  # pushed away for everyone to see
    for id in ("entropy.forget", "modified_entropy.forget", "gap.forget"):
        assert measures(planted(same, models=[wrong, same, same, same]))[id].refused is None


def test_with_two_classes_modified_entropy_is_confidence_and_says_so(digits):
    subject = make_subject("moons", unlearned="retrain")
    m, confidence = measures(subject)["modified_entropy.forget"], privacy.compute(subject).measures[0]
    assert m.unlearned == pytest.approx(confidence.unlearned, abs=1e-9) and m.retrained.mean == pytest.approx(confidence.retrained.mean)
    assert "two classes" in m.reason
    assert "two classes" not in measures(digits)["modified_entropy.forget"].reason


def test_attacks_are_called_weak_and_named_exactly(digits):
    found = measures(digits)
    assert all(m.reliability == "weak" and m.reason and m.null and m.n and m.ci for m in found.values())
    assert {m.family for m in found.values()} == {d.id for d in population.EVIDENCE.definitions}
    titles = [d.title for e in evidence.registry().values() for d in e.definitions]
    assert len(set(titles)) == len(titles) and [t for t in titles if re.search(r"\bMIA\b", t)] == ["SVC MIA-efficacy"]


def test_what_is_missing_says_why():
    rng = np.random.default_rng(8)
    full = {"forget": (1, 8), "retain": (1, 60), "test": (0, 40), "population": (0, 20)}

    def without(**sizes):
        return measures(planted(normal(rng, **(full | {group: (0, size) for group, size in sizes.items()}))))

    found = without(population=0)
    assert found.pop("class_threshold.forget").reason.endswith("no reference instances that no model learned")
    assert all(m.unlearned is not None for m in found.values())
    assert "no retained instances" in without(retain=0)["class_threshold.forget"].reason
    assert "no such instances" in without(retain=0)["exposure_shift.neighbours"].reason
    assert "needs 20 retained instances" in without(retain=19)["svc_efficacy.forget"].reason
    assert "needs 20 test instances" in without(test=19)["svc_efficacy.forget"].reason
    assert all(m.unlearned is None and "test instances" in m.reason for m in without(test=0).values())
    assert all(m.unlearned is None and "no such instances" in m.reason for m in without(forget=0).values())


def test_works_before_retraining_and_fills_up_as_models_arrive(digits):
    subject = replace(digits, memo={})
    early = population.compute(replace(subject, retrained=[]))
    assert all(m.retrained is None and "not there yet" in m.reason for m in early.measures)
    assert early.views["svc"]["retrained"].shape == (0, 4)
    for k in (1, 2, 3):
        late = population.compute(replace(subject, retrained=subject.retrained[:k]))
        assert late.views["svc"]["retrained"].shape == (k, 4)
    fresh = population.compute(replace(subject, memo={}))
    assert [m.to_dict() for m in late.measures] == [m.to_dict() for m in fresh.measures]
    assert len(measures(replace(subject, unlearned=None, memo={}))) == 6


def test_a_diverged_model_gives_reasons_and_no_nan(digits):
    broken = Outputs(np.full_like(digits.original.logits, np.nan), digits.original.layers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = population.compute(replace(digits, unlearned=broken, memo={}))
    assert all(m.unlearned is None and m.ci is None and "diverged" in m.reason for m in found.measures)
    assert set(found.views["svc"]) == {"original", "retrained"}


def test_a_forgotten_class_is_judged_by_the_common_threshold():
    subject = make_subject("digits", forget=40, unlearned="retrain")
    train = subject.splits.train
    m = measures(replace(subject, forget=train[subject.labels[train] == 3], memo={}))["class_threshold.forget"]
    assert m.unlearned is not None and 0 <= m.unlearned <= 1
