"""The loss of every kind of target, by hand and against scikit-learn and scipy; models that learn them."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import accuracy_score, log_loss, r2_score

from unlearn_core import data, models
from unlearn_core.errors import BadInput
from unlearn_core.evidence.logits import negative_log_likelihood
from unlearn_core.models import objectives, stacking, training
from unlearn_core.models.device import settle
from unlearn_core.params import resolve

settle()
DRAW = np.random.default_rng(0)
OUTPUTS = DRAW.normal(size=(40, 5)) * 3
TARGETS = {"classes": DRAW.integers(0, 5, 40), "labels": DRAW.random((40, 5)) < 0.4, "number": DRAW.normal(size=(40, 1))}


def outputs(task):
    return OUTPUTS[:, :1] if task == "number" else OUTPUTS


def by_hand(task):
    z, y = outputs(task), TARGETS[task]
    if task == "classes":
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        return np.array([log_loss([c], [row], labels=range(5)) for c, row in zip(y, p, strict=True)])
    if task == "labels":
        p = 1 / (1 + np.exp(-z))
        return -(np.log(p) * y + np.log(1 - p) * ~y).sum(1)
    return -norm.logpdf(y[:, 0], z[:, 0], 1) - 0.5 * np.log(2 * np.pi)


@pytest.mark.parametrize("task", TARGETS)
def test_the_loss_is_minus_the_log_likelihood(task):
    z, y = torch.as_tensor(outputs(task)), torch.as_tensor(TARGETS[task])
    wanted = by_hand(task)
    np.testing.assert_allclose(objectives.loss(z, y, "none"), wanted, rtol=1e-10)
    assert objectives.loss(z, y).item() == pytest.approx(wanted.mean()) and objectives.loss(z, y, "sum").item() == pytest.approx(
        wanted.sum()
    )
    told = None if task == "classes" else TARGETS[task]
    np.testing.assert_allclose(negative_log_likelihood(outputs(task), TARGETS["classes"], told), wanted, rtol=1e-10)


@pytest.mark.parametrize("task", TARGETS)
def test_wild_outputs_give_finite_losses(task):
    z = torch.full_like(torch.as_tensor(outputs(task)), 1e4)
    assert torch.isfinite(objectives.loss(z, torch.as_tensor(TARGETS[task]), "none")).all()


def test_right_and_the_most_frequent():
    z, y = torch.as_tensor(OUTPUTS), torch.as_tensor(TARGETS["labels"])
    assert objectives.right(z, y).double().mean().item() == accuracy_score(TARGETS["labels"], OUTPUTS > 0)
    same = torch.tensor([[True, False], [True, False], [False, False], [True, True]])
    assert objectives.most_frequent(same) == 0.5 and objectives.most_frequent(torch.tensor([1, 1, 2])) == pytest.approx(2 / 3)
    assert objectives.most_frequent(torch.zeros(3, 1)) == 0.0


@pytest.mark.parametrize("sizes", [[60, 60], [60, 49]])
@pytest.mark.parametrize("name", ["softmax", "mlp"])
@pytest.mark.parametrize("source", ["diabetes", "digit_traits"])
def test_a_stack_descends_as_each_alone(source, name, sizes):
    """The written-out slopes, with padding where sizes differ, and torch.func's, in float64."""
    dataset, params = data.load(source), resolve(models.info(name).params, {"epochs": 3, "batch": 32}, name)
    x, y = training.tensors(dataset, "cpu")
    x, y = x.double(), y.double() if y.is_floating_point() else y
    alone = [training.fresh(models.info(name), dataset, params, seed, "cpu").double() for seed in range(2)]
    subsets = [torch.as_tensor(dataset.splits.train[start : start + size]) for start, size in zip((0, 80), sizes, strict=True)]
    for model, ids in zip(alone, subsets, strict=True):
        model.standardise.fit(x[ids])
    assert stacking.kind(alone[0]) is stacking.Dense
    ways = [stacking.Dense] + [stacking.Mapped] * (sizes[0] == sizes[1])
    stacks = [copy.deepcopy(alone) for _ in ways]
    given = {key: params[key] for key in ("epochs", "batch", "lr", "weight_decay")}
    for k, model in enumerate(alone):
        training.descend(model, x, y, subsets[k], seed=k, **given)
    for way, together in zip(ways, stacks, strict=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stacking, "kind", lambda model, way=way: way)
            stacking.descend(together, x, y, subsets, [0, 1], **given)
        for one, other in zip(alone, together, strict=True):
            for p, q in zip(one.parameters(), other.parameters(), strict=True):
                torch.testing.assert_close(p, q, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("source", "least"), [("diabetes", 0.9), ("digit_traits", 0.99)])
def test_a_model_learns_them_and_accuracy_says_so(source, least):
    dataset = data.load(source)
    model = training.train(models.info("mlp"), dataset, resolve(models.info("mlp").params, {}, "mlp"), dataset.splits.train, 0, "cpu")
    x, y = training.tensors(dataset, "cpu")
    train = torch.as_tensor(dataset.splits.train)
    found, said = training.accuracy(model, x, y, train), training.predict(model, dataset.inputs[dataset.splits.train], "cpu")
    assert found > least
    if dataset.task == "labels":
        assert found == pytest.approx(accuracy_score(dataset.targets[dataset.splits.train], said > 0))
    else:  # of targets whose mean is 0 and whose spread is 1, up to rounding
        assert found == pytest.approx(r2_score(dataset.targets[dataset.splits.train], said), abs=0.01)


def test_models_that_train_in_their_own_way_learn_classes_only():
    for source in ("diabetes", "digit_traits"):
        offered = models.suited(data.info(source))
        assert {"mlp", "softmax"} <= set(offered) and not {"convex", "sisa"} & set(offered)
        with pytest.raises(BadInput, match="learns classes only"):
            models.check_suited("convex", data.info(source))
