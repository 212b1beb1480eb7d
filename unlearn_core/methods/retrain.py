"""Retraining from scratch without the forget set: exact, and the reference for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.data.base import TASKS
from unlearn_core.methods.base import Method, Task

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier


def run(task: Task) -> Classifier:
    return task.train(task.seed)


METHOD = Method(
    name="retrain",
    title="Retrain from scratch",
    summary="Trains a new model on the retain set only, with a seed of its own that the retrained reference never uses.",
    paper="exact unlearning, by definition",
    goal="undo",
    needs=("retain", "train"),
    cost="one retraining",
    limits="The whole price of training again.",
    version=1,
    run=run,
    share=lambda model_params, ids, forget, seed: 1.0,
    order=9,
    tasks=TASKS,
    equation=r"\theta = \mathcal A(D_r)",
    where=r"$\mathcal A$ the original's training recipe, from fresh weights",
)
