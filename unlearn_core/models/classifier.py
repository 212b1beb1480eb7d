"""The Classifier that everything speaks to: features → head, with named layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlearn_core.models.base import Facts
from unlearn_core.models.entry import Blend


class Standardise(nn.Module):
    """Subtract the mean and divide by the spread of the data that the model trains on.

    A part of the model, so a retrained model never uses statistics of points that it must not know.
    Images are standardised per channel, everything else per feature; codes of categories and token ids stay what they are.
    """

    def __init__(self, facts: Facts):
        super().__init__()
        shape = facts.shape
        broadcast = () if facts.vocabulary else (shape[0], 1, 1) if len(shape) == 3 else shape
        self.codes, self.tokens = [at for at, count in enumerate(facts.categories) if count], facts.vocabulary > 0
        self.register_buffer("mean", torch.zeros(broadcast))
        self.register_buffer("scale", torch.ones(broadcast))

    @torch.no_grad()
    def fit(self, inputs: Tensor) -> None:
        """Take the statistics of `inputs` [N, *shape]; constant features keep scale 1."""
        if self.tokens:
            return
        over = (0, 2, 3) if inputs.dim() == 4 else (0,)
        mean = inputs.mean(dim=over, keepdim=True)[0]
        spread = inputs.std(dim=over, keepdim=True, unbiased=False)[0]
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(spread > 1e-8, spread, torch.ones_like(spread)))
        self.mean[self.codes], self.scale[self.codes] = 0.0, 1.0

    def forward(self, x: Tensor | Blend) -> Tensor | Blend:
        if isinstance(x, Blend):
            return x.under(self)
        return x if self.tokens else (x - self.mean) / self.scale


class Projector(nn.Module):
    """Features [N, d] → features [N, d]: p(f) = f + W₂·ReLU(BN(W₁·f)) with `width` units inside, the identity until W₂ is trained."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(features, width), nn.BatchNorm1d(width), nn.ReLU())
        self.outer = nn.Linear(width, features)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    @torch.no_grad()
    def settle(self, features: Tensor) -> None:
        """Take the BatchNorm statistics of `features` [N, d]; evaluation mode, so that they stay."""
        inside, norm = self.inner[0](features), self.inner[1]
        norm.running_mean.copy_(inside.mean(dim=0))
        norm.running_var.copy_(inside.var(dim=0, unbiased=False))
        self.eval()

    def forward(self, features: Tensor) -> Tensor:
        return features + self.outer(self.inner(features))


class Classifier(nn.Module):
    """inputs [N, *shape], or a Blend of some → named layers → features [N, d] → logits [N, C].

    stages: name → module, first to last; the last is called "features". head maps features to logits.
    projector: what a method put between the two; features are then what it makes of the last stage's. half_precision: it is trained with bfloat16
    (mixed precision: weights stay float32) and with channels last in memory.
    """

    projector: nn.Module | None

    def __init__(self, facts: Facts, stages: dict[str, nn.Module], head: nn.Module, half: bool = False):
        super().__init__()
        if list(stages)[-1] != "features":
            raise ValueError("the last stage must be called 'features'")
        self.standardise = Standardise(facts)
        self.stages = nn.ModuleDict(stages)
        self.head = head
        self.register_module("projector", None)
        self.half_precision = half
        if half:
            self.to(memory_format=torch.channels_last)

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """Activations of every named layer, [N, d] each (flattened)."""
        found, h = {}, self.standardise(x)
        for name, stage in self.stages.items():
            h = stage(h)
            found[name] = h.flatten(1)
        if self.projector is not None:
            found["features"] = self.projector(h)
        return found

    def unprojected(self, x: Tensor) -> Tensor:
        """What the last stage gives, [N, d]."""
        h = self.standardise(x)
        for stage in self.stages.values():
            h = stage(h)
        return h

    def features(self, x: Tensor) -> Tensor:
        h = self.unprojected(x)
        return h if self.projector is None else self.projector(h)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
