"""Boundary: where the model's decisions moved. Exact numbers first, then exact slices, last an overview map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unlearn_core.errors import BadInput
from unlearn_core.evidence.across import stacked
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, missing, per_model, to_retrained
from unlearn_core.evidence.logits import diverged, divergence, margins, predictions
from unlearn_core.evidence.nearest import closest, neighbours
from unlearn_core.evidence.other_tasks import numbers
from unlearn_core.evidence.overview import overview
from unlearn_core.evidence.regions import region_change, region_view
from unlearn_core.evidence.slices import check_blends, choose_triplet, plane_agreement, slice_views

EVIDENCE = Evidence(
    name="boundary",
    title="Decision boundary",
    version=1,
    order=20,
    most=8,
    definitions=(
        Definition(
            "boundary.margin",
            "Margin",
            "Score of the given label minus the best other score, averaged over the group. Positive means predicted as labelled, 0 is "
            "exactly on the boundary; sizes are in the model's own score units, so compare them with retraining, not across models.",
            "logits",
        ),
        Definition(
            "boundary.flips",
            "Changed predictions",
            "Share of a group's instances whose predicted label differs from the original model's. Retraining changes some "
            "as well. Neighbours are the ten retained instances nearest to each forgotten one.",
            "share",
            tasks=("classes", "labels"),
            needs="answers that are the same or not",
        ),
        Definition(
            "boundary.agreement",
            "Agreement with retraining",
            "Share of instances to which the model and a retrained model give the same label, averaged over the retrained models. "
            "Two retrained models do not agree fully either: that is the level to reach.",
            "share",
            tasks=("classes", "labels"),
            needs="answers that are the same or not",
        ),
        Definition(
            "boundary.js",
            "Divergence from retraining",
            "How different the predicted probabilities are from a retrained model's, averaged over instances and retrained models: "
            "0 for equal, 1 for no overlap (Jensen–Shannon divergence). Two retrained models differ as well: that is the level to reach.",
            "bits",
            source="Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37 (1991)",
            tasks=("classes", "labels"),
            needs="probabilities",
        ),
        Definition(
            "boundary.apart",
            "Distance from retraining",
            "How far the answered number lies from a retrained model's, averaged over instances and retrained models, in the number's own unit. "
            "Two retrained models differ as well: that is the level to reach.",
            "own unit",
            tasks=("number",),
        ),
        Definition(
            "boundary.region_change",
            "Changed region",
            "Share of the plane in which the predicted class differs from the original model's, counted on a fine grid. "
            "The group “data” weighs each place by how much training data lies there.",
            "share",
        ),
        Definition(
            "boundary.plane_agreement",
            "Agreement on the slice",
            "Share of the plane through three chosen instances in which the model and a retrained model give the same class. "
            "All models see exactly the same inputs; most of them are blends that do not occur in the data.",
            "share",
            source="Somepalli et al., Can neural nets learn the same model twice?, CVPR 2022, arXiv:2203.08124",
        ),
        Definition(
            "boundary.map_fidelity",
            "Trust in the overview map",
            "Share of instances whose true prediction is what the map, drawn without them, shows at their place. "
            "Where it is low, the map misleads; it is context and never proof.",
            "share",
            verdict=False,
        ),
        Definition(
            "boundary.map_locates_flips",
            "Does the map find the changes",
            "Chance that the change map is darker at an instance whose prediction really changed than at one whose did not; "
            "0.5 is a coin toss. Each instance is left out of the map that judges it.",
            "AUC",
            verdict=False,
        ),
        Definition(
            "boundary.map_change",
            "Mean change on the map",
            "Average over the map of how different the predicted probabilities are from the original model's. "
            "Two retrained models that differ only in their seed already differ by the null shown.",
            "bits",
            verdict=False,
            source="Lin 1991 (divergence); Nadaraya 1964 and Watson 1964 (average of nearby instances)",
        ),
    ),
)


def compute(subject: Subject) -> Findings:
    """Margins and flips at once; agreement, divergence and intervals as retrained models arrive."""
    groups = {"forget": subject.forget, "neighbours": neighbours(subject), "retain": subject.retain, "test": subject.splits.test}
    known = {"margin": margin, "flips": flips, "agreement": agreement, "js": js, "apart": apart}
    families = {"classes": ("margin", "flips", "agreement", "js"), "labels": ("flips", "agreement", "js"), "number": ("apart",)}
    findings = Findings(views={"margins": margin_view(subject)} if subject.task == "classes" else {})
    for family, measure in ((name, known[name]) for name in families[subject.task]):
        for group, ids in groups.items():
            if group == "neighbours" and family != "flips":
                continue
            there = len(ids) > 0
            findings.measures.append(
                measure(subject, group, ids) if there else missing(f"boundary.{family}", group, "there are no such instances")
            )
    if subject.task != "classes":
        return _doubted(subject, findings)
    if subject.modality == "points":
        findings.views["regions"] = region_view(subject)
        findings.measures += region_change(subject, findings.views["regions"])
    add_slices(subject, findings)
    measures, view = overview(subject)
    findings.measures += measures
    findings.views |= {"overview": view} if view else {}
    return _doubted(subject, findings)


def _doubted(subject: Subject, findings: Findings) -> Findings:
    """The findings, marked where the unlearned model diverged."""
    if subject.unlearned is not None and diverged(subject, "unlearned"):
        reason = "the unlearned model gives values that are no numbers; they count as 0"
        findings.measures = [replace(m, reliability="weak", reason=reason) for m in findings.measures]
    return findings


def add_slices(subject: Subject, findings: Findings) -> None:
    """Add the views "plane" and "segment" for the chosen three instances, by default those of the first forget instance."""
    try:
        check_blends(subject)
        if "triplet" not in subject.settings and not len(subject.forget):
            raise BadInput("triplet", "nothing is forgotten.", "Choose three instances by hand.")
        triplet = subject.settings.get("triplet")
        views = slice_views(subject, choose_triplet(subject, int(subject.forget[0])) if triplet is None else triplet)
    except BadInput as problem:  # three poorly chosen instances must not cost the other evidence
        findings.measures.append(missing("boundary.plane_agreement", "plane", str(problem)))
        return
    findings.views |= views
    if "plane" in views:
        findings.measures.append(plane_agreement(subject, views["plane"]))


def signed_margins(subject: Subject, who: str) -> np.ndarray:
    """Margin of every instance, [N], computed once."""
    return subject.once(("margins", who), lambda: margins(subject.outputs(who).logits, subject.labels))


def margin(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """Mean signed margin of the given labels."""
    return per_model(subject, "boundary.margin", group, lambda who: signed_margins(subject, who)[ids].mean(), n=len(ids))


def flips(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """Share of `ids` whose predicted label is not the original's."""
    before = predictions(subject, "original")
    return per_model(
        subject, "boundary.flips", group, lambda who: (predictions(subject, who) != before)[ids].mean(), n=len(ids), resolution=1 / len(ids)
    )


def agreement(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """Share of `ids` with the same predicted label as the retrained models."""
    pair = lambda a, b: (predictions(subject, a) == predictions(subject, b))[ids].mean()  # noqa: E731
    return to_retrained(subject, "boundary.agreement", group, pair, n=len(ids), resolution=1 / len(ids))


def js(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """Mean Jensen–Shannon divergence to the retrained models in bits."""
    return to_retrained(subject, "boundary.js", group, lambda a, b: divergence(subject, a, b)[ids].mean(), n=len(ids))


def apart(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """Mean absolute difference to the retrained models' numbers, in their own unit."""
    pair = lambda a, b: np.abs(numbers(subject, a) - numbers(subject, b))[ids].mean()  # noqa: E731
    return to_retrained(subject, "boundary.apart", group, pair, n=len(ids))


def margin_view(subject: Subject) -> dict[str, np.ndarray]:
    """Margins of the forget instances and of the retained ones nearest to them.

    ids, label, forgotten (bool), original, unlearned: [n]; retrained: [k, n]; predicted_original, predicted_unlearned: [n] classes.
    """
    ids = np.concatenate([subject.forget, closest(subject)])
    view = {"ids": ids, "label": subject.labels[ids], "forgotten": np.isin(ids, subject.forget)}
    view |= stacked(subject, lambda who: signed_margins(subject, who)[ids])
    for who in ("original", "unlearned"):
        view |= {f"predicted_{who}": predictions(subject, who)[ids]} if who in view else {}
    return view
