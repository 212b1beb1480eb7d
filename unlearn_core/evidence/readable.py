"""Which models a measure can read: an ensemble has no features, a diverged model has no numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unlearn_core.evidence.base import Findings, Measure, Outputs, Subject, awaited

NO_FEATURES = "the unlearned model is an ensemble: its members have no common feature space to compare"
DIVERGED = "the unlearned model's outputs are not finite numbers: it diverged"
REFERENCES_DIVERGED = "some retrained models diverged and were left out"


def readable(subject: Subject, *, features: bool) -> tuple[Subject, str | None]:
    """`subject` with only the models that can be measured, and why the unlearned one is missing, if it is.

    features: whether the layers are read too, not only the logits. The memo is shared with `subject` as long as no retrained model is left out.
    """
    reason, unlearned = None, subject.unlearned
    if unlearned is not None:
        if features and "features" not in unlearned.layers:
            unlearned, reason = None, NO_FEATURES
        elif not subject.once(("readable", features, "unlearned"), lambda: _finite(unlearned, features)):
            unlearned, reason = None, DIVERGED
    kept = [
        k
        for k, outputs in enumerate(subject.retrained)
        if subject.once(("readable", features, k), lambda outputs=outputs: _finite(outputs, features))
    ]
    if len(kept) == len(subject.retrained) and unlearned is subject.unlearned:
        return subject, None
    if reason is None:
        reason = REFERENCES_DIVERGED
    # "retrained:1" is another model now, so what is remembered under that name must be kept apart.
    memo = subject.once(("readable", tuple(kept)), dict) if len(kept) < len(subject.retrained) else subject.memo
    return replace(subject, unlearned=unlearned, retrained=[subject.retrained[k] for k in kept], memo=memo), reason


def explained(findings: Findings, subject: Subject, reason: str | None) -> Findings:
    """The findings, each measure also saying what it lacks: a model (`reason`), or retrained models for a verdict."""

    def explain(measure: Measure) -> Measure:
        lacks = awaited(subject) if measure.original is not None else None
        said = [text for text in (reason, measure.reason) if text]
        if lacks and lacks not in said:
            said.append(lacks)
        return replace(measure, reliability="weak" if reason else measure.reliability, reason="; ".join(said) or None)

    return Findings([explain(measure) for measure in findings.measures], findings.views)


def _finite(outputs: Outputs, features: bool) -> bool:
    # A sum is finite only if every term is, and needs no copy of a large array.
    arrays = [outputs.logits, *(values for values in outputs.layers.values() if features and isinstance(values, np.ndarray))]
    return all(np.isfinite(array.sum(dtype=np.float64)) for array in arrays)
