"""Blends of instances whose inputs are words or categories, by hand."""

import numpy as np
import pytest
import torch
from models.samples import load
from torch import nn

from unlearn_core import models
from unlearn_core.models import blends, training
from unlearn_core.models.base import Facts
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.words import STEP, Mean
from unlearn_core.params import resolve

READERS = [(name, "words") for name, info in models.registry().items() if "text" in info.modalities and not info.prepare]
READERS += [(name, "mixed") for name, info in models.registry().items() if "tabular" in info.modalities]
THREE = np.array([1, 6, 11])  # texts of different lengths, rows of different kinds
SHARES = np.array([[0.2, 0.5, 0.3], [1.4, -0.7, 0.3], [0.0, 0.5, 0.5]])


def make(name, dataset, **given):
    info = models.info(name)
    model = training.fresh(info, dataset, resolve(info.params, given, name), 3, "cpu").eval()
    for part in getattr(model, "members", [model]):
        part.standardise.fit(torch.as_tensor(dataset.inputs))
    return model


def arrays(module):
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


def test_the_three_instances_differ():
    words, mixed = load("words"), load("mixed")
    assert len({(words.inputs[i] != 0).sum() for i in THREE}) == 3 and len(set(mixed.inputs[THREE, 1])) > 1


@pytest.mark.parametrize(("name", "source"), READERS)
def test_at_the_corners_every_model_says_what_it_says_of_the_instances(name, source):
    dataset = load(source)
    model = make(name, dataset)
    real = training.predict(model, dataset.inputs[THREE], "cpu")
    assert blends.possible(model)
    got = blends.predict(model, dataset.inputs[THREE], np.eye(3), "cpu")
    assert got.dtype == np.float32 and got == pytest.approx(real, abs=1e-6)
    near = blends.predict(model, dataset.inputs[THREE], 0.9999 * np.eye(3) + 0.0001 / 3, "cpu")
    assert near == pytest.approx(real, abs=5e-3)  # and nothing jumps beside them
    apart = blends.predict(model, dataset.inputs[THREE], SHARES, "cpu")
    assert blends.predict(model, dataset.inputs[THREE], SHARES, "cpu", chunk=2) == pytest.approx(apart, abs=1e-6)
    assert not np.allclose(apart, real, atol=1e-4)


def test_a_mean_of_words_and_pairs_by_hand():
    dataset = load("words")
    model = make("bag", dataset, embedding=6, width=5)
    w, bags = arrays(model), []
    for ids in dataset.inputs[THREE]:
        ids = [int(i) for i in ids if i]
        pairs = [1 + (a * (STEP % (dataset.vocabulary - 1)) + b) % (dataset.vocabulary - 1) for a, b in zip(ids, ids[1:], strict=False)]
        words, both = w["stages.words.words.weight"], w["stages.words.pairs.weight"]
        bags.append((np.mean([words[i] for i in ids], axis=0) + np.mean([both[i] for i in pairs], axis=0)) / 2)
    assert blends.embed(model, dataset.inputs[THREE], "cpu") == pytest.approx(np.array(bags), abs=1e-6)
    hidden = np.maximum(SHARES @ np.array(bags) @ w["stages.features.0.weight"].T + w["stages.features.0.bias"], 0)
    expected = hidden @ w["head.weight"].T + w["head.bias"]
    assert blends.predict(model, dataset.inputs[THREE], SHARES, "cpu") == pytest.approx(expected, abs=1e-5)


def test_a_row_with_shares_of_categories_by_hand():
    dataset = load("mixed")
    model = make("mlp", dataset, width=7)
    w, rows = arrays(model), dataset.inputs.astype(np.float64)
    number = SHARES @ ((rows[THREE, 0] - rows[:, 0].mean()) / rows[:, 0].std())
    kinds = SHARES @ np.eye(4)[rows[THREE, 1].astype(int)]  # how much of each category a blend has
    h = np.column_stack([number, kinds @ w["stages.hidden.0.embed.0.weight"].T])
    for layer in ("stages.hidden.1", "stages.features.0"):
        h = np.maximum(h @ w[f"{layer}.weight"].T + w[f"{layer}.bias"], 0)
    expected = h @ w["head.weight"].T + w["head.bias"]
    assert blends.predict(model, dataset.inputs[THREE], SHARES, "cpu") == pytest.approx(expected, abs=1e-4)


def test_a_model_that_is_linear_in_its_embedding_is_affine_in_the_shares():
    dataset = load("mixed")
    model = make("softmax", dataset)
    at = training.predict(model, dataset.inputs[THREE], "cpu").astype(np.float64)
    assert blends.predict(model, dataset.inputs[THREE], SHARES, "cpu") == pytest.approx(SHARES @ at, abs=1e-5)


@pytest.mark.parametrize("name", [name for name, source in READERS if source == "words"])
def test_padding_counts_for_nothing(name):
    dataset = load("words")
    model = make(name, dataset)
    three, longest = dataset.inputs[[0, 1, 2]], int((dataset.inputs[[0, 1, 2]] != 0).sum(axis=1).max())
    assert longest < dataset.inputs.shape[1]
    tight = blends.predict(model, three[:, :longest], SHARES, "cpu")
    assert blends.predict(model, three, SHARES, "cpu") == pytest.approx(tight, abs=1e-6)


def test_a_position_that_half_the_texts_have_counts_half():
    """Shares (1, ½) of two positions are the first one twice and the second one once, in attention and in the mean."""
    dataset = load("words")
    model = make("transformer", dataset, heads=2, depth=2)
    attention, length = model.stages["context"][0], dataset.inputs.shape[1]
    three = np.zeros((3, length), np.int32)
    three[0, :2], three[1, 0], three[2, 0] = (7, 9), 7, 8
    with torch.no_grad():
        first, second = attention.words.weight[7] + attention.places[0], attention.words.weight[9] / 2 + attention.places[1]
        context = attention.layers(torch.stack([first, first, second])[None]).mean(dim=1)
        expected = model.head(model.stages["features"](context)).numpy()
    assert blends.predict(model, three, np.array([[0.5, 0.5, 0.0]]), "cpu") == pytest.approx(expected, abs=1e-5)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_text_without_a_word_is_no_harm():
    dataset = load("words")
    three = dataset.inputs[THREE].copy()
    three[0] = 0
    for given in (three, np.zeros_like(three)):
        got = blends.predict(make("transformer", dataset), given, np.vstack([np.eye(3), SHARES]), "cpu")
        assert np.isfinite(got).all()


def test_every_member_of_an_ensemble_blends_in_its_own_embedding():
    dataset = load("mixed")
    model = make("sisa", dataset, shards=3, width=6)
    own = [blends.predict(member, dataset.inputs[THREE], SHARES, "cpu") for member in model.members]
    p = np.mean([np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in own], axis=0)
    assert np.exp(blends.predict(model, dataset.inputs[THREE], SHARES, "cpu")) == pytest.approx(p, abs=1e-5)
    side_by_side = np.hstack([blends.embed(member, dataset.inputs[THREE], "cpu") for member in model.members])
    assert blends.embed(model, dataset.inputs[THREE], "cpu") == pytest.approx(side_by_side)


def test_a_layer_of_ones_own_that_reads_ids_has_nothing_between_them():
    class Reads(nn.Module):
        def forward(self, ids):
            return nn.functional.one_hot(ids.long(), 512).float().mean(dim=1)

    facts = Facts.of(load("words"))
    assert not blends.possible(Classifier(facts, {"features": Reads()}, nn.Linear(512, 2)))
    assert blends.possible(Classifier(facts, {"features": Mean(512, 4, False)}, nn.Linear(4, 2)))
