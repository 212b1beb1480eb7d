"""NumPy files: an .npz with inputs and labels, or an .npy table with the label in one column. Never a pickle."""

from __future__ import annotations

import math
import struct
import tokenize
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unlearn_core.data.importing.imported import Imported, Options, code_labels
from unlearn_core.data.importing.source import Source, Tell, check_room, short
from unlearn_core.data.importing.zipped import BROKEN, open_zip
from unlearn_core.errors import BadInput

INPUTS = ("x", "inputs", "images", "data", "features")
LABELS = ("y", "labels", "target", "targets", "label")
MOST_SIDE = 1024  # pixels
MOST_FEATURES = 100_000
GROWTH = 3
_HEADER_BROKEN = (
    *BROKEN,
    SyntaxError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
)


def read_npz(source: Source, options: Options, tell: Tell) -> Imported:
    """Inputs in an array called x, inputs, images, data or features; labels in y, labels, target … or the one that `target` names."""
    tell("Reading the arrays", 0.0)
    with source.open() as content:
        archive, files = open_zip(source, content, GROWTH)
        with archive:
            known = {member.filename.removesuffix(".npy"): member for member in files if member.filename.endswith(".npy")}
            if len(known) < len(files):
                raise BadInput("file", f"{source.name} holds other things than arrays.", "Save it with numpy.savez.")
            chosen = [_chosen(known, INPUTS, "inputs", ""), _chosen(known, LABELS, "target", options.target)]
            inputs, labels = (_member(archive, known[name], name) for name in chosen)
    return _imported(source, inputs, labels, chosen[1])


def read_npy(source: Source, options: Options, tell: Tell) -> Imported:
    """A table [N, d + 1] of numbers. The label is the last column, or the one whose number, from 0 on, is the `target`."""
    tell("Reading the array", 0.0)
    with source.open() as content:
        table = _array(content, source.size, source.name)
    if table.ndim != 2 or table.shape[1] < 2 or table.dtype.kind == "U":
        raise BadInput(
            "file", f"{source.name} is no table of numbers with a column of labels.", "Save inputs x and labels y with numpy.savez instead."
        )
    at = options.target or str(table.shape[1] - 1)
    if not at.isdecimal() or int(at) >= table.shape[1]:
        raise BadInput("target", f"there is no column {short(at)!r}.", f"Give a number from 0 to {table.shape[1] - 1}.")
    found = _imported(source, np.delete(table, int(at), axis=1), table[:, int(at)], f"column {at}")
    return found if options.target else replace(found, notes=("The last column was taken as the label.",))


def _chosen(known: dict, usual: tuple[str, ...], field: str, wanted: str) -> str:
    if wanted in known:
        return wanted
    found = [] if wanted else [name for name in known if name.lower() in usual]
    if len(found) != 1:
        what = (
            f"there is no array {short(wanted)!r}"
            if wanted
            else f"which array holds the {'labels' if field == 'target' else field} is unclear"
        )
        raise BadInput(field, f"{what}.", f"Name it {usual[0]!r}. The file has: {', '.join(map(short, list(known)[:12]))}.")
    return found[0]


def _member(archive, member, name: str) -> np.ndarray:
    try:
        with archive.open(member) as content:
            return _array(content, member.file_size, name)
    except BadInput:
        raise
    except BROKEN:
        raise BadInput("file", f"the array {short(name)!r} is broken.", "Save the file again.") from None


def _array(content: BinaryIO, size: int, name: str) -> np.ndarray:
    """One array in NumPy's own format, whose header is checked before room is made for it."""
    broken = BadInput("file", f"{short(name)!r} is not a whole NumPy array.", "Save it again with numpy.savez or numpy.save.")
    head = np.lib.format
    try:
        version = head.read_magic(content)
        reader = {(1, 0): head.read_array_header_1_0, (2, 0): head.read_array_header_2_0}.get(version)
        if reader is None:
            raise broken
        shape, fortran, dtype = reader(content)
        if dtype.hasobject:
            raise BadInput("file", f"{short(name)!r} holds Python objects, which only a pickle can keep.", "Save numbers or texts.")
        if dtype.names or dtype.kind not in "biufU" or dtype.shape:
            raise BadInput("file", f"{short(name)!r} holds values of the type {short(dtype)}.", "Save plain numbers.")
        count = math.prod(shape)
        if not shape or count == 0 or min(shape) < 0:
            raise BadInput("file", f"{short(name)!r} has no values.", "Save at least some instances.")
        check_room(count * dtype.itemsize, short(name), GROWTH)
        raw = content.read(count * dtype.itemsize + 1)
        if len(raw) != count * dtype.itemsize or len(raw) > size:
            raise broken
        return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")
    except BadInput:
        raise
    except _HEADER_BROKEN:
        raise broken from None


def _imported(source: Source, inputs: np.ndarray, labels: np.ndarray, target: str) -> Imported:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != len(inputs):
        raise BadInput(
            "target", f"labels of shape {labels.shape} do not fit inputs of shape {inputs.shape}.", "Give one label for each row."
        )
    if inputs.dtype.kind == "U":
        raise BadInput("inputs", "they are texts.", "Give texts as CSV or JSONL.")
    wrong = np.flatnonzero(~np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1))
    if len(wrong):
        raise BadInput(
            "inputs", f"{len(wrong):,} instances hold NaN or infinity, the first is {wrong[0]}.", "Fill or drop them, then save again."
        )
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.round(labels)).any() or np.abs(labels).max() > 1e15:
            raise BadInput("target", "the labels are not whole numbers.", "Give one whole number or name for each class.")
        labels = labels.astype(np.int64)
    codes, names = code_labels([str(label) for label in labels.tolist()], target)
    shaped, modality = _shaped(inputs)
    features = tuple(f"x{i}" for i in range(shaped.shape[1])) if shaped.ndim == 2 else ()
    return Imported(
        Path(source.name).stem, modality, codes, names, inputs=shaped, feature_names=("x", "y") if modality == "points" else features
    )


def _shaped(inputs: np.ndarray) -> tuple[np.ndarray, str]:
    """Inputs as a Dataset holds them, with their modality."""
    if inputs.ndim == 2:
        if inputs.shape[1] > MOST_FEATURES or np.abs(inputs.astype(np.float64)).max() > 1e30:
            raise BadInput(
                "inputs", "there are too many columns or too large values.", f"Give at most {MOST_FEATURES:,} columns and values to 1e30."
            )
        return inputs.astype(np.float32), "points" if inputs.shape[1] == 2 else "tabular"
    if inputs.ndim == 3:
        inputs = inputs[:, None]
    elif inputs.ndim == 4 and inputs.shape[-1] in (1, 3) and inputs.shape[1] not in (1, 3):
        inputs = inputs.transpose(0, 3, 1, 2)
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3) or not 4 <= min(inputs.shape[2:]) <= max(inputs.shape[2:]) <= MOST_SIDE:
        raise BadInput(
            "inputs",
            f"the shape {inputs.shape} is unknown.",
            f"Give rows [N, d], or pictures [N, height, width] of 4 to {MOST_SIDE} pixels, with 1 or 3 colours.",
        )
    low, high = float(inputs.min()), float(inputs.max())
    if inputs.dtype.kind == "b" or (inputs.dtype.kind == "f" and low >= 0 and high <= 1):
        return np.round(inputs * 255.0).astype(np.uint8), "image"
    if low < 0 or high > 255:
        raise BadInput("inputs", f"pixels run from {low:.4g} to {high:.4g}.", "Give pixels from 0 to 1 or from 0 to 255.")
    return np.round(inputs).astype(np.uint8), "image"
