"""More population attacks on one model: entropy, modified entropy, thresholds for each class, SVC MIA-efficacy.

As in attacks.py, scores are higher for instances that look more like members, and one rule holds for everybody: weak,
average-case evidence. Confidence, loss and φ order instances alike, so they are one attack ("confidence", attacks.auc).
Thresholds are always fixed on other points than those that are counted: on its own points the best threshold
reaches a balanced accuracy of 0.62 for ten members and ten others that do not differ at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unlearn_core.errors import BadInput
from unlearn_core.evidence.logits import log_softmax

SVC_MOST = 5000  # instances a side; the fit takes seconds beyond
SVC_LEAST = 0.55  # balanced accuracy below which the SVC itself cannot tell retained from test
SVC_FOLDS = 3


@dataclass(frozen=True)
class Efficacy:
    """SVC MIA-efficacy: share of the forgotten instances that the SVC takes for non-members, 0..1; the ideal is retraining's value.

    own: cross-validated balanced accuracy of the SVC on retained against test instances. trusted: whether it reaches
    SVC_LEAST; below, the SVC calls nearly everything one class and the share jumps between 0 and 1.
    """

    value: float
    own: float
    trusted: bool


def entropy_score(logits: np.ndarray) -> np.ndarray:
    """Minus the entropy of the prediction in nats, [N], at most 0. logits: [N, C]. Does not look at the label."""
    log_p = log_softmax(logits)
    return (np.exp(log_p) * log_p).sum(axis=1)


def modified_entropy_score(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Minus the modified entropy: (1 − p_y) log p_y + Σ over c ≠ y of p_c log(1 − p_c), [N] in nats, at most 0.

    Computed from logits [N, C], so nothing underflows and no logarithm is clamped; every row by its own label only.
    Song & Mittal, arXiv:2003.10595, equation 9.
    """
    log_p = log_softmax(logits)
    rows, top = np.arange(len(log_p)), log_p.argmax(axis=1)
    p = np.exp(log_p)
    others = log_p.copy()
    others[rows, top] = -np.inf
    second = others.max(axis=1)
    p[rows, top] = 0.0
    log_rest = np.log1p(-p)  # exact for all but the largest, whose 1 − p is the sum of the others
    log_rest[rows, top] = second + np.log(np.exp(others - second[:, None]).sum(axis=1))
    p[rows, top] = np.exp(log_p[rows, top])
    terms = p * log_rest
    terms[rows, labels] = np.exp(log_rest[rows, labels]) * log_p[rows, labels]
    return terms.sum(axis=1)


def best_threshold(members: np.ndarray, others: np.ndarray) -> float:
    """The score t, of those given, at which "member if score ≥ t" has the largest balanced accuracy; the first given of equals."""
    candidates = np.concatenate([members, others])
    found = (len(members) - np.searchsorted(np.sort(members), candidates)) / len(members)
    passed = np.searchsorted(np.sort(others), candidates) / len(others)
    return float(candidates[np.argmax(0.5 * (found + passed))])


def class_thresholds(
    members: np.ndarray, member_labels: np.ndarray, others: np.ndarray, other_labels: np.ndarray, classes: int
) -> np.ndarray:
    """`best_threshold` of every class, [classes], from scores of other points than those to be attacked.

    A class with no member or no other here gets the threshold of all classes together. Song & Mittal, arXiv:2003.10595, section 4.2.
    """
    if not len(members) or not len(others):
        raise BadInput("thresholds", "there are no points on one side to fix thresholds on.", "Give retained and held-out instances.")
    common = best_threshold(members, others)
    found = np.full(classes, common)
    for c in range(classes):
        own, rest = members[member_labels == c], others[other_labels == c]
        if len(own) and len(rest):
            found[c] = best_threshold(own, rest)
    return found


def balanced_accuracy(members: np.ndarray, others: np.ndarray, member_threshold, other_threshold=None) -> float:
    """½ (share of members at or above their threshold + share of others below theirs), 0..1, chance ½.

    Thresholds: one number for all, or one an instance (class_thresholds[labels]); the members' holds for the others if
    only that is given. They must come from other points.
    """
    other_threshold = member_threshold if other_threshold is None else other_threshold
    return float(0.5 * (np.mean(members >= member_threshold) + np.mean(others < other_threshold)))


def correctness_accuracy(correct_members: np.ndarray, correct_others: np.ndarray) -> float:
    """Balanced accuracy of "member if answered correctly", the gap attack: ½ (accuracy on members + 1 − accuracy on others).

    The zero line of every attack. Both [n] bool. Yeom et al., arXiv:1709.01604.
    """
    return float(0.5 * (np.mean(correct_members) + 1 - np.mean(correct_others)))


def svc_efficacy(retained: np.ndarray, test: np.ndarray, forgotten: np.ndarray, *, seed: int | None = 0, most: int = SVC_MOST) -> Efficacy:
    """SVC MIA-efficacy as in SalUn and ℓ1-sparse unlearning: RBF SVC (C = 3, gamma = 1/features) of retained against test instances.

    Each [n] or [n, d]: one score (confidence, entropy, modified entropy, correctness) or the probabilities. As many
    retained as test instances, at most `most`: a sample drawn with `seed`, or the first ones (as the reference
    code takes them, which depends on their order) with seed None. Fan et al., arXiv:2310.12508; Jia et al., arXiv:2304.04934.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.svm import SVC

    retained, test, forgotten = (np.asarray(side, np.float64).reshape(len(side), -1) for side in (retained, test, forgotten))
    n = min(len(retained), len(test), most)
    if n < SVC_FOLDS or not len(forgotten):
        raise BadInput(
            "SVC MIA-efficacy",
            f"there are {n} retained and test instances and {len(forgotten)} forgotten ones.",
            f"It needs {SVC_FOLDS} of the former and 1 of the latter.",
        )
    rng = np.random.default_rng(seed)

    def cut(side: np.ndarray, size: int) -> np.ndarray:
        return side[:size] if seed is None or len(side) == size else side[np.sort(rng.choice(len(side), size, replace=False))]

    retained, test = cut(retained, n), cut(test, min(len(test), most))
    x, y = np.concatenate([retained, test]), np.repeat([1, 0], [len(retained), len(test)])
    machine = SVC(C=3, gamma="auto", kernel="rbf")
    guessed = cross_val_predict(machine, x, y, cv=StratifiedKFold(SVC_FOLDS, shuffle=True, random_state=0))
    own = float(0.5 * (np.mean(guessed[y == 1] == 1) + np.mean(guessed[y == 0] == 0)))
    return Efficacy(float(np.mean(machine.fit(x, y).predict(forgotten) == 0)), own, own >= SVC_LEAST)
