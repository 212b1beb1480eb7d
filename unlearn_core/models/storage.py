"""Models on disk: safetensors only, never pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from unlearn_core.data.base import Dataset
from unlearn_core.models.base import Facts, ModelInfo
from unlearn_core.models.classifier import Classifier, Projector


def save(path: Path, model: Classifier, meta: dict[str, str]) -> None:
    """Write the weights with `meta` in the file's header."""
    save_file({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, path, meta)


def load(path: Path, info: ModelInfo, dataset: Dataset, params: dict[str, Any], device: str) -> Classifier:
    """A model of this architecture with the stored weights, and the projector that a method gave it, in evaluation mode on `device`."""
    model = info.build(Facts.of(dataset), params)
    weights = load_file(path)
    if "projector.outer.weight" in weights:
        model.projector = Projector(*weights["projector.outer.weight"].shape)
    model.load_state_dict(weights, strict=True)
    return model.to(device).eval()
