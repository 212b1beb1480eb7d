"""The original model: trained once per spec, laid out once, and described so that a page needs no model to show it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core import data, models, projection, seeds
from unlearn_core.data.base import Dataset
from unlearn_core.data.files import fetch, missing
from unlearn_core.evidence.logits import log_softmax, negative_log_likelihood
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.store import Store, pack, unpack

# (features [n, d], neighbours' rows [n, k], distances [n, k], seed, tick) -> [n, 2]; tick() may raise Cancelled.
Layout = Callable[[np.ndarray, np.ndarray, np.ndarray, int, Callable[[], None]], np.ndarray]


@dataclass(frozen=True)
class Original:
    """An original model as a page sees it: numbers and pictures, no torch.

    meta: dataset title, modality, class_names, splits' sizes, accuracies, seconds, trustworthiness, hash …
    arrays, all in the order of the training ids: ids, label, predicted [n]; loss, confidence [n] float32; of another task than classes, instead
    of predicted and confidence: target, answer [n, L], labels as booleans or a number in its own unit;
    neighbours [n, k] ids of the nearest in feature space; layout_<name> [n, 2].
    """

    key: str
    spec: OriginalSpec
    folder: Path
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def ids(self) -> np.ndarray:
        return self.arrays["ids"]

    @property
    def layouts(self) -> list[str]:
        """Names of the layouts: "umap" and "pca", or "input" for points in the plane."""
        return [name.removeprefix("layout_") for name in self.arrays if name.startswith("layout_")]

    @property
    def complete(self) -> bool:
        """Whether every layout is there; UMAP comes last."""
        return "pca" not in self.layouts or "umap" in self.layouts

    def layout(self, name: str | None = None) -> np.ndarray:
        return self.arrays[f"layout_{name or self.layouts[0]}"]

    @property
    def task(self) -> str:
        """One of data.base.TASKS."""
        return self.meta.get("task", "classes")

    @property
    def right(self) -> np.ndarray | None:
        """Whether each training instance is answered as given, [n] bool: its class, or all of its labels; None for numbers."""
        if self.task == "number":
            return None
        a = self.arrays
        return a["label"] == a["predicted"] if self.task == "classes" else (a["target"] == a["answer"]).all(axis=1)

    @cached_property
    def row_of(self) -> dict[int, int]:
        """Position in the arrays of each training id."""
        return {int(i): row for row, i in enumerate(self.ids)}

    @cached_property
    def texts(self) -> list[str]:
        """One text for each training instance (tables and points); empty for images."""
        path = self.folder / "texts.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    @property
    def sprite(self) -> Path | None:
        """PNG with one tile per training instance (images)."""
        path = self.folder / "sprite.png"
        return path if path.exists() else None


def load(store: Store, key: str) -> Original | None:
    """The stored original, or None."""
    folder = store.place("originals", key)
    if not (folder / "table.npz").exists():
        return None
    meta, arrays = unpack(folder / "table.npz")
    return Original(key, OriginalSpec.from_dict(meta["spec"]), folder, meta, arrays)


def prepare(store: Store, spec: OriginalSpec, reporter: Reporter, layout: Layout | None = None) -> Original:
    """Train and lay out the original of `spec`, unless it is stored already.

    It can be shown, on its PCA layout, as soon as it is trained; UMAP is added when it is there.
    """
    found = load(store, spec.key)
    if found and found.complete:
        return found
    from unlearn_core.models import storage, training

    reporter.stage("loading data", 0.0, 0.02)
    if needed := missing(data.info(spec.dataset).files):
        fetch(needed, reporter.stage("downloading data", 0.0, 0.02))
    dataset, info = data.load(spec.dataset, spec.dataset_params), models.info(spec.model)
    begun = time.perf_counter()
    if found:
        model = storage.load(found.folder / "model.safetensors", info, dataset, spec.model_params, spec.device)
    else:
        progress = reporter.stage("training the original model", 0.02, 0.5)
        model = training.train(
            info, dataset, spec.model_params, dataset.splits.train, seeds.derive("original", spec.seed), spec.device, progress
        )
    seconds = found.meta["seconds"] if found else time.perf_counter() - begun
    outputs = training.read(model, dataset.inputs, spec.device)
    features = outputs.features[dataset.splits.train]
    reporter.stage("finding neighbours", 0.5, 0.55)
    rows, distances = projection.nearest(features)
    facts = {"spec": asdict(spec), "seconds": seconds, "parameters": sum(p.numel() for p in model.parameters())}

    def table(layouts: dict[str, np.ndarray]) -> bytes:
        meta, arrays = _describe(dataset, outputs.logits, rows, features, layouts)
        return pack(meta | facts, arrays)

    instant = {"input": dataset.inputs[dataset.splits.train]} if dataset.modality == "points" else {"pca": projection.pca(features)}
    if not found:
        with store.writing("originals", spec.key) as folder:
            storage.save(folder / "model.safetensors", model, {"original": spec.key})
            _pictures(dataset, folder)
            (folder / "table.npz").write_bytes(table(instant))
    if dataset.modality != "points":
        progress = reporter.stage("laying out the map with UMAP", 0.55, 0.95)
        xy = (layout or here)(features, rows, distances, spec.seed, lambda: progress(0.0))
        store.replace_file(store.place("originals", spec.key) / "table.npz", table({"umap": xy} | instant))
    reporter.stage("saving", 1.0, 1.0)
    return load(store, spec.key)


def here(features: np.ndarray, rows: np.ndarray, distances: np.ndarray, seed: int, tick: Callable[[], None]) -> np.ndarray:
    """UMAP in this process, which hears nothing until it is done."""
    return projection.umap_layout(features, rows, distances, seed)


def _describe(
    dataset: Dataset, logits: np.ndarray, rows: np.ndarray, features: np.ndarray, layouts: dict[str, np.ndarray]
) -> tuple[dict, dict]:
    train, labels = dataset.splits.train, dataset.labels
    if dataset.task == "classes":
        log_p = log_softmax(logits)
        predicted = logits.argmax(axis=1)
        right, said = (
            predicted == labels,
            {
                "predicted": predicted[train].astype(np.int32),
                "confidence": np.exp(log_p.max(axis=1))[train].astype(np.float32),
            },
        )
    else:
        right, said, more = _answers(dataset, logits)
    arrays = {
        "ids": train,
        "label": labels[train].astype(np.int32),
        "loss": negative_log_likelihood(logits, labels, dataset.targets)[train].astype(np.float32),
        "neighbours": train[rows].astype(np.int32),
    } | said
    arrays |= {f"layout_{name}": xy for name, xy in layouts.items()}
    trust = {} if dataset.modality == "points" else {name: projection.trustworthiness(features, xy) for name, xy in layouts.items()}
    meta = {
        "dataset": dataset.name,
        "title": data.title(dataset.name, dataset.params),
        "dataset_hash": dataset.hash,
        "modality": dataset.modality,
        "class_names": list(dataset.class_names),
        "feature_names": list(dataset.feature_names),
        "total": len(dataset),
        "splits": {name: len(ids) for name, ids in dataset.splits.items()},
        "notes": list(dataset.notes),
        "blends": dataset.blends,
        "planted": {name: ids.tolist() for name, ids in dataset.planted.items()},
        "accuracy": {name: float(right[ids].mean()) for name, ids in dataset.splits.items() if len(ids) and len(right)},
        "trustworthiness": trust,
        "tile": list(dataset.inputs.shape[:1:-1]) if dataset.modality == "image" else None,
        "columns": _columns(len(train)),
    }
    return (meta if dataset.task == "classes" else meta | more), arrays


def _answers(dataset: Dataset, outputs: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, Any]]:
    """Of labels or numbers: what is right [N], the arrays `target` and `answer` of the training split, and what the meta say of them."""
    train = dataset.splits.train
    if dataset.task == "labels":
        answer, target, more = outputs > 0, dataset.targets, {}
        right = (answer == target).all(axis=1)
    else:
        answer, target = (dataset.number.own(values).astype(np.float32) for values in (outputs, dataset.targets))
        right, more = np.empty(0), {"number": asdict(dataset.number)}
    return (
        right,
        {"target": target[train], "answer": answer[train]},
        {"task": dataset.task, "target_names": list(dataset.target_names)} | more,
    )


def _columns(count: int) -> int:
    return max(1, int(np.ceil(np.sqrt(count))))


def _pictures(dataset: Dataset, folder: Path) -> None:
    train = dataset.splits.train
    if dataset.modality == "image":
        (folder / "sprite.png").write_bytes(sprite(dataset.values(train)))
        return
    shown = [dataset.words(int(i)) for i in train]
    (folder / "texts.json").write_text(json.dumps(shown), encoding="utf-8")


def sprite(images: np.ndarray) -> bytes:
    """One PNG of all images [n, channels, h, w] in 0..1, row-major, as many columns as `_columns(n)`."""
    from PIL import Image

    n, channels, height, width = images.shape
    columns = _columns(n)
    sheet = np.zeros((-(-n // columns) * height, columns * width, channels), np.uint8)
    for row, image in enumerate(images):
        top, left = row // columns * height, row % columns * width
        sheet[top : top + height, left : left + width] = np.round(image.transpose(1, 2, 0) * 255)
    out = io.BytesIO()
    Image.fromarray(sheet[..., 0] if channels == 1 else sheet).save(out, "PNG", optimize=True)
    return out.getvalue()
