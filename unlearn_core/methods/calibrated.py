"""Calibrated ∇τ (ours): every instance gets a target of its own, what models that never saw it would predict for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING

from unlearn_core.methods.base import Method, Task
from unlearn_core.methods.nabla_tau import AUTO_LR, AUTO_PASSES, PAPER_BATCH, auto_batch
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier

ALPHA = 0.5
FORGET_BATCH = 64


def objective(alpha: float, divergence: Tensor, retain_loss: Tensor) -> Tensor:
    """α·KL(never-seen prediction ‖ model) on the forget set + (1 − α)·cross-entropy on the retain set, batch means in nats."""
    return alpha * divergence + (1 - alpha) * retain_loss


def run(task: Task) -> Classifier:
    import torch
    import torch.nn.functional as F

    from unlearn_core.models.training import adamw, batches, cosine, optimise

    model, x, y, params = task.model, task.x, task.y, task.params
    alpha, lr, passes = params["alpha"], params["lr"], params["passes"]
    batch = params["batch"] if params["batch"] != AUTO else auto_batch(passes, len(task.retain))
    generator = torch.Generator().manual_seed(task.seed)
    places = torch.arange(len(task.forget), device=task.forget.device)
    task.chosen["batch"] = batch

    def feed(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        forget = cycle(list(batches(places, FORGET_BATCH, generator)))
        yield from zip(batches(task.retain, batch, generator), forget, strict=False)

    def loss(retain: Tensor, place: Tensor) -> Tensor:
        log_p = F.log_softmax(model(x[task.forget[place]]), dim=1)
        divergence = F.kl_div(log_p, task.never_seen[place], log_target=True, reduction="batchmean")
        return objective(alpha, divergence, F.cross_entropy(model(x[retain]), y[retain]))

    optimise(
        model, passes, feed, loss, adamw(model, lr),
        schedule=cosine(passes * -(-len(task.retain) // batch)),
        training_mode=False,
        progress=task.progress,
        after_epoch=task.watch,
    )  # fmt: skip
    return model


METHOD = Method(
    name="calibrated",
    title="Calibrated ∇τ",
    summary="Pulls every instance to its own target, what shadow models that never saw it predict for it, and keeps learning the retain set.",
    paper="This project; after ∇τ (arXiv 2403.14339) and datamodel matching (Georgiev et al., arXiv 2410.23232)",
    goal="undo",
    needs=("retain", "never_seen"),
    cost="a few passes over the retain set, and once for each dataset and model a pool of shadow models",
    limits="It is as good as its targets: a pool knows what models without each instance say, and only estimates what models without the whole set say.",
    version=1,
    run=run,
    alpha="Weight of the forgotten instances' targets against the retain set.",
    params=(
        Param("alpha", "float", ALPHA, "Weight of forgetting against retaining.", 0.0, 1.0, title="α"),
        Param(
            "pool",
            "int",
            64,
            "Shadow models; half of them give the targets, the other half never does and may judge.",
            8,
            512,
            title="Shadow models",
        ),
        Param("passes", "int", int(AUTO_PASSES), "Passes over the retain set.", 1, 100),
        Param(
            "batch", "int", AUTO, "Retained instances per step.", 1, 4096, manual=64, auto=f"as ∇τ, at most {PAPER_BATCH}", advanced=True
        ),
        Param(
            "lr",
            "float",
            AUTO_LR,
            "Learning rate of AdamW; it falls to zero along a half cosine.",
            1e-6,
            1.0,
            title="Learning rate",
            advanced=True,
        ),
    ),
    order=2,
)
