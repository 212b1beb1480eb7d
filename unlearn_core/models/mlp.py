"""A multilayer perceptron with two hidden layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearn_core.models.base import Facts, ModelInfo, recipe
from unlearn_core.params import Param

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def build(facts: Facts, params: dict[str, Any]) -> Classifier:
    from torch import nn

    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.columns import flat

    width, (inputs, count) = params["width"], flat(facts)
    stages = {
        "hidden": nn.Sequential(inputs, nn.Linear(count, width), nn.ReLU()),
        "features": nn.Sequential(nn.Linear(width, width), nn.ReLU()),
    }
    return Classifier(facts, stages, nn.Linear(width, facts.classes))


MODEL = ModelInfo(
    name="mlp",
    title="Multilayer perceptron",
    description="Two hidden layers of ReLU units.",
    modalities=("points", "tabular", "image"),
    build=build,
    params=(Param("width", "int", 128, "Units in each hidden layer.", 2, 4096), *recipe(epochs=40, lr=4e-3)),
    order=1,
)
