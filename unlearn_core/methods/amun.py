"""AMUN: learn the nearest adversarial point of every forgotten instance with the wrong answer it gets (Ebrahimpour-Boroojeny et al., ICML 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.errors import BadInput
from unlearn_core.methods import pairs
from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param
from unlearn_core.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier

EPS, ROUNDS = 0.1, 10  # the first radius, in standard deviations of the input; how often it is doubled


def adversarial(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """For every forgotten instance a point near it that the original answers wrongly: points [|forget|, *shape], their answers, whether found.

    Attacked towards the likeliest wrong class, within radii (L2 norm, standardised units) that double until the answer is not the label.
    """
    import torch

    from unlearn_core.methods.stakes import CHUNK, attack
    from unlearn_core.models.training import threads

    model, x, y = task.model.eval(), task.x[task.forget], task.y[task.forget]
    if not x.is_floating_point():
        raise BadInput("method", "its attack moves inputs a little, and words cannot be moved.", "Choose another method.")
    generator = torch.Generator().manual_seed(derive("attack", task.seed))
    wrong = pairs.answers(model, task.x, task.forget).scatter(1, y[:, None], -torch.inf).argmax(dim=1)
    found, left, eps, steps = x.clone(), torch.arange(len(x), device=x.device), EPS, task.params["attack_steps"]
    answered = y.clone()
    with threads(model):
        for _ in range(ROUNDS):
            task.progress(0.0)
            for part in left.split(CHUNK):
                found[part] = attack(model, x[part], wrong[part], eps=eps, steps=steps, step_size=eps / 10, generator=generator)
            answered[left] = pairs.answers(model, found, left).argmax(dim=1)
            left = left[answered[left] == y[left]]
            if not len(left):
                break
            eps *= 2
    return found, answered, answered != y


def run(task: Task) -> Classifier:
    import torch.nn.functional as F

    model, x, y = task.model, task.x, task.y
    near, answered, found = adversarial(task)
    task.chosen["adversarial"] = int(found.sum())
    if not found.all():
        task.notes.append(f"{int((~found).sum())} instances have no wrongly answered point near them: these keep their label.")

    def loss(retain: Tensor, place: Tensor) -> Tensor:
        forget = task.forget[place]
        # Where none was found, the point's answer is the label itself, which pushes nothing.
        forget_loss = F.cross_entropy(model(near[place]), answered[place])
        if task.params["own_labels"]:
            forget_loss = (forget_loss + F.cross_entropy(model(x[forget]), y[forget])) / 2
        return pairs.weighed(task.params["alpha"], forget_loss, F.cross_entropy(model(x[retain]), y[retain]))

    return pairs.descend(task, loss)


METHOD = Method(
    name="amun",
    title="AMUN (adversarial neighbours)",
    summary="Teaches the model the wrong answers that it gives close to the forgotten instances, so that it is less sure of these, and keeps the rest.",
    paper="Ebrahimpour-Boroojeny, Sundaram, Chandrasekaran 2025, arXiv 2503.00917",
    goal="undo",
    needs=("retain",),
    cost="an attack on the forget set and a few passes over the retain set",
    limits="How unsure it gets depends on how near the model's boundary already is: instances that it answers wrongly from the start stay as they "
    "are. Attacked towards the likeliest wrong class instead of any, which is ours.",
    version=1,
    run=run,
    equation=r"\min_\theta\ \frac{\alpha}{2 |D_f|} \sum_{i \in D_f} \big[\ell_i(\theta) - \log p_\theta(\tilde y_i \mid \tilde x_i)\big] "
    r"+ (1 - \alpha)\, L_r(\theta)",
    where=r"$\tilde x_i$ a point near instance $i$ that the original answers wrongly, $\tilde y_i$ that answer",
    alpha="Weight of the forgotten instances and their adversarial neighbours against the retain set.",
    params=(
        pairs.alpha(0.3),
        Param(
            "own_labels",
            "bool",
            False,
            "Also go on teaching the forgotten instances their own labels, the publication's other variant; small models then forget nothing.",
        ),
        pairs.passes(),
        Param("attack_steps", "int", 50, "Steps of the attack for every radius.", 1, 1000, advanced=True),
        pairs.BATCH,
        pairs.lr(4e-3),
    ),
    order=30,
)
