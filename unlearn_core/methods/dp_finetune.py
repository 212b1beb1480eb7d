"""Fine-tuning with differential privacy: what these steps add about any one retained instance is bounded; forgetting is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.methods.base import Method, Task
from unlearn_core.methods.finetune import LAYERS, trained
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def run(task: Task) -> Classifier:
    from unlearn_core.models import private

    model, params, instances = task.model, task.params, len(task.retain)
    model.requires_grad_(False)
    for part in trained(model, params["layers"]):
        part.requires_grad_(True)
    delta = params["delta"] if params["delta"] != AUTO else 1 / instances
    sampled, steps = private.rate(params["batch"], instances), private.count(params["epochs"], params["batch"], instances)
    noise = private.noise_for(params["epsilon"], sampled, steps, delta)
    epsilon = private.spent(noise, sampled, steps, delta)
    # No guard-rail: it would decide by the retained instances when to stop, and ε does not count that.
    private.descend(
        model, task.x, task.y, task.retain,
        epochs=params["epochs"], batch=params["batch"], lr=params["lr"], clip=params["clip"], noise=noise,
        seed=task.seed, progress=task.progress, after_epoch=task.look,
    )  # fmt: skip
    task.chosen.update(epsilon=epsilon, delta=delta, noise=noise, steps=steps, sampling_rate=sampled)
    task.notes.append(
        f"Differential privacy of this fine-tuning: ε = {epsilon:.3g}, δ = {delta:.2g} for any one retained instance ({steps:,} steps, noise σ = {noise:.3g}). "
        "That counts these steps only: the original learned the same instances without noise, and its weights, input scaling and BatchNorm "
        "statistics live on here, so nobody is protected from what it already tells. ε holds towards people who know neither the seed nor the "
        "numbers on this screen. And it is no evidence of forgetting: nothing here pushes the chosen instances out."
    )
    return model.requires_grad_(True)


METHOD = Method(
    name="dp_finetune",
    title="Fine-tuning with differential privacy",
    summary="Trains on for a few epochs on the retain set with clipped gradients and noise, and reports ε: how much these steps can tell about any one retained instance.",
    paper="Abadi et al. 2016, arXiv 1607.00133; accounting: Mironov et al. 2019, arXiv 1908.10530",
    goal="undo",
    needs=("retain",),
    cost="the chosen number of epochs, each up to twenty times as dear as one of plain fine-tuning (far more for large embeddings), so small models are retrained sooner",
    limits="ε protects retained instances in these steps and is no evidence of forgetting: nothing pushes the forgotten points out. It does not cover "
    "what the original, its input scaling and its BatchNorm statistics learned from the same instances before.",
    version=1,
    run=run,
    params=(
        Param(
            "epsilon",
            "float",
            3.0,
            "The budget: with one retained instance more or less, no outcome becomes more than e^ε times as likely. The noise follows from it.",
            0.1,
            100.0,
            title="ε",
        ),
        Param("epochs", "int", 10, "Passes over the retain set. More passes need more noise.", 1, 1000),
        Param(
            "lr",
            "float",
            0.2,
            "Learning rate of plain gradient steps; it falls to zero along a half cosine.",
            1e-6,
            10.0,
            title="Learning rate",
        ),
        Param("layers", "choice", "all", "What is trained: fewer weights take less noise in.", choices=tuple(LAYERS)),
        Param(
            "clip",
            "float",
            1.0,
            "Longest gradient of one instance; longer ones are shortened to it.",
            1e-3,
            1e3,
            title="Clipping norm",
            advanced=True,
        ),
        Param(
            "delta",
            "float",
            AUTO,
            "Probability with which ε may fail; less is stricter.",
            1e-12,
            0.1,
            manual=1e-5,
            auto="1 / retained instances",
            title="δ",
            advanced=True,
        ),
        Param("batch", "int", 64, "Retained instances per step, on average: each takes part by a coin of its own.", 1, 4096, advanced=True),
    ),
    order=4,
    equation=r"\theta \leftarrow \theta - \frac{\eta}{B} \Big[\sum_{i \in \mathcal B} g_i \min\big(1, C / \lVert g_i \rVert\big) + \mathcal N(0, \sigma^2 C^2 I)\Big]",
    where=r"$\mathcal B$ a random part of the retain set, into which each instance comes by a coin of its own, of $B$ instances on average; $g_i$ gradient "
    r"of $\ell_i$, $C$ clipping norm, $\sigma$ noise",
)
