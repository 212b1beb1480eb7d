"""Fine-tuning with differential privacy: what it reports, and that it says what that does not mean."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from methods.support import apply, original, same

from unlearn_core import data, methods, models
from unlearn_core.models import private, training


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def cnn(digits):
    return original(digits, "cnn", width=4, epochs=2)


def test_the_reported_budget_is_that_of_the_steps_taken(digits, cnn, monkeypatch):
    steps, kept = [], private.DPOptimizer.add_noise
    monkeypatch.setattr(
        private.DPOptimizer, "add_noise", lambda self: steps.append(self.noise_multiplier * self.max_grad_norm) or kept(self)
    )
    forget = digits.splits.train[:20]
    _, chosen, notes = apply(cnn, digits, forget, "dp_finetune", epochs=2, batch=100, epsilon=2.0, clip=0.5)
    retained = len(digits.splits.train) - 20
    assert len(steps) == chosen["steps"] == 2 * -(-retained // 100) and set(steps) == {0.5 * chosen["noise"]}
    assert chosen["delta"] == 1 / retained and chosen["sampling_rate"] == 100 / retained
    assert 1.98 <= chosen["epsilon"] <= 2.0
    assert chosen["epsilon"] == private.spent(chosen["noise"], 100 / retained, len(steps), 1 / retained)
    assert len(notes) == 1 and f"ε = {chosen['epsilon']:.3g}, δ = {1 / retained:.2g}" in notes[0]


def test_more_passes_or_less_budget_take_more_noise(digits, cnn):
    def noise(**given):
        return apply(cnn, digits, digits.splits.train[:20], "dp_finetune", **{"epochs": 1, "batch": 300, **given})[1]["noise"]

    usual = noise()
    assert noise(epsilon=1.0) > usual and noise(epochs=3) > usual and noise(delta=1e-6) > usual
    assert noise(clip=3.0) == noise(layers="head") == usual


@pytest.mark.parametrize("layers, parts", [("head", ("head.",)), ("last", ("head.", "stages.features."))])
def test_only_the_chosen_layers_move_and_statistics_never(layers, parts, digits, cnn):
    model = apply(cnn, digits, digits.splits.train[:20], "dp_finetune", layers=layers, epochs=1)[0]
    before = cnn[0].state_dict()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name, _ in model.named_parameters() if name.startswith(parts)}
    assert all(p.requires_grad for p in model.parameters())


def test_it_never_touches_the_forgotten(digits, cnn):
    forget = digits.splits.train[:20]
    inputs, labels = digits.inputs.copy(), digits.labels.copy()
    inputs[forget], labels[forget] = np.nan, 0
    dirty = replace(digits, inputs=inputs, labels=labels)
    assert same(*(apply(cnn, dataset, forget, "dp_finetune", epochs=1)[0] for dataset in (digits, dirty)))


def test_a_collapse_does_not_stop_it_because_that_would_tell_of_the_retained(digits, cnn):
    ids = digits.splits.train
    model, chosen, notes = apply(cnn, digits, ids[:20], "dp_finetune", epochs=6, batch=200, lr=10.0, epsilon=0.1, clip=1e3)
    x, y = training.tensors(digits, "cpu")
    assert training.accuracy(model, x, y, torch.as_tensor(ids)) < 0.3
    assert chosen["steps"] == 6 * -(-(len(ids) - 20) // 200) and len(notes) == 1


@pytest.mark.parametrize("name", models.registry())
def test_it_works_on_every_model(name, digits):
    wine = data.load("wine")
    dataset = wine if "tabular" in models.info(name).modalities else digits
    if not set(models.info(name).modalities) & {"tabular", "image"}:
        pytest.skip("works on neither of the two datasets")
    declared = {param.name for param in models.info(name).params}
    trained = original(dataset, name, **{key: value for key, value in {"epochs": 1, "width": 4}.items() if key in declared})
    model = apply(trained, dataset, dataset.splits.train[:5], "dp_finetune", epochs=1)[0]
    assert not same(model, trained[0])


def test_it_says_what_the_budget_does_not_mean(digits, cnn):
    declared, note = methods.info("dp_finetune"), apply(cnn, digits, digits.splits.train[:20], "dp_finetune", epochs=1)[2][0]
    for words in (declared.limits, note):
        assert "no evidence of forgetting" in words and "the original" in words.lower() and "BatchNorm" in words
    assert "nobody is protected from what it already tells" in note
