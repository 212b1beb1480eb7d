"""Architectures: shapes, features → head, standardisation, storage, seeds."""

import numpy as np
import pytest
import torch
from models.samples import SAMPLE, load

from unlearn_core import data, models
from unlearn_core.errors import BadInput
from unlearn_core.models import device, storage, training
from unlearn_core.models.base import LEAST_STEPS, MOST_STEPS, Facts, epochs_for
from unlearn_core.models.classifier import Classifier, Standardise
from unlearn_core.params import resolve

PAIRS = [(name, SAMPLE[modality]) for name, info in models.registry().items() for modality in info.modalities if not info.prepare]
PAIRS += [(name, "mixed") for name, info in models.registry().items() if "tabular" in info.modalities]


def recipe(name, **given):
    return resolve(models.info(name).params, given, name)


def doubled(inputs):
    """Numbers in double precision, as slices through input space come; token ids as they are."""
    return inputs.astype(np.float64) if inputs.dtype == np.float32 else inputs


def make(name, dataset, seed=0, **given):
    return training.fresh(models.info(name), dataset, recipe(name, **given), seed, "cpu")


@pytest.mark.parametrize(("name", "source"), PAIRS)
def test_features_lead_to_the_head(name, source):
    dataset = load(source)
    model = make(name, dataset).eval()
    model.standardise.fit(torch.as_tensor(dataset.inputs))
    x = torch.as_tensor(dataset.inputs[:7])
    with torch.no_grad():
        logits, features, layers = model(x), model.features(x), model.layers(x)
        assert logits.shape == (7, len(dataset.class_names))
        assert features.ndim == 2 and torch.isfinite(logits).all()
        assert torch.equal(model.head(features), logits)
        assert list(layers)[-1] == "features" and torch.equal(layers["features"], features)
        assert all(value.ndim == 2 and len(value) == 7 for value in layers.values())
    # Two inputs that differ must be told apart, so the layers are connected.
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize(("name", "source"), PAIRS)
def test_read_and_predict_agree_with_the_model_in_any_chunk(name, source):
    dataset = load(source)
    model = make(name, dataset)
    model.standardise.fit(torch.as_tensor(dataset.inputs))
    whole = training.read(model, dataset.inputs[:50], "cpu")
    parts = training.read(model, dataset.inputs[:50], "cpu", chunk=7)
    assert whole.logits.dtype == np.float32 and whole.features is whole.layers["features"]
    np.testing.assert_allclose(parts.logits, whole.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(training.predict(model, doubled(dataset.inputs[:50]), "cpu", chunk=7), whole.logits, rtol=1e-4, atol=1e-5)
    assert not model.training


def test_the_last_stage_is_called_features():
    from torch import nn

    with pytest.raises(ValueError, match="features"):
        Classifier(Facts((2,), 2), {"hidden": nn.Flatten()}, nn.Linear(2, 2))


@pytest.mark.parametrize("name", list(models.suited(data.info("digits"))))
def test_weights_follow_their_seed(name):
    dataset = data.load("digits")
    first, same, other = (make(name, dataset, seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_drawing_weights_leaves_the_global_generator_alone():
    dataset = data.load("wine")
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    make("mlp", dataset)
    assert torch.equal(torch.rand(3), expected)


def test_standardise_equals_numpy():
    rng = np.random.default_rng(0)
    rows = rng.normal(50, 9, (200, 4)).astype(np.float32)
    rows[:, 2] = 7.0
    module = Standardise(Facts((4,), 2))
    module.fit(torch.as_tensor(rows))
    scale = rows.astype(np.float64).std(0)
    scale[2] = 1
    np.testing.assert_allclose(module(torch.as_tensor(rows)).numpy(), (rows - rows.astype(np.float64).mean(0)) / scale, atol=2e-4)
    images = rng.random((30, 3, 5, 6)).astype(np.float32) * np.array([1, 10, 100], np.float32)[:, None, None]
    module = Standardise(Facts((3, 5, 6), 2))
    module.fit(torch.as_tensor(images))
    mean, spread = images.mean((0, 2, 3)), images.std((0, 2, 3))
    expected = (images - mean[:, None, None]) / spread[:, None, None]
    np.testing.assert_allclose(module(torch.as_tensor(images)).numpy(), expected, atol=1e-4)


def test_statistics_come_only_from_the_rows_trained_on():
    dataset = data.load("wine")
    ids = dataset.splits.train[:40]
    model = training.train(models.info("softmax"), dataset, recipe("softmax", epochs=1), ids, 0, "cpu")
    np.testing.assert_allclose(model.standardise.mean.numpy(), dataset.inputs[ids].mean(0), rtol=1e-5)


def test_storage_returns_the_same_model(tmp_path):
    from safetensors import safe_open

    dataset, info, params = data.load("digits"), models.info("cnn"), recipe("cnn", width=4)
    model = make("cnn", dataset, width=4)
    model.standardise.fit(torch.as_tensor(dataset.inputs))
    model.train()
    model(torch.as_tensor(dataset.inputs[:64]))  # moves BatchNorm's running statistics
    storage.save(tmp_path / "m.safetensors", model, {"run": "abc"})
    back = storage.load(tmp_path / "m.safetensors", info, dataset, params, "cpu")
    assert not back.training
    assert model.state_dict().keys() == back.state_dict().keys()
    assert all(torch.equal(value, back.state_dict()[key]) for key, value in model.state_dict().items())
    with safe_open(tmp_path / "m.safetensors", "pt") as opened:
        assert opened.metadata() == {"run": "abc"}


def test_unsuited_and_unknown_models_are_refused():
    with pytest.raises(BadInput, match="cnn does not work on tabular data. Choose one of: mlp, softmax"):
        models.check_suited("cnn", data.info("wine"))
    with pytest.raises(BadInput, match="no model called 'gpt'"):
        models.info("gpt")
    assert {"mlp", "softmax", "convex"} <= set(models.suited(data.info("moons"))) and "cnn" not in models.suited(data.info("moons"))


def test_device_auto_takes_what_is_there_and_others_are_refused():
    assert device.choose("cpu") == "cpu"
    assert device.choose("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(BadInput, match="device: 'tpu' is not available here. Choose one of: auto, .*cpu"):
        device.choose("tpu")


@pytest.mark.parametrize("instances", [1, 50, 64, 65, 1168, 60_000])
def test_automatic_epochs_give_enough_steps(instances):
    params = recipe("mlp")
    epochs = epochs_for(params, instances)
    per_epoch = -(-instances // params["batch"])
    assert epochs * per_epoch >= LEAST_STEPS
    if epochs > params["usual_epochs"]:
        assert (epochs - 1) * per_epoch < LEAST_STEPS
    if epochs < params["usual_epochs"]:
        assert (epochs - 1) * per_epoch < MOST_STEPS <= epochs * per_epoch
    assert epochs_for(params | {"epochs": 3}, instances) == 3


@pytest.mark.parametrize("name", models.suited(data.info("wine")))
def test_a_category_says_what_its_code_does_not(name):
    """Classes are told by the parity of a code, which no straight line in the code can tell."""
    dataset = load("mixed")
    model = training.train(models.info(name), dataset, recipe(name), dataset.splits.train, 0, "cpu")
    told = training.predict(model, dataset.inputs[dataset.splits.test], "cpu").argmax(axis=1)
    assert (told == dataset.labels[dataset.splits.test]).all()


def test_codes_of_categories_are_not_standardised():
    dataset = load("mixed")
    model = training.train(models.info("softmax"), dataset, recipe("softmax", epochs=1), dataset.splits.train, 0, "cpu")
    assert model.standardise.mean[1] == 0 and model.standardise.scale[1] == 1 and model.standardise.scale[0] != 1
    unknown = torch.tensor([[0.5, 7.0]])
    assert (model.features(unknown)[0, 1:] == 0).all()


@pytest.mark.parametrize("name", ["bag", "transformer"])
def test_texts_are_told_by_their_words_wherever_they_stand_and_padding_counts_for_nothing(name):
    dataset = load("words")
    model = training.train(models.info(name), dataset, recipe(name), dataset.splits.train, 0, "cpu")
    told = training.predict(model, dataset.inputs[dataset.splits.test], "cpu")
    assert (told.argmax(axis=1) == dataset.labels[dataset.splits.test]).all()
    longer = np.pad(dataset.inputs, ((0, 0), (0, 3))) if name == "bag" else dataset.inputs
    filled = next(row for row in range(len(longer)) if (dataset.inputs[row] == 0).any())
    cut = dataset.inputs[filled : filled + 1, : (dataset.inputs[filled] > 0).sum()]
    np.testing.assert_allclose(training.predict(model, cut, "cpu"), training.predict(model, longer[filled : filled + 1], "cpu"), atol=1e-5)


def test_pairs_of_words_tell_their_order():
    """ "good not" and "not good" hold the same words."""
    from unlearn_core.models.words import Mean

    torch.manual_seed(0)
    ids = torch.tensor([[3, 5, 0], [5, 3, 0]])
    with_pairs, without = Mean(512, 4, True)(ids), Mean(512, 4, False)(ids)
    assert torch.allclose(without[0], without[1]) and not torch.allclose(with_pairs[0], with_pairs[1])


def test_pixels_kept_as_bytes_are_the_same_image():
    dataset = data.load("digits")
    model = make("cnn", dataset, width=4).eval()
    bytes_ = np.round(dataset.inputs[:20] * 255).astype(np.uint8)
    np.testing.assert_allclose(
        training.predict(model, bytes_, "cpu"), training.predict(model, bytes_.astype(np.float32) / 255, "cpu"), atol=1e-6
    )


def test_one_value_a_channel_takes_the_running_statistics():
    from unlearn_core.models.residual import Norm

    torch.manual_seed(0)
    norm, one, many = Norm(3).train(), torch.randn(1, 3, 1, 1), torch.randn(4, 3, 1, 1)
    norm(many)
    before = norm.running_mean.clone()
    expected = (one - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
    torch.testing.assert_close(norm(one), expected)
    assert torch.equal(norm.running_mean, before)
    usual = torch.nn.BatchNorm2d(3).train()
    torch.testing.assert_close(norm(many), usual(many))
