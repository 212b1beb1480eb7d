"""Planted: what was put into the data on purpose, and whether the model still does what it taught."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unlearn_core.data.planting import GROUP, MISLABELLED, OUTLIERS, PERSON, TWINS, USER, WITH_TWIN, WITHOUT_TWIN
from unlearn_core.evidence.across import probe, share_interval
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, missing, per_model
from unlearn_core.evidence.logits import log_probabilities, predictions

EVIDENCE = Evidence(
    name="planted",
    title="Planted",
    version=1,
    order=80,
    applies=lambda subject: subject.planting is not None,
    definitions=(
        Definition(
            "planted.attack",
            "Attack success",
            "Share of test instances of other classes that the model gives the attacker's class once they carry the mark (triggered), and the "
            "same instances without it (clean). Unlearning the poisoned instances succeeds when the first falls to what retraining gives, which "
            "need not be 0: a mark also covers part of an instance.",
            "share",
            source="Gu, Dolan-Gavitt and Garg, BadNets, arXiv:1708.06733",
        ),
        Definition(
            "planted.true_class",
            "Answered with the true class",
            "Share of the mislabelled instances that the model gives the class that they had before a wrong one was planted. Unlearning them "
            "succeeds when this rises to what retraining gives; instances that are hard anyway stay wrong there too.",
            "share",
        ),
        Definition(
            "planted.loss",
            "Loss on outliers",
            "Mean cross-entropy of the planted noise with its random labels. Nothing can be learned about them but by heart, so a model that "
            "never saw them is surprised by them. Higher than after retraining is no better forgetting.",
            "nats",
        ),
        Definition(
            "planted.twins",
            "Confidence where a twin stays",
            "Mean probability of the odd label that was planted on forgotten instances: of those whose almost equal twin is still in the data, "
            "and of those without one. Nothing but the copies teaches these labels. To delete one copy is no deletion while a twin stays: then "
            "even a model that was retrained without it still gives the answer.",
            "share",
        ),
        Definition(
            "planted.theirs",
            "Recognised",
            "Share of one person's instances that the model answers as labelled: of those that are forgotten, and of test instances that would "
            "be theirs but that no model saw. High values after retraining mean that others' data teach the same answers.",
            "share",
        ),
    ),
)


EMPTY = {
    "forget": "none of the planted instances are forgotten",
    "unseen": "no test instance is theirs",
    "triggered": "there are no test instances of other classes",
    "clean": "there are no test instances of other classes",
    "twin stays": "no forgotten instance has a twin that stays",
    "no twin": "every forgotten instance has a twin that stays",
}


def compute(subject: Subject) -> Findings:
    """The measures of what was planted; none where nothing was. One group of each looks at the planted instances that are forgotten."""
    planting = subject.planting
    if planting is None:
        return Findings()
    if planting.trigger is not None:
        return Findings(attack(subject))
    family = {MISLABELLED: true_class, OUTLIERS: outlier_loss, TWINS: twins, USER: theirs, PERSON: theirs, GROUP: theirs}.get(planting.kind)
    return Findings(family(subject) if family else [])


def attack(subject: Subject) -> list[Measure]:
    """Share of marked and of clean test instances of other classes that get the target class."""
    trigger, ids = subject.planting.trigger, probe(subject, subject.planting.unseen)
    marked = trigger.stamp(subject.inputs[ids])

    def answers(who: str) -> np.ndarray:
        return subject.once(("planted.marked", who), lambda: subject.predict(who, marked).argmax(axis=1) == trigger.target)

    groups = {"triggered": answers, "clean": lambda who: predictions(subject, who)[ids] == trigger.target}
    return [_share(subject, "planted.attack", group, value, len(ids), sampled=True) for group, value in groups.items()]


def true_class(subject: Subject) -> list[Measure]:
    truth = subject.planting.truth
    return [
        _share(subject, "planted.true_class", group, lambda who, ids=ids: predictions(subject, who)[ids] == truth[ids], len(ids))
        for group, ids in _parts(subject, subject.planted[MISLABELLED])
    ]


def outlier_loss(subject: Subject) -> list[Measure]:
    parts = _parts(subject, subject.planted[OUTLIERS])
    return [_mean(subject, "planted.loss", group, lambda who, ids=ids: -_labelled(subject, who, ids), len(ids)) for group, ids in parts]


def twins(subject: Subject) -> list[Measure]:
    """Forgotten instances with odd labels, by whether a twin of theirs is still in the retain set."""
    living, alone = twins_staying(subject.planted, subject.forget)
    return [
        _mean(subject, "planted.twins", group, lambda who, ids=ids: np.exp(_labelled(subject, who, ids)), len(ids))
        for group, ids in (("twin stays", living), ("no twin", alone))
    ]


def twins_staying(planted: dict[str, np.ndarray], forget: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forgotten odd ids of which another copy stays, and those of which none does. A copy is the original for its twin, and the reverse."""
    pairs = np.concatenate([np.stack([planted[WITH_TWIN], planted[TWINS]], 1), np.stack([planted[TWINS], planted[WITH_TWIN]], 1)])
    gone = np.isin(pairs, forget)
    living, both = pairs[gone[:, 0] & ~gone[:, 1], 0], pairs[gone.all(axis=1), 0]
    alone = np.intersect1d(planted[WITHOUT_TWIN], forget)
    return np.sort(living), np.sort(np.concatenate([alone, both]))


def theirs(subject: Subject) -> list[Measure]:
    right = lambda who, ids: predictions(subject, who)[ids] == subject.labels[ids]  # noqa: E731
    gone, unseen = np.intersect1d(subject.planted[subject.planting.kind], subject.forget), subject.planting.unseen
    return [
        _share(subject, "planted.theirs", "forget", lambda who: right(who, gone), len(gone)),
        _share(subject, "planted.theirs", "unseen", lambda who: right(who, unseen), len(unseen), sampled=True),
    ]


def _parts(subject: Subject, planted: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Planted ids that are forgotten, and those that stay where there are any."""
    gone, kept = np.intersect1d(planted, subject.forget), np.setdiff1d(planted, subject.forget)
    return [("forget", gone)] + ([("retain", kept)] if len(kept) else [])


def _labelled(subject: Subject, who: str, ids: np.ndarray) -> np.ndarray:
    """log p of the given label of each of `ids`, in nats."""
    return log_probabilities(subject, who)[ids, subject.labels[ids]]


def _share(subject: Subject, id: str, group: str, right: Callable[[str], np.ndarray], n: int, sampled: bool = False) -> Measure:
    """The share of n instances of which `right(who)` [n] is true; with an exact interval where they are a sample of many more."""
    rest = {"reliability": "estimate"} if sampled else {}
    if sampled and n and subject.unlearned is not None:
        rest["ci"] = share_interval(int(right("unlearned").sum()), n)
    return _mean(subject, id, group, right, n, resolution=1 / max(n, 1), **rest)


def _mean(subject: Subject, id: str, group: str, value: Callable[[str], np.ndarray], n: int, **rest) -> Measure:
    """The mean of `value(who)` [n]."""
    if not n:
        return missing(id, group, EMPTY[group])
    return per_model(subject, id, group, lambda who: value(who).mean(), n=n, **rest)
