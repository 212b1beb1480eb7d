"""ResNet-18 with the stem for small pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearn_core.models.base import PRECISION, Facts, ModelInfo, halved, recipe
from unlearn_core.params import Param

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def build(facts: Facts, params: dict[str, Any]) -> Classifier:
    from torch import nn

    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.residual import Block

    width = params["width"]
    widths = [width, 2 * width, 4 * width, 8 * width]
    stem = nn.Sequential(nn.Conv2d(facts.shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    stages, before = {"stem": stem}, width
    for place, after in enumerate(widths):
        last = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if place == 3 else []
        stride = 1 if place == 0 else 2
        stages["features" if last else f"group{place + 1}"] = nn.Sequential(Block(before, after, stride), Block(after, after, 1), *last)
        before = after
    return Classifier(facts, stages, nn.Linear(before, facts.classes), halved(facts, params))


MODEL = ModelInfo(
    name="resnet18",
    title="ResNet-18",
    description="Eight residual blocks (He et al. 2016, arXiv 1512.03385) behind a 3×3 stem for small pictures. Slow without a GPU.",
    modalities=("image",),
    build=build,
    params=(
        Param("width", "int", 64, "Channels of the first group; each later group has twice as many.", 4, 512),
        *recipe(epochs=30, batch=128, lr=2e-3, weight_decay=5e-2),
        PRECISION,
    ),
    order=5,
)
