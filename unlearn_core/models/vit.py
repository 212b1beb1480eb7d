"""A small vision transformer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unlearn_core.models.base import PRECISION, Facts, ModelInfo, recipe
from unlearn_core.params import Param

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier

HELP = (
    "Numbers that matrix products are computed with while training. bfloat16 keeps 8 bits of precision; attention is slower with it on a processor. "
    "Reading a model is always float32."
)


def build(facts: Facts, params: dict[str, Any]) -> Classifier:
    from torch import nn

    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.residual import Patches
    from unlearn_core.models.words import Pooled, encoder

    size, side = 16 * params["heads"], params["patch"] or max(2, -(-facts.shape[-1] // 8))
    context = nn.Sequential(Patches(facts.shape, side, size), encoder(size, params["heads"], params["depth"]), Pooled())
    stages = {"context": context, "features": nn.Sequential(nn.LayerNorm(size), nn.Linear(size, size), nn.GELU())}
    return Classifier(facts, stages, nn.Linear(size, facts.classes), params["precision"] == "bfloat16")


MODEL = ModelInfo(
    name="vit",
    title="Small vision transformer",
    description="A transformer over patches of the picture (Dosovitskiy et al. 2021, arXiv 2010.11929), mean of its states, one dense layer.",
    modalities=("image",),
    build=build,
    params=(
        Param(
            "patch",
            "int",
            0,
            "Pixels along one side of a patch; 0 takes an eighth of the picture, rounded up, at least 2.",
            0,
            64,
            title="Patch size",
        ),
        Param("heads", "int", 4, "Attention heads of 16 numbers each.", 1, 64),
        Param("depth", "int", 4, "Layers.", 1, 24),
        *recipe(epochs=30, lr=1e-3, weight_decay=5e-2),
        # PyTorch's attention kernel for processors takes five times as long in bfloat16 as in float32, and a training twice as long.
        replace(PRECISION, default="float32", choices=("float32", "bfloat16"), help=HELP),
    ),
    order=6,
    version=2,
)
