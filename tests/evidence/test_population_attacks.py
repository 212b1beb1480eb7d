"""Entropy attacks, thresholds and the SVC against the published protocols, written out as loops."""

from itertools import combinations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from unlearn_core.errors import BadInput
from unlearn_core.evidence import attacks
from unlearn_core.evidence import population_attacks as pop


def song_mittal_entropy(prediction):
    return sum(-p * np.log(p) for p in prediction if p != 0)


def song_mittal_modified_entropy(prediction, label):
    """The definition term by term, with the clamps of the authors' code."""
    total = 0.0
    for c, p in enumerate(prediction):
        if c == label:
            total += -np.log(1e-30) if p == 0 else -(1 - p) * np.log(p)
        else:
            total += -np.log(1e-30) if p == 1 else -p * np.log(1 - p)
    return total


def song_mittal_threshold(members, others):
    best, chosen = 0, 0
    for value in np.concatenate((members, others)):
        share = 0.5 * (np.sum(members >= value) / len(members) + np.sum(others < value) / len(others))
        if share > best:
            chosen, best = value, share
    return chosen


def draw(n=200, c=10, scale=3.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, c)) * scale, rng.integers(0, c, n)


# Scores


def test_entropies_equal_the_definitions_of_song_and_mittal():
    z, y = draw()
    p = softmax(z, axis=1)
    np.testing.assert_allclose(-pop.entropy_score(z), [song_mittal_entropy(row) for row in p], atol=1e-12)
    np.testing.assert_allclose(
        -pop.modified_entropy_score(z, y), [song_mittal_modified_entropy(*pair) for pair in zip(p, y, strict=True)], atol=1e-12
    )


def test_modified_entropy_of_a_row_does_not_depend_on_its_batch():
    # The code that SalUn and ℓ1-sparse share indexes every label of the batch in every row, and takes log p for log(1 − p).
    z, y = draw()
    together = pop.modified_entropy_score(z, y)
    np.testing.assert_array_equal(together, [pop.modified_entropy_score(z[[i]], y[[i]])[0] for i in range(len(z))])
    np.testing.assert_array_equal(together[::-1], pop.modified_entropy_score(z[::-1], y[::-1]))
    p, seen = softmax(z, axis=1), np.unique(y)
    wrong, logs = p.copy(), np.log(p)
    wrong[:, seen] = 1 - p[:, seen]
    assert np.corrcoef(together, (wrong * logs).sum(axis=1))[0, 1] < 0.9


def test_modified_entropy_is_finite_ordered_and_leaves_logits_alone_where_probabilities_underflow():
    z = np.array([[0.0, 40 * k, 0.0] for k in (-20, -10, -1, 0, 1, 10, 20)])
    before = z.copy()
    right, wrong = pop.modified_entropy_score(z, np.ones(7, int)), pop.modified_entropy_score(z, np.zeros(7, int))
    assert np.isfinite(right).all() and (np.diff(right) >= 0).all() and (np.diff(wrong[3:]) < 0).all()
    assert right[-1] > -1e-300 and wrong[-1] == pytest.approx(-1600 + np.log(2))
    np.testing.assert_array_equal(z, before)
    assert np.isfinite(pop.entropy_score(z)).all()


def test_scores_are_higher_for_what_looks_learned():
    sure, unsure = np.array([[6.0, 0, 0]]), np.array([[1.0, 0, 0]])
    zero = np.zeros(1, int)
    assert pop.entropy_score(sure) > pop.entropy_score(unsure)
    assert pop.modified_entropy_score(sure, zero) > pop.modified_entropy_score(unsure, zero)
    # Sure of a wrong class: entropy takes it for a member, modified entropy does not.
    assert pop.entropy_score(sure) > pop.entropy_score(unsure) and pop.modified_entropy_score(sure, zero + 1) < pop.modified_entropy_score(
        unsure, zero + 1
    )


# Thresholds


@pytest.mark.parametrize("seed", range(5))
def test_class_thresholds_equal_the_loop_of_song_and_mittal(seed):
    rng = np.random.default_rng(seed)
    a, b = np.round(rng.normal(0.4, 1, 300), 1), np.round(rng.normal(0, 1, 240), 1)  # rounded: ties
    la, lb = rng.integers(0, 4, 300), rng.integers(0, 4, 240)
    expected = [song_mittal_threshold(a[la == c], b[lb == c]) for c in range(4)]
    np.testing.assert_array_equal(pop.class_thresholds(a, la, b, lb, 4), expected)


def test_class_without_points_takes_the_common_threshold():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 1, 50), rng.normal(size=60)
    found = pop.class_thresholds(a, np.zeros(50, int), b, np.ones(60, int), 3)
    np.testing.assert_array_equal(found, [pop.best_threshold(a, b)] * 3)
    with pytest.raises(BadInput):
        pop.class_thresholds(a, np.zeros(50, int), b[:0], np.zeros(0, int), 2)


def test_balanced_accuracy_uses_the_threshold_of_each_class():
    rng = np.random.default_rng(2)
    offset = np.array([0.0, 5.0, -3.0])
    labels = rng.integers(0, 3, (4, 2000))
    fit_a, fit_b, a, b = (rng.normal(shift, 1, 2000) + offset[row] for shift, row in zip((1, 0, 1, 0), labels, strict=True))
    thresholds = pop.class_thresholds(fit_a, labels[0], fit_b, labels[1], 3)
    own = pop.balanced_accuracy(a, b, thresholds[labels[2]], thresholds[labels[3]])
    right = [x >= thresholds[c] for x, c in zip(a, labels[2], strict=True)], [x < thresholds[c] for x, c in zip(b, labels[3], strict=True)]
    assert own == pytest.approx(0.5 * (np.mean(right[0]) + np.mean(right[1])))
    assert own == pytest.approx(0.691, abs=0.025)  # Φ(½), the best for one sigma
    assert pop.balanced_accuracy(a, b, pop.best_threshold(fit_a, fit_b)) < own - 0.05


def test_threshold_chosen_on_the_counted_points_is_optimistic_and_elsewhere_is_not():
    rng = np.random.default_rng(3)
    for n, optimistic in ((5, 0.65), (10, 0.62), (50, 0.56)):
        same, apart = [], []
        for _ in range(600):
            a, b, c, d = rng.normal(size=(4, n))
            same.append(pop.balanced_accuracy(a, b, pop.best_threshold(a, b)))
            apart.append(pop.balanced_accuracy(a, b, pop.best_threshold(c, d)))
        assert np.mean(same) == pytest.approx(optimistic, abs=0.03)
        assert np.mean(apart) == pytest.approx(0.5, abs=4 * np.std(apart) / np.sqrt(600))


def test_ties_shrink_the_chance_error_as_in_every_possible_relabelling():
    for scores in ([0, 0, 0, 1, 1, 2, 5], [0, 0, 0, 0, 0, 1, 1], list(range(7))):
        found = []
        for some in map(list, combinations(range(7), 3)):
            found.append(attacks.auc(np.take(scores, some), np.delete(scores, some)))
        error = (attacks.auc_chance(3, 4)[1] - 0.5) / attacks.Z
        assert pop.tie_factor(np.array(scores[:3]), np.array(scores[3:])) * error == pytest.approx(np.std(found), abs=1e-12)
    assert pop.tie_factor(np.ones(3), np.ones(4)) == 0.0


def test_interval_of_guesses_has_the_published_values():
    # Newcombe 1998, Statist. Med. 17, table II, method 10.
    for a, m, b, n, low, high in (
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 20, -0.1611, 0.2775),
        (10, 10, 0, 20, 0.6791, 1.0),
        (10, 10, 0, 10, 0.6075, 1.0),
    ):
        found = pop.guess_interval(np.arange(m) < a, np.arange(n) < b)
        assert [2 * end - 1 for end in found] == pytest.approx([low, high], abs=1e-4)


def test_balanced_accuracy_is_the_auc_of_yes_and_no():
    rng = np.random.default_rng(9)
    a, b = rng.random(40) < 0.8, rng.random(70) < 0.6
    assert attacks.auc(a, b) == pytest.approx(pop.correctness_accuracy(a, b), abs=1e-12)


def test_correctness_attack_is_half_the_gap_above_one_half():
    members, others = np.array([True] * 9 + [False]), np.array([True] * 7 + [False] * 3)
    assert pop.correctness_accuracy(members, others) == pytest.approx(0.6)


# SVC MIA-efficacy


def test_svc_efficacy_equals_a_scikit_learn_pipeline():
    rng = np.random.default_rng(4)
    retained, test, forgotten = rng.normal(2, 1, 130), rng.normal(0, 1, 80), rng.normal(0.5, 1, 60)
    x, y = np.r_[retained[:80], test][:, None], np.repeat([1, 0], 80)
    machine = make_pipeline(FunctionTransformer(), SVC(C=3, gamma="auto", kernel="rbf"))
    found = pop.svc_efficacy(retained, test, forgotten, seed=None)
    assert found.value == 1 - machine.fit(x, y).predict(forgotten[:, None]).mean()
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    assert found.own == pytest.approx(cross_val_score(machine, x, y, cv=folds, scoring="balanced_accuracy").mean(), abs=0.02)
    assert found.trusted and 0.3 < found.value < 0.95


def test_svc_efficacy_takes_probability_vectors_and_caps_its_cost():
    rng = np.random.default_rng(5)
    z = rng.normal(size=(500, 4))
    z[:200, 0] += 2
    p = softmax(z, axis=1)
    found = pop.svc_efficacy(p[:200], p[200:400], p[400:], most=50)
    x, y = p[:200], p[200:400]
    again = np.random.default_rng(0)
    x, y = (side[np.sort(again.choice(200, 50, replace=False))] for side in (x, y))
    assert found.value == 1 - SVC(C=3, gamma="auto").fit(np.r_[x, y], np.repeat([1, 0], 50)).predict(p[400:]).mean()


def test_svc_that_cannot_tell_retained_from_test_is_not_trusted():
    rng = np.random.default_rng(6)
    assert not pop.svc_efficacy(rng.normal(size=300), rng.normal(size=300), rng.normal(size=40)).trusted
    with pytest.raises(BadInput):
        pop.svc_efficacy(np.zeros(2), np.zeros(2), np.zeros(1))


def test_svc_efficacy_of_identical_distributions_is_the_share_predicted_negative():
    rng = np.random.default_rng(7)
    retained, test = rng.normal(3, 1, 400), rng.normal(0, 1, 400)
    assert pop.svc_efficacy(retained, test, rng.normal(0, 1, 2000)).value == pytest.approx(0.933, abs=0.03)  # Φ(1.5)
    assert pop.svc_efficacy(retained, test, rng.normal(3, 1, 2000)).value == pytest.approx(0.067, abs=0.03)


def test_confidence_loss_and_phi_are_one_attack():
    z, y = draw(seed=8)
    z[np.arange(100), y[:100]] += 2
    phi = attacks.logit_scaled_confidence(z, y)
    found = {attacks.auc(s[:100], s[100:]) for s in (phi, -attacks.loss_of(phi), attacks.confidence_of(phi))}
    assert max(found) - min(found) < 1e-12
    assert abs(attacks.auc(*np.split(pop.entropy_score(z), 2)) - found.pop()) > 0.01
