"""The relearn race: a copy of a model learns given instances again, and we watch how fast."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearn_core.models import training
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.objectives import loss

EPOCHS = 10
SLOWER = 4  # at the recipe's own rate a first step of AdamW throws a model further than it has left to learn
LEAST_STEPS = 2  # an epoch, or the order of the instances would not matter
USUAL = {"batch": 64, "lr": 4e-3, "weight_decay": 1e-4}  # for models that are trained in a way of their own


def relearn(
    model: Classifier, x: Tensor, y: Tensor, forget: Sequence[int], params: dict[str, Any], seed: int, device: str, epochs: int = EPOCHS
) -> tuple[np.ndarray, np.ndarray]:
    """Mean loss in nats and accuracy on the instances `forget` before and after each epoch of learning only them, [epochs + 1] each.

    A copy is trained, with the optimiser and weight decay of the recipe in `params` at a constant quarter of its learning rate, in its batches
    or in halves of a set that fits one. Standardisation, BatchNorm statistics and dropout stay as in evaluation, so that models start from
    what they answer now. seed: the order of the instances; the same seed gives the same race.
    Relearn time: Golatkar et al., arXiv:1911.04933.
    """
    model, rows, params = copy.deepcopy(model), torch.as_tensor(np.asarray(forget), device=device), USUAL | params
    generator, size = torch.Generator().manual_seed(seed), min(params["batch"], -(-len(rows) // LEAST_STEPS))
    seen: list[tuple[float, float]] = []

    def record(model: Classifier) -> bool:
        seen.append((training.mean_loss(model, x, y, rows), training.accuracy(model, x, y, rows)))
        return False

    def feed(epoch: int) -> Iterator[tuple[Tensor]]:
        return ((batch,) for batch in training.batches(rows, size, generator))

    record(model)
    training.optimise(
        model, epochs, feed, lambda batch: loss(model(x[batch]), y[batch]),
        training.adamw(model, params["lr"] / SLOWER, params["weight_decay"]),
        training_mode=False,
        after_epoch=record,
    )  # fmt: skip
    losses, accuracies = np.array(seen).T
    return losses, accuracies
