"""Influence functions: one step that undoes a group's pull on the weights (Koh and Liang 2017; Singh and Alistarh 2020; Jia et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from unlearn_core.methods.base import Method, Task
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from unlearn_core.methods.curvature import Weights
    from unlearn_core.models.classifier import Classifier

CG_STEPS, FISHER_INSTANCES = 20, 256
TOLERANCE, UNSOLVED = 0.01, 0.2  # relative residual: when to stop, when to say so
LARGE = 0.5  # of the length of the weights
LOOK_AT = 2048  # retained instances that are asked how a step did
CURVATURE_OF = 4096  # retained instances whose curvature is kept in memory
DAMPINGS = tuple(10 ** (-k / 4) for k in range(15))  # from 1 to 10^-3.5
RISE = 5e-4  # nats


def removal(forget: Tensor, retain: Tensor, count: int, kept: int) -> Tensor:
    """What the mean gradient loses when a group leaves, [P]: (1/n)·Σ_f∇ℓ − m/(n(n − m))·Σ_r∇ℓ, from the two sums of gradients.

    count: m, kept: n − m. At a minimum of the mean loss over all n it is minus the gradient of the mean loss over the retained ones, so that a
    full step with the retained Hessian is Newton's; elsewhere it leaves out what further training would do anyway (Jia et al. 2023,
    arXiv 2304.04934, §3).
    """
    total = count + kept
    return forget / total - count / (total * kept) * retain


def settle(step: Callable[[float], Tensor], rise: Callable[[Tensor], float]) -> float:
    """The smallest damping down to which no step raises the mean retained loss by more than RISE nats.

    Retraining does not raise that loss, so a rise shows where the quadratic picture ends. Measured on five datasets, with softmax regression,
    MLP and CNN, random, hardest and mislabelled sets: the best damping for closeness to retrained models mostly lies between 3·10⁻⁴ and 2·10⁻²,
    and this rule finds it to a factor of three in most cases; no fixed value and no share of the mean curvature did.
    """
    good = DAMPINGS[0]
    for damping in DAMPINGS:
        if not rise(step(damping)) <= RISE:
            break
        good = damping
    return good


def run(task: Task) -> Classifier:
    import torch

    from unlearn_core.methods.curvature import Weights, gradient

    x, y, params = task.x, task.y, task.params
    names = [name for name, _ in task.model.named_parameters() if params["layers"] == "whole model" or name.startswith("head.")]
    weights = Weights(task.model, names)
    sums = (gradient(weights, x[ids], y[ids]) for ids in (task.forget, task.retain))
    pull = removal(*sums, len(task.forget), len(task.retain))
    if not pull.norm() > 0:
        task.notes.append("These instances do not pull on the weights at all, so there was nothing to undo.")
        return task.model
    generator = torch.Generator().manual_seed(task.seed)
    solve, residual = _solver(task, weights, pull, generator)
    some = _sample(task, LOOK_AT, generator)

    @torch.no_grad()
    def loss(step: Tensor | float) -> float:
        return weights.loss(weights.vector + step, x[some], y[some]).item() / len(some)

    before = loss(0.0)
    damping = params["damping"] if params["damping"] != AUTO else settle(solve, lambda step: loss(step) - before)
    step, unsolved = params["alpha"] * solve(damping), residual(damping)
    size = (step.norm() / weights.vector.norm()).item()
    scale = 1.0
    worse = max(before, math.log(len(task.model(x[:1])[0])))  # than guessing
    while not loss(scale * step) <= worse and scale > 1e-3:
        scale /= 2
    weights.place(weights.vector + scale * step)
    task.chosen.update(damping=damping, alpha=params["alpha"], size=scale * size, residual=unsolved, taken=scale)
    if unsolved > UNSOLVED:
        task.notes.append(
            f"Conjugate gradients had not converged when they stopped (relative residual {unsolved:.0%}): give more iterations or more damping."
        )
    if size > LARGE:
        task.notes.append(
            f"The step is {size:.2g} times as long as the weights themselves, far outside of where a quadratic picture of the loss can be trusted: "
            "more damping or a smaller α makes it shorter."
        )
    if scale < 1:
        task.notes.append(
            f"The whole step would have left the model worse than guessing on retained instances, so only {scale:.2g} of it was taken."
        )
    task.progress(1.0, loss=loss(scale * step))
    task.watch(task.model)
    return task.model


def _sample(task: Task, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` retained instances, in their order, so that the seed matters only where there are more."""
    import torch

    drawn = torch.randperm(len(task.retain), generator=generator)[:count].sort().values
    return task.retain[drawn.to(task.retain.device)]


def _solver(
    task: Task, weights: Weights, pull: Tensor, generator: torch.Generator
) -> tuple[Callable[[float], Tensor], Callable[[float], float]]:
    """damping ↦ step, and damping ↦ relative residual of the linear system."""
    from unlearn_core.methods.curvature import ConjugateGradient, gauss_newton, gradients, woodfisher

    fisher, wanted = task.params["solver"] == "WoodFisher", task.params["iterations"]
    wanted = wanted if wanted != AUTO else FISHER_INSTANCES if fisher else CG_STEPS
    if fisher:
        some = _sample(task, wanted, generator)
        return woodfisher(gradients(weights, task.x[some], task.y[some]), pull), lambda damping: 0.0
    until = task.params["damping"] if task.params["damping"] != AUTO else DAMPINGS[-1]
    product = gauss_newton(weights, task.x[_sample(task, CURVATURE_OF, generator)])
    found = ConjugateGradient(product, pull, wanted, until, TOLERANCE, lambda done: task.progress(0.8 * done))
    return found.solve, found.residual


METHOD = Method(
    name="influence",
    title="Influence functions",
    summary="Estimates in one step where the weights would be without the points: their gradients, divided by the curvature of the loss.",
    paper="Koh and Liang 2017, arXiv 1703.04730; WoodFisher: Singh and Alistarh 2020, arXiv 2004.14340",
    goal="undo",
    needs=("retain",),
    cost="about 25 passes over the retain set",
    limits="An approximation without any guarantee: good for linear models and small sets, weaker for deep models and for many hard points at once.",
    version=1,
    run=run,
    equation=r"\theta = \theta_o + \alpha\,(H + \lambda I)^{-1} \Big(\frac1n \sum_{i \in D_f} \nabla \ell_i"
    r" - \frac{m}{n(n - m)} \sum_{i \in D_r} \nabla \ell_i\Big)",
    where=r"$H$ curvature of $L_r$, $\lambda$ damping, $m$ forgotten of $n$ training instances; all at $\theta_o$",
    alpha="Scale of the step: 1 is the whole influence step, 0 does nothing.",
    params=(
        Param("alpha", "float", 1.0, "Scale of the step.", 0.0, 10.0, title="α"),
        Param(
            "solver",
            "choice",
            "conjugate gradient",
            f"conjugate gradient uses the Gauss-Newton curvature of the retained instances (at most {CURVATURE_OF:,}), WoodFisher the empirical Fisher information of fewer.",
            choices=("conjugate gradient", "WoodFisher"),
        ),
        Param(
            "damping",
            "float",
            AUTO,
            "Added to the curvature in every direction: more makes the step shorter and safer.",
            1e-8,
            1e3,
            manual=1e-3,
            auto=f"the smallest value from {DAMPINGS[0]:g} down to {DAMPINGS[-1]:.1g} at which the retained loss does not rise by {RISE:g}",
        ),
        Param(
            "layers",
            "choice",
            "whole model",
            "Which weights the step may change.",
            choices=("whole model", "head only"),
        ),
        Param(
            "iterations",
            "int",
            AUTO,
            "Steps of conjugate gradients, or retained instances that WoodFisher uses.",
            1,
            2000,
            manual=50,
            auto=f"{CG_STEPS} steps, {FISHER_INSTANCES} instances",
            advanced=True,
        ),
    ),
    order=5,
)
