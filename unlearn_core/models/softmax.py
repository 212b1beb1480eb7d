"""Softmax regression: the features are the inputs themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearn_core.models.base import Facts, ModelInfo, recipe

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def build(facts: Facts, params: dict[str, Any]) -> Classifier:
    from torch import nn

    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.columns import flat

    inputs, count = flat(facts, learned=False)
    return Classifier(facts, {"features": inputs}, nn.Linear(count, facts.classes))


MODEL = ModelInfo(
    name="softmax",
    title="Softmax regression",
    description="One linear layer: a convex problem with straight boundaries.",
    modalities=("points", "tabular", "image"),
    build=build,
    params=recipe(epochs=60, lr=2e-2, weight_decay=1e-2),
    order=2,
)
