"""What logits say, in float64 and stable: probabilities, margins, predictions, divergence."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlearn_core.evidence.attacks import logit_scaled_confidence
from unlearn_core.evidence.base import Subject

SUREST = 700.0  # logits: beyond this 1 − p is 0
LARGEST = float(np.finfo(np.float32).max)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities [N, C] float64 of logits [N, C]. Values that are no numbers count as 0."""
    z = finite(logits)
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def negative_log_likelihood(outputs: np.ndarray, labels: np.ndarray, targets: np.ndarray | None) -> np.ndarray:
    """Loss of every instance in nats, [N] float64, as `models.objectives.loss` defines it: labels [N], or targets of another task."""
    if targets is None:
        return 0.0 - log_softmax(outputs)[np.arange(len(labels)), labels]
    z = finite(outputs)
    if targets.dtype == bool:
        return np.logaddexp(0.0, np.where(targets, -z, z)).sum(axis=1)
    return np.square(z - targets).sum(axis=1) / 2


def membership(outputs: np.ndarray, labels: np.ndarray, targets: np.ndarray | None) -> np.ndarray:
    """The score that attacks go by, [N], higher for what looks learned.

    One class, or labels: the logit-scaled confidence log(p / (1 − p)) in the given class, or in exactly the given labels, whose p is the product
    over all labels. A number has no confidence: minus the loss.
    """
    if targets is None:
        return logit_scaled_confidence(outputs, labels)
    loss = negative_log_likelihood(outputs, labels, targets)
    if targets.dtype != bool:
        return -loss
    with np.errstate(divide="ignore"):  # a loss of 0, which only rounding gives
        return np.minimum(-loss - np.log(-np.expm1(-loss)), SUREST)


def membership_of(subject: Subject, who: str, rows: Any = slice(None)) -> np.ndarray:
    """`membership` of the instances `rows` of one model."""
    return membership(subject.outputs(who).logits[rows], subject.labels[rows], None if subject.targets is None else subject.targets[rows])


def losses(subject: Subject, who: str) -> np.ndarray:
    """Loss of every instance in nats, [N], computed once."""
    if subject.targets is None:
        return -log_probabilities(subject, who)[np.arange(len(subject.labels)), subject.labels]
    return subject.once(("losses", who), lambda: negative_log_likelihood(subject.outputs(who).logits, subject.labels, subject.targets))


def right(subject: Subject, who: str) -> np.ndarray:
    """Whether the class, or every one of the labels, is answered as given, [N] bool."""
    if subject.targets is None:
        return predictions(subject, who) == subject.labels
    return ((subject.outputs(who).logits > 0) == subject.targets).all(axis=1)


def finite(outputs: np.ndarray) -> np.ndarray:
    """float64, with 0 for what is no number and the largest float32 for what is infinite."""
    return np.nan_to_num(np.asarray(outputs, dtype=np.float64), nan=0.0, posinf=LARGEST, neginf=-LARGEST)


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """z_y − max over c ≠ y of z_c, [N]: positive where `labels` are predicted, 0 exactly on the boundary."""
    z = np.nan_to_num(np.array(logits, dtype=np.float64), nan=0.0, posinf=LARGEST, neginf=-LARGEST)
    rows = np.arange(len(z))
    own = z[rows, labels]
    z[rows, labels] = -np.inf
    return own - z.max(axis=1)


def js_divergence(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Jensen–Shannon divergence in bits, [N] in 0..1, of the distributions in the rows of two log-probabilities [N, C].

    Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 37 (1991), with equal weights.
    """
    log_m = np.logaddexp(log_p, log_q) - np.log(2)
    nats = 0.5 * (np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m)).sum(axis=1)
    return np.clip(nats / np.log(2), 0.0, 1.0)


def log_probabilities(subject: Subject, who: str) -> np.ndarray:
    """[N, C] of one model on every instance, computed once; of labels [N, L, 2], that they hold and that they do not."""
    say = log_softmax if subject.targets is None else log_sigmoid
    return subject.once(("log_probabilities", who), lambda: say(subject.outputs(who).logits))


def log_sigmoid(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities [N, L, 2] of yes and of no from logits [N, L]."""
    z = finite(logits)
    return -np.logaddexp(0.0, np.stack([-z, z], axis=-1))


def predictions(subject: Subject, who: str) -> np.ndarray:
    """Predicted class of every instance, [N], computed once; of labels the set that is named, in a form that can be compared."""
    if subject.targets is not None:
        return subject.once(("predictions", who), lambda: _as_one(subject.outputs(who).logits > 0))
    return subject.once(("predictions", who), lambda: log_probabilities(subject, who).argmax(axis=1))


def _as_one(rows: np.ndarray) -> np.ndarray:
    """Each of the rows [N, L] bool as one value, equal for equal rows."""
    packed = np.packbits(rows, axis=1)
    return np.ascontiguousarray(packed).view(f"V{packed.shape[1]}")[:, 0]


def divergence(subject: Subject, a: str, b: str) -> np.ndarray:
    """Jensen–Shannon divergence in bits of two models on every instance, [N], computed once."""
    a, b = sorted((a, b))
    found = js_divergence if subject.targets is None else label_divergence
    return subject.once(("divergence", a, b), lambda: found(log_probabilities(subject, a), log_probabilities(subject, b)))


def label_divergence(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Jensen–Shannon divergence in bits of yes or no, the mean over labels: [N] from log-probabilities of yes and no [N, L, 2] twice."""
    n, labels, _ = log_p.shape
    return js_divergence(log_p.reshape(-1, 2), log_q.reshape(-1, 2)).reshape(n, labels).mean(axis=1)


def diverged(subject: Subject, who: str) -> bool:
    """Whether a model's logits hold values that are no finite numbers."""
    return subject.once(("diverged", who), lambda: not np.isfinite(subject.outputs(who).logits).all())
