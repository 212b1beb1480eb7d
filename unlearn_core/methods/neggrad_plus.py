"""NegGrad+: descend on the retain set and ascend on the forget set at once (Kurmanji et al., NeurIPS 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING

from unlearn_core.data.base import TASKS
from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier


def objective(alpha: float, forget_loss: Tensor, retain_loss: Tensor) -> Tensor:
    """α·L_r − (1 − α)·L_f with batch means; unbounded below, hence the guard-rail."""
    return alpha * retain_loss - (1 - alpha) * forget_loss


def run(task: Task) -> Classifier:
    import torch

    from unlearn_core.models.objectives import loss as loss_of
    from unlearn_core.models.training import adamw, batches, cosine, optimise

    model, x, y, params = task.model, task.x, task.y, task.params
    generator = torch.Generator().manual_seed(task.seed)

    def feed(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        forget = cycle(list(batches(task.forget, params["batch"], generator)))
        yield from zip(batches(task.retain, params["batch"], generator), forget, strict=False)

    def loss(retain: Tensor, forget: Tensor) -> Tensor:
        forget_loss = loss_of(model(x[forget]), y[forget])
        return objective(params["alpha"], forget_loss, loss_of(model(x[retain]), y[retain]))

    optimise(
        model, params["epochs"], feed, loss, adamw(model, params["lr"]),
        schedule=cosine(params["epochs"] * math.ceil(len(task.retain) / params["batch"])),
        progress=task.progress,
        after_epoch=task.watch,
    )  # fmt: skip
    return model


METHOD = Method(
    name="neggrad_plus",
    title="NegGrad+",
    summary="Ascends on the loss of the forget set while descending on the retain set, without a cap.",
    paper="Kurmanji et al. 2023, arXiv 2302.09880",
    goal="undo",
    needs=("retain",),
    cost="a few passes over the retain set",
    limits="Nothing tells it when to stop: it easily pushes the points further away than any retrained model would.",
    version=1,
    run=run,
    equation=r"\min_\theta\ \alpha\, L_r(\theta) - (1 - \alpha)\, L_f(\theta)",
    alpha="Weight of the retain set; the forget set gets 1 − α. Higher is gentler.",
    params=(
        Param("alpha", "float", 0.95, "Weight of retaining against forgetting.", 0.5, 1.0, title="α"),
        Param("epochs", "int", 5, "Passes over the retain set.", 1, 1000),
        Param("lr", "float", 1e-3, "Learning rate of AdamW; it falls to zero along a half cosine.", 1e-6, 1.0, title="Learning rate"),
        Param("batch", "int", 64, "Instances per step from each of the two sets.", 1, 4096, advanced=True),
    ),
    order=2,
    tasks=TASKS,
)
