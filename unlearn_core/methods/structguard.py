"""StructGuard, "Stake the Points": misclassify the forget set while anchors hold the inner structure (Hong et al., arXiv 2603.12915)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn_core.methods.base import Method, Task
from unlearn_core.params import AUTO, Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier

SPARSITY = 1e-3  # weight of the elastic net
PATIENCE = 20  # passes over the proxies before the push grows


@dataclass(frozen=True)
class Proxies:
    """What "auto" means: proxies per instance, most of them in all, radius of the attack in standard deviations for every input feature."""

    each: int
    most: int
    radius: float


NEAR, FAR = Proxies(40, 2000, 0.2), Proxies(20, 500, 1.0)


def push(share: float, epoch: int) -> float:
    """Share of the deletion term in a step: as published for PATIENCE passes, then its odds against the retention term grow with the passes."""
    odds = share / (1 - share) * max(1.0, epoch / PATIENCE)
    return odds / (1 + odds)


def still_right(model: Classifier, x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
    """Those of the instances `ids` that the model answers right."""
    import torch

    with torch.no_grad():
        return ids[model(x[ids]).argmax(1) == y[ids]]


def run(task: Task) -> Classifier:
    from unlearn_core.methods import stakes

    def hold(embed: Callable, inputs: Tensor, rows: Tensor, parameters: list[Tensor]) -> stakes.Guard | None:
        held = stakes.anchors(task)
        if held and task.params["projector"] == "without" and not any(p.requires_grad for p in task.model.stages.parameters()):
            task.notes.append("This model's features are its inputs, so there was no learned structure to hold, and no anchors were used.")
            return None
        return stakes.Guard(embed, inputs, rows, held, parameters, task.params["strength"]) if held else None

    return misclassify(task, hold)


def misclassify(task: Task, hold: Callable[..., Callable[[Tensor, Tensor], Tensor] | None]) -> Classifier:
    """Deletion, retention on proxies and sparsity until all is answered wrongly, plus `hold(embed, inputs, rows, parameters)(rows, features)`."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from unlearn_core.methods import stakes
    from unlearn_core.models.classifier import Projector
    from unlearn_core.models.training import adamw, batches, optimise

    model, x, y, params = task.model.eval(), task.x, task.y, task.params
    if not len(still_right(model, x, y, task.forget)):
        task.notes.append("The model already answers every one of these instances wrongly, so there was nothing to do.")
        return model
    generator = torch.Generator().manual_seed(task.seed)
    weight = stakes.head_weight(model)
    inputs, labels = stakes.proxies(task, generator, NEAR)
    rows = torch.arange(len(inputs), device=x.device)

    # A projector that an earlier request left is part of the model, unless this one goes on with it.
    plain = model.unprojected if params["projector"] == "with" else model.features
    trained, project = nn.ModuleList([model]), plain
    if params["projector"] != "without":
        projector = model.projector if params["projector"] == "with" else None
        if projector is None:
            width = weight.shape[1]
            projector = Projector(width, width).to(weight)
            with torch.no_grad():
                projector.settle(torch.cat([plain(part) for part in inputs.split(stakes.CHUNK)]))
        if params["projector"] == "with":
            model.projector = projector
        trained.append(projector)

        def project(given: Tensor) -> Tensor:
            return projector(plain(given))

    guard = hold(project, inputs, rows, list(trained.parameters()))
    together = min(len(task.forget), params["batch"])  # forgotten instances a step, whether all of them are pushed or not
    state = {"left": still_right(model, x, y, task.forget), "epoch": 0}

    def feed(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        state["epoch"] = epoch
        for kept in batches(rows, params["batch"], generator):
            pool = task.forget if params["deletion"] == "all" else state["left"]
            yield kept, next(batches(pool, params["batch"], generator))
            state["left"] = still_right(model, x, y, task.forget)
            if not len(state["left"]):
                return

    def loss(kept: Tensor, forget: Tensor) -> Tensor:
        features = project(inputs[kept])
        deletion = -F.cross_entropy(model.head(plain(x[forget])), y[forget])
        retention = F.cross_entropy(model.head(features), labels[kept])
        share = push(together / (together + len(kept)), state["epoch"])
        total = share * deletion + (1 - share) * retention + SPARSITY * stakes.elastic_net(weight)
        return total if guard is None else total + guard(kept, features)

    task.chosen["steps"] = optimise(
        model, params["epochs"], feed, loss, adamw(trained, params["lr"], 0.0),
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
    """λ."""
    text = "Weight of staying near the original where the alignment is most sensitive; without alignment it has no effect."
    return Param("strength", "float", default, text, 0.0, 1000.0, title="λ")


def proxy_params(auto: Proxies) -> tuple[Param, ...]:
    """The attack that makes the proxies."""
    radius = "√features" if auto.radius == 1 else f"{auto.radius:g}·√features"
    near = " Near proxies, which the original answers as it answers their instance, teach the surroundings other classes: more is forgotten, more is lost."
    return (
        Param(
            "proxies",
            "int",
            AUTO,
            "Adversarial stand-ins for the retain set that are made of each forgotten instance.",
            1,
            1000,
            manual=auto.each,
            auto=f"{auto.each}, or as many as give {auto.most:,} in all",
            title="Proxies per instance",
            advanced=True,
        ),
        Param(
            "eps",
            "float",
            AUTO,
            "How far a proxy may lie from its instance: L2 norm, in standard deviations of the training data." + near,
            1e-3,
            1e3,
            manual=8.0 * auto.radius,
            auto=f"{radius}, which is {auto.radius:g} of a standard deviation for every input feature",
            title="Radius of the attack",
            advanced=True,
        ),
        Param("attack_steps", "int", 20, "Steps of the attack.", 1, 1000, advanced=True),
        Param(
            "step_size",
            "float",
            AUTO,
            "L2 norm of one step of the attack.",
            1e-4,
            1e3,
            manual=1.0,
            auto="2.5 · radius / steps",
            advanced=True,
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
    limits="Wrong answers are no trace-free answers, and on typical instances they cost much of the rest: without the retain set, making the model "
    "wrong on a digit drawn at random makes it wrong on many like it. With two classes, or few inputs, it is stopped before it gets there. "
    "Text anchors are never aligned with the model's features; where this was measured (digits, wine) they held no more than random ones. "
    "The head's own directions held more, and got some sets less often to the end. "
    "Unlike the released code, proxies come from the untouched model, steps are AdamW's, importance is scaled to a largest value of 1, instances "
    "that are answered wrongly are pushed no further while the push on the others grows, and there is no projector unless asked for.",
    version=2,
    run=run,
    equation=r"\min_\theta\ -s L_f(\theta) + (1 - s) L_p(\theta) + \gamma\, \Omega(\theta) + 1 - \overline{\cos}(S, S_o) + "
    r"\frac{\lambda}{2} \sum_j I_j\, (\theta_j - \theta_{o,j})^2",
    where=r"$L_p$ mean cross-entropy on the proxies; $s$ weight of the deletion, which grows while it takes long; $\Omega$ elastic net on the last layer, $\gamma$ its "
    r"weight; $S$, $S_o$ similarities of an instance to the anchors now and in the original; $I_j$ how much they depend on weight $j$, "
    r"$\lambda$ its weight",
    params=(
        ANCHORS,
        Param(
            "projector",
            "choice",
            "without",
            "Whether retention and alignment are trained through a projector behind the features. with: the unlearned model keeps it, as published; "
            "it is fitted on proxies only and can fail on real instances. dropped: trained through it, then left out, so what was "
            "retained is lost with it. without: they act on the model's own features.",
            choices=("with", "dropped", "without"),
            title="Projector",
        ),
        strength(0.1),
        Param(
            "deletion",
            "choice",
            "unfinished",
            "Whom the ascent pushes: the instances that are still answered right, or all of them until the last one is answered wrongly, "
            "as published. The ascent has no bound, and pushing finished instances on costs the rest of the model.",
            choices=("unfinished", "all"),
            advanced=True,
        ),
        Param("epochs", "int", 300, "Most passes over the proxies; it stops when all of the forget set is answered wrongly.", 1, 10_000),
        Param("lr", "float", 5e-4, "Learning rate of AdamW.", 1e-6, 1.0, title="Learning rate"),
        Param("batch", "int", 128, "Proxies, and forgotten instances, per step.", 1, 4096, advanced=True),
        *proxy_params(NEAR),
    ),
    order=5,
)
