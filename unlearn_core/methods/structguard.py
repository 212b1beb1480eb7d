"""StructGuard, "Stake the Points": misclassify the forget set while anchors hold the inner structure (Hong et al., arXiv 2603.12915)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from unlearn_core.methods.base import Method, Task
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier

SPARSITY = 1e-3  # weight of the elastic net


def still_right(model: Classifier, x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
    """Those of the instances `ids` that the model answers right."""
    import torch

    with torch.no_grad():
        return ids[model(x[ids]).argmax(1) == y[ids]]


def run(task: Task) -> Classifier:
    import torch
    import torch.nn.functional as F
    from torch import nn

    from unlearn_core.methods import stakes
    from unlearn_core.models.classifier import Projector
    from unlearn_core.models.training import batches, optimise

    model, x, y, params = task.model.eval(), task.x, task.y, task.params
    if not len(still_right(model, x, y, task.forget)):
        task.notes.append("The original already answers every one of these instances wrongly, so there was nothing to do.")
        return model
    generator = torch.Generator().manual_seed(task.seed)
    weight, held = stakes.head_weight(model), stakes.anchors(task)
    inputs, labels = stakes.proxies(task, generator)
    rows = torch.arange(len(inputs), device=x.device)

    width = weight.shape[1]
    projector = Projector(width, width).to(weight)
    with torch.no_grad():
        projector.settle(torch.cat([model.unprojected(part) for part in inputs.split(stakes.CHUNK)]))
    if params["projector"] == "with":
        model.projector = projector
    trained = nn.ModuleList([model, projector])

    def project(given: Tensor) -> Tensor:
        return projector(model.unprojected(given))

    guard = stakes.Guard(project, inputs, rows, held, trained.parameters(), params["strength"]) if held else None
    together = min(len(task.forget), params["batch"])  # forgotten instances a step, whether all of them are pushed or not
    state = {"left": still_right(model, x, y, task.forget)}

    def feed(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for kept in batches(rows, params["batch"], generator):
            pool = task.forget if params["deletion"] == "all" else state["left"]
            yield kept, next(batches(pool, params["batch"], generator))
            state["left"] = still_right(model, x, y, task.forget)
            if not len(state["left"]):
                return

    def loss(kept: Tensor, forget: Tensor) -> Tensor:
        features = project(inputs[kept])
        deletion = -F.cross_entropy(model.head(model.unprojected(x[forget])), y[forget])
        retention = F.cross_entropy(model.head(features), labels[kept])
        share = together / (together + len(kept))
        total = share * deletion + (1 - share) * retention + SPARSITY * stakes.elastic_net(weight)
        return total if guard is None else total + guard(kept, features)

    task.chosen["steps"] = optimise(
        model, params["epochs"], feed, loss, torch.optim.SGD(trained.parameters(), lr=params["lr"]),
        training_mode=False,
        progress=task.progress,
        after_epoch=lambda model: task.watch(model) or not len(state["left"]),
    )  # fmt: skip
    task.progress(1.0)
    if len(state["left"]):
        left = len(state["left"]) / len(task.forget)
        task.notes.append(f"The steps ended before every instance was answered wrongly: {left:.0%} are still answered right.")
    return model


ANCHORS = Param(
    "anchors",
    "choice",
    "attributes",
    "What holds the structure. attributes: texts about the classes; prototypes: the head's own direction of each class; random, "
    "permuted (texts of other classes) and none (no alignment) are controls that show whether the texts matter.",
    choices=("attributes", "prototypes", "random", "permuted", "none"),
)


def strength(default: float) -> Param:
    """λ; the two kinds of steps, plain and AdamW's, need different ones."""
    text = "Weight of staying near the original where the alignment is most sensitive; without alignment it has no effect."
    return Param("strength", "float", default, text, 0.0, 1000.0, title="λ")


PROXIES = (
    Param(
        "proxies",
        "int",
        AUTO,
        "Adversarial stand-ins for the retain set that are made of each forgotten instance.",
        1,
        1000,
        manual=20,
        auto="20, or as many as give 500 in all",
        title="Proxies per instance",
        advanced=True,
    ),
    Param(
        "eps",
        "float",
        AUTO,
        "How far a proxy may lie from its instance: L2 norm, in standard deviations of the training data.",
        1e-3,
        1e3,
        manual=8.0,
        auto="√features, one standard deviation for every input feature",
        title="Radius of the attack",
        advanced=True,
    ),
    Param("attack_steps", "int", 20, "Steps of the attack.", 1, 1000, advanced=True),
    Param(
        "step_size", "float", AUTO, "L2 norm of one step of the attack.", 1e-4, 1e3, manual=1.0, auto="2.5 · radius / steps", advanced=True
    ),
)

METHOD = Method(
    name="structguard",
    title="StructGuard (Stake the Points)",
    summary="Pushes the forget set to wrong answers without the retain set: adversarial proxies stand in for it, and the proxies' "
    "similarities to fixed anchors are held as they were.",
    paper="Hong et al. 2026, arXiv 2603.12915",
    goal="misclassify",
    needs=(),
    cost="an attack on the forget set and a few passes over its proxies",
    limits="Wrong answers are no trace-free answers. Text anchors are never aligned with the model's features, so compare them with random ones "
    "and with no alignment. Unlike the released code, proxies come from the untouched model, the projector starts as the identity, importance "
    "is scaled to a largest value of 1, and instances that are answered wrongly are pushed no further.",
    version=1,
    run=run,
    params=(
        ANCHORS,
        Param(
            "projector",
            "choice",
            "without",
            "Whether the unlearned model keeps the projector that retention and alignment were trained through, as published. It is fitted "
            "on proxies only and can fail on real instances.",
            choices=("with", "without"),
            title="Projector at inference",
        ),
        strength(4.0),
        Param(
            "deletion",
            "choice",
            "unfinished",
            "Whom the ascent pushes: the instances that are still answered right, or all of them until the last one is answered wrongly, "
            "as published. The ascent has no bound, and pushing finished instances on costs the rest of the model.",
            choices=("unfinished", "all"),
            advanced=True,
        ),
        Param("epochs", "int", 100, "Most passes over the proxies; it stops when all of the forget set is answered wrongly.", 1, 10_000),
        Param(
            "lr",
            "float",
            0.1,
            "Learning rate of plain gradient steps; times λ it should stay below 1, or the steps diverge.",
            1e-6,
            1.0,
            title="Learning rate",
        ),
        Param("batch", "int", 128, "Proxies, and forgotten instances, per step.", 1, 4096, advanced=True),
        *PROXIES,
    ),
    order=5,
)
