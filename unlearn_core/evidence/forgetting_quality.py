"""Forgetting quality F: can many unlearned models be told from many retrained ones, example by example?

The score of the NeurIPS 2023 unlearning competition, arXiv:2406.09073. Each forgotten example gets the ε of
differential privacy that the best decision rule certifies from φ of N unlearned and N retrained models; F is the mean of
2^−⌊2ε⌋. The maximum over many noisy rules makes ε large even for equal distributions (F ≈ 0.1–0.4, not 1), so F is never
shown alone: `forgetting_quality` sets it against its null, retrained against retrained models in the same numbers.
N models certify at most ln(N − 1): 16 models no ε above 2.7. All unlearned models are runs from one original; an
algorithm that answers the same each time is infinitely peaked and gets ε = CAP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from unlearn_core.errors import BadInput

DELTA = 1e-5
CAP = 50.0
PEAKED = 0.01  # a range this much smaller than the other counts as a point mass
RULES = ("single", "double")
LEAST = 4  # models a side


@dataclass(frozen=True)
class ForgettingQuality:
    """F of unlearned against retrained models, beside its null; nothing here is meaningful without `null`.

    score, null: F and retrained-against-retrained F, each the mean over splits with `models` models a side, in 0..1.
    ratio: score / null, about 1 for exact retraining, above 1 by chance only; None if the null itself is 0. null_low, null_high: central 95 % of ratios
    that single null splits give. epsilon, null_epsilon: [S] nats, medians over splits. cap: ln(models − 1), the largest
    ε so few models certify (state it on the axis). rule: which decision rules ε is the maximum over.
    """

    score: float
    null: float
    ratio: float | None
    null_low: float
    null_high: float
    epsilon: np.ndarray
    null_epsilon: np.ndarray
    cap: float
    models: int
    rule: str

    @property
    def text(self) -> str:
        said = f"F = {self.score:.2f}, retrained against retrained models {self.null:.2f}"
        return (
            said
            + (f", ratio {self.ratio:.2f}" if self.ratio is not None else "")
            + f"; {self.models} models a side certify ε up to {self.cap:.1f}"
        )


def epsilons(unlearned: np.ndarray, retrained: np.ndarray, rule: str = "single", delta: float = DELTA) -> np.ndarray:
    """ε of each forgotten example in nats, [S] in 0..CAP, from φ of unlearned [N, S] and retrained [M, S] models.

    ε = max over rules of max{log((1 − δ − FPR)/FNR), log((1 − δ − FNR)/FPR)}; both rates 0 gives CAP, exactly one 0 discards
    the rule. "single": at or above a threshold is the side with the larger median. "double": those, and every interval,
    inside which is the side with the smaller range. All thresholds between the values are enumerated (the
    competition's code walks a grid of 0.01, so its ε is at most this one).
    """
    if rule not in RULES:
        raise BadInput("rule", f"{rule!r} is not known.", f"Choose one of: {', '.join(RULES)}.")
    u, r = np.asarray(unlearned, np.float64), np.asarray(retrained, np.float64)
    if u.ndim != 2 or r.ndim != 2 or u.shape[1] != r.shape[1] or min(len(u), len(r)) < 1:
        raise BadInput("models", f"φ of shapes {u.shape} and {r.shape} cannot be compared.", "Give [models, examples] on both sides.")
    larger = np.median(r, axis=0) > np.median(u, axis=0)
    found = _single(u, r, larger, delta)
    if rule == "double":
        found = np.maximum(found, [_double(u[:, s], r[:, s], delta) for s in range(u.shape[1])])
    wide, narrow = (side(np.ptp(u, axis=0), np.ptp(r, axis=0)) for side in (np.maximum, np.minimum))
    same = (wide == 0) & (u[0] == r[0])
    return np.where(same, 0.0, np.where(narrow < PEAKED * wide, CAP, np.where((wide == 0), CAP, np.clip(found, 0.0, CAP))))


def score_of(epsilon: np.ndarray, models: int) -> np.ndarray:
    """H(ε) = 2^−⌊2ε⌋ where ε < ⌈ln(N − 1)⌉, 0 beyond, [S] in 0..1, for N = `models` a side."""
    return np.where(epsilon < math.ceil(math.log(models - 1)), 0.5 ** np.floor(2 * epsilon), 0.0)


def forgetting_quality(
    unlearned: np.ndarray, retrained: np.ndarray, rule: str = "single", *, splits: int = 20, seed: int = 0
) -> ForgettingQuality:
    """F with its null from φ of unlearned [N, S] and retrained [M, S] models, M best 2 N or more.

    Every split halves the retrained models: one half against as many unlearned ones gives F, against the other half the null,
    so both rest on the same number of models, min(N, M // 2). "single" is stable in that number (null about
    0.35) and takes milliseconds; "double" tries far more rules, so its null is lower (0.08 for 64).
    """
    n = min(len(unlearned), len(retrained) // 2)
    if n < LEAST:
        raise BadInput(
            "models",
            f"{len(unlearned)} unlearned and {len(retrained)} retrained models are too few.",
            f"F needs {LEAST} of the former and {2 * LEAST} of the latter.",
        )
    rng, ours, null = np.random.default_rng(seed), [], []
    for _ in range(splits):
        some, order = rng.permutation(len(unlearned))[:n], rng.permutation(len(retrained))
        reference = retrained[order[:n]]
        ours.append(epsilons(unlearned[some], reference, rule))
        null.append(epsilons(retrained[order[n : 2 * n]], reference, rule))
    ours, null = np.array(ours), np.array(null)
    level = score_of(null, n).mean(axis=1)
    score, middle = float(score_of(ours, n).mean()), float(level.mean())
    low, high = np.quantile(level / middle, [0.025, 0.975]) if middle > 0 else (0.0, 0.0)
    return ForgettingQuality(
        score,
        middle,
        score / middle if middle > 0 else None,
        float(low),
        float(high),
        np.median(ours, axis=0),
        np.median(null, axis=0),
        math.log(n - 1),
        n,
        rule,
    )


def _epsilon(fnr: np.ndarray, fpr: np.ndarray, delta: float) -> np.ndarray:
    """ε of rules by their rates; −inf where a rule is discarded."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.fmax(np.log(1 - delta - fpr) - np.log(fnr), np.log(1 - delta - fnr) - np.log(fpr))
    found = np.where((fnr == 0) | (fpr == 0), -np.inf, np.where(np.isnan(found), -np.inf, found))
    return np.where((fnr == 0) & (fpr == 0), CAP, found)


def _single(u: np.ndarray, r: np.ndarray, retrained_larger: np.ndarray, delta: float) -> np.ndarray:
    """Largest ε over thresholds at every value, [S], for all examples at once."""
    values = np.concatenate([u, r])
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, 0)
    below = [np.cumsum(side, axis=0) / size for side, size in ((order < len(u), len(u)), (order >= len(u), len(r)))]
    # A threshold just above position i is one rule; between equal values there is none.
    last = np.vstack([ordered[1:] > ordered[:-1], np.zeros((1, values.shape[1]), bool)])
    below_positive, below_negative = (np.where(retrained_larger, a, b) for a, b in (below[::-1], below))
    return np.where(last, _epsilon(below_positive, 1 - below_negative, delta), -np.inf).max(axis=0)


def _double(u: np.ndarray, r: np.ndarray, delta: float) -> float:
    """Largest ε over all intervals that hold at least one value, inside which the side with the smaller range is predicted."""
    peaked, flat = (r, u) if np.ptp(u) >= np.ptp(r) else (u, r)
    edges = np.unique(np.concatenate([peaked, flat]))
    counts = [np.concatenate([[0], np.searchsorted(np.sort(side), edges, side="right")]) for side in (peaked, flat)]
    i, j = np.triu_indices(len(edges) + 1, 1)
    inside_peaked, inside_flat = (c[j] - c[i] for c in counts)
    return float(_epsilon(1 - inside_peaked / len(peaked), inside_flat / len(flat), delta).max())
