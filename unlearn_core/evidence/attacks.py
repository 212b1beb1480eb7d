"""Population attacks from one model's scores: one threshold for everybody, so weak and average-case.

Scores are higher for instances that look more like members of the training set.
"""

from __future__ import annotations

import math

import numpy as np

from unlearn_core.evidence.across import share_interval

Z = 1.959964  # two-sided 95 %
POWER = 0.841621  # 80 % chance to see an effect that is there
MANY = 100_000  # nobody deletes more instances than that to get a verdict
LOGISTIC_SPREAD = 0.55  # standard error of the logistic attack's accuracy times √n, from simulation
CURVE = 1000  # at most about so many points of a ROC curve are kept for drawing


def logit_scaled_confidence(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """φ = z_y − log Σ over c ≠ y of exp(z_c) = log(p_y / (1 − p_y)), [N] float64, finite where 1 − p_y underflows.

    logits: [N, C], C ≥ 2; labels: [N]. Carlini et al., arXiv:2112.03570, section V-C.
    """
    z = np.array(logits, dtype=np.float64)
    rows = np.arange(len(z))
    own = z[rows, labels]
    z[rows, labels] = -np.inf
    top = z.max(axis=1)
    return own - top - np.log(np.exp(z - top[:, None]).sum(axis=1))


def confidences(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """φ [K, N] of K models on the same instances, from logits [K, N, C]."""
    return np.stack([logit_scaled_confidence(one, labels) for one in logits])


def loss_of(scores: np.ndarray) -> np.ndarray:
    """Cross-entropy −log p_y in nats of logit-scaled confidences."""
    return np.logaddexp(0.0, -scores)


def confidence_of(scores: np.ndarray) -> np.ndarray:
    """Probability p_y of logit-scaled confidences."""
    return np.exp(-np.logaddexp(0.0, -scores))


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """Chance that a member scores higher than a non-member, ties counted half: [n], [m] -> 0..1."""
    return float(_placements(members, others)[0].mean())


def auc_interval(members: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """95 % interval of the AUC from the variance of DeLong et al. (1988); exact binomial if nothing overlaps."""
    over, under = _placements(members, others)
    value, n, m = float(over.mean()), len(over), len(under)
    spread = sum(side.var(ddof=1) / len(side) if len(side) > 1 else 0.25 for side in (over, under))
    if spread == 0:  # full separation has no spread of its own, yet few points cannot prove it
        return share_interval(round(value * min(n, m)), min(n, m))
    half = Z * math.sqrt(spread)
    return max(value - half, 0.0), min(value + half, 1.0)


def auc_chance(n: int, m: int) -> tuple[float, float]:
    """95 % band of the AUC of n members and m non-members that do not differ: SE = sqrt((m + n + 1) / (12 m n))."""
    half = Z * math.sqrt((m + n + 1) / (12 * m * n))
    return max(0.5 - half, 0.0), min(0.5 + half, 1.0)


def members_needed(effect: float, m: int) -> int | None:
    """Members with which |AUC − 0.5| = `effect` shows in 80 % of cases against m non-members; None if no number does."""
    room = 12 * m * (effect / (Z + POWER)) ** 2 - 1
    return math.ceil((m + 1) / room) if room > 0 else None


def too_few(original: float, unlearned: float | None, n: int, m: int) -> str | None:
    """Why an AUC refuses a verdict, or None.

    It does when even the original model, which saw the members, lies in the chance band, unless the
    unlearned one lies outside: pushing instances away visibly is an effect that was seen.
    """
    low, high = auc_chance(n, m)
    if not all(low <= value <= high for value in (original, unlearned) if value is not None):
        return None
    return _refusal(n, members_needed(abs(original - 0.5), m), m)


def too_few_for_logistic(original: float, unlearned: float | None, n: int) -> str | None:
    """The same for the mean accuracy of `logistic_attack` on n + n instances."""
    low, high = logistic_chance(n)
    if not all(low <= value <= high for value in (original, unlearned) if value is not None):
        return None
    effect = abs(original - 0.5)
    return _refusal(n, math.ceil((LOGISTIC_SPREAD * (Z + POWER) / effect) ** 2) if effect > 1e-6 else None, n)


def _refusal(n: int, needed: int | None, m: int) -> str:
    text = "too few points for a verdict: even the original model is inside the chance band; "
    if needed is None or needed > MANY:
        return text + f"with an effect this small and {m:,} test instances no number of points would do"
    return text + f"about {needed:,} needed for the effect seen there, {n:,} given"


def roc(members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Largest share of members found at 0, 1 … m false alarms, [m + 1]: the ROC curve as steps, at FPR = 0, 1/m … 1."""
    falling = np.sort(others)[::-1]
    found = len(members) - np.searchsorted(np.sort(members), falling, side="right")  # strictly above the j-th other
    return np.append(found, len(members)) / len(members)


def false_alarms(m: int) -> np.ndarray:
    """Numbers of false alarms at which a ROC curve of m non-members is drawn: every one at first, then thinned."""
    return np.unique(np.concatenate([np.arange(min(m, CURVE // 2) + 1), np.linspace(0, m, CURVE // 2).astype(int)]))


def tpr_at_fpr(members: np.ndarray, others: np.ndarray, alpha: float) -> float:
    """Largest share of members found by one threshold with at most a share `alpha` of false alarms."""
    return float(roc(members, others)[math.floor(alpha * len(others) + 1e-9)])


def logistic_attack(members: np.ndarray, others: np.ndarray, seed: int = 1, n_splits: int = 10) -> np.ndarray:
    """Accuracy [n_splits] of a logistic regression that tells losses of members [n] from losses of non-members [m].

    The `simple_mia` protocol of the NeurIPS 2023 unlearning starting kit: one feature, default regression,
    stratified shuffle splits of 10 % with random_state 0. The larger side is cut to the smaller by a sample
    drawn with `seed`. The splits share instances: their spread is no confidence interval.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit

    rng, n = np.random.default_rng(seed), min(len(members), len(others))
    members, others = (side if len(side) == n else rng.choice(side, n, replace=False) for side in (members, others))
    x, y = np.concatenate([others, members])[:, None], np.repeat([0, 1], n)
    found = []
    for train, test in StratifiedShuffleSplit(n_splits=n_splits, random_state=0).split(x, y):
        model = LogisticRegression().fit(x[train], y[train])
        found.append(np.mean(model.predict(x[test]) == y[test]))
    return np.array(found)


def logistic_chance(n: int) -> tuple[float, float]:
    """Approximate 95 % band of the mean accuracy of `logistic_attack` on n + n instances that do not differ.

    The ten tests of 10 % share instances, so the standard error (LOGISTIC_SPREAD/√n) is larger than that of 2 n coins.
    """
    half = Z * LOGISTIC_SPREAD / math.sqrt(n)
    return max(0.5 - half, 0.0), min(0.5 + half, 1.0)


def _placements(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of others below each member [n], and share of members above each other [m]; ties count half."""

    def below(a, b):
        b = np.sort(b)
        return (np.searchsorted(b, a, side="left") + np.searchsorted(b, a, side="right")) / (2 * len(b))

    return below(members, others), 1 - below(others, members)
