"""SCRUB, random labels, SalUn, selective dampening, bad teacher and ℓ1-sparse: steps by hand in float64, and each one's own claim."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from methods.support import apply, original, same
from methods.test_references import LR, STEPS, Hand, rate
from scipy.special import softmax

from unlearn_core import data
from unlearn_core.errors import BadInput
from unlearn_core.methods import amun, bad_teacher, l1_sparse, pairs, salun, scrub, ssd
from unlearn_core.methods.base import Task
from unlearn_core.methods.curvature import Weights
from unlearn_core.models import training
from unlearn_core.seeds import derive

RANDOM, SALUN = salun.METHOD


class Part:
    """One of the two declarations of a module, for Hand."""

    def __init__(self, method):
        self.METHOD = method


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module")
def trained(wine):
    return original(wine, "mlp", width=16, epochs=30)


# random labels and the mask ------------------------------------------------------------------------------


def test_random_labels_by_hand(wine):
    hand = Hand(wine, Part(RANDOM), alpha=0.3)
    hand.linear.decay = 0.0
    order, labels = torch.Generator().manual_seed(0), torch.Generator().manual_seed(derive("labels", 0))
    x, y = hand.forget
    for step in range(STEPS):
        place = torch.randperm(len(y), generator=order).numpy()
        torch.randperm(len(hand.retain[1]), generator=order)
        wrong = (y[place] + torch.randint(1, 3, (len(y),), generator=labels).numpy()) % 3
        assert not (wrong == y[place]).any()
        pair = zip(hand.linear.gradient(x[place], wrong), hand.linear.gradient(*hand.retain), strict=True)
        hand.linear.step([0.3 * f + 0.7 * r for f, r in pair], rate(step))
    hand.check(RANDOM.run(hand.task))


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_weights_outside_of_the_mask_stay_to_the_last_bit(wine, trained, share):
    """Neither momentum nor weight decay may move what the mask holds; what it frees are the largest gradients of the forget set."""
    forget = wine.splits.train[:12]
    model, chosen, _ = apply(trained, wine, forget, "salun", share=share, lr=0.02)
    x, y = training.tensors(wine, "cpu")
    before = copy.deepcopy(trained[0])
    F.cross_entropy(before(x[forget]), y[forget], reduction="sum").backward()
    sizes = torch.cat([p.grad.abs().flatten() for p in before.parameters()])
    old, new = (torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (before, model))
    count = round(share * len(sizes))
    free = torch.zeros(len(sizes), dtype=torch.bool)
    free[sizes.argsort(descending=True)[:count]] = True
    assert chosen["free_weights"] == count
    assert torch.equal(old[~free], new[~free]) and (old[free] != new[free]).float().mean() > 0.9
    assert all(not p._backward_hooks for p in model.parameters())


def test_a_mask_of_everything_is_random_labels(wine, trained):
    forget = wine.splits.train[:12]
    whole = apply(trained, wine, forget, "salun", share=1, alpha=0.1)[0]
    assert same(whole, apply(trained, wine, forget, "random_labels", alpha=0.1)[0])


# SCRUB ---------------------------------------------------------------------------------------------------


def test_scrub_by_hand(wine):
    hand = Hand(wine, scrub, disobeying=2, rewind=False, forget_batch=4096, temperature=2.0, obey=0.7, fit=0.9)
    teacher = [part[0] @ hand.linear.values[0].T + hand.linear.values[1] for part in (hand.forget, hand.retain)]
    total, taken = STEPS + 2, 0

    def pull(x, taught):
        """Gradient of T²·mean KL(teacher ‖ student) with both softened by T = 2."""
        logits = x @ hand.linear.values[0].T + hand.linear.values[1]
        error = 2 * (softmax(logits / 2, axis=1) - softmax(taught / 2, axis=1)) / len(x)
        return [error.T @ x, error.sum(0)]

    def step(gradient):
        nonlocal taken
        hand.linear.step(gradient, LR * 0.5 * (1 + np.cos(np.pi * taken / total)))
        taken += 1

    for epoch in range(STEPS):
        if epoch < 2:
            step([-g for g in pull(hand.forget[0], teacher[0])])
        pair = zip(pull(hand.retain[0], teacher[1]), hand.linear.gradient(*hand.retain), strict=True)
        step([0.7 * a + 0.9 * b for a, b in pair])
    assert taken == total
    hand.check(scrub.run(hand.task))


def test_rewinding_takes_the_pass_nearest_to_unseen_errors(wine):
    trained = original(wine, "mlp", width=16, epochs=60)
    forget = wine.splits.train[::5]
    x, y = training.tensors(wine, "cpu")
    given = {"disobeying": 100, "passes": 8, "lr": 0.01, "forget_batch": 4}
    model, chosen, _ = apply(trained, wine, forget, "scrub", **given)
    last, plain, _ = apply(trained, wine, forget, "scrub", rewind=False, **given)
    goal = 1 - training.accuracy(last, x, y, torch.as_tensor(wine.splits.heldout))
    reached, end = (1 - training.accuracy(m, x, y, torch.as_tensor(forget)) for m in (model, last))
    assert chosen["unseen_error"] == pytest.approx(goal) and chosen["forget_error"] == pytest.approx(reached)
    assert chosen["rewound_to"] < 8 and abs(reached - goal) < abs(end - goal) and "rewound_to" not in plain
    assert scrub.nearest([0.0, 0.375, 0.125, 0.5], 0.25) == 2 and scrub.nearest([0.4, 0.2], 0.9) == 0


# selective synaptic dampening ----------------------------------------------------------------------------


def test_importance_is_the_mean_squared_gradient(wine):
    model = original(wine, "softmax", epochs=5)[0].double()
    x, y = torch.as_tensor(wine.inputs[:20]).double(), wine.labels[:20]
    z = ((x - model.standardise.mean) / model.standardise.scale).numpy()
    p = softmax(z @ model.head.weight.detach().numpy().T + model.head.bias.detach().numpy(), axis=1)
    error = (p - np.eye(3)[y]) ** 2
    weights = Weights(model)
    found = weights.split(ssd.importance(weights, x, torch.as_tensor(y)))
    np.testing.assert_allclose(found["head.weight"].numpy(), error.T @ z**2 / 20, rtol=1e-9)
    np.testing.assert_allclose(found["head.bias"].numpy(), error.mean(0), rtol=1e-9)


def test_dampening_by_hand():
    vector, forget, retain = (
        torch.tensor(v, dtype=torch.float64) for v in ([2.0, -3.0, 4.0, 5.0], [8.0, 10.1, 0.0, 6.0], [1.0, 1.0, 0.0, 0.0])
    )
    found, selected = ssd.dampened(vector, forget, retain, 10.0, 1.0)
    assert selected.tolist() == [False, True, False, True]
    assert found.tolist() == pytest.approx([2.0, -3.0 / 10.1, 4.0, 0.0])
    assert ssd.dampened(vector, forget, retain, 5.0, 20.0)[0].tolist() == pytest.approx([2.0, -3.0, 4.0, 0.0])  # never grows


def test_the_automatic_selection_stops_where_the_rest_is_kept():
    digits = data.load("digits")
    trained = original(digits, "softmax", epochs=20)
    x, y = training.tensors(digits, "cpu")
    train = digits.splits.train
    loss = F.cross_entropy(trained[0](x[train]), y[train], reduction="none").detach().numpy()
    hard = np.sort(train[np.argsort(-loss)[:50]])
    retain = torch.as_tensor(np.setdiff1d(train, hard))
    kept = {}
    for selection in (10, "auto"):
        model, chosen, _ = apply(trained, digits, hard, "ssd", selection=selection)
        kept[selection] = training.accuracy(model, x, y, retain)
    before = training.accuracy(trained[0], x, y, retain)
    assert kept[10] < before - 0.1 and kept["auto"] >= before - 0.01
    assert chosen["selection"] > 10 and chosen["dampened_weights"] > 0


def test_nothing_to_dampen_is_said(wine, trained):
    model, chosen, notes = apply(trained, wine, wine.splits.train[:12], "ssd", selection=1e6)
    assert same(model, trained[0]) and chosen["dampened_weights"] == 0 and "unchanged" in notes[0]


# bad teacher ---------------------------------------------------------------------------------------------


def test_bad_teacher_by_hand(wine):
    hand = Hand(wine, bad_teacher, alpha=0.3)
    good = hand.said(hand.retain[0])
    blank = copy.deepcopy(hand.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blank.head.reset_parameters()
    weight, bias = (value.detach().numpy() for value in (blank.head.weight, blank.head.bias))
    bad = softmax(hand.forget[0] @ weight.T + bias, axis=1)
    for step in range(STEPS):
        pair = zip(hand.towards(hand.forget[0], bad), hand.towards(hand.retain[0], good), strict=True)
        hand.linear.step([0.3 * f + 0.7 * r for f, r in pair], rate(step))
    hand.check(bad_teacher.run(hand.task))


# ℓ1-sparse -----------------------------------------------------------------------------------------------


def test_l1_sparse_by_hand(wine):
    hand = Hand(wine, l1_sparse, alpha=0.05)
    hand.linear.decay = 0.0
    for step in range(STEPS):
        push = 0.05 * (1 - step / STEPS)
        pair = zip(hand.linear.gradient(*hand.retain), hand.linear.values, strict=True)
        hand.linear.step([g + push * np.sign(value) for g, value in pair], rate(step))
    hand.check(l1_sparse.run(hand.task))


def test_a_penalty_makes_weights_small(wine, trained):
    forget = wine.splits.train[:12]
    sizes = [sum(p.abs().sum().item() for p in apply(trained, wine, forget, "l1_sparse", alpha=a)[0].parameters()) for a in (0.0, 0.01)]
    assert sizes[1] < 0.9 * sizes[0]


# AMUN ----------------------------------------------------------------------------------------------------


def test_adversarial_points_lie_just_behind_the_nearest_boundary():
    """Two classes and a linear model: the radius found is the first of the doubled ones that reaches the boundary, whose distance is known."""
    cancer = data.load("breast_cancer")
    model = original(cancer, "softmax", epochs=5)[0].double()
    x, y = torch.as_tensor(cancer.inputs).double(), torch.as_tensor(cancer.labels)
    train = cancer.splits.train
    hit = (model(x).argmax(1) == y).numpy()[train]
    right, wrong = train[hit][:20], train[~hit][:2]
    assert len(wrong)
    forget = torch.as_tensor(np.concatenate([right, wrong]))
    task = Task(
        model=model, x=x, y=y, forget=forget, retain=None, heldout=None, share=0.1, params={"attack_steps": 50}, seed=0, device="cpu",
        train=None, progress=training.silent, watch=lambda model: False, class_names=cancer.class_names,
    )  # fmt: skip
    points, answered, found = amun.adversarial(task)
    assert found.all() and torch.equal(answered, 1 - y[forget]) and torch.equal(model(points).argmax(1), answered)
    z = (x[forget] - model.standardise.mean) / model.standardise.scale
    across = model.head.weight[1] - model.head.weight[0]
    distance = ((z @ across + model.head.bias[1] - model.head.bias[0]).abs() / across.norm()).detach().numpy()
    moved = ((points - x[forget]) / model.standardise.scale).norm(dim=1).numpy()
    radii = amun.EPS * 2.0 ** np.arange(amun.ROUNDS)
    reach, own = radii[np.searchsorted(radii, distance * 1.001)], slice(len(right))
    assert (moved[own] >= distance[own] * 0.999).all() and (moved[own] <= reach[own] * 1.001).all()
    assert (moved[len(right) :] <= amun.EPS * 1.001).all()


def test_words_cannot_be_attacked(wine):
    hand = Hand(wine, amun)
    hand.task.x = hand.task.x.long()
    with pytest.raises(BadInput, match="words cannot be moved"):
        amun.run(hand.task)


@pytest.mark.parametrize("own_labels", [False, True])
def test_amun_by_hand(wine, own_labels):
    hand = Hand(wine, amun, alpha=0.3, own_labels=own_labels)
    points, answered, _ = amun.adversarial(hand.task)
    z = ((points - hand.model.standardise.mean) / hand.model.standardise.scale).numpy()
    for step in range(STEPS):
        forget = hand.linear.gradient(z, answered.numpy())
        if own_labels:
            forget = [(a + b) / 2 for a, b in zip(forget, hand.linear.gradient(*hand.forget), strict=True)]
        pair = zip(forget, hand.linear.gradient(*hand.retain), strict=True)
        hand.linear.step([0.3 * f + 0.7 * r for f, r in pair], rate(step))
    hand.check(amun.run(hand.task))


# what they share -----------------------------------------------------------------------------------------


def test_each_pass_goes_over_the_retain_set_once_beside_forget_batches(wine):
    hand = Hand(wine, bad_teacher, batch=7, passes=2)
    seen = []

    def loss(retain, place):
        seen.append((retain.tolist(), place.tolist()))
        return hand.model(hand.task.x[retain]).sum()

    pairs.descend(hand.task, loss)
    steps = -(-len(hand.task.retain) // 7)
    assert len(seen) == 2 * steps
    for part in (seen[:steps], seen[steps:]):
        assert sorted(i for retain, _ in part for i in retain) == hand.task.retain.tolist()
        assert all(sorted(place) == list(range(len(hand.task.forget))) for _, place in part)


@pytest.mark.parametrize("name", ["regun", "raul", "a_amu", "scrub", "salun", "random_labels", "bad_teacher", "amun"])
def test_batch_norm_statistics_stay(name):
    from dataclasses import replace

    digits = data.load("digits")
    few = replace(digits, splits=replace(digits.splits, train=digits.splits.train[:150], heldout=digits.splits.heldout[:30]))
    trained = original(few, "cnn", width=2, epochs=2)
    model = apply(trained, few, few.splits.train[:10], name, passes=1)[0]
    before = dict(trained[0].named_buffers())
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers()) and not same(model, trained[0])
