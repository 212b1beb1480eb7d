"""Stakes: where each instance stands among the class centres, layer by layer, and how far that moved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unlearn_core.evidence.across import probe, seed_band, stacked
from unlearn_core.evidence.base import Definition, Findings, Subject, missing, per_model, to_retrained
from unlearn_core.evidence.neighbourhoods import FEATURES, asked, lonely
from unlearn_core.evidence.similarity import class_stakes, stake_relations

DRIFT, TO_RETRAINED = "structure.stake_drift", "structure.stake_drift_to_retrained"
SOURCE = (
    "relations to anchors as Hong et al., arXiv:2603.12915, hold them; anchors of each model's own as in Moschella et al., arXiv:2209.15430"
)
DEFINITIONS = (
    Definition(
        DRIFT,
        "Drift from the stakes",
        "The stakes are each model's own class centres, of retained instances only, seen from the centre of all of them. An instance's cosines "
        "to all stakes say where it stands; the number is how much they differ from those in the original, on average over stakes and "
        "instances. 0 is no change. For retained instances low is good, and a fresh seed alone moves them as far as the frame says; for "
        "forgotten ones the ideal is what retraining gives, not 0. Texts about the classes are no stakes here: they were never aligned with "
        "any model's features.",
        "cosine",
        verdict=False,
        source=SOURCE,
    ),
    Definition(
        TO_RETRAINED,
        "Difference from retraining at the stakes",
        "The same difference of an instance's cosines to the stakes, but to models trained without the forgotten instances. "
        "Low is good; the ideal is what two retrained models differ by, which is above 0.",
        "cosine",
        source=SOURCE,
    ),
)


def stakes(subject: Subject) -> Findings:
    """Drift of relations to the class centres, retained and forgotten instances apart, in every layer."""
    layers = list(subject.original.layers)
    held = () if lonely(subject) else np.unique(subject.labels[_members(subject)])
    if len(held) < 2:
        reason = "stakes need two classes with retained instances"
        groups = [f"layer:{layer}:{who}" for layer in layers for who in ("retain", "forget")]
        return Findings([missing(id, group, reason) for id in (DRIFT, TO_RETRAINED) for group in groups])
    ask = asked(subject)
    ids = subject.splits.train[ask["rows"]]
    measures = []
    for layer in layers:
        relations = _relations(subject, layer, ids, held)
        for group, members in (("retain", ask["probe"]), ("forget", ask["group"] == 2)):
            measures += _measures(subject, f"layer:{layer}:{group}", relations, members, group == "retain")
    relations = _relations(subject, FEATURES, ids, held)
    drift = stacked(subject, lambda who: np.abs(relations("original") - relations(who)).mean(axis=1))
    drift.pop("original")
    return Findings(measures, {"stakes": {"ids": ids, "group": ask["group"], "probe": ask["probe"]} | drift})


def _members(subject: Subject) -> np.ndarray:
    """The retained instances whose class centres are the stakes."""
    return probe(subject, subject.retain)


def _relations(subject: Subject, layer: str, ids: np.ndarray, classes: np.ndarray) -> Callable[[str], np.ndarray]:
    """Cosines [q, C] of the instances `ids` to the stakes of a model in a layer, computed once."""
    members = _members(subject)

    def compute(who: str) -> np.ndarray:
        values = subject.outputs(who).layers[layer]
        return stake_relations(values[ids], *class_stakes(values[members], subject.labels[members], classes))

    return lambda who: subject.once(("structure.stakes", layer, who), lambda: compute(who))


def _measures(subject: Subject, group: str, relations: Callable[[str], np.ndarray], members: np.ndarray, retained: bool) -> list:
    n = int(members.sum())
    if not n:
        return [missing(id, group, "there are no such instances") for id in (DRIFT, TO_RETRAINED)]
    rest = {"n": n}
    if retained and n < len(subject.retain):
        rest |= {"reliability": "estimate", "reason": f"from a sample of {n:,} retained instances"}

    def apart(a: str, b: str) -> float:
        a, b = sorted((a, b))
        difference = lambda: float(np.abs(relations(a)[members] - relations(b)[members]).mean())  # noqa: E731
        return subject.once(("structure.apart", group, a, b), difference)

    against = per_model(subject, DRIFT, group, lambda who: apart("original", who), null=seed_band(subject, apart), **rest)
    return [against, to_retrained(subject, TO_RETRAINED, group, apart, **rest)]
