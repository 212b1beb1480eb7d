"""One's own data, once imported: kept in one folder for each content, loaded like any other dataset."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo, Group, Splits
from unlearn_core.data.dividing import SUBSET, divide
from unlearn_core.data.importing.imported import Imported, row_keys
from unlearn_core.data.planting import BIASED, GROUP, PERSON, plantable
from unlearn_core.data.tables import Column, encode
from unlearn_core.data.texts import MODEL, dataset_of_texts
from unlearn_core.data.tokens import BUCKETS, length_param
from unlearn_core.errors import BadInput
from unlearn_core.params import Param

FORMAT = 1
KEY_LENGTH = 16
META = "meta.json"


@dataclass(frozen=True)
class Key(Param):
    """A parameter that names an import by its key: hexadecimal, from `save`."""

    def _convert(self, value: Any) -> str:
        if not isinstance(value, str) or (value and (len(value) != KEY_LENGTH or set(value) - set("0123456789abcdef"))):
            raise ValueError
        return value

    def _expected(self) -> str:
        return "the key of imported data"


@dataclass(frozen=True)
class Kept:
    """An import that is kept. name: of the dataset that loads it, with the parameter key=`key`."""

    key: str
    name: str
    title: str
    modality: str
    instances: int
    classes: int
    notes: tuple[str, ...]


def folder() -> Path:
    """Where imports are kept: beside the results, since they may be as personal."""
    return Path(os.environ.get("UNLEARN_STORE") or ".store").resolve() / "data"


def scratch() -> Path:
    """A fresh folder beside the imports, of this process: one that a killed process leaves behind is swept away with the store's own."""
    folder().mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".writing-{os.getpid()}-", dir=folder()))


def save(imported: Imported) -> Kept:
    """Keep an import; the same content is kept once. Returns its key and how to load it."""
    arrays, meta = _packed(imported)
    key = _key(arrays, meta)
    target = folder() / key
    if not (target / META).is_file():
        beside = scratch()
        try:
            np.savez(beside / "arrays.npz", **arrays)
            (beside / "texts.json").write_text(json.dumps(meta["texts"]), encoding="utf-8")  # apart, so that `kept` stays quick
            (beside / META).write_text(json.dumps(meta | {"texts": []}), encoding="utf-8")
            os.replace(beside, target)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            if not (target / META).is_file():  # otherwise another process kept the same content a moment earlier
                raise
    return _described(key, meta)


def kept() -> list[Kept]:
    """All imports that are kept, by title."""
    found = [place.name for place in folder().glob(f"*/{META}") for place in (place.parent,) if not place.name.startswith(".")]
    return sorted((_described(key, _meta(key)) for key in found), key=lambda item: (item.title, item.key))


def delete(key: str) -> None:
    """Forget an import for good, and nothing else: what was made from it stays (`runs.deleting` removes that too)."""
    place, gone = _place(key), scratch()
    os.replace(place, gone / key)  # in one step: half of an import would be listed nowhere, and stand in the way of importing it again
    shutil.rmtree(gone, ignore_errors=True)


def dataset(imported: Imported, params: dict[str, Any], name: str) -> Dataset:
    """The dataset of an import with its splits. params: as declared for its modality."""
    if imported.texts:
        found = dataset_of_texts(
            name, params, imported.texts, imported.labels, imported.class_names, imported.first_test, groups=imported.groups,
            notes=imported.notes,
        )  # fmt: skip
        return replace(found, notes=(*found.notes, *_twins(found.texts, found.splits)))
    rows, splits = divide(imported.labels, params, imported.first_test)
    some = imported if len(rows) == len(imported) else _rows(imported, rows)
    notes = (*imported.notes, *(_twins(list(row_keys(some)), splits) if imported.duplicates else ()))
    inputs, names, categories = some.inputs, some.feature_names, ()
    if some.columns:
        inputs, names, categories, said = encode(some.columns, splits.train)
        notes = (*notes, *said)
    return Dataset(
        name=name,
        params=params,
        modality=imported.modality,
        inputs=inputs,
        labels=some.labels,
        class_names=imported.class_names,
        splits=splits,
        feature_names=names,
        categories=categories,
        groups=some.groups,
        notes=notes,
    )


def _rows(imported: Imported, rows: np.ndarray) -> Imported:
    some = imported.take(rows)
    if some.class_names != imported.class_names:
        raise BadInput("subset", "a class would lose all its instances.", "Use more training instances.")
    return some


def _twins(keys: Sequence[Hashable], splits: Splits) -> tuple[str, ...]:
    train = {keys[i] for i in splits.train}
    outside = sum(keys[i] in train for name, ids in splits.items() if name != "train" for i in ids)
    return (f"Instances outside the training split with an exact twin in it: {outside:,}.",) if outside else ()


# on disk ---------------------------------------------------------------------------------------------------


def _packed(imported: Imported) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = {"labels": imported.labels}
    if imported.inputs is not None:
        arrays["inputs"] = imported.inputs
    arrays |= {f"column{i}": column.values for i, column in enumerate(imported.columns)}
    arrays |= {f"group{i}": group.codes for i, group in enumerate(imported.groups.values())}
    meta = {
        "format": FORMAT,
        "title": imported.title,
        "modality": imported.modality,
        "class_names": imported.class_names,
        "columns": [[column.name, column.categories] for column in imported.columns],
        "groups": [[name, group.names] for name, group in imported.groups.items()],
        "feature_names": imported.feature_names,
        "texts": imported.texts,
        "instances": len(imported),
        "first_test": imported.first_test,
        "duplicates": imported.duplicates,
        "notes": imported.notes,
    }
    return arrays, meta


def _key(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(str((name, array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:KEY_LENGTH]


def _place(key: str) -> Path:
    place = folder() / key
    if len(key) != KEY_LENGTH or not (place / META).is_file():
        raise BadInput("key", f"there is no imported data {key!r} here." if key else "no data was imported.", "Import the file (again).")
    return place


def _meta(key: str) -> dict[str, Any]:
    return json.loads((_place(key) / META).read_text(encoding="utf-8"))


def _described(key: str, meta: dict[str, Any]) -> Kept:
    return Kept(
        key, NAMES[meta["modality"]], meta["title"], meta["modality"], meta["instances"], len(meta["class_names"]), tuple(meta["notes"])
    )


def open_kept(key: str) -> Imported:
    """An import that is kept. Raises BadInput if there is none of this key."""
    meta = _meta(key)
    with np.load(_place(key) / "arrays.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return Imported(
        title=meta["title"],
        modality=meta["modality"],
        labels=arrays["labels"],
        class_names=tuple(meta["class_names"]),
        inputs=arrays.get("inputs"),
        columns=tuple(Column(name, arrays[f"column{i}"], tuple(kind)) for i, (name, kind) in enumerate(meta["columns"])),
        texts=tuple(json.loads((_place(key) / "texts.json").read_text(encoding="utf-8"))),
        feature_names=tuple(meta["feature_names"]),
        groups={name: Group(arrays[f"group{i}"], tuple(names)) for i, (name, names) in enumerate(meta["groups"])},
        first_test=meta["first_test"],
        duplicates=meta["duplicates"],
        notes=tuple(meta["notes"]),
    )


# declarations ----------------------------------------------------------------------------------------------

NAMES = {"tabular": "own_table", "image": "own_images", "text": "own_texts", "points": "own_points"}
KEY = Key("key", "text", "", "Which imported data: its key.", title="Imported data")
_WHAT = {
    "tabular": ("Your own table", "mlp", "Rows with numbers and categories, from CSV, TSV, Parquet, JSONL, NPY or NPZ."),
    "image": ("Your own pictures", "cnn", "Pictures in class folders, from a zip file or a folder, or from NPZ."),
    "text": ("Your own texts", MODEL, "Texts with a class each, from JSONL or CSV."),
    "points": ("Your own points", "mlp", "Rows of exactly two numbers, so that the decision boundary itself can be drawn."),
}


def _titled(modality: str, params: dict[str, Any]) -> str:
    try:
        return _meta(params["key"])["title"]
    except BadInput:  # deleted; what was made from it still wants a name
        return _WHAT[modality][0]


def _load(modality: str, params: dict[str, Any]) -> Dataset:
    imported = open_kept(params["key"])
    if imported.modality != modality:
        raise BadInput("key", f"the data {imported.title!r} is {imported.modality} data.", f"Open it as {NAMES[imported.modality]}.")
    return dataset(imported, params, NAMES[modality])


_MORE = {"image": (PERSON,), "tabular": (GROUP, BIASED), "text": (GROUP,), "points": ()}  # beside what every modality lets be planted

DATASET = tuple(
    plantable(
        DatasetInfo(
            name=NAMES[modality],
            title=title,
            modality=modality,
            description=description,
            default_model=model,
            load=partial(_load, modality),
            order=80 + at,
            params=(KEY, SUBSET, *((length_param(128), BUCKETS) if modality == "text" else ()), SPLIT_SEED),
            licence="your own data",
            citation="",
            titled=partial(_titled, modality),
        ),
        *_MORE[modality],
    )
    for at, (modality, (title, model, description)) in enumerate(_WHAT.items())
)
