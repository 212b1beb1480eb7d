"""Utility against scikit-learn and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from evidence.subjects import make_subject
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, log_loss

from unlearn_core.evidence import utility
from unlearn_core.evidence.across import share_interval
from unlearn_core.evidence.base import Outputs
from unlearn_core.evidence.logits import log_softmax


@pytest.fixture(scope="module")
def digits():
    return make_subject("digits", unlearned="retrain")


@pytest.fixture(scope="module")
def measures(digits):
    return {m.id: m for m in utility.compute(digits).measures}


def probabilities(outputs, ids):
    z = outputs.logits[ids].astype(np.float64)
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("group", ["retain", "forget", "test"])
def test_accuracy_and_loss_equal_scikit_learn(digits, measures, group):
    ids = {"retain": digits.retain, "forget": digits.forget, "test": digits.splits.test}[group]
    models = [digits.original, digits.unlearned, *digits.retrained]
    p, y = [probabilities(m, ids) for m in models], digits.labels[ids]
    accuracies = [accuracy_score(y, q.argmax(axis=1)) for q in p]
    losses = [log_loss(y, q, labels=range(10)) for q in p]
    for family, expected in (("accuracy", accuracies), ("loss", losses)):
        m = measures[f"utility.{family}.{group}"]
        assert [m.original, m.unlearned, *m.retrained.values] == pytest.approx(expected, rel=1e-6)
        assert m.n == len(ids)


def test_test_accuracy_has_the_exact_binomial_interval(digits, measures):
    m = measures["utility.accuracy.test"]
    right = round(m.unlearned * m.n)
    assert m.ci == pytest.approx(tuple(binomtest(right, m.n).proportion_ci(method="exact")), rel=1e-9)
    for right in (0, 7, 7):
        assert share_interval(right, 7) == pytest.approx(tuple(binomtest(right, 7).proportion_ci(method="exact")))
    assert measures["utility.accuracy.retain"].ci is None  # all retained instances are seen, nothing is estimated


def test_classes_of_the_test_set(digits, measures):
    ids = digits.splits.test[digits.labels[digits.splits.test] == 8]
    m = measures["utility.accuracy.test:class:8"]
    assert m.original == np.mean(digits.original.logits[ids].argmax(1) == 8) and m.n == len(ids)
    assert m.family == "utility.accuracy" and m.reliability == "weak" and str(len(ids)) in m.reason
    view = utility.compute(digits).views["per_class"]
    weighted = (view["retrained_retain"] * view["n_retain"]).sum(axis=1) / view["n_retain"].sum()
    assert weighted == pytest.approx(measures["utility.accuracy.retain"].retrained.values)


def test_calibration_error_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.4] * 4, 500)
    y = np.array([rng.choice(4, p=row) for row in p])  # calibrated, so bins err to both sides and merging them would show
    total = 0.0
    for b in range(15):
        rows = [i for i in range(500) if b / 15 < p[i].max() <= (b + 1) / 15]
        if rows:
            hits, sure = np.mean([p[i].argmax() == y[i] for i in rows]), np.mean([p[i].max() for i in rows])
            total += len(rows) / 500 * abs(hits - sure)
    assert utility.calibration_error(np.log(p), y) == pytest.approx(total, rel=1e-9)
    sure_and_wrong = np.log(np.array([[1 - 1e-12, 1e-12]] * 5))
    assert utility.calibration_error(sure_and_wrong, np.ones(5, int)) == pytest.approx(1.0)
    assert utility.calibration_error(sure_and_wrong, np.zeros(5, int)) == pytest.approx(0.0, abs=1e-9)


def test_gap_by_hand(digits, measures):
    shares = {}
    for who in digits.names():
        guess = digits.outputs(who).logits.argmax(axis=1) == digits.labels
        shares[who] = [guess[ids].mean() for ids in (digits.retain, digits.forget, digits.splits.test)]
    mean = np.mean([shares[f"retrained:{k}"] for k in range(3)], axis=0)
    m = measures["utility.accuracy_gap.mean"]
    assert m.unlearned == pytest.approx(np.abs(np.array(shares["unlearned"]) - mean).mean())
    first = np.abs(np.array(shares["retrained:0"]) - np.mean([shares["retrained:1"], shares["retrained:2"]], axis=0)).mean()
    assert m.retrained.values[0] == pytest.approx(first)


def test_cost_says_when_retraining_is_cheaper(digits):
    ratio = {m.id: m for m in utility.compute(digits).measures}["utility.cost.ratio"]
    assert ratio.unlearned == pytest.approx(0.25) and ratio.reason is None and ratio.inside() is None
    dear = {m.id: m for m in utility.cost(replace(digits, seconds={"method": 2.0, "retrain": 0.5}))}
    assert dear["utility.cost.ratio"].unlearned == 4 and "cheaper" in dear["utility.cost.ratio"].reason
    unknown = {m.id: m for m in utility.cost(replace(digits, seconds={"method": 2.0}))}
    assert unknown["utility.cost.ratio"].unlearned is None and "not known" in unknown["utility.cost.ratio"].reason
    assert unknown["utility.seconds.method"].unlearned == 2.0


def test_first_call_works_without_retrained_models_and_later_calls_add_them():
    subject = make_subject("moons")
    late, subject.retrained = subject.retrained, []
    first = {m.id: m for m in utility.compute(subject).measures}
    assert first["utility.loss.forget"].unlearned is not None and first["utility.loss.forget"].retrained is None
    assert "not there yet" in first["utility.loss.forget"].reason and "not there yet" in first["utility.accuracy_gap.mean"].reason
    subject.retrained = late
    second = {m.id: m for m in utility.compute(subject).measures}
    assert second.keys() == first.keys()
    assert second["utility.loss.forget"].reason is None and len(second["utility.loss.forget"].retrained.values) == 3


def test_only_the_original_exists():
    found = utility.compute(make_subject("moons", retrains=0, unlearned=None))
    accuracy = next(m for m in found.measures if m.id == "utility.accuracy.test")
    assert accuracy.original is not None and accuracy.unlearned is None and accuracy.ci is None
    assert "unlearned_test" not in found.views["per_class"] and found.views["per_class"]["retrained_test"].shape == (0, 2)


def test_a_diverged_model_gives_numbers_and_a_warning():
    subject = make_subject("moons")
    logits = subject.unlearned.logits.copy()
    logits[::2] = np.nan
    logits[1] = [np.inf, -np.inf]
    subject.unlearned = Outputs(logits, subject.unlearned.layers)
    loss = next(m for m in utility.compute(subject).measures if m.id == "utility.loss.test")
    assert np.isfinite(loss.unlearned) and loss.reliability == "weak" and "no numbers" in loss.reason


def test_log_softmax_is_stable():
    z = np.array([[1e3, 0.0, -1e3], [0.0, 0.0, 0.0]])
    assert log_softmax(z)[0] == pytest.approx([0.0, -1000.0, -2000.0])
    assert log_softmax(z)[1] == pytest.approx(np.log([1 / 3] * 3))
