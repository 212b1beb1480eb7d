"""∇τ: gradient-based, task-agnostic unlearning (Trippa et al., arXiv 2403.14339)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from unlearn_core.methods.base import Method, Task
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier

ALPHA_MAX = 0.95
PAPER_BATCH, PAPER_PASSES, PAPER_LR = 256, 3.0, 1e-3
AUTO_PASSES, AUTO_LR, AUTO_STEPS, AUTO_ALPHA = 6.0, 1e-3, 120, 0.5
REFRESH_EPOCHS = 5


def objective(alpha: float, unseen: float, forget_loss: Tensor, retain_loss: Tensor) -> Tensor:
    """α·max(L_v − L_f, 0)² + (1 − α)·L_r, with batch means L_f, L_r and the held-out loss L_v as a number.

    The forget term ends at L_f = L_v: it never pushes past the loss of instances that were never seen.
    """
    return alpha * (unseen - forget_loss).clamp(min=0).square() + (1 - alpha) * retain_loss


def auto_batch(passes: float, retain: int) -> int:
    """Retained instances per step such that `passes` over the retain set give about AUTO_STEPS steps or more."""
    return int(min(PAPER_BATCH, max(8, passes * retain / AUTO_STEPS)))


def plan(params: dict, forget: int, retain: int) -> dict:
    """Resolve "auto" into alpha, batch sizes, number of forget epochs and learning rate.

    paper: α = 5/3 · |D_f|/|D|, both batches 256, E = ⌊3·N_r/N_f⌋ for N batches (so about 3 passes over
    the retain set, whatever the forget size). auto: batches so small that there are about AUTO_STEPS
    steps or more (fewer where even batches of 8 do not give them).
    """
    paper = params["preset"] == "paper"
    passes = params["passes"] if params["passes"] != AUTO else PAPER_PASSES if paper else AUTO_PASSES
    batch = params["batch"]
    if batch == AUTO:
        batch = PAPER_BATCH if paper else auto_batch(passes, retain)
    forget_batch = min(forget, PAPER_BATCH if paper else max(batch, 64))
    rule = 5 / 3 * forget / (forget + retain)
    alpha = params["alpha"] if params["alpha"] != AUTO else rule if paper else max(AUTO_ALPHA, rule)
    retain_batches, forget_batches = math.ceil(retain / batch), math.ceil(forget / forget_batch)
    return {
        "alpha": min(alpha, ALPHA_MAX),
        "batch": batch,
        "forget_batch": forget_batch,
        "epochs": max(1, int(passes * retain_batches / forget_batches)),
        "lr": params["lr"] if params["lr"] != AUTO else PAPER_LR if paper else AUTO_LR,
    }


def run(task: Task) -> Classifier:
    return ascend(task)


def ascend(task: Task, besides: Callable[[Tensor], Tensor] | None = None) -> Classifier:
    """Minimise the objective on forget and retain batches, plus `besides(ids)` of every retain batch where a method has more terms."""
    import torch
    import torch.nn.functional as F

    from unlearn_core.models.training import adamw, batches, mean_loss, optimise

    model, x, y = task.model, task.x, task.y
    chosen = plan(task.params, len(task.forget), len(task.retain))
    task.chosen.update(chosen)
    epochs, alpha0 = chosen["epochs"], chosen["alpha"]
    generator = torch.Generator().manual_seed(task.seed)
    per_epoch = math.ceil(len(task.forget) / chosen["forget_batch"])
    state = {"alpha": alpha0, "unseen": 0.0}
    acted = torch.zeros((), device=x.device)

    def endless_retain() -> Iterator[Tensor]:
        while True:
            yield from batches(task.retain, chosen["batch"], generator)

    retained = endless_retain()

    def feed(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        if epoch % REFRESH_EPOCHS == 0:
            state["unseen"] = mean_loss(model, x, y, task.heldout)
        state["alpha"] = alpha0 * (1 - epoch / epochs)
        for forget in batches(task.forget, chosen["forget_batch"], generator):
            yield forget, next(retained)

    def loss(forget: Tensor, retain: Tensor) -> Tensor:
        forget_loss = F.cross_entropy(model(x[forget]), y[forget])
        retain_loss = F.cross_entropy(model(x[retain]), y[retain])
        acted.add_((forget_loss.detach() < state["unseen"]).float())
        total = objective(state["alpha"], state["unseen"], forget_loss, retain_loss)
        return total if besides is None else total + besides(retain)

    optimise(
        model, epochs, feed, loss, adamw(model, chosen["lr"]),
        schedule=lambda step: 1 - 0.9 * (step // per_epoch) / epochs,
        training_mode=task.params["statistics"] == "updated",
        progress=task.progress,
        after_epoch=task.watch,
    )  # fmt: skip
    task.chosen["acted_steps"] = int(acted.item())
    if not task.chosen["acted_steps"]:
        task.notes.append(
            "The forget term never acted: the model's loss on the chosen instances was above that on unseen data from the start, "
            "so what you see is fine-tuning on the rest, and α made no difference to it."
        )
    return model


METHOD = Method(
    name="nabla_tau",
    title="∇τ (capped ascent)",
    summary="Raises the loss on the forget set until it equals the loss on data that were never seen, and keeps learning the retain set.",
    paper="Trippa et al. 2024, arXiv 2403.14339",
    goal="undo",
    needs=("retain", "heldout"),
    cost="a few passes over the retain set",
    limits="Matches one number, the mean held-out loss: points that are harder or easier than average are pulled to the same place.",
    version=1,
    run=run,
    alpha="Weight of the forget term against the retain term at the start; it falls linearly to zero.",
    params=(
        Param(
            "alpha",
            "float",
            AUTO,
            "Weight of forgetting against retaining.",
            0.0,
            ALPHA_MAX,
            manual=AUTO_ALPHA,
            auto=f"{AUTO_ALPHA:g}, or 5/3 of the forget share if that is more (at most {ALPHA_MAX:g}); with the paper preset 5/3 of the forget share",
            title="α",
        ),
        Param(
            "preset",
            "choice",
            "auto",
            "auto scales batch and steps to the data; paper follows the publication to the letter, which on small data is close to doing nothing.",
            choices=("auto", "paper"),
        ),
        Param(
            "passes",
            "float",
            AUTO,
            "Passes over the retain set.",
            0.1,
            100,
            manual=AUTO_PASSES,
            auto=f"{AUTO_PASSES:g}; with the paper preset {PAPER_PASSES:g}",
        ),
        Param(
            "batch",
            "int",
            AUTO,
            "Retained instances per step.",
            1,
            4096,
            manual=64,
            auto=f"as many as give {AUTO_STEPS} steps, at most {PAPER_BATCH}; with the paper preset {PAPER_BATCH}",
            advanced=True,
        ),
        Param(
            "lr",
            "float",
            AUTO,
            "Learning rate of AdamW; it falls to a tenth.",
            1e-6,
            1.0,
            manual=AUTO_LR,
            auto=f"{AUTO_LR:g}",
            title="Learning rate",
            advanced=True,
        ),
        Param(
            "statistics",
            "choice",
            "frozen",
            "Whether BatchNorm statistics stay as they are (frozen) or follow the unlearning batches (updated).",
            choices=("frozen", "updated"),
            advanced=True,
        ),
    ),
    order=1,
)
