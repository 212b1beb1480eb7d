"""More population attacks on one model: entropy, modified entropy, thresholds for each class, SVC MIA-efficacy.

As in attacks.py, scores are higher for instances that look more like members, and one rule holds for everybody: weak,
average-case evidence. Confidence, loss and φ order instances alike, so they are one attack ("confidence", attacks.auc).
Thresholds are always fixed on other points than those that are counted: on its own points the best threshold
reaches a balanced accuracy of 0.62 for ten members and ten others that do not differ at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from unlearn_core.errors import BadInput
from unlearn_core.evidence.attacks import Z
from unlearn_core.evidence.logits import log_softmax

SVC_MOST = 5000  # instances a side; the fit takes seconds beyond
SVC_LEAST = 0.55  # balanced accuracy below which the SVC itself cannot tell retained from test
SVC_FOLDS = 3


@dataclass(frozen=True)
class Efficacy:
    """What the SVC of SVC MIA-efficacy calls members: forgotten [n], retained [m] and test instances [m], bool.

    Retained and test instances are judged by machines that were not fitted on them (cross-validation).
    """

    forgotten: np.ndarray
    retained: np.ndarray
    test: np.ndarray

    @property
    def value(self) -> float:
        """SVC MIA-efficacy: share of the forgotten instances that it calls non-members, 0..1; the ideal is retraining's value."""
        return float(np.mean(~self.forgotten))

    @property
    def own(self) -> float:
        """Balanced accuracy of the SVC on retained against test instances, 0..1, chance ½."""
        return correctness_accuracy(self.retained, self.test)

    @property
    def trusted(self) -> bool:
        """Whether `own` reaches SVC_LEAST; below, the SVC calls nearly everything one class and the value jumps between 0 and 1."""
        return self.own >= SVC_LEAST


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


def tie_factor(members: np.ndarray, others: np.ndarray) -> float:
    """Factor by which ties shrink the chance error of an AUC: sqrt(1 − Σ (t³ − t) / (N³ − N)) over groups of t equal scores, 0..1.

    1 without ties, 0 where all scores are equal. With it the error of yes/no scores is that of a random relabelling,
    members and others [n], [m] being drawn from the same N. Lehmann, Nonparametrics (1975), section 1.4.
    """
    tied = np.unique(np.concatenate([members, others]), return_counts=True)[1].astype(float)
    total = tied.sum()
    return math.sqrt(max(1 - (tied**3 - tied).sum() / (total**3 - total), 0.0)) if total > 1 else 0.0


def guess_interval(members: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """95 % interval of the balanced accuracy of yes/no guesses [n], [m] bool, also where all guesses agree.

    Half the interval of a difference of two shares from their score intervals: Newcombe 1998, Statist. Med. 17, method 10.
    """
    (p, p_low, p_high), (q, q_low, q_high) = _score_interval(members), _score_interval(others)
    value = 0.5 * (p + 1 - q)
    return value - 0.5 * math.hypot(p - p_low, q_high - q), value + 0.5 * math.hypot(p_high - p, q - q_low)


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
    guessed = cross_val_predict(machine, x, y, cv=StratifiedKFold(SVC_FOLDS, shuffle=True, random_state=0)) == 1
    return Efficacy(machine.fit(x, y).predict(forgotten) == 1, guessed[y == 1], guessed[y == 0])


def _score_interval(called: np.ndarray) -> tuple[float, float, float]:
    """Share of `called` and its 95 % interval by Wilson 1927."""
    n, share = len(called), float(np.mean(called))
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return share, max(centre - half, 0.0), min(centre + half, 1.0)
