"""∇τ: gradient-based, task-agnostic unlearning (Trippa et al., arXiv 2403.14339)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from unlearn_core.data.base import TASKS
from unlearn_core.errors import BadInput
from unlearn_core.methods.base import Method, Task
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier

ALPHA_MAX = 0.95
PAPER_BATCH, PAPER_PASSES, PAPER_LR = 256, 3.0, 1e-3
AUTO_PASSES, AUTO_LR, AUTO_STEPS, AUTO_MOST, AUTO_ALPHA = 6.0, 1e-3, 120, 240, 0.5
REFRESH_EPOCHS, REFRESHES = 5, 30  # epochs after which the held-out loss is read again, and about how often at the most
LOOKS = 100  # about how often at the most the guard-rail looks; an epoch of few forgotten instances is one step
CAPS = ("batch", "class", "instance")


def objective(alpha: float, unseen: float | Tensor, forget_loss: Tensor, retain_loss: Tensor) -> Tensor:
    """α·mean max(L_v − L_f, 0)² + (1 − α)·L_r: L_r a batch mean, L_f the batch mean [] or a loss for every forgotten instance [B].

    unseen: the held-out loss L_v, one number or one for every forgotten instance. The forget term ends at L_f = L_v: it never pushes past the
    loss of instances that were never seen.
    """
    return alpha * (unseen - forget_loss).clamp(min=0).square().mean() + (1 - alpha) * retain_loss


def class_means(losses: Tensor, labels: Tensor) -> Tensor:
    """For every instance the mean of `losses` [B] over those of its label [B]: a mean of its squares weighs each class by its share."""
    together = (labels[:, None] == labels).to(losses)
    return together @ losses / together.sum(dim=1)


def unseen_by_class(model: Classifier, x: Tensor, y: Tensor, heldout: Tensor, labels: Tensor) -> dict[int, float]:
    """Class of `labels` → mean loss of its held-out instances, or of all of them where the class has none."""
    from unlearn_core.models.training import mean_loss

    of_class = {c: heldout[y[heldout] == c] for c in labels.unique().tolist()}
    return {c: mean_loss(model, x, y, ids if len(ids) else heldout) for c, ids in of_class.items()}


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
    few = min(AUTO_PASSES, AUTO_MOST * PAPER_BATCH / retain)
    passes = params["passes"] if params["passes"] != AUTO else PAPER_PASSES if paper else few
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


def ascend(task: Task, besides: Callable[[Tensor], Tensor] | None = None, refresh: float | None = None) -> Classifier:
    """Minimise the objective on forget and retain batches, plus `besides(ids)` of every retain batch where a method has more terms.

    refresh: epochs after which the held-out loss is read again; None for every REFRESH_EPOCHS, of many epochs fewer (reading it takes as long as
    a few dozen steps). Where an instance has several labels the objective takes the mean of their losses.
    """
    import torch

    from unlearn_core.models.objectives import loss as loss_of
    from unlearn_core.models.training import adamw, batches, mean_loss, optimise

    model, x, y = task.model, task.x, task.y
    chosen = plan(task.params, len(task.forget), len(task.retain))
    task.chosen.update(chosen)
    epochs, alpha0 = chosen["epochs"], chosen["alpha"]
    if refresh is None:
        refresh = REFRESH_EPOCHS if task.params["preset"] == "paper" else max(REFRESH_EPOCHS, epochs // REFRESHES)
    generator = torch.Generator().manual_seed(task.seed)
    per_epoch = math.ceil(len(task.forget) / chosen["forget_batch"])
    # Requests from before there was a choice say nothing of it.
    cap = task.params.get("cap", CAPS[0])
    if cap == "class" and y.dim() > 1:
        raise BadInput(
            "cap", "these instances have no single class to be capped by.", f"Choose {' or '.join(c for c in CAPS if c != cap)}."
        )
    # Per label, as in the paper's text study: one term is squared, so α would weigh a sum otherwise for every number of labels.
    labels = y.shape[1] if y.dim() > 1 else 1
    state = {"alpha": alpha0, "unseen": 0.0, "done": 0}
    acted = torch.zeros((), device=x.device)

    def endless_retain() -> Iterator[Tensor]:
        while True:
            yield from batches(task.retain, chosen["batch"], generator)

    retained = endless_retain()

    def read_unseen() -> float | Tensor:
        if cap != "class":
            return mean_loss(model, x, y, task.heldout)
        found = next(model.parameters()).new_zeros(len(task.class_names))
        for label, value in unseen_by_class(model, x, y, task.heldout, y[task.forget]).items():
            found[label] = value
        return found

    def to_cap(ids: Tensor) -> tuple[float | Tensor, Tensor]:
        """L_v and L_f of a forget batch, as far apart as the cap asks for."""
        if cap == "batch":
            return state["unseen"], loss_of(model(x[ids]), y[ids])
        losses = loss_of(model(x[ids]), y[ids], "none")
        return (state["unseen"], losses) if cap == "instance" else (state["unseen"][y[ids]], class_means(losses, y[ids]))

    def feed(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        if epoch % refresh == 0:
            state["unseen"] = read_unseen()
        state["alpha"] = alpha0 * (1 - epoch / epochs)
        for forget in batches(task.forget, chosen["forget_batch"], generator):
            yield forget, next(retained)

    def watch(model: Classifier) -> bool:
        state["done"] += 1
        return (state["done"] % max(1, epochs // LOOKS) == 0 or state["done"] == epochs) and task.watch(model)

    def loss(forget: Tensor, retain: Tensor) -> Tensor:
        unseen, forget_loss = to_cap(forget)
        retain_loss = loss_of(model(x[retain]), y[retain])
        acted.add_((forget_loss.detach() < unseen).any().float())
        total = objective(state["alpha"], unseen / labels, forget_loss / labels, retain_loss / labels)
        return total if besides is None else total + besides(retain)

    optimise(
        model, epochs, feed, loss, adamw(model, chosen["lr"]),
        schedule=lambda step: 1 - 0.9 * (step // per_epoch) / epochs,
        training_mode=task.params["statistics"] == "updated",
        progress=task.progress,
        after_epoch=watch,
    )  # fmt: skip
    task.chosen["acted_steps"] = int(acted.item())
    if cap == "class" and (alone := set(y[task.forget].tolist()) - set(y[task.heldout].tolist())):
        named = ", ".join(task.class_names[c] for c in sorted(alone))
        task.notes.append(f"No held-out instance belongs to {named}: these were held to the mean loss of all held-out instances.")
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
    version=2,
    run=run,
    equation=r"\min_\theta\ \alpha_t \big[\max(L_v - L_f(\theta),\, 0)\big]^2 + (1 - \alpha_t)\, L_r(\theta)",
    where="where an instance has several labels, every loss is the mean over them",
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
            auto=f"{AUTO_PASSES:g}, or as many as {AUTO_MOST} steps give on a large set; with the paper preset {PAPER_PASSES:g}",
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
        Param(
            "cap",
            "choice",
            CAPS[0],
            "What may rise to the loss of unseen instances: the mean of the forget batch (the paper); the mean of each class, to that of unseen "
            "instances of its class, or of all where it has none (ours); every instance by itself (ours).",
            choices=CAPS,
            title="Capped at",
            advanced=True,
        ),
    ),
    order=1,
    tasks=TASKS,
)
