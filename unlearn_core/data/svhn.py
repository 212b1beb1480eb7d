"""SVHN: house numbers in street photographs, cropped to single digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo
from unlearn_core.data.dividing import SUBSET, divide
from unlearn_core.data.files import File, find
from unlearn_core.data.matlab import read_mat
from unlearn_core.data.planting import plantable
from unlearn_core.errors import BadInput

_STANFORD = "http://ufldl.stanford.edu/housenumbers"
FILES = (
    File(
        "svhn/train_32x32.mat",
        182.0,
        ((f"{_STANFORD}/train_32x32.mat", "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),),
    ),
    File(
        "svhn/test_32x32.mat",
        64.3,
        ((f"{_STANFORD}/test_32x32.mat", "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),),
    ),
)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [N, 3, 32, 32] uint8 and labels 0 … 9 of X [32, 32, 3, N] and y [N, 1], where 10 stands for the digit 0."""
    found = read_mat(path, "X", "y")
    images, labels = found["X"], found["y"].ravel().astype(np.int64)
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)) or not len(labels) or labels.min() < 1 or labels.max() > 10:
        raise BadInput("file", f"{path.name} does not hold SVHN's cropped digits.", "Download it again.")
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), labels % 10


def _load(params: dict[str, Any]) -> Dataset:
    (train, train_labels), (test, test_labels) = (read(find(file)) for file in FILES)
    labels = np.concatenate([train_labels, test_labels])
    kept, splits = divide(labels, params, len(train))
    return Dataset(
        name="svhn",
        params=params,
        modality="image",
        inputs=np.concatenate([train, test])[kept],
        labels=labels[kept],
        class_names=tuple(str(c) for c in range(10)),
        splits=splits,
    )


DATASET = plantable(
    DatasetInfo(
        name="svhn",
        title="Street View House Numbers",
        modality="image",
        description="99,289 colour pictures of digits on houses, 32×32 pixels; 26,032 are the official test set.",
        default_model="cnn",
        load=_load,
        order=35,
        params=(SUBSET, SPLIT_SEED),
        licence="for non-commercial use only",
        citation="Netzer, Wang, Coates, Bissacco, Wu and Ng (2011), Reading digits in natural images with unsupervised feature learning.",
        files=FILES,
    )
)
