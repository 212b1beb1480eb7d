"""NegGrad: ascend on the loss of the forget set until the model gets it wrong (gradient ascent, the oldest baseline)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def run(task: Task) -> Classifier:
    import torch

    from unlearn_core.models.objectives import loss
    from unlearn_core.models.training import accuracy, adamw, batches, optimise

    model, x, y, params = task.model, task.x, task.y, task.params
    generator = torch.Generator().manual_seed(task.seed)

    def wrong(model: Classifier) -> bool:
        return task.watch(model) or accuracy(model, x, y, task.forget) == 0

    if accuracy(model, x, y, task.forget) == 0:
        task.notes.append("The original already gets every one of these instances wrong, so there was nothing to do.")
        return model
    optimise(
        model, params["epochs"],
        lambda epoch: ((b,) for b in batches(task.forget, params["batch"], generator)),
        lambda b: -loss(model(x[b]), y[b]),
        adamw(model, params["lr"], 0.0),
        training_mode=False,
        progress=task.progress,
        after_epoch=wrong,
    )  # fmt: skip
    task.progress(1.0)
    left = accuracy(model, x, y, task.forget)
    if left > 0:
        task.notes.append(f"The steps ended before every instance was answered wrongly: {left:.0%} are still answered right.")
    return model


METHOD = Method(
    name="neggrad",
    title="NegGrad (gradient ascent)",
    summary="Ascends on the loss of the forget set alone until the model answers all of it wrongly.",
    paper="Golatkar et al. 2020, arXiv 1911.04933 (as a baseline)",
    goal="misclassify",
    needs=(),
    cost="a few passes over the forget set",
    limits="Wrong answers are no trace-free answers: retraining would still get most of the points right, and retained ones like them suffer.",
    version=1,
    run=run,
    equation=r"\max_\theta\ L_f(\theta) \quad \text{from } \theta_o",
    params=(
        Param("epochs", "int", 200, "Most passes over the forget set; it stops when all of it is answered wrongly.", 1, 10_000),
        Param("lr", "float", 1e-3, "Learning rate of AdamW.", 1e-6, 1.0, title="Learning rate"),
        Param("batch", "int", 64, "Forgotten instances per step.", 1, 4096, advanced=True),
    ),
    order=4,
    tasks=("classes", "labels"),  # a number is never simply wrong
)
