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
FEATURES = "features"


def lists(subject: Subject, who: str, layer: str = FEATURES) -> np.ndarray:
    """Rows (in the pool of `asked`) of the closest instances of every asked one, [q, k], computed once a model and layer."""
    ask = asked(subject, layer)
    return subject.once(("structure.lists", layer, who), lambda: nearest(_unit(subject, who, layer), ask["rows"], _k(ask["pool"])))


def asked(subject: Subject, layer: str = FEATURES) -> dict[str, np.ndarray]:
    """Who is asked for its neighbours, and among whom.

    "pool" [n]: ids of all possible neighbours; the training split for the features, a seeded sample with the forget set for layers before them,
    which are wider. "rows" [q] in the pool, "group" code [q], "probe" [q] bool (seeded sample of the retained).
    """

    def sample():
        forget = probe(subject, subject.forget)
        pool = np.sort(np.concatenate([probe(subject, subject.retain), forget]))
        gone = np.isin(pool, forget)
        return {"pool": pool, "rows": np.arange(len(pool)), "group": np.where(gone, 2, 0).astype(np.int8), "probe": ~gone}

    def choose():
        train = subject.splits.train
        gone = np.isin(train, subject.forget)
        forget, retain = np.flatnonzero(gone), np.flatnonzero(~gone)
        drawn = probe(subject, retain)
        near = probe(subject, np.searchsorted(train, beside(subject)))
        rows = np.unique(np.concatenate([drawn, near, forget]))
        group = np.where(gone[rows], 2, np.isin(rows, near)).astype(np.int8)
        return {"pool": train, "rows": rows, "group": group, "probe": np.isin(rows, drawn)}

    return subject.once(("structure.asked", layer == FEATURES), choose if layer == FEATURES else sample)


def overlap(subject: Subject, a: str, b: str, layer: str = FEATURES) -> np.ndarray:
    """Kept neighbours of two models for every asked instance, [q], computed once a pair and layer."""
    a, b = sorted((a, b))
    return subject.once(("structure.overlap", layer, a, b), lambda: kept(lists(subject, a, layer), lists(subject, b, layer)))


def neighbours(subject: Subject) -> Findings:
    """Kept neighbours of retained, neighbouring and forgotten instances, and the lists themselves."""
    ids = ("structure.knn_overlap", "structure.knn_overlap_to_retrained")
    if lonely(subject):
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
    for layer in subject.original.layers:
        if layer != FEATURES:
            measures += _inner(subject, layer)
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


def lonely(subject: Subject) -> bool:
    """Whether there is nobody to be a neighbour."""
    return len(subject.splits.train) < 2 or not len(subject.retain)


def _inner(subject: Subject, layer: str) -> list[Measure]:
    """Residual similarity and preservation of a layer before the features."""
    group = f"layer:{layer}"
    ask = asked(subject, layer)
    found = []
    for family, members, rescale in (
        ("structure.residual_similarity", ask["group"] == 2, residual),
        ("structure.preservation", ask["probe"], preservation),
    ):
        n = int(members.sum())
        if not n or not subject.retrained:  # nothing to compare with, so no neighbour is looked for
            found.append(missing(family, group, awaited(subject) if n else "there are no such instances", n))
            continue
        mean = lambda a, b, members=members: float(overlap(subject, a, b, layer)[members].mean())  # noqa: E731
        rest = {"n": n, "resolution": 1 / ((2 * _k(ask["pool"]) - 1) * n)}
        if len(ask["pool"]) < len(subject.splits.train):
            rest |= {"reliability": "estimate", "reason": f"among a sample of {len(ask['pool']):,} training instances"}
        id = f"structure.knn_overlap.{family.removeprefix('structure.')}"  # the same group, other instances
        against = per_model(subject, id, group, lambda who, mean=mean: mean("original", who), null=seed_band(subject, mean), **rest)
        found.append(rescale(subject, against, layer))
    return found


def _overlap_measure(subject: Subject, id: str, group: str, members: np.ndarray, sampled: bool) -> Measure:
    n = int(members.sum())
    if not n:
        return missing(id, group, "there are no such instances")
    step = 1 / ((2 * _k(subject.splits.train) - 1) * n)  # the smallest change of one instance's overlap, in the mean
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


def residual(subject: Subject, measure: Measure, layer: str = FEATURES) -> Measure:
    """(s(o, u) − mean s(o, r)) / (1 − mean s(o, r)) on the forget set, from the measure of kept neighbours."""
    id, group = "structure.residual_similarity", "forget" if layer == FEATURES else f"layer:{layer}"
    if measure.retrained is None:
        return missing(id, group, _lacking(subject, measure), measure.n)
    level = measure.retrained.mean
    if level > SETTLED:
        reason = f"retraining itself keeps {level:.0%} of these neighbourhoods, so there is nothing to tell apart"
        return missing(id, group, reason, measure.n)
    return _rescaled(measure, id, group, level, 1.0)


def preservation(subject: Subject, measure: Measure, layer: str = FEATURES) -> Measure:
    """(s(o, u) − chance) / (mean s(r, r') − chance) on retained instances, not clipped."""
    id, group = "structure.preservation", "retain" if layer == FEATURES else f"layer:{layer}"
    if measure.null is None:
        return missing(id, group, _lacking(subject, measure), measure.n)
    ask = asked(subject, layer)
    alike = retrained_pairs(subject, lambda a, b: float(overlap(subject, a, b, layer)[ask["probe"]].mean()))
    chance, fresh = chance_overlap(len(ask["pool"]), _k(ask["pool"])), float(np.mean(alike))
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


def _k(pool: np.ndarray) -> int:
    return min(NEIGHBOURS, len(pool) - 1)


def _unit(subject: Subject, who: str, layer: str) -> np.ndarray:
    ask, values = asked(subject, layer), subject.outputs(who).layers[layer]
    # each model's own centre, or a shift would look like a change
    members = subject.retain if layer == FEATURES else ask["pool"][ask["probe"]]
    return directions(values[ask["pool"]], values[members].mean(axis=0, dtype=np.float64))
