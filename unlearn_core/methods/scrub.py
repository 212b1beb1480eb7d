"""SCRUB: a student that disobeys its teacher on the forget set and obeys on the rest (Kurmanji et al., NeurIPS 2023, arXiv 2302.09880)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from unlearn_core.methods import pairs
from unlearn_core.methods.base import Method, Task
from unlearn_core.params import Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier


def distance(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """T²·KL(teacher ‖ student) of logits [B, C] softened by T, mean over the batch in nats (Hinton et al., arXiv 1503.02531)."""
    import torch.nn.functional as F

    log_p, log_q = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(log_p, log_q, log_target=True, reduction="batchmean")


def nearest(errors: list[float], goal: float) -> int:
    """The latest of the checkpoints whose error on the forget set is nearest to `goal`."""
    return min(range(len(errors)), key=lambda k: (abs(errors[k] - goal), -k))


def run(task: Task) -> Classifier:
    import torch
    import torch.nn.functional as F

    from unlearn_core.models.training import accuracy, adamw, batches, cosine, optimise

    model, x, y, params = task.model, task.x, task.y, task.params
    epochs, size, temperature = params["passes"], pairs.retain_batch(task), params["temperature"]
    disobeying = min(params["disobeying"], epochs)
    generator = torch.Generator().manual_seed(task.seed)
    teacher = pairs.teacher(task)
    errors, checkpoints = [], []

    def feed(epoch: int) -> Iterator[tuple[Tensor, bool]]:
        if epoch < disobeying:
            yield from ((ids, False) for ids in batches(task.forget, params["forget_batch"], generator))
        yield from ((ids, True) for ids in batches(task.retain, size, generator))

    def loss(ids: Tensor, obey: bool) -> Tensor:
        logits = model(x[ids])
        apart = distance(logits, teacher[ids], temperature)
        return params["obey"] * apart + params["fit"] * F.cross_entropy(logits, y[ids]) if obey else -apart

    def keep(model: Classifier) -> bool:
        if params["rewind"]:
            errors.append(1 - accuracy(model, x, y, task.forget))
            checkpoints.append({name: value.clone() for name, value in model.state_dict().items()})
        return task.watch(model)

    steps = epochs * -(-len(task.retain) // size) + disobeying * -(-len(task.forget) // params["forget_batch"])
    optimise(
        model, epochs, feed, loss, adamw(model, params["lr"]),
        schedule=cosine(steps), training_mode=False, progress=task.progress, after_epoch=keep,
    )  # fmt: skip
    if params["rewind"]:
        alike = task.heldout[torch.isin(y[task.heldout], y[task.forget])]
        goal = 1 - accuracy(model, x, y, alike if len(alike) else task.heldout)
        place = nearest(errors, goal)
        model.load_state_dict(checkpoints[place])
        task.chosen.update(rewound_to=place + 1, forget_error=errors[place], unseen_error=goal)
    return model


METHOD = Method(
    name="scrub",
    title="SCRUB (+R)",
    summary="Moves away from the original's answers on the forget set and stays near them on the rest, in turns; then goes back to the pass whose "
    "errors on the forget set are most like those on unseen instances.",
    paper="Kurmanji et al. 2023, arXiv 2302.09880",
    goal="undo",
    needs=("retain", "heldout"),
    cost="a few passes over the retain set, and a copy of the model for every pass",
    limits="Moving away has no end of its own: only going back to an earlier pass limits it, and that looks at one number, the share of errors.",
    version=1,
    run=run,
    equation=r"\max_\theta \sum_{i \in D_f} \mathrm{KL}\big(p_{\theta_o}(x_i) \,\|\, p_\theta(x_i)\big) \ \text{ and } \ \min_\theta "
    r"\sum_{i \in D_r} a\, \mathrm{KL}\big(p_{\theta_o}(x_i) \,\|\, p_\theta(x_i)\big) + c\, \ell_i(\theta) \ \text{ in turns}",
    where=r"predictions softened; $a$, $c$ weights of obeying and of fitting",
    params=(
        Param(
            "disobeying",
            "int",
            3,
            "Passes at the start that also move away from the original on the forget set.",
            0,
            100,
            title="Disobeying passes",
        ),
        pairs.passes(),
        Param(
            "rewind",
            "bool",
            True,
            "Go back to the pass whose error on the forget set is nearest to that on unseen instances of its classes (+R).",
        ),
        pairs.lr(1e-3),
        Param("temperature", "float", 4.0, "Softening of the answers that are compared.", 0.1, 100.0, advanced=True),
        Param("obey", "float", 0.5, "Weight of the original's answers on the retain set.", 0.0, 100.0, advanced=True),
        Param("fit", "float", 1.0, "Weight of the labels of the retain set.", 0.0, 100.0, advanced=True),
        Param("forget_batch", "int", 8, "Forgotten instances per step.", 1, 4096, advanced=True),
        pairs.BATCH,
    ),
    order=24,
)
