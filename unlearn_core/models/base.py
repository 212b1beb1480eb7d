"""Declarations of models, without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlearn_core.data.base import TASKS
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    from unlearn_core.data.base import Dataset
    from unlearn_core.models.classifier import Classifier

LEAST_STEPS, MOST_STEPS = 900, 5000  # of automatic epochs
LARGE = 28 * 28  # pixels from which on an image is dear enough for bfloat16
RECIPE_VERSION = 1  # changes whenever the training loop gives other weights for the same recipe


@dataclass(frozen=True)
class Facts:
    """What an architecture must know of a dataset: the shape of one input, how many classes there are (or labels, or numbers), how many token ids (texts), and for
    each column of a table the number of its categories, 0 for numbers."""

    shape: tuple[int, ...]
    classes: int
    vocabulary: int = 0
    categories: tuple[int, ...] = ()

    @staticmethod
    def of(dataset: Dataset) -> Facts:
        kinds = tuple(map(len, dataset.categories))
        outputs = len(dataset.class_names) if dataset.targets is None else dataset.targets.shape[1]
        return Facts(dataset.inputs.shape[1:], outputs, dataset.vocabulary, kinds if any(kinds) else ())


@dataclass(frozen=True)
class ModelInfo:
    """Declaration of an architecture.

    `build(facts, params) -> Classifier` draws fresh weights from torch's global seed.
    params hold the architecture's own choices and the training recipe (see `recipe`). version changes
    whenever the same parameters give another network.
    `train(info, dataset, params, ids, seed, device, progress, after_epoch) -> Classifier`: where the usual recipe is not
    how this model is trained (shards with checkpoints, a convex problem solved to the end); then params need none of `recipe`.
    tasks: of `data.base.TASKS`, those that it learns.
    withheld: tensors that a later request needs and nobody else should have, since they tell about what was forgotten; `report.weights` leaves them out.
    `prepare(dataset, params, folder, device, progress) -> Dataset`: what it learns in the place of the dataset (features of a frozen encoder),
    computed once and kept in `folder`. `lacks(params)` says why it cannot be used here (a package that is not installed), "" if it can.
    caution: a sentence that every result of this architecture must carry.
    """

    name: str
    title: str
    description: str
    modalities: tuple[str, ...]
    build: Callable[[Facts, dict[str, Any]], Classifier]
    params: tuple[Param, ...]
    order: int = 100
    version: int = 1
    train: Callable[..., Classifier] | None = None
    tasks: tuple[str, ...] = TASKS
    withheld: tuple[str, ...] = ()
    prepare: Callable[..., Dataset] | None = None
    lacks: Callable[[dict[str, Any]], str] | None = None
    caution: str = ""


def recipe(*, epochs: int, batch: int = 64, lr: float = 1e-3, weight_decay: float = 1e-4) -> tuple[Param, ...]:
    """The training recipe that every architecture declares, with this architecture's defaults."""
    rule = f"{epochs}, or as many as {LEAST_STEPS} steps need on a small dataset and {MOST_STEPS:,} give on a large one"
    return (
        Param("epochs", "int", AUTO, "Passes over the training data.", 1, 2000, auto=rule, manual=epochs),
        Param("usual_epochs", "int", epochs, "What epochs = auto means on a dataset that is large enough.", 1, 2000, advanced=True),
        Param("batch", "int", batch, "Instances per step.", 1, 65_536),
        Param("lr", "float", lr, "Learning rate of AdamW; it falls to zero along a half cosine.", 1e-6, 1.0, title="Learning rate"),
        Param("weight_decay", "float", weight_decay, "Decoupled weight decay of AdamW.", 0.0, 1.0),
    )


def epochs_for(params: dict[str, Any], instances: int) -> int:
    """The number of epochs that `params` mean for a training set of `instances`."""
    if params["epochs"] != AUTO:
        return params["epochs"]
    steps_per_epoch = -(-instances // params["batch"])
    return max(min(params["usual_epochs"], -(-MOST_STEPS // steps_per_epoch)), -(-LEAST_STEPS // steps_per_epoch))


PRECISION = Param(
    "precision",
    "choice",
    "auto",
    "Numbers that convolutions and matrix products are computed with while training. bfloat16 keeps 8 bits of precision and is two to three "
    "times as fast where the processor knows it; auto takes it for pictures of 28×28 pixels or more. Reading a model is always float32.",
    choices=("auto", "float32", "bfloat16"),
    advanced=True,
)


def halved(facts: Facts, params: dict[str, Any]) -> bool:
    """Whether PRECISION means bfloat16 for these pictures."""
    return params["precision"] == "bfloat16" or (params["precision"] == "auto" and facts.shape[-2] * facts.shape[-1] >= LARGE)
