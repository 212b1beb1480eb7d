"""Structure: does the inner geometry keep what it should keep, and only that."""

from __future__ import annotations

import numpy as np

from unlearn_core.data.base import TASKS
from unlearn_core.evidence.across import probe, retrained_pairs, seed_band, stacked
from unlearn_core.evidence.base import Definition, Evidence, Findings, Subject, missing, per_model, to_retrained
from unlearn_core.evidence.neighbourhoods import NEIGHBOURS, neighbours
from unlearn_core.evidence.readable import explained, readable
from unlearn_core.evidence.similarity import class_relations, debiased_cka, relation_drift
from unlearn_core.evidence.stakes import DEFINITIONS as STAKES
from unlearn_core.evidence.stakes import stakes

EVIDENCE = Evidence(
    name="structure",
    title="Structure",
    version=2,
    order=30,
    most=8,
    definitions=(
        Definition(
            "structure.knn_overlap",
            "Kept neighbours",
            f"Of an instance's {NEIGHBOURS} closest training instances inside the original model, how many are still among its "
            f"{NEIGHBOURS} closest: shared ones divided by all that occur in either list; the original itself is 1. For "
            "retained instances high is good; for forgotten ones the ideal is the level that retraining gives, not 1: staying "
            "above it means that they still sit where learning put them.",
            "similarity",
            verdict=False,
            source="Klabunde et al., arXiv:2305.06329 (Jaccard similarity of cosine neighbours)",
            tasks=TASKS,
        ),
        Definition(
            "structure.knn_overlap_to_retrained",
            "Neighbours shared with retraining",
            f"The same overlap of the {NEIGHBOURS} closest training instances, but against models trained without the "
            "forgotten instances. The ideal is what two retrained models share with each other, which is well below 1.",
            "similarity",
            source="Klabunde et al., arXiv:2305.06329 (Jaccard similarity of cosine neighbours)",
            tasks=TASKS,
        ),
        Definition(
            "structure.residual_similarity",
            "Remaining old neighbourhood",
            "How much of the forgotten instances' old neighbourhood is left beyond what retraining keeps anyway, layer by layer: 0 is like "
            "retraining, 1 means that nothing changed, and below 0 they were moved further than retraining moves them. The frame shows what "
            "two retrained models share with each other, on the same scale. A short "
            "fine-tuning of the original keeps more of it than a fresh training does.",
            "ratio",
            tasks=TASKS,
        ),
        Definition(
            "structure.preservation",
            "Structure preservation",
            "Kept neighbours of retained instances, layer by layer, on a scale where 0 is chance and 1 is what two retrained models share with "
            "each other. Above 1 the model stayed closer to the original than a fresh training would, as every short "
            "fine-tuning does.",
            "ratio",
            verdict=False,
            tasks=TASKS,
        ),
        Definition(
            "structure.relation_drift",
            "Drift of class relations",
            "How much the angles between class centres, seen from the centre of all retained instances, changed against the "
            "original on average (difference of cosines). 0 is no change; a fresh seed alone changes them as much as the "
            "shown band says.",
            "cosine",
            verdict=False,
        ),
        Definition(
            "structure.cka",
            "Layer similarity",
            "How alike one layer arranges the retained instances in this model and in the original, 1 for the same up to "
            "rotation and scale. One number for a whole layer: it stays high even when all forgotten instances are thrown "
            "about, so read kept neighbours first.",
            "similarity",
            verdict=False,
            source="Kornblith et al., arXiv:1905.00414; debiased as in Murphy et al., arXiv:2405.01012",
            tasks=TASKS,
        ),
        Definition(
            "structure.cka_to_retrained",
            "Layer similarity to retraining",
            "How alike one layer arranges the retained instances in this model and in models trained without the forgotten "
            "ones. The ideal is what two retrained models reach with each other.",
            "similarity",
            source="Kornblith et al., arXiv:1905.00414; debiased as in Murphy et al., arXiv:2405.01012",
            tasks=TASKS,
        ),
        *STAKES,
    ),
)


def compute(subject: Subject) -> Findings:
    """Kept neighbours, class relations, stakes and CKA; closeness to retraining follows as retrained models arrive."""
    subject, reason = readable(subject, features=True)
    of_classes = [stakes(subject), relations(subject)] if subject.task == "classes" else []
    parts = [neighbours(subject), *of_classes, layers(subject)]
    measures = [measure for part in parts for measure in part.measures]
    return explained(Findings(measures, {name: view for part in parts for name, view in part.views.items()}), subject, reason)


def relations(subject: Subject) -> Findings:
    """Cosines between class centres of retained instances, and their drift against the original."""
    id, group = "structure.relation_drift", "retain"
    retain = subject.retain
    labels = subject.labels[retain]
    classes = np.unique(labels)
    if len(classes) < 3:
        # seen from their own mean, two centres lie opposite each other whatever the model
        reason = f"class relations need three classes with retained instances, there are {len(classes)}"
        return Findings([missing(id, group, reason, len(retain))])
    matrix = lambda who: subject.once(  # noqa: E731
        ("structure.relations", who), lambda: class_relations(subject.outputs(who).features[retain], labels, classes)
    )
    drift = lambda a, b: relation_drift(matrix(a), matrix(b))  # noqa: E731
    measure = per_model(subject, id, group, lambda who: drift("original", who), null=seed_band(subject, drift), n=len(retain))
    return Findings([measure], {"relations": {"classes": classes} | stacked(subject, matrix)})


def layers(subject: Subject) -> Findings:
    """Debiased CKA of every layer with the original and with the retrained models, on the retained probe."""
    ids = probe(subject, subject.retain)
    measures, names, curves = [], [], []
    for name in subject.original.layers:
        alike = lambda a, b, name=name: _cka(subject, name, ids, a, b)  # noqa: E731
        against, close = "structure.cka", "structure.cka_to_retrained"
        group = f"layer:{name}"
        needed = [alike("original", who) for who in subject.names()] + retrained_pairs(subject, alike)
        if None in needed:
            few, flat = f"needs four retained instances, there are {len(ids)}", "a model gives all instances the same value in this layer"
            reason = few if len(ids) < 4 else flat
            measures += [missing(family, group, reason, len(ids)) for family in (against, close)]
            continue
        rest = {"n": len(ids)}
        if len(ids) < len(subject.retain):
            rest |= {"reliability": "estimate", "reason": f"from a sample of {len(ids):,} retained instances"}
        to_original = lambda who, alike=alike: alike("original", who)  # noqa: E731
        measures.append(per_model(subject, against, group, to_original, null=seed_band(subject, alike), **rest))
        measures.append(to_retrained(subject, close, group, alike, **rest))
        names.append(name)
        curves.append(stacked(subject, to_original) | {"null": np.array(retrained_pairs(subject, alike), dtype=float)})
        curves[-1].pop("original")
    if not names:
        return Findings(measures)
    view = {key: np.stack([curve[key] for curve in curves], axis=-1) for key in curves[0]}
    return Findings(measures, {"cka": {"layers": np.array(names)} | view})


def _cka(subject: Subject, layer: str, ids: np.ndarray, a: str, b: str) -> float | None:
    a, b = sorted((a, b))
    if a == b:
        return 1.0 if len(ids) >= 4 else None
    features = lambda who: subject.outputs(who).layers[layer][ids]  # noqa: E731
    return subject.once(("structure.cka", layer, a, b), lambda: debiased_cka(features(a), features(b)))
