"""Tables and texts, column by column: what each column holds, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unlearn_core.data.base import Group
from unlearn_core.data.importing.formats import LARGEST, columns
from unlearn_core.data.importing.imported import Imported, Options, code_labels
from unlearn_core.data.importing.source import Source, Tell, short
from unlearn_core.data.tables import Column
from unlearn_core.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

MOST_GROUPS = 50
MOST_CATEGORIES = 1000  # that a column of numbers may turn into
MISSING = ("", "?", "na", "n/a", "nan", "null", "none")
TARGETS = ("target", "label", "class", "y", "labels", "category")
TEXT_WORDS = 4  # words on average from which on a column of mostly different values is a text


@dataclass(frozen=True)
class ColumnInfo:
    """kind: "number", "category", "text", "constant", "empty", or "name" for nearly as many different values as rows.

    numbers: how many of its values are numbers.
    """

    name: str
    kind: str
    distinct: int
    missing: int
    examples: tuple[str, ...]
    numbers: int = 0


Table = dict[str, "_Read"]
PARSED = 0.6  # share of the time after which a file is split into columns, and each is looked at


def table(source: Source, tell: Tell) -> Table:
    """The columns by name. Raises BadInput."""
    found: Table = {}
    waiting = columns(source, lambda words, share: tell(words, PARSED * share))[::-1]
    total = len(waiting)
    while waiting:
        tell(f"Looking at column {len(found) + 1:,} of {total:,}", PARSED + (1 - PARSED) * len(found) / total)
        name, values = waiting.pop()  # what is read twice would not fit
        found[name] = _Read.of(name, values)
    return found


def preview(found: Table) -> tuple[ColumnInfo, ...]:
    """What each column seems to hold."""
    return tuple(column.info() for column in found.values())


def read(found: Table, title: str, options: Options) -> Imported:
    """A table, or texts if `options.text` names their column; to be finished. Raises BadInput."""
    target = _chosen_target(options, found)
    given = (
        ("protected", options.protected),
        ("leave_out", options.leave_out),
        ("text", filter(None, (options.text,))),
        ("categories", options.categories),
        ("numbers", options.numbers),
    )
    for field, names in given:
        for name in names:
            if name not in found:
                raise BadInput(field, f"there is no column {short(name)!r}.", f"Choose from: {_listed(found)}.")
            if name == target:
                raise BadInput(field, f"{short(name)!r} is the target.", "Choose another column.")
    rows = np.flatnonzero(~found[target].missing)
    if options.text:
        rows = rows[~found[options.text].missing[rows]]
    total = len(found[target].missing)
    notes = [f"{total - len(rows):,} of {total:,} rows without a target{' or a text' if options.text else ''} were dropped."] * (
        len(rows) < total
    )
    if not len(rows):
        raise BadInput("target", f"{short(target)!r} has no values.", "Choose the column with the classes.")
    labels, class_names = code_labels(found[target].words(rows), target)
    found = found | {name: found[name].as_category() for name in options.categories}
    for name in options.numbers:
        found[name], lost = found[name].as_number()
        if lost:
            notes.append(
                f"{short(name)}: {lost:,} {'value that is no number counts' if lost == 1 else 'values that are no numbers count'} as missing."
            )
    groups = {name: found[name].group(rows) for name in options.protected}
    common = {"title": title, "labels": labels, "class_names": class_names, "groups": groups}
    if options.text:
        texts = tuple(found[options.text].words(rows))
        return Imported(**common, modality="text", texts=texts, notes=tuple(notes))
    used = []
    for name, column in found.items():
        if name == target or name in options.leave_out:
            continue
        why = "" if name in options.categories else column.useless(rows)
        if why:
            notes.append(f"{short(name)} was left out: {why}.")
        else:
            used.append(column.column(rows))
    if not used:
        raise BadInput("columns", "no column is left for the model to learn from.", "Name the column of texts, or give more columns.")
    if len(used) == 2 and not any(column.categories or column.missing.any() for column in used):
        inputs = np.stack([column.values for column in used], axis=1).astype(np.float32)
        names = tuple(column.name for column in used)
        return Imported(**common, modality="points", inputs=inputs, feature_names=names, notes=tuple(notes))
    return Imported(**common, modality="tabular", columns=tuple(used), notes=tuple(notes))


def _chosen_target(options: Options, found: dict[str, _Read]) -> str:
    if options.target:
        if options.target not in found:
            raise BadInput("target", f"there is no column {short(options.target)!r}.", f"Choose from: {_listed(found)}.")
        return options.target
    usual = [name for name in found if name.lower() in TARGETS]
    if len(usual) != 1:
        raise BadInput("target", "which column holds the classes is not said.", f"Choose from: {_listed(found)}.")
    return usual[0]


def _listed(found: dict[str, _Read], most: int = 12) -> str:
    names = [short(name) for name in found]
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


@dataclass(frozen=True)
class _Read:
    """One column: numbers [N] float64 with NaN where missing, or texts as codes [N] into `values` with -1 where missing."""

    name: str
    numbers: np.ndarray | None
    codes: np.ndarray | None
    values: tuple[str, ...]

    @classmethod
    def of(cls, name: str, values: pa.ChunkedArray) -> _Read:
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_floating(values.type):
            return cls(name, _finite(name, values.to_numpy()), None, ())
        trimmed = pc.utf8_trim_whitespace(values)
        gone = pc.or_kleene(pc.is_null(trimmed), pc.is_in(pc.utf8_lower(trimmed), pa.array(MISSING, trimmed.type)))
        known = pc.if_else(gone, None, trimmed)
        try:
            return cls(name, _finite(name, pc.cast(known, pa.float64()).to_numpy()), None, ())
        except pa.ArrowInvalid:
            pass
        packed = known.combine_chunks().dictionary_encode()
        words = packed.dictionary.to_pylist()
        order = np.argsort(np.array(words, dtype=object), kind="stable") if words else np.zeros(0, np.int64)
        codes = packed.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        place = np.append(np.argsort(order), -1)  # the last place is for -1
        return cls(name, None, place[codes], tuple(words[i] for i in order))

    @property
    def missing(self) -> np.ndarray:
        return np.isnan(self.numbers) if self.codes is None else self.codes < 0

    def words(self, rows: np.ndarray) -> list[str]:
        """The values as text; whole numbers without a decimal point."""
        if self.codes is not None:
            return [self.values[code] for code in self.codes[rows]]
        return list(map(_word, self.numbers[rows].tolist()))

    def useless(self, rows: np.ndarray) -> str:
        """Why a model cannot learn from this column, or ""."""
        kind, distinct = self._kind(rows)
        return {
            "empty": "it has no values",
            "constant": "it has only one value",
            "text": "it holds texts",
            "name": f"it has {distinct:,} different values in {len(rows):,} rows, as names or numbers of records have",
        }.get(kind, "")

    def _kind(self, rows: np.ndarray) -> tuple[str, int]:
        known = rows[~self.missing[rows]]
        present = np.unique(self.numbers[known] if self.codes is None else self.codes[known])
        distinct = len(present)
        if distinct == 0:
            return "empty", 0
        if distinct == 1 and len(known) == len(rows):
            return "constant", 1
        if self.codes is None:
            return "number", distinct
        often = distinct > max(20, len(known) / 2)
        words = np.mean([len(self.values[code].split()) for code in present[:: max(1, distinct // 1000)]])
        if often and words >= TEXT_WORDS:
            return "text", distinct
        return ("name" if often else "category"), distinct

    def info(self) -> ColumnInfo:
        rows = np.arange(len(self.missing))
        kind, distinct = self._kind(rows)
        known = rows[~self.missing]
        examples = tuple(dict.fromkeys(map(short, self.words(known[:20]))))[:5]
        return ColumnInfo(self.name, kind, distinct, len(rows) - len(known), examples, int((~np.isnan(self._as_numbers()[known])).sum()))

    def as_category(self) -> _Read:
        """The same column with its numbers as words. Raises BadInput for more different ones than categories can be."""
        if self.codes is not None:
            return self
        gone = self.missing
        present, codes = np.unique(self.numbers[~gone], return_inverse=True)
        if len(present) > MOST_CATEGORIES:
            raise BadInput(
                "categories",
                f"{short(self.name)!r} has {len(present):,} different numbers.",
                f"Choose columns with at most {MOST_CATEGORIES:,}.",
            )
        placed = np.full(len(gone), -1, np.int64)
        placed[~gone] = codes
        return _Read(self.name, None, placed, tuple(map(_word, present.tolist())))

    def as_number(self) -> tuple[_Read, int]:
        """The same column as numbers, and how many values are none and count as missing from now on. Raises BadInput if all are none."""
        numbers = self._as_numbers()
        lost = int((np.isnan(numbers) & ~self.missing).sum())
        if np.isnan(numbers).all():
            raise BadInput("numbers", f"{short(self.name)!r} holds no numbers.", "Choose columns with numbers.")
        return _Read(self.name, _finite(self.name, numbers), None, ()), lost

    def _as_numbers(self) -> np.ndarray:
        """The values as numbers [N], NaN for words; a single comma counts as the decimal point."""
        if self.codes is None:
            return self.numbers
        import pyarrow as pa
        import pyarrow.compute as pc

        words = pa.array(self.values, pa.large_string())
        plain = pc.if_else(pc.match_substring_regex(words, r"^[-+]?[0-9]+([.,][0-9]+)?$"), pc.replace_substring(words, ",", "."), None)
        known = pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False)
        return np.append(known, np.nan)[self.codes]  # the last place is for -1

    def column(self, rows: np.ndarray) -> Column:
        if self.codes is None:
            return Column(self.name, self.numbers[rows])
        present, codes = np.unique(np.append(self.codes[rows], -1), return_inverse=True)
        return Column(self.name, codes[:-1] - 1, tuple(short(self.values[code]) for code in present[1:]))

    def group(self, rows: np.ndarray) -> Group:
        """The column as a protected attribute; many different numbers become four groups of about the same size."""
        distinct = self._kind(rows)[1]
        gone = self.missing[rows]
        if self.codes is None and distinct > MOST_GROUPS:
            numbers = self.numbers[rows]
            edges = np.unique(np.quantile(numbers[~gone], (0.25, 0.5, 0.75)))
            codes = np.where(gone, len(edges) + 1, np.searchsorted(edges, numbers, side="left"))
            bounds = [f"{edge:.4g}" for edge in edges]
            names = [f"up to {bounds[0]}", *(f"{a} to {b}" for a, b in zip(bounds, bounds[1:], strict=False)), f"over {bounds[-1]}"]
        elif 1 < distinct <= MOST_GROUPS:
            column = self.column(rows) if self.codes is not None else _coded(self.column(rows))
            codes, names = np.where(gone, len(column.categories), column.values), list(column.categories)
        else:
            raise BadInput(
                "protected", f"{short(self.name)!r} has {distinct:,} different values.", f"Choose a column with 2 to {MOST_GROUPS} groups."
            )
        return Group(codes.astype(np.int64), (*names, *(["(missing)"] if gone.any() else [])))


def _coded(column: Column) -> Column:
    """A column of few different numbers as categories."""
    present = np.unique(column.values[~column.missing])
    codes = np.where(column.missing, -1, np.searchsorted(present, column.values))
    return Column(column.name, codes, tuple(f"{value:.6g}" for value in present))


def _word(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    bad = np.flatnonzero(np.abs(values) > LARGEST)
    if len(bad):
        raise BadInput(
            "columns",
            f"{short(name)!r} holds {values[bad[0]]} in row {bad[0] + 1:,}, which no model can use.",
            "Correct it, or leave it blank: blank cells count as missing.",
        )
    return values
