"""A small transformer encoder that reads token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearn_core.models.base import Facts, ModelInfo, recipe
from unlearn_core.params import Param

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def build(facts: Facts, params: dict[str, Any]) -> Classifier:
    from torch import nn

    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.words import Attention, Pooled

    size = 16 * params["heads"]
    context = nn.Sequential(Attention(facts.vocabulary, facts.shape[0], size, params["heads"], params["depth"]), Pooled())
    stages = {"context": context, "features": nn.Sequential(nn.LayerNorm(size), nn.Linear(size, size), nn.GELU())}
    return Classifier(facts, stages, nn.Linear(size, facts.classes))


MODEL = ModelInfo(
    name="transformer",
    title="Small transformer",
    description="A transformer encoder over the words of a text (Vaswani et al. 2017, arXiv 1706.03762), mean of its states, one dense layer.",
    modalities=("text",),
    build=build,
    params=(
        Param("heads", "int", 4, "Attention heads of 16 numbers each.", 1, 64),
        Param("depth", "int", 2, "Layers.", 1, 24),
        *recipe(epochs=6, lr=1e-3, weight_decay=1e-2),
    ),
    order=21,
)
