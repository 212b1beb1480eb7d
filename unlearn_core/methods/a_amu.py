"""A-AMU: match the whole distribution of losses of forgotten and unseen instances (Khan 2025, arXiv 2507.09786)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.methods import pairs
from unlearn_core.methods.base import Method, Task

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier

MOST_UNSEEN = 512


def mismatch(losses: Tensor, unseen: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance between the distributions of `losses` [N] and `unseen` [M]: mean squared difference of quantiles.

    For N = M exactly that; otherwise the unseen quantiles are read, between neighbours linearly, at the N levels (i − ½)/N.
    """
    count, among = len(losses), unseen.sort().values
    at = ((count_up(losses) + 0.5) * len(among) / count - 0.5).clamp(0, len(among) - 1)
    below = at.floor().long()
    above = (below + 1).clamp(max=len(among) - 1)
    wanted = among[below] + (at - below) * (among[above] - among[below])
    return (losses.sort().values - wanted).square().mean()


def count_up(values: Tensor) -> Tensor:
    """0, 1, … in the precision and on the device of `values` [N]."""
    import torch

    return torch.arange(len(values), dtype=values.dtype, device=values.device)


def run(task: Task) -> Classifier:
    import torch
    import torch.nn.functional as F

    model, x, y = task.model, task.x, task.y
    drawn = torch.randperm(len(task.heldout), generator=torch.Generator().manual_seed(task.seed))[:MOST_UNSEEN]
    heldout = task.heldout[drawn.to(task.heldout.device)]

    def log_losses(ids: Tensor) -> Tensor:
        return F.cross_entropy(model(x[ids]), y[ids], reduction="none").log1p()

    def loss(retain: Tensor, place: Tensor) -> Tensor:
        forget = task.forget[place]
        alike = heldout[torch.isin(y[heldout], y[forget])]
        with torch.no_grad():
            unseen = log_losses(alike if len(alike) else heldout)
        steep = F.cross_entropy(model(x[retain]), y[retain], reduction="none").square().mean()
        return pairs.weighed(task.params["alpha"], mismatch(log_losses(forget), unseen), steep)

    return pairs.descend(task, loss)


METHOD = Method(
    name="a_amu",
    title="A-AMU (loss distributions)",
    summary="Matches the distribution of the forgotten instances' losses to that of unseen ones, and learns the retain set by its squared loss.",
    paper="Khan 2025, arXiv 2507.09786",
    goal="undo",
    needs=("retain", "heldout"),
    cost="a few passes over the retain set and through the held-out instances",
    limits="Which forgotten instance gets which loss is left to their order, and a hand-picked set is pulled to the losses of average ones, up or down. "
    "Distributions are compared by quantiles of log(1 + loss), which is ours (the authors' code normalises each side's ranks by itself, which hides "
    "a shift between them); their condensed retain set is not here.",
    version=1,
    run=run,
    equation=r"\min_\theta\ \alpha\, W_2^2\big(\{\log(1 + \ell_i)\}_{D_f}, \{\log(1 + \ell_i)\}_{D_v}\big) + \frac{1 - \alpha}{|D_r|} "
    r"\sum_{i \in D_r} \ell_i^2",
    where=r"$W_2$ Wasserstein distance of two sets of numbers",
    alpha="Weight of matching the losses against the retain set.",
    params=(pairs.alpha(0.2), pairs.passes(), pairs.BATCH, pairs.lr(1e-3)),
    order=23,
)
