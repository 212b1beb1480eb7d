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
from unlearn_core.data.base import Dataset, plain_number
from unlearn_core.data.files import fetch, missing
from unlearn_core.evidence.logits import log_softmax, negative_log_likelihood
from unlearn_core.runs import durations, loading, weights
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.store import Store, pack, unpack

# (features [n, d], neighbours' rows [n, k], distances [n, k], seed, tick[, name]) -> [n, 2]; tick() may raise Cancelled; UMAP without a name.
Layout = Callable[..., np.ndarray]
PART = 2048  # pictures written at once
INLINE = 4 * 2**20  # bytes of uncompressed tiles, or of an older PNG, that are few enough to send to the browser in one piece


@dataclass(frozen=True)
class Original:
    """An original model as a page sees it: numbers and pictures, no torch.

    meta: dataset title, modality, class_names, splits' sizes, accuracies, seconds, trustworthiness, hash … given: what to know of weights that
    were given (runs.weights), where it was not trained here.
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
        """Names of the layouts: "umap" or "pacmap" (`projection.automatic`), "pca", then those asked for later; "input" for points in the plane."""
        return [name.removeprefix("layout_") for name in self.arrays if name.startswith("layout_")]

    @property
    def complete(self) -> bool:
        """Whether every layout that comes by itself is there; the linear one is first."""
        return self.layouts != ["pca"]

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

    def words(self, which: str, rows: Any = slice(None)) -> list[str]:
        """What training instances are ("target"), or what the model says of them ("answer"), in words. rows: their places in the arrays."""
        if self.task == "classes":
            names = self.meta["class_names"]
            return [names[c] for c in self.arrays["label" if which == "target" else "predicted"][rows].tolist()]
        values = self.arrays[which][rows]
        if self.task == "number":
            return [plain_number(round(float(value), 1)) for value in values[:, 0]]
        names = np.array(self.meta["target_names"])
        return [" + ".join(names[row]) or "none" for row in values]

    @cached_property
    def row_of(self) -> dict[int, int]:
        """Position in the arrays of each training id."""
        return {int(i): row for row, i in enumerate(self.ids)}

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Positions in the arrays of training ids of any shape."""
        order = np.argsort(self.ids)
        return order[np.searchsorted(self.ids, ids, sorter=order)]

    @cached_property
    def texts(self) -> list[str]:
        """One text for each training instance (tables and points); empty for images."""
        path = self.folder / "texts.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    @property
    def sprite(self) -> Path | None:
        """File with one tile per training instance (images): a PNG of all, or an array of tiles where they are many."""
        return next((path for name in ("sprite.png", "tiles.npy") if (path := self.folder / name).exists()), None)

    @property
    def inline(self) -> bool:
        """Whether the tiles are few enough to be sent to the browser in one piece."""
        return self.sprite is not None and self.sprite.suffix == ".png" and self.sprite.stat().st_size <= INLINE

    @cached_property
    def tiles(self) -> np.ndarray:
        """The pictures as uint8 [n, h, w, channels], in the order of `ids`; where they are many, only what is looked at is read from the disk."""
        if self.sprite.suffix == ".npy":
            return np.load(self.sprite, mmap_mode="r")
        from PIL import Image

        (width, height), columns = self.meta["tile"], self.meta["columns"]
        with Image.open(self.sprite) as opened:
            sheet = np.asarray(opened)
        rows = sheet.reshape(-1, height, columns, width, 1 if sheet.ndim == 2 else sheet.shape[2])
        return rows.swapaxes(1, 2).reshape(-1, *rows.shape[1::2], rows.shape[4])[: len(self.ids)]


def load(store: Store, key: str) -> Original | None:
    """The stored original, or None."""
    folder = store.place("originals", key)
    if not (folder / "table.npz").exists():
        return None
    meta, arrays = unpack(folder / "table.npz")
    return Original(key, OriginalSpec.from_dict(meta["spec"]), folder, meta, arrays)


def attribution_path(store: Store, key: str) -> Path:
    """Where is kept which words or columns an original's confidence hangs on, for the instances that were asked for (`evidence.attribution`)."""
    return store.place("originals", key) / "attribution.npz"


def prepare(store: Store, spec: OriginalSpec, reporter: Reporter, layout: Layout | None = None) -> Original:
    """Train and lay out the original of `spec`, unless it is stored already.

    It can be shown, on its PCA layout, as soon as it is trained; UMAP, or PaCMAP for many instances, is added when it is there.
    """
    found = load(store, spec.key)
    if found and found.complete:
        return found
    from unlearn_core.models import own_fit, storage, training
    from unlearn_core.models.device import stopwatch

    reporter.stage("loading data", 0.0, 0.02)
    if needed := missing(data.info(spec.dataset).files):
        fetch(needed, reporter.stage("downloading data", 0.0, 0.02))
    begun = time.perf_counter()
    source, info = data.load(spec.dataset, spec.dataset_params), models.info(spec.model)
    ahead = 0.4 if info.prepare else 0.02
    dataset = loading.learned(store, spec, source, reporter, 0.02, ahead)
    durations.stage(store, "loading", spec, dataset, begun)
    begun, said = time.perf_counter(), found.meta["given"] if found and spec.weights else []
    if found:
        model = storage.load(found.folder / "model.safetensors", info, dataset, spec.model_params, spec.device)
    elif spec.weights:
        reporter.stage("fitting the given weights", ahead, 0.5)
        fitted = own_fit.fit(weights.path(store, spec.weights), info, dataset, spec.model_params, spec.device)
        model, said = fitted.model, weights.notes(store, spec, fitted.notes)
    else:
        progress, passed = reporter.stage("training the original model", ahead, 0.5), stopwatch(spec.device)
        model = training.train(
            info, dataset, spec.model_params, dataset.splits.train, seeds.derive("original", spec.seed), spec.device, progress
        )
        durations.trained(store, spec, dataset, len(dataset.splits.train), spec.device, passed())
    seconds = found.meta["seconds"] if found else time.perf_counter() - begun
    begun = time.perf_counter()
    outputs = training.read(model, dataset.inputs, spec.device)
    if spec.weights:
        own_fit.check_answers(outputs.logits)
    features = outputs.features[dataset.splits.train]
    reporter.stage("finding neighbours", 0.5, 0.55)
    rows, distances = projection.nearest(features)
    facts = {"spec": asdict(spec), "seconds": seconds, "parameters": sum(p.numel() for p in model.parameters())}
    facts |= {"given": said} if spec.weights else {}

    def table(layouts: dict[str, np.ndarray]) -> bytes:
        meta, arrays = _describe(source, outputs.logits, rows, features, layouts)
        return pack(meta | {"blends": dataset.blends} | facts, arrays)

    instant = {"input": source.inputs[source.splits.train]} if source.modality == "points" else {"pca": projection.pca(features)}
    if not found:
        with store.writing("originals", spec.key) as folder:
            storage.save(folder / "model.safetensors", model, {"original": spec.key})
            _pictures(source, folder)
            (folder / "table.npz").write_bytes(table(instant))
        durations.stage(store, "map", spec, dataset, begun)
    if dataset.modality != "points":
        name = projection.automatic(len(features))
        progress = reporter.stage(f"laying out the map with {projection.TITLES[name]}", 0.55, 0.95)
        begun = time.perf_counter()
        xy = _laid_out(layout, name, features, rows, distances, spec.seed, lambda: progress(0.0))
        store.replace_file(store.place("originals", spec.key) / "table.npz", table({name: xy} | instant))
        if layout:  # one that is warm: in this process compiling would count
            durations.stage(store, name, spec, dataset, begun)
    reporter.stage("saving", 1.0, 1.0)
    return load(store, spec.key)


def add_layout(store: Store, spec: OriginalSpec, name: str, reporter: Reporter, layout: Layout | None = None) -> Original:
    """Lay a stored original out in one more way, which comes after those that it has; nothing else about it changes."""
    found = load(store, spec.key)
    if name in found.layouts:
        return found
    from unlearn_core.models import storage, training

    reporter.stage("loading data", 0.0, 0.05)
    dataset = loading.load(store, spec, reporter)
    model = storage.load(found.folder / "model.safetensors", models.info(spec.model), dataset, spec.model_params, spec.device)
    reporter.stage("reading the features", 0.05, 0.15)
    features = training.read(model, dataset.inputs, spec.device).features[dataset.splits.train]
    rows = found.rows(found.arrays["neighbours"])
    distances = np.stack([np.linalg.norm(features - features[column], axis=1) for column in rows.T], axis=1)
    progress = reporter.stage(f"laying out the map with {projection.TITLES[name]}", 0.15, 0.95)
    xy = _laid_out(layout, name, features, rows, distances, spec.seed, lambda: progress(0.0))
    meta, arrays = unpack(found.folder / "table.npz")  # again: another layout may have come in the meantime
    meta["trustworthiness"][name] = projection.trustworthiness(features, xy)
    store.replace_file(found.folder / "table.npz", pack(meta, arrays | {f"layout_{name}": xy}))
    return load(store, spec.key)


def _laid_out(layout: Layout | None, name: str, *given: Any) -> np.ndarray:
    return (layout or here)(*given, **({} if name == projection.UMAP else {"name": name}))


def here(
    features: np.ndarray, rows: np.ndarray, distances: np.ndarray, seed: int, tick: Callable[[], None], name: str = projection.UMAP
) -> np.ndarray:
    """A layout in this process, which hears nothing until it is done."""
    return projection.lay_out(name, features, rows, distances, seed)


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
        if dataset.inputs[:1].size * len(train) <= INLINE:
            (folder / "sprite.png").write_bytes(sprite(dataset.values(train)))
        else:  # part by part: all of them in floats would take four times the memory
            parts = np.split(train, range(PART, len(train), PART))
            np.save(folder / "tiles.npy", np.concatenate([_bytes(dataset.values(part)) for part in parts]))
        return
    shown = [dataset.words(int(i)) for i in train]
    (folder / "texts.json").write_text(json.dumps(shown), encoding="utf-8")


def sprite(images: np.ndarray) -> bytes:
    """One PNG of all images [n, channels, h, w] in 0..1, row-major, as many columns as `_columns(n)`."""
    from PIL import Image

    n, channels, height, width = images.shape
    columns = _columns(n)
    sheet = np.zeros((-(-n // columns) * height, columns * width, channels), np.uint8)
    for row, tile in enumerate(_bytes(images)):
        top, left = row // columns * height, row % columns * width
        sheet[top : top + height, left : left + width] = tile
    out = io.BytesIO()
    Image.fromarray(sheet[..., 0] if channels == 1 else sheet).save(out, "PNG", optimize=True)
    return out.getvalue()


def _bytes(images: np.ndarray) -> np.ndarray:
    """Images [n, channels, h, w] in 0..1 as tiles uint8 [n, h, w, channels]."""
    return np.round(images.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
