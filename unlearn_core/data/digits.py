"""Handwritten digits, 8×8 grey (bundled with scikit-learn)."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo, stratified_splits
from unlearn_core.data.planting import plantable


def _load(params: dict[str, Any]) -> Dataset:
    from sklearn.datasets import load_digits

    raw = load_digits()
    labels = raw.target.astype(np.int64)
    return Dataset(
        name="digits",
        params=params,
        modality="image",
        inputs=(raw.images[:, None] / 16).astype(np.float32),
        labels=labels,
        class_names=tuple(str(c) for c in range(10)),
        splits=stratified_splits(labels, params["split_seed"]),
    )


DATASET = plantable(
    DatasetInfo(
        name="digits",
        title="Handwritten digits",
        modality="image",
        description="1,797 grey images of 8×8 pixels, ten classes. Small enough to see every step at once.",
        default_model="mlp",
        load=_load,
        order=1,
        params=(SPLIT_SEED,),
        licence="CC BY 4.0",
        citation="Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.",
    )
)
