"""Stable fine-tuning: keep training on the retain set, all layers or only the last ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.data.base import TASKS
from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param

if TYPE_CHECKING:
    from torch import nn

    from unlearn_core.models.classifier import Classifier

LAYERS = {"all": None, "head": 0, "last": 1, "last two": 2}  # stages below the head that are trained too


def trained(model: Classifier, layers: str) -> list[nn.Module]:
    """The modules that `layers` means: everything, the head, or the head and the last stages below it."""
    count = LAYERS[layers]
    return [model] if count is None else [*list(model.stages.values())[len(model.stages) - min(count, len(model.stages)) :], model.head]


def run(task: Task) -> Classifier:
    from unlearn_core.models.anew import redraw
    from unlearn_core.models.training import descend

    model, params = task.model, task.params
    parts = trained(model, params["layers"])
    if params["start"] == "anew":
        redraw(parts, task.seed)
    model.requires_grad_(False)
    for part in parts:
        part.requires_grad_(True)
    task.chosen["trained_parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    descend(
        model, task.x, task.y, task.retain,
        epochs=params["epochs"], batch=params["batch"], lr=params["lr"], weight_decay=params["weight_decay"],
        # Frozen layers keep their BatchNorm statistics too, or they would not stay what they were.
        training_mode=params["layers"] == "all",
        seed=task.seed, progress=task.progress,
        # Layers drawn anew know nothing at first, which is no damage for the guard-rail to stop.
        after_epoch=None if params["start"] == "anew" else task.watch,
    )  # fmt: skip
    return model.requires_grad_(True)


METHOD = Method(
    name="finetune",
    title="Stable fine-tuning",
    summary="Trains on for a few epochs on the retain set only; what is no longer seen may fade. All layers, or only the last ones (CF-k, EU-k).",
    paper="Golatkar et al. 2020, arXiv 1911.04933 (as a baseline); last layers: Goel et al. 2022, arXiv 2201.06640",
    goal="undo",
    needs=("retain",),
    cost="the chosen number of epochs",
    limits="Nothing pushes the forgotten points out: a model that fits its data perfectly hardly moves, and layers that stay frozen keep all they learned.",
    version=2,
    run=run,
    equation=r"\min_\theta\ L_r(\theta), \quad \text{from } \theta_o",
    where=r"layers drawn anew (EU-k) start from fresh weights instead",
    params=(
        Param("epochs", "int", 10, "Passes over the retain set.", 1, 1000),
        Param("lr", "float", 4e-3, "Learning rate of AdamW; it falls to zero along a half cosine.", 1e-6, 1.0, title="Learning rate"),
        Param(
            "layers",
            "choice",
            "all",
            "What is trained: everything, the head alone, or the head and the last stages below it (CF-k).",
            choices=tuple(LAYERS),
        ),
        Param(
            "start",
            "choice",
            "as it is",
            "Whether the trained layers go on from what they are, or are drawn anew first (EU-k).",
            choices=("as it is", "anew"),
        ),
        Param("weight_decay", "float", 1e-4, "Decoupled weight decay of AdamW.", 0.0, 1.0, advanced=True),
        Param("batch", "int", 64, "Retained instances per step.", 1, 4096, advanced=True),
    ),
    order=3,
    tasks=TASKS,
)
