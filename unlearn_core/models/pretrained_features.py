"""What a frozen encoder makes of a dataset, computed once and kept: models, methods and evidence see features, people see the source."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.data.base import Dataset, Trigger
from unlearn_core.data.planting import POISONED

VERSION = 2
MODALITY = "features"
META = "__meta__"  # as in the other files of a store

# (pictures [n, channels, h, w] in 0..1, or n texts; progress) -> features [n, d]
Encode = Callable[[np.ndarray | Sequence[str], Callable[[float], None]], np.ndarray]


@dataclass(frozen=True)
class Encoded(Dataset):
    """A dataset as a frozen encoder sees it. inputs: features [N, d] float32; source: what they were computed from."""

    source: Dataset | None = None


@dataclass(frozen=True)
class EncodedTrigger(Trigger):
    """A mark among features: what the encoder makes of marked instances. plain, marked: [n, d] features of the same instances."""

    plain: np.ndarray | None = None
    marked: np.ndarray | None = None

    @cached_property
    def _row(self) -> dict[bytes, int]:
        return {features.tobytes(): row for row, features in enumerate(self.plain)}

    def stamp(self, inputs: np.ndarray) -> np.ndarray:
        """Features of the marked instances, for those of the planting's unseen ones; KeyError for others, which were never encoded with the mark."""
        return self.marked[[self._row[features.tobytes()] for features in np.ascontiguousarray(inputs)]]


def shown(dataset: Dataset) -> Dataset:
    """The dataset that people see: the source of features, or the dataset itself."""
    return dataset.source if isinstance(dataset, Encoded) else dataset


def features_of(
    dataset: Dataset, encoder: dict[str, Any], folder: Path, make: Callable[[], Encode], progress: Callable[[float], None]
) -> Encoded:
    """`dataset` with the features that an encoder gives in the place of its inputs.

    encoder: what tells it from others, as JSON. They are kept in `folder` for each content of the dataset and encoder, with the name and parameters of
    the dataset, so that they can be deleted with it; make() loads the encoder, only where they are not there yet.
    """
    trigger = dataset.planting.trigger if dataset.planting else None
    about = json.dumps([VERSION, dataset.hash, encoder, trigger is not None and len(trigger.values)], sort_keys=True)
    path = folder / f"{hashlib.sha256(about.encode()).hexdigest()[:20]}.npz"
    if not path.exists():
        encode, many = make(), len(dataset)
        texts = dataset.modality == "text"
        extra = dataset.planting.unseen if trigger else np.empty(0, np.int64)
        total = many + len(extra)
        arrays = {"features": encode(dataset.texts if texts else dataset.values(), lambda share: progress(share * many / total))}
        if len(extra):
            marked = _marked_texts(dataset, extra) if texts else replace(dataset, inputs=trigger.stamp(dataset.inputs[extra])).values()
            arrays["marked"] = encode(marked, lambda share: progress((many + share * len(extra)) / total))
        _keep(path, arrays, {"spec": {"dataset": dataset.name, "dataset_params": dataset.params}})
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if name != META}
    return _encoded(dataset, **arrays)


def _encoded(dataset: Dataset, features: np.ndarray, marked: np.ndarray | None = None) -> Encoded:
    planting = dataset.planting
    if marked is not None:
        known = {field.name: getattr(planting.trigger, field.name) for field in fields(Trigger)}
        planting = replace(planting, trigger=EncodedTrigger(**known, plain=features[planting.unseen], marked=marked))
    same = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
    learned = {"inputs": features, "modality": MODALITY, "vocabulary": 0, "categories": (), "feature_names": (), "planting": planting}
    return Encoded(**same | learned, source=dataset)


def _marked_texts(dataset: Dataset, ids: np.ndarray) -> list[str]:
    """Texts with the mark that poisoned ones begin with."""
    many = len(dataset.planting.trigger.values)
    words = " ".join(dataset.texts[dataset.planted[POISONED][0]].split(" ", many)[:many])
    return [f"{words} {dataset.texts[i]}" for i in ids]


def _keep(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".writing-{os.getpid()}-", dir=path.parent)  # which the store sweeps away
    told = {META: np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    try:
        with os.fdopen(handle, "wb") as out:
            np.savez(out, **told, **{name: np.ascontiguousarray(values, np.float32) for name, values in arrays.items()})
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
