"""Bad teaching: an untrained teacher for the forget set, the original for the rest (Chundawat et al., AAAI 2023, arXiv 2205.08096)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearn_core.methods import pairs
from unlearn_core.methods.base import Method, Task
from unlearn_core.methods.scrub import distance

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier


def run(task: Task) -> Classifier:
    from unlearn_core.models.anew import renewed

    model, x = task.model, task.x
    bad, good = pairs.answers(renewed(model, task.seed), x, task.forget), pairs.teacher(task)

    def loss(retain: Tensor, place: Tensor) -> Tensor:
        forget_loss = distance(model(x[task.forget[place]]), bad[place])
        return pairs.weighed(task.params["alpha"], forget_loss, distance(model(x[retain]), good[retain]))

    return pairs.descend(task, loss)


METHOD = Method(
    name="bad_teacher",
    title="Bad teacher",
    summary="Learns an untrained network's answers for the forgotten instances and the original's own answers for the rest.",
    paper="Chundawat et al. 2023, arXiv 2205.08096",
    goal="undo",
    needs=("retain",),
    cost="a few passes over the retain set",
    limits="An untrained network's answers are nothing that a retrained model would say: the forgotten instances become conspicuous.",
    version=1,
    run=run,
    equation=r"\min_\theta\ \frac{\alpha}{|D_f|} \sum_{i \in D_f} \mathrm{KL}\big(u(x_i) \,\|\, p_\theta(x_i)\big) + \frac{1 - "
    r"\alpha}{|D_r|} \sum_{i \in D_r} \mathrm{KL}\big(p_{\theta_o}(x_i) \,\|\, p_\theta(x_i)\big)",
    where=r"$u$ prediction of an untrained network",
    alpha="Weight of the untrained teacher on the forget set against the original on the retain set.",
    params=(pairs.alpha(0.03), pairs.passes(), pairs.BATCH, pairs.lr(1e-3)),
    order=28,
)
