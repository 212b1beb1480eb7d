"""Two small tables bundled with scikit-learn."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo, stratified_splits
from unlearn_core.data.planting import plantable


def _load(name: str, params: dict[str, Any]) -> Dataset:
    from sklearn import datasets

    raw = {"breast_cancer": datasets.load_breast_cancer, "wine": datasets.load_wine}[name]()
    labels = raw.target.astype(np.int64)
    return Dataset(
        name=name,
        params=params,
        modality="tabular",
        inputs=raw.data.astype(np.float32),
        labels=labels,
        class_names=tuple(str(n) for n in raw.target_names),
        splits=stratified_splits(labels, params["split_seed"]),
        feature_names=tuple(raw.feature_names),
    )


DATASET = (
    plantable(
        DatasetInfo(
            name="breast_cancer",
            title="Breast cancer (Wisconsin)",
            modality="tabular",
            description="569 tumours described by 30 measurements of cell nuclei: malignant or benign.",
            default_model="mlp",
            load=partial(_load, "breast_cancer"),
            order=2,
            params=(SPLIT_SEED,),
            licence="CC BY 4.0",
            citation="Wolberg, Mangasarian, Street and Street (1995), Breast Cancer Wisconsin (Diagnostic), UCI Machine Learning Repository.",
        )
    ),
    plantable(
        DatasetInfo(
            name="wine",
            title="Wine",
            modality="tabular",
            description="178 wines described by 13 chemical measurements, from three growers.",
            default_model="mlp",
            load=partial(_load, "wine"),
            order=3,
            params=(SPLIT_SEED,),
            licence="CC BY 4.0",
            citation="Aeberhard and Forina (1992), Wine, UCI Machine Learning Repository.",
        )
    ),
)
