"""Calibrated ∇τ: its targets against an independent regression, its loss by hand, and what it reaches."""

import numpy as np
import pytest
import torch
from methods.support import apply, original
from scipy.special import log_softmax, rel_entr, softmax
from sklearn.linear_model import LinearRegression

from unlearn_core import data, models
from unlearn_core.errors import BadInput
from unlearn_core.methods.calibrated import objective
from unlearn_core.models import pool, training
from unlearn_core.models.pool import Shadows, never_seen


def planted(k=400, n=6, classes=3, seed=0):
    """Shadows whose logits are linear in what they saw: base + own · saw it + support · Σ likeness · saw the others."""
    rng = np.random.default_rng(seed)
    keep = rng.random((k, n)) < 0.7
    features = rng.normal(size=(n, 4))
    features[1] = features[0] + 0.01
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    likeness = np.exp((unit @ unit.T - 1) / pool.LIKENESS)
    np.fill_diagonal(likeness, 0)
    base, own, support = rng.normal(size=(3, n, classes))
    logits = base + keep[..., None] * own + (keep @ likeness)[..., None] * support
    return Shadows(logits.astype(np.float32), keep), features, base


def test_targets_are_what_models_without_all_of_them_say():
    shadows, features, base = planted()
    found = never_seen(shadows, np.arange(6), features)
    assert np.allclose(np.exp(found), softmax(base, axis=1), atol=0.02)
    # The mean of those that missed one instance still has the support of the other one.
    alone = never_seen(shadows, np.arange(6))
    assert np.abs(np.exp(alone) - softmax(base, axis=1)).max() > 0.1


def test_without_likeness_the_target_is_the_mean_of_logits():
    shadows, _, _ = planted(k=9)
    ids = np.array([4, 1])
    by_hand = [log_softmax(np.mean([shadows.logits[k, i].astype(float) for k in range(9) if not shadows.keep[k, i]], axis=0)) for i in ids]
    assert np.allclose(never_seen(shadows, ids), by_hand, atol=1e-5)


def test_the_regression_is_that_of_scikit_learn_where_nothing_is_shrunk(monkeypatch):
    monkeypatch.setattr(pool, "RIDGE", 1e-9)
    rng = np.random.default_rng(1)
    keep, features = rng.random((40, 5)) < 0.6, rng.normal(size=(5, 3))
    shadows = Shadows(rng.normal(size=(40, 5, 4)).astype(np.float32), keep)
    found = never_seen(shadows, np.arange(5), features)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for i in range(5):
        support = sum(keep[:, j] * np.exp((unit[i] @ unit[j] - 1) / pool.LIKENESS) for j in range(5) if j != i)
        fit = LinearRegression().fit(np.stack([keep[:, i], support], axis=1), shadows.logits[:, i])
        assert np.allclose(found[i], log_softmax(fit.predict([[0, 0]])[0]), atol=1e-4)


def test_an_instance_that_every_shadow_saw_has_no_target():
    shadows, features, _ = planted()
    shadows.keep[:, 2] = True
    with pytest.raises(BadInput, match="seen by every shadow"):
        never_seen(shadows, np.arange(6), features)
    assert never_seen(shadows, np.array([0, 1]), features[:2]).shape == (2, 3)


def test_one_instance_alone_has_nothing_that_supports_it():
    shadows, features, _ = planted()
    alone = never_seen(shadows, np.array([3]), features[3:4])
    assert np.allclose(alone, never_seen(shadows, np.array([3])), atol=1e-3)


def test_the_objective_weighs_divergence_and_loss():
    p, log_q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]]).log()
    divergence = torch.nn.functional.kl_div(log_q, p.log(), log_target=True, reduction="batchmean")
    assert np.isclose(divergence.item(), rel_entr([0.5, 0.5], [0.9, 0.1]).sum(), atol=1e-6)
    assert np.isclose(objective(0.25, divergence, torch.tensor(2.0)).item(), 0.25 * divergence.item() + 1.5)


def divergence(a, b):
    p, q = softmax(a, axis=1), softmax(b, axis=1)
    m = (p + q) / 2
    return float((rel_entr(p, m) + rel_entr(q, m)).sum(axis=1).mean() / 2)


def test_hard_instances_end_near_retraining_where_one_common_number_does_not():
    dataset = data.load("digits")
    trained = original(dataset, "softmax", epochs=20)
    model, _, given = trained
    x, y = training.tensors(dataset, "cpu")
    train = dataset.splits.train
    loss = torch.nn.functional.cross_entropy(model(x[train]), y[train], reduction="none").detach().numpy()
    forget = np.sort(train[np.argsort(-loss)[:40]])
    retain = np.setdiff1d(train, forget)
    info = models.info("softmax")
    retrained = [
        training.predict(training.train(info, dataset, given, retain, 100 + k, "cpu"), dataset.inputs[forget], "cpu") for k in range(3)
    ]

    def distance(method):
        found = apply(trained, dataset, forget, method)[0]
        return np.mean([divergence(training.predict(found, dataset.inputs[forget], "cpu"), one) for one in retrained])

    before = np.mean([divergence(training.predict(model, dataset.inputs[forget], "cpu"), one) for one in retrained])
    assert distance("calibrated") < 0.5 * before
    assert distance("calibrated") < distance("nabla_tau")
