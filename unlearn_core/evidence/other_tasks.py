"""Utility where instances have no single class: labels of which several may hold, or a number."""

from __future__ import annotations

import numpy as np

from unlearn_core.evidence.across import share_interval
from unlearn_core.evidence.base import Definition, Measure, Subject, missing, per_model
from unlearn_core.evidence.logits import finite, right

NOBODY = "there are no such instances"
DEFINITIONS = (
    Definition(
        "utility.exact",
        "All labels right",
        "Share of a group's instances for which the model answers every label, yes or no, as given. A label counts as answered with yes where "
        "its probability is above one half.",
        "share",
        tasks=("labels",),
    ),
    Definition(
        "utility.label_accuracy",
        "Labels right",
        "Share of single answers, yes or no to one label of one instance, that are as given. Where most labels do not hold, always answering no "
        "scores high already: read F1 beside it.",
        "share",
        source="one minus the Hamming loss of Schapire and Singer, BoosTexter, Machine Learning 39 (2000)",
        tasks=("labels",),
    ),
    Definition(
        "utility.f1",
        "F1 of labels",
        "Twice the labels found, over the labels found plus those that were wrongly named or missed, two for one: all labels of all instances "
        "together (micro average). Labels that are rightly not named count nothing.",
        "share",
        source="van Rijsbergen, Information retrieval, 1979",
        tasks=("labels",),
    ),
    Definition(
        "utility.error",
        "Mean absolute error",
        "How far the answered number lies from the given one on average, in the number's own unit. A forgotten instance whose error is "
        "smaller than retraining gives is still remembered.",
        "own unit",
        tasks=("number",),
    ),
    Definition(
        "utility.r2",
        "Explained share of the spread",
        "One minus the squared error over that of always answering the group's mean (R²): 1 is exact, 0 no better than the mean, below 0 worse.",
        "R²",
        tasks=("number",),
    ),
)


def measures(subject: Subject, groups: dict[str, np.ndarray]) -> list[Measure]:
    """What DEFINITIONS mean for every group of ids; of F1 also one for each label on test instances."""
    families = {"labels": (exact, label_accuracy, f1), "number": (error, r2)}[subject.task]
    found = [measure(subject, group, ids) for measure in families for group, ids in groups.items()]
    if subject.task == "labels":
        test = groups["test"]
        found += [f1(subject, f"test:label:{name}", test, [column]) for column, name in enumerate(subject.target_names)]
    return found


def exact(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """Share of `ids` with every label answered as given; on test instances with the Clopper–Pearson interval of the unlearned value."""
    id, n = "utility.exact", len(ids)
    if not n:
        return missing(id, group, NOBODY)
    count = lambda who: int(right(subject, who)[ids].sum())  # noqa: E731
    rest = {}
    if group == "test":
        rest["reliability"] = "estimate"
        if subject.unlearned is not None:
            rest["ci"] = share_interval(count("unlearned"), n)
    return per_model(subject, id, group, lambda who: count(who) / n, n=n, resolution=1 / n, **rest)


def label_accuracy(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """Share of answers to single labels that are as given."""
    id = "utility.label_accuracy"
    if not len(ids):
        return missing(id, group, NOBODY)
    value = lambda who: (answered(subject, who)[ids] == subject.targets[ids]).mean()  # noqa: E731
    return per_model(subject, id, group, value, n=len(ids), resolution=1 / subject.targets[ids].size, **_on(group))


def f1(subject: Subject, group: str, ids: np.ndarray, columns: list[int] | slice = slice(None)) -> Measure:
    """Micro F1 of the labels in `columns`."""
    id, given = "utility.f1", subject.targets[ids][:, columns]
    if not given.any():
        which = "a label" if columns == slice(None) else "the label"
        return missing(id, group, f"no such instance has {which}" if len(ids) else NOBODY, len(ids))

    def value(who: str) -> float:
        named = answered(subject, who)[ids][:, columns]
        return 2 * (named & given).sum() / (named.sum() + given.sum())

    return per_model(subject, id, group, value, n=len(ids), **_on(group))


def error(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """Mean absolute error in the number's own unit."""
    id = "utility.error"
    if not len(ids):
        return missing(id, group, NOBODY)
    value = lambda who: np.abs(residuals(subject, who)[ids]).mean()  # noqa: E731
    return per_model(subject, id, group, value, n=len(ids), **_on(group))


def r2(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """1 − Σ(ŷ − y)² / Σ(y − ȳ)² with the mean ȳ of the group."""
    id, given = "utility.r2", subject.number.own(subject.targets[ids, 0])
    if len(ids) < 2 or not np.ptp(given):
        return missing(id, group, "it takes two instances with different numbers", len(ids))
    spread = np.square(given - given.mean()).sum()
    return per_model(subject, id, group, lambda who: 1 - np.square(residuals(subject, who)[ids]).sum() / spread, n=len(ids), **_on(group))


def answered(subject: Subject, who: str) -> np.ndarray:
    """Which labels a model names, [N, L] bool."""
    return subject.outputs(who).logits > 0


def numbers(subject: Subject, who: str) -> np.ndarray:
    """The numbers that a model answers, [N] in their own unit."""
    return subject.number.own(finite(subject.outputs(who).logits[:, 0]))


def residuals(subject: Subject, who: str) -> np.ndarray:
    """Answered minus given number, [N] in their own unit."""
    return numbers(subject, who) - subject.number.own(subject.targets[:, 0])


def _on(group: str) -> dict[str, str]:
    return {"reliability": "estimate"} if group.startswith("test") else {}
