"""ℓ1-sparse fine-tuning: fine-tune on the retain set while small weights are driven to zero (Jia et al., NeurIPS 2023, arXiv 2304.04934)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from unlearn_core.data.base import TASKS
from unlearn_core.methods import pairs
from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier


def run(task: Task) -> Classifier:
    import torch

    from unlearn_core.models.objectives import loss as loss_of
    from unlearn_core.models.training import adamw, batches, cosine, optimise

    model, x, y, params = task.model, task.x, task.y, task.params
    epochs, size = params["passes"], pairs.retain_batch(task)
    generator = torch.Generator().manual_seed(task.seed)

    def feed(epoch: int) -> Iterator[tuple[Tensor, float]]:
        weight = params["alpha"] * (1 - epoch / epochs)
        yield from ((ids, weight) for ids in batches(task.retain, size, generator))

    def loss(ids: Tensor, weight: float) -> Tensor:
        return loss_of(model(x[ids]), y[ids]) + weight * sum(p.abs().sum() for p in model.parameters())

    optimise(
        model, epochs, feed, loss, adamw(model, params["lr"], 0.0),
        schedule=cosine(epochs * -(-len(task.retain) // size)),
        progress=task.progress,
        after_epoch=task.watch,
    )  # fmt: skip
    return model


METHOD = Method(
    name="l1_sparse",
    title="ℓ1-sparse fine-tuning",
    summary="Trains on on the retain set with a penalty on the size of all weights, which falls to nothing: what is not needed for the rest fades.",
    paper="Jia et al. 2023, arXiv 2304.04934",
    goal="undo",
    needs=("retain",),
    cost="a few passes over the retain set",
    limits="Nothing points at the forgotten instances: what fades is what the rest does not need, and answers on unseen instances get less sure too.",
    version=1,
    run=run,
    equation=r"\min_\theta\ L_r(\theta) + \alpha_t \lVert \theta \rVert_1",
    alpha="Weight of the ℓ1 norm of all weights at the start; it falls linearly to zero.",
    params=(
        Param("alpha", "float", 5e-4, "Weight of the ℓ1 norm at the start.", 0.0, 1.0, title="α"),
        pairs.passes(10),
        pairs.BATCH,
        pairs.lr(1e-3),
    ),
    order=29,
    tasks=TASKS,
)
