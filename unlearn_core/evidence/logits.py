"""What logits say, in float64 and stable: probabilities, margins, predictions, divergence."""

from __future__ import annotations

import numpy as np

from unlearn_core.evidence.base import Subject

LARGEST = float(np.finfo(np.float32).max)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities [N, C] float64 of logits [N, C]. Values that are no numbers count as 0."""
    z = np.nan_to_num(np.asarray(logits, dtype=np.float64), nan=0.0, posinf=LARGEST, neginf=-LARGEST)
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


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
    """[N, C] of one model on every instance, computed once."""
    return subject.once(("log_probabilities", who), lambda: log_softmax(subject.outputs(who).logits))


def predictions(subject: Subject, who: str) -> np.ndarray:
    """Predicted class of every instance, [N], computed once."""
    return subject.once(("predictions", who), lambda: log_probabilities(subject, who).argmax(axis=1))


def divergence(subject: Subject, a: str, b: str) -> np.ndarray:
    """Jensen–Shannon divergence in bits of two models on every instance, [N], computed once."""
    a, b = sorted((a, b))
    return subject.once(("divergence", a, b), lambda: js_divergence(log_probabilities(subject, a), log_probabilities(subject, b)))


def diverged(subject: Subject, who: str) -> bool:
    """Whether a model's logits hold values that are no finite numbers."""
    return subject.once(("diverged", who), lambda: not np.isfinite(subject.outputs(who).logits).all())
