"""What comes out of an import, and the checks that all kinds of data share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from unlearn_core.data.base import Group
from unlearn_core.data.importing.source import Tell, short, silent
from unlearn_core.data.tables import Column
from unlearn_core.errors import BadInput

MOST_CLASSES = 1000
LEAST_PER_CLASS = 10  # so that every split gets some
LONGEST_CLASS = 200  # characters


@dataclass(frozen=True)
class Options:
    """What a person chose about a file; whatever does not apply to its kind is ignored.

    target: column or array of the labels. text: column of the texts; without it a table is a table. protected: columns whose values tell
    groups of people apart. leave_out: columns that the model must not see. categories: columns of numbers that stand for categories.
    numbers: columns that hold numbers although some of their values are none, which then count as missing. side: height and width of pictures in pixels; 0 keeps their
    size, or takes 64 where they differ. drop_duplicates: keep only the first of identical instances. drop_small: leave out classes that
    are too small, instead of refusing the file.
    """

    target: str = ""
    text: str = ""
    protected: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    side: int = 0
    drop_duplicates: bool = False
    drop_small: bool = False
    title: str = ""


@dataclass(frozen=True)
class Imported:
    """Checked instances, not yet kept. Exactly one of `columns`, `texts` and `inputs` holds them.

    columns: of a table, as read. texts: raw. inputs: [N, d] float32, or [N, channels, height, width] uint8. labels: [N] int64.
    first_test: rows from here on are a test set that the file names itself. duplicates: instances that equal an earlier one.
    notes: what was done, in plain words.
    """

    title: str
    modality: str
    labels: np.ndarray
    class_names: tuple[str, ...]
    inputs: np.ndarray | None = None
    columns: tuple[Column, ...] = ()
    texts: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    groups: dict[str, Group] = field(default_factory=dict)
    first_test: int | None = None
    duplicates: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def first(self) -> np.ndarray:
        """[N] bool: whether no earlier instance equals this one."""
        seen: dict[bytes, int] = {}
        return np.array([seen.setdefault(key, row) == row for row, key in enumerate(row_keys(self))], bool)

    def take(self, rows: np.ndarray) -> Imported:
        """Only `rows`, ascending; classes without any row left disappear."""
        present, labels = np.unique(self.labels[rows], return_inverse=True)
        at = int(np.searchsorted(rows, self.first_test)) if self.first_test is not None else None
        return replace(
            self,
            labels=labels.astype(np.int64),
            class_names=tuple(self.class_names[i] for i in present),
            inputs=None if self.inputs is None else self.inputs[rows],
            columns=tuple(Column(column.name, column.values[rows], column.categories) for column in self.columns),
            texts=tuple(self.texts[i] for i in rows) if self.texts else (),
            groups={name: Group(group.codes[rows], group.names) for name, group in self.groups.items()},
            first_test=None if at == len(rows) else at,
        )


def code_labels(values: Sequence[str], target: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels [N] int64 and class names: whole numbers in their order, words in alphabetic order. Raises BadInput."""
    names = sorted(set(values))
    if len(names) > MOST_CLASSES:
        raise BadInput(
            "target",
            f"{short(target)!r} has {len(names):,} different values, too many for classes.",
            f"Choose a target with at most {MOST_CLASSES:,} classes; numbers to be predicted are not supported.",
        )
    if max(map(len, names), default=0) > LONGEST_CLASS:
        raise BadInput("target", f"{short(target)!r} holds long texts, not classes.", "Choose the column with the classes.")
    if all(re.fullmatch(r"-?\d{1,18}", name) for name in names):
        names.sort(key=int)
    codes = {name: code for code, name in enumerate(names)}
    return np.array([codes[value] for value in values], np.int64), tuple(names)


def finish(imported: Imported, options: Options, tell: Tell = silent) -> Imported:
    """The same with duplicates counted or dropped and too small classes refused or dropped. Raises BadInput."""
    tell("Looking for duplicates", 0.0)
    first = imported.first
    twins = int((~first).sum())
    notes = list(imported.notes)
    if twins and options.drop_duplicates:
        notes.append(f"Dropped because they equal an earlier instance: {twins:,}.")
        imported, twins = imported.take(np.flatnonzero(first)), 0
    elif twins:
        notes.append(
            f"Instances that equal an earlier one: {twins:,}. A forgotten one may live on in its twin, and twins in two splits flatter."
        )
    sizes = np.bincount(imported.labels[: imported.first_test], minlength=len(imported.class_names))
    small = np.flatnonzero(sizes < LEAST_PER_CLASS)
    to_learn = "" if imported.first_test is None else " to learn from"
    if len(small) and not options.drop_small:
        raise BadInput(
            "target",
            f"{_listed(imported.class_names[i] for i in small)} {'has' if len(small) == 1 else 'have'} fewer than {LEAST_PER_CLASS} instances{to_learn}.",
            "Add more, merge classes, or let too small classes be left out.",
        )
    if len(small):
        notes.append(f"Left out, with fewer than {LEAST_PER_CLASS} instances: {_listed(imported.class_names[i] for i in small)}.")
        imported = imported.take(np.flatnonzero(sizes[imported.labels] >= LEAST_PER_CLASS))
    if len(imported.class_names) < 2:
        raise BadInput(
            "target", "there is only one class." if len(imported) else "no class is left.", "Give data with at least two classes."
        )
    return replace(imported, duplicates=twins, notes=tuple(notes), title=short(options.title or imported.title))


def row_keys(imported: Imported) -> Iterable[bytes]:
    """A digest of each instance without its label: equal instances have equal keys."""
    if imported.texts:
        rows: Iterable[bytes] = (text.encode("utf-8", "surrogatepass") for text in imported.texts)
    elif imported.columns:
        # NaN has many bit patterns; one that stands for all of them makes missing values equal.
        table = np.stack([np.where(column.missing, np.nan, column.values) for column in imported.columns], axis=1)
        rows = (row.tobytes() for row in table + 0.0)
    else:
        rows = (np.ascontiguousarray(row).tobytes() for row in imported.inputs)
    return (hashlib.blake2b(row, digest_size=16).digest() for row in rows)


def _listed(names: Iterable[str], most: int = 5) -> str:
    found = [short(name) for name in names]
    return ", ".join(found[:most]) + (f" and {len(found) - most:,} more" if len(found) > most else "")
