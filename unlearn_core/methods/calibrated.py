"""Calibrated ∇τ (ours): every instance gets a target of its own, what models that never saw it would predict for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.methods import pairs
from unlearn_core.methods.base import Method, Task
from unlearn_core.methods.nabla_tau import PAPER_BATCH
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier

ALPHA, PASSES, LR, STEPS = 0.5, 2, 3e-3, 40
DRAFTED = 0.5  # of the progress, where targets have to be made first


def objective(alpha: float, divergence: Tensor, retain_loss: Tensor) -> Tensor:
    """α·KL(never-seen prediction ‖ model) on the forget set + (1 − α)·cross-entropy on the retain set, batch means in nats."""
    return pairs.weighed(alpha, divergence, retain_loss)


def auto_batch(passes: int, retain: int) -> int:
    """Retained instances per step such that `passes` over the retain set give about STEPS steps or more."""
    return int(min(PAPER_BATCH, max(8, passes * retain / STEPS)))


def run(task: Task) -> Classifier:
    """Towards the mean, in logits, of what the shadow models and the quick models say: their errors have different causes."""
    import torch.nn.functional as F

    share = task.params["quick"]
    if share == 0:
        return pull(task, task.never_seen)
    return pull(task, F.log_softmax((1 - share) * task.never_seen + share * quick(task), dim=1), DRAFTED)


def run_without_pool(task: Task) -> Classifier:
    return pull(task, quick(task), DRAFTED)


def quick(task: Task) -> Tensor:
    """Log-probabilities [|forget|, C] from models that are quick to fit on the retain set. Raises BadInput where a layer cannot start anew."""
    from unlearn_core.models.anew import renewed
    from unlearn_core.models.targets import unseen

    found, weights = unseen(
        task.model, renewed(task.model, task.seed), task.x, task.y, task.retain, task.forget, task.heldout, task.seed,
        lambda fraction, **curves: task.progress(DRAFTED * fraction),
    )  # fmt: skip
    task.chosen["draft_weight"], task.chosen["kernel_weight"] = (round(weight, 3) for weight in weights)
    return found


def pull(task: Task, targets: Tensor, start: float = 0.0) -> Classifier:
    """Minimise the objective towards `targets` [|forget|, C], log-probabilities; progress goes on from `start`."""
    import torch
    import torch.nn.functional as F

    model, x, y, alpha, passes = task.model, task.x, task.y, task.params["alpha"], task.params["passes"]
    batch = task.params["batch"] if task.params["batch"] != AUTO else auto_batch(passes, len(task.retain))
    task.chosen["batch"] = batch

    def loss(retain: Tensor, place: Tensor) -> Tensor:
        # Through the model together: small batches cost what a call costs, and in evaluation mode none sees the other.
        forgotten, retained = model(x[torch.cat([task.forget[place], retain])]).split([len(place), len(retain)])
        divergence = F.kl_div(F.log_softmax(forgotten, dim=1), targets[place], log_target=True, reduction="batchmean")
        return objective(alpha, divergence, F.cross_entropy(retained, y[retain]))

    return pairs.descend(task, loss, batch=batch, start=start)


_LOOP = (
    Param("alpha", "float", ALPHA, "Weight of forgetting against retaining.", 0.0, 1.0, title="α"),
    Param("passes", "int", PASSES, "Passes over the retain set.", 1, 100),
    Param(
        "batch",
        "int",
        AUTO,
        "Retained instances per step.",
        1,
        4096,
        manual=64,
        auto=f"as many as give {STEPS} steps, at most {PAPER_BATCH}",
        advanced=True,
    ),
    Param(
        "lr",
        "float",
        LR,
        "Learning rate of AdamW; it falls to zero along a half cosine.",
        1e-6,
        1.0,
        title="Learning rate",
        advanced=True,
    ),
)
_SHARED = {
    "paper": "This project; after ∇τ (arXiv 2403.14339) and datamodel matching (Georgiev et al., arXiv 2410.23232)",
    "goal": "undo",
    "version": 3,
    "alpha": "Weight of the forgotten instances' targets against the retain set.",
    "equation": r"\min_\theta\ \frac{\alpha}{|D_f|} \sum_{i \in D_f} \mathrm{KL}\big(q_i \,\|\, p_\theta(x_i)\big) + (1 - \alpha)\, L_r(\theta)",
}

METHOD = (
    Method(
        name="calibrated",
        title="Calibrated ∇τ",
        summary="Pulls every instance to its own target, what models that never saw it predict for it, and keeps learning the retain set.",
        needs=("retain", "heldout", "never_seen"),
        cost="about a fifth of a retraining, and once for each dataset and model a pool of shadow models",
        limits="It is as good as its targets: a pool only estimates what models without the whole set say, and quick models are rougher than retrained ones. Where labels were wrong, fine-tuning comes closer.",
        run=run,
        where=r"$q_i$ what models that never saw instance $i$ predict for it",
        params=(
            *_LOOP,
            Param(
                "pool",
                "int",
                64,
                "Shadow models; half of them give the targets, the other half never does and may judge.",
                8,
                512,
                title="Shadow models",
            ),
            Param(
                "quick",
                "float",
                0.5,
                "Weight in the targets of a brief training from scratch and a kernel regression without the forget set; 0 asks the pool alone.",
                0.0,
                1.0,
                title="Share of quick models",
                advanced=True,
            ),
        ),
        order=2,
        **_SHARED,
    ),
    Method(
        name="calibrated_free",
        title="Calibrated ∇τ without a pool",
        summary="As calibrated ∇τ, with targets from a brief training from scratch and a kernel regression on the retain set alone.",
        needs=("retain", "heldout"),
        cost="about a fifth of a retraining",
        limits="It is as good as its targets, and those of quick models are rougher than what retrained ones say. Where labels were wrong, fine-tuning comes closer.",
        run=run_without_pool,
        where=r"$q_i$ what quick models without the forget set predict for instance $i$",
        params=_LOOP,
        order=3,
        **_SHARED,
    ),
)
