"""Location30: which places people visited; a classic of the papers on membership inference."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.data.archives import members
from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo
from unlearn_core.data.dividing import SUBSET, divide
from unlearn_core.data.files import File, find
from unlearn_core.data.planting import plantable
from unlearn_core.errors import BadInput

FILE = File(
    "location30/dataset_location.tgz",
    0.3,
    (
        (
            "https://raw.githubusercontent.com/privacytrustlab/datasets/master/dataset_location.tgz",
            "927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33",
        ),
    ),
)
MEMBER = re.compile("bangkok")
MOST_BYTES = 50_000_000


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Binary inputs [N, d] and labels 0 … C-1 of lines such as "13",0,1,0 …: the class from 1 on in quotes, then the places."""
    broken = BadInput("file", f"{path.name} does not hold Location30.", "Download it again.")
    found = [raw for _, raw in members(path, MEMBER, MOST_BYTES)]
    if len(found) != 1 or not found[0].strip():
        raise broken
    try:
        rows = np.loadtxt(io.StringIO(found[0].decode("ascii").replace('"', "")), dtype=np.int64, delimiter=",", ndmin=2)
    except ValueError:
        raise broken from None
    if not rows.size or rows[:, 0].min() < 1 or not np.isin(rows[:, 1:], (0, 1)).all():
        raise broken
    return rows[:, 1:].astype(np.float32), rows[:, 0] - 1


def _load(params: dict[str, Any]) -> Dataset:
    inputs, labels = read(find(FILE))
    kept, splits = divide(labels, params)
    return Dataset(
        name="location30",
        params=params,
        modality="tabular",
        inputs=inputs[kept],
        labels=labels[kept],
        class_names=tuple(f"cluster {label + 1}" for label in range(labels.max() + 1)),
        splits=splits,
        feature_names=tuple(f"place {i + 1}" for i in range(inputs.shape[1])),
    )


DATASET = plantable(
    DatasetInfo(
        name="location30",
        title="Location30",
        modality="tabular",
        description="5,010 people in Bangkok, 446 places each has visited or not, thirty clusters of people. Models memorise it strongly.",
        default_model="mlp",
        load=_load,
        order=41,
        params=(SUBSET, SPLIT_SEED),
        licence="none stated by the authors",
        citation="Yang, Zhang and Qu (2016); prepared by Shokri, Stronati, Song and Shmatikov (2017), arXiv 1610.05820.",
        files=(FILE,),
    )
)
