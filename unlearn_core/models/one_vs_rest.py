"""One regularised logistic regression per class with a random linear term: its gradient, curvature and minimum, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.training import Progress

TOLERANCE = 1e-6  # of the norm of the gradient, in nats
ROUNDS, STEPS = 50, 20


class UnitLength(nn.Module):
    """x ↦ (x, 1)/‖(x, 1)‖: length 1 without a statistic of any dataset, and boundaries stay straight in x."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(F.pad(x.flatten(1), (0, 1), value=1.0), dim=1)


class Heads:
    """The convex problem of one model on given instances, in float64.

    Lb(w) = Σᵢ [log(1 + exp(−sᵢ wᵀxᵢ)) + λ/2 ‖w‖²] + bᵀw for each class, sᵢ = ±1 for its own instances and all others (Guo et al. 2020,
    arXiv 1911.03030, §3.2). features [n, d], signs [n, C]; weights and all results have one row for each class, [C, d].
    """

    def __init__(self, model: Classifier, x: Tensor, y: Tensor):
        with torch.no_grad():
            self.features = model.features(x).double()
        self.signs = 2.0 * F.one_hot(y, len(model.noise)).double() - 1
        self.penalty = model.penalty.item()

    def loss(self, weights: Tensor) -> Tensor:
        """Σ over instances and classes, without bᵀw."""
        fit = F.softplus(-self.signs * (self.features @ weights.T)).sum()
        return fit + len(self.features) * self.penalty / 2 * weights.square().sum()

    def gradient(self, weights: Tensor) -> Tensor:
        """∇ of the loss of these instances with their share of the penalty, without b. Adds up over disjoint sets of instances."""
        pull = -self.signs * torch.sigmoid(-self.signs * (self.features @ weights.T))
        return pull.T @ self.features + len(self.features) * self.penalty * weights

    def curvature(self, weights: Tensor) -> Callable[[Tensor], Tensor]:
        """v ↦ Σᵢ σ'(wᵀxᵢ) xᵢxᵢᵀ v for each class: the Hessian without its penalty λn."""
        p = torch.sigmoid(self.features @ weights.T)
        return lambda v: (p * (1 - p) * (self.features @ v.T)).T @ self.features


def is_convex(model: Classifier) -> bool:
    """Whether this is the model that this module trains."""
    return isinstance(getattr(model, "noise", None), Tensor)


def matrix(model: Classifier) -> Tensor:
    """The weights [C, d] of all heads, float64."""
    return model.head[0].weight.detach().double()


@torch.no_grad()
def place(model: Classifier, weights: Tensor) -> None:
    """Give the heads the weights [C, d], rounded to the precision of the model."""
    model.head[0].weight.copy_(weights)


def fit(model: Classifier, x: Tensor, y: Tensor, progress: Progress, after_epoch: Callable[[Classifier], bool] | None) -> None:
    """Minimise Lb with L-BFGS and record in the buffer `beta` what the rounded result leaves of each head's gradient norm."""
    heads, noise = Heads(model, x, y), model.noise.double()
    weights = torch.zeros_like(noise, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights], max_iter=STEPS, history_size=20, tolerance_grad=0.0, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        weights.grad = heads.gradient(weights.detach()) + noise
        return heads.loss(weights.detach()) + (noise * weights.detach()).sum()

    for k in range(ROUNDS):
        loss = optimiser.step(closure).item() / len(x)
        place(model, weights.detach())
        size = (heads.gradient(weights.detach()) + noise).norm().item()
        progress((k + 1) / ROUNDS, loss=loss)
        stop = after_epoch is not None and after_epoch(model)
        if stop or size < TOLERANCE:
            break
    progress(1.0)
    model.beta.copy_((heads.gradient(matrix(model)) + noise).norm(dim=1))
