"""What a person sees of a checked import before it is kept: counts, notes and a few instances. Small, and made of plain values."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearn_core import data
from unlearn_core.data import own
from unlearn_core.data.base import shorten
from unlearn_core.data.importing.imported import Imported
from unlearn_core.data.importing.source import short
from unlearn_core.params import resolve

ROWS = 5
COLUMNS = 50
WORDS = 500  # characters of a text
PICTURES = 8
SIDE = 128  # pixels


@dataclass(frozen=True)
class Summary:
    """classes: (name, instances). sizes: instances of each split. duplicates: instances that equal an earlier one. notes: what was done.

    columns, rows: the first instances with what a model will get of them; left_out: columns too many to show.
    pictures: (class, PNG in base64), the first of each class.
    """

    title: str
    modality: str
    instances: int
    classes: tuple[tuple[str, int], ...]
    sizes: dict[str, int]
    duplicates: int
    notes: tuple[str, ...]
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    left_out: int = 0
    pictures: tuple[tuple[str, str], ...] = ()


def summarise(imported: Imported) -> Summary:
    """Makes the dataset once, to say how it divides and what is filled in. Raises BadInput."""
    name = own.NAMES[imported.modality]
    found = own.dataset(imported, resolve(data.info(name).params, {}, name), name)
    counts = np.bincount(imported.labels, minlength=len(imported.class_names)).tolist()
    columns = {} if imported.modality == "image" else _columns(imported)
    shown = list(columns)[: COLUMNS + 1]
    return Summary(
        title=imported.title,
        modality=imported.modality,
        instances=len(imported),
        classes=tuple(zip(imported.class_names, counts, strict=True)),
        sizes={split: len(ids) for split, ids in found.splits.items()},
        duplicates=imported.duplicates,
        notes=found.notes,
        columns=tuple(shown),
        rows=tuple(zip(*(columns[column] for column in shown), strict=True)),
        left_out=len(columns) - len(shown),
        pictures=_pictures(imported) if imported.modality == "image" else (),
    )


def _columns(imported: Imported) -> dict[str, list[Any]]:
    """The first rows by column: numbers as they are, categories and texts as words, None where a value is missing."""
    found: dict[str, list[Any]] = {"": [imported.class_names[label] for label in imported.labels[:ROWS]]}  # no column has an empty name
    if imported.texts:
        found["text"] = [shorten(text, WORDS) for text in imported.texts[:ROWS]]
    for column in imported.columns:
        values, kind = column.values[:ROWS].tolist(), column.categories
        gone = column.missing[:ROWS]
        found[column.name] = [None if lost else kind[value] if kind else value for value, lost in zip(values, gone, strict=True)]
    if imported.inputs is not None:
        found |= dict(zip(imported.feature_names, imported.inputs[:ROWS].T.tolist(), strict=True))
    return found


def _pictures(imported: Imported) -> tuple[tuple[str, str], ...]:
    names = imported.class_names[:PICTURES]
    first = (imported.inputs[np.argmax(imported.labels == label)] for label in range(len(names)))
    return tuple((short(name), base64.b64encode(_png(image)).decode()) for name, image in zip(names, first, strict=True))


def _png(image: np.ndarray) -> bytes:
    """image: [channels, height, width] uint8."""
    from PIL import Image

    picture = Image.fromarray(image.transpose(1, 2, 0).squeeze())
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
