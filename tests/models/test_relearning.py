"""The relearn race against a loop written out by hand, and what it must leave alone."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unlearn_core import data, models
from unlearn_core.models import training
from unlearn_core.models.device import settle
from unlearn_core.models.relearning import EPOCHS, SLOWER, relearn
from unlearn_core.params import resolve

settle()
PARAMS = {"batch": 8, "lr": 0.2, "weight_decay": 0.03}


def fresh(name, dataset, **given):
    params = resolve(models.info(name).params, given, name)
    return training.fresh(models.info(name), dataset, params, 0, "cpu"), params


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


class ByHand:
    """Softmax regression with AdamW in numpy, float64."""

    def __init__(self, weight, bias, rate, decay):
        self.values, self.rate, self.decay, self.steps = [weight, bias], rate, decay, 0
        self.first, self.second = ([np.zeros_like(v) for v in self.values] for _ in range(2))

    def answers(self, x):
        z = x @ self.values[0].T + self.values[1]
        z = z - z.max(1, keepdims=True)
        return z - np.log(np.exp(z).sum(1, keepdims=True))

    def step(self, x, y):
        self.steps += 1
        error = (np.exp(self.answers(x)) - np.eye(len(self.values[1]))[y]) / len(y)
        for k, gradient in enumerate((error.T @ x, error.sum(0))):
            self.first[k] = 0.9 * self.first[k] + 0.1 * gradient
            self.second[k] = 0.999 * self.second[k] + 0.001 * gradient**2
            direction = self.first[k] / (1 - 0.9**self.steps) / (np.sqrt(self.second[k] / (1 - 0.999**self.steps)) + 1e-8)
            self.values[k] = self.values[k] * (1 - self.rate * self.decay) - self.rate * direction


@pytest.mark.parametrize(("count", "size"), [(30, 8), (7, 4), (1, 1)])
def test_the_race_is_adamw_at_a_constant_quarter_of_the_rate(wine, count, size):
    model = fresh("softmax", wine)[0].double()
    forget = np.random.default_rng(count).permutation(len(wine))[:count]
    x, y = torch.as_tensor(wine.inputs).double() / 100, torch.as_tensor(wine.labels)
    weight, bias = (p.detach().clone().numpy() for p in (model.head.weight, model.head.bias))
    losses, accuracies = relearn(model, x, y, forget, PARAMS, seed=5, device="cpu", epochs=3)
    other, order = ByHand(weight, bias, PARAMS["lr"] / SLOWER, PARAMS["weight_decay"]), torch.Generator().manual_seed(5)
    inputs, labels = x.flatten(1).numpy(), y.numpy()
    for epoch in range(4):
        log_p = other.answers(inputs[forget])
        assert losses[epoch] == pytest.approx(-log_p[np.arange(count), labels[forget]].mean(), abs=1e-9)
        assert accuracies[epoch] == (log_p.argmax(1) == labels[forget]).mean()
        shuffled = forget[torch.randperm(count, generator=order).numpy()]
        for start in range(0, count, size):
            part = shuffled[start : start + size]
            other.step(inputs[part], labels[part])


@pytest.mark.parametrize("name", list(models.suited(data.info("digits"))))
def test_the_given_model_is_not_changed_and_the_same_seed_gives_the_same_race(digits, name):
    model, params = fresh(name, digits)
    model.standardise.fit(torch.as_tensor(digits.inputs[digits.splits.train]))
    model.train()
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    x, y = training.tensors(digits, "cpu")
    forget = digits.splits.train[:20]
    first, same, other = (relearn(model, x, y, forget, params, seed, "cpu") for seed in (3, 3, 4))
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before) and model.training
    assert all(p.grad is None for p in model.parameters()) and torch.equal(state, torch.random.get_rng_state())
    assert np.array_equal(first, same) and not np.array_equal(first[0], other[0])
    assert first[0].shape == first[1].shape == (EPOCHS + 1,)
    assert first[0][0] == other[0][0] == training.mean_loss(copy.deepcopy(model), x, y, torch.as_tensor(forget))
    assert first[0][-1] < first[0][0]


def test_batch_norm_statistics_stay_those_of_the_model(digits, monkeypatch):
    model, params = fresh("cnn", digits, width=2)
    seen = []
    keep = lambda trained, *args: seen.append({name: value.clone() for name, value in trained.named_buffers()}) or 0.0  # noqa: E731
    monkeypatch.setattr(training, "mean_loss", keep)
    relearn(model, *training.tensors(digits, "cpu"), digits.splits.train[:20], params, 0, "cpu", epochs=2)
    assert len(seen) == 3
    assert all(torch.equal(value, buffers[name]) for buffers in seen for name, value in model.named_buffers())


def test_a_model_that_knows_the_points_starts_low_and_one_that_does_not_takes_longer(wine):
    params = resolve(models.info("mlp").params, {}, "mlp")
    train = wine.splits.train
    rng = np.random.default_rng(0)
    forget, labels = train[:8], wine.labels.copy()
    labels[forget] = (labels[forget] + rng.integers(1, 3, len(forget))) % 3  # nothing but memory tells these labels
    from dataclasses import replace

    planted = replace(wine, labels=labels)
    x, y = training.tensors(planted, "cpu")
    knows, never = (training.train(models.info("mlp"), planted, params, ids, 0, "cpu") for ids in (train, train[8:]))
    a, b = (relearn(model, x, y, forget, params, 0, "cpu")[0] for model in (knows, never))
    assert a[0] < 0.2 < 2 < b[0] and a.mean() < b.mean()
    with torch.no_grad():
        assert a[0] == pytest.approx(F.cross_entropy(knows(x[forget]), y[forget]).item(), rel=1e-5)
