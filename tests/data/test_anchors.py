"""Anchors from a pretrained text encoder: made once into a file, then used in the place of word counts."""

import sys
from types import ModuleType

import numpy as np
import pytest

from unlearn_core.data import anchors
from unlearn_core.errors import BadInput

NAMES = ("cat", "dog", "car")


class Encoder:
    """Stands for a pretrained one: two numbers a sentence."""

    def __init__(self, name):
        if name == "nothing":
            raise OSError("no such encoder")

    def encode(self, sentences):
        return np.array([[len(text), text.count("a")] for text in sentences])


@pytest.fixture
def installed(monkeypatch):
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = Encoder
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


def test_what_the_encoder_says_is_used_from_then_on(installed, tmp_path):
    before = anchors.text_anchors("pets", NAMES, tmp_path)
    path = anchors.embed("pets", NAMES, "small", tmp_path)
    after = anchors.text_anchors("pets", NAMES, tmp_path)
    assert path.parent == tmp_path and before.encoder == anchors.WITHOUT_TEXTS and after.encoder == "small"
    raw = np.array([[3, 1], [3, 0], [3, 1]], float)
    np.testing.assert_allclose(after.embeddings, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-6)


def test_attributes_are_read_where_there_are_some(installed, tmp_path):
    (tmp_path / "pets.json").write_text('{"cat": ["a", "a"], "dog": ["b"], "car": ["c"]}')
    anchors.embed("pets", NAMES, "small", tmp_path)
    np.testing.assert_allclose(anchors.text_anchors("pets", NAMES, tmp_path).embeddings[0], np.array([4, 2]) / np.sqrt(20), rtol=1e-6)


def test_without_package_or_encoder_it_says_what_to_do(monkeypatch, installed, tmp_path):
    with pytest.raises(BadInput) as unknown:
        anchors.embed("pets", NAMES, "nothing", tmp_path)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(BadInput) as missing:
        anchors.embed("pets", NAMES, "small", tmp_path)
    assert unknown.value.field == missing.value.field == "encoder" and "Install" in missing.value.fix
    assert not (tmp_path / "pets.npz").exists()
