"""ReGUn, RAUL and A-AMU: steps by hand in float64, the combination of gradients by a quadratic programme, the matching by assignment."""

import numpy as np
import pytest
import torch
from methods.support import Softmax, apply, original, same
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import softmax

from unlearn_core import data
from unlearn_core.methods import Task, a_amu, raul, regun
from unlearn_core.models import training
from unlearn_core.params import resolve

STEPS, LR = 4, 0.03


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


class Hand:
    """A float64 softmax regression on wine, the task that a method gets, and the same sets in numpy; full batches."""

    def __init__(self, wine, module, heldout=None, **given):
        self.model = original(wine, "softmax", epochs=5)[0].double()
        x, y = torch.as_tensor(wine.inputs).double(), torch.as_tensor(wine.labels)
        z = ((x - self.model.standardise.mean) / self.model.standardise.scale).numpy()
        train, labels = wine.splits.train, wine.labels
        forget, heldout = train[::8], wine.splits.heldout if heldout is None else heldout
        retain = np.setdiff1d(train, forget)
        assert set(labels[forget]) == {0, 1, 2}
        self.forget, self.retain, self.heldout = ((z[ids], labels[ids]) for ids in (forget, retain, heldout))
        self.linear = Softmax(self.model.head.weight.detach(), self.model.head.bias.detach())
        params = resolve(module.METHOD.params, {"passes": STEPS, "lr": LR, "batch": 4096} | given, module.METHOD.name)
        self.task = Task(
            model=self.model, x=x, y=y, forget=torch.as_tensor(forget), retain=torch.as_tensor(retain), heldout=torch.as_tensor(heldout),
            share=0.1, params=params, seed=0, device="cpu", train=None, progress=training.silent, watch=lambda model: False,
            class_names=wine.class_names,
        )  # fmt: skip

    def said(self, x):
        return softmax(x @ self.linear.values[0].T + self.linear.values[1], axis=1)

    def towards(self, x, wanted):
        """Gradient of the mean of KL(wanted ‖ model)."""
        error = (self.said(x) - wanted) / len(x)
        return [error.T @ x, error.sum(0)]

    def check(self, found):
        np.testing.assert_allclose(found.head.weight.detach().numpy(), self.linear.values[0], atol=1e-8)
        np.testing.assert_allclose(found.head.bias.detach().numpy(), self.linear.values[1], atol=1e-8)


def rate(step):
    return LR * 0.5 * (1 + np.cos(np.pi * step / STEPS))


def by_class(hand):
    out = hand.said(hand.heldout[0])
    return np.stack([out[hand.heldout[1] == c].mean(0) if c in hand.heldout[1] else out.mean(0) for c in hand.forget[1]])


@pytest.mark.parametrize("reference", ["batch", "class"])
def test_regun_by_hand(wine, reference):
    hand = Hand(wine, regun, alpha=0.4, reference=reference)
    wanted = by_class(hand)
    wanted = wanted if reference == "class" else np.broadcast_to(wanted.mean(0), wanted.shape)
    for step in range(STEPS):
        pair = zip(hand.towards(hand.forget[0], wanted), hand.linear.gradient(*hand.retain), strict=True)
        hand.linear.step([0.4 * f + 0.6 * r for f, r in pair], rate(step))
    hand.check(regun.run(hand.task))
    assert hand.task.notes == []


def test_a_class_without_heldout_instances_gets_the_mean_and_that_is_said(wine):
    heldout = wine.splits.heldout[wine.labels[wine.splits.heldout] != 1]
    hand = Hand(wine, regun, heldout=heldout)
    np.testing.assert_allclose(regun.references(hand.task).numpy(), by_class(hand), atol=1e-12)
    assert len(hand.task.notes) == 1 and wine.class_names[1] in hand.task.notes[0] and wine.class_names[0] not in hand.task.notes[0]


def upgrad(a, b):
    """The mean of both projections onto {d : d·a ≥ 0, d·b ≥ 0}, each found by a solver."""
    limits = [{"type": "ineq", "fun": lambda d, g=g: d @ g, "jac": lambda d, g=g: g} for g in (a, b)]

    def project(g):
        return minimize(lambda d: ((d - g) ** 2).sum(), g, jac=lambda d: 2 * (d - g), constraints=limits, tol=1e-14).x

    return (project(a) + project(b)) / 2


@pytest.mark.parametrize("seed", range(6))
def test_gradients_are_combined_as_the_projections_say(seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=5)
    b = rng.normal(size=5) * 3 - (2 * a if seed % 2 else -2 * a)
    u, v = (w.item() for w in raul.unconflicting(torch.as_tensor(a), torch.as_tensor(b)))
    found = u * a + v * b
    np.testing.assert_allclose(found, upgrad(a, b), atol=1e-5)
    assert found @ a >= -1e-9 and found @ b >= -1e-9
    assert (a @ b < 0) == (u > 0.5)


@pytest.mark.parametrize("reference", ["batch", "uniform", "class"])
def test_raul_by_hand(wine, reference):
    hand = Hand(wine, raul, alpha=0.3, reference=reference)
    wanted = by_class(hand)
    if reference != "class":
        wanted = np.broadcast_to(wanted.mean(0) if reference == "batch" else 1 / 3, wanted.shape)
    conflicts = 0
    for step in range(STEPS):
        parts = hand.towards(hand.forget[0], wanted), hand.linear.gradient(*hand.retain)
        a, b = (w * np.concatenate([g.ravel() for g in part]) for w, part in zip((0.3, 0.7), parts, strict=True))
        conflicts += a @ b < 0
        both = (a - min(a @ b, 0) / (b @ b) * b + b - min(a @ b, 0) / (a @ a) * a) / 2
        size = parts[0][0].size
        hand.linear.step([both[:size].reshape(parts[0][0].shape), both[size:]], rate(step))
    assert conflicts > 0  # otherwise the combination was never looked at
    hand.check(raul.run(hand.task))


@pytest.mark.parametrize("count", [1, 2, 9, 30])
def test_equal_numbers_are_matched_at_the_least_cost(count):
    rng = np.random.default_rng(count)
    a, b = rng.exponential(size=count), rng.exponential(size=count) * 2
    cost = (a[:, None] - b) ** 2
    best = cost[linear_sum_assignment(cost)].mean()
    assert a_amu.mismatch(torch.as_tensor(a), torch.as_tensor(b)).item() == pytest.approx(best, rel=1e-12)


def test_unequal_numbers_are_matched_quantile_by_quantile():
    rng = np.random.default_rng(0)
    a, b = rng.exponential(size=7), rng.exponential(size=40)
    wanted = np.quantile(b, (np.arange(7) + 0.5) / 7, method="hazen")
    assert a_amu.mismatch(torch.as_tensor(a), torch.as_tensor(b)).item() == pytest.approx(((np.sort(a) - wanted) ** 2).mean())
    # A shift of all losses is what must be seen.
    assert a_amu.mismatch(torch.as_tensor(b + 2.0), torch.as_tensor(b)).item() == pytest.approx(4.0)


def test_a_amu_by_hand(wine):
    hand = Hand(wine, a_amu, alpha=0.4)
    _, labels = hand.forget

    def losses(x, y):
        return -np.log(hand.said(x)[np.arange(len(y)), y])

    for step in range(STEPS):
        own, out, kept = (losses(*part) for part in (hand.forget, hand.heldout, hand.retain))
        wanted = np.empty(len(own))
        wanted[np.argsort(own)] = np.quantile(np.log1p(out), (np.arange(len(own)) + 0.5) / len(own), method="hazen")
        pull = 2 / len(own) * (np.log1p(own) - wanted) / (1 + own)
        weigh = [(pull, hand.forget, 0.4), (2 * kept / len(kept), hand.retain, 0.6)]
        total = [np.zeros_like(value) for value in hand.linear.values]
        for slope, (x, y), share in weigh:
            error = share * slope[:, None] * (hand.said(x) - np.eye(3)[y])
            total[0] += error.T @ x
            total[1] += error.sum(0)
        hand.linear.step(total, rate(step))
    hand.check(a_amu.run(hand.task))


@pytest.mark.parametrize("name", ["regun", "raul", "a_amu"])
def test_they_read_heldout_instances(wine, name):
    from dataclasses import replace

    trained = original(wine, "mlp", width=16, epochs=30)
    inputs = wine.inputs.copy()
    inputs[wine.splits.heldout] = inputs[wine.splits.heldout[::-1]]
    forget = wine.splits.train[::9]
    clean, moved = (apply(trained, part, forget, name)[0] for part in (wine, replace(wine, inputs=inputs)))
    assert not same(clean, moved)
    assert same(apply(trained, wine, forget, "raul", reference="uniform")[0],
                apply(trained, replace(wine, inputs=inputs), forget, "raul", reference="uniform")[0])  # fmt: skip


def test_forgotten_losses_come_to_look_like_unseen_ones():
    digits = data.load("digits")
    trained = original(digits, "mlp", width=64, epochs=30)
    x, y = training.tensors(digits, "cpu")
    forget = np.sort(np.random.default_rng(0).permutation(digits.splits.train)[:60])

    def log_losses(model, ids):
        return torch.nn.functional.cross_entropy(model(x[ids]), y[ids], reduction="none").log1p().detach()

    def apart(model):
        return a_amu.mismatch(log_losses(model, forget), log_losses(model, digits.splits.heldout)).item()

    assert apart(apply(trained, digits, forget, "a_amu")[0]) < 0.5 * apart(trained[0])
