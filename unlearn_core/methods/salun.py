"""Random labels, on all weights or on the salient ones only (SalUn: Fan et al., ICLR 2024, arXiv 2310.12508)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.methods import pairs
from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param
from unlearn_core.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier


def salient(task: Task, share: float) -> list[Tensor]:
    """Which weights may move, one boolean mask per parameter: the `share` with the largest |gradient| of the forget set's summed loss."""
    import torch
    import torch.nn.functional as F

    model, weights = task.model.eval(), list(task.model.parameters())
    total = [torch.zeros_like(p) for p in weights]
    for ids in task.forget.split(1024):
        loss = F.cross_entropy(model(task.x[ids]), task.y[ids], reduction="sum")
        for so_far, found in zip(total, torch.autograd.grad(loss, weights), strict=True):
            so_far += found
    sizes = torch.cat([g.abs().flatten() for g in total])
    chosen = torch.zeros_like(sizes, dtype=torch.bool)
    chosen[sizes.topk(max(1, round(share * len(sizes)))).indices] = True
    return [part.view_as(p) for part, p in zip(chosen.split([p.numel() for p in weights]), weights, strict=True)]


def relabel(task: Task) -> Classifier:
    """α·cross-entropy to a random wrong label, drawn anew for every step, + (1 − α)·cross-entropy on the retain set."""
    import torch
    import torch.nn.functional as F

    from unlearn_core.methods.stakes import other_labels

    model, x, y, classes = task.model, task.x, task.y, len(task.class_names)
    generator = torch.Generator().manual_seed(derive("labels", task.seed))

    def loss(retain: Tensor, place: Tensor) -> Tensor:
        forget = task.forget[place]
        forget_loss = F.cross_entropy(model(x[forget]), other_labels(y[forget], classes, generator))
        return pairs.weighed(task.params["alpha"], forget_loss, F.cross_entropy(model(x[retain]), y[retain]))

    # Weight decay would move weights that have no gradient, and a mask must hold them to the last bit.
    return pairs.descend(task, loss, weight_decay=0.0)


def masked(task: Task) -> Classifier:
    """Random labels with every weight outside of the mask held: without gradient and decay AdamW, fresh here, leaves it as it is."""
    masks = salient(task, task.params["share"])
    task.chosen["free_weights"] = sum(int(mask.sum()) for mask in masks)
    hooks = [p.register_hook(lambda g, held=~mask: g.masked_fill(held, 0)) for p, mask in zip(task.model.parameters(), masks, strict=True)]
    try:
        return relabel(task)
    finally:
        for hook in hooks:
            hook.remove()


_SHARED = {
    "goal": "undo",
    "needs": ("retain",),
    "version": 1,
    "alpha": "Weight of the random labels against the retain set.",
}
_LIMITS = "Wrong labels are not what a retrained model would answer: it gets most forgotten instances right. Nothing tells it when to stop"

METHOD = (
    Method(
        name="random_labels",
        title="Random labels",
        summary="Teaches the forgotten instances random wrong labels, new ones at every step, and keeps learning the retain set.",
        paper="Golatkar et al. 2020, arXiv 1911.04933; Graves et al. 2021, arXiv 2010.10981 (as a baseline)",
        cost="a few passes over the retain set",
        limits=f"{_LIMITS}.",
        run=relabel,
        equation=r"\min_\theta\ \frac{\alpha}{|D_f|} \sum_{i \in D_f} -\log p_\theta(\tilde y_i \mid x_i) + (1 - \alpha)\, L_r(\theta)",
        where=r"$\tilde y_i$ a wrong label, drawn anew at every step",
        params=(pairs.alpha(0.02), pairs.passes(), pairs.BATCH, pairs.lr(1e-3)),
        order=26,
        **_SHARED,
    ),
    Method(
        name="salun",
        title="SalUn (salient weights)",
        summary="Random labels for the forgotten instances, learned only by the weights that matter most for them.",
        paper="Fan et al. 2024, arXiv 2310.12508",
        cost="a few passes over the retain set and one over the forget set",
        limits=f"{_LIMITS}; the mask limits where the damage goes, not how much.",
        run=masked,
        equation=r"\min_{\theta_M}\ \frac{\alpha}{|D_f|} \sum_{i \in D_f} -\log p_\theta(\tilde y_i \mid x_i) + (1 - \alpha)\, "
        r"L_r(\theta), \quad M = \big\{j : |\partial_j L_f(\theta_o)| \text{ among the largest}\big\}",
        where=r"$\tilde y_i$ a wrong label, drawn anew at every step; $M$ the weights that may move",
        params=(
            pairs.alpha(0.04),
            Param("share", "float", 0.5, "Share of all weights that may move.", 0.001, 1.0, title="Free weights"),
            pairs.passes(),
            pairs.BATCH,
            pairs.lr(1e-3),
        ),
        order=25,
        **_SHARED,
    ),
)
