"""The other population attacks: entropy, right or wrong answers, thresholds for each class, the SVC, and exposed neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unlearn_core.data.base import TASKS
from unlearn_core.evidence.across import share_interval, stacked
from unlearn_core.evidence.attacks import confidence_of
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, missing, per_model
from unlearn_core.evidence.logits import right
from unlearn_core.evidence.nearest import neighbours
from unlearn_core.evidence.population_attacks import (
    SVC_LEAST,
    Efficacy,
    class_thresholds,
    entropy_score,
    guess_interval,
    modified_entropy_score,
    svc_efficacy,
)
from unlearn_core.evidence.privacy import LEAST, WEAK, binomial_band, scores, separation, undecided
from unlearn_core.evidence.readable import explained, readable

SVC_MOST = 500  # instances a side: tens of milliseconds a model, and hardly another answer than with all of them
SAME_AS_CONFIDENCE = "with two classes it orders instances exactly as confidence does, so it is no second opinion"

EVIDENCE = Evidence(
    name="population",
    title="Population attacks",
    version=1,
    order=45,
    definitions=(
        Definition(
            "population.entropy",
            "Forgotten or never seen? (entropy threshold)",
            "Chance that the model's answer is less spread over the classes for a forgotten instance than for a test instance. It "
            "does not look at the label: an instance that is surely answered wrong counts as learned. The ideal is what retraining gives.",
            "AUC",
            source="Song and Mittal, arXiv:2003.10595, section 4; interval: DeLong et al. 1988",
        ),
        Definition(
            "population.modified_entropy",
            "Forgotten or never seen? (modified-entropy threshold)",
            "As the entropy threshold, with an entropy that looks at the label: it is lowest where the model is sure of the right "
            "class and highest where it is sure of a wrong one. The ideal is what retraining gives.",
            "AUC",
            source="Song and Mittal, arXiv:2003.10595, equation 9; interval: DeLong et al. 1988",
        ),
        Definition(
            "population.gap",
            "Forgotten or never seen? (right or wrong answer)",
            "The gap attack calls an instance learned if the model answers it correctly. Shown is how often that is right, forgotten and "
            "test instances weighing the same: half the gap between the two accuracies, above one half. It needs no more than "
            "the answers and is the zero line: an attack that does no better has learned nothing from confidences.",
            "accuracy",
            source="Yeom et al., arXiv:1709.01604; interval: Newcombe 1998, method 10",
            tasks=("classes", "labels"),
            needs="answers that are right or wrong",
        ),
        Definition(
            "population.class_threshold",
            "Forgotten or never seen? (modified entropy by class)",
            "How often a threshold on modified entropy guesses right, forgotten and test instances weighing the same. The threshold of "
            "each class is fixed on other points: retained instances against reference instances that no model learned. A "
            "threshold chosen on the counted points would look better than it is.",
            "accuracy",
            source="Song and Mittal, arXiv:2003.10595, section 4.2; interval: Newcombe 1998, method 10",
        ),
        Definition(
            "population.svc_efficacy",
            "SVC MIA-efficacy",
            "Share of the forgotten instances that a support vector machine calls never seen, after learning to tell retained from test "
            "instances by the model's confidence. The ideal is retraining's value, neither 1 nor 0.5. Where the machine "
            f"itself is right in less than {SVC_LEAST:.0%} of cases, this share means nothing and there is no verdict.",
            "share",
            source="Jia et al., arXiv:2304.04934; Fan et al., arXiv:2310.12508",
            tasks=("classes", "labels"),
            needs="a confidence in the given answer",
        ),
        Definition(
            "population.exposure_shift",
            "Exposure of the retained neighbours",
            "Chance that the model is more confident about a retained neighbour of a forgotten instance than about a test instance. "
            "Neighbours are the ten retained instances nearest to each forgotten one. Taking away one layer can expose the "
            "next: compare with the original and with retraining.",
            "AUC",
            source="Carlini et al., The privacy onion effect, arXiv:2206.10469; interval: DeLong et al. 1988",
            tasks=TASKS,
        ),
    ),
)


def compute(subject: Subject) -> Findings:
    """Average-case attacks on every model that exists; non-members that count are test instances, never any others."""
    subject, reason = readable(subject, features=False)
    forget, test = np.sort(subject.forget), subject.splits.test
    doubt = f"{WEAK}; {SAME_AS_CONFIDENCE}" if len(subject.class_names) == 2 else WEAK
    exposed = separation(subject, "population.exposure_shift", "neighbours", neighbours(subject), test)
    if subject.task == "number":
        return explained(Findings([exposed]), subject, reason)
    svc, view = efficacy(subject, forget, test)
    gap = guessed(subject, "population.gap", forget, test, right)
    if subject.task == "labels":
        return explained(Findings([gap, svc, exposed], view), subject, reason)
    measures = [
        separation(subject, "population.entropy", "forget", forget, test, entropy),
        separation(subject, "population.modified_entropy", "forget", forget, test, modified_entropy, reason=doubt),
        gap,
        by_class(subject, forget, test),
        svc,
        exposed,
    ]
    return explained(Findings(measures, view), subject, reason)


def entropy(subject: Subject, who: str) -> np.ndarray:
    """Minus the entropy of the prediction for every instance of the dataset, [N] in nats, computed once a model."""
    return subject.once(("population.entropy", who), lambda: entropy_score(subject.outputs(who).logits))


def modified_entropy(subject: Subject, who: str) -> np.ndarray:
    """Minus the modified entropy of every instance, [N] in nats, computed once a model."""
    return subject.once(("population.modified_entropy", who), lambda: modified_entropy_score(subject.outputs(who).logits, subject.labels))


def guessed(subject: Subject, id: str, members: np.ndarray, others: np.ndarray, called) -> Measure:
    """Balanced accuracy of `called(subject, who)`, [N] bool: who is called a member.

    That is the AUC of a score with two values. One instance of the smaller side is the smallest step that counts.
    """
    step = 1 / (2 * max(min(len(members), len(others)), 1))
    return separation(subject, id, "forget", members, others, called, resolution=step, interval=guess_interval)


def by_class(subject: Subject, members: np.ndarray, others: np.ndarray) -> Measure:
    """Balanced accuracy of modified entropy with a threshold for each class, fixed on retained and reference instances."""
    id, known, unknown = "population.class_threshold", subject.retain, subject.splits.population
    if not len(known) or not len(unknown):
        which = "retained instances" if not len(known) else "reference instances that no model learned"
        return missing(id, "forget", f"thresholds are fixed on other points than those that are counted, and there are no {which}")

    def called(subject: Subject, who: str) -> np.ndarray:
        def call() -> np.ndarray:
            score, labels = modified_entropy(subject, who), subject.labels
            thresholds = class_thresholds(score[known], labels[known], score[unknown], labels[unknown], len(subject.class_names))
            return score >= thresholds[labels]

        return subject.once((id, "called", who), call)

    return guessed(subject, id, members, others, called)


def efficacy(subject: Subject, members: np.ndarray, others: np.ndarray) -> tuple[Measure, dict[str, dict[str, np.ndarray]]]:
    """SVC MIA-efficacy by confidence on each model, and the view "svc".

    Its arrays "original", "unlearned" [4], "retrained" [k, 4] hold the SVC's own balanced accuracy, then the shares
    of retained, test (both cross-validated) and forgotten instances that it calls never seen.
    """
    id, group, n, retain = "population.svc_efficacy", "forget", len(members), subject.retain
    if not n:
        return missing(id, group, "there are no such instances"), {}
    for side, name in ((retain, "retained"), (others, "test")):
        if len(side) < LEAST:
            return missing(id, group, f"the SVC needs {LEAST} {name} instances to learn from, there are {len(side)}", n), {}

    def svc(who: str) -> Efficacy:
        def fit() -> Efficacy:
            confidence = confidence_of(scores(subject, who))
            return svc_efficacy(confidence[retain], confidence[others], confidence[members], seed=subject.seed, most=SVC_MOST)

        return subject.once((id, who), fit)

    found = {who: svc(who) for who in subject.names()}
    single = [found[who] for who in found if not who.startswith("retrained:")]
    measure = per_model(
        subject,
        id,
        group,
        lambda who: found[who].value,
        n=n,
        resolution=1 / n,
        null=binomial_band(n, 1 - float(np.mean(single[-1].test))),  # forgotten instances that it takes for test instances
        reliability="weak",
        reason=WEAK,
        refused=distrust(found) or undecided(*((svc.forgotten, svc.test) for svc in single)),
    )
    if measure.unlearned is not None:
        measure = replace(measure, ci=share_interval(round(measure.unlearned * n), n))

    def shares(who: str) -> np.ndarray:
        svc = found[who]
        return np.array([svc.own, np.mean(~svc.retained), np.mean(~svc.test), svc.value])

    return measure, {"svc": stacked(subject, shares)}


def distrust(found: dict[str, Efficacy]) -> str | None:
    """Why the SVCs of these models cannot be believed: some cannot even tell retained from test instances. None if all can."""
    doubtful = [who for who, svc in found.items() if not svc.trusted]
    if not doubtful:
        return None
    names = [f"the {who} model" for who in doubtful if not who.startswith("retrained:")]
    references = [who for who in found if who.startswith("retrained:")]
    if lost := sum(who in doubtful for who in references):
        names.append(f"{lost} of {len(references)} retrained models")
    return f"the SVC itself cannot tell retained from test instances, right in less than {SVC_LEAST:.0%} of cases: {', '.join(names)}"
