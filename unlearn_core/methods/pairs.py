"""Steps on a forget batch and a retain batch at once, as most methods that fine-tune take them, and the parameters that go with them.

The weights α that methods ship with were set where a random forget set of digits ends nearest to the loss of held-out instances and no set of the
study loses more than three points of retained accuracy; retrained models had no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import TYPE_CHECKING

from unlearn_core.methods.base import Task
from unlearn_core.methods.nabla_tau import AUTO_PASSES, PAPER_BATCH, auto_batch
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier

FORGET_BATCH = 64


def alpha(default: float) -> Param:
    return Param("alpha", "float", default, "Weight of forgetting against retaining.", 0.0, 1.0, title="α")


def passes(default: int = int(AUTO_PASSES)) -> Param:
    return Param("passes", "int", default, "Passes over the retain set.", 1, 100)


def lr(default: float) -> Param:
    help = "Learning rate of AdamW; it falls to zero along a half cosine."
    return Param("lr", "float", default, help, 1e-6, 1.0, title="Learning rate", advanced=True)


BATCH = Param("batch", "int", AUTO, "Retained instances per step.", 1, 4096, manual=64, auto=f"as ∇τ, at most {PAPER_BATCH}", advanced=True)


def weighed(alpha: float, forget: Tensor, retain: Tensor) -> Tensor:
    """α·L_f + (1 − α)·L_r."""
    return alpha * forget + (1 - alpha) * retain


def answers(model: Classifier, x: Tensor, ids: Tensor, chunk: int = 8192) -> Tensor:
    """Logits [|ids|, C] of the model as it is, without gradients and in evaluation mode."""
    import torch

    model.eval()
    with torch.no_grad():
        return torch.cat([model(x[part]) for part in ids.split(chunk)])


def teacher(task: Task) -> Tensor:
    """The original's logits [N, C] of the forgotten and retained instances at their ids, zero elsewhere."""
    said = [(ids, answers(task.model, task.x, ids)) for ids in (task.forget, task.retain)]
    found = said[0][1].new_zeros(len(task.x), len(task.class_names))
    for ids, logits in said:
        found[ids] = logits
    return found


def retain_batch(task: Task) -> int:
    """Retained instances per step, "auto" resolved and written down."""
    given = task.params["batch"]
    task.chosen["batch"] = given if given != AUTO else auto_batch(task.params["passes"], len(task.retain))
    return task.chosen["batch"]


def descend(
    task: Task, loss: Callable[[Tensor, Tensor], Tensor], weight_decay: float = 0.01, batch: int | None = None, start: float = 0.0
) -> Classifier:
    """Minimise `loss(retained ids, places in task.forget)` with AdamW along a half cosine; needs the parameters passes and lr, and batch
    where none is given. Progress goes on from `start`.

    Every pass goes once over the retain set and repeats the forget set in batches of at most 64. BatchNorm statistics stay as they are.
    """
    import torch

    from unlearn_core.models.training import adamw, batches, cosine, optimise

    epochs, batch = task.params["passes"], batch or retain_batch(task)
    generator = torch.Generator().manual_seed(task.seed)
    places = torch.arange(len(task.forget), device=task.forget.device)

    def feed(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        forget = cycle(list(batches(places, FORGET_BATCH, generator)))
        yield from zip(batches(task.retain, batch, generator), forget, strict=False)

    optimise(
        task.model, epochs, feed, loss, adamw(task.model, task.params["lr"], weight_decay),
        schedule=cosine(epochs * -(-len(task.retain) // batch)),
        training_mode=False,
        progress=lambda fraction, **curves: task.progress(start + (1 - start) * fraction, **curves),
        after_epoch=task.watch,
    )  # fmt: skip
    return task.model
