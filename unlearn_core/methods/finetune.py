"""Stable fine-tuning: keep training on the retain set and rely on forgetting by neglect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def run(task: Task) -> Classifier:
    from unlearn_core.models.training import descend

    params = task.params
    descend(
        task.model, task.x, task.y, task.retain,
        epochs=params["epochs"], batch=params["batch"], lr=params["lr"], weight_decay=params["weight_decay"],
        seed=task.seed, progress=task.progress, after_epoch=task.watch,
    )  # fmt: skip
    return task.model


METHOD = Method(
    name="finetune",
    title="Stable fine-tuning",
    summary="Trains on for a few epochs on the retain set only; what is no longer seen may fade.",
    paper="Golatkar et al. 2020, arXiv 1911.04933 (as a baseline)",
    goal="undo",
    needs=("retain",),
    cost="the chosen number of epochs",
    limits="Nothing pushes the forgotten points out: a model that fits its data perfectly hardly moves.",
    version=1,
    run=run,
    params=(
        Param("epochs", "int", 10, "Passes over the retain set.", 1, 1000),
        Param("lr", "float", 4e-3, "Learning rate of AdamW; it falls to zero along a half cosine.", 1e-6, 1.0, title="Learning rate"),
        Param("weight_decay", "float", 1e-4, "Decoupled weight decay of AdamW.", 0.0, 1.0, advanced=True),
        Param("batch", "int", 64, "Retained instances per step.", 1, 4096, advanced=True),
    ),
    order=3,
)
