"""Architectures, the one training loop and reading a model's outputs. Declarations import no torch."""

from __future__ import annotations

from typing import Any

from unlearn_core.data.base import Dataset, DatasetInfo
from unlearn_core.errors import BadInput
from unlearn_core.models.base import ModelInfo
from unlearn_core.registry import discover, extended, lookup

GROUP = "unlearn_core.models"


def registry() -> dict[str, ModelInfo]:
    """All architectures by name, in the order of display: ours, then those of installed plug-ins (entry points of the group GROUP)."""
    return extended(discover(__name__, "MODEL"), GROUP, ModelInfo)


def info(name: str) -> ModelInfo:
    """The declaration of `name`. Raises BadInput that lists the known models."""
    return lookup(registry(), name, "model")


def suited(dataset: DatasetInfo | Dataset) -> dict[str, ModelInfo]:
    """The architectures that can learn `dataset`."""
    return {name: model for name, model in registry().items() if dataset.modality in model.modalities and dataset.task in model.tasks}


def check_suited(model: str, dataset: DatasetInfo) -> ModelInfo:
    """The declaration of `model`. Raises BadInput if it cannot learn this modality or this task."""
    declared = info(model)
    if dataset.modality not in declared.modalities:
        raise BadInput("model", f"{model} does not work on {dataset.modality} data.", f"Choose one of: {', '.join(suited(dataset))}.")
    if dataset.task not in declared.tasks:
        raise BadInput(
            "model", f"{model} learns classes only, and {dataset.name} has none.", f"Choose one of: {', '.join(suited(dataset))}."
        )
    return declared


def __getattr__(name: str) -> Any:
    if name == "Classifier":
        from unlearn_core.models.classifier import Classifier

        return Classifier
    raise AttributeError(name)
