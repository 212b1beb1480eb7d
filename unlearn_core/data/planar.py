"""Points in the plane with a known truth: a share of the training labels can be planted wrong."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo, Planting, stratified_splits
from unlearn_core.data.planting import mislabel
from unlearn_core.params import Param

CLASSES = {"moons": ("upper", "lower"), "circles": ("outer", "inner"), "blobs": ("A", "B", "C", "D"), "spirals": ("A", "B", "C")}


def _points(name: str, n: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import make_blobs, make_circles, make_moons

    if name == "moons":
        return make_moons(n, noise=noise, random_state=seed)
    if name == "circles":
        return make_circles(n, noise=noise * 0.5, factor=0.5, random_state=seed)
    if name == "blobs":
        centres = np.array([[-2, -2], [-2, 2], [2, -2], [2, 2]])
        return make_blobs(n, centers=centres, cluster_std=4 * noise, random_state=seed)
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    turn = np.sqrt(rng.random(n)) * 1.5 * np.pi + 0.4
    angle = turn + label * 2 * np.pi / 3
    points = np.stack([turn * np.cos(angle), turn * np.sin(angle)], axis=1) / 2
    return points + noise * 0.5 * rng.standard_normal((n, 2)), label


def _load(name: str, params: dict[str, Any]) -> Dataset:
    inputs, labels = _points(name, params["instances"], params["noise"], params["seed"])
    labels = labels.astype(np.int64)
    splits = stratified_splits(labels, params["split_seed"])
    rng = np.random.default_rng([params["seed"], 1])
    count = round(params["mislabelled"] * len(splits.train))
    given, wrong = mislabel(labels, splits.train, count, len(CLASSES[name]), rng)
    return Dataset(
        name=name,
        params=params,
        modality="points",
        inputs=inputs.astype(np.float32),
        labels=given,
        class_names=CLASSES[name],
        splits=splits,
        feature_names=("x", "y"),
        planted={"mislabelled": wrong},
        planting=Planting("mislabelled", labels) if count else None,
    )


_PARAMS = (
    Param(
        "mislabelled", "float", 0.05, "Share of the training points that get a wrong label on purpose.", 0.0, 0.4, title="Mislabelled share"
    ),
    Param("instances", "int", 600, "Number of points over all splits.", 100, 20_000),
    Param("noise", "float", 0.2, "Spread of the points around their shape.", 0.0, 1.0),
    Param("seed", "int", 0, "Seed that draws the points and the wrong labels.", 0, 2**31 - 1, title="Data seed", advanced=True),
    SPLIT_SEED,
)

_TEXTS = {
    "moons": ("Two moons", "Two interleaved half circles."),
    "circles": ("Circles", "One ring around another."),
    "blobs": ("Blobs", "Four round clouds."),
    "spirals": ("Spirals", "Three spiral arms: the hardest boundary of the four."),
}

DATASET = tuple(
    DatasetInfo(
        name=name,
        title=title,
        modality="points",
        description=f"{text} Points in the plane, so the decision boundary itself can be drawn; wrong labels can be planted.",
        default_model="mlp",
        load=partial(_load, name),
        order=10 + position,
        params=_PARAMS,
        licence="generated",
        citation="Generated with scikit-learn and numpy.",
    )
    for position, (name, (title, text)) in enumerate(_TEXTS.items())
)
