"""Softmax regression: the features are the inputs themselves."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from unlearn_core.models.base import ModelInfo, recipe

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def build(shape: tuple[int, ...], classes: int, params: dict[str, Any]) -> Classifier:
    from torch import nn

    from unlearn_core.models.classifier import Classifier

    return Classifier(shape, {"features": nn.Flatten()}, nn.Linear(prod(shape), classes))


MODEL = ModelInfo(
    name="softmax",
    title="Softmax regression",
    description="One linear layer: a convex problem with straight boundaries.",
    modalities=("points", "tabular", "image"),
    build=build,
    params=recipe(epochs=60, lr=2e-2, weight_decay=1e-2),
    order=2,
)
