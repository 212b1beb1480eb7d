"""The forget set: which training instances shall go, in which order and how each was chosen."""

from __future__ import annotations

import csv
import io
import json
import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace

from unlearn_core.errors import BadInput

FORMAT = "unlearning-studio/forget-set"
MAX_IMPORT_BYTES = 8_000_000
MAX_IDS = 1_000_000  # typed ids and ranges
MAX_TEXT = 80  # characters of a name or a provenance that came in a file


@dataclass(frozen=True)
class ForgetSet:
    """Ordered unique train ids with the provenance of each ("clicked", "lasso", "neighbours of 17" …)."""

    ids: tuple[int, ...] = ()
    provenance: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self):
        if len(set(self.ids)) != len(self.ids) or len(self.provenance) != len(self.ids):
            raise ValueError("ids must be unique and each needs its provenance")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, instance: int) -> bool:
        return instance in set(self.ids)

    def add(self, ids: Iterable[int], how: str) -> ForgetSet:
        """Append `ids` that are new, in the order given; ids already chosen keep their provenance."""
        known = set(self.ids)
        fresh = [i for i in dict.fromkeys(map(int, ids)) if i not in known]
        return replace(self, ids=self.ids + tuple(fresh), provenance=self.provenance + (how,) * len(fresh))

    def remove(self, ids: Iterable[int]) -> ForgetSet:
        if not (gone := {int(i) for i in ids}):
            return self
        kept = [(i, how) for i, how in zip(self.ids, self.provenance, strict=True) if i not in gone]
        return replace(self, ids=tuple(i for i, _ in kept), provenance=tuple(how for _, how in kept))

    def named(self, name: str) -> ForgetSet:
        return replace(self, name=name.strip())

    def to_json(self, dataset: str, dataset_hash: str) -> str:
        head = json.dumps({"format": FORMAT, "dataset": dataset, "dataset_hash": dataset_hash, "name": self.name}, indent=1)
        # One line each, put together by hand: json's indenting encoder takes over a second for tens of thousands, on every gesture.
        quoted = {how: json.dumps(how) for how in set(self.provenance)}
        rows = ",\n".join(f'  {{"id": {i}, "how": {quoted[how]}}}' for i, how in zip(self.ids, self.provenance, strict=True))
        return f'{head[:-2]},\n "instances": [\n{rows}\n ]\n}}'

    def to_csv(self, dataset: str, dataset_hash: str) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["id", "how", "name", "dataset", "dataset_hash"])
        for i, how in zip(self.ids, self.provenance, strict=True):
            writer.writerow([i, how, self.name, dataset, dataset_hash])
        return out.getvalue()


def check_ids(ids: Iterable[int], train: Iterable[int], total: int, field: str = "forget", gone: Iterable[int] = ()) -> tuple[int, ...]:
    """Return `ids` as unique ints. gone: ids that earlier requests forgot.

    Raises BadInput for an empty set, ids outside train, ids that are gone already, or all that is left of train.
    """
    try:
        wanted = tuple(dict.fromkeys(operator.index(i) for i in ids))
    except TypeError:
        raise BadInput(field, "an instance id is not a whole number.", "Give ids such as 3, 17.") from None
    allowed = {int(i) for i in train}
    if not wanted:
        raise BadInput(field, "the forget set is empty.", "Choose at least one training instance.")
    outside = [i for i in wanted if i not in allowed]
    if outside:
        unknown = [i for i in outside if not 0 <= i < total]
        untrained = [i for i in outside if 0 <= i < total]
        said = [f"{_listed(unknown)} not in this dataset"] * bool(unknown)
        said += [f"{_listed(untrained)} outside the training split, so the model never learned from it"] * bool(untrained)
        raise BadInput(field, f"{'; '.join(said)}.", "Use ids of training instances.")
    gone = {int(i) for i in gone}
    if again := sorted(gone & set(wanted)):
        raise BadInput(field, f"{_listed(again)} forgotten already by an earlier request.", "Leave out what is gone.")
    if len(wanted) + len(gone) == len(allowed):
        raise BadInput(field, "this would forget every training instance.", "Leave some instances to retain.")
    return wanted


def _listed(ids: list[int]) -> str:
    shown = ", ".join(str(i)[:20] for i in ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
    return f"{shown} {'is' if len(ids) == 1 else 'are'}"


def parse_ids(text: str, field: str = "ids") -> list[int]:
    """Read ids separated by commas, spaces or lines; ranges such as 3-7 are allowed."""
    ids: list[int] = []
    for word in text.replace(",", " ").replace(";", " ").split():
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadInput(field, f"{word!r} is not an instance id.", "Give whole numbers such as 3, 17, 20-25.")
        if len(word) > 40:
            raise BadInput(field, f"{word[:20]}… is too long for an instance id.", "Give whole numbers such as 3, 17, 20-25.")
        start, stop = int(first), int(last) if dash else int(first)
        if stop < start:
            raise BadInput(field, f"the range {word!r} is not usable.", "Give ranges from small to large, such as 20-25.")
        if len(ids) + stop - start >= MAX_IDS:
            raise BadInput(field, f"with {word!r} these are more than {MAX_IDS:,} ids.", "Give fewer ids or smaller ranges.")
        ids.extend(range(start, stop + 1))
    return ids


def read_forget_set(content: bytes, dataset: str, dataset_hash: str, field: str = "file") -> ForgetSet:
    """Read an exported CSV or JSON forget set. Raises BadInput if it is malformed or of another dataset."""
    if len(content) > MAX_IMPORT_BYTES:
        raise BadInput(field, "the file is larger than 8 MB.", "Export the forget set again; ids need far less.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(field, "the file is not UTF-8 text.", "Give a CSV or JSON file exported here.") from None
    head, rows = _read_json(text, field) if text.lstrip().startswith("{") else _read_csv(text, field)
    if not head.get("dataset"):
        raise BadInput(field, "the file does not name its dataset.", "Export forget sets here, by id and dataset.")
    if head["dataset"] != dataset:
        other = _short(head["dataset"])
        raise BadInput(field, f"it belongs to the dataset {other!r}.", f"Open {other} first, or choose a set of {dataset}.")
    if head.get("dataset_hash") and head["dataset_hash"] != dataset_hash:
        raise BadInput(
            field, f"it was made for other contents or splits of {dataset!r}.", "Use the same dataset settings as when it was exported."
        )
    unique: dict[int, str] = {}
    for instance, how in rows:
        unique.setdefault(instance, _short(how))
    return ForgetSet(tuple(unique), tuple(unique.values()), _short(head.get("name") or ""))


def _read_json(text: str, field: str) -> tuple[dict, list[tuple[int, str]]]:
    try:
        head = json.loads(text)
        rows = [(_whole(row["id"]), row.get("how") or "imported") for row in head["instances"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise BadInput(field, "the JSON is not a forget set.", 'It needs "dataset" and "instances" with an "id" each.') from None
    return head, rows


def _read_csv(text: str, field: str) -> tuple[dict, list[tuple[int, str]]]:
    try:
        records = list(csv.DictReader(io.StringIO(text)))
        rows = [(_whole(record["id"]), record.get("how") or "imported") for record in records]
    except (ValueError, KeyError, TypeError, OverflowError, csv.Error):
        raise BadInput(field, "the CSV is not a forget set.", "It needs the columns id and dataset.") from None
    if len({(record.get("dataset"), record.get("dataset_hash")) for record in records}) > 1:
        raise BadInput(field, "its rows name different datasets.", "Give one file for each dataset.")
    return (records[0] if records else {"dataset": ""}), rows


def _whole(value) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)) or float(value) < 0:
        raise ValueError
    return int(float(value))


def _short(value) -> str:
    # JSON can spell half a surrogate pair, which neither UTF-8 nor SQLite can hold.
    return str(value)[:MAX_TEXT].encode("utf-8", "replace").decode()
