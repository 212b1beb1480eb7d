"""Reading a model between instances whose inputs are words or categories."""

from __future__ import annotations

import numpy as np
import torch

from unlearn_core.models import training
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.entry import Blend, Entry


def possible(model: Classifier) -> bool:
    """Whether words or categories enter this model by layers that can mix them."""
    return any(isinstance(layer, Entry) for layer in model.modules())


@torch.no_grad()
def embed(model: Classifier, inputs: np.ndarray, device: str) -> np.ndarray:
    """What the layers that words or categories enter by make of `inputs` [n, *shape], side by side: [n, d] float32.

    Blends of the n instances are the same blends of these rows.
    """
    model.eval()
    x = training.real(torch.as_tensor(inputs, device=device))
    blend = Blend(x, torch.eye(len(x), device=device))
    with training.threads(model):
        model(blend)
    return torch.cat(blend.embedded, dim=1).float().cpu().numpy()


@torch.no_grad()
def predict(model: Classifier, inputs: np.ndarray, weights: np.ndarray, device: str, chunk: int = training.CHUNK) -> np.ndarray:
    """Logits [M, C] of the blends of `inputs` [n, *shape] in the shares `weights` [M, n], in evaluation mode."""
    model.eval()
    x = training.real(torch.as_tensor(inputs, device=device))
    shares = torch.as_tensor(weights, dtype=torch.float32, device=device)
    with training.threads(model):
        return torch.cat([model(Blend(x, part)).float().cpu() for part in shares.split(chunk)]).numpy()
