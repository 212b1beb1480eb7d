"""Stakes that hold a model's inner structure while it unlearns (Hong et al., arXiv 2603.12915): proxies, anchors, alignment, importance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn_core.data.anchors import text_anchors
from unlearn_core.errors import BadInput
from unlearn_core.methods.base import Task
from unlearn_core.methods.structguard import Proxies
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.training import threads
from unlearn_core.params import AUTO
from unlearn_core.seeds import derive

STEP = 2.5  # times eps over the steps: any point of the ball can be reached
L1, L2 = 0.99, 0.01
WARM_UP = 2  # steps before importance is taken: at the original itself the gradient of the alignment loss is zero
IMPORTANCE_BATCH, CHUNK = 64, 4096


# proxies -------------------------------------------------------------------------------------------------


def plan(params: dict[str, Any], forget: int, features: int, auto: Proxies) -> dict[str, Any]:
    """Resolve "auto" into proxies per instance, eps (L2 norm, in standard deviations of the input) and the size of one step."""
    count, eps, size = params["proxies"], params["eps"], params["step_size"]
    count = count if count != AUTO else max(1, min(auto.each, auto.most // forget))
    eps = eps if eps != AUTO else auto.radius * features**0.5
    return {"proxies": count, "eps": eps, "step_size": size if size != AUTO else STEP * eps / params["attack_steps"]}


def other_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """For every label another one, all equally likely; [N] int64."""
    shift = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + shift) % classes


def attack(
    model: Classifier, x: Tensor, targets: Tensor, *, eps: float, steps: int, step_size: float, generator: torch.Generator
) -> Tensor:
    """Targeted L2-PGD (Madry et al., arXiv 1706.06083): x [N, *shape] moved so that the model answers `targets` [N].

    eps and step_size are L2 norms in standardised units, so that tables with mixed units have one scale; images stay in 0..1, categories what they are.
    """
    scale, image, d = model.standardise.scale, x.dim() == 4, x[0].numel()

    def norm(values: Tensor) -> Tensor:
        return values.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, *[1] * (x.dim() - 1))

    def allowed(delta: Tensor) -> Tensor:
        delta = delta * (eps / norm(delta)).clamp(max=1)
        return ((x + delta * scale).clamp(0, 1) - x) / scale if image else delta

    drawn = torch.randn(x.shape, generator=generator).to(x)
    drawn[..., model.standardise.codes] = 0  # a category cannot be moved a little: any other number is none at all
    radius = torch.rand(len(x), generator=generator).to(x).view(-1, *[1] * (x.dim() - 1)) ** (1 / d)
    delta = allowed(eps * radius * drawn / norm(drawn))
    for _ in range(steps):
        delta.requires_grad_(True)
        loss = F.cross_entropy(model(x + delta * scale), targets, reduction="sum")
        gradient = torch.autograd.grad(loss, delta)[0]
        delta = allowed((delta - step_size * gradient / norm(gradient)).detach())
    return x + delta * scale


def proxies(task: Task, generator: torch.Generator, auto: Proxies) -> tuple[Tensor, Tensor]:
    """Stand-ins for the retain set: every forgotten instance attacked towards random other classes, and those classes.

    The attacked model is the original, before any step. Returns inputs [k·M, *shape] and labels [k·M].
    """
    model, params, classes = task.model.eval(), task.params, len(task.class_names)
    chosen = plan(params, len(task.forget), task.x[0].numel(), auto)
    x, y = (values[task.forget].repeat_interleave(chosen["proxies"], dim=0) for values in (task.x, task.y))
    targets = other_labels(y, classes, generator)
    rest = {"eps": chosen["eps"], "steps": params["attack_steps"], "step_size": chosen["step_size"], "generator": generator}
    parts = zip(x.split(CHUNK), targets.split(CHUNK), strict=True)
    with threads(model):
        inputs = torch.cat([attack(model, part, target, **rest) for part, target in parts])
    with torch.no_grad():
        reached = torch.cat([model(part).argmax(1) for part in inputs.split(CHUNK)]) == targets
    task.chosen.update(chosen, proxies_reached=round(reached.float().mean().item(), 3))
    return inputs, targets


# anchors -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Anchors:
    """directions [A, k]: unit rows. through [d, k]: fixed map of features to their space, None where they have one space."""

    directions: Tensor
    through: Tensor | None = None

    def relations(self, features: Tensor) -> Tensor:
        """Cosines between features [N, d] and every anchor, [N, A]."""
        mapped = features if self.through is None else features @ self.through
        return F.normalize(mapped, dim=1) @ self.directions.T


def head_weight(model: Classifier) -> Tensor:
    """Weight [C, d] of the last layer. Raises BadInput for a model without one linear head, such as an ensemble."""
    if not isinstance(model.head, nn.Linear):
        raise BadInput("method", "stakes need a model with one linear last layer.", "Choose another method or model.")
    return model.head.weight


def anchors(task: Task) -> Anchors | None:
    """The anchors that `task.params["anchors"]` asks for, with a note for the person on what they mean; None for no alignment.

    attributes: texts of the classes (data/anchors.py), which were never aligned with the features: where the dimensions differ, features go
    through a fixed random map, as published. permuted: the same with classes swapped. random: random directions.
    prototypes: rows of the head, the directions along which the model itself tells classes apart (with well-fitted features they
    are the class means: Papyan et al., arXiv 2008.08186); they need no data.
    """
    kind, weight = task.params["anchors"], head_weight(task.model).detach()
    # A generator of their own: whatever the anchors are, proxies and batches stay the same and runs can be compared.
    generator = torch.Generator().manual_seed(derive("anchors", task.seed))
    classes, d = weight.shape
    if kind == "none":
        return None
    if kind == "prototypes":
        return Anchors(F.normalize(weight, dim=1))
    if kind == "random":
        task.notes.append("The anchors are random directions: whatever they hold, it is not meaning.")
        return Anchors(F.normalize(torch.randn(classes, d, generator=generator), dim=1).to(weight))
    texts = text_anchors(task.dataset, task.class_names)
    task.chosen["encoder"] = texts.encoder
    task.notes.append(
        f"The anchors come from {texts.encoder} and were never aligned with this model's features: "
        "they are fixed reference directions, and nothing shows that their meaning reaches the model. Compare with random anchors."
    )
    directions = torch.as_tensor(texts.embeddings).to(weight)
    if kind == "permuted":
        order = torch.randperm(classes, generator=generator)
        swapped = torch.empty_like(order)
        swapped[order] = order.roll(1)  # one cycle: no class keeps its anchor
        directions = directions[swapped]
        task.notes.append(
            "The anchors' classes are swapped. The loss compares an instance's similarities to all anchors before and after, so it "
            "cannot notice: only rounding, which grows from step to step, separates this run from the one that is not swapped. "
            "Differences between anchors that are no larger than this one mean nothing."
        )
    k = directions.shape[1]
    if k == d:
        return Anchors(directions)
    drawn = torch.randn(d, k, generator=torch.Generator().manual_seed(derive("anchors", d, k)))
    return Anchors(directions, F.normalize(drawn, dim=0).to(weight))


# losses --------------------------------------------------------------------------------------------------


def misalignment(before: Tensor, after: Tensor) -> Tensor:
    """1 − mean cosine between each instance's relations [N, A] to the anchors before and after."""
    return 1 - F.cosine_similarity(before, after, dim=1).mean()


def elastic_net(weight: Tensor) -> Tensor:
    """0.99·‖W‖₁ + ½·0.01·‖W‖²_F of the last layer's weight."""
    return L1 * weight.abs().sum() + L2 / 2 * weight.square().sum()


def importance(loss: Callable[[Tensor], Tensor], parameters: Sequence[Tensor], parts: Iterable[Tensor]) -> list[Tensor]:
    """I_j = Σ_B |B|·|∂loss(B)/∂ψ_j| / Σ_B |B| over the id tensors B in `parts`, shaped like the parameters."""
    total, count = [torch.zeros_like(p) for p in parameters], 0
    for part in parts:
        found = torch.autograd.grad(loss(part), parameters, allow_unused=True)
        for sum_, gradient in zip(total, found, strict=True):
            if gradient is not None:
                sum_ += len(part) * gradient.abs()
        count += len(part)
    return [sum_ / count for sum_ in total]


class Guard:
    """L_align + λ·½·Σ_j Ī_j (ψ_j − ψ_j at the start)² of a batch of ids, as terms of a training objective.

    embed: inputs → features that are held, [N, d]. ids: the rows of x that batches come from. Importance is taken from the alignment
    loss after WARM_UP steps and divided by its largest value, so that λ means the same for every model.
    """

    def __init__(
        self, embed: Callable[[Tensor], Tensor], x: Tensor, ids: Tensor, held: Anchors, parameters: Iterable[Tensor], strength: float
    ):
        self.embed, self.x, self.ids, self.held, self.strength = embed, x, ids, held, strength
        self.parameters = list(parameters)
        self.start = [p.detach().clone() for p in self.parameters]
        self.importance: list[Tensor] | None = None
        self.steps = 0
        with torch.no_grad():
            self.before = torch.zeros(len(x), len(held.directions), dtype=held.directions.dtype, device=x.device)
            for part in ids.split(CHUNK):
                self.before[part] = held.relations(embed(x[part]))

    def align(self, ids: Tensor, features: Tensor | None = None) -> Tensor:
        """L_align of the instances `ids`; features: of them, where they were computed anyway."""
        return misalignment(self.before[ids], self.held.relations(self.embed(self.x[ids]) if features is None else features))

    def distance(self) -> Tensor:
        """½·Σ_j Ī_j (ψ_j − ψ_j at the start)²."""
        moved = zip(self.importance, self.parameters, self.start, strict=True)
        return sum((weight * (p - start).square()).sum() for weight, p, start in moved) / 2

    def __call__(self, ids: Tensor, features: Tensor | None = None) -> Tensor:
        if self.steps == WARM_UP and self.strength:
            found = importance(self.align, self.parameters, self.ids.split(IMPORTANCE_BATCH))
            largest = max(value.max() for value in found).clamp(min=1e-30)
            self.importance = [value / largest for value in found]
        self.steps += 1
        loss = self.align(ids, features)
        return loss if self.importance is None else loss + self.strength * self.distance()
