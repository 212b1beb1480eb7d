"""Ways to name a forget set in text, and to draw one at random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unlearn_core.data.base import Dataset
from unlearn_core.data.forget import MAX_IMPORT_BYTES, ForgetSet, parse_ids, read_forget_set
from unlearn_core.errors import BadInput

FORMS = "Use random:0.03, random:50, ids:3,17, class:8, class:8:20, planted:NAME or file:PATH."


def choose(text: str, dataset: Dataset, seed: int = 0, gone: Sequence[int] = ()) -> ForgetSet:
    """The forget set that `text` describes, drawn from the training split without `gone`. Raises BadInput naming the field and the fix."""
    kind, _, rest = text.partition(":")
    train = np.setdiff1d(dataset.splits.train, gone)
    if kind == "random" and rest:
        count = amount(rest, len(train))
        return ForgetSet().add(draw(train, count, seed), f"random {count}, seed {seed}")
    if kind == "ids" and rest:
        return ForgetSet().add(parse_ids(rest, "forget"), "typed")
    if kind == "class" and rest:
        return _of_class(rest, dataset, train, seed)
    if kind == "planted" and rest in dataset.planted:
        return ForgetSet().add(np.setdiff1d(dataset.planted[rest], gone), f"planted: {rest}")
    if kind == "file" and rest:
        return _from_file(Path(rest), dataset)
    raise BadInput("forget", f"{text!r} is not understood.", FORMS)


def draw(ids: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of `ids` at random without repetition, in ascending order; all of them if there are fewer."""
    return np.sort(np.random.default_rng(seed).permutation(ids)[:count])


def amount(text: str, total: int) -> int:
    """A share such as 0.03 or 3% of `total` (at least one), or a whole number. Raises BadInput."""
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = -1.0
    share = "." in text or text.endswith("%") or "e" in text.lower()
    if not number > 0 or (share and number > 1) or (not share and number > total):
        raise BadInput(
            "forget",
            f"{text!r} is not an amount of {total} training instances.",
            f"Give a share such as 0.03, or a whole number from 1 to {total}.",
        )
    return max(1, round(number * total)) if share else int(number)


def _of_class(rest: str, dataset: Dataset, train: np.ndarray, seed: int) -> ForgetSet:
    # A class may have a colon in its name, so the whole text is tried as a name first.
    name, _, count = (rest, "", "") if rest in dataset.class_names or ":" not in rest else rest.rpartition(":")
    if name not in dataset.class_names:
        raise BadInput("forget", f"there is no class {name!r} in {dataset.name}.", f"Choose one of: {', '.join(dataset.class_names)}.")
    members = train[dataset.labels[train] == dataset.class_names.index(name)]
    wanted = amount(count, len(members)) if count else len(members)
    how = f"{wanted} of class {name}, seed {seed}" if count else f"class {name}"
    return ForgetSet().add(draw(members, wanted, seed), how)


def _from_file(path: Path, dataset: Dataset) -> ForgetSet:
    try:
        with open(path, "rb") as source:
            content = source.read(MAX_IMPORT_BYTES + 1)  # read_forget_set refuses the one byte too many
    except (OSError, ValueError):
        raise BadInput("forget", f"the file {str(path)!r} cannot be read.", "Give the path of a CSV or JSON forget set.") from None
    return read_forget_set(content, dataset.name, dataset.hash, "forget")
