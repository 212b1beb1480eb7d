"""Calibrated ∇τ: its targets against an independent regression, its loss and steps by hand, and what it reaches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from methods.support import Softmax, apply, original, same
from scipy.special import log_softmax, rel_entr, softmax
from sklearn.linear_model import LinearRegression

from unlearn_core import data, methods, models
from unlearn_core.errors import BadInput
from unlearn_core.methods import Task, calibrated
from unlearn_core.methods.calibrated import objective
from unlearn_core.models import pool, targets, training
from unlearn_core.models.device import settle
from unlearn_core.models.pool import Shadows, never_seen
from unlearn_core.params import resolve

settle()


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


def softmax_task(dataset, count=12, **given):
    """Softmax regression in float64 with planted targets, and its forgotten and retained inputs as it sees them."""
    model = original(dataset, "softmax", epochs=5)[0].double()
    x, y, train = torch.as_tensor(dataset.inputs).double(), torch.as_tensor(dataset.labels), torch.as_tensor(dataset.splits.train)
    planted = torch.as_tensor(np.random.default_rng(0).dirichlet(np.ones(3), count)).log()
    task = Task(
        model=model, x=x, y=y, forget=train[:count], retain=train[count:], heldout=torch.as_tensor(dataset.splits.heldout), share=0.1,
        params=resolve(methods.info("calibrated").params, given, "calibrated"), seed=0, device="cpu", train=None,
        progress=training.silent, watch=lambda model: False, never_seen=planted,
    )  # fmt: skip
    z = model.standardise(x).numpy()
    return task, z[task.forget], (z[task.retain], dataset.labels[task.retain])


def test_the_steps_by_hand():
    task, forgotten, retained = softmax_task(data.load("wine"), alpha=0.3, lr=0.05, passes=4, batch=4096, quick=0.0)
    hand = Softmax(task.model.head.weight.detach(), task.model.head.bias.detach())
    wanted = np.exp(task.never_seen.numpy())
    for t in range(4):
        error = (softmax(forgotten @ hand.values[0].T + hand.values[1], axis=1) - wanted) / len(forgotten)
        pull = [error.T @ forgotten, error.sum(axis=0)]
        hand.step(
            [0.3 * f + 0.7 * r for f, r in zip(pull, hand.gradient(*retained), strict=True)], 0.05 * 0.5 * (1 + np.cos(np.pi * t / 4))
        )
    found = calibrated.run(task)
    np.testing.assert_allclose(found.head.weight.detach().numpy(), hand.values[0], atol=1e-8)
    np.testing.assert_allclose(found.head.bias.detach().numpy(), hand.values[1], atol=1e-8)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_targets_are_the_mean_in_logits_of_pool_and_quick_models(share, monkeypatch):
    task, _, _ = softmax_task(data.load("wine"), quick=share)
    quick = torch.as_tensor(np.random.default_rng(1).dirichlet(np.ones(3), 12)).log()
    monkeypatch.setattr(targets, "unseen", lambda *rest: (quick, (1.0, 2.0)))
    aims = []
    monkeypatch.setattr(calibrated, "pull", lambda task, aim, *rest: aims.append(aim) or task.model)
    calibrated.run(task)
    by_hand = np.exp(task.never_seen) ** (1 - share) * np.exp(quick) ** share
    np.testing.assert_allclose(np.exp(aims[0]), by_hand / by_hand.sum(dim=1, keepdim=True), atol=1e-12)
    assert task.chosen == ({} if share == 0 else {"draft_weight": 1.0, "kernel_weight": 2.0})
    calibrated.run_without_pool(task)
    assert torch.equal(aims[1], quick)


def test_with_alpha_1_and_steps_enough_planted_targets_are_reached():
    task, forgotten, _ = softmax_task(data.load("wine"), 3, alpha=1.0, passes=100, batch=4096, lr=0.1, quick=0.0)
    found = calibrated.run(task)
    said = softmax(forgotten @ found.head.weight.detach().numpy().T + found.head.bias.detach().numpy(), axis=1)
    assert np.abs(said - np.exp(task.never_seen.numpy())).max() < 0.01  # fewer instances than features: any targets can be reached


def test_a_method_that_declares_no_pool_is_given_none():
    wine = data.load("wine")
    trained, seen = original(wine, "mlp", width=16, epochs=20), []
    for name in ("calibrated", "calibrated_free"):
        declared = methods.info(name)
        apply(trained, wine, wine.splits.train[:12], replace(declared, run=lambda task: seen.append(task.never_seen) or task.model))
    assert seen[0].shape == (12, 3) and seen[1] is None
    assert "pool" not in {param.name for param in methods.info("calibrated_free").params}


ARCHITECTURES = {
    "softmax": ("wine", {"epochs": 20}),
    "convex": ("wine", {"penalty": 0.01}),
    "sisa": ("wine", {"width": 8, "epochs": 20, "shards": 2, "slices": 2}),
    "cnn": ("digits", {"width": 2, "epochs": 4}),
}


@pytest.mark.parametrize(("name", "model"), [("calibrated", "softmax"), *(("calibrated_free", model) for model in ARCHITECTURES)])
def test_every_architecture_is_pulled_towards_its_targets(name, model):
    source, given = ARCHITECTURES[model]
    dataset = data.load(source)
    trained, forget = original(dataset, model, **given), dataset.splits.train[:12]
    found, chosen, notes = apply(trained, dataset, forget, name)
    assert not same(found, trained[0]) and notes == []
    assert chosen["draft_weight"] + chosen["kernel_weight"] > 0
    x, y = training.tensors(dataset, "cpu")
    retain = torch.as_tensor(dataset.splits.train[12:])
    before, after = (training.accuracy(m, x, y, retain) for m in (trained[0], found))
    assert after > before - 0.03
    statistics = [key for key in trained[0].state_dict() if "running" in key or "standardise" in key]
    assert all(torch.equal(trained[0].state_dict()[key], found.state_dict()[key]) for key in statistics)


def divergence(a, b):
    p, q = softmax(a, axis=1), softmax(b, axis=1)
    m = (p + q) / 2
    return float((rel_entr(p, m) + rel_entr(q, m)).sum(axis=1).mean() / 2)


def test_hard_instances_end_near_retraining_where_one_common_number_does_not():
    dataset = data.load("digits")
    trained = original(dataset, "mlp", width=32, epochs=20)
    model, _, given = trained
    x, y = training.tensors(dataset, "cpu")
    train = dataset.splits.train
    loss = torch.nn.functional.cross_entropy(model(x[train]), y[train], reduction="none").detach().numpy()
    forget = np.sort(train[np.argsort(-loss)[:40]])
    retain = np.setdiff1d(train, forget)
    info = models.info("mlp")
    retrained = [
        training.predict(training.train(info, dataset, given, retain, 100 + k, "cpu"), dataset.inputs[forget], "cpu") for k in range(3)
    ]

    def distance(method):
        found = apply(trained, dataset, forget, method)[0]
        return np.mean([divergence(training.predict(found, dataset.inputs[forget], "cpu"), one) for one in retrained])

    before = np.mean([divergence(training.predict(model, dataset.inputs[forget], "cpu"), one) for one in retrained])
    for name in ("calibrated", "calibrated_free"):
        assert distance(name) < 0.7 * before
        assert distance(name) < distance("nabla_tau")
