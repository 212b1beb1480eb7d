"""Fresh weights for layers that are there already."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn

from unlearn_core.errors import BadInput
from unlearn_core.models.classifier import Classifier


def redraw(parts: Iterable[nn.Module], seed: int) -> None:
    """Draw the trainable weights of these modules anew from `seed`, in place; what is not trained stays.

    Raises BadInput for a layer that owns trainable weights and cannot draw new ones: keeping them would keep what they know.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in parts:
            # Inner ones first: a layer that draws for what it holds knows better than that does.
            for name, layer in reversed(list(part.named_modules())):
                own = any(value.requires_grad for value in layer.parameters(recurse=False))
                draw = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
                if draw is not None and (own or any(value.requires_grad for value in layer.parameters())):
                    draw()
                elif own:
                    raise BadInput("method", f"layer {name!r} of this model cannot be started anew.", "Choose another method or model.")


def renewed(model: Classifier, seed: int) -> Classifier:
    """A copy whose trainable layers have fresh weights drawn from `seed`, without a projector that a method has put in."""
    new = copy.deepcopy(model)
    new.projector = None
    redraw([new], seed)
    return new
