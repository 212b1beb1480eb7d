"""The convex model: its minimum against scikit-learn, its noise, its unit-length features, its buffers on disk."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from unlearn_core import data, models
from unlearn_core.errors import Cancelled
from unlearn_core.models import ensemble, one_vs_rest, storage, training
from unlearn_core.models.device import settle
from unlearn_core.params import resolve

settle()
INFO = models.info("convex")


def params(**given):
    return resolve(INFO.params, given, "convex")


def train(dataset, ids=None, seed=0, **given):
    rest = {key: given.pop(key) for key in ("progress", "after_epoch") if key in given}
    return training.train(INFO, dataset, params(**given), dataset.splits.train if ids is None else ids, seed, "cpu", **rest)


@pytest.fixture(scope="module", params=["moons", "wine", "digits"])
def dataset(request):
    return data.load(request.param)


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


def by_hand(model, dataset, ids):
    """Gradient of Lb for every head in numpy."""
    x, weights = (v.detach().double().numpy() for v in (model.features(torch.as_tensor(dataset.inputs[ids])), model.head[0].weight))
    signs = np.where(dataset.labels[ids][:, None] == np.arange(len(weights)), 1.0, -1.0)
    pull = -signs / (1 + np.exp(signs * (x @ weights.T)))
    return pull.T @ x + model.penalty.item() * len(ids) * weights + model.noise.double().numpy()


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_training_ends_at_the_minimum_and_records_what_rounding_leaves(dataset, noise):
    model = train(dataset, noise=noise)
    left = np.linalg.norm(by_hand(model, dataset, dataset.splits.train), axis=1)
    np.testing.assert_allclose(model.beta.numpy(), left, rtol=1e-6, atol=1e-9)
    assert np.linalg.norm(left) < 1e-3
    heads = one_vs_rest.Heads(model, *(t[torch.as_tensor(dataset.splits.train)] for t in training.tensors(dataset, "cpu")))
    exact = one_vs_rest.matrix(model)
    for _ in range(3):  # Newton's steps in float64 from there: the minimum is no further away than rounding
        for c in range(len(exact)):
            p = torch.sigmoid(heads.features @ exact[c])
            hessian = (heads.features * (p * (1 - p))[:, None]).T @ heads.features
            hessian += len(heads.features) * heads.penalty * torch.eye(len(hessian), dtype=torch.float64)
            slope = heads.gradient(exact)[c] + model.noise[c].double()
            exact[c] -= torch.linalg.solve(hessian, slope)
    assert (heads.gradient(exact) + model.noise.double()).norm() < 1e-10
    torch.testing.assert_close(one_vs_rest.matrix(model), exact, atol=2e-6, rtol=2e-6)


def test_without_noise_it_is_one_vs_rest_logistic_regression_of_scikit_learn(dataset):
    model, ids = train(dataset, noise=0.0, penalty=1e-3), dataset.splits.train
    x = model.features(torch.as_tensor(dataset.inputs)).detach().double().numpy()
    ours, inputs = one_vs_rest.matrix(model).numpy(), x[ids]
    probabilities = []
    for c in range(len(ours)):
        reference = LogisticRegression(C=1 / (1e-3 * len(ids)), fit_intercept=False, tol=1e-10, max_iter=10_000)
        reference.fit(inputs, dataset.labels[ids] == c)
        np.testing.assert_allclose(ours[c], reference.coef_[0], atol=1e-4)
        probabilities.append(reference.predict_proba(x)[:, 1])
    expected = np.stack(probabilities, 1) / np.sum(probabilities, axis=0)[:, None]
    got = torch.softmax(model(torch.as_tensor(dataset.inputs)), 1).detach().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_gradient_adds_up_and_agrees_with_autograd(wine):
    model = train(wine)
    x, y = training.tensors(wine, "cpu")
    whole, first, second = (one_vs_rest.Heads(model, x[part], y[part]) for part in (slice(0, 50), slice(0, 20), slice(20, 50)))
    weights = torch.randn(3, x.shape[1] + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (slope,) = torch.autograd.grad(whole.loss(weights), weights)
    with torch.no_grad():
        torch.testing.assert_close(whole.gradient(weights), slope)
        torch.testing.assert_close(first.gradient(weights) + second.gradient(weights), slope)
        v = torch.randn(slope.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        product = torch.autograd.functional.hvp(whole.loss, weights, v)[1]
        torch.testing.assert_close(whole.curvature(weights)(v) + 50 * whole.penalty * v, product)


def test_features_have_length_one_and_need_no_statistics_of_the_training_data(dataset):
    model = train(dataset)
    features = model.features(torch.as_tensor(dataset.inputs))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(dataset)))
    other = train(dataset, dataset.splits.train[::2])
    assert torch.equal(other.features(torch.as_tensor(dataset.inputs)), features)
    if dataset.modality != "tabular":
        assert not model.standardise.mean.any() and (model.standardise.scale == 1).all()


def test_tables_are_scaled_by_validation_instances_only(wine):
    model = train(wine)
    np.testing.assert_allclose(model.standardise.mean.numpy(), wine.inputs[wine.splits.tuning].mean(0), rtol=1e-5)
    inputs = wine.inputs.copy()
    inputs[np.setdiff1d(np.arange(len(wine)), wine.splits.tuning)] *= 3
    model.standardise.fit(torch.as_tensor(inputs[wine.splits.tuning]))
    np.testing.assert_allclose(model.standardise.mean.numpy(), wine.inputs[wine.splits.tuning].mean(0), rtol=1e-5)
    assert not train(wine, scaling="none").standardise.mean.any()


def test_noise_comes_from_the_seed_and_has_the_asked_spread():
    digits = data.load("digits")
    first, same, other = (training.fresh(INFO, digits, params(noise=2.0), seed, "cpu").noise for seed in (5, 5, 6))
    assert torch.equal(first, same) and not torch.equal(first, other)
    values = torch.cat([first.flatten(), other.flatten()])
    assert abs(values.mean().item()) < 5 * 2 / len(values) ** 0.5 and values.std().item() == pytest.approx(2.0, rel=0.1)
    assert not training.fresh(INFO, digits, params(noise=0.0), 5, "cpu").noise.any()


def test_without_noise_every_seed_gives_the_same_model_and_with_noise_none_does(wine):
    assert torch.equal(*(train(wine, seed=seed, noise=0.0).head[0].weight for seed in (1, 2)))
    assert torch.equal(*(train(wine, seed=seed).head[0].weight for seed in (1, 1)))
    assert not torch.equal(*(train(wine, seed=seed).head[0].weight for seed in (1, 2)))


def test_buffers_travel_with_the_weights(wine, tmp_path):
    model = train(wine, noise=1.5, penalty=0.02)
    model.beta += 0.25
    storage.save(tmp_path / "m.safetensors", model, {})
    back = storage.load(tmp_path / "m.safetensors", INFO, wine, params(), "cpu")  # whatever the parameters say, what is stored counts
    assert {"noise", "penalty", "sigma", "beta"} <= back.state_dict().keys()
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in model.state_dict().items())
    assert (back.sigma.item(), back.penalty.item()) == (1.5, 0.02)


def test_progress_live_accuracy_and_cancel(wine):
    seen, looks = [], []
    train(wine, progress=lambda fraction, **curves: seen.append(fraction), after_epoch=lambda model: looks.append(model) or False)
    assert seen == sorted(seen) and seen[-1] == 1.0 and looks

    def stop(fraction, **curves):
        raise Cancelled

    with pytest.raises(Cancelled):
        train(wine, progress=stop)
    unfinished = train(data.load("digits"), after_epoch=lambda model: True)
    assert unfinished.beta.norm() > 1e-2  # and says so, so nothing is certified by mistake


def test_many_at_once_are_the_ones_trained_alone(wine):
    subsets = [wine.splits.train[:60], wine.splits.train[30:]]
    many = ensemble.train_many(INFO, wine, params(), subsets, [3, 4], "cpu")
    for model, ids, seed in zip(many, subsets, [3, 4], strict=True):
        assert torch.equal(model.head[0].weight, train(wine, ids, seed).head[0].weight)


@pytest.mark.parametrize(("name", "least"), [("digits", 0.9), ("wine", 0.9), ("breast_cancer", 0.92), ("moons", 0.75)])
def test_it_is_a_useful_model(name, least):
    dataset = data.load(name)
    test = dataset.splits.test
    found = [training.predict(train(dataset, seed=seed), dataset.inputs[test], "cpu").argmax(1) for seed in range(3)]
    assert np.mean(found == dataset.labels[test]) > least


def test_a_class_that_is_missing_is_no_problem(wine):
    ids = wine.splits.train[wine.labels[wine.splits.train] != 2]
    model = train(wine, ids)
    assert (training.predict(model, wine.inputs[ids], "cpu").argmax(1) != 2).all()
    assert torch.isfinite(model.head[0].weight).all()
    train(replace(wine, inputs=wine.inputs * 0), ids)  # nothing but the constant feature
