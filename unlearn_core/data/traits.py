"""Instances that carry several labels at once: digits by their traits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from unlearn_core.data import digits
from unlearn_core.data.base import Dataset, DatasetInfo

TRAITS = {"even": (0, 2, 4, 6, 8), "five or more": (5, 6, 7, 8, 9), "prime": (2, 3, 5, 7), "closed loop": (0, 6, 8, 9)}


def labelled(dataset: Dataset, name: str, table: np.ndarray, label_names: tuple[str, ...], said: str) -> Dataset:
    """The dataset whose instances carry several labels, by their class. table: [C, L] bool; said: what the classes are to the model."""
    more = {"targets": table[dataset.labels], "target_names": label_names, "notes": (*dataset.notes, said)}
    return replace(dataset, name=name, **more)


def _load(params: dict[str, Any]) -> Dataset:
    table = np.stack([np.isin(np.arange(10), members) for members in TRAITS.values()], axis=1)
    said = "The model answers each trait with yes or no. Colours and splits go by the digit, which it never sees."
    return labelled(digits.DATASET.load(params), "digit_traits", table, tuple(TRAITS), said)


DATASET = DatasetInfo(
    name="digit_traits",
    title="Digit traits (multi-label)",
    modality="image",
    description="The 1,797 digits of 8×8 pixels, each with any of four labels: even, five or more, prime, with a closed loop.",
    default_model="mlp",
    load=_load,
    order=5,
    params=digits.DATASET.params[:1],
    licence=digits.DATASET.licence,
    citation=digits.DATASET.citation,
    task="labels",
)
