"""Certified removal: its step, its bound, the count β over requests, the budget, and what it refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from methods.support import apply, original, same
from scipy.optimize import minimize
from scipy.stats import norm

from unlearn_core import data, methods, models, seeds
from unlearn_core.errors import BadInput
from unlearn_core.methods import Task, certified
from unlearn_core.models import one_vs_rest, storage, training
from unlearn_core.models.device import settle
from unlearn_core.params import resolve

settle()
ROOMY = {"penalty": 0.03, "noise": 2.0}  # enough budget for a dozen instances of any kind


@pytest.fixture(scope="module", params=["moons", "wine"])
def dataset(request):
    return data.load(request.param)


@pytest.fixture(scope="module")
def trained(dataset):
    return original(dataset, "convex", **ROOMY)


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


def heads(model, dataset, ids):
    x, y = training.tensors(dataset, "cpu")
    return one_vs_rest.Heads(model, x[torch.as_tensor(ids)], y[torch.as_tensor(ids)])


def residual(model, dataset, ids):
    """True gradient norm of every head on the instances `ids`, written out in numpy."""
    h, weights = heads(model, dataset, ids), one_vs_rest.matrix(model).numpy()
    x, signs = h.features.numpy(), h.signs.numpy()
    pull = -signs / (1 + np.exp(signs * (x @ weights.T)))
    return np.linalg.norm(pull.T @ x + h.penalty * len(x) * weights + model.noise.double().numpy(), axis=1)


def refit(model, dataset, ids):
    """The minimum of Lb on `ids` with the same noise, head by head by scipy."""
    h, noise = heads(model, dataset, ids), model.noise.double().numpy()
    x, signs = h.features.numpy(), h.signs.numpy()
    found = []
    for c, b in enumerate(noise):

        def loss(w, c=c, b=b):
            z = signs[:, c] * (x @ w)
            slope = -(signs[:, c] / (1 + np.exp(z))) @ x + h.penalty * len(x) * w + b
            return np.logaddexp(0, -z).sum() + h.penalty * len(x) / 2 * w @ w + b @ w, slope

        found.append(
            minimize(loss, np.zeros(len(b)), jac=True, method="L-BFGS-B", options={"maxiter": 9999, "ftol": 1e-16, "gtol": 1e-9}).x
        )
    return np.stack(found)


# the step ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 12])
def test_newtons_step_comes_close_to_refitting_without_the_group(count, trained, dataset):
    train = dataset.splits.train
    forget, retain = train[:count], train[count:]
    model, chosen, _ = apply(trained, dataset, forget, "certified")
    assert not chosen["retrained"]
    goal = refit(trained[0], dataset, retain)
    before, after = (np.linalg.norm(one_vs_rest.matrix(m).numpy() - goal) for m in (trained[0], model))
    assert after < 0.2 * before


def test_the_step_solves_the_damped_system_of_the_paper(trained, dataset):
    train = dataset.splits.train
    forget, retain = heads(trained[0], dataset, train[:9]), heads(trained[0], dataset, train[9:])
    weights = one_vs_rest.matrix(trained[0])
    step = certified.newton(forget, retain, weights)
    for c, w in enumerate(weights):
        p, q = (torch.sigmoid(h.features @ w) for h in (retain, forget))
        hessian = (retain.features * (p * (1 - p))[:, None]).T @ retain.features
        hessian += retain.penalty * len(p) * torch.eye(len(w), dtype=torch.float64)
        target = (forget.signs[:, c] > 0).double()
        delta = forget.features.T @ (q - target) + 9 * retain.penalty * w
        torch.testing.assert_close(step[c], torch.linalg.solve(hessian, delta), atol=1e-8, rtol=1e-6)


# the bound -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["sharp", "paper"])
def test_the_bound_holds_for_any_step(bound, trained, dataset):
    """‖∇L(w + v) − ∇L(w) − Hv‖ over random weights and steps of all sizes, in float64."""
    retain = heads(trained[0], dataset, dataset.splits.train)
    generator, tightest = torch.Generator().manual_seed(0), 0.0
    stiff = len(retain.features) * retain.penalty
    for k in range(200):
        w, v = (torch.randn(trained[0].noise.shape, dtype=torch.float64, generator=generator) for _ in range(2))
        w, v = 3 * w, v * 10 ** (-3 + k / 50)
        true = (retain.gradient(w + v) - retain.gradient(w) - retain.curvature(w)(v) - stiff * v).norm(dim=1)
        limit = certified.remainder(retain.features, v, bound)
        assert (true <= limit + 1e-12).all()
        tightest = max(tightest, (true / limit).max().item())
        assert (limit <= certified.remainder(retain.features, v, "paper") + 1e-12).all()
    assert tightest > (0.1 if bound == "sharp" else 0.003)  # a bound that never comes near says nothing


def test_the_constant_of_the_bound_is_the_steepest_slope():
    z = torch.linspace(-10, 10, 200_001, dtype=torch.float64)
    p = torch.sigmoid(z)
    steepest = (p * (1 - p) * (1 - 2 * p)).abs().max().item()
    assert steepest == pytest.approx(certified.LIPSCHITZ, rel=1e-6) and steepest < certified.PAPER_LIPSCHITZ


@pytest.mark.parametrize("bound", ["sharp", "paper"])
def test_the_paper_bound_by_hand_and_the_sharp_one_by_hand(bound):
    x = torch.tensor([[0.6, 0.8], [1.0, 0.0]], dtype=torch.float64)
    v = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    spectral, moved = np.linalg.norm(x.numpy(), 2), np.array([5.0, 3.0])
    expected = spectral * np.linalg.norm(moved**2) / (12 * 3**0.5) if bound == "sharp" else 0.25 * spectral * 5 * np.linalg.norm(moved)
    assert certified.remainder(x, v, bound).item() == pytest.approx(expected)


# the count -----------------------------------------------------------------------------------------------


def test_beta_by_hand(trained, dataset):
    train, (model, _, _) = dataset.splits.train, trained
    done, chosen, _ = apply(trained, dataset, train[:5], "certified")
    x = heads(model, dataset, train[5:]).features.numpy()
    before, after = (one_vs_rest.matrix(m).numpy() for m in (model, done))
    taylor, missed = [], []
    for c, v in enumerate(after - before):
        p = 1 / (1 + np.exp(-x @ before[c]))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + len(x) * ROOMY["penalty"] * np.eye(len(v))
        removed = heads(model, dataset, train[:5]).gradient(torch.as_tensor(before))[c].numpy()
        missed.append(np.linalg.norm(hessian @ v - removed))
        taylor.append(np.linalg.norm(x, 2) * np.linalg.norm((x @ v) ** 2) / (12 * math.sqrt(3)))
    expected = model.beta.numpy() + np.array(missed) + taylor
    np.testing.assert_allclose(done.beta.numpy(), expected, rtol=1e-6)
    assert chosen["beta"] == pytest.approx(np.linalg.norm(expected)) and max(missed) < 1e-3
    assert chosen["c"] == pytest.approx(math.sqrt(2 * math.log(1.5 / 1e-4)))
    assert chosen["budget"] == pytest.approx(ROOMY["noise"] * 1.0 / chosen["c"])
    assert (chosen["epsilon"], chosen["delta"], chosen["sigma"]) == (1.0, 1e-4, 2.0)


def test_successive_requests_go_on_counting_and_never_undercount(dataset, trained, tmp_path):
    """Sixty random requests, each from the stored result of the one before; the true residual stays below β of every head."""
    info, (model, name, params) = models.info("convex"), trained
    left, rng, spent = dataset.splits.train, np.random.default_rng(0), trained[0].beta.numpy().copy()
    for k in range(60 if dataset.name == "moons" else 15):
        forget = np.sort(rng.choice(left, rng.integers(1, 4), replace=False))
        smaller = replace(dataset, splits=replace(dataset.splits, train=left))
        done, chosen, _ = apply((model, name, params), smaller, forget, "certified", seed=k)
        if chosen["retrained"]:
            break
        left = np.setdiff1d(left, forget)
        true = residual(done, dataset, left)
        assert (true <= done.beta.numpy()).all() and (done.beta.numpy() >= spent).all()
        assert np.linalg.norm(true) == pytest.approx(chosen["residual"], rel=1e-6)
        assert chosen["beta"] == pytest.approx(done.beta.norm().item()) and chosen["beta"] <= chosen["budget"]
        spent = done.beta.numpy().copy()
        storage.save(tmp_path / "m.safetensors", done, {})
        model = storage.load(tmp_path / "m.safetensors", info, dataset, params, "cpu")
    assert k >= 5


def test_a_spent_budget_retrains_with_fresh_noise_and_starts_counting_again(dataset, trained):
    train = dataset.splits.train
    roomy = apply(trained, dataset, train[:5], "certified")[1]
    model, chosen, notes = apply(trained, dataset, train[:5], "certified", seed=3, epsilon=roomy["beta"] / roomy["budget"] / 2)
    assert chosen["retrained"] and "trained from scratch" in notes[0] and not any("Certified" in note for note in notes)
    assert same(model, training.train(models.info("convex"), dataset, trained[2], train[5:], seeds.derive("method", 3), "cpu"))
    assert not torch.equal(model.noise, trained[0].noise)
    assert chosen["beta"] == model.beta.norm().item() < 1e-3
    assert (residual(model, dataset, train[5:]) <= model.beta.numpy() + 1e-9).all()


def test_progress_rises_through_a_retraining_too(dataset, trained):
    seen = []
    ids, progress = dataset.splits.train[:5], lambda fraction, **curves: seen.append(fraction)
    assert apply(trained, dataset, ids, "certified", epsilon=1e-3, progress=progress)[1]["retrained"]
    assert seen == sorted(seen) and seen[-1] == 1.0


def test_the_budget_decides_at_its_very_value(dataset, trained):
    train = dataset.splits.train
    chosen = apply(trained, dataset, train[:5], "certified")[1]
    needed = chosen["beta"] * chosen["c"] / chosen["sigma"]
    for factor, retrained in ((1.001, False), (0.999, True)):
        assert apply(trained, dataset, train[:5], "certified", epsilon=factor * needed)[1]["retrained"] == retrained


def test_without_noise_nothing_is_certified(wine):
    model, chosen, notes = apply(original(wine, "convex", noise=0.0), wine, wine.splits.train[:2], "certified")
    assert chosen["retrained"] and chosen["budget"] == 0 and not any("Certified" in note for note in notes)


@pytest.mark.parametrize("count", [1, 8])
def test_what_the_proof_leaves_out_does_not_use_up_epsilon(count, dataset):
    """The residual depends on the noise: the true log density ratio of removal to retraining, its determinant included, by autograd.

    The removal ends in the exact minimum for the noise b − u(b), so the ratio at what came out is g(b) / (g(b − u)·|det(I − ∂u/∂b)|).
    """
    train = dataset.splits.train
    for seed in range(8):
        trained = original(dataset, "convex", seed=seed, **ROOMY)
        model, chosen, _ = apply(trained, dataset, train[:count], "certified")
        assert not chosen["retrained"]
        noise, before = trained[0].noise.double(), one_vs_rest.matrix(trained[0])
        learned, retain, forget = (heads(trained[0], dataset, ids) for ids in (train, train[count:], train[:count]))

        def gradient(h, w, c):
            return -(h.signs[:, c] * torch.sigmoid(-h.signs[:, c] * (h.features @ w))) @ h.features + len(h.features) * h.penalty * w

        ratio, left = 0.0, []
        for c, w in enumerate(before):

            def remains(w, c=c, retain=retain, forget=forget):
                hessian = torch.func.jacrev(lambda v: gradient(retain, v, c))(w)
                return (
                    gradient(retain, w + torch.linalg.solve(hessian, gradient(forget, w, c)), c)
                    - gradient(retain, w, c)
                    - gradient(forget, w, c)
                )

            whole = torch.func.jacrev(lambda v, c=c, h=learned: gradient(h, v, c))(w)
            slope = -torch.func.jacrev(remains)(w) @ torch.linalg.inv(whole)  # ∂u/∂b, as ∂w/∂b is minus the inverse Hessian
            u, b = remains(w), noise[c]
            left.append(u.norm())
            ratio += ((b - u).square().sum() - b.square().sum()).item() / (2 * ROOMY["noise"] ** 2)
            ratio -= torch.linalg.slogdet(torch.eye(len(w), dtype=w.dtype) - slope).logabsdet.item()
        assert torch.stack(left).norm() <= model.beta.norm() + 1e-6
        assert abs(ratio) < chosen["epsilon"] * chosen["beta"] / chosen["budget"]  # the ε that this β stands for


# what it says --------------------------------------------------------------------------------------------


def test_a_certificate_says_what_it_says_and_what_it_does_not(dataset, trained):
    _, chosen, notes = apply(trained, dataset, dataset.splits.train[:5], "certified")
    assert len(notes) == 1 and notes[0].startswith("Certified removal of 5 instances") and "It does not speak about" in notes[0]
    assert f"{chosen['beta']:.3g} of a budget of {chosen['budget']:.3g}" in notes[0] and "noise must stay secret" in notes[0]


def test_only_certified_removal_says_certified():
    for name, method in methods.registry().items():
        words = " ".join([method.title, method.summary, method.limits, method.cost, *(p.help for p in method.params)]).lower()
        assert ("certif" in words) == (name == "certified")


def test_the_gaussian_mechanism_keeps_what_is_promised():
    """The exact δ of a shift β under noise σ (Balle and Wang 2018, arXiv 1805.06530, eq. 6) is at most the promised one for ε ≤ 1."""
    for epsilon in (0.01, 0.1, 0.5, 1.0):
        for delta in (1e-12, 1e-4, 0.1):
            shift = epsilon / certified.constant(delta)  # β/σ at the end of the budget
            exact = norm.cdf(shift / 2 - epsilon / shift) - math.exp(epsilon) * norm.cdf(-shift / 2 - epsilon / shift)
            assert exact <= delta
    assert next(p for p in methods.info("certified").params if p.name == "epsilon").high == 1.0


# what it refuses -----------------------------------------------------------------------------------------


def task_for(model, dataset, forget, retain):
    x, y = training.tensors(dataset, "cpu")
    return Task(
        model=model, x=x, y=y, forget=torch.as_tensor(forget), retain=torch.as_tensor(retain), heldout=None, share=0.1,
        params=resolve(certified.METHOD.params, {}, "certified"), seed=0, device="cpu", train=None,
        progress=training.silent, watch=lambda model: False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["softmax", "mlp"])
def test_other_models_are_refused(name, wine):
    trained, train = original(wine, name, epochs=1), wine.splits.train
    with pytest.raises(BadInput, match="Open the model convex") as caught:
        apply(trained, wine, train[:5], "certified")
    assert caught.value.field == "method"
    with pytest.raises(BadInput, match="Open the dataset with the model convex") as caught:
        certified.run(task_for(trained[0], wine, train[:5], train[5:]))
    assert caught.value.field == "method"


def test_weights_that_something_else_has_changed_are_refused(wine):
    model, name, params = original(wine, "convex")
    with torch.no_grad():
        model.head[0].weight[0, 0] += 0.01
    with pytest.raises(BadInput, match="not the ones that its training"):
        apply((model, name, params), wine, wine.splits.train[:2], "certified")
    whole = original(wine, "convex")[0]
    with pytest.raises(BadInput, match="not the ones that its training"):  # it was trained on more than the task says
        certified.run(task_for(whole, wine, wine.splits.train[:2], wine.splits.train[10:]))


def test_same_seed_same_result_and_the_seed_only_matters_for_retraining(dataset, trained):
    train = dataset.splits.train
    assert same(*(apply(trained, dataset, train[:5], "certified", seed=seed)[0] for seed in (1, 2)))
    spent = [apply(trained, dataset, train[:5], "certified", seed=seed, epsilon=1e-3)[0] for seed in (1, 1, 2)]
    assert same(*spent[:2]) and not same(*spent[1:])
