"""A small convolutional network with batch normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearn_core.models.base import PRECISION, Facts, ModelInfo, halved, recipe
from unlearn_core.params import Param

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def build(facts: Facts, params: dict[str, Any]) -> Classifier:
    from torch import nn

    from unlearn_core.models.classifier import Classifier

    channels, width = facts.shape[0], params["width"]

    def block(before: int, after: int) -> nn.Module:
        # ReLU after pooling is the same function, on a quarter of the values.
        return nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()
        )

    rows, columns = (-(-size // 4) for size in facts.shape[1:])  # two poolings that round up
    pooled = nn.Sequential(nn.Flatten(), nn.Linear(2 * width * rows * columns, 64), nn.ReLU())
    stages = {"block1": block(channels, width), "block2": block(width, 2 * width), "features": pooled}
    return Classifier(facts, stages, nn.Linear(64, facts.classes), halved(facts, params))


MODEL = ModelInfo(
    name="cnn",
    title="Small convolutional network",
    description="Two convolution blocks with batch normalisation and one dense layer.",
    modalities=("image",),
    build=build,
    params=(
        Param("width", "int", 16, "Channels of the first block; the second has twice as many.", 2, 512),
        *recipe(epochs=30, lr=4e-3),
        PRECISION,
    ),
    order=3,
)
