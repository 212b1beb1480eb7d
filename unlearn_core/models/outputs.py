"""What a model says about instances, as plain arrays: all that evidence and projection ever see of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Outputs:
    """Everything one model says about some instances, for the whole dataset in the order of ids.

    logits: [N, C] float32. layers: name -> [N, d] float32, first to last; the last one is "features". A layer that is large for all
    instances together computes its rows when they are asked for, `layers[name][ids]`; "features" never does.
    """

    logits: np.ndarray
    layers: dict[str, np.ndarray]

    @property
    def features(self) -> np.ndarray:
        return self.layers["features"]
