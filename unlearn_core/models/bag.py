"""Texts as bags of words: the mean of the embeddings of all tokens, then one hidden layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearn_core.models.base import Facts, ModelInfo, recipe
from unlearn_core.params import Param

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def build(facts: Facts, params: dict[str, Any]) -> Classifier:
    from torch import nn

    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.words import Mean

    size, width = params["embedding"], params["width"]
    stages = {"words": Mean(facts.vocabulary, size, params["pairs"]), "features": nn.Sequential(nn.Linear(size, width), nn.ReLU())}
    return Classifier(facts, stages, nn.Linear(width, facts.classes))


MODEL = ModelInfo(
    name="bag",
    title="Bag of words",
    description="The mean of learned embeddings of words (and of pairs of neighbouring words), one hidden layer.",
    modalities=("text",),
    build=build,
    params=(
        Param("embedding", "int", 32, "Numbers that a word is embedded in.", 2, 1024),
        Param("width", "int", 64, "Units of the hidden layer.", 2, 4096),
        Param("pairs", "bool", True, "Also embed every pair of neighbouring words, hashed into as many numbers as there are for words."),
        *recipe(epochs=8, lr=4e-3, weight_decay=1e-2),
    ),
    order=20,
)
