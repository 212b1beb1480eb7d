"""What a model learns: the loss of an instance is minus the log-likelihood of its target, in nats. The target's kind says which.

int64 [n]: one class. bool [n, L]: which labels hold, each independent of the others. float32 [n, 1]: a number, up to a constant that of a
normal distribution of spread 1, so half the squared error.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def loss(outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Loss of outputs [n, C] in nats: "none" gives [n], "mean" and "sum" one number."""
    if not (targets.is_floating_point() or targets.dtype == torch.bool):
        return F.cross_entropy(outputs, targets, reduction=reduction)
    if targets.dtype == torch.bool:
        each = F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), reduction="none").sum(dim=1)
    else:
        each = (outputs - targets).square().sum(dim=1) / 2
    return {"none": lambda: each, "mean": each.mean, "sum": each.sum}[reduction]()


def right(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether the class, or every one of the labels, is answered as given, [n] bool. Not for numbers."""
    if targets.dtype == torch.bool:
        return ((outputs > 0) == targets).all(dim=1)
    return outputs.argmax(1) == targets


def most_frequent(targets: Tensor) -> float:
    """What `training.accuracy` gives for always answering the same, at best, on `targets` [n]."""
    if targets.is_floating_point():
        return 0.0
    if targets.dtype == torch.bool:
        return targets.unique(dim=0, return_counts=True)[1].max().item() / len(targets)
    return torch.bincount(targets).max().item() / len(targets)
