"""∇τ: its objective, its plan, its steps and what it may read."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from methods.support import Softmax, apply, original, same

from unlearn_core import data
from unlearn_core.methods import Task, nabla_tau
from unlearn_core.models import training
from unlearn_core.models.device import settle
from unlearn_core.params import resolve

settle()


def declared(**given):
    return resolve(nabla_tau.METHOD.params, given, "nabla_tau")


# the objective -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forget_loss", "value", "slope"),
    [
        (0.5, 0.25 * 1.0**2 + 0.75 * 0.2, -2 * 0.25 * 1.0),
        (1.0, 0.25 * 0.25 + 0.15, -2 * 0.25 * 0.5),
        (1.5, 0.15, 0.0),
        (2.0, 0.15, 0.0),
        (50.0, 0.15, 0.0),
    ],
)
def test_objective_by_hand_with_its_one_sided_cap(forget_loss, value, slope):
    forget = torch.tensor(forget_loss, dtype=torch.float64, requires_grad=True)
    retain = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    loss = nabla_tau.objective(0.25, 1.5, forget, retain)
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=1e-12)
    assert forget.grad.item() == pytest.approx(slope, abs=1e-12)
    assert retain.grad.item() == 0.75


@pytest.fixture(scope="module")
def tiny():
    """A float64 MLP with 3 units on wine, untrained."""
    from unlearn_core import models

    dataset = data.load("wine")
    params = resolve(models.info("mlp").params, {"width": 3}, "mlp")
    model = training.fresh(models.info("mlp"), dataset, params, 0, "cpu").double()
    model.standardise.fit(torch.as_tensor(dataset.inputs))
    return model, torch.as_tensor(dataset.inputs).double(), torch.as_tensor(dataset.labels)


@pytest.mark.parametrize("above", [0.7, -0.1])
def test_gradient_is_the_closed_form_and_agrees_with_finite_differences(above, tiny):
    """∇ = −2α(L_v − L_f)₊ ∇L_f + (1 − α) ∇L_r, with L_v `above` L_f (the cap is active where it is negative)."""
    model, x, y = tiny
    alpha, forget, retain = 0.4, slice(0, 9), slice(20, 50)
    unseen = F.cross_entropy(model(x[forget]), y[forget]).item() + above

    def losses():
        return F.cross_entropy(model(x[forget]), y[forget]), F.cross_entropy(model(x[retain]), y[retain])

    def gradient(loss):
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])

    of_forget, of_retain = (gradient(loss) for loss in losses())
    got = gradient(nabla_tau.objective(alpha, unseen, *losses()))
    torch.testing.assert_close(got, -2 * alpha * max(above, 0) * of_forget + (1 - alpha) * of_retain, atol=1e-12, rtol=1e-9)
    step, at = 1e-6, 0
    for parameter in model.parameters():
        flat = parameter.data.view(-1)
        for i in range(len(flat)):
            around = []
            for sign in (1, -1):
                flat[i] += sign * step
                with torch.no_grad():
                    around.append(nabla_tau.objective(alpha, unseen, *losses()).item())
                flat[i] -= sign * step
            assert got[at].item() == pytest.approx((around[0] - around[1]) / (2 * step), abs=2e-7)
            at += 1


# the plan ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("forget", "epochs", "steps", "alpha"), [(1500, 95, 570, 0.05), (7500, 16, 480, 0.25), (15000, 6, 354, 0.50)])
def test_paper_preset_is_the_publication(forget, epochs, steps, alpha):
    plan = nabla_tau.plan(declared(preset="paper"), forget, 50_000 - forget)
    assert (plan["batch"], plan["forget_batch"], plan["lr"]) == (256, 256, 1e-3)
    assert plan["epochs"] == epochs and plan["alpha"] == pytest.approx(alpha)
    assert plan["epochs"] * -(-forget // 256) == steps


@pytest.mark.parametrize("preset", ["auto", "paper"])
@pytest.mark.parametrize("forget", [1, 2, 600, 700, 1000, 1167])
def test_any_forget_share_gives_a_usable_plan(preset, forget):
    plan = nabla_tau.plan(declared(preset=preset), forget, 1168 - forget)
    assert 0 < plan["alpha"] <= 0.95
    assert plan["epochs"] >= 1 and 1 <= plan["forget_batch"] <= forget and plan["batch"] >= 1


@pytest.mark.parametrize(
    ("preset", "forget", "alpha"),
    [("paper", 1, 5 / 3 / 1000), ("paper", 900, 0.95), ("auto", 1, 0.5), ("auto", 400, 2 / 3), ("auto", 900, 0.95)],
)
def test_automatic_alpha(preset, forget, alpha):
    assert nabla_tau.plan(declared(preset=preset), forget, 1000 - forget)["alpha"] == pytest.approx(alpha)


@pytest.mark.parametrize("retain", [200, 500, 1168, 10_000, 50_000])
def test_automatic_batches_give_enough_steps(retain):
    plan = nabla_tau.plan(declared(), 40, retain)
    assert plan["epochs"] >= 0.9 * nabla_tau.AUTO_STEPS
    assert plan["batch"] <= 256


def test_a_large_retain_set_is_not_passed_over_six_times():
    assert nabla_tau.plan(declared(), 50, 10_240)["epochs"] == 240
    assert nabla_tau.plan(declared(), 50, 45_830)["epochs"] == pytest.approx(240, abs=2)
    assert nabla_tau.plan(declared(passes=6), 50, 45_830)["epochs"] == 1080


def test_given_values_win():
    plan = nabla_tau.plan(declared(preset="paper", alpha=0.3, passes=2, batch=10, lr=0.01), 20, 100)
    assert plan == {"alpha": 0.3, "batch": 10, "forget_batch": 20, "epochs": 20, "lr": 0.01}


# the steps -----------------------------------------------------------------------------------------------


def test_six_steps_by_hand():
    """Full batches in float64: α and the learning rate fall with every forget epoch, L_v is read at epochs 0 and 5."""
    dataset = data.load("wine")
    model, _, _ = original(dataset, "softmax", epochs=5)
    model.double()
    x, y = torch.as_tensor(dataset.inputs).double(), torch.as_tensor(dataset.labels)
    train = dataset.splits.train
    losses = F.cross_entropy(model(x[train]), y[train], reduction="none").detach().numpy()
    forget = train[np.argsort(losses)[:15]]
    retain, heldout = np.setdiff1d(train, forget), dataset.splits.heldout
    hand = Softmax(model.head.weight.detach(), model.head.bias.detach())
    z = ((x - model.standardise.mean) / model.standardise.scale).numpy()

    def rows(ids):
        return z[ids], dataset.labels[ids]

    alpha0, epochs, lr = 0.6, 6, 0.03
    active = 0
    for epoch in range(epochs):
        if epoch in (0, 5):
            unseen = hand.loss(*rows(heldout))
        alpha = alpha0 * (1 - epoch / epochs)
        gap = max(unseen - hand.loss(*rows(forget)), 0.0)
        active += gap > 0
        pair = zip(hand.gradient(*rows(forget)), hand.gradient(*rows(retain)), strict=True)
        hand.step([-2 * alpha * gap * f + (1 - alpha) * r for f, r in pair], lr * (1 - 0.9 * epoch / epochs))
    assert active > 0  # otherwise the forget term was never looked at
    task = Task(
        model=model, x=x, y=y, forget=torch.as_tensor(forget), retain=torch.as_tensor(retain), heldout=torch.as_tensor(heldout),
        share=0.1, params=declared(alpha=alpha0, passes=epochs, batch=4096, lr=lr), seed=0, device="cpu", train=None,
        progress=training.silent, watch=lambda model: False,
    )  # fmt: skip
    found = nabla_tau.run(task)
    assert task.chosen["epochs"] == epochs and task.chosen["alpha"] == alpha0
    np.testing.assert_allclose(found.head.weight.detach().numpy(), hand.values[0], atol=1e-8)
    np.testing.assert_allclose(found.head.bias.detach().numpy(), hand.values[1], atol=1e-8)


# the caps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", ["class", "instance"])
def test_six_steps_of_the_finer_caps_by_hand(cap):
    """As above with α·Σ_c n_c/B·max(L_v^c − L_f^c, 0)² and α·mean_i max(L_v − l_i, 0)²; one class has no held-out instance."""
    dataset = data.load("wine")
    model = original(dataset, "softmax", epochs=5)[0].double()
    x, y = torch.as_tensor(dataset.inputs).double(), torch.as_tensor(dataset.labels)
    train, labels = dataset.splits.train, dataset.labels
    forget, heldout = train[::6], dataset.splits.heldout[labels[dataset.splits.heldout] != 2]
    retain = np.setdiff1d(train, forget)
    assert set(labels[forget]) == {0, 1, 2} and set(labels[heldout]) == {0, 1}
    hand = Softmax(model.head.weight.detach(), model.head.bias.detach())
    z = ((x - model.standardise.mean) / model.standardise.scale).numpy()

    def losses(ids):
        return np.array([hand.loss(z[[i]], labels[[i]]) for i in ids])

    alpha0, epochs, lr, active = 0.6, 6, 0.03, []
    for epoch in range(epochs):
        if epoch in (0, 5):
            out = losses(heldout)
            unseen = {c: out[labels[heldout] == c].mean() for c in (0, 1)} | {2: out.mean()}
        alpha, own = alpha0 * (1 - epoch / epochs), losses(forget)
        step = [(1 - alpha) * g for g in hand.gradient(z[retain], labels[retain])]
        groups = [forget[labels[forget] == c] for c in (0, 1, 2)] if cap == "class" else [forget[[k]] for k in range(len(forget))]
        for group in groups:
            gap = (unseen[labels[group[0]]] if cap == "class" else out.mean()) - own[np.isin(forget, group)].mean()
            active.append(gap > 0)
            for total, g in zip(step, hand.gradient(z[group], labels[group]), strict=True):
                total -= 2 * alpha * len(group) / len(forget) * max(gap, 0) * g
        hand.step(step, lr * (1 - 0.9 * epoch / epochs))
    assert any(active) and not all(active)
    task = Task(
        model=model, x=x, y=y, forget=torch.as_tensor(forget), retain=torch.as_tensor(retain), heldout=torch.as_tensor(heldout),
        share=0.1, params=declared(alpha=alpha0, passes=epochs, batch=4096, lr=lr, cap=cap), seed=0, device="cpu", train=None,
        progress=training.silent, watch=lambda model: False, class_names=dataset.class_names,
    )  # fmt: skip
    found = nabla_tau.run(task)
    np.testing.assert_allclose(found.head.weight.detach().numpy(), hand.values[0], atol=1e-8)
    np.testing.assert_allclose(found.head.bias.detach().numpy(), hand.values[1], atol=1e-8)
    assert [note for note in task.notes if dataset.class_names[2] in note] == task.notes and bool(task.notes) == (cap == "class")


def test_a_request_from_before_there_was_a_choice_means_the_batch(trained, moons):
    from dataclasses import replace

    from unlearn_core import methods

    train, now = moons.splits.train, methods.info("nabla_tau")
    easy = train[training.predict(trained[0], moons.inputs[train], "cpu").argmax(1) == moons.labels[train]][:20]
    before = replace(now, run=lambda task: (task.params.pop("cap"), nabla_tau.run(task))[1])
    models = [apply(trained, moons, easy, "nabla_tau", cap=cap)[0] for cap in ("batch", "class", "instance")]
    assert same(models[0], apply(trained, moons, easy, before)[0])
    assert not any(same(*pair) for pair in itertools.combinations(models, 2))


def test_class_means_keep_every_class_at_its_share():
    losses, labels = torch.tensor([1.0, 5.0, 3.0, 2.0], dtype=torch.float64), torch.tensor([7, 1, 7, 7])
    assert nabla_tau.class_means(losses, labels).tolist() == [2.0, 5.0, 2.0, 2.0]


@pytest.fixture(scope="module")
def moons():
    return data.load("moons", {"instances": 300, "mislabelled": 0.1})


@pytest.fixture(scope="module")
def trained(moons):
    return original(moons, "mlp", width=32, epochs=150)


def poisoned(dataset, ids):
    from dataclasses import replace

    inputs, labels = dataset.inputs.copy(), dataset.labels.copy()
    inputs[ids] = 1e3 * np.arange(1, len(ids) + 1)[:, None]
    labels[ids] = (labels[ids] + 1) % len(dataset.class_names)
    return replace(dataset, inputs=inputs, labels=labels)


def test_unseen_loss_is_read_from_heldout_and_from_nothing_else(trained, moons, monkeypatch):
    forget = moons.planted["mislabelled"]
    plain, _, _ = apply(trained, moons, forget, "nabla_tau")
    splits = moons.splits
    others = np.concatenate([splits.test, splits.population, splits.tuning])
    assert same(plain, apply(trained, poisoned(moons, others), forget, "nabla_tau")[0])
    assert not same(plain, apply(trained, poisoned(moons, splits.heldout), forget, "nabla_tau")[0])
    read = []
    actual = training.mean_loss
    monkeypatch.setattr(training, "mean_loss", lambda model, x, y, ids: read.append(ids.tolist()) or actual(model, x, y, ids))
    _, chosen, _ = apply(trained, moons, forget, "nabla_tau")
    assert all(ids == splits.heldout.tolist() for ids in read)
    assert len(read) == -(-chosen["epochs"] // 5)


def test_planted_points_rise_towards_the_unseen_loss_and_not_far_beyond(trained, moons):
    x, y = training.tensors(moons, "cpu")
    forget = torch.as_tensor(moons.planted["mislabelled"])
    retain = torch.as_tensor(np.setdiff1d(moons.splits.train, forget))
    easy = torch.as_tensor(moons.splits.train[:12])
    easy = easy[training.predict(trained[0], moons.inputs[easy], "cpu").argmax(1) == moons.labels[easy]]
    model, chosen, notes = apply(trained, moons, easy.tolist(), "nabla_tau", lr=3e-3)
    before, after = (training.mean_loss(m, x, y, easy) for m in (trained[0], model))
    unseen = training.mean_loss(model, x, y, torch.as_tensor(moons.splits.heldout))
    assert before < after < 1.5 * unseen + 0.05
    assert training.accuracy(model, x, y, retain) > 0.8
    assert notes == []


@pytest.mark.parametrize("forget", ["one", "most", "all but one"])
def test_extreme_forget_sets_run(forget, trained, moons):
    train = moons.splits.train
    ids = {"one": train[:1], "most": train[: int(0.7 * len(train))], "all but one": train[1:]}[forget]
    model, chosen, _ = apply(trained, moons, ids, "nabla_tau", passes=1)
    assert chosen["alpha"] <= 0.95
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_batch_norm_statistics_stay_or_follow():
    digits = data.load("digits")
    from dataclasses import replace

    few = replace(digits, splits=replace(digits.splits, train=digits.splits.train[:150], heldout=digits.splits.heldout[:30]))
    trained = original(few, "cnn", width=2, epochs=2)
    before = dict(trained[0].named_buffers())
    for mode in ("frozen", "updated"):
        model, _, _ = apply(trained, few, few.splits.train[:10], "nabla_tau", statistics=mode, passes=1)
        moved = {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}
        assert bool(moved) == (mode == "updated")
        assert not any("standardise" in name for name in moved)


def test_a_forget_term_that_never_acts_is_said(trained, moons):
    x, y = training.tensors(moons, "cpu")
    hard = [i for i in moons.planted["mislabelled"].tolist() if training.mean_loss(trained[0], x, y, torch.tensor([i])) > 1.0]
    _, chosen, notes = apply(trained, moons, hard, "nabla_tau", passes=1)
    assert chosen["acted_steps"] == 0 and "never acted" in notes[0]
    easy = [i for i in moons.splits.train[:60].tolist() if training.mean_loss(trained[0], x, y, torch.tensor([i])) < 0.01]
    _, chosen, notes = apply(trained, moons, easy, "nabla_tau", passes=1)
    assert chosen["acted_steps"] > 0 and not notes


def test_many_epochs_are_looked_at_and_the_held_out_loss_is_read_a_few_times_only(trained, moons, monkeypatch):
    dataset, model = moons, copy.deepcopy(trained[0])
    looks, reads = [], []
    read = training.mean_loss
    monkeypatch.setattr(training, "mean_loss", lambda *given: reads.append(1) or read(*given))
    train = torch.as_tensor(dataset.splits.train)
    x, y = training.tensors(dataset, "cpu")
    params = declared(passes=50, batch=32)
    task = Task(
        model=model, x=x, y=y, forget=train[:5], retain=train[5:], heldout=torch.as_tensor(dataset.splits.heldout), share=0.05, params=params,
        seed=0, device="cpu", train=None, progress=training.silent, watch=lambda model: bool(looks.append(1)),
    )  # fmt: skip
    nabla_tau.run(task)
    epochs = task.chosen["epochs"]
    assert epochs > 200 and len(looks) == len({k for k in range(1, epochs + 1) if k % (epochs // nabla_tau.LOOKS) == 0} | {epochs})
    assert len(reads) == len(range(0, epochs, epochs // nabla_tau.REFRESHES))
