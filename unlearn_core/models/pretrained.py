"""A head on the features of a frozen pretrained encoder: what people do who have few data of their own. Needs packages of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_core.models.base import Facts, ModelInfo, recipe
from unlearn_core.params import Param

if TYPE_CHECKING:
    from unlearn_core.data.base import Dataset
    from unlearn_core.models.classifier import Classifier

LONGEST = 500
PIP = {"torchvision": "torchvision", "timm": "timm", "sentence_transformers": "sentence-transformers"}
CAUTION = (
    "Only the head on top of a frozen pretrained encoder is trained, retrained and unlearned. The encoder may have seen these instances, or their "
    "like, in its own pre-training; nothing of that is unlearned or judged here. Planes and paths between instances run through its features."
)


@dataclass(frozen=True)
class Name(Param):
    """A parameter that is a short text."""

    def _convert(self, value: Any) -> str:
        if not isinstance(value, str) or len(value) > LONGEST or not value.isprintable():
            raise ValueError
        return value.strip()

    def _expected(self) -> str:
        return "a short text"


def lacking(package: str) -> str:
    """Why an encoder of this package cannot be used here, with the command that changes it; "" if it can."""
    if importlib.util.find_spec(package):
        return ""
    return f"The package {PIP[package]} is not installed. Install it beside the Studio with: .venv/bin/python -m pip install {PIP[package]}"


def _lacks_pictures(params: dict[str, Any]) -> str:
    return lacking("timm" if params["encoder"].startswith("timm/") else "torchvision")


def _lacks_texts(params: dict[str, Any]) -> str:
    return lacking("sentence_transformers")


def build(facts: Facts, params: dict[str, Any]) -> Classifier:
    """Facts are those of the features: the head is one linear layer, or one hidden layer and one linear layer."""
    from torch import nn

    from unlearn_core.models.classifier import Classifier

    count, width = prod(facts.shape), params["hidden"]
    if not width:
        return Classifier(facts, {"features": nn.Flatten()}, nn.Linear(count, facts.classes))
    stages = {"encoder": nn.Flatten(), "features": nn.Sequential(nn.Linear(count, width), nn.ReLU())}
    return Classifier(facts, stages, nn.Linear(width, facts.classes))


def prepare(kind: str, dataset: Dataset, params: dict[str, Any], folder: Path, device: str, progress: Callable[[float], None]) -> Dataset:
    """The dataset with the encoder's features in the place of its inputs, from `folder` where they were computed before."""
    from unlearn_core.models.pretrained_features import features_of

    about = {name: params[name] for name in ("encoder", "file", "side") if name in params}

    def make() -> Any:
        from unlearn_core.models import pretrained_encoders

        if kind == "text":
            return pretrained_encoders.texts(params["encoder"], params["file"], device)
        return pretrained_encoders.pictures(params["encoder"], params["file"], params["side"], device)

    return features_of(dataset, about, folder, make, progress)


HIDDEN = Param(
    "hidden",
    "int",
    64,
    "Units of the head's hidden layer; 0 for a linear head, whose features are the encoder's and never change.",
    0,
    4096,
)

MODEL = (
    ModelInfo(
        name="pretrained_pictures",
        title="Pretrained features + head",
        description="A frozen image encoder of torchvision or timm and a small head that is trained on its features.",
        modalities=("image",),
        build=build,
        params=(
            Name("encoder", "text", "resnet18", "A torchvision classifier (resnet18, vit_b_16 …) or timm/NAME. Its last layer is left out."),
            Name(
                "file", "text", "",
                "A safetensors file with the encoder's weights, on the machine that computes; empty: as published, downloaded on opening. "
                "What it gives is kept under its name: call changed weights another name.",
                title="Weights of the encoder",
            ),
            Param("side", "int", 0, "Pixels that pictures are resized to for the encoder; 0 takes 224. Less is faster.", 0, 1024, advanced=True),
            HIDDEN,
            *recipe(epochs=30, lr=2e-3, weight_decay=1e-2),
        ),
        order=7,
        prepare=partial(prepare, "image"),
        lacks=_lacks_pictures,
        caution=CAUTION,
    ),
    ModelInfo(
        name="pretrained_texts",
        title="Pretrained features + head",
        description="A frozen text encoder of sentence-transformers and a small head that is trained on its features.",
        modalities=("text",),
        build=build,
        params=(
            Name("encoder", "text", "all-MiniLM-L6-v2", "A model that sentence-transformers knows by this name."),
            Name(
                "file", "text", "", "A folder with the encoder, on the machine that computes; empty: as published, downloaded on opening. "
                "What it gives is kept under its name: call a changed encoder another name.",
                title="Folder of the encoder",
            ),
            HIDDEN,
            *recipe(epochs=30, lr=2e-3, weight_decay=1e-2),
        ),
        order=22,
        prepare=partial(prepare, "text"),
        lacks=_lacks_texts,
        caution=CAUTION,
    ),
)  # fmt: skip
