"""Influence functions: curvature products, solvers and the step, each against a closed form or a refit."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from methods.support import apply, original, same
from scipy.optimize import minimize

from unlearn_core import data, models
from unlearn_core.methods import Task, influence
from unlearn_core.methods.curvature import ConjugateGradient, Weights, gauss_newton, gradient, gradients, woodfisher
from unlearn_core.models import training
from unlearn_core.models.device import settle
from unlearn_core.params import resolve

settle()


def random_psd(size, rank, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, rank))
    return torch.as_tensor(root @ root.T / rank), torch.as_tensor(rng.normal(size=size))


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module")
def moons():
    return data.load("moons", {"instances": 300, "mislabelled": 0.1})


@pytest.fixture(scope="module")
def trained(moons):
    return original(moons, "mlp", width=32, epochs=150)


def tiny(name, dataset, **given):
    """A float64 model after a few epochs, with the dataset in float64."""
    model = original(dataset, name, epochs=3, **given)[0].double()
    return model, torch.as_tensor(dataset.inputs).double(), torch.as_tensor(dataset.labels)


# solvers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [40, 7])
@pytest.mark.parametrize("damping", [1e-3, 0.1, 10.0])
def test_conjugate_gradients_solve_a_random_system(rank, damping):
    a, b = random_psd(40, rank)
    found = ConjugateGradient(lambda v: a @ v, b, 40, 1e-3, 1e-12)
    expected = torch.linalg.solve(a + damping * torch.eye(40, dtype=a.dtype), b)
    torch.testing.assert_close(found.solve(damping), expected, rtol=1e-7, atol=1e-8)
    assert found.residual(damping) < 1e-7


def test_conjugate_gradients_stopped_early_are_those_of_the_textbook():
    """Hestenes and Stiefel's two-term recurrence, and the residual that is reported is the true one."""
    a, b = random_psd(60, 60)
    a += 0.05 * torch.eye(60, dtype=a.dtype)
    x, r = torch.zeros_like(b), b.clone()
    p = r.clone()
    for steps in range(1, 12):
        rate = r @ r / (p @ a @ p)
        x, new = x + rate * p, r - rate * (a @ p)
        p, r = new + (new @ new) / (r @ r) * p, new
        found = ConjugateGradient(lambda v: a @ v - 0.05 * v, b, steps, 0.05, 0.0)
        torch.testing.assert_close(found.solve(0.05), x, rtol=1e-8, atol=1e-10)
        assert found.residual(0.05) == pytest.approx((r.norm() / b.norm()).item(), rel=1e-6)


def test_conjugate_gradients_end_when_good_enough_or_exhausted():
    a, b = random_psd(80, 80)
    calls = []

    def product(v):
        calls.append(1)
        return a @ v

    assert ConjugateGradient(product, b, 80, 10.0, 1e-2).residual(10.0) < 1e-2 and len(calls) <= 8
    calls.clear()
    ConjugateGradient(product, torch.linalg.eigh(a)[1][:, 3].contiguous(), 80, 1e-6, 0.0)
    assert len(calls) == 1


@pytest.mark.parametrize("damping", [1e-3, 0.3])
def test_woodfisher_is_the_recursion_and_the_dense_inverse(damping):
    rng = np.random.default_rng(1)
    rows, b = rng.normal(size=(12, 30)), rng.normal(size=30)
    inverse = np.eye(30) / damping
    for g in rows:  # Sherman and Morrison, one gradient at a time
        side = inverse @ g
        inverse -= np.outer(side, side) / (len(rows) + g @ side)
    dense = np.linalg.inv(damping * np.eye(30) + rows.T @ rows / len(rows))
    np.testing.assert_allclose(inverse, dense, rtol=1e-8, atol=1e-8)
    found = woodfisher(torch.as_tensor(rows), torch.as_tensor(b))(damping)
    np.testing.assert_allclose(found.numpy(), inverse @ b, rtol=1e-8, atol=1e-8)


# curvature -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [7, 1024])
def test_gauss_newton_of_a_linear_model_is_the_hessian(wine, chunk):
    model, x, y = tiny("softmax", wine)
    weights = Weights(model)
    hessian = torch.autograd.functional.hessian(lambda v: weights.loss(v, x[:30], y[:30]) / 30, weights.vector)
    product = gauss_newton(weights, x[:30], chunk)
    dense = torch.stack([product(v) for v in torch.eye(len(hessian), dtype=x.dtype)])
    torch.testing.assert_close(dense, hessian, atol=1e-9, rtol=1e-7)


def test_gauss_newton_of_an_mlp_is_the_hessian_without_the_logits_curvature(wine):
    model, x, _ = tiny("mlp", wine, width=3)
    weights, x = Weights(model), x[:20]
    jacobian = torch.autograd.functional.jacobian(lambda v: weights.logits(v, x), weights.vector)
    p = weights.logits(weights.vector, x).softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    expected = torch.einsum("ncp,ncd,ndq->pq", jacobian, middle, jacobian) / len(x)
    product = gauss_newton(weights, x)
    dense = torch.stack([product(v) for v in torch.eye(len(expected), dtype=x.dtype)])
    torch.testing.assert_close(dense, expected, atol=1e-9, rtol=1e-7)
    assert torch.linalg.eigvalsh(dense).min() > -1e-9
    hessian = torch.autograd.functional.hessian(lambda v: F.cross_entropy(weights.logits(v, x), p.argmax(1)), weights.vector)
    assert torch.linalg.eigvalsh(hessian).min() < -1e-4  # conjugate gradients could not use it


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_gradients_of_single_instances_add_up(name):
    digits = data.load("digits")
    model = original(digits, name, epochs=1, width=2)[0].double()
    x, y = torch.as_tensor(digits.inputs[:9]).double(), torch.as_tensor(digits.labels[:9])
    weights = Weights(model)
    model.zero_grad()
    F.cross_entropy(model(x), y, reduction="sum").backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(gradient(weights, x, y, chunk=4), expected)
    torch.testing.assert_close(gradients(weights, x, y).sum(0), expected)


def test_only_the_named_weights_are_looked_at_and_changed(wine):
    model, x, y = tiny("mlp", wine, width=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = Weights(model, ["head.weight", "head.bias"])
    assert len(weights.vector) == 3 * 3 + 3
    weights.place(weights.vector + 1)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"} and torch.equal(model.head.weight, before["head.weight"] + 1)


# one step against closed forms and refits ----------------------------------------------------------------


def test_removal_from_ridge_regression_is_exact():
    """Half squared error with penalty λ/2‖w‖²: one step by conjugate gradients, damped by λ, is the fit without the group."""
    rng = np.random.default_rng(0)
    x, y, penalty = rng.normal(size=(50, 6)), rng.normal(size=50), 0.3

    def fit(rows):
        return np.linalg.solve(x[rows].T @ x[rows] / len(rows) + penalty * np.eye(6), x[rows].T @ y[rows] / len(rows))

    forget, retain = np.arange(12), np.arange(12, 50)
    whole = fit(np.arange(50))
    of_forget, of_retain = (torch.as_tensor(x[rows].T @ (x[rows] @ whole - y[rows])) for rows in (forget, retain))
    pull = influence.removal(of_forget, of_retain, len(forget), len(retain))
    inner = torch.as_tensor(x[retain].T @ x[retain] / len(retain))
    step = ConjugateGradient(lambda v: inner @ v, pull, 6, penalty, 1e-12).solve(penalty)
    np.testing.assert_allclose(whole + step.numpy(), fit(retain), atol=1e-10)


def refit(model, x, y, penalty):
    """The minimum of the mean cross-entropy plus penalty/2‖θ‖² of a linear model, by scipy."""
    weights = Weights(model)

    def loss(vector):
        v = torch.as_tensor(vector, dtype=torch.float64).requires_grad_()
        value = weights.loss(v, x, y) / len(x) + penalty / 2 * v.square().sum()
        return value.item(), torch.autograd.grad(value, v)[0].numpy()

    found = minimize(loss, weights.vector.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-9})
    return torch.as_tensor(found.x)


def task_for(model, x, y, forget, retain, **given):
    return Task(
        model=model, x=x, y=y, forget=torch.as_tensor(forget), retain=torch.as_tensor(retain), heldout=None, share=0.1,
        params=resolve(influence.METHOD.params, given, "influence"), seed=0, device="cpu", train=None,
        progress=training.silent, watch=lambda model: False,
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 10])
def test_one_step_on_softmax_regression_comes_close_to_refitting(wine, count):
    model, x, y = tiny("softmax", wine)
    train, penalty = wine.splits.train, 0.02
    forget, retain = train[:count], train[count:]
    Weights(model).place(refit(model, x[train], y[train], penalty))
    before, goal = Weights(model).vector, refit(model, x[retain], y[retain], penalty)
    task = task_for(model, x, y, forget, retain, damping=penalty, iterations=200)
    after = Weights(influence.run(task)).vector
    assert (after - goal).norm() < 0.15 * (before - goal).norm() and task.notes == []
    assert task.chosen["taken"] == 1.0 and task.chosen["residual"] < 0.01


def test_a_group_is_one_step_for_its_summed_pull(wine):
    model, x, y = tiny("softmax", wine)
    weights, train = Weights(model), wine.splits.train
    pulls = [
        influence.removal(*(gradient(weights, x[i], y[i]) for i in (ids, train[8:])), 4, len(train) - 8) for ids in (train[:4], train[4:8])
    ]
    both = influence.removal(*(gradient(weights, x[i], y[i]) for i in (train[:8], train[8:])), 8, len(train) - 8)
    total, fewer = len(train), len(train) - 4
    torch.testing.assert_close((pulls[0] + pulls[1]) * fewer / total, both)


def test_strength_scales_the_step(wine):
    model, x, y = tiny("softmax", wine)
    train, steps = wine.splits.train, {}
    start = Weights(model).vector.clone()
    for alpha in (0.0, 0.5, 1.0):
        Weights(model).place(start)
        influence.run(task_for(model, x, y, train[:5], train[5:], alpha=alpha, damping=0.1))
        steps[alpha] = Weights(model).vector - start
    assert not steps[0.0].any() and steps[1.0].any()
    torch.testing.assert_close(2 * steps[0.5], steps[1.0])


# the whole method ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["conjugate gradient", "WoodFisher"])
@pytest.mark.parametrize("layers", ["whole model", "head only"])
def test_it_moves_towards_the_retrained_models_on_mislabelled_points(solver, layers, trained, moons):
    x, y = training.tensors(moons, "cpu")
    forget = moons.planted["mislabelled"]
    retain = np.setdiff1d(moons.splits.train, forget)
    model, chosen, _ = apply(trained, moons, forget, "influence", solver=solver, layers=layers)
    retrained = [training.train(models.info("mlp"), moons, trained[2], retain, seed, "cpu") for seed in range(3)]
    goal = np.mean([torch.softmax(r(x), 1).detach().numpy() for r in retrained], axis=0)
    before, after = (np.abs(torch.softmax(m(x), 1).detach().numpy() - goal)[forget].mean() for m in (trained[0], model))
    assert after < before
    lost = [training.mean_loss(m, x, y, torch.as_tensor(forget)) for m in (trained[0], model, *retrained)]
    assert lost[0] < lost[1] and lost[0] < min(lost[2:])
    assert training.accuracy(model, x, y, torch.as_tensor(retain)) > 0.9
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, trained[0].state_dict()[name])}
    assert (changed == {"head.weight", "head.bias"}) == (layers == "head only")
    assert chosen["size"] > 0 and chosen["taken"] == 1


def test_automatic_damping_ends_where_the_retained_loss_would_rise():
    rises = {damping: (0.0 if damping > 0.05 else 1.0) for damping in influence.DAMPINGS}
    steps = {damping: torch.tensor([float(damping)]) for damping in influence.DAMPINGS}
    found = influence.settle(lambda d: steps[d], lambda step: 0.0 if step.item() > 0.05 else 1.0)
    assert found == min(d for d, rise in rises.items() if rise == 0)
    assert influence.settle(lambda d: steps[d], lambda step: -1.0) == influence.DAMPINGS[-1]
    assert influence.settle(lambda d: steps[d], lambda step: float("nan")) == influence.DAMPINGS[0]


def test_a_destructive_step_is_shortened_and_said(trained, moons):
    x, y = training.tensors(moons, "cpu")
    forget = moons.planted["mislabelled"]
    model, chosen, notes = apply(trained, moons, forget, "influence", damping=1e-4, iterations=100)
    assert chosen["taken"] < 1 and any("worse than guessing" in note for note in notes)
    assert any("times as long as the weights" in note for note in notes)
    retain = torch.as_tensor(np.setdiff1d(moons.splits.train, forget))
    assert training.mean_loss(model, x, y, retain) <= np.log(2) + 1e-6


def test_unfinished_conjugate_gradients_are_said(trained, moons):
    _, chosen, notes = apply(trained, moons, moons.splits.train[:20], "influence", damping=1e-4, iterations=3, alpha=0.01)
    assert chosen["residual"] > influence.UNSOLVED and any("not converged" in note for note in notes)


def test_woodfisher_draws_its_instances_from_the_seed_and_conjugate_gradients_draw_nothing(trained, moons):
    forget = moons.splits.train[:10]
    run = lambda seed, **given: apply(trained, moons, forget, "influence", seed=seed, **given)[0]  # noqa: E731
    assert same(run(1), run(2))
    few = {"solver": "WoodFisher", "iterations": 30, "damping": 0.05}
    assert same(run(1, **few), run(1, **few)) and not same(run(1, **few), run(2, **few))


@pytest.mark.parametrize("count", ["one", "most", "all but one"])
def test_extreme_forget_sets_run(count, trained, moons):
    train = moons.splits.train
    ids = {"one": train[:1], "most": train[: int(0.7 * len(train))], "all but one": train[1:]}[count]
    model, _, _ = apply(trained, moons, ids, "influence")
    assert all(torch.isfinite(p).all() for p in model.parameters())
