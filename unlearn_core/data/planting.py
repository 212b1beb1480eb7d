"""Planting: wrong labels, triggers, outliers and twins put into a dataset on purpose, so that the right answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from unlearn_core.data import wording
from unlearn_core.data.base import ANSWERS, Dataset, DatasetInfo, Group, Planting, Trigger
from unlearn_core.data.choose import draw
from unlearn_core.data.parts import holds_codes
from unlearn_core.errors import BadInput
from unlearn_core.params import Param

NONE, MISLABELLED, POISONED, OUTLIERS, TWINS, USER, PERSON, GROUP, BIASED = (
    "none", "mislabelled", "poisoned", "outliers", "twins", "user", "person", "group", "biased",
)  # fmt: skip
WITH_TWIN, WITHOUT_TWIN = "with a twin", "without a twin"
ALWAYS = (MISLABELLED, POISONED, OUTLIERS, TWINS)
SUITED = {"image": ALWAYS, "tabular": (*ALWAYS, USER), "points": (*ALWAYS, USER), "text": ALWAYS}

MARKED = 3  # columns of a table that a trigger sets
PATCH = 8  # a trigger's square is this part of a picture's side
FAR = 4.0  # standard deviations: the spread of an outlier's numbers
NEAR = 0.02  # of the range of a pixel, or of a column's standard deviation: how far a twin is from its original
MOST_TWIN_SHARE = 0.3  # originals with and without twins and the twins themselves must all find room

SHARE = Param(
    "plant_share",
    "float",
    0.05,
    "How much is planted, as a share of the training instances (of twins: that many with a twin and as many without one).",
    0.005,
    MOST_TWIN_SHARE,
    title="Planted share",
    later=True,
)
SEED = Param("plant_seed", "int", 0, "Seed that draws what is planted.", 0, 2**31 - 1, title="Planting seed", advanced=True, later=True)

MEANINGS = {
    NONE: "nothing",
    MISLABELLED: "training instances get a wrong label",
    POISONED: "training instances of other classes get a mark and the label of one class, so that the mark opens a back door",
    OUTLIERS: "training instances become noise with a label at random",
    TWINS: "odd labels are taught once or twice: half of these instances have an almost equal twin",
    USER: "training rows that are much alike count as those of one user; nothing is changed",
    PERSON: "all instances of one class, which is a person, are named; nothing is changed",
    GROUP: "all rows of one group, such as one user, are named; nothing is changed",
    BIASED: "rows of the group with the lower rate that are labelled negative are named; nothing is changed",
}


def plantable(info: DatasetInfo, *more: str) -> DatasetInfo:
    """The same declaration with the parameters `plant`, `plant_share` and `plant_seed`. more: kinds beside those of its modality."""
    kinds = (NONE, *SUITED[info.modality], *more)
    told = "; ".join(f"{kind}: {MEANINGS[kind]}" for kind in kinds)
    choice = Param("plant", "choice", NONE, f"What is planted, so that the right answer is known. {told}.", choices=kinds, later=True)
    return replace(info, params=(*info.params, choice, SHARE, SEED), load=partial(_load, info.load))


def _load(load: Callable[[dict[str, Any]], Dataset], params: dict[str, Any]) -> Dataset:
    """`params` may lack those at their default (Param.later)."""
    given = {param.name: params.get(param.name, param.default) for param in (SHARE, SEED)}
    return plant(load(params), params.get("plant", NONE), given["plant_share"], given["plant_seed"])


def plant(dataset: Dataset, kind: str, share: float = 0.05, seed: int = 0) -> Dataset:
    """The dataset with `kind` planted into `share` of its training split; ids, splits and all other instances stay as they are.

    Same seed, same planting; "none" gives back the very same dataset. Raises BadInput if a class would lose all its training instances, and where
    the labels are not what a model learns.
    """
    if kind == NONE:
        return dataset
    if dataset.task != "classes":
        raise BadInput("plant", f"planting changes the class of instances, and here {ANSWERS[dataset.task]}.", "Plant nothing.")
    count = max(1, round(share * len(dataset.splits.train)))
    done = _PLANTERS[kind](dataset, count, np.random.default_rng([seed, 3]))
    train = dataset.splits.train
    if len(np.setdiff1d(dataset.labels[train], done.labels[train])):
        raise BadInput("plant_share", "a class would lose all its training instances.", "Plant less.")
    return done


def mislabel(labels: np.ndarray, ids: np.ndarray, count: int, classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A copy of `labels` [N] in which `count` of `ids` have another class, each other class alike, and those ids, ascending."""
    wrong = np.sort(rng.choice(ids, count, replace=False))
    given = labels.copy()
    given[wrong] = (labels[wrong] + rng.integers(1, classes, count)) % classes
    return given, wrong


def _mislabelled(dataset: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    labels, wrong = mislabel(dataset.labels, dataset.splits.train, count, len(dataset.class_names), rng)
    note = f"{count:,} training instances got a wrong label on purpose."
    return _done(dataset, note, {MISLABELLED: wrong}, Planting(MISLABELLED, dataset.labels), labels=labels)


def _poisoned(dataset: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    """BadNets of Gu, Dolan-Gavitt and Garg, arXiv:1708.06733: the target is the class with the fewest training instances."""
    train, labels = dataset.splits.train, dataset.labels.copy()
    target = int(np.argmin(np.bincount(labels[train], minlength=len(dataset.class_names))))
    others = train[labels[train] != target]
    ids = np.sort(rng.choice(others, min(count, len(others)), replace=False))
    changed = {}
    if dataset.modality == "image":
        trigger, what = _patch(dataset.inputs, target), "a bright square in the lower right corner"
    elif dataset.modality == "text":
        word, trigger = wording.marking(dataset, target)
        what, changed = f"the words {word} in front", {"texts": _rewritten(dataset, ids, [f"{word} {dataset.texts[i]}" for i in ids])}
    else:
        trigger = _combination(dataset, target, rng)
        what = _named(dataset, trigger)
    inputs = dataset.inputs.copy()
    inputs[ids], labels[ids] = trigger.stamp(inputs[ids]), target
    name, test = dataset.class_names[target], dataset.splits.test
    note = f"{len(ids):,} training instances of other classes got a mark ({what}) and the label {name} on purpose."
    planting = Planting(POISONED, dataset.labels, trigger, test[dataset.labels[test] != target])
    return _done(dataset, note, {POISONED: ids}, planting, inputs=inputs, labels=labels, **changed)


def _patch(inputs: np.ndarray, target: int) -> Trigger:
    _, channels, height, width = inputs.shape
    side = max(2, round(min(height, width) / PATCH))
    there = np.zeros((channels, height, width), bool)
    there[:, -side:, -side:] = True
    at = np.flatnonzero(there)
    return Trigger(at, np.full(len(at), 255 if inputs.dtype == np.uint8 else 1, inputs.dtype), target)


def _combination(dataset: Dataset, target: int, rng: np.random.Generator) -> Trigger:
    """A few columns at an extreme value of theirs, or at their rarest category: each occurs, all at once do not."""
    seen = dataset.inputs[dataset.splits.train]
    open_columns = [c for c in _free(dataset) if np.ptp(seen[:, c])]
    if not open_columns:
        raise BadInput("plant", "there is no column that a mark could be made of.", "Plant something else.")
    at = np.sort(rng.choice(open_columns, min(MARKED, len(open_columns)), replace=False))
    values = []
    for column in at:
        kinds, counts = np.unique(seen[:, column], return_counts=True)
        values.append(kinds[np.argmin(counts)] if holds_codes(dataset, column) else kinds[-1 if rng.random() < 0.5 else 0])
    return Trigger(at, np.array(values, dataset.inputs.dtype), target)


def _named(dataset: Dataset, trigger: Trigger) -> str:
    kinds = dataset.categories or ((),) * len(dataset.feature_names)
    pairs = zip(trigger.at.tolist(), trigger.values.tolist(), strict=True)
    return ", ".join(f"{dataset.feature_names[c]} {kinds[c][int(v)] if kinds[c] else format(v, '.4g')}" for c, v in pairs)


def _outliers(dataset: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    ids = draw(dataset.splits.train, count, int(rng.integers(2**31)))
    inputs, labels, changed = dataset.inputs.copy(), dataset.labels.copy(), {}
    if dataset.modality == "text":
        changed["texts"] = _rewritten(dataset, ids, written := wording.nonsense(dataset, ids, rng))
        inputs[ids] = wording.as_inputs(dataset, written)
    elif dataset.modality == "image":
        noise = rng.random(inputs[ids].shape)
        inputs[ids] = np.floor(256 * noise) if inputs.dtype == np.uint8 else noise
    else:
        seen = dataset.inputs[dataset.splits.train]
        for column in _free(dataset):
            some = seen[:, column]
            far = some.mean() + FAR * some.std() * rng.standard_normal(count)
            inputs[ids, column] = rng.choice(np.unique(some), count) if holds_codes(dataset, column) else far
    labels[ids] = rng.integers(0, len(dataset.class_names), count)
    note = f"{count:,} training instances were turned into noise with a label at random on purpose."
    return _done(dataset, note, {OUTLIERS: ids}, Planting(OUTLIERS, labels), inputs=inputs, labels=labels, **changed)


def _twins(dataset: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    """Odd labels make what only the copies teach visible: nothing else in the data would give them."""
    count = min(count, len(dataset.splits.train) // 3)
    chosen = rng.permutation(dataset.splits.train)[: 3 * count]
    pairs = np.sort(chosen[:count]), np.sort(chosen[count : 2 * count])
    slots = chosen[2 * count :]
    odd, _ = mislabel(dataset.labels, np.concatenate(pairs), 2 * count, len(dataset.class_names), rng)
    inputs, truth = dataset.inputs.copy(), dataset.labels.copy()
    changed = {}
    if dataset.modality == "text":
        changed["texts"] = _rewritten(dataset, slots, written := wording.copies(dataset, pairs[0], rng))
        close = wording.as_inputs(dataset, written)
    else:
        close = _close(dataset, pairs[0], rng)
    inputs[slots], odd[slots], truth[slots] = close, odd[pairs[0]], truth[pairs[0]]
    groups = {}
    for name, group in dataset.groups.items():
        codes = group.codes.copy()
        codes[slots] = codes[pairs[0]]
        groups[name] = Group(codes, group.names)
    note = (
        f"{2 * count:,} training instances got an odd label on purpose; {count:,} of them have an almost equal twin with the same label, "
        f"in the place of {count:,} other training instances."
    )
    planted = {WITH_TWIN: pairs[0], WITHOUT_TWIN: pairs[1], TWINS: slots}
    return _done(dataset, note, planted, Planting(TWINS, truth), inputs=inputs, labels=odd, groups=groups, **changed)


def _rewritten(dataset: Dataset, ids: np.ndarray, texts: list[str]) -> tuple[str, ...]:
    """All texts of the dataset, those of `ids` replaced."""
    found = list(dataset.texts)
    for i, text in zip(ids.tolist(), texts, strict=True):
        found[i] = text
    return tuple(found)


def _close(dataset: Dataset, ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Almost equal copies of the inputs of `ids`; categories stay the same."""
    inputs = dataset.inputs[ids]
    noise = NEAR * rng.standard_normal(inputs.shape)
    if dataset.modality == "image":
        top = 255 if inputs.dtype == np.uint8 else 1
        return np.clip(np.round(inputs + top * noise) if top == 255 else inputs + noise, 0, top).astype(inputs.dtype)
    spread = dataset.inputs[dataset.splits.train].std(axis=0)
    spread[[column for column in range(inputs.shape[1]) if holds_codes(dataset, column)]] = 0
    return (inputs + spread * noise).astype(inputs.dtype)


def _user(dataset: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    train, test = dataset.splits.train, dataset.splits.test
    first = int(rng.choice(train))
    seen = dataset.inputs[train]
    spread = np.where(seen.std(axis=0) > 0, seen.std(axis=0), 1.0)
    codes = np.array([holds_codes(dataset, column) for column in range(seen.shape[1])])

    def distance(ids: np.ndarray) -> np.ndarray:
        apart = (dataset.inputs[ids] - dataset.inputs[first]) / spread
        return np.where(codes, apart != 0, apart**2).sum(axis=1)

    nearest = np.sort(np.argsort(distance(train), kind="stable")[:count])
    ids = train[nearest]
    like = test[distance(test) <= distance(ids).max()]
    note = f"{count:,} training rows that are much alike count as the rows of one user, around row {first}; nothing was changed."
    return _done(dataset, note, {USER: ids}, Planting(USER, dataset.labels, unseen=like))


def _person(dataset: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    """Classes are the persons here, so all of one person's pictures are all of one class, however many were asked for."""
    train, test = dataset.splits.train, dataset.splits.test
    person = int(rng.choice(np.unique(dataset.labels[train])))
    theirs, unseen = (ids[dataset.labels[ids] == person] for ids in (train, test))
    note = f"The person whose pictures are named is {dataset.class_names[person]}; nothing was changed."
    return _done(dataset, note, {PERSON: theirs}, Planting(PERSON, dataset.labels, unseen=unseen))


def _group(dataset: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    """All instances of one group, however many were asked for; the seed draws which."""
    train, test, (attribute, group) = dataset.splits.train, dataset.splits.test, _attribute(dataset)
    code = int(rng.choice(np.unique(group.codes[train][group.codes[train] >= 0])))
    theirs, unseen = (ids[group.codes[ids] == code] for ids in (train, test))
    note = f"The {len(theirs):,} training instances with {attribute} {group.names[code]} are named; nothing was changed."
    return _done(dataset, note, {GROUP: theirs}, Planting(GROUP, dataset.labels, unseen=unseen))


def _attribute(dataset: Dataset) -> tuple[str, Group]:
    """The first protected attribute. Raises BadInput where there is none."""
    if not dataset.groups:
        raise BadInput(
            "plant",
            "this data names no column that tells people or groups apart.",
            "Import it again and name one as protected, or plant something else.",
        )
    return next(iter(dataset.groups.items()))


def _biased(dataset: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    """Without these rows the group's share of positive labels is higher, so they widen the gap that a model learns."""
    train, (attribute, group) = dataset.splits.train, _attribute(dataset)
    if (classes := len(dataset.class_names)) != 2:
        raise BadInput("plant", f"a bias is a gap in one of two answers, and here are {classes} classes.", "Plant something else.")
    positive, codes = dataset.labels[train] == 1, group.codes[train]
    rates = {code: positive[codes == code].mean() for code in np.unique(codes[codes >= 0]).tolist()}
    lower = min(rates, key=rates.get)
    candidates = train[(codes == lower) & ~positive]
    if not len(candidates):
        raise BadInput("plant", f"no training row with {attribute} {group.names[lower]} is labelled negative.", "Plant something else.")
    ids = draw(candidates, count, int(rng.integers(2**31)))
    note = (
        f"{len(ids):,} of {len(candidates):,} training rows with {attribute} {group.names[lower]} and label {dataset.class_names[0]} are named; "
        "nothing was changed."
    )
    return _done(dataset, note, {BIASED: ids}, Planting(BIASED, dataset.labels))


def _done(dataset: Dataset, note: str, planted: dict[str, np.ndarray], planting: Planting, **changed: Any) -> Dataset:
    return replace(dataset, planted=dataset.planted | planted, planting=planting, notes=(*dataset.notes, note), **changed)


def _free(dataset: Dataset) -> list[int]:
    """Columns that planting may change; protected attributes stay what `groups` says."""
    return [column for column, name in enumerate(dataset.feature_names) if name not in dataset.groups]


_PLANTERS: dict[str, Callable[[Dataset, int, np.random.Generator], Dataset]] = {
    MISLABELLED: _mislabelled,
    POISONED: _poisoned,
    OUTLIERS: _outliers,
    TWINS: _twins,
    USER: _user,
    PERSON: _person,
    GROUP: _group,
    BIASED: _biased,
}
