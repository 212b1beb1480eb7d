"""Kept neighbours: which training instances sit next to which inside a model, and which of them stay there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unlearn_core.evidence.across import probe, retrained_pairs, seed_band, stacked
from unlearn_core.evidence.base import Findings, Measure, Subject, awaited, missing, per_model, to_retrained
from unlearn_core.evidence.nearest import neighbours as beside
from unlearn_core.evidence.similarity import chance_overlap, directions, kept, nearest

NEIGHBOURS = 10
SETTLED = 0.95  # retraining that keeps more neighbours than this leaves nothing to tell apart
GROUPS = ("retain", "neighbours", "forget")  # codes 0, 1, 2 of the view "kept"


def lists(subject: Subject, who: str) -> np.ndarray:
    """Rows (in splits.train) of the closest training instances of every asked one, [q, k], computed once a model."""
    ask = asked(subject)
    return subject.once(("structure.lists", who), lambda: nearest(_unit(subject, who), ask["rows"], _k(subject)))


def asked(subject: Subject) -> dict[str, np.ndarray]:
    """Who is asked for its neighbours: "rows" [q] in splits.train, "group" code [q], "probe" [q] bool (seeded sample of the retained)."""

    def choose():
        train = subject.splits.train
        gone = np.isin(train, subject.forget)
        forget, retain = np.flatnonzero(gone), np.flatnonzero(~gone)
        drawn = probe(subject, retain)
        near = probe(subject, np.searchsorted(train, beside(subject)))
        rows = np.unique(np.concatenate([drawn, near, forget]))
        return {"rows": rows, "group": np.where(gone[rows], 2, np.isin(rows, near)).astype(np.int8), "probe": np.isin(rows, drawn)}

    return subject.once(("structure.asked",), choose)


def overlap(subject: Subject, a: str, b: str) -> np.ndarray:
    """Kept neighbours of two models for every asked instance, [q], computed once a pair."""
    a, b = sorted((a, b))
    return subject.once(("structure.overlap", a, b), lambda: kept(lists(subject, a), lists(subject, b)))


def neighbours(subject: Subject) -> Findings:
    """Kept neighbours of retained, neighbouring and forgotten instances, and the lists themselves."""
    ids = ("structure.knn_overlap", "structure.knn_overlap_to_retrained")
    if _k(subject) < 1 or not len(subject.retain):
        few = "a neighbourhood needs retained instances besides the forgotten ones"
        return Findings([missing(id, group, few) for id in ids for group in GROUPS if id == ids[0] or group != "neighbours"])
    ask, train = asked(subject), subject.splits.train
    members = {"retain": ask["probe"], "neighbours": ask["group"] == 1, "forget": ask["group"] == 2}
    sampled = int(ask["probe"].sum()) < len(subject.retain)
    measures = []
    for id in ids:
        for group, who_is in members.items():
            if not (id == ids[1] and group == "neighbours"):
                measures.append(_overlap_measure(subject, id, group, who_is, sampled and group == "retain"))
    by_id = {measure.id: measure for measure in measures}
    measures += [residual(subject, by_id["structure.knn_overlap.forget"]), preservation(subject, by_id["structure.knn_overlap.retain"])]
    against = stacked(subject, lambda who: overlap(subject, "original", who))
    forgotten = stacked(subject, lambda who: train[lists(subject, who)[members["forget"]]])
    against.pop("original")
    return Findings(
        measures,
        {
            "kept": {"ids": train[ask["rows"]], "group": ask["group"], "probe": ask["probe"]} | against,
            "neighbours": {"ids": train[ask["rows"][members["forget"]]]} | forgotten,
        },
    )


def _overlap_measure(subject: Subject, id: str, group: str, members: np.ndarray, sampled: bool) -> Measure:
    n = int(members.sum())
    if not n:
        return missing(id, group, "there are no such instances")
    step = 1 / ((2 * _k(subject) - 1) * n)  # the smallest change of one instance's overlap, in the mean
    mean = lambda a, b: float(overlap(subject, a, b)[members].mean())  # noqa: E731
    rest = {"n": n, "resolution": step}
    if sampled:
        rest |= {"reliability": "estimate", "reason": f"from a sample of {n:,} retained instances"}
    if id.endswith("_to_retrained"):
        return to_retrained(subject, id, group, mean, **rest)
    measure = per_model(subject, id, group, lambda who: mean("original", who), null=seed_band(subject, mean), **rest)
    if sampled and subject.unlearned is not None:
        values = overlap(subject, "original", "unlearned")[members]
        half = 1.96 * values.std(ddof=1) / np.sqrt(n)
        measure = replace(measure, ci=(max(measure.unlearned - half, 0.0), min(measure.unlearned + half, 1.0)))
    return measure


def residual(subject: Subject, measure: Measure) -> Measure:
    """(s(o, u) − mean s(o, r)) / (1 − mean s(o, r)) on the forget set, from the measure of kept neighbours."""
    id, group = "structure.residual_similarity", "forget"
    if measure.retrained is None:
        return missing(id, group, _lacking(subject, measure), measure.n)
    level = measure.retrained.mean
    if level > SETTLED:
        reason = f"retraining itself keeps {level:.0%} of these neighbourhoods, so there is nothing to tell apart"
        return missing(id, group, reason, measure.n)
    return replace(_rescaled(measure, id, group, level, 1.0), null=None)


def preservation(subject: Subject, measure: Measure) -> Measure:
    """(s(o, u) − chance) / (mean s(r, r') − chance) on retained instances, not clipped."""
    id, group = "structure.preservation", "retain"
    if measure.null is None:
        return missing(id, group, _lacking(subject, measure), measure.n)
    members = asked(subject)["probe"]
    alike = retrained_pairs(subject, lambda a, b: float(overlap(subject, a, b)[members].mean()))
    chance, fresh = chance_overlap(len(subject.splits.train), _k(subject)), float(np.mean(alike))
    if fresh - chance < 0.01:
        reason = "two retrained models share no more neighbours than chance, so there is no structure to preserve"
        return missing(id, group, reason, measure.n)
    return _rescaled(measure, id, group, chance, fresh)


def _lacking(subject: Subject, measure: Measure) -> str:
    return (measure.reason if measure.original is None else None) or awaited(subject) or "the retrained models cannot be compared"


def _rescaled(measure: Measure, id: str, group: str, zero: float, one: float) -> Measure:
    """The measure on a scale where `zero` becomes 0 and `one` becomes 1."""

    def scaled(value):
        if isinstance(value, tuple):
            return tuple(map(scaled, value))
        return None if value is None else (value - zero) / (one - zero)

    retrained = measure.retrained
    if retrained is not None:
        retrained = replace(retrained, **{name: scaled(getattr(retrained, name)) for name in ("values", "mean", "low", "high")})
    rest = {name: scaled(getattr(measure, name)) for name in ("original", "unlearned", "ci", "null")}
    return replace(measure, id=f"{id}.{group}", group=group, retrained=retrained, **rest)


def _k(subject: Subject) -> int:
    return min(NEIGHBOURS, len(subject.splits.train) - 1)


def _unit(subject: Subject, who: str) -> np.ndarray:
    features = subject.outputs(who).features
    centre = features[subject.retain].mean(axis=0, dtype=np.float64)  # each model's own, or a shift would look like a change
    return directions(features[subject.splits.train], centre)
