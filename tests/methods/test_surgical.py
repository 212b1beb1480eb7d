"""Fine-tuning of the last layers only: what is frozen stays bit for bit, what is trained is what the loop would train."""

import copy

import numpy as np
import pytest
import torch
from methods.support import apply, original, same

from unlearn_core import data
from unlearn_core.methods.finetune import trained
from unlearn_core.models import training


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def cnn(digits):
    return original(digits, "cnn", width=4, epochs=2)


def changed(before, after):
    first, second = before.state_dict(), after.state_dict()
    return {name for name in first if not torch.equal(first[name], second[name])}


@pytest.mark.parametrize(
    "layers, parts",
    [("head", ("head.",)), ("last", ("head.", "stages.features.")), ("last two", ("head.", "stages.features.", "stages.block2."))],
)
def test_only_the_last_layers_move(digits, cnn, layers, parts):
    model, chosen, _ = apply(cnn, digits, digits.splits.train[:20], "finetune", layers=layers, epochs=1)
    moved = changed(cnn[0], model)
    assert moved and all(name.startswith(parts) for name in moved)
    assert {name.split(".")[0] for name in moved} >= {"head"} and not any("running" in name or "num_batches" in name for name in moved)
    assert chosen["trained_parameters"] == sum(p.numel() for name, p in model.named_parameters() if name.startswith(parts))
    assert all(p.requires_grad for p in model.parameters())


def test_more_last_layers_than_there_are_means_all_stages(digits):
    model = original(digits, "softmax", epochs=1)[0]
    assert len(trained(model, "last two")) == 1 + len(model.stages)


def test_layers_drawn_anew_forget_what_they_were(digits, cnn):
    forget = digits.splits.train[:20]
    blank = copy.deepcopy(cnn[0])
    with torch.no_grad():
        blank.head.weight.add_(5.0)
    first, second = (
        apply((model, *cnn[1:]), digits, forget, "finetune", layers="head", start="anew", epochs=1)[0] for model in (cnn[0], blank)
    )
    assert same(first, second)
    kept = [apply((model, *cnn[1:]), digits, forget, "finetune", layers="head", epochs=1)[0] for model in (cnn[0], blank)]
    assert not same(*kept)


def test_the_head_alone_is_a_softmax_regression_on_frozen_features(digits, cnn):
    forget = digits.splits.train[:20]
    model = apply(cnn, digits, forget, "finetune", layers="head", epochs=150, lr=0.05, weight_decay=0.0)[0]
    retain = np.setdiff1d(digits.splits.train, forget)
    features = training.read(cnn[0], digits.inputs[retain], "cpu").features
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(C=1e4, max_iter=3000).fit(features, digits.labels[retain])
    ours = training.predict(model, digits.inputs[retain], "cpu").argmax(1)
    assert np.mean(ours == fit.predict(features)) > 0.97
