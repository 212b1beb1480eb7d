"""Clipped and noisy descent: its arithmetic by hand, its noise, and ε against closed forms, integrals and a published value."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from methods.support import original
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp
from scipy.stats import norm

from unlearn_core import data, models
from unlearn_core.models import private, training
from unlearn_core.models.base import Facts
from unlearn_core.params import resolve


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module")
def softmax(wine):
    return original(wine, "softmax", epochs=1)[0].double()


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def cnn(digits):
    return original(digits, "cnn", width=4, epochs=1)[0].eval()


def descend(model, dataset, ids, **given):
    """A copy of `model` after private descent on the instances `ids`."""
    model = copy.deepcopy(model)
    dtype = next(model.parameters()).dtype
    x, y = training.tensors(dataset, "cpu")
    asked = {"epochs": 1, "batch": len(ids), "lr": 0.5, "clip": 1.0, "noise": 0.0, "seed": 0} | given
    private.descend(model, x.to(dtype), y, torch.as_tensor(ids), **asked)
    return model


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def alike(a, b):
    """Up to float32: a part of a batch goes through other kernels than the whole."""
    return all(torch.allclose(p, b.state_dict()[name], rtol=1e-4, atol=1e-6) for name, p in a.state_dict().items())


# the steps -----------------------------------------------------------------------------------------------


def by_hand(model, x, y, clip, lr):
    """Softmax regression after full-batch steps on clipped gradients, in numpy, with no code shared with ours."""
    weight, bias = model.head.weight.detach().numpy().copy(), model.head.bias.detach().numpy().copy()
    shortened = 0
    for rate in lr:
        p = np.exp(x @ weight.T + bias)
        p = p / p.sum(axis=1, keepdims=True) - np.eye(len(bias))[y]
        lengths = np.linalg.norm(p, axis=1) * np.sqrt((x**2).sum(axis=1) + 1)  # of the gradient p ⊗ (x, 1)
        p *= np.minimum(1, clip / lengths)[:, None]
        weight, bias = weight - rate * p.T @ x / len(x), bias - rate * p.sum(axis=0) / len(x)
        shortened += np.mean(lengths > clip) / len(lr)
    return weight, bias, shortened


@pytest.mark.parametrize("clip", [0.3, 1.0, 1e6])
def test_three_steps_on_clipped_gradients_by_hand(clip, softmax, wine):
    ids = wine.splits.train[:40]
    x = (wine.inputs[ids].astype(np.float64) - softmax.standardise.mean.numpy()) / softmax.standardise.scale.numpy()
    falling = [0.5 * (1 + math.cos(math.pi * t / 3)) / 2 for t in range(3)]
    weight, bias, shortened = by_hand(softmax, x, wine.labels[ids], clip, falling)
    model = descend(softmax, wine, ids, epochs=3, clip=clip)
    np.testing.assert_allclose(model.head.weight.detach().numpy(), weight, atol=2e-6)  # Opacus adds 1e-6 to every length
    np.testing.assert_allclose(model.head.bias.detach().numpy(), bias, atol=2e-6)
    assert (shortened == 0) if clip == 1e6 else shortened > 0.1


def test_without_noise_and_with_long_enough_gradients_it_is_plain_descent(cnn, digits):
    ids = digits.splits.train[:60]
    x, y = training.tensors(digits, "cpu")
    plain = copy.deepcopy(cnn)
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.05)
    torch.nn.functional.cross_entropy(plain(x[ids]), y[ids]).backward()
    optimiser.step()
    assert alike(descend(cnn, digits, ids, lr=0.05, clip=1e6), plain)


def test_one_instance_moves_the_weights_by_at_most_the_clipping_norm(cnn, digits):
    ids, labels, inputs = digits.splits.train[:20], digits.labels.copy(), digits.inputs.copy()
    labels[ids[0]] = (labels[ids[0]] + 1) % 10
    inputs[ids[0]] *= 50
    wrong = replace(digits, labels=labels, inputs=inputs)
    for clip in (0.01, 0.5):
        a, b, none = (flat(model) for model in (descend(cnn, digits, ids, clip=clip), descend(cnn, wrong, ids, clip=clip), cnn))
        assert 0 < (a - b).norm() <= 2 * 0.5 * clip / 20 * 1.001
        assert (b - none).norm() <= 0.5 * clip * 1.001


def test_statistics_buffers_and_frozen_layers_stay(cnn, digits):
    model = copy.deepcopy(cnn).requires_grad_(False)
    model.head.requires_grad_(True)
    whole, head = (
        descend(cnn, digits, digits.splits.train[:80], batch=16, noise=1.0),
        descend(model, digits, digits.splits.train[:80], noise=1.0),
    )
    before = cnn.state_dict()
    moved = [{name for name, value in m.state_dict().items() if not torch.equal(value, before[name])} for m in (whole, head)]
    assert moved[0] == {name for name, _ in cnn.named_parameters()} and any("running" in name for name in before)
    assert moved[1] == {"head.weight", "head.bias"}
    assert not whole.training and not any(hasattr(p, "grad_sample") or hasattr(p, "summed_grad") for p in whole.parameters())


@pytest.mark.parametrize("name", ["transformer", "bag"])
def test_models_of_texts_take_clipped_steps_too(name):
    """A full-batch step with long gradients allowed is plain descent, through attention and embeddings as well."""
    info = models.info(name)
    small = {"heads": 1, "depth": 1} if name == "transformer" else {"embedding": 4, "width": 4, "pairs": False}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = info.build(Facts((6,), 3, vocabulary=12), resolve(info.params, small, name)).eval()
        x, y = torch.randint(1, 12, (10, 6), dtype=torch.int32), torch.randint(0, 3, (10,))
    plain, private_one = copy.deepcopy(model), copy.deepcopy(model)
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1)
    plain.train()  # no dropout in either; evaluation mode may take attention's shortcut
    torch.nn.functional.cross_entropy(plain(x), y).backward()
    optimiser.step()
    private.descend(private_one, x, y, torch.arange(10), epochs=1, batch=10, lr=0.1, clip=1e6, noise=0.0, seed=0)
    assert alike(private_one, plain.eval()) and not torch.equal(flat(private_one), flat(model))
    assert torch.backends.mha.get_fastpath_enabled()


def test_parts_of_a_batch_add_up_to_the_batch(cnn, digits, monkeypatch):
    ids, given = digits.splits.train[:90], {"epochs": 3, "batch": 30, "noise": 0.5}
    whole = descend(cnn, digits, ids, **given)
    monkeypatch.setattr(private, "AT_ONCE", 7 * sum(p.numel() for p in cnn.parameters()))
    assert alike(descend(cnn, digits, ids, **given), whole)


# chance --------------------------------------------------------------------------------------------------


def test_the_noise_has_the_declared_spread_and_no_drift(softmax, wine):
    """One full-batch step: what the seeds make of it differs by noise alone."""
    ids, noise, clip = wine.splits.train[:50], 1.7, 0.4
    still = flat(descend(softmax, wine, ids, clip=clip))
    drawn = torch.cat([flat(descend(softmax, wine, ids, clip=clip, noise=noise, seed=k)) - still for k in range(60)])
    expected = 0.5 * noise * clip / 50
    assert drawn.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * len(drawn)))
    assert abs(drawn.mean().item()) < 4 * expected / math.sqrt(len(drawn))
    assert abs(drawn[:-1].dot(drawn[1:]).item()) < 4 * expected**2 * math.sqrt(len(drawn))


def test_every_instance_takes_part_by_a_coin_of_its_own(softmax, wine, monkeypatch):
    """Sizes of the batches are binomial, empty ones included, and the number of steps is what ε counts."""
    ids, sizes, real = wine.splits.train[:40], [], private.vmap
    monkeypatch.setattr(private, "vmap", lambda one: lambda weights, x, y: sizes.append(len(x)) or real(one)(weights, x, y))
    noisy = []
    monkeypatch.setattr(private.DPOptimizer, "add_noise", lambda self, kept=private.DPOptimizer.add_noise: noisy.append(1) or kept(self))
    descend(softmax, wine, ids, epochs=100, batch=2, noise=0.1)
    steps = private.count(100, 2, 40)
    sizes += [0] * (steps - len(sizes))
    assert steps == 2000 == len(noisy) and private.rate(2, 40) == 0.05
    spread = 40 * 0.05 * 0.95
    assert np.mean(sizes) == pytest.approx(2, abs=4 * math.sqrt(spread / steps)) and np.var(sizes) == pytest.approx(spread, rel=0.15)
    assert sizes.count(0) == pytest.approx(steps * 0.95**40, abs=4 * math.sqrt(steps * 0.95**40))


def test_the_noise_does_not_tell_the_coins(softmax, wine, monkeypatch):
    """From one stream, whoever knows some of the noise would know who took part."""
    kept, streams = private.DPOptimizer.add_noise, set()
    monkeypatch.setattr(private.DPOptimizer, "add_noise", lambda self: streams.add(self.generator.initial_seed()) or kept(self))
    for seed in range(3):
        descend(softmax, wine, wine.splits.train[:30], noise=1.0, seed=seed)
    assert len(streams) == 3 and not streams & set(range(3))


def test_same_seed_same_result(cnn, digits):
    a, b, other = (descend(cnn, digits, digits.splits.train[:60], batch=20, noise=1.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(flat(a), flat(b)) and not torch.equal(flat(a), flat(other))


# ε -------------------------------------------------------------------------------------------------------

CASES = [(1.1, 0.05, 300, 1e-4), (4.0, 0.01, 10_000, 1e-5), (0.8, 0.3, 20, 1e-3), (2.0, 0.6, 5, 1e-2)]  # noise, rate, steps, δ


def renyi(noise, sampled, order):
    """Rényi divergence of order `order` of (1 − q)·N(0, σ²) + q·N(1, σ²) from N(0, σ²), by numerical integration."""

    def inside(z):
        ratio = np.logaddexp(np.log1p(-sampled), np.log(sampled) + (2 * z - 1) / (2 * noise**2))
        return np.exp(order * ratio + norm.logpdf(z, 0, noise))

    middle = order + noise * np.array([-8, 0, 8])  # where the last term of the binomial lies
    value = quad(inside, -30 * noise, 30 * noise + order, points=[0, *middle], limit=500, epsabs=0, epsrel=1e-10)[0]
    return math.log(value) / (order - 1)


def closed_form(noise, sampled, order):
    """The same for a whole order (Mironov et al. 2019, arXiv 1908.10530, eq. 12)."""
    k = np.arange(order + 1)
    binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = binomial + (order - k) * np.log1p(-sampled) + k * np.log(sampled) + (k * k - k) / (2 * noise**2)
    return logsumexp(terms) / (order - 1)


def converted(divergence, order, delta):
    return divergence + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)


@pytest.mark.parametrize("order", [1.5, 2.75, 3, 8])
@pytest.mark.parametrize(("noise", "sampled", "steps", "delta"), CASES)
def test_every_order_against_an_integral(noise, sampled, steps, delta, order, monkeypatch):
    monkeypatch.setattr(private, "ORDERS", (order,))
    divergence = renyi(noise, sampled, order)
    if order == int(order):
        assert closed_form(noise, sampled, int(order)) == pytest.approx(divergence, rel=1e-6)
    expected = converted(steps * divergence, order, delta)
    with pytest.warns(UserWarning, match="Optimal order"):
        assert private.spent(noise, sampled, steps, delta) == pytest.approx(max(expected, 0), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("noise", "sampled", "steps", "delta"), CASES)
def test_the_orders_are_dense_enough(noise, sampled, steps, delta):
    dense = [order / 20 for order in range(22, 400)]
    best = min(converted(steps * renyi(noise, sampled, order), order, delta) for order in dense[::6])
    whole = min(converted(steps * closed_form(noise, sampled, order), order, delta) for order in range(2, 400))
    assert min(best, whole) / 1.02 < private.spent(noise, sampled, steps, delta) <= whole + 1e-9


@pytest.mark.parametrize(("noise", "sampled", "delta"), [(1.0, 0.05, 1e-4), (0.6, 0.5, 1e-3), (3.0, 0.9, 1e-5)])
def test_one_step_really_keeps_what_is_promised(noise, sampled, delta):
    """The exact δ at the reported ε, with an instance added and with it removed, by integrating the two densities."""
    epsilon = private.spent(noise, sampled, 1, delta)

    def exact(one, other):
        grid = np.linspace(-40 * noise, 40 * noise, 400_001)
        return np.trapezoid(np.clip(one(grid) - math.exp(epsilon) * other(grid), 0, None), grid)

    def with_it(z):
        return (1 - sampled) * norm.pdf(z, 0, noise) + sampled * norm.pdf(z, 1, noise)

    def without(z):
        return norm.pdf(z, 0, noise)

    assert 0 < max(exact(with_it, without), exact(without, with_it)) <= delta


@pytest.mark.parametrize(("noise", "steps", "delta"), [(2.0, 1, 1e-5), (5.0, 10, 1e-3), (8.0, 40, 1e-2)])
def test_whole_batches_against_the_exact_gaussian_mechanism(noise, steps, delta):
    """Balle and Wang 2018 (arXiv 1805.06530, eq. 6) for a shift of √steps under noise σ: Rényi's ε is above it and not far."""
    shift = math.sqrt(steps) / noise

    def surplus(epsilon):
        return norm.cdf(shift / 2 - epsilon / shift) - math.exp(epsilon) * norm.cdf(-shift / 2 - epsilon / shift) - delta

    exact = brentq(surplus, 1e-9, 100)
    assert exact <= private.spent(noise, 1.0, steps, delta) <= 1.3 * exact


def test_the_example_of_the_paper():
    """q = 0.01, σ = 4, δ = 1e-5, 100 epochs: ε = 1.26 by the moments accountant (Abadi et al. 2016, §5.1); the newer conversion gives less."""
    older = min(10_000 * closed_form(4.0, 0.01, order) + math.log(1e5) / (order - 1) for order in range(2, 65))
    assert older == pytest.approx(1.26, abs=0.01)
    assert 0.8 * older < private.spent(4.0, 0.01, 10_000, 1e-5) < older


def test_more_steps_more_instances_a_step_less_noise_and_less_delta_spend_more():
    base = {"noise": 1.2, "sampled": 0.1, "steps": 100, "delta": 1e-4}
    epsilon = private.spent(**base)
    for change in ({"noise": 1.1}, {"sampled": 0.12}, {"steps": 120}, {"delta": 1e-5}):
        assert private.spent(**base | change) > epsilon, change
    assert private.spent(**base | {"noise": 0.0}) == math.inf


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 100.0])
def test_the_noise_for_a_budget_spends_just_about_that(epsilon):
    noise = private.noise_for(epsilon, 0.1, 100, 1e-4)
    assert 0.99 * epsilon <= private.spent(noise, 0.1, 100, 1e-4) <= epsilon
    assert private.spent(0.97 * noise, 0.1, 100, 1e-4) > epsilon
