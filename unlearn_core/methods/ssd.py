"""Selective synaptic dampening: shrink the weights that matter more for the forget set than for the rest (Foster et al., AAAI 2024)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unlearn_core.methods.base import Method, Task
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.methods.curvature import Weights
    from unlearn_core.models.classifier import Classifier

AT_ONCE = 20_000_000  # gradient entries
SELECTION, MOST = 10.0, 1e5
LOST = 0.01  # of retained accuracy


def importance(weights: Weights, x: Tensor, y: Tensor, progress: Callable[[float], None] = lambda done: None) -> Tensor:
    """Diagonal of the empirical Fisher information [P]: the mean over instances of their squared gradients."""
    from unlearn_core.methods.curvature import gradients

    total, chunk, done = 0.0, max(1, AT_ONCE // len(weights.vector)), 0
    for part in zip(x.split(chunk), y.split(chunk), strict=True):
        total = total + gradients(weights, *part).square().sum(dim=0)
        done += len(part[0])
        progress(done / len(x))
    return total / len(x)


def dampened(vector: Tensor, forget: Tensor, retain: Tensor, selection: float, dampening: float) -> tuple[Tensor, Tensor]:
    """θᵢ·min(λ·I_r/I_f, 1) where I_f > α·I_r, with α `selection` and λ `dampening`; and which were selected. All [P]."""
    import torch

    selected = forget > selection * retain
    # Where nothing is selected the quotient may be 0/0, so it is only taken where it is used.
    shrink = (dampening * retain / torch.where(selected, forget, 1.0)).clamp(max=1.0)
    return torch.where(selected, vector * shrink, vector), selected


def run(task: Task) -> Classifier:
    from unlearn_core.methods.curvature import Weights
    from unlearn_core.models.training import accuracy, mean_loss, threads

    x, y, params, given = task.x, task.y, task.params, task.params["selection"]
    before, selection = accuracy(task.model, x, y, task.retain), given if given != AUTO else SELECTION
    with threads(task.model):
        weights = Weights(task.model)
        forget = importance(weights, x[task.forget], y[task.forget])
        retain = importance(weights, x[task.retain], y[task.retain], lambda done: task.progress(0.9 * done))
        while True:
            vector, selected = dampened(weights.vector, forget, retain, selection, params["dampening"])
            weights.place(vector)
            harm = before - accuracy(task.model, x, y, task.retain)
            if given != AUTO or harm <= LOST or selection >= MOST:
                break
            selection *= 2
    task.chosen.update(selection=selection, dampened_weights=int(selected.sum()))
    if not selected.any():
        task.notes.append(
            "No weight matters so much more for these instances than for the rest, so the model is unchanged: lower the selection."
        )
    task.progress(1.0, loss=mean_loss(task.model, x, y, task.retain))
    task.watch(task.model)
    return task.model


METHOD = Method(
    name="ssd",
    title="Selective synaptic dampening",
    summary="Shrinks the weights that matter far more for the forgotten instances than for the rest, in one step without training.",
    paper="Foster, Schoepf, Brintrup 2024, arXiv 2308.07707",
    goal="undo",
    needs=("retain",),
    cost="one gradient for every instance, about one or two passes",
    limits="Made for whole classes or persons: a random set matters to the same weights as the rest, so next to nothing changes. Hard points have "
    "large gradients everywhere: with a fixed selection that wrecks the model.",
    version=1,
    run=run,
    equation=r"\theta_j \leftarrow \theta_j \cdot \min\Big(\lambda\, \frac{F^r_j}{F^f_j},\, 1\Big) \quad \text{where } F^f_j > s\, F^r_j",
    where=r"$\theta_j$ one weight; $F^f_j$, $F^r_j$ its mean squared gradients on the forget and the retain set; $s$ selection, $\lambda$ "
    r"dampening",
    params=(
        Param(
            "selection",
            "float",
            AUTO,
            "Shrink a weight that matters this many times more for the forget set.",
            0.0,
            1e6,
            manual=SELECTION,
            auto=f"{SELECTION:g} (the paper), doubled until no more than {LOST:.0%} of the retained instances are lost (ours)",
        ),
        Param("dampening", "float", 1.0, "Higher shrinks less.", 0.0, 1e6),
    ),
    order=27,
)
