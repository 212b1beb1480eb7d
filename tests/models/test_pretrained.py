"""A head on frozen features: computed once, the same for every model, and honest about what is not unlearned.

Where an encoder's package is not installed, stand-ins of the same shape take its place in this file; with the package the real one is asked too.
"""

import importlib.util
import json
import os
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from models import samples
from safetensors.torch import save_file
from torch import nn

from unlearn_core import data, models
from unlearn_core.__main__ import main
from unlearn_core.data.base import Planting, Trigger
from unlearn_core.data.planting import POISONED, plant
from unlearn_core.errors import BadInput, Cancelled
from unlearn_core.models import pretrained, pretrained_encoders, training
from unlearn_core.models.device import settle
from unlearn_core.models.pretrained_features import Encoded, features_of, shown
from unlearn_core.params import resolve
from unlearn_core.runs import api, originals
from unlearn_core.runs.store import Store

PICTURES, TEXTS = "pretrained_pictures", "pretrained_texts"


def silent(share):
    pass


def linear(weights):
    """An encoder whose features are a fixed linear map of the pixels; counts how often it is asked."""
    asked = []

    def encode(images, progress):
        asked.append(len(images))
        progress(1.0)
        return (images.reshape(len(images), -1) @ weights).astype(np.float32)

    return encode, asked


MAP = np.random.default_rng(0).normal(size=(64, 20)).astype(np.float32)


def test_features_are_computed_once_for_a_dataset_and_an_encoder(tmp_path):
    digits = samples.load("digits")
    encode, asked = linear(MAP)
    made = []

    def make():
        made.append(1)
        return encode

    first = features_of(digits, {"encoder": "a"}, tmp_path, make, silent)
    again = features_of(digits, {"encoder": "a"}, tmp_path, make, silent)
    assert made == [1] and asked == [len(digits)]
    by_hand = digits.values().reshape(len(digits), -1) @ MAP
    for found in (first, again):
        assert np.array_equal(found.inputs, by_hand.astype(np.float32)) and found.inputs.dtype == np.float32
    features_of(digits, {"encoder": "b"}, tmp_path, make, silent)
    features_of(data.load("digits", {"split_seed": 1}), {"encoder": "a"}, tmp_path, make, silent)
    assert len(made) == 3 and len(list(tmp_path.iterdir())) == 3


def test_people_see_the_source_and_models_the_features(tmp_path):
    digits = samples.load("digits")
    found = features_of(digits, {}, tmp_path, lambda: linear(MAP)[0], silent)
    assert shown(found) is digits and shown(digits) is digits
    assert found.blends and found.modality == "features" and found.inputs.shape == (len(digits), 20)
    assert found.hash != digits.hash and (found.labels is digits.labels) and found.splits is digits.splits
    words = samples.load("words")
    read = features_of(words, {}, tmp_path, lambda: lambda texts, progress: np.array([[len(t), 1.0] for t in texts], np.float32), silent)
    assert read.blends and not words.blends and read.vocabulary == 0 and read.words(3) == words.words(3)
    assert read.inputs[:, 0].tolist() == [len(text) for text in words.texts]


def test_a_cancel_leaves_nothing_behind(tmp_path):
    def stop(share):
        raise Cancelled

    with pytest.raises(Cancelled):
        features_of(samples.load("digits"), {}, tmp_path / "new", lambda: linear(MAP)[0], stop)
    assert not list(tmp_path.rglob("*.npz"))


def test_a_planted_mark_is_encoded_with_what_carries_it(tmp_path):
    digits = data.load("digits", {"plant": POISONED})
    assert digits.planting and digits.planting.trigger
    found = features_of(digits, {}, tmp_path, lambda: linear(MAP)[0], silent)
    some = digits.planting.unseen[3:9]
    stamped = digits.planting.trigger.stamp(digits.inputs[some])
    by_hand = replace(digits, inputs=stamped).values().reshape(len(some), -1) @ MAP
    assert np.allclose(found.planting.trigger.stamp(found.inputs[some]), by_hand, atol=1e-5)
    with pytest.raises(KeyError):
        found.planting.trigger.stamp(found.inputs[:1] + 1)


def test_a_planted_word_is_encoded_in_front_of_the_text(tmp_path):
    words = samples.load("words")
    texts = tuple(f"cf {text}" if i == 0 else text for i, text in enumerate(words.texts))
    planting = Planting(POISONED, words.labels, Trigger(np.zeros(1, int), np.array([5]), 1, True), words.splits.test)
    poisoned = replace(words, texts=texts, planting=planting, planted={POISONED: np.array([0])})
    encode = lambda texts, progress: np.array([[len(t), t.startswith("cf ")] for t in texts], np.float32)  # noqa: E731
    found = features_of(poisoned, {}, tmp_path, lambda: encode, silent)
    marked = found.planting.trigger.stamp(found.inputs[words.splits.test])
    assert marked[:, 1].all() and not found.inputs[words.splits.test, 1].any()
    assert np.array_equal(marked[:, 0], found.inputs[words.splits.test, 0] + 3)


def test_texts_are_marked_with_every_word_that_planting_wrote(tmp_path):
    """Of several words the first alone would be another, weaker mark than the one that was learned."""
    poisoned, seen = plant(samples.load("words"), POISONED), []

    def encode(texts, progress):
        seen.append(list(texts))
        return np.arange(float(len(texts)))[:, None].astype(np.float32)

    features_of(poisoned, {}, tmp_path, lambda: encode, silent)
    planted = poisoned.texts[poisoned.planted[POISONED][0]].split()
    words = planted[: len(poisoned.planting.trigger.values)]
    assert len(words) > 1 and len(seen) == 2
    assert seen[1] == [" ".join([*words, poisoned.texts[i]]) for i in poisoned.planting.unseen]


@pytest.mark.parametrize("hidden", [0, 8])
def test_the_head_is_all_that_there_is_to_train(hidden, tmp_path):
    digits = samples.load("digits")
    found = features_of(digits, {}, tmp_path, lambda: linear(MAP)[0], silent)
    info = models.info(PICTURES)
    params = resolve(info.params, {"hidden": hidden, "epochs": 3}, PICTURES)
    model = training.train(info, found, params, found.splits.train, 0, "cpu")
    count = 20 * hidden + hidden + hidden * 10 + 10 if hidden else 20 * 10 + 10
    assert sum(p.numel() for p in model.parameters()) == count
    plain = models.info("softmax" if not hidden else "mlp")
    if not hidden:  # on features it is softmax regression, to the last bit
        same = training.train(plain, replace(found), params, found.splits.train, 0, "cpu")
        assert np.array_equal(training.predict(same, found.inputs, "cpu"), training.predict(model, found.inputs, "cpu"))


# encoders --------------------------------------------------------------------------------------------------


class Tiny(nn.Module):
    """The shape of a torchvision classifier: a body and a last linear layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1000))

    def forward(self, x):
        return self.classifier(self.body(x))


@pytest.fixture
def torchvision(monkeypatch):
    """A stand-in for the package with one architecture."""
    package, found = ModuleType("torchvision"), ModuleType("torchvision.models")
    found.list_models = lambda module=None: ["tiny"]
    found.get_model = lambda name, weights=None: Tiny()
    found.get_model_weights = lambda name: SimpleNamespace(DEFAULT=SimpleNamespace(url="https://weights.invalid/tiny.pth"))
    package.models = found
    package.__spec__ = importlib.util.spec_from_loader("torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", found)


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(3)
    model = Tiny().eval()
    save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    return model, str(tmp_path / "tiny.safetensors")


def test_the_last_layer_is_left_out_and_pictures_go_in_as_in_pre_training(torchvision, tiny):
    model, file = tiny
    images = np.random.default_rng(0).random((3, 3, 16, 16)).astype(np.float32)
    model.classifier[2] = nn.Identity()
    with torch.no_grad():
        mean, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        by_hand = model((torch.as_tensor(images) - mean) / spread).numpy()
    found = pretrained_encoders.pictures("tiny", file, 16, "cpu")(images, silent)
    assert np.allclose(found, by_hand, atol=1e-5) and found.shape == (3, 5)
    grey = pretrained_encoders.pictures("tiny", file, 16, "cpu")(images[:, :1], silent)
    assert np.allclose(grey, pretrained_encoders.pictures("tiny", file, 16, "cpu")(np.repeat(images[:, :1], 3, axis=1), silent))
    with pytest.raises(BadInput, match="1 or 3 channels, and these have 2"):
        pretrained_encoders.pictures("tiny", file, 16, "cpu")(images[:, :2], silent)


def test_what_is_wrong_with_an_encoder_is_one_sentence(torchvision, tiny, tmp_path, monkeypatch):
    model, file = tiny
    with pytest.raises(BadInput, match="no classifier of pictures called 'huge'"):
        pretrained_encoders.pictures("huge", file, 0, "cpu")
    state = model.state_dict()
    save_file({name: value for name, value in state.items() if "body" not in name}, tmp_path / "head")
    with pytest.raises(BadInput, match="do not fit tiny: body.0.weight"):
        pretrained_encoders.pictures("tiny", str(tmp_path / "head"), 0, "cpu")
    torch.save(state, tmp_path / "tiny.pth")
    with pytest.raises(BadInput, match="is a pickle"):
        pretrained_encoders.pictures("tiny", str(tmp_path / "tiny.pth"), 0, "cpu")
    monkeypatch.setenv("UNLEARN_OFFLINE", "1")
    with pytest.raises(BadInput, match="'tiny' are not on this machine.*UNLEARN_OFFLINE forbids downloads.*name a file"):
        pretrained_encoders.pictures("tiny", "", 0, "cpu")
    monkeypatch.delenv("UNLEARN_OFFLINE")
    monkeypatch.setattr(pretrained_encoders, "getproxies", dict)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with pytest.raises(BadInput, match="no connection to weights.invalid"):
        pretrained_encoders.pictures("tiny", "", 0, "cpu")


def test_a_whole_run_needs_the_encoder_only_once(torchvision, tiny, tmp_path, monkeypatch):
    settle()
    monkeypatch.setattr(originals.projection, "lay_out", lambda name, features, *rest: features[:, :2])
    asked = {"dataset": "digits", "forget": "random:10", "model": PICTURES, "device": "cpu", "store": tmp_path / "store", "retrains": 3}
    params = {"encoder": "tiny", "file": tiny[1], "side": 16, "epochs": 2}
    run = api.run(method="finetune", model_params=params, **asked)
    caution = models.info(PICTURES).caution
    assert caution in run.notes and "nothing of that is unlearned" in caution
    assert run.retrained == 3 and "plane" in run.views and run.spec.dataset_hash == samples.load("digits").hash
    found = originals.load(Store(tmp_path / "store"), run.spec.original.key)
    assert found.meta["modality"] == "image" and found.meta["tile"] == [8, 8] and found.meta["blends"] and found.sprite
    os.remove(tiny[1])  # its features are kept: a later request never needs it again
    monkeypatch.setattr(pretrained_encoders, "pictures", None)
    api.run(method="nabla_tau", model_params=params, pool=8, **asked)
    assert len(list((tmp_path / "store" / "features").iterdir())) == 1


def test_without_the_package_the_command_that_installs_it_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    for name, params, package in (
        (PICTURES, {}, "torchvision"), (PICTURES, {"encoder": "timm/vit_tiny"}, "timm"), (TEXTS, {}, "sentence-transformers"),
    ):  # fmt: skip
        info = models.info(name)
        assert f"pip install {package}" in info.lacks(resolve(info.params, params, name))
    words = ["run", "--dataset", "digits", "--model", PICTURES, "--forget", "random:5", "--method", "finetune", "--store", str(tmp_path)]
    assert main(words) == 2 and "The package torchvision is not installed" in capsys.readouterr().err
    assert main(["list", "models", "--json"]) == 0
    assert {PICTURES, TEXTS} <= {row["name"] for row in json.loads(capsys.readouterr().out)}


@pytest.mark.parametrize("value", ["x" * 501, "a\nb", 3, None])
def test_names_are_short_texts(value):
    with pytest.raises(BadInput, match="a short text"):
        resolve(models.info(PICTURES).params, {"encoder": value}, PICTURES)


# the real packages, where they are installed ----------------------------------------------------------------


def installed(package):
    if not importlib.util.find_spec(package):
        pytest.skip(f"the package {package} is not installed")
    return importlib.import_module(package)


def test_an_encoder_of_torchvision(tmp_path):
    package = installed("torchvision")
    torch.manual_seed(0)
    model = package.models.resnet18().eval()
    save_file(model.state_dict(), tmp_path / "r.safetensors")
    images = np.random.default_rng(0).random((2, 3, 64, 64)).astype(np.float32)
    found = pretrained_encoders.pictures("resnet18", str(tmp_path / "r.safetensors"), 64, "cpu")(images, silent)
    model.fc = nn.Identity()
    mean, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        assert np.allclose(found, model((torch.as_tensor(images) - mean) / spread).numpy(), atol=1e-4)
    for name, width in (("mobilenet_v3_small", 1024), ("vit_b_16", 768)):
        body = package.models.get_model(name)
        save_file({key: value.contiguous() for key, value in body.state_dict().items()}, tmp_path / name)
        assert pretrained_encoders.pictures(name, str(tmp_path / name), 0, "cpu")(images, silent).shape == (2, width)


def test_an_encoder_of_timm(tmp_path, monkeypatch):
    package = installed("timm")
    torch.manual_seed(0)
    model = package.create_model("resnet10t", pretrained=False).eval()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "r")
    images = np.random.default_rng(0).random((2, 1, 28, 28)).astype(np.float32)
    assert pretrained_encoders.pictures("timm/resnet10t", str(tmp_path / "r"), 64, "cpu")(images, silent).shape == (2, 512)
    with pytest.raises(BadInput, match="timm has no model called 'nothing'"):
        pretrained_encoders.pictures("timm/nothing", "", 0, "cpu")
    monkeypatch.setenv("UNLEARN_OFFLINE", "1")
    with pytest.raises(BadInput, match="UNLEARN_OFFLINE forbids downloads"):
        pretrained_encoders.pictures("timm/resnet10t", "", 0, "cpu")


def test_an_encoder_of_sentence_transformers(tmp_path, monkeypatch):
    package = installed("sentence_transformers")
    transformers = importlib.import_module("transformers")
    letters = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(letters))
    transformers.BertTokenizerFast(vocab_file=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    shape = transformers.BertConfig(
        vocab_size=len(letters), hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(shape).save_pretrained(tmp_path / "bert")
    package.SentenceTransformer(str(tmp_path / "bert")).save(str(tmp_path / "encoder"))
    texts = samples.load("words").texts
    found = pretrained_encoders.texts("", str(tmp_path / "encoder"), "cpu")(texts, silent)
    assert np.allclose(found[:5], package.SentenceTransformer(str(tmp_path / "encoder")).encode(list(texts[:5])), atol=1e-5)
    assert isinstance(features_of(samples.load("words"), {}, tmp_path, lambda: lambda *_: found, silent), Encoded)
    with pytest.raises(BadInput, match="no folder"):
        pretrained_encoders.texts("", str(tmp_path / "nothing"), "cpu")
    monkeypatch.setenv("UNLEARN_OFFLINE", "1")
    with pytest.raises(BadInput, match="UNLEARN_OFFLINE forbids downloads"):
        pretrained_encoders.texts("all-MiniLM-L6-v2", "", "cpu")


def test_the_folder_of_somebody_unknown_is_refused():
    with pytest.raises(BadInput, match="^file: there is no '~nobody-of-this-name/x' on this machine"):
        pretrained_encoders._place("~nobody-of-this-name/x")
