"""Several requests in a row: does each stay forgotten, and how far has the model drifted."""

from __future__ import annotations

import numpy as np

from unlearn_core.evidence.across import retrained_names, seed_band
from unlearn_core.evidence.base import Definition, Evidence, Findings, Subject, per_model, to_retrained
from unlearn_core.evidence.logits import divergence, js_divergence, log_probabilities, log_softmax, right

EVIDENCE = Evidence(
    name="requests",
    title="Requests",
    version=1,
    order=90,
    applies=lambda subject: len(subject.requests) > 1,
    most=8,
    definitions=(
        Definition(
            "requests.js",
            "Divergence from retraining, request by request",
            "How far the predictions on the instances of each request are from those of models trained without all that was forgotten so far "
            "(Jensen–Shannon divergence). A request whose divergence grew again after it was answered came back with a later one.",
            "bits",
            source="Lin 1991",
            tasks=("classes", "labels"),
            needs="probabilities",
        ),
        Definition(
            "requests.accuracy",
            "Accuracy, request by request",
            "Share of the instances of each request that are predicted as labelled. The ideal is what models trained without them reach.",
            "share",
            tasks=("classes", "labels"),
            needs="answers that are right or wrong",
        ),
        Definition(
            "requests.drift",
            "Drift over the requests",
            "How far the predictions on retained instances are from those of the original (Jensen–Shannon divergence). Retrained "
            "models differ from the original by their fresh seed alone, so drift far below theirs is small. Drift that grows with every request says that errors add up.",
            "bits",
            verdict=False,
            source="Lin 1991",
            tasks=("classes", "labels"),
            needs="probabilities",
        ),
    ),
)


def compute(subject: Subject) -> Findings:
    """One row for each request; nothing where there was only one, since all other evidence is about that."""
    if len(subject.requests) < 2:
        return Findings()
    measures = []
    for place, ids in enumerate(subject.requests, 1):
        group, n = f"request:{place}", len(ids)
        share = lambda who, ids=ids: right(subject, who)[ids].mean()  # noqa: E731
        measures.append(to_retrained(subject, "requests.js", group, lambda a, b, ids=ids: divergence(subject, a, b)[ids].mean(), n=n))
        measures.append(per_model(subject, "requests.accuracy", group, share, n=n, resolution=1 / n))
    retain = subject.retain
    apart = lambda a, b: divergence(subject, a, b)[retain].mean()  # noqa: E731
    from_original = lambda who: 0.0 if who == "original" else apart("original", who)  # noqa: E731
    measures.append(per_model(subject, "requests.drift", "retain", from_original, null=seed_band(subject, apart), n=len(retain)))
    return Findings(measures, {"requests": trajectory(subject)} if subject.unlearned is not None and subject.task == "classes" else {})


def trajectory(subject: Subject) -> dict[str, np.ndarray]:
    """The same after every request: step [s] from 0 (the original) on; size and seconds [r] of each request.

    accuracy [r, s], js [r, s] as the mean over retrained models (only once there are some), drift, retain, test [s]; and
    retrained_accuracy [k, r], retrained_js [k, r] where there are two or more, retrained_retain, retrained_test [k].
    """
    after = [log_probabilities(subject, "original"), *(log_softmax(outputs.logits) for outputs in subject.earlier)]
    after.append(log_probabilities(subject, "unlearned"))
    others = [log_probabilities(subject, who) for who in retrained_names(subject)]
    groups, retain, test = subject.requests, subject.retain, subject.splits.test
    answered = lambda log_p, ids: float((log_p[ids].argmax(axis=1) == subject.labels[ids]).mean())  # noqa: E731
    apart = lambda a, b, ids: float(js_divergence(a[ids], b[ids]).mean())  # noqa: E731
    view = {
        "step": np.arange(len(after)),
        "size": np.array([len(ids) for ids in groups]),
        "seconds": np.array([*subject.settings.get("spent", []), subject.seconds.get("method", np.nan)]),
        "accuracy": np.array([[answered(log_p, ids) for log_p in after] for ids in groups]),
        "drift": np.array([apart(after[0], log_p, retain) for log_p in after]),
        "retain": np.array([answered(log_p, retain) for log_p in after]),
        "test": np.array([answered(log_p, test) for log_p in after]) if len(test) else np.full(len(after), np.nan),
        "retrained_accuracy": np.array([[answered(log_p, ids) for ids in groups] for log_p in others]).reshape(-1, len(groups)),
        "retrained_retain": np.array([answered(log_p, retain) for log_p in others]),
        "retrained_test": np.array([answered(log_p, test) for log_p in others] if len(test) else []),
    }
    if others:
        view["js"] = np.array([[np.mean([apart(log_p, other, ids) for other in others]) for log_p in after] for ids in groups])
    if len(others) > 1:
        rest = [[b for b in others if b is not a] for a in others]
        view["retrained_js"] = np.array(
            [[np.mean([apart(a, b, ids) for b in bs]) for ids in groups] for a, bs in zip(others, rest, strict=True)]
        )
    return view
