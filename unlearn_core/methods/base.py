"""What a method is: one declaration, one function from a Task to the unlearned model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unlearn_core.params import Param

if TYPE_CHECKING:
    from torch import Tensor

    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.training import Progress


@dataclass
class Task:
    """What one method receives.

    model: a copy of the original that the method may change. x [N, *shape], y [N]: all instances on
    the device; the id tensors below say which of them the method may use, and a split that the
    method did not declare under `needs` is None. share: |forget| / |train|.
    train(seed): a fresh model of the original's recipe on the retain set. never_seen [|forget|, C]: log-probabilities that shadow
    models which never saw each forgotten instance predict for it; they come from a pool's choosing half of `params["pool"]` models.
    dataset, class_names [C]: what the data and its classes are called.
    watch(model): reports live accuracy, and is True when retained accuracy collapsed (below half of the
    original's, or close to always answering the most frequent class); methods that take steps stop then. look(model): reports the same and never stops, for methods that must not. chosen: what "auto" became, for the
    record. notes: sentences for the person.
    """

    model: Classifier
    x: Tensor
    y: Tensor
    forget: Tensor
    retain: Tensor | None
    heldout: Tensor | None
    share: float
    params: dict[str, Any]
    seed: int
    device: str
    train: Callable[[int], Classifier] | None
    progress: Progress
    watch: Callable[[Classifier], bool]
    look: Callable[[Classifier], bool] = lambda model: False
    never_seen: Tensor | None = None
    dataset: str = ""
    class_names: tuple[str, ...] = ()
    chosen: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Method:
    """Declaration of an unlearning method.

    goal: "undo" (be like the model that never saw the points) or "misclassify" (get them wrong).
    needs: any of "retain", "heldout", "train" (may train from scratch), "never_seen" (declare a parameter `pool`). alpha: what the parameter
    `alpha` means, "" for methods without a strength control; α values of different methods are never
    comparable. cost: in words, against one retraining. version changes whenever results do.
    models: the architectures that it works on, () for all. forecast(model_params, ids, forget, seed) -> a sentence about what deleting `forget`
    from a model trained on `ids` with this seed will cost, for methods that can say so before they run; it imports no torch.
    share(model_params, ids, forget, seed) -> the share of one retraining that the method takes, for those of which it is known before.
    follows: the methods that may have answered earlier requests on the same model, () for all.
    equation: what it computes or minimises, in LaTeX without dollar signs. where: its symbols that are not in `cards.SYMBOLS`, in Markdown with
    dollar signs. tasks: of `data.base.TASKS`, those whose targets it works on; only `models.objectives.loss` reads all of them.
    """

    name: str
    title: str
    summary: str
    paper: str
    goal: str
    needs: tuple[str, ...]
    cost: str
    limits: str
    version: int
    run: Callable[[Task], Classifier]
    params: tuple[Param, ...] = ()
    alpha: str = ""
    order: int = 100
    models: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    forecast: Callable[[dict[str, Any], Sequence[int], Sequence[int], int], str] | None = None
    share: Callable[[dict[str, Any], Sequence[int], Sequence[int], int], float] | None = None
    equation: str = ""
    where: str = ""
    tasks: tuple[str, ...] = ("classes",)
