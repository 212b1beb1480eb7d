"""Privacy: can somebody tell from the model's answers that an instance was learned. Population attacks only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from unlearn_core.data.base import TASKS
from unlearn_core.evidence.across import probe, share_interval, stacked
from unlearn_core.evidence.attacks import (
    auc,
    auc_chance,
    auc_interval,
    confidence_of,
    false_alarms,
    logistic_attack,
    logistic_chance,
    loss_of,
    roc,
    too_few,
    too_few_for_logistic,
    tpr_at_fpr,
)
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, missing, per_model
from unlearn_core.evidence.logits import losses, membership_of
from unlearn_core.evidence.population_attacks import tie_factor
from unlearn_core.evidence.readable import explained, readable

ALPHA = 0.01
FALSE_ALARMS = 10  # a rate read from fewer false alarms than this is a matter of luck
STRATA = {"classes": "classes", "labels": "groups", "number": "ranges"}  # what labels are
LEAST = 20  # instances on each side of the logistic attack
WEAK = "average-case attack with one threshold for everybody: passing it does not clear a single instance"

EVIDENCE = Evidence(
    name="privacy",
    title="Privacy",
    version=1,
    order=40,
    definitions=(
        Definition(
            "privacy.auc",
            "Forgotten or never seen? (confidence threshold)",
            "Chance that the model is more confident about a forgotten instance than about a test instance, which it never "
            "saw. The ideal is what retraining gives: 0.5 for randomly chosen instances, and possibly far from it for "
            "hand-picked ones, such as hard or mislabelled cases.",
            "AUC",
            source="Yeom et al., arXiv:1709.01604 (loss threshold); interval: DeLong et al. 1988",
            tasks=TASKS,
        ),
        Definition(
            "privacy.lr_attack",
            "Forgotten or never seen? (starting-kit logistic attack)",
            "How often a logistic regression on the loss alone guesses right whether an instance was forgotten or is a test "
            "instance of a class that also occurs in the forget set, with equal numbers of both and averaged over ten splits. "
            "The ideal is what retraining gives, not 0.5.",
            "accuracy",
            source="simple_mia of the NeurIPS 2023 unlearning starting kit; classes matched as in SCRUB, arXiv:2302.09880",
            tasks=TASKS,
        ),
        Definition(
            "privacy.tpr_at_1pct_fpr",
            "Forgotten instances found at 1 % false alarms",
            "Share of forgotten instances that a confidence threshold finds when it may wrongly accuse at most 1 % of the "
            "test instances. Chance is 1 %; the ideal is what retraining gives.",
            "share",
            source="Carlini et al., arXiv:2112.03570",
            tasks=TASKS,
        ),
        Definition(
            "privacy.exposure_shift",
            "Exposure of retained instances",
            "Chance that the model is more confident about a retained instance than about a test instance. Deleting some "
            "instances can expose others more than before: compare with the original and with retraining.",
            "AUC",
            source="Carlini et al., The privacy onion effect, arXiv:2206.10469",
            tasks=TASKS,
        ),
    ),
)


def compute(subject: Subject, match_classes: bool = True) -> Findings:
    """Population attacks on every model that exists; non-members are test instances, never validation.

    match_classes: whether the logistic attack uses only test instances of classes that occur in the forget set.
    """
    subject, reason = readable(subject, features=False)
    forget, test = np.sort(subject.forget), subject.splits.test
    logistic, splits = lr_attack(subject, forget, test, match_classes)
    measures = [
        separation(subject, "privacy.auc", "forget", forget, test),
        logistic,
        found_at_one_percent(subject, forget, test),
        separation(subject, "privacy.exposure_shift", "retain", subject.retain, test),
    ]
    groups = {"forget": forget, "test": test, "retain": probe(subject, subject.retain)}
    return explained(Findings(measures, histograms(subject, groups) | splits | curves(subject, forget, test)), subject, reason)


def scores(subject: Subject, who: str) -> np.ndarray:
    """`membership` of every instance of the dataset, [N], computed once a model: for classes the logit-scaled confidence φ."""
    return subject.once(("privacy.scores", who), lambda: membership_of(subject, who))


def separation(
    subject: Subject,
    id: str,
    group: str,
    members: np.ndarray,
    others: np.ndarray,
    score: Callable[[Subject, str], np.ndarray] = scores,
    *,
    resolution: float | None = None,
    interval: Callable[[np.ndarray, np.ndarray], tuple[float, float]] = auc_interval,
    reason: str = WEAK,
) -> Measure:
    """AUC of `members` against `others` on each model, with its chance band and the interval of the unlearned value.

    score: `score(subject, who)` of every instance, [N]. A yes/no score gives the balanced accuracy of the guess.
    """
    n, m = len(members), len(others)
    if not n or not m:
        return missing(id, group, f"there are no {'such' if not n else 'test'} instances")
    sides = lambda who: (score(subject, who)[members], score(subject, who)[others])  # noqa: E731
    pairs = [sides(who) for who in subject.names() if not who.startswith("retrained:")]
    measure = per_model(
        subject,
        id,
        group,
        lambda who: auc(*sides(who)),
        n=n,
        resolution=resolution or 1 / (n * m),
        null=subject.once((id, group, "null"), lambda: chance_band(*pairs[-1])),
        reliability="weak",
        reason=reason,
        refused=subject.once((id, group, "refused"), lambda: undecided(*pairs)),
    )
    if subject.unlearned is None:
        return measure
    return replace(measure, ci=subject.once((id, group, "interval"), lambda: interval(*pairs[-1])))


def chance_band(members: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """95 % band of the AUC if these scores [n], [m], ties included, were dealt to members and non-members at random."""
    shrunk = tie_factor(members, others)
    low, high = (0.5 + shrunk * (end - 0.5) for end in auc_chance(len(members), len(others)))
    return low, high


def undecided(before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray] | None = None) -> str | None:
    """`too_few` for scores that may have ties: members and non-members of the original and, if there is one, the unlearned model."""
    # Stretching the effect says the same as shrinking the chance band.
    values = [0.5 + (auc(*pair) - 0.5) / (tie_factor(*pair) or 1.0) for pair in (before, after) if pair is not None]
    return too_few(values[0], values[1] if after is not None else None, len(before[0]), len(before[1]))


def found_at_one_percent(subject: Subject, members: np.ndarray, others: np.ndarray) -> Measure:
    """True positive rate at a false positive rate of at most 1 %."""
    id, group, n, m = "privacy.tpr_at_1pct_fpr", "forget", len(members), len(others)
    needed = round(FALSE_ALARMS / ALPHA)
    if not n or m < needed:
        return missing(id, group, f"needs {needed:,} test instances, there are {m:,}" if n else "there are no such instances", n)
    value = lambda who: tpr_at_fpr(scores(subject, who)[members], scores(subject, who)[others], ALPHA)  # noqa: E731
    measure = per_model(subject, id, group, value, n=n, resolution=1 / n, null=binomial_band(n, ALPHA), reliability="weak", reason=WEAK)
    if measure.unlearned is None:
        return measure
    return replace(measure, ci=share_interval(round(measure.unlearned * n), n))


def lr_attack(subject: Subject, members: np.ndarray, others: np.ndarray, match_classes: bool) -> tuple[Measure, dict]:
    """Mean accuracy of the starting-kit attack on each model, and a view with the accuracy of every split."""
    id, group = "privacy.lr_attack", "forget"
    if match_classes:
        others = others[np.isin(subject.labels[others], np.unique(subject.labels[members]))]
    n = min(len(members), len(others))
    if n < LEAST:
        side = (
            "forgotten instances"
            if len(members) < LEAST
            else "test instances" + (f" of these {STRATA[subject.task]}" if match_classes else "")
        )
        return missing(id, group, f"needs {LEAST} {side}, there are {n}", len(members)), {}

    def splits(who: str) -> np.ndarray:
        loss = loss_of(scores(subject, who)) if subject.task == "classes" else losses(subject, who)
        return subject.once(("privacy.lr_attack.splits", who, match_classes), lambda: logistic_attack(loss[members], loss[others]))

    resolution = 1 / (10 * math.ceil(0.2 * n))  # one tested instance of one of ten splits
    measure = per_model(
        subject,
        id,
        group,
        lambda who: splits(who).mean(),
        n=n,
        resolution=resolution,
        null=logistic_chance(n),
        reliability="weak",
        reason=WEAK,
    )
    return replace(measure, refused=too_few_for_logistic(measure.original, measure.unlearned, n)), {"lr_attack": stacked(subject, splits)}


def histograms(subject: Subject, groups: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Views "scores" (φ) and "confidence" (p_y): arrays "<group>.ids", ".original", ".unlearned" [n], ".retrained" [k, n]."""
    phi, p = {}, {}
    for group, ids in groups.items():
        phi[f"{group}.ids"] = p[f"{group}.ids"] = ids
        for who, values in stacked(subject, lambda who, ids=ids: scores(subject, who)[ids]).items():
            phi[f"{group}.{who}"], p[f"{group}.{who}"] = values, confidence_of(values)
    return {"scores": phi} | ({"confidence": p} if subject.task != "number" else {})


def curves(subject: Subject, members: np.ndarray, others: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """View "roc": "fpr" [j] and the largest true positive rate there of "original", "unlearned" [j], "retrained" [k, j]."""
    if not len(members) or not len(others):
        return {}
    at = false_alarms(len(others))
    drawn = lambda who: subject.once(  # noqa: E731
        ("privacy.roc", who), lambda: roc(scores(subject, who)[members], scores(subject, who)[others])[at]
    )
    return {"roc": {"fpr": at / len(others)} | stacked(subject, drawn)}


def binomial_band(n: int, share: float) -> tuple[float, float]:
    """95 % band of the share of n instances that are called so where each is with probability `share`."""
    from scipy.stats import binom

    return float(binom.ppf(0.025, n, share) / n), float(binom.ppf(0.975, n, share) / n)
