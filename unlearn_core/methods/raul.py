"""RAUL: reference-aligned unlearning, two objectives whose gradients must not harm each other (Khosrowshahli et al., arXiv 2606.00399)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.methods import pairs, regun
from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier

REFERENCES = ("batch", "uniform", "class")


def unconflicting(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Weights u, v such that u·a + v·b is what UPGrad makes of two gradients a, b [P].

    UPGrad (Quinton and Rey 2024, arXiv 2406.16232, §3) is the mean of the gradients, each projected onto the directions that raise no objective.
    With two, a projection takes away what lies against the other gradient: a − min(a·b, 0)/‖b‖²·b.
    """
    against = (a @ b).clamp(max=0)
    return tuple(0.5 * (1 - against / (g @ g).clamp(min=1e-30)) for g in (a, b))


def run(task: Task) -> Classifier:
    import torch
    import torch.nn.functional as F

    model, x, y, params = task.model, task.x, task.y, task.params
    towards = regun.references(task) if params["reference"] != "uniform" else None
    weights = [p for p in model.parameters() if p.requires_grad]

    def loss(retain: Tensor, place: Tensor) -> Tensor:
        logits = model(x[task.forget[place]])
        reference = torch.full_like(logits, 1 / logits.shape[1]) if towards is None else towards[place]
        reference = reference if params["reference"] == "class" else regun.spread(reference)
        parts = (
            params["alpha"] * regun.divergence(logits, reference),
            (1 - params["alpha"]) * F.cross_entropy(model(x[retain]), y[retain]),
        )
        gradients = [torch.cat([g.flatten() for g in torch.autograd.grad(part, weights, retain_graph=True)]) for part in parts]
        # Weights held fixed, so that the gradient of this sum is the combined one.
        return sum(weight * part for weight, part in zip(unconflicting(*gradients), parts, strict=True))

    return pairs.descend(task, loss)


METHOD = Method(
    name="raul",
    title="RAUL (reference-aligned)",
    summary="Pulls the forgotten instances to a reference for unseen ones and learns the retain set, as two objectives of which no step may harm either.",
    paper="Khosrowshahli et al. 2026, arXiv 2606.00399; combination: Quinton and Rey 2024, arXiv 2406.16232",
    goal="undo",
    needs=("retain", "heldout"),
    cost="a few passes over the retain set, each about twice as dear as one of ∇τ",
    limits="One answer for a whole batch, as ReGUn. Written from the publication's summary: how the reference is averaged, AdamW (which bends the "
    "combined gradient, so that a step may harm one objective a little) and the weights before combining are ours.",
    version=1,
    run=run,
    equation=r"\theta \leftarrow \theta - \frac{\eta}{2} \big(g_f^\perp + g_r^\perp\big), \quad g_f^\perp = g_f - \frac{\min(g_f \cdot "
    r"g_r,\, 0)}{\lVert g_r \rVert^2}\, g_r, \quad g_f = \alpha \nabla \mathrm{KL}_f, \quad g_r = (1 - \alpha) \nabla L_r",
    where=r"$\mathrm{KL}_f$ mean divergence of the model's predictions for the forget set from the reference; $g_r^\perp$ as $g_f^\perp$, "
    r"the other way round",
    alpha="Weight of the reference's objective before the gradients are combined; 0.5 treats both alike.",
    params=(
        pairs.alpha(0.005),
        Param(
            "reference",
            "choice",
            "batch",
            "batch: the model's mean answer for held-out instances of the forget batch's mix of classes; uniform: every class equally likely; class: "
            "for held-out instances of the same class (ours).",
            choices=REFERENCES,
        ),
        pairs.passes(),
        pairs.BATCH,
        pairs.lr(1e-3),
    ),
    order=22,
)
