"""The Classifier that everything speaks to: features → head, with named layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """Subtract the mean and divide by the spread of the data that the model trains on.

    A part of the model, so a retrained model never uses statistics of points that it must not know.
    `shape` is the shape of one input; images are standardised per channel, everything else per feature.
    """

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        broadcast = (shape[0], 1, 1) if len(shape) == 3 else shape
        self.register_buffer("mean", torch.zeros(broadcast))
        self.register_buffer("scale", torch.ones(broadcast))

    @torch.no_grad()
    def fit(self, inputs: Tensor) -> None:
        """Take the statistics of `inputs` [N, *shape]; constant features keep scale 1."""
        over = (0, 2, 3) if inputs.dim() == 4 else (0,)
        mean = inputs.mean(dim=over, keepdim=True)[0]
        spread = inputs.std(dim=over, keepdim=True, unbiased=False)[0]
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(spread > 1e-8, spread, torch.ones_like(spread)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


class Classifier(nn.Module):
    """inputs [N, *shape] → named layers → features [N, d] → logits [N, C].

    stages: name → module, first to last; the last is called "features". head maps features to logits.
    """

    def __init__(self, shape: tuple[int, ...], stages: dict[str, nn.Module], head: nn.Module):
        super().__init__()
        if list(stages)[-1] != "features":
            raise ValueError("the last stage must be called 'features'")
        self.standardise = Standardise(shape)
        self.stages = nn.ModuleDict(stages)
        self.head = head

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """Activations of every named layer, [N, d] each (flattened)."""
        found, h = {}, self.standardise(x)
        for name, stage in self.stages.items():
            h = stage(h)
            found[name] = h.flatten(1)
        return found

    def features(self, x: Tensor) -> Tensor:
        h = self.standardise(x)
        for stage in self.stages.values():
            h = stage(h)
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
