"""Utility: what the model can still do, class by class, and what the request cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unlearn_core.data.base import TASKS
from unlearn_core.evidence import other_tasks
from unlearn_core.evidence.across import share_interval
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Retrained, Subject, missing, per_model, retrained_band
from unlearn_core.evidence.logits import diverged, log_probabilities, losses, right

BINS = 15
FEW = 20  # below this, one instance moves a class's accuracy by more than five points

EVIDENCE = Evidence(
    name="utility",
    title="Utility",
    version=1,
    order=10,
    definitions=(
        Definition(
            "utility.accuracy",
            "Accuracy",
            "Share of a group's instances whose given label the model predicts. Forgotten instances should come out as they would "
            "after retraining, which is often still right: high accuracy there is not by itself remembering.",
            "share",
        ),
        Definition(
            "utility.loss",
            "Loss",
            "Mean cross-entropy: how surprised the model is by the given labels, 0 for a sure and right model. Of several labels it is their sum; "
            "of a number, half the squared error in units of the training numbers' spread. "
            "A forgotten instance whose loss is lower than retraining gives is still remembered; higher is pushed away.",
            "nats",
            tasks=TASKS,
        ),
        Definition(
            "utility.accuracy_gap",
            "Accuracy gap",
            "Distance of the accuracies to the mean of the retrained models, averaged over retained, forgotten and test instances. "
            "Smaller is closer to retraining; the retrained models show the gap that a fresh seed alone makes.",
            "share",
            verdict=False,
            source="Fan et al., SalUn, arXiv:2310.12508 (average gap)",
            needs="answers that are right or wrong",
            tasks=("classes", "labels"),
        ),
        Definition(
            "utility.calibration",
            "Calibration error",
            f"How far stated confidence and actual accuracy lie apart on test instances (expected calibration error, {BINS} bins of equal "
            "width, weighted by their counts). It comes out too high when there are few test instances.",
            "share",
            source="Guo et al., On calibration of modern neural networks, arXiv:1706.04599, eq. 3",
        ),
        Definition(
            "utility.seconds",
            "Time",
            "Seconds that unlearning took, next to training one new model without the forgotten instances. Time that other programs held the processor is not counted.",
            "s",
            verdict=False,
            tasks=TASKS,
        ),
        Definition(
            "utility.cost",
            "Cost against retraining",
            "Time of unlearning divided by the time of one retraining. At 1 or above, retraining is the better choice.",
            "ratio",
            verdict=False,
            tasks=TASKS,
        ),
        *other_tasks.DEFINITIONS,
    ),
)


def compute(subject: Subject) -> Findings:
    """Accuracy, loss, calibration, per-class accuracy, gap and cost; all but the gap need no retrained model."""
    groups = {"retain": subject.retain, "forget": subject.forget, "test": subject.splits.test}
    if subject.task != "classes":
        measures = [*other_tasks.measures(subject, groups), *(loss(subject, group, ids) for group, ids in groups.items())]
        measures += [accuracy_gap(subject, groups)] if subject.task == "labels" else []
        unit = {"number": {"unit": np.array(subject.number.unit)}} if subject.number else {}
        return Findings([*_doubted(subject, measures), *cost(subject)], unit)
    measures = [accuracy(subject, group, ids) for group, ids in groups.items()]
    measures += [loss(subject, group, ids) for group, ids in groups.items()]
    measures += [accuracy_gap(subject, groups), calibration(subject, groups["test"])]
    classes = {name: np.flatnonzero(subject.labels == c) for c, name in enumerate(subject.class_names)}
    measures += [accuracy(subject, f"test:class:{name}", np.intersect1d(ids, groups["test"])) for name, ids in classes.items()]
    return Findings([*_doubted(subject, measures), *cost(subject)], {"per_class": per_class(subject, groups)})


def _doubted(subject: Subject, measures: list[Measure]) -> list[Measure]:
    """The measures as they are, or marked where the unlearned model diverged."""
    if subject.unlearned is None or not diverged(subject, "unlearned"):
        return measures
    return [
        replace(m, reliability="weak", reason="the unlearned model gives values that are no numbers; they count as 0") for m in measures
    ]


def accuracy(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """Share of `ids` predicted as labelled; on test instances with the Clopper–Pearson interval of the unlearned value."""
    n = len(ids)
    if not n:
        return missing("utility.accuracy", group, "there are no such instances")
    correct = lambda who: int(right(subject, who)[ids].sum())  # noqa: E731
    rest = {}
    if group.startswith("test"):
        few = f"only {n} test instances" if n < FEW else None
        rest = {"reliability": "weak" if few else "estimate"} | ({"reason": few} if few else {})
        if subject.unlearned is not None:
            rest["ci"] = share_interval(correct("unlearned"), n)
    return per_model(subject, "utility.accuracy", group, lambda who: correct(who) / n, n=n, resolution=1 / n, **rest)


def loss(subject: Subject, group: str, ids: np.ndarray) -> Measure:
    """Mean loss of `ids` in nats."""
    if not len(ids):
        return missing("utility.loss", group, "there are no such instances")
    rest = {"reliability": "estimate"} if group == "test" else {}
    return per_model(subject, "utility.loss", group, lambda who: losses(subject, who)[ids].mean(), n=len(ids), **rest)


def accuracy_gap(subject: Subject, groups: dict[str, np.ndarray]) -> Measure:
    """Mean over `groups` of |accuracy − mean retrained accuracy|; a retrained model is held against the other ones."""
    n = sum(map(len, groups.values()))
    k = len(subject.retrained)
    if not k or not all(map(len, groups.values())):
        return missing(
            "utility.accuracy_gap", "mean", "the retrained models are not there yet" if not k else "a group of instances is empty", n
        )
    share = lambda who: np.array([np.mean(right(subject, who)[ids]) for ids in groups.values()])  # noqa: E731
    retrained = np.array([share(f"retrained:{i}") for i in range(k)])  # [k, groups]
    gap = lambda who: float(np.abs(share(who) - retrained.mean(axis=0)).mean())  # noqa: E731
    own = [float(np.abs(retrained[i] - np.delete(retrained, i, axis=0).mean(axis=0)).mean()) for i in range(k)] if k > 1 else []
    return Measure(
        "utility.accuracy_gap.mean",
        "mean",
        gap("original"),
        gap("unlearned") if subject.unlearned is not None else None,
        retrained_band(own),
        null=(min(own), max(own)) if own else None,
        reliability="estimate",
        n=n,
    )


def calibration(subject: Subject, ids: np.ndarray) -> Measure:
    """Expected calibration error on the test instances."""
    if not len(ids):
        return missing("utility.calibration", "test", "there are no test instances")
    value = lambda who: calibration_error(log_probabilities(subject, who)[ids], subject.labels[ids])  # noqa: E731
    return per_model(subject, "utility.calibration", "test", value, n=len(ids), reliability="estimate")


def calibration_error(log_p: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Σ over bins of (count / N)·|accuracy − mean confidence|, bins (0, 1/B], (1/B, 2/B] … of the top probability."""
    confidence, right = np.exp(log_p.max(axis=1)), log_p.argmax(axis=1) == labels
    at = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(at, right - confidence, bins)).sum() / len(labels))


def cost(subject: Subject) -> list[Measure]:
    """Seconds of the method and of one retraining, and their ratio with a plain sentence when retraining is cheaper."""
    method, retrain = subject.seconds.get("method"), subject.seconds.get("retrain")
    alone = Retrained((float(retrain),), float(retrain), None, None) if retrain else None
    awaited = "the time of one retraining is not known yet"
    seconds = Measure("utility.seconds.method", "method", None, method, alone, reason=None if alone else awaited)
    if method is None or alone is None:
        return [seconds, missing("utility.cost", "ratio", awaited if alone is None else "the time of the method is not known")]
    cheaper = f"Retraining is the cheaper choice here: {retrain:.2g} s against {method:.2g} s." if retrain <= method else None
    return [seconds, Measure("utility.cost.ratio", "ratio", None, method / retrain, Retrained((1.0,), 1.0, None, None), reason=cheaper)]


def per_class(subject: Subject, groups: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Accuracy by class on test and retained instances: arrays [C], retrained [k, C], and counts n_* [C]; 0 where the count is 0."""
    count = len(subject.class_names)
    view: dict[str, np.ndarray] = {"names": np.array(subject.class_names)}
    for group in ("test", "retain"):
        ids = groups[group]
        n = np.bincount(subject.labels[ids], minlength=count)
        found = {}
        for who in subject.names():
            found[who] = np.bincount(subject.labels[ids], right(subject, who)[ids], count) / np.maximum(n, 1)
        retrained = [found.pop(who) for who in list(found) if who.startswith("retrained:")]
        view |= {f"n_{group}": n, f"retrained_{group}": np.array(retrained).reshape(-1, count)}
        view |= {f"{who}_{group}": values for who, values in found.items()}
    return view
