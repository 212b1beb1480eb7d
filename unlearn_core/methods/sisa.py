"""SISA: retrain only the shards that held the points, each from its last checkpoint that knows none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unlearn_core.methods.base import Method, Task
from unlearn_core.models import sharding

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def run(task: Task) -> Classifier:
    import torch

    model, retain, forget = task.model, task.retain, task.forget
    plan = sharding.touched(torch.cat([retain, forget]).cpu().numpy(), forget.cpu().numpy(), model.params, int(model.seed))
    # No guard-rail: whatever comes out is what training without the points gives.
    model.learn(task.x, task.y, retain.cpu().numpy(), plan.first, task.progress, task.look)
    task.chosen |= {
        "shards_redone": len(plan.shards),
        "redone_from": {str(k): int(plan.first[k]) for k in plan.shards},
        "share_redone": round(plan.share, 4),
    }
    return model


def forecast(model_params: dict[str, Any], ids: Sequence[int], forget: Sequence[int], seed: int) -> str:
    return sharding.touched(ids, forget, model_params, seed).words


def share(model_params: dict[str, Any], ids: Sequence[int], forget: Sequence[int], seed: int) -> float:
    return sharding.touched(ids, forget, model_params, seed).share


METHOD = Method(
    name="sisa",
    title="SISA (exact, sharded)",
    summary="Retrains only the members that learned from the points, each from its last checkpoint before them. "
    "The result is, bit for bit, the ensemble that the same seed gives without the points.",
    paper="Bourtoule et al. 2021, arXiv 1912.03817",
    goal="undo",
    needs=("retain", "train"),
    cost="the touched shards from the touched slice on: little for a few points, a whole retraining for many",
    limits="Only for the SISA ensemble, which is less accurate than one model on all data. Random points soon touch every shard.",
    version=1,
    run=run,
    equation=r"p(x) = \frac1K \sum_{k=1}^K p_{\theta_k}(x), \qquad \theta_k = \mathcal A(D_k \setminus D_f \mid \theta_k^{<f})",
    where=r"$p$ prediction of the ensemble; $\theta_k$ weights of member $k$ of $K$, $D_k$ its instances, $\mathcal A$ its training, from "
    r"$\theta_k^{<f}$ on, its last checkpoint that knows no forgotten instance",
    order=10,
    models=("sisa",),
    # Any other leaves checkpoints that know what it forgot, and members that its steps moved.
    follows=("sisa", "retrain"),
    forecast=forecast,
    share=share,
)
