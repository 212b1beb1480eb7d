"""The smallest plug-in: a package that declares one architecture and names it as an entry point of "unlearn_core.models"."""

from unlearn_core.models.base import ModelInfo, recipe
from unlearn_core.params import Param


def build(facts, params):
    from math import prod

    from torch import nn

    from unlearn_core.models.classifier import Classifier

    width = params["pieces"] * params["width"]
    pieces = nn.Sequential(nn.Flatten(), nn.Linear(prod(facts.shape), width), nn.MaxPool1d(params["pieces"]))
    return Classifier(facts, {"features": pieces}, nn.Linear(params["width"], facts.classes))


MODEL = ModelInfo(
    name="maxout",
    title="Maxout layer",
    description="Each unit is the largest of a few linear pieces (Goodfellow et al. 2013, arXiv 1302.4389).",
    modalities=("points", "tabular", "image"),
    build=build,
    params=(
        Param("width", "int", 16, "Units.", 2, 1024),
        Param("pieces", "int", 3, "Linear pieces of each unit.", 2, 8),
        *recipe(epochs=40, lr=1e-2),
    ),
)
