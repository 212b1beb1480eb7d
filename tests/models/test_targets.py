"""What quick models say of instances that they never saw: each against an independent implementation or a planted truth."""

import numpy as np
import pytest
import torch
from methods.support import Softmax, original, same
from scipy.optimize import lsq_linear
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, softmax
from sklearn.kernel_ridge import KernelRidge
from torch import nn

from unlearn_core import data
from unlearn_core.errors import BadInput
from unlearn_core.models import targets, training
from unlearn_core.models.anew import renewed
from unlearn_core.models.device import settle

settle()


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module")
def trained(wine):
    return original(wine, "mlp", width=16, epochs=60)[0]


def asked(dataset, count=12):
    train = torch.as_tensor(dataset.splits.train)
    return train[count:], train[:count], torch.as_tensor(dataset.splits.heldout)


def test_the_kernel_is_the_ridge_regression_of_scikit_learn():
    rng = np.random.default_rng(0)
    fitted, points, labels = rng.normal(size=(60, 4)), rng.normal(size=(9, 4)), rng.integers(0, 3, 60)
    width = targets.WIDTH * np.sort(cdist(fitted, fitted).ravel())[(60 * 60 - 1) // 2]  # torch takes the lower of two middle values
    one_hot = np.eye(3)[labels]
    ridge = KernelRidge(alpha=targets.RIDGE, kernel="precomputed").fit(
        np.exp(-cdist(fitted, fitted) / width), one_hot - one_hot.mean(axis=0)
    )
    by_hand = one_hot.mean(axis=0) + ridge.predict(np.exp(-cdist(points, fitted) / width))
    found = targets.kernel(torch.as_tensor(fitted), torch.as_tensor(labels), torch.as_tensor(points), 3)
    np.testing.assert_allclose(found.numpy(), by_hand, atol=1e-9)


def test_weights_are_the_best_that_are_not_negative():
    rng = np.random.default_rng(1)
    first, second, third = rng.normal(size=(3, 20, 4))
    answers = 2 * first + 0.5 * second - 3 * third + 0.1 * rng.normal(size=(20, 4))
    scores = [torch.as_tensor(score) for score in (first, second, third)]
    found = targets.stack(scores, torch.as_tensor(answers))
    columns = np.stack([first.ravel(), second.ravel(), third.ravel()], axis=1)
    np.testing.assert_allclose(found, lsq_linear(columns, answers.ravel(), (0, np.inf)).x, atol=1e-6)
    assert found[2] == 0 and found[0] == pytest.approx(2, abs=0.7)


def test_where_one_kind_of_model_says_it_all_the_other_gets_no_weight():
    scores = [torch.randn(15, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    assert targets.stack(scores, 4 * scores[1]) == pytest.approx((0, 4), abs=1e-9)


def test_a_renewed_model_knows_nothing_and_is_drawn_from_its_seed(trained):
    before = torch.initial_seed()
    first, again, other = (renewed(trained, seed) for seed in (1, 1, 2))
    assert torch.initial_seed() == before
    assert same(first, again) and not same(first, other)
    torch.manual_seed(99)
    marked = renewed(trained, 0)
    for name, value in trained.named_parameters():
        assert not torch.equal(value, dict(marked.named_parameters())[name]), name


def test_every_trainable_weight_is_renewed_or_the_model_is_refused(trained):
    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            self.places = nn.Parameter(torch.zeros(16))

        def forward(self, h):
            return h + self.places

    model = renewed(trained, 0)
    model.stages["features"] = nn.Sequential(model.stages["features"], Places())
    with pytest.raises(BadInput, match=r"features\.1.* cannot be started anew"):
        renewed(model, 0)
    model.stages["features"][1].places.requires_grad_(False)  # what is not trained, such as a pretrained extractor, may stay
    renewed(model, 0)


def test_the_draft_takes_the_steps_that_are_written_out_here(wine, monkeypatch):
    monkeypatch.setattr(targets, "BATCH", 4096)
    monkeypatch.setattr(targets, "STEPS", 4)
    model = renewed(original(wine, "softmax", epochs=2)[0], 3).double()
    retain, _, _ = asked(wine)
    x, y = torch.as_tensor(wine.inputs).double(), torch.as_tensor(wine.labels)
    hand = Softmax(model.head.weight.detach(), model.head.bias.detach(), decay=targets.WEIGHT_DECAY)
    seen = x[retain].numpy()
    z = (seen - seen.mean(axis=0)) / seen.std(axis=0)
    for t in range(4):
        hand.step(hand.gradient(z, wine.labels[retain]), targets.LR * 0.5 * (1 + np.cos(np.pi * t / 4)))
    targets.draft(model, x, y, retain, 0)
    np.testing.assert_allclose(model.head.weight.detach().numpy(), hand.values[0], atol=1e-8)
    np.testing.assert_allclose(model.head.bias.detach().numpy(), hand.values[1], atol=1e-8)


def test_passes_give_about_so_many_steps_and_are_never_fewer_than_three():
    assert targets.passes_for(1118) == 4 and targets.passes_for(64) == 72 and targets.passes_for(60_000) == 3


def unseen(dataset, model, x=None, y=None, seed=0, count=12):
    retain, forget, heldout = asked(dataset, count)
    given = training.tensors(dataset, "cpu")
    x, y = given[0] if x is None else x, given[1] if y is None else y
    return targets.unseen(model, renewed(model, seed), x, y, retain, forget, heldout, seed)


def test_targets_are_the_stacked_scores(wine, trained):
    found, (first, second) = unseen(wine, trained)
    retain, forget, heldout = asked(wine)
    x, y = training.tensors(wine, "cpu")
    new = renewed(trained, 0)
    targets.draft(new, x, y, retain, 0)
    z = new.standardise(x)
    with torch.no_grad():
        mixed = first * new(x[forget]) + second * targets.kernel(z[retain], y[retain], z[forget], 3)
    np.testing.assert_allclose(found.numpy(), log_softmax(mixed.numpy(), axis=1), atol=1e-4)
    assert first >= 0 and second >= 0 and first + second > 0


def test_labels_of_the_forgotten_are_never_read_and_those_of_the_retained_are(wine, trained):
    retain, forget, heldout = asked(wine)
    _, y = training.tensors(wine, "cpu")
    found, weights = unseen(wine, trained)
    for ids, reads in ((forget, False), (heldout, False), (retain[:30], True)):
        other = y.clone()
        other[ids] = (other[ids] + 1) % 3
        again, others = unseen(wine, trained, y=other)
        assert (torch.equal(found, again) and weights == others) != reads


def test_on_a_planted_problem_targets_are_what_the_truth_says():
    """Labels are drawn from known odds, so what a model that never saw a point should say is known; the original's own answers are far off."""
    rng = np.random.default_rng(4)
    points = rng.normal(size=(900, 2)).astype(np.float32)
    truth = np.stack([1.5 * points[:, 0], -1.5 * points[:, 0]], axis=1)
    labels = (rng.random(900) > softmax(truth, axis=1)[:, 0]).astype(np.int64)
    x, y = torch.as_tensor(points), torch.as_tensor(labels)
    model = original(data.load("moons", {"instances": 100}), "mlp", width=32, epochs=1)[0]
    retain, forget, heldout = torch.arange(100, 700), torch.arange(100), torch.arange(700, 900)
    wrong = forget[truth[:100].argmax(axis=1) != labels[:100]]
    training.descend(model, x, y, torch.cat([retain, wrong.repeat(20)]), epochs=30, batch=64, lr=4e-3, weight_decay=1e-4, seed=0)
    found = targets.unseen(model, renewed(model, 0), x, y, retain, wrong, heldout, 0)[0].exp().numpy()
    told = torch.softmax(model(x[wrong]), dim=1).detach().numpy()
    expected = softmax(truth[wrong], axis=1)
    off = lambda said: np.abs(said - expected).sum(axis=1).mean()  # noqa: E731
    assert off(found) < 0.4 * off(told)


def test_large_sets_fit_the_kernel_on_some(wine, trained, monkeypatch):
    monkeypatch.setattr(targets, "MOST", 20)
    sizes, real = [], targets.kernel
    monkeypatch.setattr(targets, "kernel", lambda fitted, *rest: sizes.append(len(fitted)) or real(fitted, *rest))
    found, _ = unseen(wine, trained)
    assert sizes == [20] and torch.isfinite(found).all()


def test_words_and_categories_get_their_distances_from_the_drafts_first_layer(trained):
    x = torch.rand(5, 13)
    plain = targets.rows(trained, x)
    assert torch.equal(plain, trained.standardise(x))
    coded = renewed(trained, 0)
    coded.standardise.codes = [2]
    assert torch.equal(targets.rows(coded, x), coded.layers(x)["hidden"])
