"""ReGUn: reference-guided unlearning, towards what the model says of held-out instances (Mirlach et al., arXiv 2603.11210)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.methods import pairs
from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier


def references(task: Task) -> Tensor:
    """For every forgotten instance the original's mean prediction for held-out instances of its class, [|forget|, C] probabilities.

    A class without held-out instances gets the mean over all of them, and a note says so.
    """
    import torch

    labels, of = task.y[task.forget], task.y[task.heldout]
    said = pairs.answers(task.model, task.x, task.heldout).softmax(dim=1)
    same = (labels[:, None] == of).to(said)
    count = same.sum(dim=1, keepdim=True)
    if alone := set(labels.tolist()) - set(of.tolist()):
        named = ", ".join(task.class_names[c] for c in sorted(alone))
        task.notes.append(f"No held-out instance belongs to {named}: the reference of these is the mean over all held-out instances.")
    return torch.where(count > 0, same @ said / count.clamp(min=1), said.mean(dim=0))


def spread(reference: Tensor) -> Tensor:
    """One reference for the whole batch [B, C], as in the publication: the mean over held-out instances of the same mix of classes."""
    return reference.mean(dim=0).expand_as(reference)


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(reference ‖ model) in nats, mean over the batch; logits and reference [B, C]."""
    import torch.nn.functional as F

    return F.kl_div(F.log_softmax(logits, dim=1), reference, reduction="batchmean")


def run(task: Task) -> Classifier:
    import torch.nn.functional as F

    model, x, y, towards = task.model, task.x, task.y, references(task)

    def loss(retain: Tensor, place: Tensor) -> Tensor:
        reference = towards[place] if task.params["reference"] == "class" else spread(towards[place])
        forget_loss = divergence(model(x[task.forget[place]]), reference)
        return pairs.weighed(task.params["alpha"], forget_loss, F.cross_entropy(model(x[retain]), y[retain]))

    return pairs.descend(task, loss)


METHOD = Method(
    name="regun",
    title="ReGUn (reference-guided)",
    summary="Pulls what the model says of the forgotten instances to what it says of held-out ones, and keeps learning the retain set.",
    paper="Mirlach, Vogt, Laguna 2026, arXiv 2603.11210",
    goal="undo",
    needs=("retain", "heldout"),
    cost="a few passes over the retain set",
    limits="One answer for a whole batch of mixed classes says little of any of its instances: with a larger α they end far less sure than after "
    "retraining. Plain means over the held-out instances stand for the publication's draws, and α is lower than its one half, which small data do not bear.",
    version=1,
    run=run,
    equation=r"\min_\theta\ \frac{\alpha}{|D_f|} \sum_{i \in D_f} \mathrm{KL}\big(r_i \,\|\, p_\theta(x_i)\big) + (1 - \alpha)\, "
    r"L_r(\theta)",
    where=r"$r_i$ mean prediction of the original for held-out instances of the batch's, or the instance's, classes",
    alpha="Weight of the pull to the reference against the retain set.",
    params=(
        pairs.alpha(0.03),
        Param(
            "reference",
            "choice",
            "batch",
            "batch: one reference for the whole forget batch, from held-out instances of the same mix of classes (the paper); class: one for each "
            "class (ours), which teaches a mislabelled instance its wrong label again.",
            choices=("batch", "class"),
        ),
        pairs.passes(),
        pairs.BATCH,
        pairs.lr(1e-3),
    ),
    order=21,
)
