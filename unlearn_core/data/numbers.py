"""Numbers as targets: what a model learns of them, and the ranges that splits and colours go by."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo, Number, plain_number, stratified_splits

RANGES = 4


def ranges(values: np.ndarray, count: int = RANGES) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which of `count` ranges of about equally many instances each of `values` [N] is in, [N] int64, and the ranges' names, lowest first."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)[1:-1]))
    labels = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1].astype(np.int64)
    ends = [(values[labels == k].min(), values[labels == k].max()) for k in range(labels.max() + 1)]
    return labels, tuple(f"{plain_number(float(low))} to {plain_number(float(high))}" for low, high in ends)


def learned(values: np.ndarray, train: np.ndarray, name: str, unit: str) -> tuple[np.ndarray, Number]:
    """Targets [N, 1] float32 in spreads from about the mean of the rows `train`, and the Number that gives them their unit back.

    The spread is rounded to one digit and the mean to halves of that, so that they would most likely be the same without a few of the rows:
    every retrained model learns in these units too, and should know no more of the forgotten.
    """
    spread = float(f"{values[train].std() or 1.0:.1g}")
    centre = round(values[train].mean() / spread * 2) * spread / 2
    return ((values - centre) / spread).astype(np.float32)[:, None], Number(name, unit, centre, spread)


COLUMNS = (
    "age", "sex", "body mass index", "blood pressure", "total cholesterol", "low-density lipoproteins", "high-density lipoproteins",
    "cholesterol ratio", "log of triglycerides", "blood sugar",
)  # fmt: skip


def _diabetes(params: dict[str, Any]) -> Dataset:
    from sklearn.datasets import load_diabetes

    raw = load_diabetes(scaled=False)
    labels, names = ranges(raw.target)
    splits = stratified_splits(labels, params["split_seed"])
    targets, number = learned(raw.target, splits.train, "progression", "points")
    return Dataset(
        name="diabetes",
        params=params,
        modality="tabular",
        inputs=raw.data.astype(np.float32),
        labels=labels,
        class_names=names,
        splits=splits,
        feature_names=COLUMNS,
        targets=targets,
        target_names=(number.name,),
        number=number,
        notes=(
            f"The model answers a number. Colours and splits go by its {len(names)} ranges of equally many patients, which no model sees.",
        ),
    )


DATASET = DatasetInfo(
    name="diabetes",
    title="Diabetes (regression)",
    modality="tabular",
    description="442 patients described by ten measurements: how far the disease went on within a year, as a number.",
    default_model="mlp",
    load=_diabetes,
    order=4,
    params=(SPLIT_SEED,),
    licence="none stated by the authors; distributed with scikit-learn (BSD 3-clause)",
    citation="Efron, Hastie, Johnstone and Tibshirani (2004), Least angle regression, Annals of Statistics 32.",
    task="number",
)
