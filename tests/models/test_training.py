"""The one training loop: gradients, seeds, stopping, BatchNorm modes, accuracy."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unlearn_core import data, models, seeds
from unlearn_core.errors import Cancelled
from unlearn_core.models import training
from unlearn_core.models.device import settle
from unlearn_core.params import resolve

settle()


def recipe(name, **given):
    return resolve(models.info(name).params, given, name)


def train(name, dataset, seed=0, ids=None, **given):
    rest = {key: given.pop(key) for key in ("progress", "after_epoch") if key in given}
    return training.train(
        models.info(name), dataset, recipe(name, **given), dataset.splits.train if ids is None else ids, seed, "cpu", **rest
    )


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_digits_with_the_default_model_reaches_96_percent(digits):
    info = data.info("digits")
    model = train(info.default_model, digits, seeds.derive("original", 0))
    predicted = training.predict(model, digits.inputs[digits.splits.test], "cpu").argmax(1)
    assert (predicted == digits.labels[digits.splits.test]).mean() >= 0.96


@pytest.mark.parametrize("name", list(models.suited(data.info("digits"))))
def test_same_seed_gives_the_same_weights(name, digits):
    ids, declared = digits.splits.train[:120], {param.name for param in models.info(name).params}
    given = {"epochs": 2} if "epochs" in declared else {}
    first, same, other = (train(name, digits, seed, ids, **given).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_softmax_regression_learns_wine(wine):
    model = train("softmax", wine)
    assert (training.predict(model, wine.inputs[wine.splits.test], "cpu").argmax(1) == wine.labels[wine.splits.test]).mean() > 0.9


def test_gradient_of_the_training_objective_is_right_to_finite_differences(wine):
    model = training.fresh(models.info("mlp"), wine, recipe("mlp", width=3), 0, "cpu").double()
    model.standardise.fit(torch.as_tensor(wine.inputs))
    x, y = torch.as_tensor(wine.inputs[:12]).double(), torch.as_tensor(wine.labels[:12])
    F.cross_entropy(model(x), y).backward()
    step = 1e-6
    for parameter in model.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(len(flat)):
            around = []
            for sign in (1, -1):
                flat[i] += sign * step
                with torch.no_grad():
                    around.append(F.cross_entropy(model(x), y).item())
                flat[i] -= sign * step
            assert gradient[i].item() == pytest.approx((around[0] - around[1]) / (2 * step), abs=1e-6)


def test_descend_is_adamw_on_cross_entropy(wine):
    """Two full-batch steps against AdamW written out by hand in float64."""
    model = training.fresh(models.info("softmax"), wine, recipe("softmax"), 0, "cpu").double()
    x, y = torch.as_tensor(wine.inputs[:30]).double() / 100, torch.as_tensor(wine.labels[:30])
    weight, bias = (p.detach().clone().numpy() for p in (model.head.weight, model.head.bias))
    lr, decay, steps = 0.05, 0.1, 2
    training.descend(model, x, y, torch.arange(30), epochs=steps, batch=30, lr=lr, weight_decay=decay, seed=0)
    features, onehot = x.flatten(1).numpy(), np.eye(3)[y.numpy()]
    moments = [[np.zeros_like(p), np.zeros_like(p)] for p in (weight, bias)]
    values = [weight, bias]
    for t in range(1, steps + 1):
        z = features @ values[0].T + values[1]
        p = np.exp(z - z.max(1, keepdims=True))
        error = (p / p.sum(1, keepdims=True) - onehot) / 30
        rate = lr * 0.5 * (1 + math.cos(math.pi * (t - 1) / steps))
        for k, gradient in enumerate((error.T @ features, error.sum(0))):
            first, second = moments[k]
            first[:] = 0.9 * first + 0.1 * gradient
            second[:] = 0.999 * second + 0.001 * gradient**2
            values[k] = values[k] * (1 - rate * decay) - rate * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(model.head.weight.detach().numpy(), values[0], atol=1e-9)
    np.testing.assert_allclose(model.head.bias.detach().numpy(), values[1], atol=1e-9)


def test_batches_pass_once_over_all_ids():
    ids = torch.tensor([5, 9, 2, 7, 11])
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        chunks = list(training.batches(ids, 2, generator))
        assert [len(chunk) for chunk in chunks] == [2, 2, 1]
        assert sorted(torch.cat(chunks).tolist()) == sorted(ids.tolist())
    orders = {tuple(torch.cat(list(training.batches(ids, 2, generator))).tolist()) for _ in range(20)}
    assert len(orders) > 5


def test_mean_loss_and_accuracy_by_hand(wine):
    model = training.fresh(models.info("mlp"), wine, recipe("mlp", width=4), 0, "cpu")
    x, y = training.tensors(wine, "cpu")
    ids = torch.arange(0, 100)
    logits = training.predict(model, wine.inputs[:100], "cpu").astype(np.float64)
    log_p = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True)) - logits.max(1, keepdims=True)
    model.train()
    assert training.mean_loss(model, x, y, ids, chunk=33) == pytest.approx(-log_p[np.arange(100), wine.labels[:100]].mean(), rel=1e-5)
    assert training.accuracy(model, x, y, ids, chunk=33) == (logits.argmax(1) == wine.labels[:100]).mean()


def test_a_progress_callback_can_stop_the_training(wine):
    seen = []

    def progress(fraction, **curves):
        seen.append(fraction)
        if len(seen) == 3:
            raise Cancelled

    threads = torch.get_num_threads()
    with pytest.raises(Cancelled):
        train("mlp", wine, epochs=50, progress=progress)
    assert len(seen) == 3 and seen[-1] < 0.1
    assert torch.get_num_threads() == threads


def test_progress_rises_to_one_and_carries_the_loss(digits):
    seen, losses = [], []

    def progress(fraction, **curves):
        seen.append(fraction)
        losses.extend(curves.values())

    train("mlp", digits, epochs=3, batch=8, progress=progress)
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 9
    assert len(losses) == 3 and losses[-1] < losses[0]


def test_slow_steps_are_reported_one_by_one_with_their_true_share(monkeypatch, digits):
    now = [0.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: now.__setitem__(0, now[0] + 1.0) or now[0])  # every step takes long
    steps, seen = -(-len(digits.splits.train) // 64), []
    train("mlp", digits, epochs=2, batch=64, progress=lambda fraction, **curves: seen.append((fraction, bool(curves))))
    assert [fraction for fraction, ended in seen if not ended] == pytest.approx([k / steps / 2 for k in range(1, 2 * steps + 1)])
    now, seen = [0.0], []
    monkeypatch.setattr(training.time, "monotonic", lambda: 0.0)
    train("mlp", digits, epochs=2, batch=8, progress=lambda fraction, **curves: seen.append((fraction, bool(curves))))
    steps = -(-len(digits.splits.train) // 8)
    expected = [(epoch + k / steps) / 2 for epoch in range(2) for k in range(32, steps + 1, 32)]
    assert [fraction for fraction, ended in seen if not ended] == pytest.approx(expected)


def test_after_epoch_ends_the_training(wine):
    epochs = []
    model = train("mlp", wine, epochs=50, after_epoch=lambda model: bool(epochs.append(1) or len(epochs) == 4))
    assert len(epochs) == 4 and not model.training


@pytest.mark.parametrize("training_mode", [True, False])
def test_batch_norm_statistics_move_only_in_training_mode(training_mode, digits):
    model = training.fresh(models.info("cnn"), digits, recipe("cnn", width=2), 0, "cpu")
    x, y = training.tensors(digits, "cpu")
    before = {name: value.clone() for name, value in model.named_buffers()}
    weights = [p.detach().clone() for p in model.parameters()]
    steps = training.optimise(
        model, 1, lambda epoch: iter([(torch.arange(32),), (torch.arange(32, 64),)]), lambda ids: F.cross_entropy(model(x[ids]), y[ids]),
        torch.optim.SGD(model.parameters(), lr=0.1), training_mode=training_mode,
    )  # fmt: skip
    assert steps == 2 and not model.training
    moved = {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}
    expected = {f"stages.block{k}.1.{what}" for k in (1, 2) for what in ("running_mean", "running_var", "num_batches_tracked")}
    assert moved == (expected if training_mode else set())
    assert any(not torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_tensors_of_different_contents_are_never_mixed_up(wine):
    from dataclasses import replace

    poisoned = replace(wine, inputs=wine.inputs + 1)
    for dataset in (wine, poisoned, data.load("digits"), wine):
        assert np.array_equal(training.tensors(dataset, "cpu")[0].numpy(), dataset.inputs)
    assert len(training._TENSORS) <= 2
