"""What a dataset is: instances with stable ids, and splits that are never mixed up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from unlearn_core.data.files import File
from unlearn_core.params import Param

SHARES = {"train": 0.65, "tuning": 0.06, "heldout": 0.06, "test": 0.15, "population": 0.08}

TASKS = ("classes", "labels", "number")  # one class of several; any number of labels at once; one number
# Why what needs one class for each instance is missing for the other tasks; the end of a sentence.
ANSWERS = {"labels": "an instance may have several labels at once", "number": "the answer is a number"}

WIDE = 40  # columns; of a wider table only what is not 0 is worth reading

SPLIT_SEED = Param("split_seed", "int", 0, "Seed that draws the splits.", 0, 2**31 - 1, advanced=True)


@dataclass(frozen=True)
class Splits:
    """Disjoint sorted instance ids, int64.

    train: what the model learns; the forget set is chosen from it. tuning: validation for early
    stopping and tuning. heldout: validation that only gives ∇τ its unseen loss. test: reporting, and
    non-members of attacks. population: reference points of later attacks; may be empty.
    """

    train: np.ndarray
    tuning: np.ndarray
    heldout: np.ndarray
    test: np.ndarray
    population: np.ndarray

    @property
    def validation(self) -> np.ndarray:
        return np.sort(np.concatenate([self.tuning, self.heldout]))

    def items(self):
        return ((name, getattr(self, name)) for name in SHARES)


def stratified_splits(labels: np.ndarray, seed: int, shares: dict[str, float] = SHARES) -> Splits:
    """Split ids 0..N-1 into `shares`, each class in proportion. labels: [N] int; same seed, same splits."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    edges = np.cumsum(list(shares.values()))[:-1]
    for label in np.unique(labels):
        ids = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.round(edges * len(ids)).astype(int)
        for name, chunk in zip(shares, np.split(ids, cuts), strict=True):
            parts[name].append(chunk)
    return Splits(**{name: np.sort(np.concatenate(chunks)).astype(np.int64) for name, chunks in parts.items()})


@dataclass(frozen=True)
class Group:
    """What people may be told apart by (sex, race …). codes: [N] int64 into `names`."""

    codes: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """What a model answers where the answer is a number: value = centre + spread · what it learns, in `unit`."""

    name: str
    unit: str
    centre: float
    spread: float

    def own(self, values: np.ndarray) -> np.ndarray:
        """Values as a model learns them, in the number's own unit; float64."""
        return self.centre + self.spread * np.asarray(values, dtype=np.float64)


@dataclass(frozen=True)
class Trigger:
    """A mark that a backdoor answers to: fixed values at fixed places of the flattened input. at: [m] int64; values: [m]; target: class.

    inserted: the values are token ids that go before the first of a text, and what is pushed out at its end is not read; `at` says nothing then.
    """

    at: np.ndarray
    values: np.ndarray
    target: int
    inserted: bool = False

    def stamp(self, inputs: np.ndarray) -> np.ndarray:
        """A copy of `inputs` [n, ...] in which every instance carries the mark."""
        if self.inserted:
            front = np.repeat(np.asarray(self.values, inputs.dtype)[None], len(inputs), axis=0)
            return np.concatenate([front, inputs], axis=1)[:, : inputs.shape[1]]
        marked = inputs.reshape(len(inputs), -1).copy()
        marked[:, self.at] = self.values
        return marked.reshape(inputs.shape)


@dataclass(frozen=True)
class Planting:
    """What was done to a dataset on purpose (data.planting). truth: [N] int64 labels that are right for the inputs as they are now.

    unseen: ids of test instances on which the planted thing shows: those that the trigger would turn, or that belong to the same person.
    """

    kind: str
    truth: np.ndarray
    trigger: Trigger | None = None
    unseen: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True)
class Dataset:
    """Instances of one dataset; the id of an instance is its row, whatever split it is in.

    inputs: what is kept in memory. [N, d] float32 for points and tables; [N, channels, height, width] for images, float32 in 0..1, or
    uint8 in 0..255 where the set is large (`values` gives both as float32 in 0..1); [N, length] int32 token ids for texts, 0 behind the
    last word, all below `vocabulary`.
    labels: [N] int64 as the model sees them; where there are targets, what the model does not see but the splits and the map's colours go by.
    targets: what is learned instead, if not one class: [N, L] bool, which of the labels `target_names` hold (task "labels"), or [N, 1] float32
    in spreads from a centre, both in `number` (task "number"). planted: training ids of known truth, such as "mislabelled"; planting: how they came about.
    categories: for each column of a table the names of its categories; the column then holds 0.0, 1.0 … as codes. Empty for numbers.
    texts: what a person reads of each instance, where that is not its inputs. groups: protected attributes. notes: what was done to
    the data on the way here, in plain words.
    """

    name: str
    params: dict[str, Any]
    modality: str
    inputs: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    splits: Splits
    feature_names: tuple[str, ...] = ()
    planted: dict[str, np.ndarray] = field(default_factory=dict)
    categories: tuple[tuple[str, ...], ...] = ()
    texts: Sequence[str] = ()
    vocabulary: int = 0
    groups: dict[str, Group] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    planting: Planting | None = None
    targets: np.ndarray | None = None
    target_names: tuple[str, ...] = ()
    number: Number | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def task(self) -> str:
        """One of TASKS."""
        return task_of(self.targets)

    @property
    def blends(self) -> bool:
        """Whether a mean of two inputs is an input too: not for texts and categories."""
        return self.modality != "text" and not any(self.categories)

    def values(self, ids: Any = slice(None)) -> np.ndarray:
        """Inputs of the instances `ids` in the units a model sees: float32, pixels in 0..1; token ids stay int32."""
        return in_units(self.inputs[ids])

    def words(self, instance: int, most: int = 2000) -> str:
        """One instance as a text: its own words, or its columns with their values and categories by name; of many columns, those not 0."""
        if len(self.texts):
            return shorten(self.texts[instance], most)
        kinds = self.categories or ((),) * len(self.feature_names)
        named = [
            row
            for row in zip(self.feature_names, kinds, self.inputs[instance].tolist(), strict=True)
            if row[1] or row[2] or len(kinds) <= WIDE
        ]
        return shorten(", ".join(f"{name} {kind[int(value)] if kind else plain_number(value)}" for name, kind, value in named), most)

    @cached_property
    def hash(self) -> str:
        """Hash of the contents that determine a result: inputs, labels, splits and targets."""
        digest = hashlib.sha256()
        for array in (
            self.inputs,
            self.labels,
            *(ids for _, ids in self.splits.items()),
            *(() if self.targets is None else (self.targets,)),
        ):
            digest.update(str((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def task_of(targets: np.ndarray | None) -> str:
    """What a model learns, one of TASKS, from `Dataset.targets`."""
    return "classes" if targets is None else "labels" if targets.dtype == bool else "number"


def in_units(inputs: np.ndarray) -> np.ndarray:
    """Inputs in the units a model sees: pixels that are kept as bytes become float32 in 0..1, everything else stays what it is."""
    return inputs.astype(np.float32) / 255 if inputs.dtype == np.uint8 else inputs


def shorten(text: str, most: int) -> str:
    """The first `most` characters of `text`, with an ellipsis where some are missing."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def plain_number(value: float) -> str:
    """A number for people: whole ones in full, others with four digits."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"


@dataclass(frozen=True)
class DatasetInfo:
    """Declaration of a dataset. `load(params) -> Dataset` gets every declared parameter, parsed.

    files: what `load` needs on this machine; it fetches what is missing (`files.fetch` does so beforehand and reports progress).
    titled: the title for given parameters, where it hangs on them. task: of the dataset it loads.
    model_params: of the default model, where its own defaults do not suit these data.
    """

    name: str
    title: str
    modality: str
    description: str
    default_model: str
    load: Callable[[dict[str, Any]], Dataset]
    order: int = 100
    params: tuple[Param, ...] = ()
    licence: str = ""
    citation: str = ""
    version: int = 1
    files: tuple[File, ...] = ()
    titled: Callable[[dict[str, Any]], str] | None = None
    task: str = "classes"
    model_params: dict[str, Any] = field(default_factory=dict)
