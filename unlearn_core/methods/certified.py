"""Certified removal: Newton's step on a noisy convex model, with a count of what it leaves behind (Guo et al., ICML 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from unlearn_core.errors import BadInput
from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.one_vs_rest import Heads

LIPSCHITZ = 1 / (6 * math.sqrt(3))  # of σ'(z) = σ(1 − σ): the largest |σ''|
PAPER_LIPSCHITZ = 1 / 4  # what the paper takes for it
STEPS, TOLERANCE = 400, 1e-9
SLACK = 1e-6


def constant(delta: float) -> float:
    """c of δ = 1.5·exp(−c²/2) (arXiv 1911.03030, Theorem 3)."""
    return math.sqrt(2 * math.log(1.5 / delta))


def remainder(features: Tensor, step: Tensor, bound: str = "sharp") -> Tensor:
    """Bound [C] on ‖∇Lb(w + v) − ∇Lb(w) − H(w)v‖ for each head's step v, on the retained features [n, d]; step [C, d].

    With a = Xv, that vector is Xᵀq with qᵢ = aᵢ ∫₀¹ σ'(zᵢ + t·aᵢ) − σ'(zᵢ) dt, so |qᵢ| ≤ γaᵢ²/2 for the Lipschitz constant γ of σ'. "sharp":
    ‖X‖₂·γ/2·‖a²‖₂, γ = 1/(6√3). "paper": γ‖X‖₂‖v‖₂‖Xv‖₂ for ‖xᵢ‖ ≤ 1, γ = 1/4 (arXiv 1911.03030, Corollary 1), which is never smaller.
    """
    import torch

    spectral, moved = torch.linalg.eigvalsh(features.T @ features)[-1].sqrt(), features @ step.T
    if bound == "sharp":
        return spectral * LIPSCHITZ / 2 * moved.square().norm(dim=0)
    longest = features.norm(dim=1).max()
    return PAPER_LIPSCHITZ * spectral * longest * step.norm(dim=1) * moved.norm(dim=0)


def newton(forget: Heads, retain: Heads, weights: Tensor, progress: Callable[[float], None] | None = None) -> Tensor:
    """H⁻¹Δ [C, d] that removes a whole group at once: Δ = ∇ of the group's terms, H of the retained ones (arXiv 1911.03030, Theorem 4)."""
    from unlearn_core.methods.curvature import ConjugateGradient

    curvature, delta = retain.curvature(weights), forget.gradient(weights)
    stiff = len(retain.features) * retain.penalty
    found = ConjugateGradient(lambda v: curvature(v.view_as(weights)).flatten(), delta.flatten(), STEPS, stiff, TOLERANCE, progress)
    return found.solve(stiff).view_as(weights)


def run(task: Task) -> Classifier:
    """Every head's residual gradient grows by at most ‖Hv − Δ‖ + remainder(v), whatever v is; so rounding and the solver's error are counted.

    The heads are one model with one noise vector b, hence β = √Σ β_c² over classes, as the residual u of all heads together. The result is the
    exact minimum for the noise b − u, so it is as like a retrained model as b − u is like b: (ε, δ) for ‖u‖ ≤ β ≤ σε/c (arXiv 1911.03030,
    Theorem 3), if u is independent of b. It is not quite: weights, u, β and the decision to retrain all follow from b, there as here. What that
    leaves out is the alignment bᵀu and det(I − ∂u/∂b); without the assumption √D + c stands in place of c, for D numbers in b, and the
    determinant comes on top. Within the budget the true log density ratio was measured far below ε (tests). Each released model is covered by
    itself, for requests that do not depend on b.
    """
    from unlearn_core.models.one_vs_rest import Heads, is_convex, matrix, place

    model, params = task.model, task.params
    if not is_convex(model):
        raise BadInput(
            "method", "the proof holds for a convex model with noise in its objective only.", "Open the dataset with the model convex."
        )
    forget, retain = (Heads(model, task.x[ids], task.y[ids]) for ids in (task.forget, task.retain))
    before = matrix(model)
    residual = (forget.gradient(before) + retain.gradient(before) + model.noise.double()).norm(dim=1)
    if (residual > model.beta + SLACK).any():
        raise BadInput(
            "method",
            "this model's weights are not the ones that its training and earlier removals left.",
            "Start from the original, or from a certified removal.",
        )
    place(model, before + newton(forget, retain, before, lambda done: task.progress(0.0)))
    after = matrix(model)
    step, stiff = after - before, len(task.retain) * retain.penalty
    missed = retain.curvature(before)(step) + stiff * step - forget.gradient(before)
    model.beta += missed.norm(dim=1) + remainder(retain.features, step, params["bound"])
    sigma, c = model.sigma.item(), constant(params["delta"])
    budget, spent = sigma * params["epsilon"] / c, model.beta.norm().item()
    left = (retain.gradient(after) + model.noise.double()).norm().item()
    task.chosen.update(epsilon=params["epsilon"], delta=params["delta"], sigma=sigma, c=c, budget=budget, beta=spent, residual=left)
    task.chosen["retrained"] = spent > budget
    if spent > budget:
        model = task.train(task.seed)
        task.chosen["beta"] = model.beta.norm().item()
        task.notes.append(
            f"The budget was not enough: removing these instances would have taken β to {spent:.3g} of {budget:.3g}, so the model was trained from "
            "scratch without them, with fresh noise. Fewer or easier instances, more noise σ or a larger penalty λ cost less of the budget."
        )
    loss = retain.loss(matrix(model)).item() / len(task.retain)
    task.progress(1.0, loss=loss)
    task.watch(model)
    task.notes.append(certificate(task))
    return model


def certificate(task: Task) -> str:
    """What may be said of the result, in plain words."""
    got, count = task.chosen, len(task.forget)
    if got["retrained"]:
        return "Trained from scratch, so these instances left no trace; the count β of the new model starts again."
    return (
        f"Certified removal of {count:,} instance{'s' if count != 1 else ''}, all in one step: ε = {got['epsilon']:g}, δ = {got['delta']:g}, "
        f"β = {got['beta']:.3g} of a budget of {got['budget']:.3g}. Over the draw of the noise, anything that could be concluded from these weights is "
        "at most e^ε times as likely as from a model trained without the instances, up to δ, and the other way round, if what the step leaves behind "
        "is independent of the noise, as the published proof takes it to be; it nearly is. "
        "It does not speak about a single prediction, about similar instances that stayed, about weights released before, or about requests that "
        "were chosen after looking at the weights. And the noise must stay secret: the stored model holds it and the seed gives it, so "
        "pass on the weights of the head only."
    )


METHOD = Method(
    name="certified",
    title="Certified removal",
    summary="One Newton step on a convex model whose noise hides what the step leaves behind; once a budget is spent it retrains.",
    paper="Guo et al. 2020, arXiv 1911.03030",
    goal="undo",
    needs=("retain", "train"),
    cost="one Newton step, or one retraining when the budget is spent",
    limits="Only for the model convex. Large or hard forget sets spend the budget at once; retraining a convex model is cheap anyway.",
    version=1,
    run=run,
    equation=r"w^- = w + H^{-1}\Delta, \qquad \lVert \nabla L_b(w^-; D_r) \rVert_2 \le \beta \le \frac{\sigma\varepsilon}{c}, \qquad \delta = \frac32\, e^{-c^2/2}",
    where=r"$w$ weights of the head; $L_b$ the penalised loss with the noise term $b^\top w$, $b \sim \mathcal N(0, \sigma^2 I)$; "
    r"$\Delta$ gradient of the forgotten instances' part of it, $H$ its Hessian on the retain set; $\beta$ bound, $\sigma\varepsilon/c$ "
    r"budget, $\delta$ as chosen",
    models=("convex",),
    params=(
        Param(
            "epsilon", "float", 1.0, "How much likelier any conclusion may become: e^ε. The proof needs at most 1.", 1e-3, 1.0, title="ε"
        ),
        Param("delta", "float", 1e-4, "Probability with which that may fail.", 1e-12, 0.1, title="δ"),
        Param(
            "bound",
            "choice",
            "sharp",
            "How the part that the step leaves behind is bounded: sharp follows from the same Taylor expansion as the paper's and is never larger, mostly 6 to 35 times smaller.",
            choices=("sharp", "paper"),
            advanced=True,
        ),
    ),
    order=6,
)
