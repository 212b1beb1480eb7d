"""Methods on several labels and on numbers: ∇τ step by step in float64, every method that says it works, and refusals."""

import numpy as np
import pytest
import torch
from methods.support import Softmax, apply, original

from unlearn_core import data, methods
from unlearn_core.errors import BadInput
from unlearn_core.methods import Task, nabla_tau
from unlearn_core.models import objectives, training
from unlearn_core.models.device import settle
from unlearn_core.params import resolve
from unlearn_core.runs.spec import OriginalSpec, PoolSpec, RunSpec

settle()
SOURCES = {"number": "diabetes", "labels": "digit_traits"}


class Linear(Softmax):
    """Linear regression on half the squared error."""

    def loss(self, x, y):
        return 0.5 * np.square(x @ self.values[0].T + self.values[1] - y).sum(1).mean()

    def gradient(self, x, y):
        error = (x @ self.values[0].T + self.values[1] - y) / len(y)
        return [error.T @ x, error.sum(0)]


class Logistic(Softmax):
    """One logistic regression for each label, losses added up."""

    def loss(self, x, y):
        z = x @ self.values[0].T + self.values[1]
        return (np.logaddexp(0, z) - y * z).sum(1).mean()

    def gradient(self, x, y):
        error = (1 / (1 + np.exp(-(x @ self.values[0].T + self.values[1]))) - y) / len(y)
        return [error.T @ x, error.sum(0)]


@pytest.mark.parametrize(("task", "by_hand"), [("number", Linear), ("labels", Logistic)])
def test_six_steps_by_hand(task, by_hand):
    """Full batches in float64; α and the learning rate fall with every forget epoch, L_v is read at epochs 0 and 5; losses are means over labels."""
    dataset = data.load(SOURCES[task])
    model = original(dataset, "softmax", epochs=20)[0].double()
    x, y = (t.double() if t.is_floating_point() else t for t in training.tensors(dataset, "cpu"))
    train, targets, flat = dataset.splits.train, dataset.targets.astype(np.float64), x.flatten(1)
    mean, scale = (getattr(model.standardise, name).expand(x.shape[1:]).flatten().double() for name in ("mean", "scale"))
    z = ((flat - mean) / scale).numpy()
    hand = by_hand(model.head.weight.detach(), model.head.bias.detach())
    own = np.array([hand.loss(z[[i]], targets[[i]]) for i in train])
    forget = train[np.argsort(own)[:40]]
    retain, heldout = np.setdiff1d(train, forget), dataset.splits.heldout
    alpha0, epochs, lr, active, labels = 0.6, 6, 0.03, 0, targets.shape[1]
    for epoch in range(epochs):
        if epoch in (0, 5):
            unseen = hand.loss(z[heldout], targets[heldout])
        alpha = alpha0 * (1 - epoch / epochs)
        gap = max(unseen - hand.loss(z[forget], targets[forget]), 0.0) / labels
        active += gap > 0
        pair = zip(hand.gradient(z[forget], targets[forget]), hand.gradient(z[retain], targets[retain]), strict=True)
        hand.step([(-2 * alpha * gap * f + (1 - alpha) * r) / labels for f, r in pair], lr * (1 - 0.9 * epoch / epochs))
    assert active > 0
    params = resolve(nabla_tau.METHOD.params, {"alpha": alpha0, "passes": epochs, "batch": 4096, "lr": lr}, "nabla_tau")
    given = Task(
        model=model, x=x, y=y, forget=torch.as_tensor(forget), retain=torch.as_tensor(retain), heldout=torch.as_tensor(heldout),
        share=0.1, params=params, seed=0, device="cpu", train=None, progress=training.silent, watch=lambda model: False,
    )  # fmt: skip
    found = nabla_tau.run(given)
    np.testing.assert_allclose(found.head.weight.detach().numpy(), hand.values[0], atol=1e-7)
    np.testing.assert_allclose(found.head.bias.detach().numpy(), hand.values[1], atol=1e-7)


def test_as_many_labels_again_that_say_the_same_leave_alpha_its_meaning():
    """Twins of every label double each sum of losses; the mean over them, and so what α weighs, stays as it was."""
    from dataclasses import replace

    dataset = data.load("digit_traits")
    twice = replace(dataset, targets=np.tile(dataset.targets, 2), target_names=(*dataset.target_names, *dataset.target_names))
    train, ends = dataset.splits.train, []
    for one in (dataset, twice):
        model = original(dataset, "softmax", epochs=20)[0]
        if one is twice:
            head = torch.nn.Linear(model.head.in_features, 8)
            with torch.no_grad():
                head.weight.copy_(model.head.weight.repeat(2, 1))
                head.bias.copy_(model.head.bias.repeat(2))
            model.head = head
        x, y = training.tensors(one, "cpu")
        own = (
            objectives.loss(model(x[train]), y[train], "none").argsort().numpy()
        )  # the cap leaves those to be raised that are learned best
        given = Task(
            model=model.double(), x=x.double(), y=y, forget=torch.as_tensor(train[own[:40]]), retain=torch.as_tensor(train[own[40:]]),
            heldout=torch.as_tensor(dataset.splits.heldout), share=0.1, params=resolve(nabla_tau.METHOD.params, {}, "nabla_tau"), seed=0,
            device="cpu", train=None, progress=training.silent, watch=lambda model: False,
        )  # fmt: skip
        ends.append(nabla_tau.run(given).head.weight.detach())
        assert given.chosen["acted_steps"] > 10
    torch.testing.assert_close(ends[1][:4], ends[1][4:])
    # AdamW hardly looks at the size of a gradient; a sum instead of the mean would bend the balance of the two terms.
    assert (ends[1][:4] - ends[0]).abs().max() < 1e-4


@pytest.fixture(scope="module")
def trained():
    return {task: original(data.load(name), "mlp", epochs=40, width=24) for task, name in SOURCES.items()}


@pytest.mark.parametrize(("task", "name"), [(task, name) for task in SOURCES for name in methods.suited("mlp", task)])
def test_every_method_that_says_so_works(trained, task, name):
    dataset = data.load(SOURCES[task])
    forget = dataset.splits.train[::15]
    model, _, _ = apply(trained[task], dataset, forget, name)
    x, y = training.tensors(dataset, "cpu")
    before, after = (training.mean_loss(m, x, y, torch.as_tensor(forget)) for m in (trained[task][0], model))
    assert np.isfinite(after) and after != before
    if name in ("retrain", "nabla_tau", "neggrad_plus", "neggrad"):
        assert after > before


def test_which_methods_work():
    assert set(methods.suited("mlp", "number")) == {"nabla_tau", "neggrad_plus", "finetune", "retrain", "l1_sparse"}
    assert set(methods.suited("mlp", "labels")) == {*methods.suited("mlp", "number"), "neggrad"}


def refused(task, **given):
    dataset = data.load(SOURCES[task])
    spec = OriginalSpec.make(SOURCES[task])
    with pytest.raises(BadInput) as error:
        RunSpec.make(spec, dataset.hash, dataset.splits.train, len(dataset), dataset.splits.train[:5], **given)
    return error.value


@pytest.mark.parametrize("task", SOURCES)
def test_what_needs_classes_is_refused_with_the_reason(trained, task):
    said = {"labels": "several labels at once", "number": "the answer is a number"}[task]
    for name in set(methods.suited("mlp")) - set(methods.suited("mlp", task)):
        error = refused(task, method=name)
        assert error.field == "method" and said in str(error) and "nabla_tau" in str(error)
    error = refused(task, method="nabla_tau", params={"alpha": "search"})
    assert error.field == "alpha" and said in str(error)
    with pytest.raises(BadInput, match=said):
        PoolSpec.make(OriginalSpec.make(SOURCES[task]), "x", 8)
    dataset = data.load(SOURCES[task])
    with pytest.raises(BadInput, match="no single class"):
        apply(trained[task], dataset, dataset.splits.train[:20], "nabla_tau", cap="class")


def test_the_guard_stops_a_collapse_of_numbers(trained):
    dataset = data.load("diabetes")
    _, _, notes = apply(trained["number"], dataset, dataset.splits.train[:60], "neggrad_plus", alpha=0.5, epochs=60, lr=0.02)
    assert any("Stopped early: the share of the spread that is explained" in note and "the mean gives 0%" in note for note in notes)


def test_settings_that_suit_the_data_come_with_its_default_model_only():
    assert OriginalSpec.make("newsgroup_topics").model_params["lr"] == 1.5e-2
    assert OriginalSpec.make("newsgroup_topics", model_params={"lr": 1e-3}).model_params["lr"] == 1e-3
    assert OriginalSpec.make("newsgroup_topics", "transformer").model_params["lr"] != 1.5e-2
